"""tl-demo: the whole road on liquid water, small but real, by the same commands that a user types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tlmd.analysis.figures import comparison_figure
from tlmd.analysis.measure import Measurement, measure_density, measure_diffusion, measure_structure
from tlmd.analysis.report import COLUMNS, table_rows, write_records, write_report
from tlmd.analysis.thermo import read_log
from tlmd.errors import InputError
from tlmd.installed import PRETRAINED_WATER, plugin_folder, water_inputs
from tlmd.train.evaluate import evaluate_file

TEMPERATURE_K = 298.15
TIMESTEP_FS = 1.0  # the decks' own default is 0.5; the demo takes the longest step that flexible water bears
EQUILIBRATION = 20_000  # steps before each of the two runs
CAPTION = "Errors on 108 unseen revPBE0-D3 frames: energy E in meV/atom, force F in meV/A"
NOTE = "The classical model was not tuned; its energies are moved by one constant per atom."


class Road:
    """The demo in one folder: each stage prints its command and keeps its output; a killed training resumes."""

    def __init__(self, out: Path, steps: int, frames: int, md_minutes: float, md_steps: int):
        self.out, self.steps, self.frames = out.absolute(), steps, frames
        self.md_minutes, self.md_steps = md_minutes, md_steps
        self.inputs = water_inputs()
        console = Console()
        self.console = console if console.is_terminal else Console(width=120)
        self.started = time.monotonic()
        self.threads = min(2, os.cpu_count() or 1)
        self.out.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        minutes = (time.monotonic() - self.started) / 60
        self.console.print(f"[{minutes:5.1f} min] {text}", markup=False, highlight=False, soft_wrap=True)

    def start(self, command: Sequence[str | Path], log: Path, **environment: str) -> subprocess.Popen:
        """Start a command of this installation; its output goes to `log`."""
        words = [str(word) for word in command]
        threads = environment.get("OMP_NUM_THREADS")
        shown = [f"OMP_NUM_THREADS={threads}"] if threads else []
        self.say("$ " + " ".join(shown + [Path(word).name if word.startswith("/") else word for word in words]))
        words[0] = str(Path(sysconfig.get_path("scripts")) / words[0])
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
            return subprocess.Popen(words, cwd=log.parent, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def finish(self, process: subprocess.Popen, log: Path) -> None:
        """Wait for a started command; InputError with the end of its log if it failed."""
        if process.wait() != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"{last[0] if last else 'no output'}", "a command that ends well", f"see {log}")

    def run(self, command: Sequence[str | Path], log: Path, **environment: str) -> None:
        self.finish(self.start(command, log, **environment), log)

    def train(self) -> None:
        """The shipped classical model, then scratch and autotuning side by side: same frames, same steps."""
        (self.out / "classical").mkdir(exist_ok=True)
        shutil.copy(PRETRAINED_WATER, self.out / "classical" / "model.pt")
        common = ["--set", f"training.max_steps={self.steps}", "--set", f"training.n_frames={self.frames}"]
        started = []
        for name, stage, toml in (
            ("scratch", "tl-pretrain", "scratch.toml"),
            ("autotuned", "tl-finetune", "finetune.toml"),
        ):
            command = [stage, self.inputs / toml, "--out", self.out / name, *common]
            if name == "autotuned":
                command += ["--set", f"transfer.start_from={self.out / 'classical' / 'model.pt'}"]
            log = self.out / "logs" / f"{name}.output"
            started.append((self.start(command, log), log))
        for process, log in started:
            self.finish(process, log)

    def errors(self) -> list[dict[str, str]]:
        """Test errors of the three models, one row each; the classical energies are moved by one constant per atom."""
        errors, parity = evaluate_file(self.out / "classical" / "model.pt", self.inputs / "test.extxyz.xz")
        error = 1e3 * (parity.energy[:, 1] - parity.energy[:, 0])
        error -= error.mean()
        classical = errors.to_json() | {
            "energy_mae_mev_per_atom": float(abs(error).mean()),
            "energy_rmse_mev_per_atom": float((error**2).mean() ** 0.5),
        }
        rows = [error_row("classical (SPC/Fw)", 0, 0, classical)]
        for name, title in (("scratch", "from scratch"), ("autotuned", "autotuned (T-PaiNN)")):
            test = json.loads((self.out / name / "errors.json").read_text())["test"]
            rows.append(error_row(title, self.frames, self.steps, test))
        return rows

    def simulate(self) -> None:
        """Export, then density (NPT) and diffusion (NVE) by LAMMPS, each for its share of wall time."""
        folder = self.out / "autotuned"
        self.run(["tl-export", folder / "model.pt"], self.out / "logs" / "export.output")
        for name in ("density", "diffusion"):
            deck = self.inputs / f"{name}.in"
            variables = {"model": folder / "model-lammps.pt", "data": self.inputs / "water64.data", "name": name}
            variables |= {"temperature": TEMPERATURE_K, "timestep": TIMESTEP_FS, "limit": round(60 * self.md_minutes)}
            variables |= {"equilibrate": min(EQUILIBRATION, self.md_steps), "steps": self.md_steps}
            command = ["lmp", "-in", deck]  # so small a box goes faster by threads than by ranks
            for key, value in variables.items():
                command += ["-var", key, value]
            environment = {"LAMMPS_PLUGIN_PATH": str(plugin_folder()), "OMP_NUM_THREADS": str(self.threads)}
            self.run(command, self.out / "md" / f"{name}.output", **environment)

    def analyse(self) -> Measurement:
        """Density, diffusion and structure of the runs against experiment."""
        md = self.out / "md"
        density = measure_density(md / "density.log", elements=["O", "H"], temperature_K=TEMPERATURE_K)
        run = read_log(md / "diffusion.log").runs[-1]
        length_ps = float(run.steps[-1] - run.steps[0]) * TIMESTEP_FS / 1000
        dump, log = md / "diffusion.dump.gz", md / "diffusion.log"
        window = (min(2.0, 0.2 * length_ps), min(20.0, 0.5 * length_ps))
        diffusion = measure_diffusion(dump, log, window_ps=window, elements=["O", "H"])
        structure = measure_structure(dump, log, pairs=[("O", "O")], elements=["O", "H"])
        parts = (density, diffusion, structure)
        records = [record for part in parts for record in part.records]
        return Measurement(records, {caption: figure for part in parts for caption, figure in part.figures.items()})


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


def demo(out: Path, steps: int, frames: int, md_minutes: float, md_steps: int) -> None:
    """Run the road in the folder `out`, which gets classical/, scratch/ and autotuned/model.pt,
    autotuned/model-lammps.pt, md/, results.json and report.html; ends with one table.
    """
    road = Road(out, steps, frames, md_minutes, md_steps)
    road.say(f"tl-demo: liquid water, revPBE0-D3, in {road.out}")
    road.train()
    errors = road.errors()
    road.simulate()
    result = road.analyse()
    write_records(road.out / "results.json", result.records)
    figures = dict(result.figures)
    overview = comparison_figure(result.records)
    if overview is not None:
        figures = {"Computed over measured": overview, **figures}
    tables = {f"{CAPTION}. {NOTE}": errors}
    write_report(road.out / "report.html", "tl-demo: liquid water", result.records, figures, tables)
    show(road, errors, result.records)


def show(road: Road, errors: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """The closing table: errors of the models, then computed against measured."""
    table = Table(*errors[0], title=CAPTION, caption=NOTE)
    for row in errors:
        table.add_row(*map(str, row.values()))
    road.console.print(table)
    results = Table(*COLUMNS, title="Computed and measured")
    for row in table_rows(records):
        results.add_row(*row)
    road.console.print(results)
    road.say(f"report: {road.out / 'report.html'}")
