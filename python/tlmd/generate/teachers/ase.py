"""The teacher of any ASE calculator (Larsen et al., J. Phys.: Condens. Matter 29, 273002, 2017)."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import CalculationFailed, Calculator, SCFError
from pydantic import AfterValidator, Field, ValidationInfo

from tlmd.generate.interfaces import Unsuited
from tlmd.generate.registry import teacher
from tlmd.generate.teachers.any_composition import AnyComposition, AnyCompositionConfig
from tlmd.run.config import absolute
from tlmd.run.errors import InputError


def python_name(value: str, info: ValidationInfo) -> str:
    """package.module:function, or file.py:function with the file relative to the folder of the TOML."""
    module, _, name = value.partition(":")
    if not (module and name.isidentifier()):
        raise ValueError("package.module:function or file.py:function")
    return f"{absolute(Path(module), info)}:{name}" if module.endswith(".py") else value


class ASEConfig(AnyCompositionConfig):
    """A teacher by any ASE calculator: a foundation model, a method of another package. The function that makes it is
    run: such a TOML is code.
    """

    name: Literal["ase"]
    calculator: Annotated[str, AfterValidator(python_name)] = Field(
        description="what makes it: package.module:function, or file.py:function; it is run"
    )
    arguments: dict[str, Any] = Field({}, description="arguments of that function")

    def files(self) -> dict[str, Path]:
        return file_of(self.calculator)


@teacher
class ASECalculator(AnyComposition):
    """What the calculator fails on has no label; stress, where it has one and all directions are periodic."""

    config: ASEConfig

    def __init__(self, config: ASEConfig):
        super().__init__(config)
        self._calculator = _make(config)

    def evaluate(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None = None, pbc: np.ndarray | None = None
    ) -> dict:
        atoms = Atoms(numbers, positions, cell=cell, pbc=pbc)
        atoms.calc = self._calculator
        try:
            labels = {"forces": atoms.get_forces(), "energy": consistent_energy(atoms)}
            if atoms.pbc.all() and "stress" in self._calculator.implemented_properties:
                labels["stress"] = atoms.get_stress(voigt=False)
        except (CalculationFailed, SCFError) as error:
            got = f"{self.config.calculator} of {atoms.get_chemical_formula()}: {error}"
            raise Unsuited(got, "a result", "leave the frame out") from None
        except Exception as error:  # whatever another package raises
            got = f"{self.config.calculator} of {atoms.get_chemical_formula()}: {type(error).__name__}: {error}"
            raise InputError(got, "energy and forces", "choose a calculator for these atoms") from error
        return labels


def file_of(calculator: str) -> dict[str, Path]:
    """The file of a function that is not of a package, by its key."""
    module = calculator.rpartition(":")[0]
    return {"calculator": Path(module)} if module.endswith(".py") else {}


def consistent_energy(atoms: Atoms) -> float:
    """The energy whose gradient the forces are, eV: with smeared electrons the free one."""
    energy = atoms.get_potential_energy()
    return float(atoms.calc.results.get("free_energy", energy))


def _make(config: ASEConfig) -> Calculator:
    """The calculator that the configured function returns."""
    module, _, name = config.calculator.partition(":")
    try:
        made = getattr(module_of(module), name)(**config.arguments)
    except Exception as error:  # whatever somebody else's function raises
        got = f"teacher.calculator = {config.calculator}: {type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(got, "package.module:function or file.py:function", "install or correct it") from error
    if not isinstance(made, GetPropertiesMixin):
        got = f"teacher.calculator = {config.calculator}, which returns {type(made).__name__}"
        raise InputError(got, "an ASE calculator", "name the function or class that makes one")
    return made


def module_of(name: str) -> ModuleType:
    """The module of a package, or of a file.py, which is run."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
