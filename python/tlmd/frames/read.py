"""Frames from a file: extxyz or an ASE database, checked as they are read."""

from __future__ import annotations

import functools
import re
import sqlite3
from pathlib import Path

from tlmd.frames.checks import check_frames
from tlmd.frames.extxyz import read_extxyz
from tlmd.frames.frame import Frame
from tlmd.frames.labels import KEYS, Keys
from tlmd.run.errors import InputError

# Outputs of programs, by the name of the file; ase.io reads them.
_FOREIGN = {
    "an ASE trajectory": r"\.traj$",
    "an output of VASP": r"OUTCAR|vasprun.*\.xml|XDATCAR",
    "an output of CP2K": r"cp2k.*\.(out|log)$|\.inp\.out$",
    "an output of Quantum ESPRESSO": r"\.(pwo|pw\.out)$",
    "a dump of LAMMPS": r"\.(dump|lammpstrj)$",
}
_STARTS = {
    "an ASE trajectory": b"- of Ulm",
    "an output of VASP": b" vasp.",
    "an output of CP2K": b" DBCSR|",
    "a dump of LAMMPS": b"ITEM: TIMESTEP",
}


def read_frames(
    path: str | Path, keys: Keys | None = None, max_force: float = 100.0, check: bool = True
) -> list[Frame]:
    """All frames of an extxyz file (.extxyz or .xyz, also .gz, .xz) or an ASE database (.db).

    keys gives the name(s) of a label in the file where it is not a usual one, e.g. {"energy": "pbe_energy"}; the
    virial is converted to stress. Units must be eV, A. With `check` (see `tlmd.frames.checks.check_frames`), absurd
    values, duplicates and mixed units are refused. Raises InputError naming the file and the frame (the first is 0).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}", "frames in extxyz or an ASE database", "check the path")
    unknown = set(keys or ()) - set(KEYS)
    if unknown:
        raise InputError(f"keys for {', '.join(sorted(unknown))}", f"keys for {', '.join(KEYS)}", "correct the names")
    _refuse_foreign(path)
    frames = _read_database(path, keys) if path.suffix == ".db" else read_extxyz(path, keys)
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


def _refuse_foreign(path: Path) -> None:
    """InputError with the line that converts it, for an output of another program."""
    with open(path, "rb") as file:
        start = file.read(4096)
    by_name = (what for what, pattern in _FOREIGN.items() if re.search(pattern, path.name, re.IGNORECASE))
    by_start = (what for what, mark in _STARTS.items() if start.lstrip(b"\n").startswith(mark))
    what = next(by_start, None) or next(by_name, None)
    if what is None or start.lstrip()[:1].isdigit():  # a number of atoms: extxyz, whatever its name
        return
    convert = f"from ase.io import read, write; write('frames.extxyz', read('{path}', ':'))"
    raise InputError(f"{path}, {what}", "frames in extxyz or an ASE database", f'convert it: python -c "{convert}"')


def _read_database(path: Path, keys: Keys | None) -> list[Frame]:
    from ase.db import connect

    frames = []
    try:
        for row in connect(path).select():
            atoms = row.toatoms()
            atoms.info |= {**row.key_value_pairs, **row.data}
            frames.append(Frame.from_atoms(atoms, keys))
    except (sqlite3.Error, ValueError, KeyError, TypeError, IndexError, AttributeError, UnicodeDecodeError) as error:
        got = f"{path}, frame {len(frames)}: {' '.join(str(error).split())[:200]}"
        raise InputError(got, "an ASE database that is whole", "copy or write it again") from None
    return frames
