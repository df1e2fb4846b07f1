"""What the training stages read from their TOML files; defaults are those of the water example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from tlmd.frames.config import PotentialDataConfig, ReferencesConfig
from tlmd.models.architecture import Architecture, Elements
from tlmd.run.config import ConfigPath, Section, StageConfig, absolute
from tlmd.run.installed import SHIPPED
from tlmd.run.quantities import (
    Count,
    Cutoff,
    Fraction,
    Frames,
    Minutes,
    Positive,
    Rate,
    Steps,
    Temperature,
    Threads,
    Weight,
    Width,
)
from tlmd.units import BAR_PER_EV_A3

REPULSION = Field(True, description="repel pairs that are nearer than any of training; no training frame changes")
Ramp = Weight | tuple[Weight, Weight]
FORCE_ERROR_EV_A = 0.05  # with which loss.stress_error_bar is compared


def shipped_or_absolute(path: Path, info: ValidationInfo) -> Path:
    """The shipped model of that name, else the path relative to the folder of the TOML."""
    return SHIPPED.get(str(path)) or absolute(path, info)


ModelPath = Annotated[Path, AfterValidator(shipped_or_absolute)]


class ModelConfig(Section, Architecture):
    width: Width = Field(64, multiple_of=2, description="channels F")
    cutoff: Cutoff = Field(5.0, description="A, distance to which atoms see each other in one layer")
    first_cutoff: Cutoff | None = Field(
        None, description="A, the same of the first layer alone, which costs least; at least cutoff; absent: cutoff"
    )
    elements: Elements = Field([], description="order of elements; empty: those of the frames by atomic number")

    @model_validator(mode="after")
    def _first_layer_reaches_as_far(self) -> ModelConfig:
        self.reach(self.cutoff)
        return self


def stress_weight(error_bar: float) -> float:
    """Weight of (eV/A^3)^2 with which a stress error (bar) counts as much as a force error of FORCE_ERROR_EV_A."""
    return (FORCE_ERROR_EV_A * BAR_PER_EV_A3 / error_bar) ** 2


class LossConfig(Section):
    energy: Ramp = Field(10.0, description="weight of (eV/atom)^2, or [first, last] of a linear ramp")
    forces: Ramp = Field(1.0, description="weight of (eV/A)^2, or [first, last]")
    stress: Ramp = Field(1000.0, description="weight of (eV/A^3)^2, or [first, last]; no effect without stress labels")
    stress_error_bar: float | None = Field(
        None,
        ge=1,
        le=1e6,
        description="bar, in place of `stress`: with forces = 1 a stress error of this size counts as much as a force "
        "error of 50 meV/A; absent: as `stress` says, whose 1000 is 2500 bar",
    )
    ramp_steps: Steps | Literal[0] = Field(0, description="length of the ramps")
    kind: Literal["mse", "huber"] = Field("mse", description="mean squares, or Huber loss: outliers count less")
    huber_delta: Positive = Field(0.1, description="errors above it (in eV/atom, eV/A, eV/A^3) count linearly")

    @model_validator(mode="before")
    @classmethod
    def _stress_weight(cls, data: Any) -> Any:
        """`stress` from `stress_error_bar`; a written configuration has both, which then agree."""
        if not isinstance(data, dict) or not isinstance(data.get("stress_error_bar"), int | float):
            return data
        weight = stress_weight(max(1.0, data["stress_error_bar"]))
        if data.get("stress", weight) != weight:
            raise ValueError("one weight of the stress: stress or stress_error_bar")
        return data | {"stress": weight}


class OptimizerConfig(Section):
    kind: Literal["adam", "adamw"] = Field("adam", description="of torch.optim")
    lr: Rate = Field(2e-3, description="highest learning rate; the best of inputs/water/search.toml")
    weight_decay: Fraction = Field(0.0, description="adamw only")
    schedule: Literal["cosine", "plateau", "constant"] = Field(
        "cosine", description="of the learning rate; plateau steps down when the validation loss stands still"
    )
    warmup_steps: Steps | Literal[0] = Field(50, description="linear warm-up")
    final_factor: Fraction = Field(0.01, description="learning rate at the end (cosine) or at least (plateau), of lr")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="step down of the plateau schedule")
    plateau_patience: Steps | Literal[0] = Field(5, description="validations without progress before a step down")
    clip: Weight = Field(1.0, description="largest norm of the gradient; 0: no clipping")
    ema: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged parameters, which are validated and saved; 0: none"
    )


class TrainingConfig(Section):
    max_steps: Steps = Field(description="steps; the cosine schedule ends here")
    max_minutes: Minutes | None = Field(None, description="stop earlier after this wall time, resumed parts included")
    batch_frames: Count = Field(4, description="frames of a batch, at most")
    batch_atoms: Count = Field(2048, description="atoms of a batch, at most: bounds the memory")
    n_frames: Frames | None = Field(None, description="number of frames of `train` to use; absent: all")
    select: Literal["random", "first"] = Field("random", description="which of them; random draws with the seed")
    valid_every: Steps = Field(100, description="steps between validations")
    checkpoint_every: Steps = Field(100, description="steps between checkpoints")
    early_stopping: Steps | Literal[0] = Field(
        0, description="stop after this number of validations without progress; 0: never"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="of parameters and positions")
    device: str = Field("auto", description="auto, cpu, cuda")
    backend: Literal["native", "torch"] | None = Field(
        None, description="gradients by the native engine (default on the CPU) or by torch"
    )
    threads: Threads | None = Field(None, description="torch threads of each process; absent: torch's choice")
    tensorboard: bool = Field(False, description="write event files into the run folder as well")
    plots: bool = Field(True, description="draw parity and history at the end")
    repulsion: bool = REPULSION


class TrainConfig(StageConfig):
    """What pretraining and fine-tuning share."""

    data: PotentialDataConfig
    references: ReferencesConfig = ReferencesConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig


class PretrainConfig(TrainConfig):
    """tl-pretrain: a new model, on classical labels or from scratch on DFT ones."""

    model: ModelConfig = ModelConfig()


class TransferConfig(Section):
    start_from: ModelPath = Field(description="model.pt of the pretrained model, or the name of a shipped one")
    references: Literal["refit", "keep", "isolated_atoms"] = Field(
        "refit", description="refit: least squares on the labels minus the pretrained network's energies"
    )
    scale: Literal["keep", "least_squares", "rms"] = Field(
        "keep", description="factor on the network: least squares of new on predicted forces, or the ratio of their rms"
    )
    freeze: list[str] = Field([], description="parts that are not trained, e.g. embedding, messages.0, energy")
    rates: dict[str, Positive] = Field({}, description="factors on lr for parts; the longest matching name counts")


class ReplayConfig(Section):
    frames: ConfigPath = Field(description="classical frames, with the reference energies of the pretrained model")
    fraction: float = Field(0.0, ge=0, lt=1, description="part of each batch; 0: only the errors on them are reported")
    labels: Literal["forces", "all"] = Field("forces", description="labels of the replayed frames that are trained on")
    n_report: Frames = Field(20, description="frames, spread over the file, for the errors before and after")


class StabilityConfig(Section):
    """MD with the new model, whose verdict stands in the closing table."""

    ps: float = Field(20.0, ge=0, le=1e6, description="length of the run; 0: none")
    temperature_K: Temperature | None = Field(
        None, description="absent: the highest temperature_K that a training frame states, else 450"
    )


class FinetuneConfig(TrainConfig):
    """tl-finetune: fine-tuning by the method T-PaiNN."""

    committee: Count | None = Field(
        None, description="models to train, whose forces tell by their differences what is unknown; absent: 1"
    )
    committee_jobs: Count | None = Field(
        None, description="members to train at a time; absent: as many as the cores have room for"
    )
    member: Count | None = Field(
        None, description="written by a committee into the TOML of each of its members but the first: its number"
    )
    transfer: TransferConfig
    replay: ReplayConfig | None = None
    stability: StabilityConfig = StabilityConfig()
