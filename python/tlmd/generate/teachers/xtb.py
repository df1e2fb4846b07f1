"""The teachers GFN1-xTB (Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989, 2017) and GFN2-xTB (Bannwarth,
Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652, 2019) by tblite: tight binding, in which bonds form and break.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tlmd.generate.interfaces import Unsuited
from tlmd.generate.registry import teacher
from tlmd.generate.teachers.any_composition import AnyComposition, AnyCompositionConfig
from tlmd.run.errors import InputError
from tlmd.units import BOHR_A, EV_PER_HARTREE


class XTBConfig(AnyCompositionConfig):
    """The teacher xTB: extended tight binding, evaluated by tblite."""

    name: Literal["xtb"]
    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN1-xTB", description="parametrisation of tblite")
    charge: Annotated[float, Field(ge=-1000, le=1000)] = Field(0.0, description="e, charge of every frame")
    unpaired_electrons: int = Field(0, ge=0, le=1000, description="number of unpaired electrons of every frame")


@teacher
class XTB(AnyComposition):
    """GFN1-xTB or GFN2-xTB by tblite. Raises Unsuited where the charges do not converge."""

    config: XTBConfig

    def __init__(self, config: XTBConfig):
        try:
            from tblite import exceptions, interface
        except ImportError:
            raise InputError("no tblite", "the extra [xtb]", "pip install tblite") from None
        super().__init__(config)
        self._calculator = interface.Calculator
        self._failures = (exceptions.TBLiteRuntimeError, exceptions.TBLiteValueError)

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
    ) -> dict:
        periodic = pbc is not None and np.any(pbc)
        box = {"lattice": np.asarray(cell) / BOHR_A, "periodic": np.asarray(pbc)} if periodic else {}
        settings = self.config
        try:
            calculator = self._calculator(
                settings.method, numbers, positions / BOHR_A, settings.charge, settings.unpaired_electrons, **box
            )
            calculator.set("verbosity", 0)
            found = calculator.singlepoint()
        except self._failures as error:
            got = f"{settings.method} of {len(numbers)} atoms: {' '.join(str(error).split())}"
            raise Unsuited(got, "charges that converge", "leave the frame out") from None
        labels = {
            "energy": float(found["energy"]) * EV_PER_HARTREE,
            "forces": -np.array(found["gradient"]) * (EV_PER_HARTREE / BOHR_A),
        }
        if periodic and np.all(pbc):
            labels["stress"] = np.array(found["virial"]) * EV_PER_HARTREE / abs(np.linalg.det(cell))
        return labels
