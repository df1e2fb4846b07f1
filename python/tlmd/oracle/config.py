"""What tl-oracle reads from its TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tlmd.curves.config import MethodConfig
from tlmd.generate.teachers.ase import python_name
from tlmd.models.architecture import Elements
from tlmd.run.config import ConfigPath, Section
from tlmd.run.quantities import Count, Positive, Seed, Steps, Threads
from tlmd.train.config import ModelPath

Name = Annotated[str, Field(pattern=r"^[\w.+]+$")]


class PotentialConfig(Section):
    """[potential]: the oracle, anything that LAMMPS or ASE runs. A calculator without an include labels frames and runs
    MD (by LAMMPS' fix external); with an include it labels what the include runs, and the oracle's density is that of
    the include corrected to first order.
    """

    include: ConfigPath | None = Field(
        None,
        description="LAMMPS commands: units, atom_style, read_data ${data}, the force field; it names no other file",
    )
    calculator: Annotated[str, AfterValidator(python_name)] | None = Field(
        None, description="ASE calculator: package.module:function, or file.py:function; it is run"
    )
    arguments: dict[str, Any] = Field({}, description="arguments of that function")
    data: ConfigPath = Field(description="LAMMPS data file of the liquid, which the include reads")
    gas: ConfigPath | None = Field(
        None, description="data file of one molecule in a large box; absent: no heat of vaporisation"
    )
    model: ModelPath | None = Field(
        None, description="trained model, or the name of a shipped one, that the include reads as model.pt"
    )
    units: Literal["real", "metal"] = Field("real", description="those of the include; a calculator alone has metal")
    elements: Elements = Field(description="of the LAMMPS types 1, 2, ...")
    molecules: Count = Field(description="molecules in `data`")
    labels: dict[Name, str] = Field({}, description='variables of the include for labels, e.g. {accuracy = "1e-6"}')
    name: str = Field("oracle", description="level of theory in the cards of the models")
    species: str | None = Field(None, description="element whose diffusion is measured; absent: the molecules")
    pair: str = Field(description="pair of elements whose g(r) is compared, e.g. O-O")

    @model_validator(mode="after")
    def _is_given(self) -> PotentialConfig:
        if self.include is None and self.calculator is None:
            raise ValueError("include or calculator")
        if self.include is None and self.units != "metal":
            raise ValueError('units = "metal" for a calculator without include')
        return self


class StateConfig(Section):
    """[state]: where the properties are compared, and how long the oracle runs there."""

    temperature_K: Positive = Field(298.15, description="K, of the thermostat")
    pressure_bar: float = Field(1.0, description="bar, of the barostat")
    timestep_fs: Positive = Field(1.0, description="fs, of all runs")
    thermostat_fs: Positive = Field(100.0, description="fs, relaxation time (Nose-Hoover)")
    barostat_fs: Positive = Field(500.0, description="fs, relaxation time")
    equilibrate_ps: Positive = Field(20.0, description="ps before each of the oracle's runs, not recorded")
    npt_ps: Positive = Field(500.0, description="ps, of the oracle's NPT run")
    nvt_ps: Positive = Field(200.0, description="ps, of its NVT run at the mean density of the NPT run")
    frames_fs: Positive = Field(500.0, description="fs between the frames of an NPT run; a tenth of it in an NVT run")
    window_ps: tuple[Positive, Positive] = Field((2.0, 10.0), description="ps, lag times of the fit of D, of all runs")
    n_test: Count = Field(100, description="test frames, spread over the oracle's NPT run")


class SetConfig(Section):
    """[sets.NAME]: training frames, labelled by the oracle: from its runs at all temperatures x pressures, or x
    densities, or those of a file.
    """

    temperature_K: list[Positive] = Field([], description="K, of its runs")
    pressure_bar: list[float] = Field([], description="bar; NPT runs")
    density_g_cm3: list[Positive] = Field([], description="g/cm3; NVT runs")
    file: ConfigPath | None = Field(
        None, description="frames with the atoms of `data` in its order, in place of runs; their labels are not used"
    )
    n_train: Count = Field(100, description="training frames in all")
    n_valid: Count = Field(
        10, description="validation frames in all, from the ends of the runs, or spread over the file"
    )
    spacing_ps: Positive = Field(0.5, description="ps between frames")
    equilibrate_ps: Positive = Field(5.0, description="ps before each run, not recorded")

    @model_validator(mode="after")
    def _one_ensemble(self) -> SetConfig:
        if sum(map(bool, (self.pressure_bar, self.density_g_cm3, self.file))) != 1:
            raise ValueError("pressure_bar or density_g_cm3 or file, one of them")
        if bool(self.temperature_K) == bool(self.file):
            raise ValueError("temperature_K for runs, none for a file")
        return self


class OracleMethod(MethodConfig):
    """A method as in tl-curve, and the set that it learns from."""

    frames: Name | None = Field(None, description="name of its set; absent: the first")
    md: bool = Field(True, description="run MD with its models; false: errors and pressure on the oracle's frames only")


class MdConfig(Section):
    """[md]: the runs of the models; sizes and seeds without MD have the other columns."""

    sizes: list[Count] | None = Field(None, description="numbers of training frames with MD; absent: all")
    seeds: list[Seed] | None = Field(None, description="seeds with MD; absent: all")
    equilibrate_ps: Positive = Field(10.0, description="ps before each run, not recorded")
    npt_ps: Positive = Field(100.0, description="ps of NPT")
    nvt_ps: Positive | None = Field(100.0, description="ps of NVT at the oracle's density")


class OracleConfig(Section):
    """tl-oracle: the properties of models trained on a potential against those of the potential itself."""

    out: ConfigPath = Field(Path("oracle"), description="folder to write")
    potential: PotentialConfig
    state: StateConfig = StateConfig()
    sets: dict[Name, SetConfig] = Field(min_length=1, description="sets of training frames by name")
    methods: dict[Name, OracleMethod] = Field(min_length=1, description="the methods, each under a name of your choice")
    sizes: list[Count] = Field([10, 25, 100], min_length=1, description="numbers of training frames")
    seeds: list[Seed] = Field([1, 2, 3], min_length=1, description="of frames and weights")
    steps: Steps = Field(description="training steps of every method that is trained")
    md: MdConfig | None = Field(MdConfig(), description="runs of the models")
    threads: Threads = Field(1, description="of each training and each LAMMPS run")
    jobs: Threads | None = Field(None, description="runs at once; absent: cores / threads")

    @model_validator(mode="after")
    def _sets_are_known(self) -> OracleConfig:
        for name, method in self.methods.items():
            if method.frames is not None and method.frames not in self.sets:
                raise ValueError(f"frames '{method.frames}' of {name} that is one of {', '.join(self.sets)}")
        return self

    def set_of(self, method: str) -> str:
        """The name of a method's set."""
        return self.methods[method].frames or next(iter(self.sets))
