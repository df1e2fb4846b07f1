"""The teachers GFN1-xTB (Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989, 2017) and GFN2-xTB (Bannwarth,
Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652, 2019) by tblite: tight binding, in which bonds form and break.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.optimize import BFGS

from tlmd.data.config import MMFF94Config, XTBConfig
from tlmd.data.frames import Frame
from tlmd.data.mmff94 import Field, Unsuited
from tlmd.data.system import Teacher
from tlmd.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE

try:
    from tblite.ase import TBLite
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
    from tblite.interface import Calculator
except ImportError:
    Calculator = None

RELAXED_EV_A = 0.01  # largest force component of a relaxed conformer
RELAX_STEPS = 200


class XTB(Teacher):
    """Labels of any frames, periodic or not; the zero of energy is xTB's own."""

    def __init__(self, config: XTBConfig):
        if Calculator is None:
            raise InputError("no tblite", "the extra [xtb]", "pip install tblite")
        self.config = config
        self._last: tuple[Frame, Frame] | None = None  # what was asked last, and its labels
        self.field = lru_cache(maxsize=256)(lambda smiles: XTBField(smiles, self))

    def unfit(self, frame: Frame) -> str | None:
        """The words no convergence where the charges of a frame do not converge."""
        try:
            self.label(frame)
        except Unsuited:
            return "no convergence"
        return None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3). Raises Unsuited where charges
        do not converge."""
        if self._last is None or self._last[0] is not frame:
            self._last = frame, frame.replace(**self.evaluate(frame.numbers, frame.positions, frame.cell, frame.pbc))
        return self._last[1]

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
    ) -> dict:
        """energy (eV), forces (N, 3) (eV/A) and, where periodic, stress (3, 3) (eV/A^3) at positions and cell in A."""
        periodic = pbc is not None and np.any(pbc)
        box = {"lattice": np.asarray(cell) / BOHR_A, "periodic": np.asarray(pbc)} if periodic else {}
        settings = self.config
        try:
            calculator = Calculator(
                settings.method, numbers, positions / BOHR_A, settings.charge, settings.unpaired_electrons, **box
            )
            calculator.set("verbosity", 0)
            found = calculator.singlepoint()
        except (TBLiteRuntimeError, TBLiteValueError) as error:
            got = f"{settings.method} of {len(numbers)} atoms: {' '.join(str(error).split())}"
            raise Unsuited(got, "charges that converge", "leave the frame out") from None
        labels = {
            "energy": float(found["energy"]) * EV_PER_HARTREE,
            "forces": -np.array(found["gradient"]) * (EV_PER_HARTREE / BOHR_A),
        }
        if periodic:
            labels["stress"] = np.array(found["virial"]) * EV_PER_HARTREE / abs(np.linalg.det(cell))
        return labels


class XTBField(Field):
    """xTB of one molecule; its graph and first conformers are those of MMFF94."""

    def __init__(self, smiles: str, teacher: XTB):
        super().__init__(smiles, MMFF94Config(name="mmff94", energies="mmff94"))
        self._teacher = teacher

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        labels = self._teacher.evaluate(self.numbers, positions)
        return labels["energy"], labels["forces"]

    def relax(self, positions: np.ndarray) -> np.ndarray:
        settings = self._teacher.config
        atoms = Atoms(self.numbers, super().relax(positions))
        atoms.calc = TBLite(
            method=settings.method, charge=settings.charge, multiplicity=settings.unpaired_electrons + 1, verbosity=0
        )
        BFGS(atoms, logfile=None).run(RELAXED_EV_A, RELAX_STEPS)
        return atoms.positions
