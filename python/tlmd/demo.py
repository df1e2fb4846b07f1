"""tl-demo: the complete workflow for liquid water, small but real, by the same commands that a user types."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tlmd.analysis.figures import comparison_figure
from tlmd.analysis.records import columns, table_rows, write_records
from tlmd.analysis.registry import Measurement, measure
from tlmd.analysis.report import write_report
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.thermo import read_log
from tlmd.evaluate.file import evaluate_file
from tlmd.frames.read import read_frames
from tlmd.generate.config import GenerateConfig
from tlmd.run import collective
from tlmd.run.config import load_config
from tlmd.run.console import console, say
from tlmd.run.errors import InputError, told
from tlmd.run.installed import plugin_folder, water_inputs

TEMPERATURE_K = 298.15
TIMESTEP_FS = 1.0  # the decks' own default is 0.5; the demo takes the longest step that flexible water bears
TEACHER = "teacher.toml"
SCRIPTS = Path(sysconfig.get_path("scripts"))
COMMANDS = {"lmp", "mpirun"} | {f"tl-{stage}" for stage in ("calibrate", "generate", "pretrain", "finetune", "export")}
DATA = "water64.data"
EQUILIBRATION = 20_000  # steps before each of the two runs
RANGES = {
    "steps": (1, 10**7),
    "frames": (1, 10**4),
    "classical_frames": (1, 10**6),
    "classical_steps": (1, 10**7),
    "md_minutes": (0.05, 10**5),
    "md_steps": (1, 10**9),
}
CAPTION = "Errors on 108 unseen revPBE0-D3 frames: energy E in meV/atom, force F in meV/A"
NOTE = "The classical row: the network pretrained on the calibrated classical model; energies shifted by one constant."


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


class Workflow:
    """The demo in one folder: each stage prints its command and keeps its output; a killed training resumes.

    Raises InputError, before anything is written, for a missing plugin or more frames than there are.
    """

    def __init__(self, out: Path, size: Size, from_scratch: bool):
        self.out, self.size, self.from_scratch = out.absolute(), size, from_scratch
        self.inputs, self.plugin = water_inputs(), plugin_folder()
        available = len(read_frames(self.inputs / "train.extxyz.xz"))
        if size.frames > available:
            raise InputError(f"--frames {size.frames}", f"1 to {available}", "correct it")
        self.console = console()
        self.started = time.monotonic()
        self.cores = min(2, os.cpu_count() or 1)
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
        """A classical model matched to the DFT frames, its labels, and a network trained on them: from the shipped
        SPC/Fw model, or from nothing. Beside it, on the other core, the same network trains on the DFT frames alone.
        """
        out, size, logs = self.out, self.size, self.out / "logs"
        few = ["--set", f"training.n_frames={size.frames}"]
        field, frames = out / "classical" / "forcefield", out / "classical" / "frames"
        command = ["tl-calibrate", self.inputs / "calibrate.toml", "--out", field, "--set", f"n_frames={size.frames}"]
        self.run(command, logs / "calibrate.output")
        whole = sum(system.frames for system in load_config(GenerateConfig, self.inputs / TEACHER).systems.values())
        command = ["mpirun", "-n", str(self.cores), "tl-generate", self.inputs / TEACHER, "--out", frames]
        settings = {"scale": size.classical_frames / whole, "teacher.include": field / "forcefield.in"}
        self.run(command + overrides(settings), logs / "generate.output")
        command = ["tl-pretrain", self.inputs / "scratch.toml", "--out", out / "scratch", *few]
        command += overrides({"training.max_steps": size.steps})
        scratch = self.start(command, logs / "scratch.output")
        settings = {"data.train": frames / "frames.extxyz.xz", "training.max_steps": size.classical_steps}
        settings["loss.ramp_steps"] = size.classical_steps
        if self.from_scratch:
            command = ["tl-pretrain", self.inputs / "pretrain.toml"]
            settings["data.level_of_theory"] = "classical, calibrated to revPBE0-D3"
        else:
            command = ["tl-finetune", self.inputs / "teach.toml"]
            settings["stability.ps"] = 0  # of the start
        self.run([*command, "--out", out / "classical", *overrides(settings)], logs / "classical.output")
        command = ["tl-finetune", self.inputs / "finetune.toml", "--out", out / "finetuned", *few]
        settings = {"transfer.start_from": out / "classical" / "model.pt", "training.max_steps": size.steps}
        settings["stability.ps"] = 0  # MD follows
        self.run(command + overrides(settings), logs / "finetuned.output")
        self.finish(scratch, logs / "scratch.output")

    def errors(self) -> list[dict[str, str]]:
        """Test errors of the three models, one row each; the classical energies are shifted by a constant per atom."""
        errors, parity = evaluate_file(self.out / "classical" / "model.pt", self.inputs / "test.extxyz.xz")
        error = 1e3 * (parity.energy[:, 1] - parity.energy[:, 0])
        error -= error.mean()
        classical = errors.to_json() | {
            "energy_mae_mev_per_atom": float(abs(error).mean()),
            "energy_rmse_mev_per_atom": float((error**2).mean() ** 0.5),
        }
        rows = [error_row("classical, calibrated", self.size.frames, 0, classical)]
        for name, title in (("scratch", "from scratch"), ("finetuned", "fine-tuned (T-PaiNN)")):
            test = json.loads((self.out / name / "errors.json").read_text())["test"]
            rows.append(error_row(title, self.size.frames, self.size.steps, test))
        return rows

    def simulate(self) -> None:
        """Export, then density (NPT) and diffusion by LAMMPS, each for its share of wall time."""
        self.run(["tl-export", self.out / "finetuned" / "model.pt"], self.out / "logs" / "export.output")
        folder = self.out / "md"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.inputs / DATA, folder / DATA)  # LAMMPS splits names at spaces: it gets relative ones
        for name in ("density", "diffusion"):
            command = ["lmp", "-in", self.inputs / f"{name}.in"]  # so small a box goes faster by threads than by ranks
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
            "name": name,
            "temperature": TEMPERATURE_K,
            "timestep": TIMESTEP_FS,
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
        """Density of the NPT run."""
        references = self.inputs / "revpbe0d3_reference.toml"
        simulation = Simulation(log=run.with_suffix(".log"), elements=["O", "H"], references=references)
        return [measure("density", simulation)]

    def motion(self, run: Path) -> list[Measurement]:
        """Diffusion and structure of the run at constant volume."""
        dump, log = run.with_suffix(".dump.gz"), run.with_suffix(".log")
        steps = read_log(log).runs[-1].steps
        length_ps = float(steps[-1] - steps[0]) * TIMESTEP_FS / 1000
        window = (min(2.0, 0.2 * length_ps), min(20.0, 0.45 * length_ps))  # ends below half, rounded to frames too
        simulation = Simulation(dump, log, elements=["O", "H"])
        return [measure("diffusion", simulation, window_ps=window), measure("structure", simulation, pairs="O-O")]


def error_row(title: str, frames: int, steps: int, errors: dict[str, Any]) -> dict[str, str]:
    """A row of the table of errors from the keys of `tl-evaluate --json`."""
    return {
        "model": title,
        "DFT frames": str(frames),
        "steps": str(steps),
        "E MAE": f"{errors['energy_mae_mev_per_atom']:.2f}",
        "E RMSE": f"{errors['energy_rmse_mev_per_atom']:.2f}",
        "F MAE": f"{errors['force_mae_mev_per_A']:.1f}",
        "F RMSE": f"{errors['force_rmse_mev_per_A']:.1f}",
    }


def overrides(settings: dict[str, Any]) -> list[str]:
    """--set KEY=VALUE for each."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def demo(out: Path, size: Size, from_scratch: bool = False) -> None:
    """Run the workflow in the folder `out`, which gets classical/, scratch/ and finetuned/model.pt,
    finetuned/model-lammps.pt, md/, results.json and report.html; ends with one table.

    Raises InputError at the end if an MD run aborted or was too short: what else was measured is shown and kept.
    """
    workflow = Workflow(out, size, from_scratch)
    workflow.say(f"tl-demo: liquid water, revPBE0-D3, in {workflow.out}")
    workflow.prepare()
    errors = workflow.errors()
    workflow.simulate()
    result = workflow.analyse()
    write_records(workflow.out / "results.json", result.records)
    figures = dict(result.figures)
    overview = comparison_figure(result.records)
    if overview is not None:
        figures = {"Computed over measured": overview, **figures}
    tables = {f"{CAPTION}. {NOTE}": errors}
    write_report(workflow.out / "report.html", "tl-demo: liquid water", result.records, figures, tables)
    show(workflow, errors, result.records)
    if workflow.failed:
        names = " and ".join(workflow.failed)
        raise InputError(f"no result of {names}", "MD to its end, long enough", "give more --md-minutes or --frames")


def show(workflow: Workflow, errors: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """The closing table: errors of the models, then computed against measured."""
    table = Table(*errors[0], title=CAPTION, caption=NOTE)
    for row in errors:
        table.add_row(*map(str, row.values()))
    workflow.console.print(table)
    results = Table(*columns(records), title="Computed and measured")
    for row in table_rows(records):
        results.add_row(*row)
    workflow.console.print(results)
    workflow.say(f"report: {workflow.out / 'report.html'}")
