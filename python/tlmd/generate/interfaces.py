"""What tl-generate asks of a teacher (a classical force field) and of a system (a way to propose configurations).

A new one is a subclass here, a model in `tlmd.run.config` and a line in the tables that `tlmd.generate.driver` reads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.generate.config import SystemConfig
from tlmd.run.errors import InputError


class Unsuited(InputError):
    """A frame or a molecule that a teacher cannot treat."""


class Teacher(ABC):
    """A classical force field. Labels depend on the frame only, so that they can be evaluated again later."""

    @abstractmethod
    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3, ASE's sign). Raises Unsuited if
        the teacher has no result for it."""

    def unfit(self, frame: Frame) -> str | None:
        """One word why the force field is not to be trusted for `frame`, or None."""
        return None

    def close(self) -> None:  # noqa: B027, most teachers hold nothing
        """Release what the teacher holds."""


class System(ABC):
    """One table [systems.NAME]: `items` independent work items that together give `frames` frames.

    note: for the report.
    """

    note = ""

    def __init__(self, settings: SystemConfig, scale: float = 1.0):
        self.settings = settings
        self.frames = max(1, round(settings.frames * scale))
        self.items = math.ceil(self.frames / settings.frames_per_item)

    def count(self, item: int) -> int:
        """The number of frames of one work item."""
        return self.first(item + 1) - self.first(item)

    def first(self, item: int) -> int:
        """The number of frames of the work items before this one."""
        return (self.frames * item) // self.items

    @abstractmethod
    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame]:
        """Yield `count(item)` frames without labels, fewer where some could not be made; the result depends on `item`
        and the state of `rng` only.
        """
