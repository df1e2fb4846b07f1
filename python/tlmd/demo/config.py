"""What tl-demo knows of a liquid, the file demo.toml of its folder, and how much it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tlmd.frames.read import read_once
from tlmd.run.config import ConfigPath, Section, load_config
from tlmd.run.errors import InputError, nearest
from tlmd.run.installed import example_inputs, examples
from tlmd.run.quantities import Count, Frames, Steps, Temperature, Timestep
from tlmd.train.config import FinetuneConfig

FILE = "demo.toml"
RANGES = {
    "steps": (1, 10**7),
    "frames": (1, 10**4),
    "classical_frames": (1, 10**6),
    "classical_steps": (1, 10**7),
    "md_minutes": (0.05, 10**5),
    "md_steps": (1, 10**9),
}


class DemoConfig(Section):
    """tl-demo: a liquid, the TOMLs of its stages, its box for LAMMPS, what is reported, and how much is done."""

    title: str = Field(description="of the report, such as liquid water")
    out: Path = Field(Path("tl-demo"), description="folder to write, relative to where the command is typed")
    calibrate: ConfigPath | None = Field(
        None, description="TOML of tl-calibrate, whose force field labels; absent: the teacher as it is"
    )
    generate: ConfigPath = Field(description="TOML of tl-generate: the teacher and its frames")
    teach: ConfigPath = Field(description="TOML of tl-finetune: a shipped model learns the teacher's labels")
    pretrain: ConfigPath = Field(description="TOML of tl-pretrain: a new model learns them, with --from-scratch")
    scratch: ConfigPath = Field(description="TOML of tl-pretrain: the DFT frames alone, for comparison")
    finetune: ConfigPath = Field(
        description="TOML of tl-finetune on the DFT frames; those of its `data` are counted and named in the report"
    )
    density: ConfigPath = Field(description="LAMMPS input of the density")
    diffusion: ConfigPath = Field(description="LAMMPS input of self-diffusion and structure")
    data: ConfigPath = Field(description="LAMMPS data file of the box, atom_style atomic")
    elements: list[str] = Field(min_length=1, description="of its types 1, 2, ...")
    temperature_K: Temperature = Field(298.15, description="of both runs")
    timestep_fs: Timestep = Field(1.0, description="of both runs; 1 is the longest that bonds to hydrogen bear")
    pairs: str = Field("O-O", description="whose g(r) is reported, as tl-analyze structure --pairs")
    references: ConfigPath | None = Field(
        None, description="TOML with what the level of theory itself gives, as tl-analyze --reference"
    )
    frames: Frames = Field(25, description="DFT frames to train on; all, if there are fewer (--frames)")
    steps: Steps = Field(3000, description="training steps on them (--steps)")
    classical_frames: Count = Field(1500, description="frames labelled by the teacher (--classical-frames)")
    classical_steps: Steps = Field(5000, description="training steps on them (--classical-steps)")
    classical_steps_from_scratch: Steps = Field(20_000, description="the same with --from-scratch")


@dataclass(frozen=True)
class Size:
    """How much the demo does: steps and DFT frames of training from scratch and of fine-tuning, classical frames and
    steps on them, wall time (minutes) and steps of each MD run, at most.

    Raises InputError for a number that is none or out of its range.
    """

    steps: int
    frames: int
    classical_frames: int
    classical_steps: int
    md_minutes: float
    md_steps: int

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # nan is in no range
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} {value:g}", f"{least:g} to {most:g}", "correct it")


def demo_config(system: str, settings: Sequence[str] | None = None) -> DemoConfig:
    """The configuration of a liquid by the name of its example, or by a folder that holds a demo.toml.

    settings: such as "temperature_K=320". Raises InputError for a name or folder that is none, and for a bad value.
    """
    names = examples(FILE)
    if system not in names and not (Path(system) / FILE).is_file():
        wanted = f"{' or '.join(names)}, or a folder with a {FILE}"
        raise InputError(f"--system {system}{nearest(system, names)}", wanted, "correct it")
    folder = example_inputs(system) if system in names else Path(system)
    return load_config(DemoConfig, folder / FILE, settings)


def size_of(config: DemoConfig, given: Mapping[str, float | None], from_scratch: bool) -> Size:
    """The size of a demo: the options that were given (not None), the rest as the liquid's demo.toml has it."""
    usual = {name: getattr(config, name) for name in ("steps", "frames", "classical_frames", "classical_steps")}
    if from_scratch:
        usual["classical_steps"] = config.classical_steps_from_scratch
    if given.get("frames") is None:
        usual["frames"] = min(config.frames, len(read_once(load_config(FinetuneConfig, config.finetune).data.train)))
    return Size(**(usual | {name: value for name, value in given.items() if value is not None}))
