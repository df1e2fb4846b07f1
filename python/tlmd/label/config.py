"""The configuration of tl-label; the codes bring theirs in their own files."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Annotated, Any, Union, get_type_hints

from pydantic import Field

from tlmd.label import codes
from tlmd.label.interfaces import CODES
from tlmd.run.config import ConfigPath, StageConfig
from tlmd.run.executor import AnyExecutorConfig, LocalConfig
from tlmd.run.quantities import Positive

for _module in pkgutil.iter_modules(codes.__path__):
    importlib.import_module(f"{codes.__name__}.{_module.name}")  # its classes register
_KINDS: Any = Union[tuple(get_type_hints(CODES[word])["config"] for word in sorted(CODES))]
AnyCodeConfig = Annotated[_KINDS, Field(discriminator="name")]


class LevelConfig(StageConfig):
    """What makes labels the same: the code with its settings. All labels of a run folder have it in common."""

    calculator: AnyCodeConfig = Field(description="what labels the frames; its `name` chooses the further keys")
    stress: bool | None = Field(
        None, description="stresses as well; absent: of frames that are periodic in all directions"
    )


class LabelConfig(LevelConfig):
    """tl-label: which frames, labelled by which code, where."""

    out: ConfigPath = Field(Path("labels"), description="run folder to write")
    frames: ConfigPath = Field(description="frames to label (extxyz, ASE database); labels in it are dropped")
    known: list[ConfigPath] = Field(
        [], description="files of labelled frames; what was made from the same input is taken from there, not run"
    )
    max_force: Positive = Field(100.0, description="eV/A: a frame with a larger force component is set aside")
    max_net_force: Positive = Field(
        0.02, description="eV/A: a frame whose mean force over its atoms is larger is set aside; it should be zero"
    )
    retry: bool = Field(False, description="run again what was set aside before")
    executor: AnyExecutorConfig = Field(LocalConfig(), description="where jobs run; its `kind` chooses further keys")

    def of_the_run(self) -> LevelConfig:
        """What must not change within a run folder: frames may be added, and jobs may run elsewhere."""
        return LevelConfig(out=self.out, seed=self.seed, calculator=self.calculator.of_the_level(), stress=self.stress)
