"""The baseline D3: Grimme's dispersion of two atoms (J. Chem. Phys. 132, 154104, 2010), no three-body term.

In Python by s-dftd3 (PyPI dftd3), in LAMMPS by `pair_style d3` or its own `dispersion/d3`; all cut it off sharply at
the same radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tlmd.baseline.d3_file import path_beside, write_d3
from tlmd.baseline.interfaces import Baseline, Values
from tlmd.run.config import Section
from tlmd.run.errors import InputError
from tlmd.run.quantities import Range
from tlmd.units import BOHR_A, EV_PER_HARTREE

DAMPING = {"zero": "original", "bj": "bj"}  # names in LAMMPS


class D3Config(Section):
    """The baseline D3, Grimme's dispersion, for labels that contain it; pip install dftd3 tad-dftd3."""

    kind: Literal["d3"]
    functional: str = Field(description="as s-dftd3 and LAMMPS name it: revpbe0, revpbe, rpbe, pbe, b3-lyp, ...")
    damping: Literal["zero", "bj"] = Field("zero", description="zero (D3 of 2010) or Becke-Johnson's")
    cutoff_A: Range = Field(12.0, description="A, of the pairs; what is beyond (water: -110 bar at 12 A) is left out")
    cn_cutoff_A: Range = Field(8.0, description="A, of the pairs that count for coordination numbers")

    def described(self) -> dict:
        """For the card; styles: the pair styles in LAMMPS, whose absence the plugin tells (`d3` counts as well)."""
        return self.model_dump(mode="json") | {"styles": ["dispersion/d3"]}


class D3(Baseline):
    """D3 with the settings of a D3Config. InputError without the package dftd3 or for an unknown functional."""

    def __init__(self, described: dict):
        config = D3Config.model_validate({key: value for key, value in described.items() if key != "styles"})
        self.config, self._written = config, None
        self.described, self.name = described, f"d3 ({config.functional}, {config.damping} damping)"
        try:
            from dftd3 import interface
        except ImportError:
            raise InputError("no package dftd3", "s-dftd3, for the baseline d3", "pip install dftd3") from None
        self._model = interface.DispersionModel
        kind = {"zero": interface.ZeroDampingParam, "bj": interface.RationalDampingParam}[config.damping]
        try:
            self._parameters = kind(method=config.functional.replace("-", ""), atm=False)
        except RuntimeError:
            got = f'baseline.functional = "{config.functional}" with {config.damping} damping'
            raise InputError(got, "a functional that s-dftd3 knows", "correct the name or the damping") from None

    def _values(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, periodic: bool) -> Values:
        box = (cell / BOHR_A, np.ones(3, bool)) if periodic else (None, None)
        model = self._model(numbers, positions / BOHR_A, *box)
        pairs, counted = self.config.cutoff_A / BOHR_A, self.config.cn_cutoff_A / BOHR_A
        model.set_realspace_cutoff(pairs, pairs, counted)
        found = model.get_dispersion(self._parameters, grad=True)
        forces = -found["gradient"] * (EV_PER_HARTREE / BOHR_A)
        stress = found["virial"] * EV_PER_HARTREE / abs(np.linalg.det(cell)) if periodic else None
        return Values(float(found["energy"]) * EV_PER_HARTREE, forces, stress)

    def write(self, model: Path | str, elements: Sequence[str]) -> None:
        """The file of `pair_style d3`; none without the package tad-dftd3."""
        try:
            write_d3(path_beside(model), self.config, elements)
            self._written = path_beside(model)
        except ImportError:
            self._written = None

    def lines(self, style: str, model: str, elements: Sequence[str]) -> list[str]:
        """Those of `pair_style d3` where `write` wrote its file, else those of LAMMPS' own style."""
        config, types = self.config, " ".join(elements)
        if self._written:
            return [
                f"pair_style hybrid/overlay {style} d3",
                f"pair_coeff * * {style} {model} {types}",
                f"pair_coeff * * d3 {self._written} {types}",
            ]
        d3 = f"dispersion/d3 {DAMPING[config.damping]} {config.functional} {config.cutoff_A} {config.cn_cutoff_A}"
        return [
            "# pip install tad-dftd3 and export again for pair_style d3, which is faster",
            f"pair_style hybrid/overlay {style} {d3}",
            f"pair_coeff * * {style} {model} {types}",
            f"pair_coeff * * dispersion/d3 {types}",
        ]
