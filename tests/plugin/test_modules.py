"""pair_style mekrr on backbones that are not cut into layers: ghosts out to their range."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from tlmd.calculator import TLCalculator
from tlmd.models.features.mace import mace_features
from tlmd.run.errors import InputError

from ..modules import Messages, scripted, small_mace, write_mace
from .conftest import on_module, water_box, write_data
from .test_parity import NKTV2P

HEAD = """
units metal
atom_style atomic
read_data water.data
thermo_style custom step pe ke press
"""
NVE = "velocity all create {} 7 loop geom\nfix 1 all nve\ntimestep 0.0002\n"
END = 'print "END $(pe:%.15g) $(ke:%.15g) $(press:%.15g)"\n'


def style(model) -> str:
    return f"pair_style mekrr\npair_coeff * * {model} O H\n"


def ends(text: str) -> np.ndarray:
    """Numbers of the lines END."""
    return np.array([line.split()[1:] for line in text.splitlines() if line.startswith("END")], float)


def test_ranks_give_the_same_trajectory(water, module_models, run_as_written):
    """Atoms change their ranks and lists are made anew; the log says how far ghosts reach."""
    deck = HEAD + "neighbor 0.3 bin\n" + style(module_models["float64"]) + NVE.format(2000) + "run 50\n" + END
    one, three = (run_as_written(deck, ranks).text for ranks in (1, 3))
    assert all(int(re.search(r"Neighbor list builds = (\d+)", text)[1]) > 1 for text in (one, three))
    np.testing.assert_allclose(ends(three), ends(one), rtol=1e-7)
    assert "float64.pt: TorchScript F=6 L=2, 100 features of a gaussian kernel" in one
    assert "ghosts out to 10 A, the range of the backbone (2 times its cutoff)" in three
    assert "ghosts out to" not in one  # one rank has all atoms


def test_energy_is_conserved(tmp_path, module_models, run_as_written):
    write_data(tmp_path / "water.data", water_box(2))
    deck = HEAD + style(module_models["float64"]) + NVE.format(300) + "run 0\n" + END + "run 200\n" + END
    (start, kinetic, _), (end, later, _) = ends(run_as_written(deck, 2).text)
    assert abs(end - start) > 0.1  # eV
    assert end + later == pytest.approx(start + kinetic, abs=1e-3 * abs(end - start))


@pytest.mark.parametrize("ranks", [1, 2])
def test_types_of_other_styles(water, module_models, run_as_written, ranks):
    deck = (
        HEAD
        + f"""
pair_style hybrid/overlay mekrr zero 5.0
pair_coeff * * mekrr {module_models["float64"]} O NULL
pair_coeff * * zero
run 0
"""
        + END
    )
    oxygens = water[[atom.symbol == "O" for atom in water]]
    oxygens.calc = TLCalculator(module_models["float64"])
    expected = oxygens.get_potential_energy()
    assert ends(run_as_written(deck, ranks).text)[0, 0] == pytest.approx(expected, rel=1e-9)


def test_the_composition_is_counted_over_all_ranks(water, module_models, run_as_written):
    """Anew after atoms are deleted between runs; refused in a run."""
    deck = HEAD + style(module_models["float64"]) + "run 0\ngroup gone id <= 3\ndelete_atoms group gone compress no\n"
    left = water[3:]
    left.calc = TLCalculator(module_models["float64"])
    found = ends(run_as_written(deck + "run 0\n" + END, 2).text)[0, 0]
    assert found == pytest.approx(left.get_potential_energy(), rel=1e-9)
    loses = "region all block INF INF INF INF INF INF\nfix 1 all evaporate 1 1 all 7\nrun 2\n"
    assert "wanted a fixed composition" in run_as_written(deck + loses, 2, ok=False).text


def test_what_does_not_fit_is_refused(water, module_models, run_as_written):
    runs = {
        "got backend native and a backbone that is TorchScript; wanted PaiNN": ("", "backend native"),
        "got neighbor style or comm mode multi; wanted bin and single": ("neighbor 2.0 multi\n", ""),
    }
    for words, (settings, keywords) in runs.items():
        deck = HEAD + settings + style(module_models["float32"]).replace("mekrr", f"mekrr {keywords}", 1) + "run 0\n"
        assert words in run_as_written(deck, 2, ok=False).text


def test_a_range_that_is_not_kept_is_refused(tmp_path):
    """Two message layers that are called one, and means over all atoms."""
    near = Messages(5.0)
    near.n_layers = 1
    with pytest.raises(InputError, match="depend on atoms 2 pairs away and n_layers 1"):
        on_module(tmp_path, scripted(near))
    with pytest.raises(InputError, match=r"depend on atoms \d pairs away and n_layers 2"):
        on_module(tmp_path, scripted(Centred(5.0)))


class Centred(Messages):
    """Features less their mean over all atoms."""

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        square = vectors.square().sum(-1)
        h = ((1 - square / self.cutoff**2).clamp(min=0.0) ** 3).sum(1)[:, None] * self.embedding[species]
        return torch.cat([h, h - h.mean(0)], dim=1)


def test_a_module_of_one_precision_alone_is_refused_in_another(tmp_path):
    fixed = scripted(Fixed(5.0))
    with pytest.raises(InputError, match=r"fails in torch.float32 \(.*dtype.*\); wanted one that runs; leave out"):
        on_module(tmp_path, fixed)


class Fixed(Messages):
    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        return vectors.sum(1) @ torch.ones(3, 6, dtype=torch.float64)


def test_mace(tmp_path, run_as_written):
    """Energies, forces and pressures on several ranks are those of Python."""
    write_mace(tmp_path / "mace.model", small_mace(3.0))
    model = on_module(tmp_path, mace_features(tmp_path / "mace.model", [0, 1]))
    water = water_box(3)
    write_data(tmp_path / "water.data", water)
    water.calc = TLCalculator(model["float64"])
    forces, pressure = water.get_forces(), -water.get_stress()[:3].mean() * NKTV2P["metal"]
    assert np.abs(forces).max() > 0.05
    output = "dump d all custom 1 forces.dump id fx fy fz\ndump_modify d sort id format float %.16g\nrun 0\n" + END
    for dtype, ranks, tolerance in (("float64", 1, 1e-8), ("float64", 4, 1e-8), ("float32", 2, 1e-4)):
        text = run_as_written(HEAD + style(model[dtype]) + output, ranks).text
        assert ("ghosts out to 6 A" in text) == (ranks > 1)
        energy, _, found = ends(text)[0]
        assert energy == pytest.approx(water.get_potential_energy(), rel=tolerance)
        assert found == pytest.approx(pressure, rel=10 * tolerance)
        there = np.loadtxt(tmp_path / "forces.dump", skiprows=9)[:, 1:]
        np.testing.assert_allclose(there, forces, rtol=0, atol=tolerance * np.abs(forces).max())
