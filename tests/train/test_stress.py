"""Stress labels on all frames, on some or on none, in every stage; their weight in bar."""

import csv
import json

import numpy as np
import pytest
import torch
from ase.build import bulk

from tlmd.curves.config import CurveConfig
from tlmd.curves.curve import curve
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.graph import neighbour_pairs
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.modelfile import load_model
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.loss import weights_at
from tlmd.train.pretrain import pretrain
from tlmd.units import BAR_PER_EV_A3

CUTOFF = 3.5
STAGES = {"pretrain": (PretrainConfig, pretrain), "finetune": (FinetuneConfig, finetune), "mekrr": (MekrrConfig, mekrr)}


def crystal(rng, strain: float) -> Frame:
    """A distorted fcc crystal of 32 atoms with E = sum_pairs (3.5 A - d)^2."""
    atoms = bulk("Ar", "fcc", 4.4, cubic=True) * 2
    atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
    positions, cell = atoms.positions + rng.normal(scale=0.1, size=(32, 3)), atoms.cell.array
    i, _, vectors = neighbour_pairs(positions, cell, [True] * 3, CUTOFF)
    d = np.linalg.norm(vectors, axis=1)
    slope = -2.0 * (CUTOFF - d)
    forces = np.zeros_like(positions)
    np.add.at(forces, i, (slope / d)[:, None] * vectors)
    stress = 0.5 * (vectors.T * (slope / d)) @ vectors / np.linalg.det(cell)
    energy = 0.5 * float(np.sum((CUTOFF - d) ** 2))
    return Frame(atoms.numbers, positions, cell, np.ones(3, bool), energy, forces, stress)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Frames of which all, some or none have a stress, a pretrained model, and a TOML of each stage."""
    folder, rng = tmp_path_factory.mktemp("stress"), np.random.default_rng(5)
    frames = [crystal(rng, 0.0) for _ in range(8)]
    write_frames(folder / "all.extxyz", frames)
    write_frames(folder / "some.extxyz", [f.replace(stress=f.stress if k % 2 else None) for k, f in enumerate(frames)])
    write_frames(folder / "none.extxyz", [f.replace(stress=None) for f in frames])
    for name in ("valid", "test"):
        write_frames(folder / f"{name}.extxyz", [crystal(rng, strain) for strain in np.linspace(-0.03, 0.03, 10)])
    data = '[data]\ntrain = "all.extxyz"\nvalid = "valid.extxyz"\ntest = "test.extxyz"\n'
    steps = data + "[training]\nmax_steps = 20\nvalid_every = 10\nthreads = 1\nplots = false\n[optimizer]\nlr = 0.005\n"
    (folder / "pretrain.toml").write_text(steps + "[model]\nwidth = 8\nn_layers = 2\nn_radial = 6\ncutoff = 3.5\n")
    (folder / "finetune.toml").write_text(steps + '[transfer]\nstart_from = "start/model.pt"\n[stability]\nps = 0\n')
    kernel = '[backbone]\nmodel = "start/model.pt"\n[kernel]\nn_features = 16\n[fit]\nalpha = [0.0]\nridge = [1e-6]\n'
    (folder / "mekrr.toml").write_text(data + kernel + "[training]\nthreads = 1\nplots = false\n")
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", ["seed=9"]), folder / "start")
    return folder


def parameters(folder) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in load_model(folder / "model.pt")[0].state_dict().values()])


@pytest.mark.parametrize("stage", STAGES)
def test_stress_labels_on_all_some_or_no_frames(base, tmp_path, stage):
    """Each gives another model; a table with the pressure in bar; the log tells of frames that do not determine it."""
    kind, work = STAGES[stage]
    models, logs = {}, {}
    for which in ("all", "some", "none"):
        settings = [f'data.train="{which}.extxyz"', *([] if stage == "mekrr" else ["loss.stress_error_bar=1000"])]
        result = work(load_config(kind, base / f"{stage}.toml", settings), tmp_path / which)
        models[which], logs[which] = parameters(tmp_path / which), (tmp_path / which / "log.txt").read_text()
        assert torch.isfinite(models[which]).all()
        errors = json.loads((tmp_path / which / "errors.json").read_text())
        assert errors["test"]["pressure_rmse_bar"] >= abs(errors["test"]["pressure_mean_error_bar"]) > 0
        assert (errors["train"]["pressure_mae_bar"] is None) == (which == "none")
        assert result.errors["test"].rmse("pressure") == errors["test"]["pressure_rmse_bar"]
    assert not torch.equal(models["all"], models["some"]) and not torch.equal(models["some"], models["none"])
    assert ["the pressure is not determined" in log for log in logs.values()] == [False, False, True]


def test_the_kernel_takes_stress_labels_in(base, tmp_path):
    """Frames of one density: what their energies and forces leave open of the pressure, stresses determine."""
    rmse = {}
    for which in ("all", "some", "none"):
        settings = [f'data.train="{which}.extxyz"', "fit.force_weight=[0.9]", "kernel.n_features=64"]
        found = mekrr(load_config(MekrrConfig, base / "mekrr.toml", settings), tmp_path / which)
        rmse[which] = found.errors["test"].rmse("stress")
        log = (tmp_path / which / "log.txt").read_text()
        assert {"all": "48 stress", "some": "24 stress", "none": "768 forces)"}[which] in log
    assert rmse["all"] < rmse["none"] and rmse["some"] < rmse["none"]


def test_a_curve_of_frames_some_of_which_have_a_stress(base, tmp_path):
    methods = "".join(
        f"""[methods.{stage}]
stage = "{stage}"
config = "{base}/{stage}.toml"
set = ['data.train="some.extxyz"']
"""
        for stage in STAGES
    )
    (tmp_path / "curve.toml").write_text(f"sizes = [3]\nseeds = [1]\nsteps = 4\njobs = 1\n{methods}")
    curve(load_config(CurveConfig, tmp_path / "curve.toml"), tmp_path / "curve")
    with open(tmp_path / "curve" / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(STAGES)
    assert all(float(row["test_pressure_rmse_bar"]) > 0 for row in rows)


def test_the_weight_in_bar(base, tmp_path):
    """An error of that size weighs as much as a force error of 50 meV/A; a written configuration can be read again."""
    config = load_config(PretrainConfig, base / "pretrain.toml", ["loss.stress_error_bar=500"])
    assert weights_at(config.loss, 0).stress * (500 / BAR_PER_EV_A3) ** 2 == pytest.approx(0.05**2)
    pretrain(config, tmp_path / "run")
    again = load_config(PretrainConfig, tmp_path / "run" / "config.toml")
    assert again.loss == config.loss
    assert load_config(PretrainConfig, base / "pretrain.toml", ["loss.stress=7"]).loss.stress == 7.0
    for settings, words in [
        (["loss.stress=7", "loss.stress_error_bar=500"], "wanted one weight of the stress: stress or stress_error_bar"),
        (["loss.stress_error_bar=0"], "loss.stress_error_bar = 0 in .*; wanted a number at least 1"),
        (['loss.stress_error_bar="high"'], "wanted a number"),
    ]:
        with pytest.raises(InputError, match=words):
            load_config(PretrainConfig, base / "pretrain.toml", settings)
