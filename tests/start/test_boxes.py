"""Boxes: packed as asked, relaxed, condensed under pressure, refused where they cannot be."""

import numpy as np
import pytest

pytest.importorskip("rdkit")
from ase.io import read

from tlmd.frames.frame import minimum_image
from tlmd.lammps_serial import SerialLammps
from tlmd.run.errors import InputError
from tlmd.start import boxes
from tlmd.start.boxes import pack, relax
from tlmd.start.forcefield import from_smiles
from tlmd.units import density_g_cm3

NPT = """
variable accuracy index 1e-3
variable cutoff index 7
include forcefield.in
thermo_modify norm no
neighbor 2.0 bin
velocity all create 298.15 1 mom yes rot no dist gaussian
timestep 0.5
fix ensemble all npt temp 298.15 298.15 100 iso 1 1 500
run 2000
"""


@pytest.fixture(scope="module")
def methanol():
    return pack(from_smiles(["CO"]), [20], 0.79, seed=3)


def between_molecules(box) -> float:
    """The shortest distance (A) of atoms of two molecules."""
    sizes = [size for size, n in zip(box.field.molecules.sizes, box.counts, strict=True) for _ in range(n)]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    vectors = minimum_image(box.positions[:, None] - box.positions[None], np.eye(3) * box.edge)
    distances = np.linalg.norm(vectors, axis=-1)
    return float(distances[owner[:, None] != owner].min())


def test_box_has_the_density_and_whole_molecules(methanol):
    frame = methanol.frame()
    mass = frame.atoms().get_masses().sum()
    assert density_g_cm3(mass, methanol.edge**3) == pytest.approx(0.79)
    assert between_molecules(methanol) > 1.59
    parts = methanol.positions.reshape(20, 6, 3)
    assert np.linalg.norm(parts[:, 1] - parts[:, 0], axis=-1) == pytest.approx(1.42, abs=0.05)  # C-O
    assert list(frame.numbers[:6]) == [6, 8, 1, 1, 1, 1] and frame.pbc.all()


def test_same_seed_same_box(methanol):
    again, other = (pack(methanol.field, [20], 0.79, seed) for seed in (3, 4))
    assert np.array_equal(again.positions, methanol.positions)
    assert not np.allclose(other.positions, methanol.positions)


def test_data_file_is_read_by_ase_with_its_elements(methanol, tmp_path):
    (tmp_path / "system.data").write_text(methanol.data())
    atoms = read(tmp_path / "system.data", format="lammps-data")
    assert list(atoms.numbers) == list(methanol.frame().numbers)
    assert "\n1 12.011 # C\n2 15.999 # O\n3 1.008 # H\n" in methanol.data()


def test_relaxed_box_stays_condensed_at_one_bar(methanol, tmp_path):
    box = relax(methanol)
    assert 1.3 < between_molecules(box)
    (tmp_path / "system.data").write_text(box.data())
    (tmp_path / "forcefield.in").write_text(box.field.include())
    lammps = SerialLammps("real")
    lammps.commands(NPT, tmp_path)
    density, temperature = (lammps.lammps.get_thermo(name) for name in ("density", "temp"))
    lammps.close()
    assert 0.55 < density < 1.0 and 200 < temperature < 400


def test_ions_and_water_together():
    box = relax(pack(from_smiles(["[Na+]", "[Cl-]", "O"]), [1, 1, 12], 0.9))
    assert box.frame().atoms().get_chemical_formula() == "H24ClNaO12"


def test_charged_or_crowded_boxes_are_refused(methanol, monkeypatch):
    with pytest.raises(InputError, match=r"got a box of charge \+2 e; wanted a neutral one"):
        pack(from_smiles(["C[NH3+]", "O"]), [2, 10], 0.9)
    monkeypatch.setattr(boxes, "TOLERANCES_A", (2.0,))
    with pytest.raises(InputError, match=r"no room for the molecules at 9 g/cm3, 2.0 A apart"):
        pack(methanol.field, [2], 9.0)
