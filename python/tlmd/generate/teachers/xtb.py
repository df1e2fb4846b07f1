"""The teachers GFN1-xTB (Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989, 2017) and GFN2-xTB (Bannwarth,
Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652, 2019) by tblite: tight binding, in which bonds form and break.
"""

from __future__ import annotations

import numpy as np

from tlmd.generate.config import XTBConfig
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.any_atoms import AnyAtoms
from tlmd.run.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE

try:
    from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
    from tblite.interface import Calculator
except ImportError:
    Calculator = None


class XTB(AnyAtoms):
    """Charges that do not converge leave a frame without a label."""

    config: XTBConfig

    def __init__(self, config: XTBConfig):
        if Calculator is None:
            raise InputError("no tblite", "the extra [xtb]", "pip install tblite")
        super().__init__(config)

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
    ) -> dict:
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
