"""What every stage that learns from labelled frames reads about them from its TOML."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlmd.run.config import ConfigPath, Section


class DataConfig(Section):
    train: ConfigPath = Field(description="labelled frames, extxyz or extxyz.xz")
    valid: ConfigPath | None = Field(
        None,
        description="frames that choose the best step; absent: whole trajectories or work items (info key source) "
        "of `train`",
    )
    valid_fraction: float = Field(0.1, ge=0, lt=1, description="part of `train` held out when `valid` is absent")
    test: ConfigPath | None = Field(None, description="frames for the final table; never used to choose anything")
    labels: Literal["all", "energies"] = Field(
        "all", description="energies: train and validate as if these frames had no forces and stresses"
    )
    split_by: str | None = Field(None, description="info key: errors on the test frames of each of its values as well")
    level_of_theory: str = Field("unknown", description="written into the model card")


class ReferencesConfig(Section):
    method: Literal["least_squares", "isolated_atoms"] = Field(
        "least_squares",
        description="one energy for each element, fitted to the training frames or given; frames of one composition "
        "determine only their sum",
    )
    energies: dict[str, float] = Field({}, description="eV, of isolated atoms, by element")
    file: ConfigPath | None = Field(None, description="isolated atoms: frames of one atom")
