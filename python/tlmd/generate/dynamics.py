"""Langevin dynamics by the forces of a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ase.data import atomic_masses

from tlmd.generate.interfaces import Unsuited
from tlmd.units import A2_FS2_PER_EV_GMOL, BOLTZMANN_EV_K, EV_PER_KCAL_MOL

FARTHEST_A = 1e5  # of a coordinate in dynamics
FRICTION_FS = 100.0  # relaxation time of the thermostat
WALL_EV_A2 = 10.0 * EV_PER_KCAL_MOL  # stiffness of the wall that holds a free cluster while it is sampled


def langevin(
    forces: Callable[[np.ndarray], np.ndarray],
    numbers: np.ndarray,
    positions: np.ndarray,
    temperature_K: float,
    timestep_fs: float,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Positions (N, 3) A after each step of Langevin dynamics (BAOAB, Leimkuhler and Matthews 2013), without end;
    `forces` in eV/A at positions."""
    masses = atomic_masses[numbers][:, None] / A2_FS2_PER_EV_GMOL  # eV fs^2/A^2
    thermal = np.sqrt(BOLTZMANN_EV_K * temperature_K / masses)
    keep = np.exp(-timestep_fs / FRICTION_FS)
    velocities = thermal * rng.normal(size=positions.shape)
    force = forces(positions)
    while True:
        velocities = velocities + 0.5 * timestep_fs * force / masses
        positions = positions + 0.5 * timestep_fs * velocities
        velocities = keep * velocities + np.sqrt(1 - keep**2) * thermal * rng.normal(size=positions.shape)
        positions = positions + 0.5 * timestep_fs * velocities
        if not np.abs(positions).max() < FARTHEST_A:
            raise Unsuited(f"dynamics of {len(numbers)} atoms that flew apart", "stable dynamics", "lower timestep_fs")
        force = forces(positions)
        velocities = velocities + 0.5 * timestep_fs * force / masses
        yield positions


def walled(forces: Callable[[np.ndarray], np.ndarray], positions: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """`forces` and a soft spherical wall that holds free atoms together, about the centre of `positions` (N, 3) A."""
    centre = positions.mean(0)
    radius = wall_radius(positions - centre)

    def held(places: np.ndarray) -> np.ndarray:
        away = places - centre
        lengths = np.linalg.norm(away, axis=1, keepdims=True)
        return forces(places) - WALL_EV_A2 * away * np.maximum(1 - radius / np.maximum(lengths, radius), 0)

    return held


def wall_radius(positions: np.ndarray) -> float:
    """The radius (A) of a wall about free atoms at positions (N, 3) A about the origin: ample for molecules."""
    return float(max(3.0 + 2.5 * np.cbrt(len(positions) / 3), np.linalg.norm(positions, axis=1).max()))


def spaced(
    walk: Iterator[np.ndarray], timestep_fs: float, equilibrate_ps: float, spacing_ps: float, count: int
) -> Iterator[np.ndarray]:
    """`count` of the steps of `walk`, the first ones after `equilibrate_ps` and one spacing."""
    equilibrate, spacing = round(1000 * equilibrate_ps / timestep_fs), max(1, round(1000 * spacing_ps / timestep_fs))
    for step in range(1, equilibrate + count * spacing + 1):
        positions = next(walk)
        if step > equilibrate and (step - equilibrate) % spacing == 0:
            yield positions
