"""Any ASE calculator as a code (Larsen et al., J. Phys.: Condens. Matter 29, 273002, 2017)."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import BaseCalculator, CalculationFailed, SCFError
from pydantic import AfterValidator, Field

from tlmd.frames.frame import Frame
from tlmd.generate.teachers.ase import consistent_energy, file_of, module_of, python_name
from tlmd.label.interfaces import CodeConfig, NoLabel, PythonCode, Result, code
from tlmd.run.errors import InputError
from tlmd.run.files import sha256


class ASEConfig(CodeConfig):
    """Any ASE calculator: another DFT code, a method of another package. What makes it is run: such a TOML is code."""

    name: Literal["ase"]
    calculator: Annotated[str, AfterValidator(python_name)] = Field(
        description="what makes it: package.module:Class, or file.py:function; it is run"
    )
    arguments: dict[str, Any] = Field({}, description="arguments of that class or function")
    level: str = Field(description="level of theory in words, written into each label")

    def files(self) -> dict[str, Path]:
        return file_of(self.calculator)


@code
class ASECode(PythonCode):
    """The info keys `charge` and `multiplicity` of a frame are for the calculator to read: atoms.info has them."""

    config: ASEConfig

    def level(self) -> dict[str, str | float]:
        return {"functional": self.config.level}

    def compute(self, frame: Frame, stress: bool) -> Result:
        module, _, name = self.config.calculator.partition(":")
        made = getattr(module_of(module), name)(**self.config.arguments)
        if not isinstance(made, GetPropertiesMixin):
            got = f"calculator.calculator = {self.config.calculator}, which returns {type(made).__name__}"
            raise InputError(got, "an ASE calculator", "name the class or function that makes one")
        package = module.partition(".")[0]
        version = sha256(module)[:12] if module.endswith(".py") else version_of(package)
        return labels_by(made, frame, stress, Path(module).name if module.endswith(".py") else package, version)


def labels_by(calculator: BaseCalculator, frame: Frame, stress: bool, name: str, version: str) -> Result:
    """What an ASE calculator gives; NoLabel if it does not converge or has no stress where one is wanted."""
    atoms = frame.replace(energy=None, forces=None, stress=None).atoms()
    atoms.calc = calculator
    try:
        energy = consistent_energy(atoms)
        forces = np.array(atoms.get_forces())
        if stress and "stress" not in calculator.implemented_properties:
            raise NoLabel(f"{name} has no stress")
        tensor = np.array(atoms.get_stress(voigt=False)) if stress else None
    except (CalculationFailed, SCFError) as error:
        raise NoLabel(" ".join(f"{name}: {error}".split())) from None
    return Result(energy, forces, tensor, name, version)


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))
