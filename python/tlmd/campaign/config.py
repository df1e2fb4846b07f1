"""What tl-campaign reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from tlmd.frames.imports.formats import frame_files
from tlmd.run.config import ConfigPath, Section, StageConfig
from tlmd.run.executor import AnyExecutorConfig, LocalConfig
from tlmd.run.quantities import Count, Density, Positive, Steps, Temperature, Threads, Timestep
from tlmd.train.config import ModelPath

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+]*$")]
Ensemble = Literal["npt", "nvt", "nve"]
LammpsSeed = Annotated[int, Field(ge=1, le=900_000_000)]


class StartConfig(Section):
    """[start]: where every run starts: a file, or molecules that are packed into a box."""

    file: ConfigPath | None = Field(
        None, description="LAMMPS data file with masses (atom_style atomic, charge or full), or frames"
    )
    frame: int = Field(0, ge=0, description="which frame of the file, from 0")
    smiles: list[str] = Field([], description="molecules in place of a file; packed and relaxed with MMFF94")
    parts: list[Count] = Field([], description="how many of each molecule go together; absent: one of each")
    density_g_cm3: Density | None = Field(None, description="of the packed box; absent: a guess by the formulas")
    sizes: list[Count] = Field(
        [1], min_length=1, description="sizes of the box: a file is repeated so often along each axis; molecules in it"
    )

    @model_validator(mode="after")
    def _one_start(self) -> StartConfig:
        if (self.file is None) == (not self.smiles):
            raise ValueError("file or smiles, one of them")
        if self.parts and len(self.parts) != len(self.smiles):
            raise ValueError("parts: one number for each of smiles")
        return self

    def files(self) -> dict[str, Path]:
        return {} if self.file is None else frame_files("file", self.file)


class AnalysisConfig(Section):
    """[analysis]: what is measured in runs that reached their end. It may be changed, and the same command given."""

    npt: list[str] = Field(["density"], description="analyses of tl-analyze")
    nvt: list[str] = Field(["diffusion", "structure"], description="the same of NVT")
    nve: list[str] = Field(["diffusion", "structure"], description="the same of NVE")
    options: dict[str, dict[str, Any]] = Field(
        {}, description='options of an analysis by its name, e.g. {diffusion = {window_ps = [2, 10]}}; "-" is "_"'
    )
    liquid: str | None = Field(
        None, description='liquid to compare with, or "none"; absent: the one that its molecules are'
    )
    references: dict[str, ConfigPath] = Field(
        {}, description='TOMLs of --reference of tl-analyze by temperature in K, e.g. {"298.15" = "values.toml"}'
    )


class Point(NamedTuple):
    """What one run is of. pressure_bar: None where it plays no part; size: of start.sizes."""

    model: str
    ensemble: str
    temperature_K: float
    pressure_bar: float | None
    size: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        pressure = "" if self.pressure_bar is None else f"-{self.pressure_bar:g}bar"
        return f"{self.model}-{self.ensemble}-{self.temperature_K:g}K{pressure}-size{self.size}-seed{self.seed}"


class CampaignConfig(StageConfig):
    """tl-campaign: models x temperatures x pressures x seeds x ensembles x sizes, each a restartable run of LAMMPS."""

    out: ConfigPath = Field(Path("campaign"), description="run folder to write")
    models: dict[Name, ModelPath] = Field(
        min_length=1, description="models by a name of your choice: model.pt, an exported file, or a shipped one's name"
    )
    start: StartConfig
    temperature_K: list[Temperature] = Field([298.15], min_length=1, description="of thermostats and first velocities")
    pressure_bar: list[float] = Field([1.0], min_length=1, description="of NPT, isotropic")
    ensembles: list[Ensemble] = Field(
        ["npt"],
        min_length=1,
        description="npt: Nose-Hoover; nvt: recorded with a weak thermostat (csvr, 2 ps); nve: after NVT, not recorded",
    )
    seeds: list[LammpsSeed] = Field([1], min_length=1, description="of velocities and thermostats")
    volume: Literal["npt", "start"] | None = Field(
        None,
        description="of NVT and NVE: the mean of the NPT run of the same seed, which comes first, or that of "
        "the start; absent: npt if there are such runs",
    )
    ps: Positive = Field(100.0, description="ps, recorded length of each run; it may be made longer later")
    equilibrate_ps: float = Field(20.0, ge=0, le=1e6, description="ps before it, not recorded")
    timestep_fs: Timestep = Field(0.5, description="fs; with hydrogen 1 at most")
    minimise: int = Field(
        0, ge=0, le=100_000, description="steps of minimisation before MD, at most; smiles have 200 at least"
    )
    thermo_steps: Steps = Field(20, description="steps between rows of the log")
    frame_steps: Steps = Field(100, description="steps between frames, a multiple of thermo_steps")
    restart_steps: Steps = Field(10_000, description="steps between restart files, a multiple of frame_steps")
    ranks: Threads = Field(1, description="MPI ranks of each run; each has executor.cores / ranks threads")
    lammps: str | None = Field(
        None, description='command that starts LAMMPS, e.g. "srun lmp"; absent: lmp of this installation by mpirun'
    )
    analysis: AnalysisConfig = AnalysisConfig()
    executor: AnyExecutorConfig = Field(LocalConfig(), description="where runs go; its `kind` chooses further keys")

    @model_validator(mode="after")
    def _intervals_fit(self) -> CampaignConfig:
        if self.frame_steps % self.thermo_steps or self.restart_steps % self.frame_steps:
            raise ValueError("frame_steps a multiple of thermo_steps, restart_steps of frame_steps")
        if self.volume == "npt" and "npt" not in self.ensembles:
            raise ValueError("ensembles with npt for volume = npt")
        known = {f"{value:g}" for value in self.temperature_K}
        for text in self.analysis.references:
            if text not in known and f"{_number(text):g}" not in known:
                raise ValueError(f"analysis.references for a temperature of the campaign, not {text}")
        return self

    @property
    def by_npt(self) -> bool:
        """Whether NVT and NVE have the volumes of NPT runs."""
        return self.volume != "start" and "npt" in self.ensembles

    def points(self) -> list[Point]:
        """All runs; NPT first. Without volumes of NPT the pressure plays no part in the others."""
        found = []
        for ensemble in sorted(dict.fromkeys(self.ensembles), key=["npt", "nvt", "nve"].index):
            pressures = self.pressure_bar if ensemble == "npt" or self.by_npt else [None]
            found += [
                Point(model, ensemble, temperature, pressure, size, seed)
                for model in self.models
                for size in self.start.sizes
                for temperature in self.temperature_K
                for pressure in pressures
                for seed in self.seeds
            ]
        return list(dict.fromkeys(found))

    def reference(self, temperature_K: float) -> str | Path | None:
        """What Simulation compares a run at this temperature with."""
        given = {f"{_number(text):g}": path for text, path in self.analysis.references.items()}
        return given.get(f"{temperature_K:g}", self.analysis.liquid)

    def of_the_run(self) -> StageConfig:
        """What its folder must keep: nothing, each run has its own input (campaign.run), and runs may be added."""
        return StageConfig(out=self.out)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"analysis.references by temperatures in K, not {text}") from None
