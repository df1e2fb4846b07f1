"""A folder with frames to label, and tl-label on it."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.label.config import LabelConfig
from tlmd.label.label import label
from tlmd.run.config import load_config


def waters(count: int) -> list[Frame]:
    """Distorted water molecules."""
    atoms, rng = molecule("H2O"), np.random.default_rng(1)
    return [
        Frame(atoms.numbers, atoms.positions + rng.normal(scale=0.05, size=(3, 3)), info={"set": f"w{index}"})
        for index in range(count)
    ]


class Place:
    """A folder in which label.toml labels frames.extxyz into labels/."""

    waters = staticmethod(waters)

    def __init__(self, path: Path):
        self.path, self.out = path, path / "labels"

    def write(self, frames: list[Frame], text: str) -> None:
        write_frames(self.path / "frames.extxyz", frames)
        (self.path / "label.toml").write_text(f'frames = "frames.extxyz"\n{text}')

    def config(self, *settings: str) -> LabelConfig:
        return load_config(LabelConfig, self.path / "label.toml", settings)

    def run(self, *settings: str, action=label) -> Path:
        config = self.config(*settings)
        return action(config, self.out)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)
