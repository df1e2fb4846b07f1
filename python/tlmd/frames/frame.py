"""Labelled frames: extxyz (plain, .gz, .xz) and ASE databases in, extxyz out.

ASE's own reader takes minutes for a compressed set of liquid frames; this one reads the same set in seconds.
"""

from __future__ import annotations

import functools
import gzip
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import get_distances
from ase.io.extxyz import key_val_str_to_dict

from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

KEYS: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "REF_energy", "free_energy", "dft_energy", "DFT_energy", "total_energy", "Energy"),
    "forces": ("forces", "REF_forces", "force", "dft_forces", "DFT_forces", "dft_force"),
    "stress": ("stress", "REF_stress", "dft_stress", "DFT_stress"),
    "virial": ("virial", "virials", "REF_virial", "REF_virials", "dft_virial"),
}
_OPEN = {".gz": gzip.open, ".xz": lzma.open}
_NO_CELL = np.zeros((3, 3))


@dataclass(frozen=True, eq=False)
class Frame:
    """One configuration and its labels; a label that is absent is None.

    numbers (N,) int; positions (N, 3) A; cell (3, 3) A, rows are vectors; pbc (3,) bool; energy eV;
    forces (N, 3) eV/A; stress (3, 3) eV/A^3 in ASE's sign (tension positive); info: kind, source, set, ...
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray = field(default_factory=lambda: _NO_CELL.copy())
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def replace(self, **changes: Any) -> Frame:
        """A copy with the named fields changed."""
        return replace(self, **changes)

    def atoms(self) -> Atoms:
        """ASE Atoms with the labels in a SinglePointCalculator."""
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info))
        stress = None if self.stress is None else self.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=self.energy, forces=self.forces, stress=stress)
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, keys: Mapping[str, str | Sequence[str]] | None = None) -> Frame:
        """From ASE Atoms: labels from the calculator's results, atoms.info and atoms.arrays, in this order."""
        results = atoms.calc.results if atoms.calc is not None else {}
        usual = {name for names in KEYS.values() for name in names}
        info = {**atoms.info, **{name: value for name, value in results.items() if name in usual}}
        return _frame(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, info, atoms.arrays, keys)


def read_frames(
    path: str | Path,
    keys: Mapping[str, str | Sequence[str]] | None = None,
    max_force: float = 100.0,
    check: bool = True,
) -> list[Frame]:
    """All frames of an extxyz file (.extxyz or .xyz, also .gz, .xz) or an ASE database (.db).

    keys gives the name(s) of a label in the file where it is not a usual one, e.g. {"energy": "pbe_energy"}; the
    virial is converted to stress. Units must be eV, A. With `check` (see `tlmd.frames.checks.check_frames`), absurd
    values, duplicates and mixed units are refused. Raises InputError naming the file and the frame (the first is 0).
    """
    from tlmd.frames.checks import check_frames

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}", "frames in extxyz or an ASE database", "check the path")
    unknown = set(keys or ()) - set(KEYS)
    if unknown:
        raise InputError(f"keys for {', '.join(sorted(unknown))}", f"keys for {', '.join(KEYS)}", "correct the names")
    frames = _read_database(path, keys) if path.suffix == ".db" else _read_extxyz(path, keys)
    if not frames:
        raise InputError(f"no frames in {path}", "at least one frame", "check how the file was written")
    for label in keys or ():
        if all(getattr(frame, "stress" if label == "virial" else label) is None for frame in frames):
            raise InputError(f"no {label} under the key {keys[label]} in {path}", "a key of the file", "check its name")
    if check:
        check_frames(frames, path, max_force)
    return frames


def read_once(path: Path, check: bool = True) -> list[Frame]:
    """As read_frames; asked for again, the last file that has not changed since is not read again."""
    return _read_once(path, check, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, check: bool, _changed: int) -> list[Frame]:
    return read_frames(path, check=check)


def minimum_image(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) A moved by whole cell vectors so that each fractional coordinate lies within half a cell."""
    fractions = vectors @ np.linalg.inv(cell)
    return (fractions - np.round(fractions)) @ cell


def distances(frame: Frame) -> np.ndarray:
    """(N, N) distances (A), minimum image where periodic."""
    return get_distances(frame.positions, cell=frame.cell, pbc=frame.pbc)[1]


def shortest(frame: Frame) -> float:
    """The shortest distance (A) between two atoms, minimum image where periodic; inf for a single one."""
    return float(distances(frame)[~np.eye(len(frame), dtype=bool)].min(initial=np.inf))


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write extxyz, compressed by the suffix (.gz, .xz), under a temporary name that is renamed when complete.

    Positions and forces are written to 1e-9, energies to 1e-9 eV, stresses to 12 digits.
    """

    def write(temporary: Path) -> None:
        with _OPEN.get(Path(path).suffix, open)(temporary, "wt", encoding="utf-8") as file:
            for frame in frames:
                file.write(_text(frame))

    write_atomic(path, write)


def _text(frame: Frame) -> str:
    """The frame as extxyz."""
    columns = [frame.positions] + ([] if frame.forces is None else [frame.forces])
    head = {"Properties": "species:S:1:pos:R:3" + ("" if frame.forces is None else ":forces:R:3")}
    if frame.pbc.any() or frame.cell.any():
        head["Lattice"] = " ".join(f"{x:.10g}" for x in frame.cell.ravel())
    head["pbc"] = " ".join("FT"[int(periodic)] for periodic in frame.pbc)
    if frame.energy is not None:
        head["energy"] = f"{frame.energy:.9f}"
    if frame.stress is not None:
        head["stress"] = " ".join(f"{x:.12g}" for x in frame.stress.ravel())
    head |= {key: _value(value) for key, value in frame.info.items()}
    quoted = {key: f'"{value}"' if set(" []{}") & set(value) or not value else value for key, value in head.items()}
    comment = " ".join(f"{key}={value}" for key, value in quoted.items())
    rows = StringIO()
    width = 3 * len(columns)
    for number, row in zip(frame.numbers, np.concatenate(columns, axis=1), strict=True):
        rows.write(("%-2s" + " %.9f" * width + "\n") % (chemical_symbols[number], *row))
    return f"{len(frame)}\n{comment}\n{rows.getvalue()}"


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple):
        return " ".join(_value(item) for item in np.ravel(value))
    if isinstance(value, bool | np.bool_):
        return "FT"[int(value)]
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    return str(value).replace('"', "'").replace("\n", " ")


def _read_extxyz(path: Path, keys: Mapping[str, str | Sequence[str]] | None) -> list[Frame]:
    try:
        with _OPEN.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (lzma.LZMAError, EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "a complete extxyz file", "copy or write it again") from None
    frames, at = [], 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        try:
            count = int(lines[at])
            rows = lines[at + 2 : at + 2 + count]
            if count < 1 or len(rows) < count:
                raise ValueError(f"{len(rows)} of {count} atoms")
            frames.append(_parse(lines[at + 1], rows, keys))
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(f"{path}, frame {len(frames)}: {error}", "an extxyz frame", "correct or cut it") from None
        at += 2 + count
    return frames


def _parse(comment: str, rows: list[str], keys: Mapping[str, str | Sequence[str]] | None) -> Frame:
    """One extxyz frame from its comment line and the lines of its atoms."""
    info = key_val_str_to_dict(comment)
    cell = np.asarray(info.pop("Lattice", _NO_CELL), dtype=float).T  # ASE's parser gives the vectors as columns
    pbc = np.broadcast_to(np.asarray(info.pop("pbc", bool(cell.any())), dtype=bool), 3).copy()
    properties = str(info.pop("Properties", "species:S:1:pos:R:3")).split(":")
    table = np.array(" ".join(rows).split()).reshape(len(rows), -1)
    arrays, at = {}, 0
    for name, kind, count in zip(properties[::3], properties[1::3], map(int, properties[2::3]), strict=True):
        columns = table[:, at : at + count]
        if columns.shape[1] < count:
            raise ValueError(f"{table.shape[1]} columns, too few for Properties")
        arrays[name] = columns.astype(float) if kind in "RI" else columns
        at += count
    if "species" in arrays:
        numbers = np.array([atomic_numbers[symbol] for symbol in arrays.pop("species")[:, 0]])
    else:
        numbers = arrays.pop("Z")[:, 0].astype(int)
    return _frame(numbers, arrays["pos"], cell, pbc, info, arrays, keys)


def _read_database(path: Path, keys: Mapping[str, str | Sequence[str]] | None) -> list[Frame]:
    from ase.db import connect

    frames = []
    for row in connect(path).select():
        atoms = row.toatoms()
        atoms.info |= {**row.key_value_pairs, **row.data}
        frames.append(Frame.from_atoms(atoms, keys))
    return frames


def _frame(numbers, positions, cell, pbc, info, arrays, keys) -> Frame:
    """A frame from what a file holds: labels are taken out of `info` (N-fold ones also from `arrays`)."""
    names = {label: (chosen,) if isinstance(chosen, str) else tuple(chosen) for label, chosen in (keys or {}).items()}
    names = {label: names.get(label, usual) for label, usual in KEYS.items()}
    found = {}
    for label, candidates in names.items():
        source = {**info, **arrays} if label == "forces" else info
        found[label] = next((source[name] for name in candidates if source.get(name) is not None), None)
    cell = np.array(cell, dtype=float)
    stress = None if found["stress"] is None else _matrix(found["stress"])
    if stress is None and found["virial"] is not None:
        stress = -_matrix(found["virial"]) / abs(np.linalg.det(cell))
    labels = {name for candidates in names.values() for name in candidates}
    labels.update(name for usual in KEYS.values() for name in usual)
    return Frame(
        numbers=np.array(numbers, dtype=int),
        positions=np.array(positions, dtype=float),
        cell=cell,
        pbc=np.array(pbc, dtype=bool),
        energy=None if found["energy"] is None else float(np.ravel(found["energy"])[0]),
        forces=None if found["forces"] is None else np.array(found["forces"], dtype=float).reshape(-1, 3),
        stress=stress,
        info={
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in info.items()
            if name not in labels
        },
    )


def _matrix(values: Any) -> np.ndarray:
    """(3, 3) from 9 numbers, or from 6 in Voigt order xx yy zz yz xz xy."""
    values = np.asarray(values, dtype=float)
    if values.size == 6:
        return values.ravel()[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    if values.size != 9:
        raise ValueError(f"a stress or virial of {values.size} numbers")
    return values.reshape(3, 3)
