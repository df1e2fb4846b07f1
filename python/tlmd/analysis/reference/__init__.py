"""What is known of some liquids at 1 bar from experiment, and what a user's file adds.

water: formulas of IAPWS and Holz, Soper's g(r) (water.py). Others: the table liquids.toml (table.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tlmd.analysis.reference.liquid import Liquid
from tlmd.analysis.reference.table import shipped
from tlmd.analysis.reference.water import Water

SAME_MASS = 3e-4  # relative, of the mean mass of an atom: masses are rounded in input files


def liquids() -> list[Liquid]:
    """Every liquid that something is known of."""
    return [Water(), *shipped()]


def liquid_of_atoms(species: Sequence[str]) -> Liquid | None:
    """The liquid whose molecules the atoms (N elements) make up, by composition; None when none is known."""
    count = Counter(species)
    for liquid in liquids():
        molecules = len(species) / sum(liquid.formula.values())
        if molecules > 0 and count == {name: n * molecules for name, n in liquid.formula.items()}:
            return liquid
    return None


def liquid_of_mass(mean_mass: float, elements: Sequence[str] = ()) -> Liquid | None:
    """The liquid whose atoms have this mean mass in g/mol, made of these elements if any are named; else None."""
    for liquid in liquids():
        same = abs(mean_mass / liquid.mean_mass - 1) < SAME_MASS
        if same and (not elements or set(elements) == set(liquid.formula)):
            return liquid
    return None
