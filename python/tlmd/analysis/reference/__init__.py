"""What is known of some liquids at 1 bar from experiment, and what a user's file adds.

water: formulas of IAPWS and Holz, Soper's g(r) (water.py). Others: the table liquids.toml (table.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlmd.analysis.molecules import Molecules
from tlmd.analysis.reference.liquid import Liquid
from tlmd.analysis.reference.table import References, read_references, shipped
from tlmd.analysis.reference.water import Water
from tlmd.run.errors import InputError, nearest

NONE = "none"  # the name of no reference
SAME_MASS = 3e-4  # relative, of the mean mass of an atom: masses are rounded in input files


def liquids() -> list[Liquid]:
    """Every liquid that something is known of."""
    return [Water(), *shipped()]


def liquid_named(name: str) -> Liquid | None:
    """The liquid of this name; None when there is none."""
    return next((liquid for liquid in liquids() if liquid.name == name), None)


def given_references(given: str | Path | None) -> References:
    """The values of a user's file; none for None, "none" and the name of a liquid. Raises InputError for another word,
    and for a file that is not of this form."""
    names = [*(liquid.name for liquid in liquids()), NONE]
    if given is None or str(given) in names:
        return References()
    if not Path(given).is_file():
        wanted = f"one of {', '.join(names)}, or a TOML file"
        raise InputError(f"--reference {given}{nearest(str(given), names)}", wanted, "correct it")
    return read_references(given)


def liquid_of_molecules(molecules: Molecules) -> Liquid | None:
    """The liquid that these molecules are, by their elements and their bonds; None when they are of another, or of
    several."""
    constitution = molecules.constitution
    if constitution is None:
        return None
    return next((liquid for liquid in liquids() if (liquid.formula, liquid.bonds) == constitution), None)


def liquid_of_mass(mean_mass: float, elements: Sequence[str] = ()) -> Liquid | None:
    """The liquid whose atoms have this mean mass in g/mol, made of these elements if any are named; else None."""
    for liquid in liquids():
        same = abs(mean_mass / liquid.mean_mass - 1) < SAME_MASS
        if same and (not elements or set(elements) == set(liquid.formula)):
            return liquid
    return None
