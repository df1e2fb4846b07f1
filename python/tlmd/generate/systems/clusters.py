"""Free water: clusters, single molecules, pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate import water
from tlmd.generate.interfaces import NotMade, System, SystemConfig, Teacher, draw_seed
from tlmd.generate.registry import system
from tlmd.run.quantities import Amplitude, Angle, Count, Frames, Length, Temperature, Time, between

TRIES = 10_000  # orientations of a pair


class ClusterConfig(SystemConfig):
    """Trajectories of a free cluster, `molecules` from low to high, held together while it is sampled."""

    matter: ClassVar[str] = "water"
    kind: Literal["cluster"]
    molecules: between(Count) = Field((2, 12), description="molecules of a cluster, fewest and most")
    temperature_K: between(Temperature) = Field(
        (150.0, 500.0), description="K, lowest and highest; drawn for each trajectory"
    )
    equilibrate_ps: Time = Field(3.0, description="ps before the first frame")
    spacing_ps: Time = Field(0.5, description="ps between frames")


@system
class Cluster(System):
    """Free clusters; the size grows with the item."""

    config: ClusterConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        config = self.config
        low, high = config.molecules
        molecules = low + item % (high - low + 1)
        temperature = water.covering(config.temperature_K, item, 0.6180339887498949)
        sites = math.ceil(molecules ** (1 / 3) - 1e-9)
        grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 3.0
        centres = grid[rng.permutation(len(grid))[:molecules]]
        start = water.frame(centres[:, None] - centres.mean(0) + water.oriented(water.molecules(molecules), rng))
        start = start.replace(info={"temperature_K": temperature})
        yield from teacher.trajectory(
            start, temperature, config.equilibrate_ps, config.spacing_ps, self.count(item), draw_seed(rng)
        )


class MonomerConfig(SystemConfig):
    """Single molecules, bond lengths and angle drawn uniformly."""

    matter: ClassVar[str] = "water"
    kind: Literal["monomer"]
    frames_per_item: Frames = Field(100, description="frames of one work item")
    bond_A: between(Length) = Field((0.75, 1.5), description="A, shortest and longest bond")
    angle_deg: between(Angle) = Field((70.0, 175.0), description="degrees, smallest and largest angle")


@system
class Monomer(System):
    """Single molecules with any bond lengths and angle."""

    config: MonomerConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        count = self.count(item)
        length, angle = water.shapes(self.config.bond_A, self.config.angle_deg, count, rng)
        for molecule in water.oriented(water.molecules(count, length, angle), rng):
            yield water.frame(molecule)


class DimerConfig(SystemConfig):
    """Two molecules in random orientations, O-O distance scanned evenly; intramolecular geometry thermal."""

    matter: ClassVar[str] = "water"
    kind: Literal["dimer"]
    frames_per_item: Frames = Field(100, description="frames of one work item")
    distance_A: between(Length) = Field((2.2, 6.0), description="A, shortest and longest O-O distance")
    displacement_A: Amplitude = Field(0.04, description="A, standard deviation of each coordinate")


@system
class Dimer(System):
    """Two molecules, O-O distance from near to far."""

    config: DimerConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        count = self.count(item)
        low, high = self.config.distance_A
        first = self.first(item)
        for distance in low + (high - low) * (first + np.arange(count) + 0.5) / self.frames:
            pair = water.oriented(water.molecules(2), rng)
            pair += rng.normal(scale=self.config.displacement_A, size=pair.shape)
            pair[1] += pair[0, 0] - pair[1, 0] + [distance, 0.0, 0.0]
            yield water.frame(pair)


class ContactConfig(SystemConfig):
    """Two molecules of which one pair of atoms is brought near: O-O, O-H and H-H in turn, distances scanned evenly.

    Dynamics of the liquid never comes here: these labels keep atoms apart.
    """

    matter: ClassVar[str] = "water"
    kind: Literal["contact"]
    frames_per_item: Frames = Field(100, description="frames of one work item")
    oo_A: between(Length) = Field((1.9, 3.0), description="A, shortest and longest O-O distance")
    oh_A: between(Length) = Field((1.25, 2.2), description="A, shortest and longest O-H distance")
    hh_A: between(Length) = Field((0.6, 2.2), description="A, shortest and longest H-H distance")
    displacement_A: Amplitude = Field(0.04, description="A, standard deviation of each coordinate")


@system
class Contact(System):
    """Two molecules with one pair of atoms at a given distance and no other pair nearer than its own limit."""

    config: ContactConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        config, count = self.config, self.count(item)
        ranges = np.array([config.oo_A, config.oh_A, config.hh_A])
        first = self.first(item)
        for number in range(first, first + count):
            kind = number % 3
            distance = ranges[kind] @ [1 - (number + 0.5) / self.frames, (number + 0.5) / self.frames]
            nearest = ranges[:, 0].copy()
            nearest[kind] = distance - 1e-9
            for _ in range(TRIES):
                pair = water.oriented(water.molecules(2), rng)
                pair += rng.normal(scale=config.displacement_A, size=pair.shape)
                hydrogens = rng.integers(1, 3, 2)
                a, b = ((0, 0), (0, hydrogens[1]), hydrogens)[kind]
                direction = rng.normal(size=3)
                pair[1] += pair[0, a] - pair[1, b] + distance * direction / np.linalg.norm(direction)
                if (water.contacts(pair[0], pair[1:]) >= nearest).all():
                    yield water.frame(pair)
                    break
            else:
                yield NotMade(1, "no orientation keeps the other atoms apart")
