"""Which format a file or a folder has, by its first bytes and its name; what reads it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tlmd.frames.frame import Frame
from tlmd.frames.imports import cp2k, deepmd, outputs, pymatgen_json
from tlmd.frames.imports.files import content, conversion
from tlmd.run.errors import InputError
from tlmd.run.files import sha256

KNOWN = (
    "extxyz, an ASE database or trajectory, output of VASP, CP2K, Quantum ESPRESSO, ORCA, FHI-aims or GPAW, a folder "
    "of deepmd-kit, JSON of pymatgen"
)
_LOOK = 4096  # bytes
_XYZ = re.compile(r"\.(ext)?xyz(\.gz|\.xz)?$", re.IGNORECASE)


class Format(NamedTuple):
    """A format: what it is called, what reads it, a pattern of its first bytes, and one of its name."""

    what: str
    read: Callable[[Path], tuple[list[Frame], list[str]]]
    start: str
    name: str = "$^"


def _output(output: outputs.Output, start: str, name: str = "$^") -> Format:
    return Format(output.what, partial(outputs.read_output, output=output), start, name)


FORMATS = (
    _output(outputs.TRAJECTORY, r"- of UlmASE-Trajectory", r"\.traj$"),
    _output(outputs.OUTCAR, r"\s*vasp\.\d", r"OUTCAR"),
    _output(outputs.VASPRUN, r"[\s\S]*<modeling>", r"vasprun.*\.xml"),
    _output(outputs.XDATCAR, r"$^", r"^XDATCAR"),
    _output(outputs.ESPRESSO, r"[\s\S]*Program PWSCF", r"\.(pwo|pw\.out)$"),
    _output(outputs.ORCA, r"[\s\S]*\* O   R   C   A \*"),
    _output(outputs.AIMS, r"[\s\S]*Invoking FHI-aims"),
    _output(outputs.GPAW, r"[\s\S]*  ___ ___ ___ _ _ _"),
    Format(cp2k.OUTPUT, cp2k.read_output, r"[\s\S]*(DBCSR\||CP2K\|)", r"cp2k.*\.(out|log)$"),
    Format(cp2k.WHAT, cp2k.read_trajectory, r"\s*\d+ *\r?\n *i = +\d+,.*E ="),
    Format(pymatgen_json.WHAT, pymatgen_json.read_json, r'[\s\S]*"@module": *"pymatgen'),
)


def format_of(path: Path) -> Format | None:
    """The format of a file or folder; None for extxyz and ASE databases. InputError for one that is not known."""
    if path.is_dir() or path.name == "type.raw":
        if not deepmd.systems(path):
            raise InputError(f"{path}, a folder without type.raw", KNOWN, "name the file")
        return Format(deepmd.WHAT, deepmd.read_folder, "")
    if is_database(path):
        return None
    start = content(path, _LOOK)
    beginning = start.decode("latin-1")
    found = next((each for each in FORMATS if re.match(each.start, beginning)), None)
    if found is not None:
        return found
    if beginning.lstrip()[:1].isdigit() or not start.strip():  # a number of atoms: extxyz, whatever its name
        return None
    if re.match(r"ITEM: (TIMESTEP|UNITS)", beginning):
        do = f"label the frames by tl-generate, or convert: {conversion(path, ':', 'lammps-dump-text')}"
        raise InputError(f"{path}, a dump of LAMMPS, which has no energies", KNOWN, do)
    found = next((each for each in FORMATS if re.search(each.name, path.name, re.IGNORECASE)), None)
    if found is None and not (_XYZ.search(path.name) and b"\0" not in start):
        raise InputError(f"{path}, of a format that is not known", KNOWN, f"convert it: {conversion(path)}")
    return found


def is_database(path: Path) -> bool:
    """Whether it is an ASE database in SQLite."""
    return path.suffix == ".db" or content(path, 16).startswith(b"SQLite format 3")


def files_of(path: Path) -> list[Path]:
    """Every file that reading `path` takes: of a folder all that is in it, of CP2K's positions those beside them."""
    if path.is_dir() or path.name == "type.raw":
        return deepmd.files(path)
    return [path, *cp2k.beside(path).values()] if path.is_file() else [path]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file; of several that are read together, of their names and hashes."""
    files = files_of(path)
    if files == [path]:
        return sha256(path)
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()


def frame_files(key: str, path: Path) -> dict[str, Path]:
    """These files by keys of a configuration: `key` itself for one that is read alone or first."""
    files = files_of(path)
    return {key if file == path else f"{key}.{file.relative_to(path.parent)}": file for file in files} or {key: path}
