"""Hydrogen bonds of ice, of water against a loop over all triples, and of what has none."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from tlmd.analysis.molecules import molecules
from tlmd.analysis.properties.hydrogen_bonds import hydrogen_bonds
from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.trajectory import Trajectory, read_dump
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"
DUMP, LOG = DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz"


def trajectory_of(atoms: Atoms, frames: int = 1) -> Trajectory:
    shape = (frames, 1, 1)
    return Trajectory(
        Path("made.dump"),
        np.arange(frames),
        None,
        np.array(atoms.get_chemical_symbols()),
        atoms.get_masses(),
        np.tile(atoms.positions, shape),
        np.tile(atoms.cell.array, shape),
        np.ones(3, bool),
        None,
    )


def cubic_ice(oo=2.76, oh=0.98) -> Atoms:
    """Ordered cubic ice: of the four neighbours of a diamond lattice, one sublattice donates to two, the other one
    along the two other directions."""
    edge = 4 * oo / np.sqrt(3)
    atoms = bulk("O", "diamond", a=edge, cubic=True) * (2, 2, 2)
    directions = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    quarters = np.rint(atoms.positions / (edge / 4)).astype(int)
    hydrogens = []
    for place, quarter in zip(atoms.positions, quarters, strict=True):
        outward = directions[:2] if quarter[0] % 2 == 0 else -directions[2:]
        hydrogens += [place + oh * direction for direction in outward]
    return atoms + Atoms(f"H{len(hydrogens)}", hydrogens)


def test_ice_donates_two():
    ice = trajectory_of(cubic_ice(), 3)
    found = molecules(ice)
    assert found.text() == "64 H2O"
    result = hydrogen_bonds(ice.positions, ice.cells, found)
    assert result.donated["H2O"].tolist() == [2.0] * 3
    assert result.all.tolist() == [4.0] * 3
    assert result.distances_A == pytest.approx(2.76, abs=1e-6)
    assert result.angles_deg == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(InputError, match=r"got distance 7 A; wanted at most half the box, 6\.374 A"):
        hydrogen_bonds(ice.positions, ice.cells, found, 7.0)


@pytest.mark.parametrize(("distance", "angle"), [(3.5, 30.0), (3.2, 50.0)])
def test_water_against_a_loop(distance, angle):
    """All triples of donor, hydrogen and acceptor, by minimum images."""
    dump = read_dump(DUMP)
    frame, cell = dump.positions[40], dump.cells[40]
    names, edge, count = dump.species, cell[0, 0], 0
    oxygens = np.flatnonzero(names == "O")

    def image(vector):
        return vector - edge * np.rint(vector / edge)

    for i in oxygens:
        for h in (i + 1, i + 2):
            assert names[h] == "H"
            arm = image(frame[h] - frame[i])
            for j in oxygens[oxygens != i]:
                apart = image(frame[j] - frame[i])
                cosine = arm @ apart / np.linalg.norm(arm) / np.linalg.norm(apart)
                count += np.linalg.norm(apart) < distance and np.degrees(np.arccos(cosine)) < angle
    assert count > 50
    result = hydrogen_bonds(dump.positions[40:41], dump.cells[40:41], molecules(dump), distance, angle)
    assert result.donated["H2O"][0] == count / 64 == result.all[0] / 2
    assert len(result.distances_A) == count


def test_records_of_water():
    """SPC models have 3.5 to 3.8 bonds by this definition."""
    donated, both = measure("hydrogen-bonds", Simulation(DUMP, LOG)).records
    assert both["value"] == pytest.approx(2 * donated["value"]) and 3.4 < both["value"] < 3.9
    assert 0 < both["standard_error"] < 0.05 and both["unit"] == "1"
    with pytest.raises(InputError, match="got --angle 200; wanted a number up to 180"):
        measure("hydrogen-bonds", Simulation(DUMP, LOG), angle_deg=200.0)


def test_what_has_no_donors_is_left_out():
    argon = Simulation(DUMP, LOG, elements=["Ar", "Ne"])
    with pytest.raises(Lacking, match="no hydrogen bonded to N, O or F|no molecules"):
        measure("hydrogen-bonds", argon)
