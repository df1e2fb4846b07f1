"""What systems of molecular liquids share: which molecules, how many of each, and what a box is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from tlmd.generate.composition import Composition
from tlmd.generate.interfaces import System, SystemConfig, Teacher
from tlmd.generate.species import Species, angle_deg, lengthened, opened
from tlmd.run.errors import InputError
from tlmd.run.quantities import Angle, Count, Factor, Length, Positive, between


class LiquidConfig(SystemConfig):
    """What every system of molecules in a liquid has."""

    matter: ClassVar[str] = "liquid"
    smiles: list[str] = Field(
        [], description="the molecules, atoms in the order of the SMILES, hydrogens last; absent: those of the teacher"
    )
    composition: list[Positive] = Field(
        [], description="relative numbers of the molecules; absent: those of the teacher's data file, or equal ones"
    )

    @model_validator(mode="after")
    def _one_number_each(self) -> LiquidConfig:
        if self.smiles and self.composition and len(self.smiles) != len(self.composition):
            raise ValueError("as many numbers in composition as smiles")
        return self


class Liquid(System):
    """Frames of whole molecules."""

    config: LiquidConfig

    def molecules(self, teacher: Teacher) -> tuple[tuple[Species, ...], np.ndarray]:
        """The molecules, and the part of each by number. InputError where neither the teacher nor `smiles` has any."""
        if self.config.smiles:
            species, amounts = built(tuple(self.config.smiles)), [1.0] * len(self.config.smiles)
        else:
            species = tuple(each for each, _ in teacher.molecules)
            amounts = [amount for _, amount in teacher.molecules]
        if not species:
            raise InputError(f"no smiles for the teacher {teacher.config.name}", "the molecules", "add smiles")
        amounts = self.config.composition or amounts
        if len(amounts) != len(species):
            got = f"composition of {len(amounts)} numbers for {', '.join(each.name for each in species)}"
            raise InputError(got, "one number for each molecule", "correct composition")
        return species, np.array(amounts, dtype=float) / np.sum(amounts)

    def shared_out(self, teacher: Teacher, count: int) -> Composition:
        """`count` molecules, in numbers as near as possible to the parts, in the order of the species."""
        species, parts = self.molecules(teacher)
        counts = np.floor(count * parts).astype(int)
        counts[np.argsort(counts - count * parts, kind="stable")[: count - counts.sum()]] += 1
        return Composition(species, np.repeat(np.arange(len(species)), counts))


class ReshapedConfig(LiquidConfig):
    """What kinds have that change bond lengths and angles."""

    stretch: between(Factor) = Field((0.8, 1.35), description="smallest and largest factor on a bond length")
    bend_deg: between(Angle) = Field(
        (1.0, 35.0), description="degrees, smallest and largest change of an angle, of either sign"
    )
    changes: Count = Field(3, description="largest number of bonds, and of angles, that are changed in a molecule")
    bond_A: between(Length) | None = Field(None, description="A, of water: shortest and longest bond, for `stretch`")
    angle_deg: between(Angle) | None = Field(
        None, description="degrees, of water: smallest and largest angle, for `bend_deg`"
    )


def reshaped(config: ReshapedConfig, species: Species, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions (A, 3) A of a molecule with some bonds and angles changed."""
    if (config.bond_A or config.angle_deg) and species.numbers.tolist() != [8, 1, 1]:
        got = f"bond_A or angle_deg for {species.name}"
        raise InputError(got, "stretch and bend_deg, for molecules other than O H H", "give these instead")
    if config.bond_A:
        for bond in ((0, 1), (0, 2)):
            positions = species.stretched(positions, bond, rng.uniform(*config.bond_A))
    else:
        positions = lengthened(species, positions, config.stretch, config.changes, rng)
    if config.angle_deg:
        now = angle_deg(*(positions[1:] - positions[0]))
        return species.bent(positions, (1, 0, 2), rng.uniform(*config.angle_deg) - now)
    return opened(species, positions, config.bend_deg, config.changes, rng)


@lru_cache(maxsize=64)
def built(smiles: tuple[str, ...]) -> tuple[Species, ...]:
    """The molecules of SMILES."""
    return tuple(of_smiles(each) for each in smiles)


def of_smiles(smiles: str) -> Species:
    """A molecule with atoms in the order of the SMILES, hydrogens last; the geometry of MMFF94. InputError unless it is
    a molecule that RDKit can build."""
    from tlmd.generate.molecule import ForceField, Molecule

    molecule = Molecule(smiles)
    return Species.of_graph(molecule.graph, ForceField(molecule).relax(molecule.conformers(1, 1)[0]))


def covering(bounds: Sequence[float], item: int, step: float) -> float:
    """Point `item` of an evenly spreading sequence over the bounds: every prefix covers them."""
    return bounds[0] + (bounds[1] - bounds[0]) * ((0.5 + item * step) % 1.0)
