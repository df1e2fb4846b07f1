"""Reference energies of frames of one composition look wrong one by one: a sentence says why."""

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.run.config import load_config
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

SENTENCE = "(one composition: only their sum over a frame is fixed)"


@pytest.mark.parametrize("one", [True, False])
def test_reference_energies_of_one_composition_get_a_sentence(folder, one):
    settings = ['data.train="classical.extxyz"', "training.max_steps=1"]
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", settings), folder / "old")
    if one:  # the first frame, moved a little
        frame, rng = read_frames(folder / "train.extxyz")[0], np.random.default_rng(1)
        moved = [frame.replace(positions=frame.positions + 0.01 * rng.normal(size=(len(frame), 3))) for _ in range(4)]
        write_frames(folder / "train.extxyz", moved)
    finetune(load_config(FinetuneConfig, folder / "finetune.toml", ["training.max_steps=1"]), folder / "new")
    assert (SENTENCE in (folder / "new" / "log.txt").read_text()) == one
