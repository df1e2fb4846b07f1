"""The labelled frames of tl-calibrate."""

from __future__ import annotations

from collections.abc import Sequence

from tlmd.calibrate.config import CalibrateConfig
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.frames.split import select_frames


def frames_by_set(config: CalibrateConfig) -> dict[str, Sequence[Frame]]:
    """train: those chosen of data.train, with the labels that data.labels leaves; then valid and test as they are."""
    data = config.data
    train = select_frames(read_frames(data.train), config.n_frames, config.select, config.seed, str(data.train))
    if data.labels == "energies":
        train = [frame.replace(forces=None, stress=None) for frame in train]
    return {"train": train} | {name: read_frames(path) for name, path in data.files().items() if name != "train"}
