"""GPAW (Mortensen et al., J. Chem. Phys. 160, 092503, 2024) in plane waves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.label.codes.ase import labels_by, version_of
from tlmd.label.interfaces import CodeConfig, NoLabel, PythonCode, Result, code, require_package
from tlmd.run.quantities import Precision, Steps

GRID = Annotated[int, Field(gt=0, le=100)]


class GPAWConfig(CodeConfig):
    """GPAW in plane waves: any periodic system."""

    name: Literal["gpaw"]
    functional: str = Field("PBE", description="as GPAW names them")
    cutoff_eV: Annotated[float, Field(gt=0, le=5000)] = Field(500.0, description="eV, of the plane waves")
    k_points: tuple[GRID, GRID, GRID] = Field((1, 1, 1), description="Monkhorst-Pack grid around the point Gamma")
    smearing_eV: Annotated[float, Field(ge=0, le=10)] = Field(0.0, description="eV, width of Fermi-Dirac; 0: none")
    spin: bool = Field(False, description="spin-polarised")
    eps_scf: Precision = Field(1e-6, description="eV per valence electron, change of the energy at convergence")
    max_scf: Steps = Field(200, description="SCF steps at most")
    arguments: dict[str, Any] = Field({}, description="further arguments of GPAW(...); they win over all others")


@code
class GPAWCode(PythonCode):
    """GPAW's own output is gpaw.txt in the folder of the frame."""

    config: GPAWConfig

    def __init__(self, config: GPAWConfig):
        super().__init__(config)
        require_package("gpaw", "GPAW", "pip install gpaw (it wants libxc and BLAS)")

    def level(self) -> dict[str, str | float]:
        config = self.config
        return {
            "functional": config.functional,
            "basis": "plane waves",
            "cutoff_eV": config.cutoff_eV,
            "k_points": "x".join(map(str, config.k_points)),
        }

    def compute(self, frame: Frame, stress: bool) -> Result:
        from gpaw import GPAW, PW, FermiDirac, KohnShamConvergenceError

        config = self.config
        settings = {
            "mode": PW(config.cutoff_eV),
            "xc": config.functional,
            "kpts": {"size": config.k_points, "gamma": True},
            "charge": self.charge(frame),
            "spinpol": config.spin,
            "convergence": {"energy": config.eps_scf},
            "maxiter": config.max_scf,
            "symmetry": "off",
            "txt": "gpaw.txt",
        }
        if config.smearing_eV:
            settings["occupations"] = FermiDirac(config.smearing_eV)
        try:
            return labels_by(GPAW(**settings | config.arguments), frame, stress, "GPAW", version_of("gpaw"))
        except KohnShamConvergenceError:
            raise NoLabel(f"SCF not converged in {config.max_scf} steps") from None
