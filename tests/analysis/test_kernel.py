"""tl-analyze kernel: a reaction of rare atoms among many others, found by alpha = 1; clusters, distances, refusals."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tlmd.analysis.commands import app
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.mekrr.heatmaps import distances, explained, spectral_clusters
from tlmd.modelfile import Card, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.run.errors import InputError


@pytest.fixture
def reaction(tmp_path):
    """24 O atoms that rattle, most of all in the first third, and C and H that part half-way; a random model."""
    rng = np.random.default_rng(1)
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:24] * 2.4
    frames = []
    for t in range(40):
        bond = (1.1 if t < 20 else 2.2) + rng.normal(scale=0.05)
        pair = [[6.0, 6.0, 6.0], [6.0, 6.0, 6.0 + bond]]
        positions = np.concatenate([sites + rng.normal(scale=0.3 if t < 13 else 0.05, size=sites.shape), pair])
        frames.append(Frame(np.array([8] * 24 + [6, 1]), positions, np.eye(3) * 9.6, np.array([True] * 3)))
    write_frames(tmp_path / "trajectory.extxyz", frames)
    torch.manual_seed(1)
    architecture = Architecture(width=16, n_layers=2, n_radial=8)
    elements = ["H", "C", "O"]
    card = Card(elements=elements, cutoff=4.0, architecture=architecture)
    save_model(tmp_path / "model.pt", new_potential(elements, 4.0, architecture), card)
    return tmp_path, frames


def test_alpha_one_finds_the_reaction(reaction):
    folder, _ = reaction
    (folder / "grid.csv").write_text("alpha,force_weight,lambda,score,energy_rmse\n0,0.5,1,1,0.002\n1,0.5,1,1,0.001\n")
    arguments = ["kernel", folder / "model.pt", folder / "trajectory.extxyz", "--distance", "C-H"]
    arguments += ["--json", folder / "k.json", "--plot", folder / "k.png", "--grid", folder / "grid.csv"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    found = {
        record["quantity"].split(",", 1)[1]: record["value"] for record in json.loads((folder / "k.json").read_text())
    }
    assert len(found) == 4
    assert found[" layer 1, alpha 1"] > 0.95
    assert found[" layer 1, alpha 0"] < 0.7
    assert (folder / "k.png").stat().st_size > 10_000 and (folder / "k-alpha.png").exists()


def test_distances(reaction):
    _, frames = reaction
    expected = [np.linalg.norm(frame.positions[25] - frame.positions[24]) for frame in frames]
    np.testing.assert_allclose(distances(frames, "C-H"), expected)
    np.testing.assert_allclose(distances(frames, "24-25"), expected)
    nearest = distances(frames, "O-O")[0]
    assert 0.5 < nearest < 2.6
    for wrong in ("C", "C-Xx", "0-99", "C-N"):
        with pytest.raises(InputError, match="--distance"):
            distances(frames, wrong)


def test_clusters_are_the_blocks_of_a_kernel():
    labels = np.repeat([0, 1, 2], [7, 12, 5])
    kernel = np.where(np.equal.outer(labels, labels), 0.95, 0.3) + 0.05 * np.eye(len(labels))
    np.testing.assert_array_equal(spectral_clusters(kernel, 3), labels)
    assert explained(labels.astype(float), labels) == pytest.approx(1)
    assert explained(np.tile([1.0, 2.0], 12), np.repeat([0, 1], 12)) == pytest.approx(0)


def test_numbers_that_give_no_kernel_are_refused(reaction):
    """One line, no NaN."""
    folder, frames = reaction
    write_frames(folder / "one.extxyz", frames[:1])
    cases = {
        "got 1 frame; wanted two or more": ("one.extxyz", []),
        "got --clusters 1000; wanted 2 to 40": ("trajectory.extxyz", ["--clusters", "1000"]),
        "got --alpha 2; wanted 0 to 1": ("trajectory.extxyz", ["--alpha", "2"]),
    }
    for words, (file, options) in cases.items():
        result = CliRunner().invoke(app, ["kernel", str(folder / "model.pt"), str(folder / file), *options])
        assert result.exit_code == 1 and words in " ".join(result.output.split())
        assert "nan" not in result.output.lower()
