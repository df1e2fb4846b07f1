"""What tl-label asks of a code: an input for a frame, the line of shell that runs it, and labels from its output.

A new one is one file in `codes/`, with its configuration and its class; the decorator `@code` registers it. Codes that
are called in Python derive from PythonCode: their input is input.json, and tlmd.label.evaluate runs them.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
from pydantic import Field
from pydantic_core import PydanticUndefined

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.run.config import Section
from tlmd.run.errors import InputError
from tlmd.run.files import write_text

CODES: dict[str, type[Code]] = {}  # by calculator.name
GEOMETRY = "frame.extxyz"
INPUT, OUTPUT = "input.json", "output.json"  # of a PythonCode
AnyCode = TypeVar("AnyCode", bound="type[Code]")
Charge = Annotated[int, Field(ge=-100, le=100)]
Multiplicity = Annotated[int, Field(ge=1, le=100)]


class NoLabel(Exception):
    """A frame gets no label; the one argument is the reason, in one line."""


class Result(NamedTuple):
    """Labels of one frame: energy eV, forces (N, 3) eV/A, stress (3, 3) eV/A^3, tension positive, or None."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    code: str
    version: str
    scf_steps: int | None = None


class CodeConfig(Section):
    """Base of a table [calculator]; a subclass has `name: Literal["..."]`.

    elsewhere: keys that do not change a label, and may differ when a run goes on.
    """

    elsewhere: ClassVar[tuple[str, ...]] = ()

    charge: Charge = Field(0, description="e, of frames without the info key `charge`")
    multiplicity: Multiplicity | None = Field(
        None,
        description="spin multiplicity 2S + 1 of frames without the info key `multiplicity`; absent: 1 or 2",
    )

    def of_the_level(self) -> CodeConfig:
        """The same, with the keys that do not change a label at their defaults."""
        usual = {key: type(self).model_fields[key].get_default() for key in self.elsewhere}
        return self.model_copy(
            update={key: None if value is PydanticUndefined else value for key, value in usual.items()}
        )


class Code(ABC):
    """One way to label. `output`: the file in the frame's folder that `read` reads."""

    config: CodeConfig
    output: ClassVar[str]

    def __init__(self, config: CodeConfig):
        self.config = config

    def check(self, frame: Frame) -> None:  # noqa: B027, a code may label any frame
        """InputError for a frame that this code cannot label."""

    @abstractmethod
    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        """Write the input into the folder of the frame; the names of its files, whose hash goes into the label."""

    @abstractmethod
    def command(self, cores: int) -> str:
        """The line of shell that is run in the folder of a frame."""

    @abstractmethod
    def read(self, folder: Path, frame: Frame, stress: bool) -> Result:
        """The labels in the output; raises NoLabel, e.g. if the SCF has not converged or the output is not complete."""

    @abstractmethod
    def level(self) -> dict[str, str | float]:
        """What the info of a label says of the level of theory: functional, basis, cutoff, dispersion."""

    def charge(self, frame: Frame) -> int:
        """Charge of a frame, e."""
        return int(frame.info.get("charge", self.config.charge))

    def multiplicity(self, frame: Frame) -> int:
        """Spin multiplicity of a frame. InputError if the number of its electrons has none like it."""
        electrons = int(frame.numbers.sum()) - self.charge(frame)
        chosen = frame.info.get("multiplicity", self.config.multiplicity)
        if chosen is None and "spin" in frame.info:
            raise InputError(
                "the info key spin, which some take for 2S and others for 2S + 1",
                "the key multiplicity = 2S + 1",
                "rename it in the file of the frames",
            )
        multiplicity = 1 + electrons % 2 if chosen is None else int(chosen)
        if (electrons + multiplicity) % 2 == 0:
            raise InputError(
                f"multiplicity {multiplicity} for {electrons} electrons",
                "an odd one for an even number of electrons, else an even one",
                "correct charge or multiplicity",
            )
        return multiplicity


def code(cls: AnyCode) -> AnyCode:
    """Class decorator: tl-label knows this code."""
    (word,) = get_args(get_type_hints(cls)["config"].model_fields["name"].annotation)
    if word in CODES:
        raise TypeError(f"{cls.__name__}: name '{word}' is that of {CODES[word].__name__} already")
    CODES[word] = cls
    return cls


class PythonCode(Code):
    """A code that is called in Python, in a process of its own: `compute` and `level` are all that it needs."""

    output = OUTPUT

    def write(self, folder: Path, frame: Frame, stress: bool) -> list[str]:
        return self.write_input(folder, self.config, frame, stress)

    def write_input(self, folder: Path, config: CodeConfig, frame: Frame, stress: bool) -> list[str]:
        """As `write`, with a configuration whose paths are relative to the folder."""
        settings = {"calculator": config.model_dump(mode="json"), "stress": stress}
        write_text(folder / INPUT, json.dumps(settings, indent=1) + "\n")
        write_frames(folder / GEOMETRY, [frame])
        return [INPUT, GEOMETRY]

    def command(self, cores: int) -> str:
        return f"{shlex.quote(sys.executable)} -P -m tlmd.label.evaluate"

    def read(self, folder: Path, frame: Frame, stress: bool) -> Result:
        output = json.loads((folder / OUTPUT).read_text(encoding="utf-8"))
        if "reason" in output:
            raise NoLabel(output["reason"])
        arrays = {key: None if output[key] is None else np.array(output[key]) for key in ("forces", "stress")}
        return Result(**output | arrays)

    @abstractmethod
    def compute(self, frame: Frame, stress: bool) -> Result:
        """The labels; raises NoLabel where there are none."""


def require_package(package: str, wanted: str, install: str) -> None:
    """InputError where a package is not installed; `install` says how it is."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"no package {package}", wanted, install)


def refuse_periodic(frame: Frame, name: str) -> None:
    """InputError for a periodic frame where only molecules can be labelled."""
    if frame.pbc.any():
        raise InputError(f"a periodic frame for {name}", "molecules", "choose cp2k, espresso or gpaw")


def more_input(tables: dict[str, Any]) -> dict[str, str]:
    """What a label says of keywords that were given beyond those of tlmd: {"input": ...}; nothing if there are none."""
    return {"input": json.dumps(tables)} if tables else {}


def found(pattern: str, text: str, what: str) -> re.Match:
    """The last match in an output; NoLabel if `what` is not there."""
    matches = list(re.finditer(pattern, text, flags=re.MULTILINE))
    if not matches:
        raise NoLabel(f"no {what} in the output")
    return matches[-1]


def guarded_compute(work: Callable[[], Result]) -> dict[str, Any]:
    """What a PythonCode writes as its output: the result, or the reason why there is none."""
    try:
        result = work()
    except NoLabel as reason:
        return {"reason": str(reason)}
    arrays = {"forces": result.forces, "stress": result.stress}
    return result._asdict() | {key: None if value is None else value.tolist() for key, value in arrays.items()}
