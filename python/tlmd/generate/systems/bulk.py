"""Liquid water in a periodic box: trajectories of the teacher, and changed frames of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate import water
from tlmd.generate.interfaces import System, SystemConfig, Teacher, draw_seed
from tlmd.generate.registry import system
from tlmd.generate.teachers.spcfw import MASS_G_MOL
from tlmd.run.quantities import Amplitude, Angle, Count, Density, Length, Part, Temperature, Time, between
from tlmd.units import GCM3_PER_GMOL_A3


class BulkConfig(SystemConfig):
    """Trajectories of a periodic liquid, each at its own temperature, density and shape of box."""

    matter: ClassVar[str] = "water"
    kind: Literal["bulk"]
    molecules: Count = Field(64, description="molecules in a box")
    temperature_K: between(Temperature) = Field(
        (250.0, 700.0), description="K, lowest and highest; drawn for each trajectory"
    )
    density_g_cm3: between(Density) = Field(
        (0.7, 1.3), description="g/cm3, lowest and highest; drawn for each trajectory"
    )
    equilibrate_ps: Time = Field(3.0, description="ps before the first frame")
    spacing_ps: Time = Field(0.5, description="ps between frames")
    aspect: float = Field(0.0, ge=0, lt=0.5, description="the edges of the box differ by up to this fraction")


@system
class Bulk(System):
    """Periodic liquid: temperature and density spread evenly over the items."""

    config: BulkConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        config = self.config
        temperature = water.covering(config.temperature_K, item, 0.7548776662466927)
        density = water.covering(config.density_g_cm3, item, 0.5698402909980532)
        volume = config.molecules * MASS_G_MOL / density * GCM3_PER_GMOL_A3
        edges = np.exp(rng.uniform(-config.aspect, config.aspect, 3) / 2)
        edges *= np.cbrt(volume / edges.prod())
        sites = math.ceil(config.molecules ** (1 / 3) - 1e-9)
        grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) / sites
        centres = grid[rng.permutation(len(grid))[: config.molecules]] * edges
        start = water.frame(centres[:, None] + water.oriented(water.molecules(config.molecules), rng), np.diag(edges))
        start = start.replace(info={"temperature_K": temperature, "density_g_cm3": density})
        yield from teacher.trajectory(
            start, temperature, config.equilibrate_ps, config.spacing_ps, self.count(item), draw_seed(rng)
        )


class RattledConfig(BulkConfig):
    """Bulk frames with each atom displaced and the box strained; the amplitude is drawn anew for each frame."""

    kind: Literal["rattled"]
    displacement_A: between(Amplitude) = Field(
        (0.02, 0.12), description="A, lowest and highest standard deviation of the displacements"
    )
    strain: float = Field(0.03, ge=0, lt=0.2, description="standard deviation of each component of the strain")


@system
class Rattled(Bulk):
    """Bulk frames, box strained and atoms displaced."""

    config: RattledConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        for frame in super().sample(item, rng, teacher):
            strain = np.eye(3) + np.tril(rng.normal(scale=self.config.strain, size=(3, 3)))
            positions = water.whole(frame) @ strain
            positions = positions + rng.normal(scale=rng.uniform(*self.config.displacement_A), size=positions.shape)
            cell = frame.cell @ strain
            info = {**frame.info, "density_g_cm3": frame.info["density_g_cm3"] / np.linalg.det(strain)}
            yield frame.replace(positions=positions, cell=cell, info=info)


class StretchedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules gets new bond lengths and a new angle."""

    kind: Literal["stretched"]
    fraction: Part = Field(0.25, description="part of the molecules that is changed")
    bond_A: between(Length) = Field((0.80, 1.35), description="A, shortest and longest bond")
    angle_deg: between(Angle) = Field((80.0, 150.0), description="degrees, smallest and largest angle")


@system
class Stretched(Bulk):
    """Bulk frames, a part of the molecules with new bond lengths and angle, orientation kept."""

    config: StretchedConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        for frame in super().sample(item, rng, teacher):
            molecules = water.whole(frame).reshape(-1, 3, 3)
            chosen = rng.random(len(molecules)) < self.config.fraction
            bonds = molecules[chosen, 1:] - molecules[chosen, :1]
            x = bonds[:, 0] / np.linalg.norm(bonds[:, 0], axis=-1, keepdims=True)
            y = bonds[:, 1] - (bonds[:, 1] * x).sum(-1, keepdims=True) * x
            y /= np.linalg.norm(y, axis=-1, keepdims=True)
            length, angle = water.shapes(self.config.bond_A, self.config.angle_deg, len(x), rng)
            molecules[chosen, 1] = molecules[chosen, 0] + length[:, :1] * x
            molecules[chosen, 2] = molecules[chosen, 0] + length[:, 1:] * (np.cos(angle) * x + np.sin(angle) * y)
            yield frame.replace(positions=molecules.reshape(-1, 3))


class TurnedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules is turned at random about O, down to the distances given."""

    kind: Literal["turned"]
    fraction: Part = Field(0.25, description="part of the molecules that is turned")
    oh_A: Length = Field(1.3, description="A, shortest O-H distance of two molecules")
    hh_A: Length = Field(0.7, description="A, shortest H-H distance of two molecules")


@system
class Turned(Bulk):
    """Bulk frames, a part of the molecules turned at random, as near to the others as the settings allow."""

    config: TurnedConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        config = self.config
        nearest = np.array([0.0, config.oh_A, config.hh_A])
        for frame in super().sample(item, rng, teacher):
            molecules = water.whole(frame).reshape(-1, 3, 3)
            for chosen in np.flatnonzero(rng.random(len(molecules)) < config.fraction):
                others = np.delete(molecules, chosen, axis=0)
                centre = molecules[chosen, :1]
                for turned in centre + water.oriented(np.repeat(molecules[chosen, None] - centre, 20, axis=0), rng):
                    if (water.contacts(turned, others, frame.cell) >= nearest).all():
                        molecules[chosen] = turned
                        break
            yield frame.replace(positions=molecules.reshape(-1, 3))
