"""A network of one file (tests/networks.py) from training to LAMMPS on several ranks, and networks by their names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlmd.calculator import TLCalculator
from tlmd.engine import Engine, TrainingEngine, choose_backend
from tlmd.export import export_model, load_any
from tlmd.modelfile import read_card
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.network import engine_form, networks
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train.config import PretrainConfig
from tlmd.train.pretrain import pretrain

from ..networks import Scalars
from .conftest import water_box, write_data
from .test_parity import NKTV2P

SETTINGS = ['model.network="scalars"', "training.max_steps=40", "optimizer.lr=0.01"]


@pytest.mark.filterwarnings("ignore:.*in training at least")  # water, by a model of other frames
def test_a_network_of_one_file_is_trained_and_runs_in_lammps(folder, tmp_path, run_as_written):
    result = pretrain(load_config(PretrainConfig, folder / "pretrain.toml", SETTINGS), folder / "run")
    assert isinstance(result.model.net, Scalars)
    untrained = pretrain(load_config(PretrainConfig, folder / "pretrain.toml", SETTINGS[:1]), folder / "short")
    assert result.errors["train"].rmse("forces") < 0.9 * untrained.errors["train"].rmse("forces")
    assert read_card(folder / "run" / "model.pt").architecture.network == "scalars"

    model = export_model(folder / "run" / "model.pt", dtype="float64")
    water = water_box(3)
    write_data(tmp_path / "water.data", water)
    water.calc = TLCalculator(model)
    energy, forces = water.get_potential_energy(), water.get_forces()
    pressure = -water.get_stress()[:3].mean() * NKTV2P["metal"]
    assert np.abs(forces).max() > 0.05
    deck = f"""
units metal
atom_style atomic
read_data water.data
pair_style tpainn
pair_coeff * * {model} O H
dump d all custom 1 forces.dump id fx fy fz
dump_modify d sort id format float %.16g
run 0
print "END $(pe:%.15g) $(press:%.15g)"
"""
    for ranks in (1, 2):
        text = run_as_written(deck, ranks).text
        assert "TorchScript F=8 L=2" in text and ("ghosts out to 6 A" in text) == (ranks > 1)
        found = [float(word) for line in text.splitlines() if line.startswith("END") for word in line.split()[1:]]
        assert found == [pytest.approx(energy, rel=1e-9), pytest.approx(pressure, rel=1e-7)]
        there = np.loadtxt(tmp_path / "forces.dump", skiprows=9)[:, 1:]
        np.testing.assert_allclose(there, forces, rtol=0, atol=1e-9 * np.abs(forces).max())
    assert "wanted PaiNN" in run_as_written(deck.replace("tpainn\n", "tpainn backend native\n"), ok=False).text


def test_what_evaluates_a_network_is_asked_of_the_network():
    assert networks()["scalars"] is Scalars and "painn" in networks()
    potential = new_potential(["H", "O"], 3.0, Architecture(network="scalars", width=8))
    assert engine_form(potential.net) is None
    assert choose_backend(None, "cpu", potential.net) == "torch"
    for engine in (Engine, TrainingEngine):
        with pytest.raises(InputError, match="a network that the native engine does not know; wanted PaiNN; use back"):
            engine(potential)
    painn = new_potential(["H", "O"], 3.0, Architecture(width=8))
    assert choose_backend(None, "cpu", painn.net) == "native"


def test_exported_networks_are_known_by_their_classes(models, kernel_models, module_models):
    for file, evaluated in ((models, True), (kernel_models, True), (module_models, False)):
        for name in ("trained", "float32"):
            net = load_any(file[name])[0].net
            assert (engine_form(net) is not None) == evaluated
    form = engine_form(load_any(kernel_models["float64"])[0].net)
    assert form.layers == (0, 2) and torch.is_tensor(form.head.common)
