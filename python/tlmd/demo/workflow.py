"""The stages of the demo one after another, and what is read from the files that they leave."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlmd.analysis.registry import Measurement, measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.thermo import read_log
from tlmd.demo.config import DemoConfig, Size
from tlmd.evaluate.file import evaluate_file
from tlmd.frames.read import read_once
from tlmd.generate.config import GenerateConfig
from tlmd.run import collective
from tlmd.run.config import load_config
from tlmd.run.console import console, say
from tlmd.run.errors import InputError, told
from tlmd.run.installed import plugin_folder
from tlmd.train.config import FinetuneConfig
from tlmd.units import BAR_PER_EV_A3

SCRIPTS = Path(sysconfig.get_path("scripts"))
COMMANDS = {"lmp", "mpirun"} | {f"tl-{stage}" for stage in ("calibrate", "generate", "pretrain", "finetune", "export")}
COLUMNS = {  # of the table of errors: key of `tl-evaluate --json`, decimal places
    "E MAE": ("energy_mae_mev_per_atom", 2),
    "E RMSE": ("energy_rmse_mev_per_atom", 2),
    "F MAE": ("force_mae_mev_per_A", 1),
    "F RMSE": ("force_rmse_mev_per_A", 1),
    "P MAE": ("pressure_mae_bar", 0),
    "P mean": ("pressure_mean_error_bar", 0),
}
DATA = "box.data"
EQUILIBRATION = 20_000  # steps before each of the two runs


class Workflow:
    """The demo in one folder: each stage prints its command and keeps its output; a killed training resumes.

    Raises InputError, before anything is written, for a missing plugin or file, more frames than there are, or no test
    frames.
    """

    def __init__(self, out: Path, config: DemoConfig, size: Size, from_scratch: bool):
        self.out, self.config, self.size, self.from_scratch = out.absolute(), config, size, from_scratch
        self.plugin = plugin_folder()
        self.dft = load_config(FinetuneConfig, config.finetune).data
        self.classical = load_config(FinetuneConfig, config.teach).data.level_of_theory  # of the teacher's labels
        if self.dft.test is None:
            raise InputError(f"{config.finetune} without data.test", "frames for the errors", "name them there")
        available = len(read_once(self.dft.train))
        if size.frames > available:
            raise InputError(f"--frames {size.frames}", f"1 to {available}", "correct it")
        self.unseen = len(read_once(self.dft.test))
        self.console = console()
        self.started = time.monotonic()
        self.cores = min(2, len(os.sched_getaffinity(0)))
        self.failed: dict[str, str] = {}  # of the MD runs, those without a result, and why
        self.out.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        minutes = (time.monotonic() - self.started) / 60
        say(self.console, f"[{minutes:5.1f} min] {text}")

    def start(self, command: Sequence[str | Path], log: Path, **environment: str) -> subprocess.Popen:
        """Start a command of this installation; its output goes to `log`."""
        words = [str(word) for word in command]
        threads = environment.get("OMP_NUM_THREADS")
        shown = [f"OMP_NUM_THREADS={threads}"] if threads else []
        shown += [shlex.quote(Path(word).name if word.startswith("/") else word) for word in words]
        self.say("$ " + " ".join(shown))
        words = [str(SCRIPTS / word) if word in COMMANDS else word for word in words]
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            env = {**collective.alone(), "OMP_NUM_THREADS": "1", **environment}
            return subprocess.Popen(words, cwd=log.parent, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def finish(self, process: subprocess.Popen, log: Path) -> None:
        """Wait for a started command; InputError with what it said last if it failed."""
        if process.wait() == 0:
            return
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]  # of LAMMPS, which says more after it
        last = (errors or lines or ["no output"])[-1]
        raise told(last) or InputError(last.removeprefix("error: "), "a command that ends well", f"see {log}")

    def run(self, command: Sequence[str | Path], log: Path, **environment: str) -> None:
        self.finish(self.start(command, log, **environment), log)

    def prepare(self) -> None:
        """Labels of the teacher, and a network trained on them: from the shipped model, or from nothing. Beside it, on
        the other core, the same network trains on the DFT frames alone. Then fine-tuning.
        """
        out, size, logs = self.out, self.size, self.out / "logs"
        frames = self.label()
        few = {"training.n_frames": size.frames, "training.max_steps": size.steps}
        command = ["tl-pretrain", self.config.scratch, "--out", out / "scratch", *overrides(few)]
        scratch = self.start(command, logs / "scratch.output")
        settings = {
            "data.train": frames / "frames.extxyz.xz",
            "training.max_steps": size.classical_steps,
            "loss.ramp_steps": size.classical_steps,
        }
        if self.from_scratch:
            command = ["tl-pretrain", self.config.pretrain]
            settings["data.level_of_theory"] = self.classical
        else:
            command = ["tl-finetune", self.config.teach]
            settings["stability.ps"] = 0  # of the start
        self.run([*command, "--out", out / "classical", *overrides(settings)], logs / "classical.output")
        settings = few | {"transfer.start_from": out / "classical" / "model.pt", "stability.ps": 0}  # MD follows
        command = ["tl-finetune", self.config.finetune, "--out", out / "finetuned", *overrides(settings)]
        self.run(command, logs / "finetuned.output")
        self.finish(scratch, logs / "scratch.output")

    def label(self) -> Path:
        """The folder of the teacher's labelled frames; its force field is first fitted to the DFT frames, if
        demo.toml has `calibrate`."""
        config, out, logs = self.config, self.out / "classical", self.out / "logs"
        whole = sum(system.frames for system in load_config(GenerateConfig, config.generate).systems.values())
        settings: dict[str, Any] = {"scale": self.size.classical_frames / whole}
        if config.calibrate:
            command = ["tl-calibrate", config.calibrate, "--out", out / "forcefield"]
            self.run(command + overrides({"n_frames": self.size.frames}), logs / "calibrate.output")
            settings["teacher.include"] = out / "forcefield" / "forcefield.in"
        command = ["mpirun", "-n", str(self.cores), "tl-generate", config.generate, "--out", out / "frames"]
        self.run(command + overrides(settings), logs / "generate.output")
        return out / "frames"

    def errors(self) -> list[dict[str, str]]:
        """Test errors of the three models, one row each; the classical energies are shifted by a constant per atom."""
        errors, parity = evaluate_file(self.out / "classical" / "model.pt", self.dft.test)
        error = 1e3 * (parity.energy[:, 1] - parity.energy[:, 0])
        error -= error.mean()
        classical = errors.to_json() | {
            "energy_mae_mev_per_atom": float(abs(error).mean()),
            "energy_rmse_mev_per_atom": float((error**2).mean() ** 0.5),
        }
        rows = [error_row(self.classical, self.size.frames if self.config.calibrate else 0, 0, classical)]
        for name, title in (("scratch", "from scratch"), ("finetuned", "fine-tuned (T-PaiNN)")):
            test = json.loads((self.out / name / "errors.json").read_text())["test"]
            rows.append(error_row(title, self.size.frames, self.size.steps, test))
        return rows

    def simulate(self) -> None:
        """Export, then density (NPT) and diffusion by LAMMPS, each for its share of wall time."""
        self.run(["tl-export", self.out / "finetuned" / "model.pt"], self.out / "logs" / "export.output")
        folder = self.out / "md"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.config.data, folder / DATA)  # LAMMPS splits names at spaces: it gets relative ones
        for name, deck in (("density", self.config.density), ("diffusion", self.config.diffusion)):
            command = ["lmp", "-in", deck]  # so small a box goes faster by threads than by ranks
            for key, value in self.variables(name).items():
                command += ["-var", key, value]
            environment = {"LAMMPS_PLUGIN_PATH": str(self.plugin), "OMP_NUM_THREADS": str(self.cores)}
            try:
                self.run(command, folder / f"{name}.output", **environment)
            except InputError as error:
                self.fail(name, f"the run aborted and its data are discarded: {error}")

    def variables(self, name: str) -> dict[str, Any]:
        """What a deck is told. Steps that are not recorded take half of the wall time at most, on any machine."""
        limit = max(2, round(60 * self.size.md_minutes))
        return {
            "model": os.path.join("..", "finetuned", "model-lammps.pt"),
            "data": DATA,
            "elements": " ".join(self.config.elements),
            "name": name,
            "temperature": self.config.temperature_K,
            "timestep": self.config.timestep_fs,
            "limit": limit,
            "equilibrate_limit": limit // 2,
            "equilibrate": min(EQUILIBRATION, self.size.md_steps),
            "steps": self.size.md_steps,
        }

    def analyse(self) -> Measurement:
        """Density, diffusion and structure of the runs against experiment."""
        parts = []
        for name, measured in (("density", self.density), ("diffusion", self.motion)):
            if name not in self.failed:
                try:
                    parts += measured(self.out / "md" / name)
                except InputError as error:
                    self.fail(name, f"no result: {error}")
        records = [record for part in parts for record in part.records]
        return Measurement(records, {caption: figure for part in parts for caption, figure in part.figures.items()})

    def fail(self, name: str, why: str) -> None:
        """Say that a run has no result; what the others give is kept."""
        self.failed[name] = why
        self.say(f"{name}: {why}")

    def density(self, run: Path) -> list[Measurement]:
        """Density of the NPT run, beside that of the labels, where their stresses tell it."""
        simulation = self.simulation(log=run.with_suffix(".log"))
        measured = measure("density", simulation)
        if self.config.references is None:
            try:
                squeezed = measure("fluctuations", simulation).records[0]
            except InputError as error:
                self.say(f"density of the labels: not estimated: {error}")
            else:
                parity = evaluate_file(self.out / "finetuned" / "model.pt", self.dft.test)[1]
                add_level_of_theory(measured.records[0], squeezed, parity.stress)
        return [measured]

    def motion(self, run: Path) -> list[Measurement]:
        """Diffusion and structure of the run at constant volume."""
        dump, log = run.with_suffix(".dump.gz"), run.with_suffix(".log")
        steps = read_log(log).runs[-1].steps
        length_ps = float(steps[-1] - steps[0]) * self.config.timestep_fs / 1000
        window = (min(2.0, 0.2 * length_ps), min(20.0, 0.45 * length_ps))  # ends below half, rounded to frames too
        run_of = self.simulation(dump=dump, log=log)
        pairs = self.config.pairs
        return [measure("diffusion", run_of, window_ps=window), measure("structure", run_of, pairs=pairs)]

    def simulation(self, **files: Path) -> Simulation:
        """A run of this liquid beside what is known of it."""
        return Simulation(**files, elements=self.config.elements, references=self.config.references)


def add_level_of_theory(density: dict[str, Any], compressibility: dict[str, Any], stresses: np.ndarray) -> None:
    """Put into the record of a density (g/cm3) what the labels themselves would give, to first order: rho (1 + kappa
    dP), where dP is the mean error of the model's pressure on unseen frames.

    compressibility: its record, 1/GPa; stresses (n, 2): label and prediction of all components, eV/A^3. Nothing is
    done for fewer than two frames. The error has those of the density, of kappa and of the mean over the frames.
    """
    errors = -np.diff(stresses, axis=1).reshape(-1, 3, 3).trace(axis1=1, axis2=2) / 3 * BAR_PER_EV_A3
    if len(errors) < 2:
        return
    pressure, spread = float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors)))
    kappa, of_kappa = 1e-4 * compressibility["value"], 1e-4 * compressibility["standard_error"]  # 1/bar
    density["level_of_theory"] = density["value"] * (1 + kappa * pressure)
    parts = (density["standard_error"], density["value"] * kappa * spread, density["value"] * of_kappa * pressure)
    density["level_of_theory_error"] = math.hypot(*parts)
    density["source"] += (
        f"; level of theory: this density and the error of its pressure on {len(errors)} unseen frames, "
        f"{pressure:+.0f} ± {spread:.0f} bar, to first order"
    )


def error_row(title: str, frames: int, steps: int, errors: dict[str, Any]) -> dict[str, str]:
    """A row of the table of errors from the keys of `tl-evaluate --json`; no pressure without stress labels."""
    cells = {name: f"{errors[key]:.{digits}f}" for name, (key, digits) in COLUMNS.items() if errors[key] is not None}
    return {"model": title, "DFT frames": str(frames), "steps": str(steps)} | cells


def overrides(settings: dict[str, Any]) -> list[str]:
    """--set KEY=VALUE for each."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
