"""Free molecules: clusters, single molecules, pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, field_validator
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame
from tlmd.generate.composition import Composition, Limits, contact_range
from tlmd.generate.interfaces import NotMade, Teacher, draw_seed
from tlmd.generate.liquid import Liquid, LiquidConfig, ReshapedConfig, covering, reshaped
from tlmd.generate.packing import packed
from tlmd.generate.registry import system
from tlmd.generate.species import Species
from tlmd.run.quantities import Amplitude, Angle, Count, Factor, Frames, Length, Temperature, Time, between

TRIES = (20, 200, 2000, 8000)  # orientations of a pair, at once
NO_ROOM = "no orientation keeps the other atoms apart"


class ClusterConfig(LiquidConfig):
    """Trajectories of a free cluster, `molecules` from low to high, held together while it is sampled."""

    kind: Literal["cluster"]
    molecules: between(Count) = Field((2, 12), description="molecules of a cluster, fewest and most")
    temperature_K: between(Temperature) = Field(
        (150.0, 500.0), description="K, lowest and highest; drawn for each trajectory"
    )
    equilibrate_ps: Time = Field(3.0, description="ps before the first frame")
    spacing_ps: Time = Field(0.5, description="ps between frames")


@system
class Cluster(Liquid):
    """Free clusters; the size grows with the item, the molecules are drawn."""

    config: ClusterConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        config, (species, parts) = self.config, self.molecules(teacher)
        low, high = config.molecules
        count = low + item % (high - low + 1)
        temperature = covering(config.temperature_K, item, 0.6180339887498949)
        composition = Composition(species, np.sort(rng.choice(len(species), count, p=parts)))
        reach = max(np.linalg.norm(each.centred(each.positions), axis=-1).max() for each in species)
        radius = reach + 2.0 * np.cbrt(len(composition.numbers) / 3)
        positions = packed(composition, rng, [f"inside sphere 0. 0. 0. {radius:.9f}"] * len(species))
        start = composition.frame(positions, temperature_K=temperature)
        yield from teacher.trajectory(
            start, temperature, config.equilibrate_ps, config.spacing_ps, self.count(item), draw_seed(rng)
        )


class MonomerConfig(ReshapedConfig):
    """Single molecules: random turns about their bonds, some bond lengths and angles changed."""

    kind: Literal["monomer"]
    frames_per_item: Frames = Field(100, description="frames of one work item")
    stretch: between(Factor) = Field((0.75, 1.45), description="smallest and largest factor on a bond length")
    bend_deg: between(Angle) = Field(
        (1.0, 50.0), description="degrees, smallest and largest change of an angle, of either sign"
    )
    displacement_A: Amplitude = Field(0.02, description="A, standard deviation of each coordinate before")


@system
class Monomer(Liquid):
    """Single molecules with changed bonds and angles, one species after another."""

    config: MonomerConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        species, _ = self.molecules(teacher)
        first = self.first(item)
        for number in range(first, first + self.count(item)):
            kind = number % len(species)
            (shape,) = shapes(species[kind], 1, self.config.displacement_A, rng)
            yield Composition(species, [kind]).frame(reshaped(self.config, species[kind], shape, rng))


class PairConfig(LiquidConfig):
    """What kinds of two molecules have."""

    frames_per_item: Frames = Field(100, description="frames of one work item")
    displacement_A: Amplitude = Field(0.04, description="A, standard deviation of each coordinate")


class Pairs(Liquid):
    """Two molecules, every pair of species in turn."""

    config: PairConfig

    def placed(
        self, pair: tuple[Species, Species], distance, limits: Limits, rng: np.random.Generator
    ) -> np.ndarray | None:
        """(A + B, 3) A of the two, or None where no orientation has all atoms as far apart as the limits.

        distance(first, second, rng): moves (K, 3) A of the second ones (K, B, 3) that bring them to their distance.
        """
        for count in TRIES:
            first, second = (shapes(each, count, self.config.displacement_A, rng) for each in pair)
            second = second + distance(first, second, rng)[:, None]
            ratios = limits.clearance(pair[0].sorts, first, pair[1].sorts, second)
            if (ratios >= 1).any():
                chosen = (ratios >= 1).argmax()
                return np.concatenate([first[chosen], second[chosen]])
        return None


class DimerConfig(PairConfig):
    """Two molecules in random orientations, the distance of their nearest heavy atoms scanned evenly; intramolecular
    geometry thermal."""

    kind: Literal["dimer"]
    distance_A: between(Length) = Field(
        (2.2, 6.0), description="A, shortest and longest distance of the nearest heavy atoms (O-O of water)"
    )


@system
class Dimer(Pairs):
    """Two molecules, distance from near to far."""

    config: DimerConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        species, _ = self.molecules(teacher)
        pairs = list(combinations_with_replacement(range(len(species)), 2))
        limits = Limits(species)
        for number in range(self.first(item), self.first(item) + self.count(item)):
            one, two = (species[kind] for kind in pairs[number % len(pairs)])
            low, high = self.config.distance_A
            wanted = low + (high - low) * (number + 0.5) / self.frames

            def moves(first, second, rng, one=one, two=two, wanted=wanted):
                return apart(first[:, heavy(one)], second[:, heavy(two)], wanted, rng)

            found = self.placed((one, two), moves, limits, rng)
            if found is None:
                yield NotMade(1, f"{one.name} and {two.name}: {NO_ROOM}")
            else:
                yield Composition(species, pairs[number % len(pairs)]).frame(found)


class ContactConfig(PairConfig):
    """Two molecules of which one pair of atoms is brought near: every pair of elements of every pair of molecules in
    turn (of water O-O, O-H and H-H; H bound to N, O or a halogen and other H apart), distances scanned evenly.

    Dynamics of the liquid never comes here: these labels keep atoms apart.
    """

    kind: Literal["contact"]
    oo_A: between(Length) = Field((1.9, 3.0), description="A, shortest and longest O-O distance")
    oh_A: between(Length) = Field((1.25, 2.2), description="A, shortest and longest O-H distance")
    hh_A: between(Length) = Field((0.6, 2.2), description="A, shortest and longest H-H distance")
    distances_A: dict[str, between(Length)] = Field(
        {}, description="A, the same for other pairs: {C-O = [2.0, 3.2]}; absent: from covalent to van der Waals radii"
    )

    @field_validator("distances_A")
    @classmethod
    def _pairs_of_elements(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        if wrong := [name for name in value if len(elements_of(name)) != 2]:
            raise ValueError(f"pairs of elements such as C-O, not {wrong[0]}")
        return value


@system
class Contact(Pairs):
    """Two molecules with one pair of atoms at a given distance and no other pair nearer than its own limit."""

    config: ContactConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        species, _ = self.molecules(teacher)
        cases, ranges = contacts(species), self.ranges(species)
        lowest = {pair: low for pair, (low, _) in ranges.items()}
        for number in range(self.first(item), self.first(item) + self.count(item)):
            kinds, sorts = cases[number % len(cases)]
            one, two = (species[kind] for kind in kinds)
            pair = tuple(sorted(sorts))
            low, high = ranges[pair]
            wanted = low + (high - low) * (number + 0.5) / self.frames
            a, b = (rng.choice(np.flatnonzero(s.sorts == z)) for s, z in zip((one, two), sorts, strict=True))

            def moves(first, second, rng, a=a, b=b, wanted=wanted):
                return first[:, a] - second[:, b] + wanted * directions(len(first), rng)

            found = self.placed((one, two), moves, Limits(species, lowest | {pair: wanted - 1e-9}), rng)
            if found is None:
                named = "-".join(chemical_symbols[z or 1] for z in sorts)
                yield NotMade(1, f"{one.name} and {two.name}, {named} from {low:.2f} A on: {NO_ROOM}")
            else:
                yield Composition(species, kinds).frame(found)

    def ranges(self, species: tuple[Species, ...]) -> dict[tuple[int, int], tuple[float, float]]:
        """Shortest and longest distance (A) of each pair of elements."""
        config, present = self.config, sorted({int(z) for each in species for z in each.sorts})
        found = {pair: contact_range(*pair) for pair in combinations_with_replacement(present, 2)}
        found |= {(8, 8): config.oo_A, (1, 8): config.oh_A, (1, 1): config.hh_A}
        for name, value in config.distances_A.items():
            wanted = sorted(elements_of(name))
            found |= {pair: value for pair in found if sorted(z or 1 for z in pair) == wanted}
        return found


def contacts(species: tuple[Species, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Every pair of species, and of it every pair of sorts of atoms."""
    found = []
    for kinds in combinations_with_replacement(range(len(species)), 2):
        one, two = (np.unique(species[kind].sorts).tolist()[::-1] for kind in kinds)
        found += [(kinds, (a, b)) for a in one for b in two if kinds[0] != kinds[1] or a >= b]
    return found


def elements_of(name: str) -> list[int]:
    """The atomic numbers of C-O."""
    return [atomic_numbers[symbol] for symbol in name.split("-") if atomic_numbers.get(symbol, 0)]


def heavy(species: Species) -> np.ndarray:
    """The atoms that are no hydrogen, or all where there is nothing else."""
    found = np.flatnonzero(species.numbers != 1)
    return found if len(found) else np.arange(len(species))


def shapes(species: Species, count: int, displacement_A: float, rng: np.random.Generator) -> np.ndarray:
    """(count, A, 3) A of one shape of a molecule in random orientations, every atom displaced."""
    turns = Rotation.random(count, random_state=rng).as_matrix()
    turned = np.einsum("kij,aj->kai", turns, species.shape(rng))
    return turned + rng.normal(scale=displacement_A, size=turned.shape)


def directions(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) random unit vectors."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def apart(first: np.ndarray, second: np.ndarray, distance_A: float, rng: np.random.Generator) -> np.ndarray:
    """(K, 3) moves of points `second` (K, B, 3) in random directions after which the nearest of them is `distance_A`
    from `first` (K, A, 3): the furthest of the places at which one pair has this distance."""
    along = directions(len(first), rng)
    vectors = (second[:, None] - first[:, :, None]).reshape(len(first), -1, 3)
    part = np.einsum("kpi,ki->kp", vectors, along)
    left = distance_A**2 - ((vectors**2).sum(-1) - part**2)
    places = np.where(left >= 0, np.sqrt(np.maximum(left, 0)) - part, -np.inf).max(axis=1)
    return np.where(np.isfinite(places), places, 0.0)[:, None] * along  # where none has it, they overlap
