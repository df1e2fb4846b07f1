"""tl-evaluate: errors, their JSON keys, the picture; trained and exported models."""

import json
import sys

import numpy as np
import pytest
import torch

from tlmd import cli
from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import Errors, evaluate_frames
from tlmd.evaluate.file import evaluate_file
from tlmd.evaluate.table import error_table, write_errors
from tlmd.evaluate.volume import SLOPES
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.graph import build_graph
from tlmd.modelfile import Card, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import evaluate, stress
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3

KEYS = ["n_frames", "energy_mae_mev_per_atom", "energy_rmse_mev_per_atom", "force_mae_mev_per_A"]
KEYS += ["force_rmse_mev_per_A", "stress_mae_mev_per_A3"]
KEYS += ["pressure_mae_bar", "pressure_rmse_bar", "pressure_mean_error_bar"]


@pytest.fixture
def model(tmp_path, frames):
    torch.manual_seed(2)
    potential = new_potential(["H", "O"], 3.0, Architecture(width=8, n_layers=2, n_radial=6)).cast(torch.float64)
    architecture = Architecture(width=8, n_layers=2, n_radial=6)
    save_model(
        tmp_path / "model.pt", potential, Card(elements=["H", "O"], cutoff=3.0, architecture=architecture), frames[1]
    )
    return potential


def test_errors_against_one_frame_after_the_other(model, frames, tmp_path):
    write_frames(tmp_path / "data.extxyz", frames)
    energy, force, stresses = [], [], []
    for frame in read_frames(tmp_path / "data.extxyz"):
        graph = build_graph(frame.numbers, frame.positions, frame.cell, frame.pbc, ["H", "O"], 3.0, torch.float64)
        predicted = evaluate(model, graph)
        energy.append((float(predicted.energy) - frame.energy) / len(frame))
        force.append((predicted.forces.numpy() - frame.forces).ravel())
        if frame.stress is not None:
            stresses.append((stress(predicted, graph.volumes)[0].numpy() - frame.stress).ravel())
    assert len(stresses) == 8
    force, stresses = np.concatenate(force), np.concatenate(stresses)
    expected = [16, np.abs(energy).mean(), np.sqrt(np.square(energy).mean()), np.abs(force).mean()]
    expected += [np.sqrt(np.square(force).mean()), np.abs(stresses).mean()]
    found = evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", None, None)[0].to_json()
    assert list(found) == KEYS
    pressure = -BAR_PER_EV_A3 * stresses.reshape(-1, 3, 3).trace(axis1=1, axis2=2) / 3
    expected = [expected[0], *(1e3 * x for x in expected[1:])]
    expected += [np.abs(pressure).mean(), np.sqrt(np.square(pressure).mean()), pressure.mean()]
    assert list(found.values()) == pytest.approx(expected, rel=1e-6)


def test_batches_do_not_change_the_errors(model, frames):
    data = FrameSet(frames, model.elements, model.cutoff, model.dtype)
    single, together = (evaluate_frames(model, data, batch_atoms=n)[0].to_json() for n in (1, 1000))
    assert list(single.values()) == pytest.approx(list(together.values()), rel=1e-9)


def test_missing_labels_are_null(model, frames, tmp_path):
    write_frames(tmp_path / "data.extxyz", [frame.replace(forces=None, stress=None) for frame in frames])
    found = evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", tmp_path / "e.json", tmp_path / "p.png")[0]
    written = json.loads((tmp_path / "e.json").read_text())
    assert written == found.to_json() | {SLOPES: {}} and list(written) == [*KEYS, SLOPES]
    assert [key for key in KEYS if written[key] is None] == KEYS[3:]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_prediction_that_is_not_a_number_is_no_result(model, frames, tmp_path):
    data = FrameSet(frames[:2], model.elements, model.cutoff, model.dtype, "the test frames")
    with torch.no_grad():
        model.net.embedding.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="the test frames: energy predicted as NaN or infinite"):
        evaluate_frames(model, data)
    errors = Errors(2)
    errors.add("forces", torch.tensor([[1.0, torch.inf]]))
    for use in (lambda: error_table({"test": errors}, "a title"), lambda: write_errors(tmp_path, {"test": errors})):
        with pytest.raises(InputError, match="the test frames: force predicted as NaN or infinite"):
            use()
    assert not (tmp_path / "errors.json").exists()


def test_sums_of_a_run_that_ended_before_pressures_were_kept():
    errors = Errors(2)
    errors.add("forces", torch.tensor([[1.0, 1.1]], dtype=torch.float64))
    old = [part.tolist()[:3] for part in errors.sums()[:3]]
    found = Errors.of_sums(2, old)
    assert found.rmse("forces") == errors.rmse("forces") and found.rmse("pressure") is None
    assert Errors.of_sums(2, [part.tolist() for part in errors.sums()]).to_json() == errors.to_json()


def test_frames_without_labels(model, frames, tmp_path, monkeypatch, capsys):
    bare = [frame.replace(energy=None, forces=None, stress=None) for frame in frames]
    write_frames(tmp_path / "data.extxyz", bare)
    monkeypatch.setattr(sys, "argv", ["tl-evaluate", str(tmp_path / "model.pt"), str(tmp_path / "data.extxyz")])
    with pytest.raises(SystemExit, match="1"):
        cli.evaluate()
    assert "data.extxyz without labels; wanted frames with an energy, forces or a stress" in capsys.readouterr().err


def test_outputs(model, frames, tmp_path):
    """Of a kind that can be written, and not in the place of what is read."""
    write_frames(tmp_path / "data.extxyz", frames)
    read = {name: (tmp_path / name).read_bytes() for name in ("model.pt", "data.extxyz")}
    with pytest.raises(InputError, match=r"a picture .*p\.xyz; wanted the suffix .*png"):
        evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", None, tmp_path / "p.xyz")
    for name in read:
        for outputs in ((tmp_path / name, None), (None, tmp_path / name)):
            with pytest.raises(InputError, match="as output; wanted another file than the inputs"):
                evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", *outputs)
    assert read == {name: (tmp_path / name).read_bytes() for name in read}


def test_command_line(model, frames, tmp_path, monkeypatch, capsys):
    write_frames(tmp_path / "data.extxyz", frames)
    paths = [str(tmp_path / name) for name in ("model.pt", "data.extxyz", "e.json")]
    monkeypatch.setattr(sys, "argv", ["tl-evaluate", *paths[:2], "--json", paths[2]])
    with pytest.raises(SystemExit, match="0"):
        cli.evaluate()
    assert "meV/atom" in capsys.readouterr().out
    assert json.loads((tmp_path / "e.json").read_text())["n_frames"] == 16
    monkeypatch.setattr(sys, "argv", ["tl-evaluate", paths[1], paths[1]])
    with pytest.raises(SystemExit, match="1"):
        cli.evaluate()
    assert "not a model file" in capsys.readouterr().err


def test_exported_model_has_the_same_errors(model, frames, tmp_path):
    from tlmd.export import export_model

    write_frames(tmp_path / "data.extxyz", frames)
    export_model(tmp_path / "model.pt", tmp_path / "model-lammps.pt")
    trained, exported = (
        evaluate_file(tmp_path / name, tmp_path / "data.extxyz", None, None)[0].to_json()
        for name in ("model.pt", "model-lammps.pt")
    )
    assert list(trained.values()) == pytest.approx(list(exported.values()), rel=1e-6)


def test_unknown_element_is_refused(model, frames, tmp_path):
    write_frames(tmp_path / "data.extxyz", [frames[0].replace(numbers=np.full(len(frames[0]), 7))])
    with pytest.raises(InputError, match="got element N; wanted only H, O"):
        evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", None, None)


def test_energies_at_several_densities_tell_the_pressure(model, tmp_path, capsys):
    """Labels with a tail -a/V that the model lacks, beside frames of one density and free ones."""
    rng, frames, volumes, a = np.random.default_rng(6), [], [], 40.0
    for k in range(15):
        edge, pbc = 6.0 + 0.03 * k, np.full(3, k < 12)
        positions, cell = rng.uniform(0, edge, (24, 3)), np.eye(3) * edge
        frame = Frame(np.tile([8, 1, 1], 8), positions, cell, pbc)
        graph = build_graph(frame.numbers, positions, cell, pbc, ["H", "O"], 3.0, torch.float64)
        volumes.append(edge**3)
        tail = a / volumes[-1] if k < 12 else 0.0
        frames.append(frame.replace(energy=float(evaluate(model, graph).energy) - tail))
    write_frames(tmp_path / "data.extxyz", frames)
    evaluate_file(tmp_path / "model.pt", tmp_path / "data.extxyz", tmp_path / "e.json")
    found = json.loads((tmp_path / "e.json").read_text())[SLOPES]["H2O"]
    low, high = min(volumes[:12]), max(volumes[:12])
    assert found["n_frames"] == 12 and found["volumes_A3_per_atom"] == pytest.approx([low / 24, high / 24])
    assert found["slope_bar"] == pytest.approx(-a / (low * high) * BAR_PER_EV_A3, rel=0.03)
    assert 0 < found["standard_error_bar"] < 0.05 * abs(found["slope_bar"])
    assert "H2O: energy error by volume -" in (out := capsys.readouterr().out) and "pressure is too high" in out
