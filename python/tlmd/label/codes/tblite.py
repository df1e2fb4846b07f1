"""GFN-xTB through tblite (Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652, 2019)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.label.codes.ase import labels_by, version_of
from tlmd.label.interfaces import CodeConfig, PythonCode, Result, code, require_package
from tlmd.run.quantities import Positive, Steps


class TbliteConfig(CodeConfig):
    """GFN1-xTB or GFN2-xTB by tblite: tight binding, also of periodic frames (at the point Gamma)."""

    name: Literal["tblite"]
    method: Literal["GFN2-xTB", "GFN1-xTB"] = Field("GFN2-xTB", description="which of the two")
    accuracy: Positive = Field(0.1, description="of the SCF, as tblite counts it: 1 is usual, less is tighter")
    max_scf: Steps = Field(250, description="SCF steps at most")


@code
class Tblite(PythonCode):
    """Charge and multiplicity are those of the frame."""

    config: TbliteConfig

    def __init__(self, config: TbliteConfig):
        super().__init__(config)
        require_package("tblite", "GFN-xTB", "pip install tblite")

    def level(self) -> dict[str, str | float]:
        return {"functional": self.config.method}

    def check(self, frame: Frame) -> None:
        self.multiplicity(frame)

    def compute(self, frame: Frame, stress: bool) -> Result:
        from tblite.ase import TBLite

        calculator = TBLite(
            method=self.config.method,
            accuracy=self.config.accuracy,
            max_iterations=self.config.max_scf,
            charge=self.charge(frame),
            multiplicity=self.multiplicity(frame),
            verbosity=0,
        )
        return labels_by(calculator, frame, stress, "tblite", version_of("tblite"))
