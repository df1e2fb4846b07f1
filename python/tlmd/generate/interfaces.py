"""What tl-generate asks of a teacher (what labels cheaply) and of a system (a way to propose configurations).

A new one is one file in `teachers/` or `systems/`, with its configuration and its class; docs/extending.md shows how.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.species import Species
from tlmd.run.config import Section
from tlmd.run.errors import InputError
from tlmd.run.quantities import Frames

LAMMPS_SEEDS = 899_999_999  # the largest seed of LAMMPS' generators


class Unsuited(InputError):
    """A frame or a molecule that a teacher cannot treat."""

    @property
    def why(self) -> str:
        """What was got, for the counts of frames that were not made or not labelled."""
        return self._parts[0]


class NotMade(NamedTuple):
    """In place of frames that a system could not make: how many, and why."""

    count: int
    why: str


class TeacherConfig(Section):
    """Base of a table [teacher]; a subclass has `name: Literal["..."]`.

    matter: what the teacher can label, of the words that systems have as theirs; needs_smiles: whether it brings no
    molecules of its own for liquids.
    """

    matter: ClassVar[tuple[str, ...]]
    needs_smiles: ClassVar[bool] = False


class SystemConfig(Section):
    """Base of a table [systems.NAME]; a subclass has `kind: Literal["..."]`.

    matter: what the frames are made of: liquid (molecules one after another), molecules (one molecule with its SMILES),
    material (anything), or any, where a file decides.
    """

    matter: ClassVar[str]

    frames: Frames = Field(description="number of frames in all")
    frames_per_item: Frames = Field(10, description="frames of one work item (one trajectory, for kinds with dynamics)")


class Teacher(ABC):
    """What labels cheaply: a force field, tight binding, a foundation model.

    Labels depend on the frame only, so that they can be evaluated again later. Beyond labels, a system may ask for what
    its matter needs: liquids and materials for `trajectory` (see `tlmd.generate.teachers.lammps_base` and
    `tlmd.generate.teachers.any_composition`), molecules for `energy_of` (see `tlmd.generate.molecule.MoleculeEnergy`).

    molecules: those that the teacher has parameters for, each with a number, in whose ratio a liquid holds them; empty
    where it can label any.
    """

    config: TeacherConfig
    molecules: tuple[tuple[Species, int], ...] = ()

    def __init__(self, config: TeacherConfig):
        self.config = config

    @abstractmethod
    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV), forces (eV/A) and, where periodic, stress (eV/A^3, tension positive).

        Raises Unsuited if the teacher has no result for this frame, another InputError if it never has one for such
        frames.
        """

    def unfit(self, frame: Frame) -> str | None:
        """A word why the teacher is not to be trusted for `frame`, or None."""
        return None

    def close(self) -> None:  # noqa: B027, most teachers hold nothing
        """Release what the teacher holds."""


class System(ABC):
    """One table [systems.NAME]: `items` independent work items that together give `frames` frames.

    note: a line for the report.
    """

    config: SystemConfig
    note = ""

    def __init__(self, config: SystemConfig, scale: float = 1.0):
        self.config = config
        self.frames = max(1, round(config.frames * scale))
        self.items = math.ceil(self.frames / config.frames_per_item)

    def count(self, item: int) -> int:
        """The number of frames of one work item."""
        return self.first(item + 1) - self.first(item)

    def first(self, item: int) -> int:
        """The number of frames of the work items before this one."""
        return (self.frames * item) // self.items

    @abstractmethod
    def sample(self, item: int, rng: np.random.Generator, teacher: Teacher) -> Iterator[Frame | NotMade]:
        """Yield `count(item)` frames without labels, or NotMade in place of some; the result depends on `item` and the
        state of `rng` only. An Unsuited that is raised counts for all frames that are still missing.
        """


def draw_seed(rng: np.random.Generator, largest: int = LAMMPS_SEEDS) -> int:
    """A seed from 1 to `largest` for another generator of random numbers."""
    return int(rng.integers(1, largest + 1))


def require_periodic(frame: Frame) -> None:
    """InputError where a direction is not periodic."""
    if not frame.pbc.all():
        raise InputError(f"pbc {frame.pbc}", "all directions periodic", "put vacuum into the cell")
