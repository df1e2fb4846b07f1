"""What tl-mekrr reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tlmd.frames.config import PotentialDataConfig, ReferencesConfig
from tlmd.models.features.mace import foundation_name, model_file
from tlmd.run.config import ConfigPath, Section, StageConfig, absolute
from tlmd.run.quantities import Columns, Count, Degree, Fraction, Frames, Minutes, Positive, Threads
from tlmd.train.config import REPULSION, shipped_or_absolute


class BackboneConfig(Section):
    kind: Literal["painn", "mace", "torchscript"] = Field(
        "painn",
        description="mace: a model of mace-torch; torchscript: a module by the contract of tlmd.models.features.module",
    )
    model: Path = Field(
        description="file whose features are taken; painn: or the name of a shipped model; mace: or a foundation model "
        'as mace-torch names them, "mace-mp small" or "mace-off small"'
    )
    layers: list[int] = Field(
        [-1], min_length=1, description="message layers, from 0 or from the last (-1); not for torchscript"
    )
    baseline: bool = Field(False, description="painn: fit the labels minus the model's own energies, and add these")

    @field_validator("model")
    @classmethod
    def _file_or_name(cls, model: Path, info: ValidationInfo) -> Path:
        if info.data.get("kind") == "mace" and foundation_name(model):
            return model
        return shipped_or_absolute(model, info) if info.data.get("kind") == "painn" else absolute(model, info)

    @model_validator(mode="after")
    def _layers_are_known(self) -> BackboneConfig:
        if self.kind == "torchscript" and "layers" in self.model_fields_set:
            raise ValueError("no layers for kind torchscript: the module chooses its features")
        if self.kind != "painn" and self.baseline:
            raise ValueError("kind painn: the energies of other models are not known here")
        return self

    def files(self) -> dict[str, Path]:
        return {"model": self.file()}

    def file(self) -> Path:
        """The file; that of a foundation model is downloaded if it is not there."""
        return model_file(self.model) if self.kind == "mace" else self.model


class KernelConfig(Section):
    kind: Literal["linear", "gaussian", "polynomial"] = Field("gaussian", description="kernel of two atoms' features")
    solver: Literal["fourier", "nystroem", "exact"] = Field(
        "fourier", description="random Fourier features (gaussian), Nystroem's landmarks, or every atom (energies only)"
    )
    n_features: Columns = Field(1024, description="random features, or landmarks")
    lengths: list[Positive] = Field(
        [10.0],
        min_length=1,
        description="of the gaussian, in units of the median distance of scaled features; several are shared out",
    )
    degree: Degree = Field(2, description="of the polynomial")
    aggregation: Literal["mean", "sum"] = Field(
        "mean", description="K_alpha of means over atoms, or of sums: then composition plays no part"
    )

    @model_validator(mode="after")
    def _solver_fits(self) -> KernelConfig:
        if self.solver == "fourier" and self.kind == "polynomial":
            raise ValueError("solver nystroem or exact for the polynomial kernel")
        if self.solver == "fourier" and self.n_features % 2:
            raise ValueError("an even number of features: cosines and sines of the same frequencies")
        if self.solver != "fourier" and len(self.lengths) > 1:
            raise ValueError("one length: several go with solver fourier")
        return self


class FitConfig(Section):
    """Grids, of which the validation frames choose."""

    alpha: list[Fraction] = Field([0.0, 0.03, 0.1, 0.3, 1.0], min_length=1, description="weight of kernels by species")
    force_weight: list[Fraction] = Field(
        [0.1, 0.5, 0.9], min_length=1, description="of mean squared errors in units of the labels' mean square"
    )
    ridge: list[Positive] = Field(
        [10.0**k for k in range(-10, -1)],
        min_length=1,
        description="lambda, in units of the mean diagonal element of the normal equations",
    )
    deviation: bool = Field(True, description="keep what predicts standard deviations: n_features^2 numbers and more")
    directions: Count | None = Field(
        None, description="random directions of each frame's forces that are fitted; absent: all components"
    )
    valid_directions: Count = Field(
        64, description="random directions of each validation frame's forces by which the grid is judged; 3N: all"
    )


class FitTrainingConfig(Section):
    n_frames: Frames | None = Field(None, description="number of frames of `train` to use; absent: all")
    select: Literal["random", "first"] = Field("random", description="which of them; random draws with the seed")
    threads: Threads | None = Field(None, description="of each process; absent: torch's choice")
    checkpoint_minutes: Minutes = Field(2.0, description="time between two writings of the sums")
    plots: bool = Field(True, description="draw parity plots at the end")
    repulsion: bool = REPULSION


class MekrrConfig(StageConfig):
    """tl-mekrr: kernel ridge regression on the features of a frozen network."""

    data: PotentialDataConfig
    backbone: BackboneConfig
    kernel: KernelConfig = KernelConfig()
    references: ReferencesConfig = ReferencesConfig()
    fit: FitConfig = FitConfig()
    training: FitTrainingConfig = FitTrainingConfig()
    update: ConfigPath | None = Field(
        None, description="run folder of an earlier fit: frames that it has seen are not looked at again"
    )

    def files(self) -> dict[str, Path]:
        found = super().files()
        if self.update is not None:
            del found["update"]
            found |= {f"update/{name}": self.update / name for name in ("model.pt", "sums-train.pt")}
        return found
