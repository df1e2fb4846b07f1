"""LAMMPS data files of atoms alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.io import write

from tlmd.run.files import write_atomic


def write_data(path: Path, atoms: Atoms, elements: Sequence[str]) -> None:
    """The atoms as a data file (atom_style atomic, with masses) whose types 1, 2, ... are `elements`."""
    settings = {"format": "lammps-data", "specorder": list(elements), "masses": True, "atom_style": "atomic"}
    write_atomic(path, lambda temporary: write(temporary, atoms, **settings))
