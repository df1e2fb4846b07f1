"""Systems that start from the frames of a file: a molecule on a surface moved and displaced, and its trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.interfaces import NotMade, SystemConfig, Teacher, draw_seed, require_periodic
from tlmd.generate.registry import system
from tlmd.generate.systems.from_file import Read
from tlmd.run.config import ConfigPath
from tlmd.run.errors import InputError
from tlmd.run.quantities import Amplitude, Factor, Fraction, Frames, Shift, Temperature, Time, between

BONDED_A = (1.4, 2.0)  # of a transferred hydrogen from its new neighbour
NEIGHBOURS = 4  # the nearest atoms of the surface, one of which gets it


class DisplacedConfig(SystemConfig):
    """Frames of a file, evenly spread, with every atom displaced and the molecule on the surface (normal: z) moved.

    A moved adsorbate is turned by up to `turn_deg` about its centre, scaled, lifted and shifted; a transferred hydrogen
    is bound to an atom of the surface near it. Amplitudes are drawn anew for each frame.
    """

    matter: ClassVar[str] = "material"
    kind: Literal["displaced"]
    file: ConfigPath = Field(description="frames to start from; their labels are not read")
    frames_per_item: Frames = Field(50, description="frames of one work item")
    displacement_A: between(Amplitude) = Field(
        (0.02, 0.15), description="A, lowest and highest standard deviation of the displacements"
    )
    adsorbate: list[str] = Field([], description="elements of the molecule on the surface")
    moved: Fraction = Field(0.5, description="part of the frames in which the adsorbate is moved")
    turn_deg: float = Field(90.0, ge=0, le=180, description="degrees, largest turn of the adsorbate about its centre")
    stretch: between(Factor) = Field(
        (0.9, 1.2), description="smallest and largest factor on distances to the centre of the adsorbate"
    )
    lift_A: between(Shift) = Field((-0.3, 3.0), description="A, lowest and highest shift of the adsorbate along z")
    shift_A: Amplitude = Field(1.0, description="A, standard deviation of the shift along x and y")
    transferred: Fraction = Field(
        0.2, description="part of the frames in which a hydrogen is bound to an atom of the surface"
    )


@system
class Displaced(Read):
    """Frames of the file with the adsorbate moved and every atom displaced."""

    config: DisplacedConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        for frame in self.spread(item):
            yield self.moved(frame, rng)

    def moved(self, frame: Frame, rng: np.random.Generator) -> Frame:
        """The frame with the moves of the configuration, drawn anew; nothing keeps atoms apart."""
        require_periodic(frame)
        config, positions = self.config, frame.positions.copy()
        adsorbate = np.isin(np.array(chemical_symbols)[frame.numbers], config.adsorbate)
        if config.adsorbate and not adsorbate.any():
            wanted = ", ".join(config.adsorbate)
            raise InputError(f"frames without {wanted} in {config.file}", "an adsorbate", "correct adsorbate")
        if adsorbate.any() and rng.random() < config.moved:
            first = positions[adsorbate][0]
            shape = minimum_image(positions[adsorbate] - first, frame.cell)
            centre = first + shape.mean(0)
            axis = rng.normal(size=3)
            angle = np.deg2rad(rng.uniform(0, config.turn_deg)) / np.linalg.norm(axis)
            shape = (shape - shape.mean(0)) @ Rotation.from_rotvec(angle * axis).as_matrix().T
            lift = [*rng.normal(scale=config.shift_A, size=2), rng.uniform(*config.lift_A)]
            positions[adsorbate] = centre + shape * rng.uniform(*config.stretch) + lift
        hydrogens, others = (np.flatnonzero(mask) for mask in (frame.numbers == 1, ~adsorbate))
        if len(hydrogens) and len(others) and rng.random() < config.transferred:
            hydrogen = rng.choice(hydrogens)
            away = minimum_image(positions[others] - positions[hydrogen], frame.cell)
            near = others[np.argsort(np.linalg.norm(away, axis=-1))[:NEIGHBOURS]]
            direction = rng.normal(size=3)
            direction[2] = abs(direction[2])  # out of the surface
            step = rng.uniform(*BONDED_A) * direction / np.linalg.norm(direction)
            positions[hydrogen] = positions[rng.choice(near)] + step
        positions += rng.normal(scale=rng.uniform(*config.displacement_A), size=positions.shape)
        return frame.replace(positions=positions)


class TrajectoryConfig(DisplacedConfig):
    """Trajectories of the teacher, each from one such frame at its own temperature."""

    kind: Literal["trajectory"]
    frames_per_item: Frames = Field(20, description="frames of one work item")
    temperature_K: between(Temperature) = Field(
        (200.0, 1000.0), description="K, lowest and highest; drawn for each trajectory"
    )
    equilibrate_ps: Time = Field(0.1, description="ps before the first frame")
    spacing_ps: Time = Field(0.03, description="ps between frames")


@system
class Trajectory(Displaced):
    """Trajectories of the teacher, each from one frame of the file, moved and displaced."""

    config: TrajectoryConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        config = self.config
        start = self.moved(next(self.spread(item)), rng)
        temperature = float(rng.uniform(*config.temperature_K))
        start = start.replace(info=start.info | {"temperature_K": round(temperature, 1)})
        if reason := teacher.unfit(start):
            yield NotMade(self.count(item), f"a start with {reason}")
            return
        yield from teacher.trajectory(
            start, temperature, config.equilibrate_ps, config.spacing_ps, self.count(item), draw_seed(rng)
        )
