"""tl-oracle: models trained on a potential that stands in for DFT, judged by the properties of that potential.

Flow: runs of the oracle -> labelled frames -> learning curves -> pressure errors on the oracle's frames -> MD of the
models -> table. Each run has its own folder and is kept; the same command goes on where a killed one stopped.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tlmd.analysis.statistics import Estimate
from tlmd.curves.config import CurveConfig, MethodConfig
from tlmd.curves.curve import Curve, Job, curve
from tlmd.evaluate.file import evaluate_file
from tlmd.export import export_model
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.lammps_data import write_data
from tlmd.frames.read import read_frames, read_once
from tlmd.oracle.config import OracleConfig, SetConfig
from tlmd.oracle.properties import (
    Properties,
    density_from_pressure,
    diffusion,
    of_npt,
    pressure_error,
    radial,
    vaporisation,
)
from tlmd.oracle.report import Row, write_report
from tlmd.oracle.simulate import Given, Labels, Run, label, simulate, take
from tlmd.run.console import console, say
from tlmd.run.errors import InputError
from tlmd.run.files import write_text
from tlmd.run.folder import Lock
from tlmd.run.workers import start_workers
from tlmd.units import GCM3_PER_GMOL_A3

FRAMES = "frames.extxyz.xz"


class Work(NamedTuple):
    """A call for a worker process."""

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]


def oracle(config: OracleConfig, out: Path) -> None:
    """Do what is still missing in the folder `out`, which gets truth/, sets/, curves/, models/, oracle.csv, table.md
    and oracle.png. Raises InputError for a configuration that does not fit, a run of the oracle that stops, and at the
    end if a model has failed.
    """
    lock = Lock(out)
    try:
        Oracle(config, out.absolute()).run()
    finally:
        lock.close()


class Oracle:
    """The runs of one oracle and of the models that learn from it."""

    def __init__(self, config: OracleConfig, out: Path):
        self.config, self.out = config, out
        self.console = console()
        self.failed: dict[str, str] = {}

    def say(self, text: str) -> None:
        say(self.console, text)

    def run(self) -> None:
        """All stages, each of which waits for the one before."""
        if self.config.potential.model is not None and not self.model.exists():
            self.model.parent.mkdir(parents=True, exist_ok=True)
            export_model(self.config.potential.model, self.model)
        self.do("runs of the oracle", [*self.sampling(), *self.truth_runs()])
        self.do("labels", list(self.labelling()))
        for name, each in self.config.sets.items():
            self.write_set(name, each)
        self.write_test()
        curves = [self.curve(name) for name in self.config.sets]
        jobs = {self.model_name(name, job): (name, learning, job) for name, learning in curves for job in learning.rows}
        self.do("pressures", [Work(m, measure_pressure, self.files_of(*jobs[m])) for m in jobs])
        if any(self.has_md(job) for _, _, job in jobs.values()):
            self.do("NVT of the oracle", [self.truth_nvt()])
            self.do("MD of the models", list(self.model_runs(jobs)), keep_going=True)
        truth = self.truth()
        rows = [self.row(model, *jobs[model], truth) for model in jobs]
        write_report(rows, truth, self.config, self.out, self.console)
        for name, why in self.failed.items():
            self.say(f"{name}: {why}")
        if self.failed:
            raise InputError(f"{len(self.failed)} runs of models that failed", "all to their end", "see above")

    def do(self, title: str, works: list[Work], keep_going: bool = False) -> None:
        """Call each in a worker process; the first error is raised, or noted for its run with `keep_going`."""
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        with start_workers(self.config.jobs, self.config.threads) as pool, bar:
            task = bar.add_task("", total=len(works))
            running = {pool.submit(work.function, *work.arguments): work for work in works}
            for future in as_completed(running):
                bar.advance(task)
                try:
                    future.result()
                except (InputError, OSError) as error:
                    if not keep_going:
                        raise
                    self.failed[running[future].name] = str(error)

    @property
    def model(self) -> Path:
        """The exported model of an oracle that has one."""
        return self.out / "truth" / "model-lammps.pt"

    def system(self) -> dict[str, Any]:
        """What the oracle is, for its runs and labels."""
        potential = self.config.potential
        shared = {name: getattr(potential, name) for name in ("include", "data", "units", "elements")}
        if potential.include is None:
            shared |= self.calculator()
        return shared | {"model": None if potential.model is None else self.model}

    def calculator(self) -> dict[str, Any]:
        """The ASE calculator of an oracle that has one."""
        return {name: getattr(self.config.potential, name) for name in ("calculator", "arguments")}

    def oracle_run(self, **settings: Any) -> Run:
        """A run of the oracle itself; settings beside those of [state]."""
        state, shared = self.config.state, self.system()
        shared |= {name: getattr(state, name) for name in ("temperature_K", "pressure_bar", "timestep_fs")}
        shared |= {name: getattr(state, name) for name in ("thermostat_fs", "barostat_fs", "equilibrate_ps")}
        shared |= {"ensemble": "npt", "ps": state.npt_ps, "every_fs": state.frames_fs, "threads": self.config.threads}
        return Run(**shared | settings)

    def truth_runs(self) -> Iterator[Work]:
        """NPT of the oracle, and its molecule in vacuum."""
        yield Work("truth/npt", simulate, (self.oracle_run(), self.out / "truth" / "npt"))
        if self.config.potential.gas is not None:
            run = self.oracle_run(ensemble="gas", data=self.config.potential.gas)
            yield Work("truth/gas", simulate, (run, self.out / "truth" / "gas"))

    def nvt(self) -> dict[str, Any]:
        """Settings of NVT at the mean density of the oracle's NPT run."""
        volume, state = of_npt(self.out / "truth" / "npt")["volume_A3"], self.config.state
        return {"ensemble": "nvt", "volume_A3": volume, "ps": state.nvt_ps, "every_fs": state.frames_fs / 10}

    def truth_nvt(self) -> Work:
        """NVT of the oracle."""
        return Work("truth/nvt", simulate, (self.oracle_run(**self.nvt()), self.out / "truth" / "nvt"))

    def sampling(self) -> Iterator[Work]:
        """The runs from which the training frames are taken, one for each state point of each set."""
        for name, each in self.config.sets.items():
            if each.file is not None:
                given = Given(
                    file=each.file, numbers=self.atoms.numbers.tolist(), elements=self.config.potential.elements
                )
                yield Work(f"sets/{name}/0", take, (given, self.out / "sets" / name / "0"))
            for index, point in enumerate(self.points(each)):
                wanted = -(-(each.n_train + each.n_valid) // len(self.points(each)))
                settings = {"equilibrate_ps": each.equilibrate_ps, "ps": wanted * each.spacing_ps, "seed": index + 2}
                run = self.oracle_run(**settings, **point, every_fs=1000 * each.spacing_ps)
                yield Work(f"sets/{name}/{index}", simulate, (run, self.out / "sets" / name / str(index)))

    def points(self, each: SetConfig) -> list[dict[str, Any]]:
        """Settings of each state point of a set."""
        found = []
        for temperature in each.temperature_K:
            found += [{"temperature_K": temperature, "pressure_bar": pressure} for pressure in each.pressure_bar]
            for density in each.density_g_cm3:
                volume = self.atoms.get_masses().sum() / density * GCM3_PER_GMOL_A3
                found.append({"temperature_K": temperature, "ensemble": "nvt", "volume_A3": volume})
        return found

    @functools.cached_property
    def atoms(self) -> Atoms:
        """Those of the data file."""
        return read(
            self.config.potential.data, format="lammps-data", units=self.config.potential.units, sort_by_id=True
        )

    def labelling(self) -> Iterator[Work]:
        """Labels of all frames of the oracle's NPT run and of the sets' runs."""
        truth = self.out / "truth" / "npt"
        shared = self.system() | {"variables": self.config.potential.labels}
        if self.corrected:
            labels = Labels(**shared, dump=truth / "md.dump.gz")
            yield Work("truth, labels of the include", label, (labels, truth / "labels-include"))
            shared |= self.calculator()
        for folder in [truth, *(self.out / work.name for work in self.sampling())]:
            labels = Labels(**shared, dump=folder / "md.dump.gz")
            yield Work(f"{folder.name}, labels", label, (labels, folder / "labels"))

    @property
    def corrected(self) -> bool:
        """Whether the calculator labels what the include runs."""
        return self.config.potential.include is not None and self.config.potential.calculator is not None

    def write_set(self, name: str, each: SetConfig) -> None:
        """train and valid of a set: the state points by turns, the last frames of each run for validation; of a file,
        every so many frames are for validation."""
        folder = self.out / "sets" / name
        if each.file is not None:
            frames = read_frames(folder / "0" / "labels" / FRAMES)
            held = set(np.linspace(0, len(frames) - 1, each.n_valid).astype(int).tolist())
            kept = [frame for index, frame in enumerate(frames) if index not in held]
            write_frames(folder / "train.extxyz.xz", kept[: each.n_train])
            write_frames(folder / "valid.extxyz.xz", [frames[index] for index in sorted(held)])
            return
        runs = [
            read_frames(folder / str(index) / "labels" / FRAMES)[1:]  # the first is that of the start
            for index in range(len(self.points(each)))
        ]
        turns = [frame for frames in zip(*runs, strict=True) for frame in frames]
        write_frames(folder / "train.extxyz.xz", turns[: each.n_train])
        write_frames(folder / "valid.extxyz.xz", turns[-each.n_valid :])

    def write_test(self) -> None:
        """Test frames spread over the oracle's NPT run."""
        frames = read_frames(self.out / "truth" / "npt" / "labels" / FRAMES)
        chosen = np.unique(np.linspace(0, len(frames) - 1, self.config.state.n_test).astype(int))
        write_frames(self.out / "truth" / "test.extxyz.xz", [frames[i] for i in chosen])

    def curve(self, name: str) -> tuple[str, Curve]:
        """The learning curve of the methods that learn from a set, done."""
        files = {"train": self.out / "sets" / name / "train.extxyz.xz", "test": self.out / "truth" / "test.extxyz.xz"}
        files["valid"] = files["train"].with_name("valid.extxyz.xz")
        given = [f"data.{key}={json.dumps(str(path))}" for key, path in files.items()]
        given.append(f"data.level_of_theory={json.dumps(self.config.potential.name)}")
        methods = {}
        for method, settings in self.config.methods.items():
            if self.config.set_of(method) == name:
                plain = settings.model_dump(include=set(MethodConfig.model_fields))
                methods[method] = MethodConfig(**plain | {"set": [*given, *settings.set]})
        config = CurveConfig(
            methods=methods, sizes=self.config.sizes, seeds=self.config.seeds, steps=self.config.steps,
            threads=self.config.threads, jobs=self.config.jobs,
        )  # fmt: skip
        return name, curve(config, self.out / "curves" / name)

    def model_name(self, name: str, job: Job) -> str:
        return f"{name}-{job.name}"

    def model_folder(self, name: str, job: Job) -> Path:
        return self.out / "models" / self.model_name(name, job)

    def files_of(self, name: str, learning: Curve, job: Job) -> tuple[Path, Path, Path]:
        """Arguments of `measure_pressure`."""
        frames = self.out / "truth" / "npt" / "labels" / FRAMES
        return learning.folder(job) / "model.pt", frames, self.model_folder(name, job)

    def has_md(self, job: Job) -> bool:
        """Whether MD is wanted of a model."""
        md = self.config.md
        if md is None or not self.config.methods[job.method].md:
            return False
        return (md.sizes is None or job.frames in md.sizes) and (md.seeds is None or job.seed in md.seeds)

    def model_runs(self, jobs: dict[str, tuple[str, Curve, Job]]) -> Iterator[Work]:
        """MD of the models from where the oracle's runs ended."""
        md, truth = self.config.md, self.out / "truth"
        runs = {"npt": {"ps": md.npt_ps}}
        if md.nvt_ps is not None:
            runs["nvt"] = self.nvt() | {"ps": md.nvt_ps}
        starts = {"npt": truth / "npt", "nvt": truth / "npt"}
        if self.config.potential.gas is not None:
            runs["gas"], starts["gas"] = {"ps": self.config.state.npt_ps}, truth / "gas"
        for start in set(starts.values()):
            write_last(start / "md.dump.gz", start / "last.data", self.config.potential.elements)
        for model, (name, _, job) in jobs.items():
            if not self.has_md(job):
                continue
            folder = self.model_folder(name, job)
            for run, settings in runs.items():
                system = {"include": None, "units": "metal", "data": starts[run] / "last.data"}
                system |= {"model": folder / "model-lammps.pt", "seed": job.seed, "ensemble": run}
                system |= {"equilibrate_ps": md.equilibrate_ps} | settings
                yield Work(f"{model}/{run}", simulate, (self.oracle_run(**system), folder / run))

    def truth(self) -> Properties:
        """Of the oracle. InputError without a density."""
        found = self.properties(self.out / "truth")
        if found.missing:
            self.say(f"oracle: {found.missing}")
        if found.density is None:
            raise InputError("a run of the oracle without a density", "one", "run it longer: state.npt_ps")
        return self.of_calculator(found) if self.corrected else found

    def of_calculator(self, include: Properties) -> Properties:
        """Of a calculator that labels what an include runs: density and compressibility, to first order."""
        labels = [read_frames(self.out / "truth" / "npt" / name / FRAMES) for name in ("labels", "labels-include")]
        energies = np.array([[frame.energy for frame in frames] for frames in labels])
        pressure = pressure_error(volumes_of(labels[0]), energies[0] - energies[1])
        self.say(f"pressure of the calculator less that of the include: {pressure.value:.0f} bar")
        density = density_from_pressure(include, pressure)
        error = float(np.hypot(density.standard_error, include.density.standard_error))
        density = Estimate(density.value, error, density.unit, density.samples)
        return Properties(density=density, compressibility=include.compressibility)

    def properties(self, folder: Path) -> Properties:
        """Of the runs in npt, nvt and gas of a folder, as far as they are there and long enough."""
        potential, found, missing = self.config.potential, {}, []

        def add(run: str, measured: Callable[[Path], dict[str, Any]]) -> None:
            if not (folder / run / "md.log").exists():
                return
            try:
                found.update(measured(folder / run))
            except InputError as error:
                missing.append(f"{run}: {error}")

        add("npt", of_npt)
        if "energy" in found:
            add("gas", lambda gas: {"vaporisation": vaporisation(gas, found["energy"], potential.molecules)})
        add("nvt", lambda nvt: {"diffusion": diffusion(nvt, potential.species, self.config.state.window_ps)})
        add("nvt", lambda nvt: {"radial": radial(nvt, potential.pair)})
        return Properties(**found, missing="; ".join(missing))

    def row(self, model: str, name: str, learning: Curve, job: Job, truth: Properties) -> Row:
        """What is known of one model."""
        folder = self.model_folder(name, job)
        pressure = read_pressure(folder / "pressure.json")
        found = self.properties(folder)
        if found.missing:
            self.say(f"{model}: {found.missing}")
        estimated = density_from_pressure(truth, pressure)
        return Row(job.method, name, job.frames, job.seed, learning.rows[job], pressure, estimated, found)


def measure_pressure(model: Path, frames: Path, folder: Path) -> None:
    """Export a trained model, and write its pressure error on the oracle's NPT frames, in `folder` unless it is there.

    folder: gets model-lammps.pt and pressure.json.
    """
    if (folder / "pressure.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    export_model(model, folder / "model-lammps.pt")
    energies, read = evaluate_file(model, frames)[1].energy, read_once(frames)  # reference, prediction; per atom
    errors = len(read[0]) * (energies[:, 1] - energies[:, 0])
    write_text(folder / "pressure.json", json.dumps(vars(pressure_error(volumes_of(read), errors))) + "\n")


def volumes_of(frames: Sequence[Frame]) -> np.ndarray:
    """(T,) A^3."""
    return np.array([np.linalg.det(frame.cell) for frame in frames])


def read_pressure(path: Path) -> Estimate:
    """The estimate in a file of `measure_pressure`."""
    return Estimate(**json.loads(path.read_text(encoding="utf-8")))


def write_last(dump: Path, out: Path, elements: list[str]) -> None:
    """The last frame of a dump, its positions as they are in its box, as a LAMMPS data file of atoms."""
    atoms = read(dump, index=-1, format="lammps-dump-text")
    atoms.wrap()
    write_data(out, atoms, elements)
