"""A liquid that something is known of, and the form in which it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_masses, atomic_numbers


@dataclass(frozen=True)
class Known:
    """A value from experiment or at a level of theory."""

    value: float
    error: float | None  # None when the source states none
    unit: str
    source: str


@dataclass(frozen=True)
class Curve:
    """A measured radial distribution function."""

    r_A: np.ndarray  # (M,)
    g: np.ndarray  # (M,)
    error: np.ndarray  # (M,)
    source: str


@dataclass(frozen=True)
class Liquid:
    """A pure liquid at 1 bar. Subclasses know more than nothing; whatever is not known is None."""

    name: str
    formula: dict[str, int] = field(hash=False)  # atoms of each element in a molecule
    bonds: dict[str, int] = field(hash=False)  # bonds of each pair of elements in a molecule, such as C-H

    @property
    def molar_mass(self) -> float:
        """Mass of a molecule in g/mol."""
        return sum(n * atomic_masses[atomic_numbers[name]] for name, n in self.formula.items())

    @property
    def mean_mass(self) -> float:
        """Mean mass of an atom in g/mol."""
        return self.molar_mass / sum(self.formula.values())

    def known(self, quantity: str, temperature_K: float) -> Known | None:
        """The value of a quantity by its name in the records; None when it is not known at this temperature."""
        return None

    def curve(self, pair: tuple[str, str], temperature_K: float) -> Curve | None:
        """g(r) of a pair of elements; None when it is not known at this temperature."""
        return None

    def coordination(self, pair: tuple[str, str], radius_A: float, temperature_K: float) -> Known | None:
        """Neighbours up to a radius; None when it is not known at this temperature."""
        return None

    def first_minimum(self, pair: tuple[str, str]) -> float | None:
        """Distance in A of the first minimum of g(r), up to which neighbours are counted."""
        return None

    def beyond_bonds(self, pair: tuple[str, str]) -> float:
        """Distance in A beyond which the pair belongs to two molecules; 0 when it is not known."""
        return 0.0
