"""What tl-learn reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlmd.frames.imports.formats import frame_files
from tlmd.run.config import ConfigPath, Section, StageConfig
from tlmd.run.executor import AnyExecutorConfig, LocalConfig
from tlmd.run.quantities import Count, Fraction, Positive, Temperature, Timestep

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+]*$")]
Threshold = Literal["auto"] | Positive


class StartConfig(Section):
    """[start]: the first training set. Frames that have labels, frames to choose from, or both."""

    labelled: list[ConfigPath] = Field([], description="files of labelled frames, of the level of theory of `label`")
    pool: list[ConfigPath] = Field([], description="files of frames, of which the first ones to label are chosen")
    n_frames: Count = Field(10, description="how many of the pool are labelled in the first round")

    @model_validator(mode="after")
    def _has_frames(self) -> StartConfig:
        if not self.labelled and not self.pool:
            raise ValueError("labelled or pool: something to begin with")
        return self

    def files(self) -> dict[str, Path]:
        found = {}
        for key in ("labelled", "pool"):
            for index, path in enumerate(getattr(self, key)):
                found |= frame_files(f"{key}.{index}", path)
        return found


class StateConfig(Section):
    """[states.NAME]: MD of each round at one state."""

    frames: ConfigPath = Field(description="configurations; run k starts from frame k, in turn")
    ensemble: Literal["nvt", "npt"] = Field("nvt", description="npt: isotropic; free molecules are nvt")
    temperature_K: Temperature = Field(description="of the thermostat and of the first velocities")
    pressure_bar: float = Field(1.0, description="of npt")
    ps: Positive = Field(20.0, description="length of a run")
    timestep_fs: Timestep = Field(0.5, description="fs, of MD; with hydrogen 1 at most")
    runs: Count = Field(1, description="runs in each round, with other velocities in every round")

    def files(self) -> dict[str, Path]:
        return frame_files("frames", self.frames)


class WatchConfig(Section):
    """[watch]: when a frame of MD is unsure. Deviation: the largest standard deviation of the members' forces."""

    every: Count = Field(10, description="steps between two looks at the deviations")
    error: Positive = Field(
        0.3, description="eV/A, largest force error on an atom that is accepted; for dump = auto, see docs/learn.md"
    )
    dump: Threshold = Field(
        "auto",
        description="eV/A, above which a frame may be labelled; auto: where `error` is expected by the frames of MD "
        "that were labelled, at most the limit of the model's card",
    )
    skip_ps: float = Field(
        0.1, ge=0, description="ps, at the start of a run, whose frames are not taken: they are still those of `frames`"
    )
    halt: Threshold = Field("auto", description="eV/A, above which a run ends; auto: of the model's card")


class NewConfig(Section):
    """[new]: the frames that a round labels."""

    n_frames: Count = Field(10, description="unsure frames labelled in each round, at most")
    method: Literal["farthest", "d-optimal", "random"] = Field("farthest", description="as in tl-select")
    nearest: Fraction = Field(0.1, description="as in tl-select: near duplicates are left out")


class StopConfig(Section):
    """[stop]: the rounds end with the first of these."""

    labels: Count = Field(50, description="labels made by this run")
    rounds: Count = Field(20, description="rounds")
    unsure: int = Field(
        0, ge=0, description="unsure frames of a round, all of whose runs reach their end, at most; without `property`"
    )
    property: Literal["density", "diffusion", "rdf", "energy_difference"] | None = Field(
        None, description="what has not moved by more than its error for two rounds; absent: nothing is measured"
    )
    state: str | None = Field(None, description="whose first run gives the property; absent: the first state")
    species: str | None = Field(None, description="diffusion: element; absent: molecules")
    pair: str | None = Field(None, description="rdf: pair of elements, e.g. O-O")
    window_ps: tuple[Positive, Positive] = Field((1.0, 5.0), description="diffusion: of the mean squared displacement")
    between: tuple[ConfigPath, ConfigPath] | None = Field(
        None, description="energy_difference: two files of one frame; that of the second less the first, eV"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> StopConfig:
        for wants, key in (("rdf", "pair"), ("energy_difference", "between")):
            if self.property == wants and getattr(self, key) is None:
                raise ValueError(f"{key} for property = {wants}")
        return self

    def files(self) -> dict[str, Path]:
        return {f"between.{k}": path for k, path in enumerate(self.between or ())}


class LearnConfig(StageConfig):
    """tl-learn: rounds of labels, a committee of models, and MD that finds the frames to label next."""

    out: ConfigPath = Field(Path("learnt"), description="run folder to write")
    label: ConfigPath = Field(description="TOML of tl-label: code, level, executor; its `frames` play no part")
    finetune: ConfigPath = Field(description="TOML of tl-finetune; its `data.train` is replaced by the labelled frames")
    committee: int = Field(4, ge=2, le=64, description="models, whose disagreement is the deviation")
    start: StartConfig
    states: dict[Name, StateConfig] = Field(min_length=1, description="states at which MD looks for unsure frames")
    watch: WatchConfig = WatchConfig()
    new: NewConfig = NewConfig()
    stop: StopConfig = StopConfig()
    executor: AnyExecutorConfig = Field(LocalConfig(), description="where MD runs; its `kind` chooses further keys")

    @model_validator(mode="after")
    def _states_are_there(self) -> LearnConfig:
        if self.stop.state is not None and self.stop.state not in self.states:
            raise ValueError(f"stop.state one of {', '.join(self.states)}")
        wanted = {"density": "npt", "diffusion": "nvt"}.get(self.stop.property or "")
        if wanted and self.states[self.measured].ensemble != wanted:
            raise ValueError(f"ensemble = {wanted} of the state that gives the {self.stop.property}")
        return self

    def of_the_run(self) -> LearnConfig:
        """What must not change within a run folder: it may go on longer, and MD may run elsewhere."""
        return self.model_copy(update={"stop": StopConfig(), "executor": LocalConfig()})

    @property
    def measured(self) -> str:
        """The state whose first run gives the property."""
        return self.stop.state or next(iter(self.states))
