"""Molecules by their bonds, and the diffusion of their centres."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from tlmd.analysis.molecules import centres_of_mass, molecules
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import Trajectory, read_dump
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"


def methanol_box() -> Trajectory:
    """8 methanol molecules on a lattice, across the boundaries, atoms in another order."""
    rng, edge = np.random.default_rng(2), 9.0
    one = molecule("CH3OH")
    positions = np.concatenate([one.positions + np.array(site) * edge / 2 for site in np.ndindex(2, 2, 2)]) + 4.0
    species = np.array(one.get_chemical_symbols() * 8)
    order = rng.permutation(len(species))
    cells = np.repeat(np.eye(3)[None] * edge, 2, axis=0)
    masses = np.tile(one.get_masses(), 8)[order]
    frames = np.repeat(positions[order][None], 2, axis=0)
    return Trajectory(Path("x"), np.arange(2), None, species[order], masses, frames, cells, np.ones(3, bool), "metal")


def test_molecules_of_methanol_and_water():
    box = methanol_box()
    numbers = molecules(box)
    assert np.bincount(numbers).tolist() == [6] * 8
    for number in range(8):
        assert sorted(box.species[numbers == number]) == ["C", "H", "H", "H", "H", "O"]
    water = molecules(read_dump(DATA / "spcfw64.dump.xz"))
    assert water.tolist() == np.repeat(np.arange(64), 3).tolist()


def test_centres_move_as_the_mean_of_their_masses():
    box = methanol_box()
    numbers = molecules(box)
    centres = centres_of_mass(box.positions, box.masses, numbers)
    for number in range(8):
        inside = numbers == number
        mean = np.average(box.positions[0, inside], axis=0, weights=box.masses[inside])
        assert centres[0, number] == pytest.approx(mean)


def test_molecules_diffuse_as_their_oxygens():
    """Over many ps an atom is never far from its molecule: D of the centres is D of O within a few per cent."""
    files = (DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz")
    window = (5.0, 30.0)
    oxygen, centres = (
        measure("diffusion", Simulation(*files), species=species, window_ps=window).records[0]
        for species in ("O", "COM")
    )
    assert "MSD of COM" in centres["source"]
    assert centres["value"] == pytest.approx(oxygen["value"], rel=0.03)


def test_types_have_no_bonds():
    box = methanol_box()
    with pytest.raises(InputError, match=r"got species 1, whose bonds are not known; wanted elements; give --elements"):
        molecules(Trajectory(**{**box.__dict__, "species": np.array(["1"] * 48)}))
