"""Which frames say something of the pressure."""

import numpy as np
import pytest

from tlmd.frames.density import by_composition, undetermined_pressure, vacuum, volumes_per_atom
from tlmd.frames.frame import Frame

WORDS = "data.xyz: the pressure is not determined by these frames: one density (1.000 g/cm3) and no stress labels"


def water(rng, molecules: int = 8, density: float = 1.0, **changes) -> Frame:
    """Atoms anywhere in a box of `density` g/cm3."""
    edge = (molecules * 18.015 / density / 0.602214) ** (1 / 3)
    numbers = np.tile([8, 1, 1], molecules)
    positions = rng.uniform(0, edge, (3 * molecules, 3))
    return Frame(numbers, positions, np.eye(3) * edge, np.ones(3, bool), energy=0.0).replace(**changes)


def test_one_density_without_stress_is_told():
    rng = np.random.default_rng(1)
    frames = [water(rng) for _ in range(4)]
    assert undetermined_pressure(frames, "data.xyz").startswith(WORDS)
    assert undetermined_pressure([*frames, water(rng, 16, 1.005)], "data.xyz").startswith(WORDS)  # less than 1 %
    for other in (water(rng, density=1.02), water(rng, stress=np.zeros((3, 3)))):
        assert undetermined_pressure([*frames, other], "data.xyz") is None


def test_free_frames_and_vacuum_say_nothing_of_npt():
    rng = np.random.default_rng(2)
    free = water(rng, pbc=np.zeros(3, bool))
    slab = water(rng)
    slab = slab.replace(cell=slab.cell + np.diag([0.0, 0.0, 12.0]))
    assert vacuum(slab) > 12.0 and undetermined_pressure([free, slab], "data.xyz") is None
    assert by_composition([free, slab]) == {}


def test_vacuum_in_a_tilted_cell_is_the_distance_of_planes():
    cell = np.array([[10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [4.0, 3.0, 10.0]])
    positions = np.random.default_rng(3).uniform(size=(2000, 3)) * [1.0, 1.0, 0.3] @ cell
    assert vacuum(Frame(np.ones(2000, int), positions, cell, np.ones(3, bool))) == pytest.approx(7.0, abs=0.1)


def test_compositions_are_reduced():
    rng = np.random.default_rng(4)
    frames = [water(rng, 8), water(rng, 24, 1.1), water(rng, 8, numbers=np.full(24, 8))]
    assert by_composition(frames) == {"H2O": [0, 1], "O": [2]}
    assert volumes_per_atom(frames[:2]) == pytest.approx([18.015 / 0.602214 / 3, 18.015 / 0.602214 / 3.3])
