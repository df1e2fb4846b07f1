"""Which densities a set of frames has, and whether its labels say anything of the pressure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses
from ase.symbols import Symbols

from tlmd.frames.frame import Frame
from tlmd.units import density_g_cm3

ONE_DENSITY = 0.01  # relative spread of volumes below which frames have one density
VACUUM_A = 6.0  # an empty slab from which a box is taken to hold a surface, a cluster or a molecule


def by_composition(frames: Sequence[Frame]) -> dict[str, list[int]]:
    """The filled periodic frames by their reduced formula such as H2O."""
    formulas: dict[tuple[int, ...], str] = {}
    found: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        if is_filled(frame):
            counts = tuple(np.bincount(frame.numbers))
            if counts not in formulas:
                formulas[counts] = Symbols(frame.numbers).formula.reduce()[0].format("hill")
            found[formulas[counts]].append(index)
    return dict(found)


def volumes_per_atom(frames: Sequence[Frame]) -> np.ndarray:
    """(B,) A^3."""
    return np.array([abs(np.linalg.det(frame.cell)) / len(frame) for frame in frames])


def spread(volumes: np.ndarray) -> float:
    """The largest less the smallest volume in units of their mean."""
    return float(np.ptp(volumes) / np.mean(volumes))


def is_filled(frame: Frame) -> bool:
    """Whether it is periodic in all directions and has no vacuum: what NPT can be run of."""
    return bool(frame.pbc.all()) and vacuum(frame) < VACUUM_A


def vacuum(frame: Frame) -> float:
    """Thickness (A) of the largest slab along a face of the cell without atoms' centres; all directions periodic."""
    inverse = np.linalg.inv(frame.cell)
    fractions = np.sort((frame.positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(fractions, axis=0, append=fractions[:1] + 1.0).max(axis=0)
    return float((gaps / np.linalg.norm(inverse, axis=0)).max())


def undetermined_pressure(frames: Sequence[Frame], file: str) -> str | None:
    """A line for frames of one density without stress, from which no model can know the pressure; None for others."""
    chosen = [frame for frame in frames if is_filled(frame)]
    if (
        not chosen
        or any(frame.stress is not None for frame in chosen)
        or spread(volumes_per_atom(chosen)) > ONE_DENSITY
    ):
        return None
    density = density_g_cm3(atomic_masses[chosen[0].numbers].sum(), abs(np.linalg.det(chosen[0].cell)))
    return (
        f"{file}: the pressure is not determined by these frames: one density ({density:.3f} g/cm3) and no stress "
        "labels; before NPT, label stresses or add frames of other densities (5 % up and down)"
    )
