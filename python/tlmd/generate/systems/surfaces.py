"""Systems that start from the frames of a file: a molecule on a surface moved and displaced, and its trajectories."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate import config
from tlmd.generate.interfaces import System
from tlmd.generate.systems.water import Read
from tlmd.generate.teachers.any_atoms import AnyAtoms
from tlmd.generate.teachers.comb3 import COMB3, require_periodic
from tlmd.run.errors import InputError

BONDED_A = (1.4, 2.0)  # of a transferred hydrogen from its new neighbour
NEIGHBOURS = 4  # the nearest atoms of the surface, one of which gets it


class Displaced(Read):
    """Frames of the file with the adsorbate moved and every atom displaced."""

    def sample(self, item: int, rng: np.random.Generator, teacher: COMB3 | AnyAtoms) -> Iterator[Frame]:
        for frame in self.spread(item):
            yield self.moved(frame, rng)

    def moved(self, frame: Frame, rng: np.random.Generator) -> Frame:
        """The frame with the moves of the settings, drawn anew; nothing keeps atoms apart."""
        require_periodic(frame)
        settings, positions = self.settings, frame.positions.copy()
        adsorbate = np.isin(np.array(chemical_symbols)[frame.numbers], settings.adsorbate)
        if settings.adsorbate and not adsorbate.any():
            wanted = ", ".join(settings.adsorbate)
            raise InputError(f"frames without {wanted} in {settings.file}", "an adsorbate", "correct adsorbate")
        if adsorbate.any() and rng.random() < settings.moved:
            first = positions[adsorbate][0]
            shape = minimum_image(positions[adsorbate] - first, frame.cell)
            centre = first + shape.mean(0)
            axis = rng.normal(size=3)
            angle = np.deg2rad(rng.uniform(0, settings.turn_deg)) / np.linalg.norm(axis)
            shape = (shape - shape.mean(0)) @ Rotation.from_rotvec(angle * axis).as_matrix().T
            lift = [*rng.normal(scale=settings.shift_A, size=2), rng.uniform(*settings.lift_A)]
            positions[adsorbate] = centre + shape * rng.uniform(*settings.stretch) + lift
        hydrogens, others = (np.flatnonzero(mask) for mask in (frame.numbers == 1, ~adsorbate))
        if len(hydrogens) and len(others) and rng.random() < settings.transferred:
            hydrogen = rng.choice(hydrogens)
            away = minimum_image(positions[others] - positions[hydrogen], frame.cell)
            near = others[np.argsort(np.linalg.norm(away, axis=-1))[:NEIGHBOURS]]
            direction = rng.normal(size=3)
            direction[2] = abs(direction[2])  # out of the surface
            step = rng.uniform(*BONDED_A) * direction / np.linalg.norm(direction)
            positions[hydrogen] = positions[rng.choice(near)] + step
        positions += rng.normal(scale=rng.uniform(*settings.displacement_A), size=positions.shape)
        return frame.replace(positions=positions)


class Trajectory(Displaced):
    """Trajectories of the teacher, each from one frame of the file, moved and displaced."""

    def sample(self, item: int, rng: np.random.Generator, teacher: COMB3 | AnyAtoms) -> Iterator[Frame]:
        settings = self.settings
        start = self.moved(next(self.spread(item)), rng)
        temperature = float(rng.uniform(*settings.temperature_K))
        start = start.replace(info=start.info | {"temperature_K": round(temperature, 1)})
        if teacher.unfit(start) is None:
            yield from teacher.trajectory(
                start, temperature, settings.equilibrate_ps, settings.spacing_ps, self.count(item),
                int(rng.integers(1, 900_000_000)),
            )  # fmt: skip


SYSTEMS: dict[type[config.SystemConfig], type[System]] = {
    config.DisplacedConfig: Displaced,
    config.TrajectoryConfig: Trajectory,
}
