"""Molecular liquids in a periodic box: trajectories of the teacher, and changed frames of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame
from tlmd.generate.composition import Composition, Limits
from tlmd.generate.interfaces import Teacher, draw_seed
from tlmd.generate.liquid import Liquid, LiquidConfig, ReshapedConfig, covering, reshaped
from tlmd.generate.packing import packed
from tlmd.generate.registry import system
from tlmd.run.quantities import Amplitude, Count, Density, Length, Part, Temperature, Time, between
from tlmd.units import GCM3_PER_GMOL_A3, density_g_cm3

TURNS = 20  # tries to turn a molecule, smaller ones at the end
APART_A = 0.1  # above the low ends of contacts: other pairs than O-H and H-H of turned molecules


class BulkConfig(LiquidConfig):
    """Trajectories of a periodic liquid, each at its own temperature, density and shape of box."""

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
class Bulk(Liquid):
    """Periodic liquid: temperature and density spread evenly over the items. Frames hold whole molecules."""

    config: BulkConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        composition = self.shared_out(teacher, self.config.molecules)
        for frame in self.trajectory(item, rng, teacher, composition):
            yield self.changed(frame, composition, rng)

    def trajectory(
        self, item: int, rng: np.random.Generator, teacher: Teacher, composition: Composition
    ) -> Iterator[Frame]:
        """The frames of one trajectory of the teacher, molecules whole."""
        config = self.config
        temperature = covering(config.temperature_K, item, 0.7548776662466927)
        density = covering(config.density_g_cm3, item, 0.5698402909980532)
        edges = np.exp(rng.uniform(-config.aspect, config.aspect, 3) / 2)
        edges *= np.cbrt(composition.mass / density * GCM3_PER_GMOL_A3 / edges.prod())
        start = self.start(composition, edges, rng)
        start = start.replace(info={**start.info, "temperature_K": temperature})
        for frame in teacher.trajectory(
            start, temperature, config.equilibrate_ps, config.spacing_ps, self.count(item), draw_seed(rng)
        ):
            yield frame.replace(positions=composition.whole(frame.positions, frame.cell))

    def start(self, composition: Composition, edges: np.ndarray, rng: np.random.Generator) -> Frame:
        """The molecules packed into a box with these edges (3,) A."""
        regions = ["inside box 0. 0. 0. {:.9f} {:.9f} {:.9f}".format(*edges)] * len(composition.species)
        return in_box(composition, packed(composition, rng, regions, edges), edges)

    def changed(self, frame: Frame, composition: Composition, rng: np.random.Generator) -> Frame:
        """What becomes of a frame of the trajectory."""
        return frame


def in_box(composition: Composition, positions: np.ndarray, edges: np.ndarray, **info: float) -> Frame:
    """A frame in a box with these edges (3,) A; its info has the density."""
    density = float(density_g_cm3(composition.mass, np.prod(edges)))
    return composition.frame(positions, np.diag(edges), density_g_cm3=density, **info)


def drawn_strain(scale: float, rng: np.random.Generator) -> np.ndarray:
    """(3, 3) lower triangular, the identity plus normal numbers of this standard deviation."""
    return np.eye(3) + np.tril(rng.normal(scale=scale, size=(3, 3)))


def strained(frame: Frame, positions: np.ndarray, strain: np.ndarray) -> Frame:
    """The frame with its cell strained (3, 3) and these positions; the density follows."""
    density = frame.info["density_g_cm3"] / float(np.linalg.det(strain))
    return frame.replace(positions=positions, cell=frame.cell @ strain, info={**frame.info, "density_g_cm3": density})


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

    def changed(self, frame: Frame, composition: Composition, rng: np.random.Generator) -> Frame:
        strain = drawn_strain(self.config.strain, rng)
        positions = frame.positions @ strain
        positions = positions + rng.normal(scale=rng.uniform(*self.config.displacement_A), size=positions.shape)
        return strained(frame, positions, strain)


class StrainedConfig(BulkConfig):
    """Bulk frames with the box strained; molecules move with it and keep their shapes."""

    kind: Literal["strained"]
    strain: float = Field(0.05, ge=0, lt=0.2, description="standard deviation of each component of the strain")


@system
class Strained(Bulk):
    """Bulk frames, box strained, molecules rigid."""

    config: StrainedConfig

    def changed(self, frame: Frame, composition: Composition, rng: np.random.Generator) -> Frame:
        strain = drawn_strain(self.config.strain, rng)
        moves = composition.centres(frame.positions) @ (strain - np.eye(3))
        return strained(frame, frame.positions + moves[composition.molecule], strain)


class StretchedConfig(BulkConfig, ReshapedConfig):
    """Bulk frames in which a part of the molecules gets new bond lengths and angles."""

    kind: Literal["stretched"]
    fraction: Part = Field(0.25, description="part of the molecules that is changed")


@system
class Stretched(Bulk):
    """Bulk frames, a part of the molecules with new bond lengths and angles."""

    config: StretchedConfig

    def changed(self, frame: Frame, composition: Composition, rng: np.random.Generator) -> Frame:
        positions = frame.positions.copy()
        for chosen in np.flatnonzero(rng.random(len(composition)) < self.config.fraction):
            mine = composition.atoms_of(chosen)
            positions[mine] = reshaped(self.config, composition.species_of(chosen), positions[mine], rng)
        return frame.replace(positions=positions)


class TurnedConfig(BulkConfig):
    """Bulk frames in which a part of the molecules is turned at random, down to the distances given."""

    kind: Literal["turned"]
    fraction: Part = Field(0.25, description="part of the molecules that is turned")
    oh_A: Length = Field(1.3, description="A, shortest O-H distance of two molecules, H bound to N, O or a halogen")
    hh_A: Length = Field(0.7, description="A, shortest distance of two such H; other pairs have limits by their radii")


@system
class Turned(Bulk):
    """Bulk frames, a part of the molecules turned at random about their centres of mass, as near to the others as the
    settings allow."""

    config: TurnedConfig

    def changed(self, frame: Frame, composition: Composition, rng: np.random.Generator) -> Frame:
        sorts, positions = composition.sorts, frame.positions.copy()
        limits = Limits(composition.species, {(1, 8): self.config.oh_A, (1, 1): self.config.hh_A}, APART_A)
        for chosen in np.flatnonzero(rng.random(len(composition)) < self.config.fraction):
            mine, species = composition.atoms_of(chosen), composition.species_of(chosen)
            others = composition.molecule != chosen
            centre = species.centre(positions[mine])
            turns = turns_of(rng, np.linspace(180.0, 180.0 / TURNS, TURNS))
            tries = centre + np.einsum("kij,aj->kai", turns, positions[mine] - centre)
            clear = limits.clearance(species.sorts, tries, sorts[others], positions[others], frame.cell) >= 1
            if clear.any():
                positions[mine] = tries[clear.argmax()]
        return frame.replace(positions=positions)


def turns_of(rng: np.random.Generator, largest_deg: np.ndarray) -> np.ndarray:
    """(K, 3, 3) turns about random axes by up to these angles (K,), larger ones more often, as of a random turn."""
    axes = rng.normal(size=(len(largest_deg), 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    angles = np.deg2rad(largest_deg) * np.cbrt(rng.random(len(largest_deg)))
    return Rotation.from_rotvec(axes * angles[:, None]).as_matrix()


Gap = Annotated[float, Field(ge=0, le=1000)]


class InterfaceConfig(BulkConfig):
    """Trajectories of liquids that meet: each kind of molecules in a layer of its own along z, and vacuum above. One
    kind of molecules alone is a slab in vacuum."""

    kind: Literal["interface"]
    vacuum_A: between(Gap) = Field(
        (6.0, 16.0), description="A, thinnest and thickest vacuum; drawn for each trajectory"
    )
    layers: bool = Field(True, description="each kind of molecules in a layer; false: mixed")


@system
class Interface(Bulk):
    """Layers along z in a box that is longer by the vacuum; density_g_cm3 of the settings is that of the layers, in the
    info of a frame that of the box."""

    config: InterfaceConfig

    def start(self, composition: Composition, edges: np.ndarray, rng: np.random.Generator) -> Frame:
        config, kinds = self.config, np.array(composition.kinds)
        masses = [np.sum(kinds == kind) * each.masses.sum() for kind, each in enumerate(composition.species)]
        tops = edges[2] * np.cumsum(masses) / composition.mass
        layers = zip([0.0, *tops[:-1]], tops, strict=True) if config.layers else [(0.0, edges[2])] * len(tops)
        regions = [f"inside box 0. 0. {low:.9f} {edges[0]:.9f} {edges[1]:.9f} {top:.9f}" for low, top in layers]
        vacuum = float(rng.uniform(*config.vacuum_A))
        box = np.array([*edges[:2], edges[2] + vacuum])
        return in_box(composition, packed(composition, rng, regions, box), box, vacuum_A=round(vacuum, 3))
