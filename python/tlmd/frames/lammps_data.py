"""LAMMPS data files of atoms alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

SUFFIXES = (".data", ".lmp", ".lammps")  # of names of data files


def read_data(path: Path) -> Frame:
    """The periodic frame of a data file; elements by its masses. InputError for a file that is none."""
    try:
        atoms = read(path, format="lammps-data", sort_by_id=True)
    except OSError:
        raise
    except Exception as error:  # ASE's readers raise what their parsing meets
        got = f"{path}, which ASE does not read ({error})"
        raise InputError(got, "a LAMMPS data file with Masses and `Atoms # style`", "write it anew") from None
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, np.ones(3, dtype=bool))


def write_data(path: Path, atoms: Atoms, elements: Sequence[str]) -> None:
    """The atoms as a data file (atom_style atomic, with masses) whose types 1, 2, ... are `elements`, whatever types
    the atoms had in a file that they were read from."""
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    settings = {"format": "lammps-data", "specorder": list(elements), "masses": True, "atom_style": "atomic"}
    write_atomic(path, lambda temporary: write(temporary, atoms, **settings))
