"""Water systems for classical labels: one small class for each kind, behind `tlmd.generate.interfaces.System`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from tlmd.frames.frame import Frame, minimum_image
from tlmd.frames.read import read_once
from tlmd.generate import config
from tlmd.generate.interfaces import System
from tlmd.generate.teachers.lammps_water import LammpsWater
from tlmd.generate.teachers.spcfw import ANGLE_DEG, BOND_A, MASS_G_MOL
from tlmd.run.errors import InputError
from tlmd.units import GCM3_PER_GMOL_A3


class Bulk(System):
    """Periodic liquid: temperature and density spread evenly over the items."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        settings = self.settings
        temperature = _spread(settings.temperature_K, item, 0.7548776662466927)
        density = _spread(settings.density_g_cm3, item, 0.5698402909980532)
        volume = settings.molecules * MASS_G_MOL / density * GCM3_PER_GMOL_A3
        edges = np.exp(rng.uniform(-settings.aspect, settings.aspect, 3) / 2)
        edges *= np.cbrt(volume / edges.prod())
        sites = math.ceil(settings.molecules ** (1 / 3) - 1e-9)
        grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) / sites
        centres = grid[rng.permutation(len(grid))[: settings.molecules]] * edges
        start = _frame(centres[:, None] + _oriented(_molecules(settings.molecules), rng), np.diag(edges))
        start = start.replace(info={"temperature_K": temperature, "density_g_cm3": density})
        yield from teacher.trajectory(
            start, temperature, settings.equilibrate_ps, settings.spacing_ps, self.count(item), _seed(rng)
        )


class Rattled(Bulk):
    """Bulk frames, box strained and atoms displaced."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        for frame in super().sample(item, rng, teacher):
            strain = np.eye(3) + np.tril(rng.normal(scale=self.settings.strain, size=(3, 3)))
            positions = _whole(frame) @ strain
            positions = positions + rng.normal(scale=rng.uniform(*self.settings.displacement_A), size=positions.shape)
            cell = frame.cell @ strain
            info = {**frame.info, "density_g_cm3": frame.info["density_g_cm3"] / np.linalg.det(strain)}
            yield frame.replace(positions=positions, cell=cell, info=info)


class Stretched(Bulk):
    """Bulk frames, a part of the molecules with new bond lengths and angle, orientation kept."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        for frame in super().sample(item, rng, teacher):
            molecules = _whole(frame).reshape(-1, 3, 3)
            chosen = rng.random(len(molecules)) < self.settings.fraction
            bonds = molecules[chosen, 1:] - molecules[chosen, :1]
            x = bonds[:, 0] / np.linalg.norm(bonds[:, 0], axis=-1, keepdims=True)
            y = bonds[:, 1] - (bonds[:, 1] * x).sum(-1, keepdims=True) * x
            y /= np.linalg.norm(y, axis=-1, keepdims=True)
            length, angle = _geometry(self.settings, len(x), rng)
            molecules[chosen, 1] = molecules[chosen, 0] + length[:, :1] * x
            molecules[chosen, 2] = molecules[chosen, 0] + length[:, 1:] * (np.cos(angle) * x + np.sin(angle) * y)
            yield frame.replace(positions=molecules.reshape(-1, 3))


class Turned(Bulk):
    """Bulk frames, a part of the molecules turned at random, as near to the others as the settings allow."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        settings = self.settings
        nearest = np.array([0.0, settings.oh_A, settings.hh_A])
        for frame in super().sample(item, rng, teacher):
            molecules = _whole(frame).reshape(-1, 3, 3)
            for chosen in np.flatnonzero(rng.random(len(molecules)) < settings.fraction):
                others = np.delete(molecules, chosen, axis=0)
                centre = molecules[chosen, :1]
                for turned in centre + _oriented(np.repeat(molecules[chosen, None] - centre, 20, axis=0), rng):
                    if (_contacts(turned, others, frame.cell) >= nearest).all():
                        molecules[chosen] = turned
                        break
            yield frame.replace(positions=molecules.reshape(-1, 3))


class Cluster(System):
    """Free clusters; the size grows with the item."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        settings = self.settings
        low, high = settings.molecules
        molecules = low + item % (high - low + 1)
        temperature = _spread(settings.temperature_K, item, 0.6180339887498949)
        sites = math.ceil(molecules ** (1 / 3) - 1e-9)
        grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 3.0
        centres = grid[rng.permutation(len(grid))[:molecules]]
        start = _frame(centres[:, None] - centres.mean(0) + _oriented(_molecules(molecules), rng))
        start = start.replace(info={"temperature_K": temperature})
        yield from teacher.trajectory(
            start, temperature, settings.equilibrate_ps, settings.spacing_ps, self.count(item), _seed(rng)
        )


class Monomer(System):
    """Single molecules with any bond lengths and angle."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        count = self.count(item)
        length, angle = _geometry(self.settings, count, rng)
        for molecule in _oriented(_molecules(count, length, angle), rng):
            yield _frame(molecule)


class Dimer(System):
    """Two molecules, O-O distance from near to far."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        count = self.count(item)
        low, high = self.settings.distance_A
        first = self.first(item)
        for distance in low + (high - low) * (first + np.arange(count) + 0.5) / self.frames:
            pair = _oriented(_molecules(2), rng)
            pair += rng.normal(scale=self.settings.displacement_A, size=pair.shape)
            pair[1] += pair[0, 0] - pair[1, 0] + [distance, 0.0, 0.0]
            yield _frame(pair)


class Contact(System):
    """Two molecules with one pair of atoms at a given distance and no other pair nearer than its own limit."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        settings, count = self.settings, self.count(item)
        ranges = np.array([settings.oo_A, settings.oh_A, settings.hh_A])
        first = self.first(item)
        for number in range(first, first + count):
            kind = number % 3
            distance = ranges[kind] @ [1 - (number + 0.5) / self.frames, (number + 0.5) / self.frames]
            nearest = ranges[:, 0].copy()
            nearest[kind] = distance - 1e-9
            while True:
                pair = _oriented(_molecules(2), rng)
                pair += rng.normal(scale=settings.displacement_A, size=pair.shape)
                hydrogens = rng.integers(1, 3, 2)
                a, b = ((0, 0), (0, hydrogens[1]), hydrogens)[kind]
                direction = rng.normal(size=3)
                pair[1] += pair[0, a] - pair[1, b] + distance * direction / np.linalg.norm(direction)
                if (_contacts(pair[0], pair[1:]) >= nearest).all():
                    break
            yield _frame(pair)


class Read(System):
    """Frames of a file without their labels; `kind`, `source` and the rest of their info stay."""

    def sample(self, item: int, rng: np.random.Generator, teacher: LammpsWater) -> Iterator[Frame]:
        count = len(read_once(self.settings.file, check=False))
        if count < self.frames:
            raise InputError(f"{count} frames in {self.settings.file}", f"{self.frames}", "ask for fewer frames")
        yield from self.spread(item)

    def spread(self, item: int) -> Iterator[Frame]:
        """The frames of one work item, evenly spread over the file, without labels; repeated where the file is short"""
        frames, first = read_once(self.settings.file, check=False), self.first(item)
        for index in np.linspace(0, len(frames) - 1, self.frames).round().astype(int)[first : first + self.count(item)]:
            yield frames[index].replace(energy=None, forces=None, stress=None)


SYSTEMS: dict[type[config.SystemConfig], type[System]] = {
    config.BulkConfig: Bulk,
    config.RattledConfig: Rattled,
    config.StretchedConfig: Stretched,
    config.TurnedConfig: Turned,
    config.ClusterConfig: Cluster,
    config.MonomerConfig: Monomer,
    config.DimerConfig: Dimer,
    config.ContactConfig: Contact,
    config.FileConfig: Read,
}


def _spread(bounds: tuple[float, float], item: int, step: float) -> float:
    """Point `item` of an evenly spreading sequence over the bounds: every prefix covers them."""
    return bounds[0] + (bounds[1] - bounds[0]) * ((0.5 + item * step) % 1.0)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 900_000_000))  # the range of LAMMPS' generators


def _molecules(count: int, length: np.ndarray | float = BOND_A, angle: np.ndarray | float | None = None) -> np.ndarray:
    """(count, 3, 3) positions of O H H in A, O at the origin; length (count, 2) A, angle (count, 1) rad."""
    angle = np.broadcast_to(np.deg2rad(ANGLE_DEG) if angle is None else angle, (count, 1))
    length = np.broadcast_to(length, (count, 2))
    molecules = np.zeros((count, 3, 3))
    molecules[:, 1, 0] = length[:, 0]
    molecules[:, 2, :2] = length[:, 1:] * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return molecules


def _geometry(settings, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Uniform bond lengths (count, 2) in A and angles (count, 1) in rad."""
    return rng.uniform(*settings.bond_A, (count, 2)), np.deg2rad(rng.uniform(*settings.angle_deg, (count, 1)))


def _oriented(molecules: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each molecule of (M, 3, 3) turned at random about its oxygen."""
    return np.einsum("mij,maj->mai", Rotation.random(len(molecules), random_state=rng).as_matrix(), molecules)


def _whole(frame: Frame) -> np.ndarray:
    """(N, 3) positions with both hydrogens beside their oxygen, not across the box."""
    molecules = frame.positions.reshape(-1, 3, 3)
    return (molecules[:, :1] + minimum_image(molecules - molecules[:, :1], frame.cell)).reshape(-1, 3)


def _contacts(molecule: np.ndarray, others: np.ndarray, cell: np.ndarray | None = None) -> np.ndarray:
    """The shortest O-O, O-H and H-H distances (A) of a molecule (3, 3) to others (M, 3, 3), minimum image in a cell."""
    vectors = others[:, None] - molecule[None, :, None]  # (M, 3, 3, 3)
    if cell is not None:
        vectors = minimum_image(vectors, cell)
    distances = np.linalg.norm(vectors, axis=-1).min(axis=0)
    return np.array([distances[0, 0], min(distances[0, 1:].min(), distances[1:, 0].min()), distances[1:, 1:].min()])


def _frame(positions: np.ndarray, cell: np.ndarray | None = None) -> Frame:
    """A frame of whole molecules; periodic if there is a cell."""
    positions = positions.reshape(-1, 3)
    numbers = np.tile([8, 1, 1], len(positions) // 3)
    if cell is None:
        return Frame(numbers, positions)
    return Frame(numbers, positions, cell, np.ones(3, dtype=bool))
