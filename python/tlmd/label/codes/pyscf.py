"""Molecules by PySCF (Sun et al., J. Chem. Phys. 153, 024109, 2020): Hartree-Fock and DFT with gaussians."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.label.codes.ase import version_of
from tlmd.label.interfaces import CodeConfig, NoLabel, PythonCode, Result, code, refuse_periodic, require_package
from tlmd.run.errors import InputError
from tlmd.run.quantities import Positive, Precision, Steps
from tlmd.units import BOHR_A, EV_PER_HARTREE

GUESS_GRID, GUESS_EPS = 1, 1e-5  # grid level and hartree of the coarse guess


class PySCFConfig(CodeConfig):
    """Molecules by PySCF: any functional of libxc, open and closed shells, on any machine with Python."""

    elsewhere: ClassVar[tuple[str, ...]] = ("memory_GB", "coarse_guess")

    name: Literal["pyscf"]
    functional: str = Field("PBE0", description="as PySCF names them, e.g. PBE0, B3LYP, r2SCAN; or HF")
    basis: str = Field("def2-TZVP", description="as PySCF names them")
    dispersion: Literal["none", "D3", "D3BJ"] = Field(
        "none", description="D3 with zero damping, or with that of Becke and Johnson, for `functional`"
    )
    density_fit: bool = Field(False, description="Coulomb (and exchange) integrals by density fitting: faster")
    grid: int = Field(4, ge=0, le=9, description="grid level of PySCF for the functional")
    eps_scf: Precision = Field(1e-9, description="hartree, change of the energy at which the SCF has converged")
    coarse_guess: bool = Field(
        True,
        description="whether the SCF starts from the density of a coarse grid of level 1: the same labels, a quarter "
        "faster at `grid` 3; false: from atoms",
    )
    max_scf: Steps = Field(100, description="SCF steps at most")
    memory_GB: Positive = Field(4.0, description="memory of a job")


@code
class PySCF(PythonCode):
    """RKS for singlets, UKS otherwise."""

    config: PySCFConfig

    def __init__(self, config: PySCFConfig):
        super().__init__(config)
        packages = ["pyscf"] + ["dftd3"] * (config.dispersion != "none")
        for package in packages:
            require_package(package, "it for name = pyscf", f"pip install {package}")
        from pyscf.dft import libxc

        try:
            if config.functional.upper() != "HF":
                libxc.parse_xc(config.functional)
        except (KeyError, ValueError) as error:
            got = f"calculator.functional = {config.functional} ({error})"
            raise InputError(got, "a functional of libxc, or HF", "see PySCF's documentation") from None

    def level(self) -> dict[str, str | float]:
        config = self.config
        return {"functional": config.functional, "basis": config.basis, "dispersion": config.dispersion}

    def check(self, frame: Frame) -> None:
        refuse_periodic(frame, "pyscf")
        self.multiplicity(frame)

    def compute(self, frame: Frame, stress: bool) -> Result:
        if stress:
            raise NoLabel("a molecule has no stress")
        field = self._field(frame)
        energy = field.kernel(self._guess(field))
        steps = int(getattr(field, "cycles", 0)) or None
        if not field.converged:
            raise NoLabel(f"SCF not converged in {self.config.max_scf} steps")
        gradient = np.array(field.nuc_grad_method().kernel())
        if self.config.dispersion != "none":
            more_energy, more_gradient = _dispersion(frame, self.config.functional, self.config.dispersion)
            energy, gradient = energy + more_energy, gradient + more_gradient
        forces = -gradient * EV_PER_HARTREE / BOHR_A
        return Result(float(energy) * EV_PER_HARTREE, forces, None, "PySCF", version_of("pyscf"), steps)

    def _guess(self, field: Any) -> np.ndarray | None:
        """The density matrix that the SCF starts from: that of a coarse grid, or None for PySCF's own."""
        config = self.config
        if not config.coarse_guess or config.functional.upper() == "HF" or config.grid <= GUESS_GRID:
            return None
        field.grids.level, field.conv_tol = GUESS_GRID, GUESS_EPS
        field.kernel()
        field.grids.reset()
        field.grids.level, field.conv_tol = config.grid, config.eps_scf
        return field.make_rdm1() if field.converged else None

    def _field(self, frame: Frame) -> Any:
        """The mean-field object of a frame."""
        from pyscf import dft, gto, scf

        config, multiplicity = self.config, self.multiplicity(frame)
        molecule = gto.M(
            atom=[(chemical_symbols[z], r) for z, r in zip(frame.numbers, frame.positions, strict=True)],
            basis=config.basis,
            ecp=config.basis if config.basis.lower().startswith(("def2", "lanl", "sdd")) else {},
            charge=self.charge(frame),
            spin=multiplicity - 1,
            max_memory=1000 * config.memory_GB,
            verbose=4,
            output="pyscf.log",
        )
        if config.functional.upper() == "HF":
            field = (scf.RHF if multiplicity == 1 else scf.UHF)(molecule)
        else:
            field = (dft.RKS if multiplicity == 1 else dft.UKS)(molecule)
            field.xc, field.grids.level = config.functional, config.grid
        if config.density_fit:
            field = field.density_fit()
        field.conv_tol, field.max_cycle = config.eps_scf, config.max_scf
        return field


def _dispersion(frame: Frame, functional: str, kind: str) -> tuple[float, np.ndarray]:
    """Energy (hartree) and gradient (hartree/bohr) of D3 (Grimme et al. 2010, 2011) by the package dftd3."""
    from dftd3.interface import DispersionModel, RationalDampingParam, ZeroDampingParam

    damping = {"D3": ZeroDampingParam, "D3BJ": RationalDampingParam}[kind]
    model = DispersionModel(frame.numbers, frame.positions / BOHR_A)
    try:
        found = model.get_dispersion(damping(method=functional), grad=True)
    except RuntimeError as error:
        raise NoLabel(f"{kind} of {functional}: {error}") from None
    return float(found["energy"]), np.array(found["gradient"])
