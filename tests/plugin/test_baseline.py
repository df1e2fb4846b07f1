"""Models with a baseline: LAMMPS with the lines of tl-export gives what ASE's calculator gives; a warning without."""

import sys

import numpy as np
import pytest
import torch

from tlmd import cli
from tlmd.baseline.d3 import D3Config
from tlmd.baseline.lammps import LammpsBaselineConfig
from tlmd.calculator import TLCalculator
from tlmd.modelfile import Card, Sample, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.units import BAR_PER_EV_A3

from .conftest import CUTOFF, ELEMENTS

HEAD = "units metal\natom_style charge\natom_modify map array\nread_data water.data\n"
END = """
thermo_style custom step pe press
run 0
print "END $(pe:%.15g) $(press:%.15g)"
write_dump all custom forces.dump fx fy fz modify sort id format float %.15g
"""
INCLUDE = """
set type 1 charge -0.8
set type 2 charge 0.4
pair_style hybrid/overlay lj/cut 5.0 coul/long 5.0
pair_coeff * * lj/cut 0.002 1.5
pair_coeff 1 1 lj/cut 0.006 3.0
pair_coeff * * coul/long
kspace_style pppm 1e-6
"""


def model_with(tmp_path, kind, water):
    """model.pt of a random PaiNN with a baseline."""
    if kind == "d3":
        pytest.importorskip("dftd3")
        described = D3Config(kind="d3", functional="revpbe0", cutoff_A=9.0, cn_cutoff_A=7.0).described()
    else:
        (tmp_path / "baseline.in").write_text(INCLUDE)
        config = LammpsBaselineConfig(kind="lammps", include=tmp_path / "baseline.in", elements=["O", "H"])
        described = config.described()
    torch.manual_seed(3)
    architecture = Architecture(width=16, n_layers=2, n_radial=8)
    potential = new_potential(ELEMENTS, CUTOFF, architecture).double()
    potential.scale[:] = 5.0
    card = Card(elements=ELEMENTS, cutoff=CUTOFF, architecture=architecture, baseline=described)
    sample = Sample(water.numbers, water.positions, water.cell.array, water.pbc)
    save_model(tmp_path / "model.pt", potential, card, sample)


@pytest.mark.parametrize("kind", ["d3", "d3 of LAMMPS", "lammps"])
def test_lammps_with_the_printed_lines_is_the_calculator(tmp_path, water, run_as_written, monkeypatch, capsys, kind):
    model_with(tmp_path, kind.split()[0], water)
    if kind == "d3":
        pytest.importorskip("tad_dftd3")
    elif kind == "d3 of LAMMPS":
        monkeypatch.setitem(sys.modules, "tad_dftd3", None)
    data = (tmp_path / "water.data").read_text().replace("# atomic", "# charge")
    head, atoms = data.split("# charge\n\n")
    lines = [" ".join([*line.split()[:2], "0.0", *line.split()[2:]]) for line in atoms.splitlines()]
    (tmp_path / "water.data").write_text(f"{head}# charge\n\n" + "\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tl-export", "model.pt"])
    with pytest.raises(SystemExit, match="0"):
        cli.export()
    _, *printed = capsys.readouterr().out.splitlines()
    assert (tmp_path / "model-d3.json").exists() == (kind == "d3")
    words = {"d3": "tpainn d3", "d3 of LAMMPS": "tpainn dispersion/d3 original", "lammps": "tpainn lj/cut"}
    assert f"pair_style hybrid/overlay {words[kind]}" in "\n".join(printed)
    # the card's order of elements for D3, the include's for its own types
    printed = "\n".join(printed).replace(" ".join(ELEMENTS), "O H")
    text = run_as_written(HEAD + printed + END, ranks=2).text
    energy, pressure = (float(x) for x in next(x for x in text.splitlines() if x.startswith("END ")).split()[1:])
    assert "the model's labels were less the baseline" not in text
    rows = (tmp_path / "forces.dump").read_text().splitlines()
    forces = np.array([row.split() for row in rows[rows.index("ITEM: ATOMS fx fy fz") + 1 :]], float)
    water.calc = TLCalculator("model.pt")
    assert energy == pytest.approx(water.get_potential_energy(), rel=1e-6)
    expected = -water.get_stress(voigt=False).trace() / 3 * BAR_PER_EV_A3
    assert pressure == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(forces, water.get_forces(), atol=1e-4 * np.abs(water.get_forces()).max())
    bare = TLCalculator("model.pt")
    bare.baseline = None
    without = -bare.get_stress(water).reshape(-1)[:3].mean() * BAR_PER_EV_A3
    assert abs(without - expected) > 1e-2 * abs(expected)


@pytest.mark.parametrize("kind", ["d3", "lammps"])
def test_a_missing_baseline_is_told(tmp_path, water, run_as_written, kind):
    from tlmd.export import export_model

    model_with(tmp_path, kind, water)
    export_model(tmp_path / "model.pt", tmp_path / "m.pt")
    deck = "units metal\natom_style atomic\nread_data water.data\npair_style {}\npair_coeff * * {} m.pt O H\n{}run 0\n"
    styles = {"d3": ["dispersion/d3"], "lammps": ["lj/cut", "coul/long"]}[kind]
    text = run_as_written(deck.format("tpainn", "", ""), ranks=2).text
    for style in styles:
        assert text.count(f"the model's labels were less the baseline {style}, which this input does not add") == 1
    other = ("hybrid/overlay tpainn buck 5.0", "tpainn", "pair_coeff * * buck 0.0 1.0 0.0\n")
    assert f"less the baseline {styles[0]}," in run_as_written(deck.format(*other)).text
