"""The smallest distance of each pair of elements: among frames, in cards of each stage, and in the calculator."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.export import export_model
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.frames.shortest import CLOSE, shortest_distances, table_of
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.modelfile import read_card
from tlmd.run.config import load_config
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

SHAPES = {
    "free": (np.zeros((3, 3)), False),
    "cube": (np.eye(3) * 4.0, True),
    "skewed and flat": (np.array([[3.0, 0, 0], [2.4, 1.9, 0], [-1.3, 0.9, 2.2]]), True),
    "slab": (np.diag([3.0, 3.5, 0.0]), [True, True, False]),
}


def images(cell: np.ndarray, pbc) -> np.ndarray:
    ranges = [range(-4, 5) if periodic else [0] for periodic in np.broadcast_to(pbc, 3)]
    return np.array(list(itertools.product(*ranges))) @ cell


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_are_those_of_all_images(shape):
    cell, pbc = SHAPES[shape]
    random = np.random.default_rng(1)
    frames = []
    truth = {"O-O": 5.0, "O-H": 5.0, "O-Cu": 5.0, "H-H": 5.0, "H-Cu": 5.0, "Cu-Cu": 5.0}
    for numbers in ([1, 8, 8, 1, 1], [8, 1, 29], [1]):
        positions = random.uniform(0, 2.5, (len(numbers), 3))
        frames.append(Frame(np.array(numbers), positions, cell, np.broadcast_to(pbc, 3)))
        symbols = Atoms(numbers).get_chemical_symbols()
        for i, j in itertools.product(range(len(numbers)), repeat=2):
            lengths = np.linalg.norm(positions[j] - positions[i] + images(cell, pbc), axis=1)
            name = next(n for n in truth if sorted(n.split("-")) == sorted([symbols[i], symbols[j]]))
            truth[name] = min(truth[name], lengths[lengths > 0].min(initial=5.0))
    found = shortest_distances(frames, ["O", "H", "Cu"], 5.0)
    assert list(found) == list(truth)
    for name, value in found.items():
        assert truth[name] - 1e-4 < value <= truth[name], name
    with_earlier = shortest_distances(frames, ["O", "H", "Cu"], 5.0, {"H-O": 0.1}, {"Cu-Cu": 9.0})
    assert with_earlier == found | {"O-H": 0.1}
    np.testing.assert_equal(table_of({"H-O": 1.0}, ["O", "H"]), [[np.nan, 1.0], [1.0, np.nan]])


def test_every_stage_hands_them_on(folder):
    """pretrain -> finetune -> mekrr -> export: the smallest of the frames of all of them."""
    (folder / "mekrr.toml").write_text(
        '[data]\ntrain = "test.extxyz"\nvalid = "valid.extxyz"\n[backbone]\nmodel = "new/model.pt"\n'
        "[kernel]\nn_features = 8\n[training]\nthreads = 1\n"
    )
    frames = {name: read_frames(folder / f"{name}.extxyz") for name in ("train", "test")}
    near = frames["train"][0].replace(positions=frames["train"][0].positions * 0.5, cell=frames["train"][0].cell * 0.5)
    seen = [near, *frames["train"], *frames["test"]]
    alone = shortest_distances(frames["train"], ["H", "O"], 3.0)

    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", []), folder / "old")
    assert read_card(folder / "old" / "model.pt").shortest_A == alone
    # as if the pretraining had seen a nearer pair
    earlier = shortest_distances([near], ["H", "O"], 3.0)
    assert earlier != alone
    with_card(folder / "old" / "model.pt", shortest_A=earlier)
    finetune(load_config(FinetuneConfig, folder / "finetune.toml", []), folder / "new")
    assert read_card(folder / "new" / "model.pt").shortest_A == shortest_distances(seen[:-6], ["H", "O"], 3.0)
    mekrr(load_config(MekrrConfig, folder / "mekrr.toml", []), folder / "kernel")
    model = folder / "kernel" / "model.pt"
    assert read_card(model).shortest_A == shortest_distances(seen, ["H", "O"], 3.0)
    assert read_card(export_model(model)).shortest_A == read_card(model).shortest_A


def with_card(model, **values) -> None:
    from tlmd.modelfile import load_model, load_sample, save_model

    potential, card = load_model(model)
    save_model(model, potential, card.model_copy(update=values), load_sample(model))


def test_the_calculator_warns_once_of_each_pair(folder):
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", ["training.max_steps=1"]), folder / "old")
    model = folder / "old" / "model.pt"
    with_card(model, shortest_A={"O-O": 2.0, "H-H": 1.4, "H-O": 1.0})
    atoms = Atoms("OHOH", [[0, 0, 0], [0, 0.95, 0], [4, 0, 0], [4, 0, 1.6]], cell=np.eye(3) * 12, pbc=True)
    atoms.calc = TLCalculator(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 0.95 is within the tolerance
        atoms.get_potential_energy()
    assert atoms.calc.closest.tolist() == [[3.0, 0.95], [0.95, 3.0]]  # by species H, O; nothing within the cutoff: 3
    atoms.positions[3] = [11.6, -0.3, 0]  # H by O through the face of the box
    words = r"H-O at 0\.500 A in evaluation 1; in training at least 1\.000 A: forces and energies are guesses"
    with pytest.warns(UserWarning, match=words):
        atoms.get_potential_energy()
    atoms.positions[3, 0] = 11.61
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told already
        atoms.get_potential_energy()
    atoms.positions[3] = [0.5, 1.2, 0]
    with pytest.warns(UserWarning, match=r"H-H at 0\.559 A in evaluation 3; in training at least 1\.400 A"):
        atoms.get_potential_energy()
    assert CLOSE * 1.0 > 0.5
    with_card(model, shortest_A={})
    atoms.calc = TLCalculator(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an older card
        atoms.get_potential_energy()
