"""`pair_style d3` against s-dftd3: energies, forces, virials, any ranks and boxes; every N, tail, refusals."""

import json
import re
import zlib

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tlmd.baseline.d3 import D3, D3Config
from tlmd.units import BAR_PER_EV_A3, EV_PER_KCAL_MOL

from .conftest import write_data

pytest.importorskip("dftd3")
pytest.importorskip("tad_dftd3")

from tlmd.baseline import d3_file

TYPES = ("O", "H", "C")
END = """
compute pe all pe/atom
compute st all stress/atom NULL
compute sum all reduce sum c_pe c_st[1] c_st[2] c_st[3] c_st[4] c_st[5] c_st[6]
thermo_style custom step pe pxx pyy pzz pxy pxz pyz c_sum[1] c_sum[2] c_sum[5]
run 0
print "END $(pe:%.15g) $(pxx:%.15g) $(pyy:%.15g) $(pzz:%.15g) $(pxy:%.15g) $(pxz:%.15g) $(pyz:%.15g) &
$(c_sum[1]:%.15g) $(c_sum[2]:%.15g) $(c_sum[5]:%.15g)"
write_dump all custom forces.dump fx fy fz modify sort id format float %.15g
"""


def config(**changes) -> D3Config:
    return D3Config(**{"kind": "d3", "functional": "revpbe", "cutoff_A": 9.0, "cn_cutoff_A": 7.0} | changes)


def write_file(folder, settings: D3Config, elements=("H", "C", "O")) -> None:
    d3_file.write_d3(folder / "d3.json", settings, elements)


def deck(keywords="", boundary="p p p", units="metal", types="O H C") -> str:
    head = f"units {units}\nboundary {boundary}\natom_style atomic\natom_modify map array\nread_data box.data\n"
    return head + f"pair_style d3 {keywords}\npair_coeff * * d3.json {types}\n"


def result(folder, text: str) -> tuple[list[float], np.ndarray]:
    """What END printed: energy, pressure (6), the sums over atoms; forces (N, 3)."""
    numbers = next(line for line in text.splitlines() if line.startswith("END ")).split()[1:]
    rows = (folder / "forces.dump").read_text().splitlines()
    forces = np.array([row.split() for row in rows[rows.index("ITEM: ATOMS fx fy fz") + 1 :]], float)
    return [float(x) for x in numbers], forces


@pytest.fixture
def box(tmp_path, water) -> Atoms:
    """Water and a molecule of ethanol in a tilted cell, as box.data."""
    atoms = water + molecule("CH3CH2OH")
    atoms.positions[-9:] += (4.1, 4.6, 4.4)
    cell = atoms.cell.array.copy()
    cell[1, 0], cell[2, 0], cell[2, 1] = 2.0, -1.5, 1.0
    atoms.set_cell(cell)
    write_data(tmp_path / "box.data", atoms, types=TYPES)
    return atoms


def expected(atoms: Atoms, settings: D3Config):
    return D3(settings.described()).values(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


@pytest.mark.parametrize("damping", ["zero", "bj"])
def test_values_are_those_of_s_dftd3(tmp_path, box, run_as_written, damping):
    settings = config(damping=damping)
    write_file(tmp_path, settings)
    truth = expected(box, settings)
    stress = truth.stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] * BAR_PER_EV_A3
    for ranks in (1, 2):
        numbers, forces = result(tmp_path, run_as_written(deck() + END, ranks=ranks).text)
        assert numbers[0] == pytest.approx(truth.energy, rel=1e-6)
        np.testing.assert_allclose(numbers[1:7], -stress, atol=2e-6 * np.abs(stress).max())
        np.testing.assert_allclose(forces, truth.forces, atol=1e-6)
        assert numbers[7] == pytest.approx(numbers[0], rel=1e-10)
        volume = box.get_volume()
        assert -numbers[8] / volume == pytest.approx(numbers[1], rel=1e-9)
        assert -numbers[9] / volume == pytest.approx(numbers[4], rel=1e-6)
    assert np.abs(truth.forces).max() > 0.02
