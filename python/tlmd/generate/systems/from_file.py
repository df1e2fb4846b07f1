"""Frames of a file, to be labelled by the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.frames.read import read_once
from tlmd.generate.interfaces import System, SystemConfig, Teacher
from tlmd.generate.registry import system
from tlmd.run.config import ConfigPath
from tlmd.run.errors import InputError
from tlmd.run.quantities import Frames


class FileConfig(SystemConfig):
    """Frames of a file, evenly spread, to be labelled anew: another teacher on the same configurations."""

    matter: ClassVar[str] = "any"
    kind: Literal["file"]
    file: ConfigPath = Field(description="frames to be labelled (extxyz, .gz, .xz, or an ASE database)")
    frames_per_item: Frames = Field(100, description="frames of one work item")


@system
class Read(System):
    """Frames of a file without their labels; `kind`, `source` and the rest of their info stay."""

    config: FileConfig

    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        count = len(read_once(self.config.file, check=False))
        if count < self.frames:
            raise InputError(f"{count} frames in {self.config.file}", f"{self.frames}", "ask for fewer frames")
        yield from self.spread(item)

    def spread(self, item: int) -> Iterator[Frame]:
        """The frames of one work item, evenly spread over the file, without labels; repeated where the file is short"""
        frames, first = read_once(self.config.file, check=False), self.first(item)
        for index in np.linspace(0, len(frames) - 1, self.frames).round().astype(int)[first : first + self.count(item)]:
            yield frames[index].replace(energy=None, forces=None, stress=None)
