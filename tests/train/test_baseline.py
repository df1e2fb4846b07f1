"""A baseline in every stage: frames with its values added give the same network, and the sum predicts the labels."""

import json
import sys

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd import cli
from tlmd.baseline.d3 import D3Config
from tlmd.baseline.kinds import open_baseline
from tlmd.baseline.lammps import LammpsBaselineConfig
from tlmd.calculator import TLCalculator
from tlmd.evaluate.file import evaluate_file
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.modelfile import load_model, read_card
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

STAGES = {"pretrain": (PretrainConfig, pretrain), "finetune": (FinetuneConfig, finetune), "mekrr": (MekrrConfig, mekrr)}
LJ = "pair_style lj/cut 4.0\npair_coeff * * 0.01 1.2\npair_coeff 1 1 0.05 1.5\n"
BASELINE = ['data.baseline.kind="lammps"', 'data.baseline.include="lj.in"', 'data.baseline.elements=["O", "H"]']
KERNEL = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
[backbone]
model = "old/model.pt"
[kernel]
n_features = 16
[fit]
alpha = [0.0]
force_weight = [0.5]
ridge = [1e-6]
[training]
threads = 1
plots = false
"""


@pytest.fixture
def folder(folder):
    """Also lj.in, frames-lj.extxyz for each file of frames with its values added, old/model.pt and mekrr.toml."""
    (folder / "lj.in").write_text(LJ)
    baseline = open_baseline(described(folder))
    for name in ("train", "valid", "classical"):
        frames = []
        for frame in read_frames(folder / f"{name}.extxyz"):
            values = baseline.values(frame.numbers, frame.positions, frame.cell, frame.pbc)
            stress = None if frame.stress is None else frame.stress + values.stress
            frames.append(
                frame.replace(energy=frame.energy + values.energy, forces=frame.forces + values.forces, stress=stress)
            )
        write_frames(folder / f"{name}-lj.extxyz", frames)
    baseline.close()
    (folder / "mekrr.toml").write_text(KERNEL)
    settings = ['data.train="classical.extxyz"', 'training.dtype="float64"', "training.max_steps=4"]
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", settings), folder / "old")
    return folder


def described(folder) -> dict:
    return LammpsBaselineConfig(kind="lammps", include=folder / "lj.in", elements=["O", "H"]).described()


def work(folder, stage, name, *settings):
    kind, run = STAGES[stage]
    precise = [] if stage == "mekrr" else ['training.dtype="float64"', "training.max_steps=4", "training.plots=false"]
    return run(load_config(kind, folder / f"{stage}.toml", [*precise, *settings]), folder / name)


def with_lj(*settings) -> list[str]:
    return ['data.train="train-lj.extxyz"', 'data.valid="valid-lj.extxyz"', *BASELINE, *settings]


@pytest.mark.parametrize("stage", STAGES)
def test_the_network_learns_the_remainder_and_the_sum_predicts_the_labels(folder, stage):
    replay = ["replay.fraction=0.2", "replay.n_report=3"] if stage == "finetune" else []
    plain = [f'replay.frames="classical{end}.extxyz"' for end in ("", "-lj")] if replay else ["", ""]
    without = work(folder, stage, "without", *filter(None, [plain[0]]), *replay)
    found = work(folder, stage, "with", *with_lj(*filter(None, [plain[1]]), *replay))
    assert found.card.baseline == described(folder) == read_card(folder / "with" / "model.pt").baseline
    assert without.card.baseline is None
    assert "baseline lammps (lj.in): taken off 16 frames" in (folder / "with" / "log.txt").read_text()
    states = [load_model(folder / name / "model.pt")[0].state_dict() for name in ("without", "with")]
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], rtol=1e-3, atol=1e-5), key
    a, b = (json.loads((folder / name / "errors.json").read_text())["valid"] for name in ("without", "with"))
    assert a == pytest.approx(b, rel=1e-4)
    errors, parity = evaluate_file(folder / "with" / "model.pt", folder / "valid-lj.extxyz")
    assert errors.to_json() == pytest.approx(b, rel=1e-4)
    frame = read_frames(folder / "valid-lj.extxyz")[1]  # periodic
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = TLCalculator(folder / "with" / "model.pt")
    n = len(frame)
    assert parity.energy[1] == pytest.approx([frame.energy / n, atoms.get_potential_energy() / n], rel=1e-6)
    label, predicted = parity.stress[:9].T
    np.testing.assert_allclose(label, frame.stress.ravel(), rtol=1e-6)
    np.testing.assert_allclose(predicted, atoms.get_stress(voigt=False).ravel(), rtol=1e-6, atol=1e-9)


def test_forces_and_pressure_of_the_calculator_are_slopes(folder):
    work(folder, "pretrain", "with", *with_lj())
    frame, h = read_frames(folder / "valid-lj.extxyz")[1], 1e-4
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = TLCalculator(folder / "with" / "model.pt")
    force, pressure, energies = atoms.get_forces()[2, 1], -atoms.get_stress()[:3].mean(), []
    for sign in (1, -1):
        moved, scaled = atoms.copy(), atoms.copy()
        moved.positions[2, 1] += sign * h
        scaled.set_cell(atoms.cell * (1 + sign * h), scale_atoms=True)
        for other in (moved, scaled):
            other.calc = atoms.calc
            energies.append(other.get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[2]) / (2 * h), rel=1e-3, abs=1e-4)
    slope = (energies[1] - energies[3]) / (6 * h * atoms.get_volume())
    assert pressure == pytest.approx(-slope, rel=1e-3)


def test_a_start_with_a_baseline_is_tuned_with_the_same_one_or_none_given(folder, monkeypatch, capsys):
    work(folder, "pretrain", "old2", *with_lj())
    data = ['data.train="train-lj.extxyz"', 'data.valid="valid-lj.extxyz"', 'transfer.start_from="old2/model.pt"']
    result = work(folder, "finetune", "new", *data)
    assert result.card.baseline == described(folder)
    d3 = ['data.baseline.kind="d3"', 'data.baseline.functional="pbe"']
    assert load_config(FinetuneConfig, folder / "finetune.toml", d3).data.baseline == D3Config(
        kind="d3", functional="pbe"
    )
    with pytest.raises(InputError, match=r"data.baseline kind d3, functional pbe.*; wanted data.baseline kind lammps"):
        work(folder, "finetune", "other", *data, *d3)
    with pytest.raises(InputError, match=r"data.baseline kind d3.*with which .*old2/model.pt was trained"):
        work(folder, "mekrr", "kernel", 'backbone.model="old2/model.pt"', "backbone.baseline=true", *d3)
    monkeypatch.setattr(sys, "argv", ["tl-export", str(folder / "new" / "model.pt")])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        cli.export()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "pair_style hybrid/overlay tpainn lj/cut 4.0",
        f"pair_coeff * * tpainn {folder}/new/model-lammps.pt O H",
        "pair_coeff * * lj/cut 0.01 1.2",
        "pair_coeff 1 1 lj/cut 0.05 1.5",
    ]


def test_refusals(folder):
    for settings, words in [
        (['data.baseline.kind="zbl"'], 'data.baseline.kind = "zbl" in .*; wanted one of "d3", "lammps"'),
        (['data.baseline.include="lj.in"'], r"no key 'data.baseline.kind'"),
        ([*BASELINE[:1], 'data.baseline.elements=["O"]'], r"no key 'data.baseline.include'"),
        ([*BASELINE, "data.baseline.cutof_A=3"], "unknown key 'data.baseline.cutof_A'"),
    ]:
        with pytest.raises(InputError, match=words):
            load_config(PretrainConfig, folder / "pretrain.toml", settings)
    with pytest.raises(InputError, match=r"the train frames, frame \d: .*H with the baseline lammps .* only O;"):
        work(folder, "pretrain", "run", *with_lj('data.baseline.elements=["O"]'))
    (folder / "lj.in").write_text(LJ.replace("1.5", "x"))
    with pytest.raises(InputError, match=r"the train frames, frame 0: .*LAMMPS: .*; correct the include"):
        work(folder, "pretrain", "run2", *with_lj())
