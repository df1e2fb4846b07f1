"""What a set of labelled frames must satisfy, and how far two sets are apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE, EV_PER_KCAL_MOL

_ENERGY_UNITS = {"hartree": EV_PER_HARTREE, "kcal/mol": 1 / EV_PER_KCAL_MOL, "kJ/mol": 4.184 / EV_PER_KCAL_MOL}
_FORCE_UNITS = _ENERGY_UNITS | {"hartree/bohr": EV_PER_HARTREE / BOHR_A}
SHARE_OF_MIXED = 0.1  # of the compositions; one of many molecules may have a relaxed and a strained frame by chance
_MAX_STRESS = 10.0  # eV/A^3, 1.6 TPa


def check_frames(frames: Sequence[Frame], path: str | Path = "frames", max_force: float = 100.0) -> None:
    """Refuse absurd values, duplicates and mixed units. Raises InputError naming the file and the frame (first is 0).

    A frame is a duplicate when numbers, cell and positions agree to 1e-6 A. Units are called mixed when frames of one
    composition fall into two narrow groups whose energies per atom or forces differ by a factor between usual units,
    and that is so for a tenth of the compositions at least.
    """
    seen: dict[bytes, int] = {}
    for index, frame in enumerate(frames):
        where = f"{path}, frame {index}"
        _check_values(frame, where, max_force)
        key = frame.numbers.tobytes() + np.rint(frame.positions * 1e6).tobytes() + np.rint(frame.cell * 1e6).tobytes()
        if key in seen:
            raise InputError(f"{where}: a duplicate of frame {seen[key]}", "each configuration once", "remove one")
        seen[key] = index
    groups: dict[tuple, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        counts = np.bincount(frame.numbers)
        groups[tuple(counts // np.gcd.reduce(counts))].append(index)
    several = [group for group in groups.values() if len(group) > 1]
    mixed = []
    for group in several:
        energies = [None if frames[i].energy is None else abs(frames[i].energy) / len(frames[i]) for i in group]
        forces = [None if frames[i].forces is None else float(np.sqrt((frames[i].forces ** 2).mean())) for i in group]
        mixed.append(
            _mixed_units("energy per atom", "eV", energies, group, path, _ENERGY_UNITS, spread=1.3, tolerance=0.03)
            or _mixed_units("rms force", "eV/A", forces, group, path, _FORCE_UNITS, spread=1.5, tolerance=0.15)
        )
    found = [error for error in mixed if error is not None]
    if found and len(found) >= SHARE_OF_MIXED * len(several):
        raise found[0]


def _check_values(frame: Frame, where: str, max_force: float) -> None:
    """Shapes, finite values, force and stress limits."""
    count = len(frame)
    for name, shape in (("positions", (count, 3)), ("cell", (3, 3)), ("forces", (count, 3)), ("stress", (3, 3))):
        value = getattr(frame, name)
        if value is None:
            continue
        if value.shape != shape:
            raise InputError(f"{where}: {name} of shape {value.shape}", f"shape {shape}", "correct the file")
        if not np.isfinite(value).all():
            raise InputError(f"{where}: {name} with nan or inf", "finite numbers", "remove the frame")
    if frame.energy is not None and not np.isfinite(frame.energy):
        raise InputError(f"{where}: energy {frame.energy}", "a finite number", "remove the frame")
    if frame.pbc.any() and abs(np.linalg.det(frame.cell)) < 1e-6 and frame.pbc.all():
        raise InputError(f"{where}: pbc without a cell", "a cell with a volume", "add Lattice or set pbc to F")
    if frame.forces is not None and (largest := np.abs(frame.forces).max()) > max_force:
        do = "remove the frame, convert the units, or raise max_force"
        raise InputError(f"{where}: a force of {largest:.4g} eV/A", f"at most max_force = {max_force:g} eV/A", do)
    if frame.stress is not None and (largest := np.abs(frame.stress).max()) > _MAX_STRESS:
        do = "convert GPa or bar to eV/A^3"
        raise InputError(f"{where}: a stress of {largest:.4g} eV/A^3", f"at most {_MAX_STRESS:g} eV/A^3", do)


def _mixed_units(
    what: str,
    unit: str,
    values: Sequence[float | None],
    group: Sequence[int],
    path: str | Path,
    factors: dict[str, float],
    spread: float,
    tolerance: float,
) -> InputError | None:
    """What to say of values (one for each frame of `group`) in two narrow groups that differ by one of `factors`.

    narrow: the largest over the smallest is below `spread`; tolerance: of the logarithm of the factor.
    """
    known = [(np.log(value), index) for value, index in zip(values, group, strict=True) if value]
    if len(known) < 2:
        return None
    known.sort()
    logs = np.array([log for log, _ in known])
    cut = int(np.diff(logs).argmax()) + 1
    low, high = logs[:cut], logs[cut:]
    if max(np.ptp(low), np.ptp(high)) > np.log(spread):
        return None
    step = high.mean() - low.mean()
    name, factor = min(factors.items(), key=lambda item: abs(step - np.log(item[1])))
    if abs(step - np.log(factor)) < tolerance:
        odd = min(index for _, index in (known[:cut] if len(low) < len(high) else known[cut:]))
        got = f"{path}, frame {odd}: mixed units, its {what} differs from other frames by a factor {np.exp(step):.4g}"
        return InputError(got, f"{unit} in every frame", f"convert it (the factor is near that of {name})")
    return None


def minimum_rms_distance(frames_a: Sequence[Frame], frames_b: Sequence[Frame]) -> float:
    """The smallest rms displacement of an atom (A) between a frame of a and a frame of b, in the same atom order.

    Minimum image in fractional coordinates where periodic, measured in the mean of the two cells. Frames of other
    atoms are never near. Raises InputError if no pair of frames has the same atoms.
    """
    return float(rms_distances(frames_a, frames_b).min(initial=np.inf))


def rms_distances(frames_a: Sequence[Frame], frames_b: Sequence[Frame]) -> np.ndarray:
    """(A, B) rms displacements in A, as in `minimum_rms_distance`; inf where the atoms differ."""
    distances = np.full((len(frames_a), len(frames_b)), np.inf)
    groups: dict[tuple, list[int]] = defaultdict(list)
    for j, frame in enumerate(frames_b):
        groups[(frame.numbers.tobytes(), frame.pbc.tobytes())].append(j)
    for key, members in groups.items():
        cells = np.array([frames_b[j].cell for j in members])
        stacked = np.array([_coordinates(frames_b[j]) for j in members])  # (M, N, 3)
        for i, frame in enumerate(frames_a):
            if (frame.numbers.tobytes(), frame.pbc.tobytes()) != key:
                continue
            moves = stacked - _coordinates(frame)
            if frame.pbc.any():
                moves -= np.round(moves) * frame.pbc
                moves = moves @ ((cells + frame.cell) / 2)
            distances[i, members] = np.sqrt((moves**2).sum(-1).mean(-1))
    if np.isinf(distances).all():
        raise InputError("no two frames of the same atoms in the same order", "at least one pair", "order them alike")
    return distances


def _coordinates(frame: Frame) -> np.ndarray:
    """(N, 3) fractional where periodic, otherwise A."""
    if not frame.pbc.any():
        return frame.positions
    return frame.positions @ np.linalg.inv(frame.cell)
