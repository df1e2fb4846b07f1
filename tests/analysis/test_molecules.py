"""Molecules by their bonds, and the diffusion of their centres."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

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
    found = molecules(box)
    assert np.bincount(found.number).tolist() == [6] * 8
    for number in range(8):
        assert sorted(box.species[found.number == number]) == ["C", "H", "H", "H", "H", "O"]
    assert found.finite and found.kinds == ["CH4O"] and found.text() == "8 CH4O"
    assert found.constitution == ({"C": 1, "H": 4, "O": 1}, {"C-H": 3, "C-O": 1, "H-O": 1})
    assert Counter(found.hydrogens.tolist()) == {"C": 8, "O": 8, "HC": 24, "HO": 8}
    water = molecules(read_dump(DATA / "spcfw64.dump.xz"))
    assert water.number.tolist() == np.repeat(np.arange(64), 3).tolist()


def crystal(atoms, frames=2) -> Trajectory:
    positions = np.repeat(atoms.get_positions()[None], frames, axis=0)
    cells = np.repeat(np.array(atoms.cell)[None], frames, axis=0)
    return Trajectory(
        Path("x"), np.arange(frames), None, np.array(atoms.get_chemical_symbols()), atoms.get_masses(), positions,
        cells, np.asarray(atoms.pbc), "metal",
    )  # fmt: skip


def test_bonds_through_the_whole_box_are_seen():
    """Crystals, in primitive cells as well, a surface, a chain in one direction, and one whose ends do not meet."""
    for atoms in (
        bulk("Cu", cubic=True) * 2,
        bulk("C", "diamond", a=3.57, cubic=True),
        bulk("ZnS", "zincblende", 5.41),
    ):
        assert not molecules(crystal(atoms)).finite
    slab = fcc111("Cu", (2, 2, 2), vacuum=8.0, periodic=True)
    assert not molecules(crystal(slab)).finite
    chain = Atoms("C4", [[1.3 * i, 5, 5] for i in range(4)], cell=[5.2, 10, 10], pbc=True)
    assert not molecules(crystal(chain)).finite
    chain.set_cell([9.0, 10, 10])
    assert molecules(crystal(chain)).finite
    assert molecules(methanol_box()).finite


def test_ions_are_not_bonded_to_their_shell():
    """Na-O at 2.4 A is below 1.25 of the sum of covalent radii (2.9 A)."""
    water = molecule("H2O")
    water.translate([2.4, 0, 0] - water.positions[0])
    salt = Atoms("Na") + water + Atoms("Cl", [[7.0, 7, 7]])
    salt.set_cell([12.0] * 3)
    salt.pbc = True
    assert molecules(crystal(salt)).kinds == ["Na", "H2O", "Cl"]


def test_a_bond_holds_in_most_frames():
    """A stretch in the first frame breaks no molecule; a proton that moves at half time belongs where it is longer."""
    box = methanol_box()
    frames = np.repeat(box.positions[:1], 11, axis=0)
    carbon = int(np.flatnonzero(box.species == "C")[0])
    frames[:3, carbon] += 1.5
    cells = np.repeat(box.cells[:1], 11, axis=0)
    moved = Trajectory(**{**box.__dict__, "positions": frames, "cells": cells, "steps": np.arange(11)})
    assert molecules(moved).text() == "8 CH4O"
    frames[:8, carbon] = box.positions[0, carbon] + 1.5
    assert molecules(moved).text() != "8 CH4O"


def test_centres_move_as_the_mean_of_their_masses():
    box = methanol_box()
    numbers = molecules(box).number
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
