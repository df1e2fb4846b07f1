"""The teacher of any ASE calculator (Larsen et al., J. Phys.: Condens. Matter 29, 273002, 2017)."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import CalculationFailed, Calculator, SCFError

from tlmd.generate.config import ASEConfig
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.any_atoms import AnyAtoms
from tlmd.run.errors import InputError


class ASECalculator(AnyAtoms):
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
            labels = {"forces": atoms.get_forces(), "energy": _consistent_energy(atoms)}
            if atoms.pbc.all() and "stress" in self._calculator.implemented_properties:
                labels["stress"] = atoms.get_stress(voigt=False)
        except (CalculationFailed, SCFError) as error:
            got = f"{self.config.calculator} of {atoms.get_chemical_formula()}: {error}"
            raise Unsuited(got, "a result", "leave the frame out") from None
        except Exception as error:  # whatever another package raises
            got = f"{self.config.calculator} of {atoms.get_chemical_formula()}: {type(error).__name__}: {error}"
            raise InputError(got, "energy and forces", "choose a calculator for these atoms") from error
        return labels


def _consistent_energy(atoms: Atoms) -> float:
    """The energy whose gradient the forces are, eV: with smeared electrons the free one."""
    energy = atoms.get_potential_energy()
    return float(atoms.calc.results.get("free_energy", energy))


def _make(config: ASEConfig) -> Calculator:
    """The calculator that the configured function returns."""
    module, _, name = config.calculator.partition(":")
    try:
        made = getattr(_module(module), name)(**config.arguments)
    except (ImportError, OSError, AttributeError, TypeError, ValueError) as error:
        got = f"teacher.calculator = {config.calculator}: {error}"
        raise InputError(got, "package.module:function or file.py:function", "install or correct it") from error
    if not isinstance(made, GetPropertiesMixin):
        got = f"teacher.calculator = {config.calculator}, which returns {type(made).__name__}"
        raise InputError(got, "an ASE calculator", "name the function or class that makes one")
    return made


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
