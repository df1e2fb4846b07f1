"""What every stage that learns from labelled frames reads about them from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tlmd.baseline.kinds import BaselineConfig
from tlmd.frames.imports.formats import frame_files
from tlmd.run.config import ConfigPath, Section


class DataConfig(Section):
    train: ConfigPath = Field(description="labelled frames: extxyz (.gz, .xz), or what docs/data.md lists")
    valid: ConfigPath | None = Field(
        None,
        description="frames that choose the best step; absent: whole trajectories or work items (info key source) "
        "of every kind in `train`",
    )
    valid_fraction: float = Field(0.1, ge=0, lt=1, description="part of `train` held out when `valid` is absent")
    test: ConfigPath | None = Field(None, description="frames for the final table; never used to choose anything")
    labels: Literal["all", "energies"] = Field(
        "all", description="energies: train and validate as if these frames had no forces and stresses"
    )
    split_by: str | None = Field(None, description="info key: errors on the test frames of each of its values as well")
    level_of_theory: str = Field("unknown", description="written into the model card")

    def files(self) -> dict[str, Path]:
        return {key: file for name, path in super().files().items() for key, file in frame_files(name, path).items()}


class PotentialDataConfig(DataConfig):  # of a stage that makes a potential
    baseline: BaselineConfig | None = Field(
        None, description="a known potential that is taken off the labels and added to the model; see docs/pressure.md"
    )

    def baseline_described(self) -> dict[str, Any] | None:
        """The baseline as a card has it."""
        return self.baseline and self.baseline.described()


class ReferencesConfig(Section):
    method: Literal["least_squares", "isolated_atoms"] = Field(
        "least_squares",
        description="one energy for each element, fitted to the training frames or given; frames of one composition "
        "determine only their sum",
    )
    energies: dict[str, float] = Field({}, description="eV, of isolated atoms, by element")
    file: ConfigPath | None = Field(None, description="isolated atoms: frames of one atom")
