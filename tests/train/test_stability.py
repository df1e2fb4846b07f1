"""The row `stability` of tl-finetune: MD with the new model, its verdict in the table, in errors.json, and again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.lammps_job import hottest
from tlmd.modelfile import load_model, load_sample, read_card, save_model
from tlmd.run.config import load_config
from tlmd.run.folder import RunFolder
from tlmd.train.config import FinetuneConfig, PretrainConfig, StabilityConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain
from tlmd.train.stability import USUAL_K, check_stability, start_frame


def tuned(folder, *settings: str):
    if not (folder / "old").exists():
        pretrain(load_config(PretrainConfig, folder / "pretrain.toml", ["training.max_steps=300"]), folder / "old")
    return finetune(load_config(FinetuneConfig, folder / "finetune.toml", list(settings)), folder / "new")


def test_the_verdict_stands_in_the_table_and_in_errors_json(folder, capsys):
    """And is shown again by the same command; without a run there is none."""
    tuned(folder)
    assert "stability" not in json.loads((folder / "new" / "errors.json").read_text())
    (folder / "new").rename(folder / "without")
    tuned(folder, "stability.ps=0.05", "stability.temperature_K=30")
    found = json.loads((folder / "new" / "errors.json").read_text())["stability"]
    shown = capsys.readouterr().out
    assert "stability, 30 K" in shown and found["verdict"].split()[0] in shown and "closest in MD: H-H" in shown
    assert found["temperature_K"] == 30 and found["shortest_A"] == read_card(folder / "new" / "model.pt").shortest_A
    assert found["closest_A"].keys() == found["shortest_A"].keys() and found["density_g_cm3"] > 0
    if found["verdict"] == "stable":
        assert found["ps"] == pytest.approx(0.05) and found["mean_temperature_K"] > 0
    tuned(folder, "stability.ps=0.05", "stability.temperature_K=30")
    assert "stability, 30 K" in capsys.readouterr().out


@pytest.fixture
def model(folder):
    """A model in whose card two oxygen atoms may be no nearer than 2.5 A; they are, at the start."""
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", ["training.max_steps=4"]), folder / "old")
    path = folder / "old" / "model.pt"
    potential, card = load_model(path)
    save_model(path, potential, card.model_copy(update={"shortest_A": {"O-O": 2.5}}), load_sample(path))
    return path


def checked(folder, model, frames, **settings):
    config = load_config(PretrainConfig, folder / "pretrain.toml", [])
    with RunFolder(folder / "run", "check", config, ()) as run:
        return check_stability(model, frames, StabilityConfig(**settings), run, 1)


def test_a_contact_ends_the_run(folder, model):
    near = Frame(np.array([8, 8, 1]), np.array([[0.0, 0, 0], [0, 0, 2.0], [5, 5, 5]]), np.eye(3) * 10, np.ones(3, bool))
    found = checked(folder, model, [near], ps=1)
    assert found["verdict"] == "O-O at 2.00 A (training 2.50) after 0 ps" and found["ps"] == 0
    assert found["temperature_K"] == USUAL_K and model.exists()


def test_an_explosion_ends_the_run(folder, model):
    potential, card = load_model(model)
    potential.scale *= 1e4
    save_model(model, potential, card.model_copy(update={"shortest_A": {}}), load_sample(model))
    frames = [frame for frame in read_frames(folder / "train.extxyz") if frame.pbc.all()]
    found = checked(folder, model, frames, ps=5)
    assert found["verdict"] != "stable" and found["ps"] < 5
    assert "after" in found["verdict"]


def test_too_hot_is_what_chance_does_not_do():
    """A large system may be too hot by half; a molecule fluctuates by more, and none of 1e6 temperatures is above."""
    assert hottest(300, 1000) == 450 and hottest(300, 3) > hottest(300, 9) > 700
    temperatures = np.random.default_rng(1).chisquare(27, 10**6) * 300 / 27  # of 9 atoms
    assert 600 < temperatures.max() < hottest(300, 9) < 1.5 * temperatures.max()


def test_the_run_starts_hot_from_the_lowest_density(folder, model):
    frames = read_frames(folder / "train.extxyz")
    wide = next(f for f in frames if f.pbc.all())
    wide = wide.replace(numbers=np.ones_like(wide.numbers), info={"temperature_K": 350.0})  # hydrogen alone
    free = max((f for f in frames if not f.pbc.any()), key=len)
    assert start_frame([*frames, wide]) is wide
    assert start_frame([f for f in frames if not f.pbc.any()]) is free
    assert start_frame([Frame(np.array([1]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool))]) is None
    found = checked(folder, model, [*frames, wide], ps=0.01)
    assert found["temperature_K"] == 350.0
    assert checked(folder, model, frames, ps=0) is None


def test_frames_state_their_temperature_in_a_file(folder, model):
    frames = [frame.replace(info={"temperature_K": 410.0}) for frame in read_frames(folder / "train.extxyz")]
    write_frames(folder / "hot.extxyz", frames)
    assert checked(folder, model, read_frames(folder / "hot.extxyz"), ps=0.002)["temperature_K"] == 410.0
