"""tl-campaign: export the models, make the boxes, run LAMMPS at every point, measure what has ended, report.

A run goes on from its last restart file, within this command and when it is given again.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from tlmd.campaign.config import CampaignConfig
from tlmd.campaign.report import ATOMS, REPORT, status, write_all
from tlmd.campaign.results import analyse, check_analyses, npt_volume
from tlmd.campaign.run import FAILED, FINISHED, STATE, Run
from tlmd.campaign.start import fingerprint, start_frames
from tlmd.export import export_model, lammps_lines
from tlmd.modelfile import is_exported, read_card
from tlmd.run.config import to_toml
from tlmd.run.errors import InputError
from tlmd.run.executor import JobsConfig, run_jobs
from tlmd.run.files import write_text
from tlmd.run.folder import RunFolder
from tlmd.run.installed import named_or_path

SETTINGS = "campaign.toml"  # as they were at the last start
REPORT_S = 60.0  # s between two writings of the report while runs go on


def campaign(config: CampaignConfig, out: Path) -> list[dict]:
    """Do what is missing of a campaign; the rows of its properties (results.ROW_KEYS).

    out gets models/, start/, runs/NAME/, campaign.csv, results.json and report.html. Raises InputError for settings,
    models or frames that do not fit, and for a run folder with another input.
    """
    check_analyses(config)
    with RunFolder(out, "campaign", config.of_the_run()) as folder:
        return Campaign(config, folder).do()


def runs_of(config: CampaignConfig, out: Path) -> list[Run]:
    """All runs of a campaign."""
    return [Run(config, point, out) for point in config.points()]


class Campaign:
    """The runs of a configuration in an open run folder."""

    def __init__(self, config: CampaignConfig, folder: RunFolder):
        self.config, self.folder, self.out = config, folder, folder.path
        self.runs = runs_of(config, self.out)
        self.frames = start_frames(config.start, config.seed, self.out / "start")
        self.models = {name: exported(name, path, self.out / "models") for name, path in config.models.items()}
        self.written, self.measured = time.monotonic(), []
        write_text(self.out / SETTINGS, to_toml(config.model_dump(mode="json", exclude={"out"})))
        self.atoms = {size: len(frame) for size, frame in self.frames.items()}
        write_text(self.out / ATOMS, json.dumps(self.atoms) + "\n")

    def do(self) -> list[dict]:
        """Run, measure, report."""
        for run in self.runs:
            if run.over == FAILED:  # what prevented it may be corrected
                (run.folder / STATE).unlink()
        began = time.monotonic()
        waves = [[run for run in self.runs if (run.point.ensemble == "npt") == first] for first in (True, False)]
        for wave in waves if self.config.by_npt else [self.runs]:
            with ThreadPoolExecutor(1) as pool:  # measures beside the runs that go on
                self.measured = [pool.submit(self.measure, run) for run in wave if run.over == FINISHED]
                self.simulate(wave, began, pool)
            for done in self.measured:
                done.result()
        found = write_all(self.runs, self.out)
        self.folder.table(status(self.runs, self.out))
        left = sum(not run.over and self.volume_of(run) != "" for run in self.runs)
        self.folder.say(
            f"{self.out / REPORT}" + (f"; {left} runs to go on: give the same command again" if left else "")
        )
        return found

    def simulate(self, runs: Sequence[Run], began: float, pool: ThreadPoolExecutor) -> None:
        """Run what has not ended, in as many parts as it takes, while there is time."""
        ready = [run for run in runs if not run.over and self.prepare(run)]
        while ready and (executor := self.executor(began)) is not None:
            waiting, ended = {run.name: run for run in ready}, 0
            jobs = (run.job() for run in ready)
            for job, outcome in run_jobs(executor, jobs, self.out / "parsl", self.folder.say, resumable=True):
                run, ended = waiting[job.name], ended + 1
                run.conclude(outcome)
                state = run.state
                how = f"{run.over or 'goes on'}{': ' * bool(state.why)}{state.why}"
                self.folder.say(f"{run.name}: {run.ps(state.steps):.4g} of {run.ps(run.steps):.4g} ps, {how}")
                self.folder.note_time()
                if run.over == FINISHED:
                    self.measured.append(pool.submit(self.measure, run))
            ready = [run for run in ready if not run.over]
            if not ended:
                return

    def executor(self, began: float) -> JobsConfig | None:
        """With the minutes that are left; None without any."""
        executor = self.config.executor
        if executor.minutes is None:
            return executor
        left = executor.minutes - (time.monotonic() - began) / 60
        return executor.model_copy(update={"minutes": left}) if left > 0 else None

    def prepare(self, run: Run) -> bool:
        """Write the input of a run; False where the NPT run that gives its volume did not end well."""
        frame, scale = self.frames[run.point.size], 1.0
        if self.config.by_npt and run.point.ensemble != "npt":
            volume = self.volume_of(run)
            if not volume:
                first = self.before(run)
                self.folder.say(f"{run.name}: no volume, {first.name} " + (first.over or "is not at its end"))
                return False
            scale = float((volume / abs(np.linalg.det(frame.cell))) ** (1 / 3))
        path, lines, elements = self.models[run.point.model]
        run.prepare(frame, path, lines, elements, scale)
        return True

    def before(self, run: Run) -> Run:
        """The NPT run that gives the volume of another one."""
        return next(each for each in self.runs if each.point == run.point._replace(ensemble="npt"))

    def volume_of(self, run: Run) -> float | Literal[""] | None:
        """Mean volume in A^3 of the NPT run of its point; None: not yet known, "": it will not be."""
        if not self.config.by_npt or run.point.ensemble == "npt":
            return None
        first = self.before(run)
        return npt_volume(first) if first.over in ("", FINISHED) else ""

    def measure(self, run: Run) -> None:
        """Measure a finished run, and from time to time write the report."""
        analyse(run, self.atoms[run.point.size])
        if time.monotonic() - self.written > REPORT_S:
            self.written = time.monotonic()
            write_all(self.runs, self.out)


def exported(name: str, model: Path, folder: Path) -> tuple[Path, list[str], list[str]]:
    """The exported file of a model in `folder`, the lines of LAMMPS for it, and its elements. InputError for a model
    with the force field of an include as baseline."""
    source = named_or_path(model)
    card = read_card(source)
    baseline = (card.baseline or {}).get("kind")
    if baseline not in (None, "d3"):
        raise InputError(f"{model} with a baseline of kind {baseline}", "none, or d3", "run it by a deck of your own")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{fingerprint(source)}.pt"
    if not path.exists():
        shutil.copyfile(source, path) if is_exported(source) else export_model(source, path)
    lines = [f"pair_style {card.kind} closest halt", f"pair_coeff * * ../../models/{path.name} ${{elements}}"]
    if baseline:
        text = "\n".join(lammps_lines([path])).replace(str(folder), "../../models")
        text = text.replace(f"hybrid/overlay {card.kind}", f"hybrid/overlay {card.kind} closest halt")
        lines = [re.sub(rf" {' '.join(card.elements)}$", " ${elements}", text, flags=re.M)]  # of the system alone
    return path, lines, list(card.elements)
