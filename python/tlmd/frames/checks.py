"""What a set of labelled frames must satisfy, and how far two sets are apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.cell import Cell
from ase.data import chemical_symbols
from scipy.spatial import cKDTree

from tlmd.frames.frame import Frame
from tlmd.graph import check_cell
from tlmd.run.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE, EV_PER_KCAL_MOL, EV_PER_KJ_MOL

_ENERGY_UNITS = {
    "hartree": EV_PER_HARTREE,
    "Ry": EV_PER_HARTREE / 2,
    "kcal/mol": 1 / EV_PER_KCAL_MOL,
    "kJ/mol": 1 / EV_PER_KJ_MOL,
    "meV": 1000.0,
}
_FORCE_UNITS = _ENERGY_UNITS | {"hartree/bohr": EV_PER_HARTREE / BOHR_A, "Ry/bohr": EV_PER_HARTREE / BOHR_A / 2}
SHARE_OF_MIXED = 0.1  # of the compositions; one of many molecules may have a relaxed and a strained frame by chance
SAME_A = 1e-4  # frames whose coordinates agree to this are the same
CLOSEST_A = 0.1  # atoms that are nearer are one atom twice, or wrong units
_MAX_STRESS = 10.0  # eV/A^3, 1.6 TPa
_MAX_ENERGY = 1e7  # eV/atom, beyond all electrons of the heaviest element


def check_frames(frames: Sequence[Frame], path: str | Path = "frames", max_force: float = 100.0) -> None:
    """Refuse absurd values, duplicates and mixed units. Raises InputError naming the file and the frame (first is 0).

    Absurd are cells that cannot be (tlmd.graph.check_cell), atoms nearer than CLOSEST_A, numbers that are not finite
    or beyond all use. A frame is a duplicate when numbers, cell and positions agree to SAME_A. Units are called mixed
    when frames of one composition fall into two narrow groups whose energies per atom or forces differ by a factor
    between usual units, and that is so for a tenth of the compositions at least.
    """
    for index, frame in enumerate(frames):
        check_frame(frame, f"{path}, frame {index}", max_force)
    for first, second in same_frames(frames, frames):
        got = f"{path}, frame {second}: a duplicate of frame {first}"
        raise InputError(got, "each configuration once", "remove one")
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
            _mixed_units("energy per atom", "eV", energies, group, path, _ENERGY_UNITS, narrow=1.3, tolerance=0.03)
            or _mixed_units("rms force", "eV/A", forces, group, path, _FORCE_UNITS, narrow=1.5, tolerance=0.15)
        )
    found = [error for error in mixed if error is not None]
    if found and len(found) >= SHARE_OF_MIXED * len(several):
        raise found[0]


def check_frame(frame: Frame, where: str, max_force: float = 100.0) -> None:
    """Refuse absurd values of one frame: elements, cell, atoms that are too near, labels. InputError names `where`."""
    count = len(frame)
    if not count:
        raise InputError(f"{where}: no atoms", "at least one", "remove the frame")
    if (odd := (frame.numbers < 1) | (frame.numbers >= len(chemical_symbols))).any():
        raise InputError(f"{where}: atomic number {frame.numbers[odd][0]}", "an element", "correct the file")
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
    if frame.energy is not None and abs(frame.energy) > _MAX_ENERGY * count:
        got = f"{where}: an energy of {frame.energy / count:.4g} eV/atom"
        raise InputError(got, f"at most {_MAX_ENERGY:g} eV/atom", "correct the label or remove the frame")
    try:
        check_cell(frame.positions, frame.cell, frame.pbc)
    except InputError as error:
        raise error.at(where) from None
    if (pair := nearest_atoms(frame)) is not None:
        got = f"{where}: two atoms at one place, {pair[0]} and {pair[1]} are {pair[2]:.2g} A apart"
        raise InputError(got, f"at least {CLOSEST_A:g} A", "remove one of them, or convert the positions to A")
    if frame.forces is not None and (largest := np.abs(frame.forces).max()) > max_force:
        do = "remove the frame, convert the units, or raise max_force"
        raise InputError(f"{where}: a force of {largest:.4g} eV/A", f"at most max_force = {max_force:g} eV/A", do)
    if frame.stress is not None and (largest := np.abs(frame.stress).max()) > _MAX_STRESS:
        do = "convert GPa or bar to eV/A^3"
        raise InputError(f"{where}: a stress of {largest:.4g} eV/A^3", f"at most {_MAX_STRESS:g} eV/A^3", do)


def nearest_atoms(frame: Frame, closest: float = CLOSEST_A) -> tuple[int, int, float] | None:
    """Two atoms that are nearer than `closest` (A), and their distance; None if there are none.

    A k-d tree of the coordinates along the heights of the cell finds the candidates: no two atoms are nearer than
    they are along any height.
    """
    cell = Cell(np.where(frame.pbc[:, None], frame.cell, 0.0)).complete().array
    across = np.linalg.inv(cell)  # columns: reciprocal vectors
    heights = 1.0 / np.linalg.norm(across, axis=0)
    fractions = frame.positions @ across
    fractions -= np.where(frame.pbc, np.floor(fractions), fractions.min(axis=0))
    box = np.where(frame.pbc, heights * (1 + 1e-12), 0.0)  # 0: not periodic
    tree = cKDTree(fractions * heights, boxsize=box)
    pairs = tree.query_pairs(closest, p=np.inf, output_type="ndarray")
    moves = fractions[pairs[:, 1]] - fractions[pairs[:, 0]]
    lengths = np.linalg.norm((moves - np.where(frame.pbc, np.round(moves), 0.0)) @ cell, axis=1)
    if not len(lengths) or lengths.min() >= closest:
        return None
    i, j = sorted(int(atom) for atom in pairs[lengths.argmin()])
    return i, j, float(lengths.min())


def same_frames(frames_a: Sequence[Frame], frames_b: Sequence[Frame]) -> list[tuple[int, int]]:
    """Pairs (in a, in b) of frames whose numbers, pbc, positions and cells agree to SAME_A; i < j if b is a itself.

    Frames are sorted by one random projection of their coordinates, near which alone the same ones can lie.
    """
    groups: dict[tuple, list[tuple[int, bool]]] = defaultdict(list)
    parts = [frames_a] if frames_b is frames_a else [frames_a, frames_b]
    for second, part in enumerate(parts):
        for index, frame in enumerate(part):
            groups[(frame.numbers.tobytes(), frame.pbc.tobytes())].append((index, bool(second)))
    found = []
    for members in groups.values():
        if len(members) < 2:
            continue
        places = np.array([np.vstack([parts[s][i].positions, parts[s][i].cell]).ravel() for i, s in members])
        direction = np.random.default_rng(0).normal(size=places.shape[1])
        along = places @ (direction / np.linalg.norm(direction))
        order = np.argsort(along, kind="stable")
        reach = SAME_A * np.sqrt(places.shape[1])
        for k, one in enumerate(order):
            for other in order[k + 1 : np.searchsorted(along[order], along[one] + reach, side="right")]:
                if np.abs(places[one] - places[other]).max() > SAME_A:
                    continue
                (i, s), (j, t) = sorted((members[one], members[other]), key=lambda member: (member[1], member[0]))
                if len(parts) == 1 or s != t:
                    found.append((i, j))
    return sorted(found)


def _mixed_units(
    what: str,
    unit: str,
    values: Sequence[float | None],
    group: Sequence[int],
    path: str | Path,
    factors: dict[str, float],
    narrow: float,
    tolerance: float,
) -> InputError | None:
    """What to say of values (one for each frame of `group`) in two narrow groups that differ by one of `factors`.

    narrow: the largest over the smallest is below `narrow`; tolerance: of the logarithm of the factor.
    """
    known = [(np.log(value), index) for value, index in zip(values, group, strict=True) if value]
    if len(known) < 2:
        return None
    known.sort()
    logs = np.array([log for log, _ in known])
    cut = int(np.diff(logs).argmax()) + 1
    low, high = logs[:cut], logs[cut:]
    if max(np.ptp(low), np.ptp(high)) > np.log(narrow):
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
