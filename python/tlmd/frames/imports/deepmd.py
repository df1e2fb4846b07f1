"""Folders of deepmd-kit: type.raw, type_map.raw, and set.*/coord.npy, box.npy, energy.npy, force.npy, virial.npy.

Its units are eV and A. Its virial is -dE/d(strain) in eV, so that the stress is -virial / volume.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError

WHAT = "a folder of deepmd-kit"
_WIDTHS = {"coord": 3, "box": 0, "energy": 0, "force": 3, "virial": 0}  # numbers for each atom; 0: of the frame
_OF_FRAME = {"box": 9, "energy": 1, "virial": 9}


def systems(path: Path) -> list[Path]:
    """The folders with a type.raw at `path` (a folder, or its type.raw) and below it."""
    if path.is_file():
        return [path.parent]
    return sorted(file.parent for file in path.rglob("type.raw"))


def files(path: Path) -> list[Path]:
    """Every file that is read."""
    return [file for folder in systems(path) for file in sorted([*folder.glob("*.raw"), *folder.glob("set.*/*.npy")])]


def read_folder(path: Path) -> tuple[list[Frame], list[str]]:
    """The frames of all systems and sets, in the order of their names. InputError for what is not whole."""
    return [frame for folder in systems(path) for frame in _system(folder)], []


def _system(folder: Path) -> list[Frame]:
    numbers = _numbers(folder)
    periodic = not (folder / "nopbc").exists()
    sets = sorted(folder.glob("set.*"))
    if not sets:
        raise InputError(f"{folder} without set.*", "coord.npy, box.npy, ... in set.000", "write it as npy, not as raw")
    frames = []
    for part in sets:
        if (part / "real_atom_types.npy").exists():
            do = "write one system for each composition (dpdata: to('deepmd/npy'))"
            raise InputError(f"{part}, of the mixed type", "one composition in a folder", do)
        frames += _set(part, numbers, periodic)
    return frames


def _set(part: Path, numbers: np.ndarray, periodic: bool) -> list[Frame]:
    found = {
        name: _array(part / f"{name}.npy", len(numbers) * each or _OF_FRAME[name]) for name, each in _WIDTHS.items()
    }
    coordinates = found["coord"]
    if coordinates is None or (periodic and found["box"] is None):
        raise InputError(f"{part} without {'box' if coordinates is not None else 'coord'}.npy", "it", "write it again")
    for name, values in found.items():
        if values is not None and len(values) != len(coordinates):
            got = f"{part / f'{name}.npy'} of {len(values)} frames"
            raise InputError(got, f"{len(coordinates)}, as in coord.npy", "write the folder again")
    frames = []
    for k, places in enumerate(coordinates):
        energy, force, virial = (
            None if found[name] is None else found[name][k] for name in ("energy", "force", "virial")
        )
        cell = found["box"][k].reshape(3, 3) if periodic else np.zeros((3, 3))
        stress = -virial.reshape(3, 3) / abs(np.linalg.det(cell)) if periodic and virial is not None else None
        frames.append(
            Frame(
                numbers,
                places.reshape(-1, 3),
                cell,
                np.full(3, periodic),
                None if energy is None else float(energy[0]),
                None if force is None else force.reshape(-1, 3),
                stress,
                {"source": f"{part.parent.name}/{part.name}"},
            )
        )
    return frames


def _array(file: Path, width: int) -> np.ndarray | None:
    """(B, width) float64, None if there is no such file."""
    if not file.exists():
        return None
    try:
        values = np.load(file, allow_pickle=False)
        return values.reshape(len(values), width).astype(float)
    except (ValueError, EOFError, TypeError, OSError) as error:
        raise InputError(f"{file}: {error}", f"{width} numbers for each frame", "copy or write it again") from None


def _numbers(folder: Path) -> np.ndarray:
    """(N,) atomic numbers."""
    names = folder / "type_map.raw"
    if not names.exists():
        do = "write it, the symbols in the order of the types"
        raise InputError(f"{folder} without type_map.raw", "the elements of the types", do)
    symbols = names.read_text(encoding="utf-8").split()
    types = (folder / "type.raw").read_text(encoding="utf-8").split()
    unknown = [symbol for symbol in symbols if not atomic_numbers.get(symbol)]
    if unknown or not all(word.isdecimal() and int(word) < len(symbols) for word in types):
        wrong = f"type_map.raw with {unknown[0]}" if unknown else f"type.raw with types beyond {len(symbols) - 1}"
        raise InputError(f"{folder}: {wrong}", "an element for each type", "correct the file")
    return np.array([atomic_numbers[symbols[int(word)]] for word in types])
