"""tl-curve: errors of several methods against the number of training frames; each point is a run of a stage."""

from __future__ import annotations

import csv
import functools
import json
import math
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tlmd.calibrate.config import CalibrateConfig
from tlmd.curves.config import CurveConfig
from tlmd.curves.recipe import Start, make_start, start_of
from tlmd.curves.report import KINDS, key_of, mean_gain, number, write_report
from tlmd.frames.split import read_sets
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.run.config import load_config
from tlmd.run.console import console, say
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_csv
from tlmd.run.folder import Lock, damaged, refuse_another, run_record
from tlmd.run.workers import start_workers
from tlmd.train.config import FinetuneConfig, PretrainConfig, TrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

STAGES = {"pretrain": (PretrainConfig, pretrain), "finetune": (FinetuneConfig, finetune), "mekrr": (MekrrConfig, mekrr)}
RunConfig = TrainConfig | MekrrConfig


class Job(NamedTuple):
    """One run: a method trained on `labels` of `frames` frames, for `budget` steps (of a kernel: those of
    its backbone, if this is a method as well, or 0)."""

    method: str
    labels: str
    frames: int
    seed: int
    budget: int

    @property
    def name(self) -> str:
        """Name of its run folder."""
        steps = f"-steps{self.budget}" if self.budget else ""
        return f"{self.method}-{self.labels}-frames{self.frames}-seed{self.seed}{steps}"


def curve(config: CurveConfig, out: Path) -> Curve:
    """Run what is still missing in the folder `out`, which gets runs/, curve.csv, table.md and curve.png.

    Raises InputError for a configuration that does not fit, before any run, and at the end if a run has failed.
    """
    lock = Lock(out)
    try:
        learning = Curve(config, out)
        learning.run()
        learning.conclude()
        return learning
    finally:
        lock.close()


class Curve:
    """The runs of a learning curve: those that are known, the rows of those that have ended, those that failed."""

    def __init__(self, config: CurveConfig, out: Path):
        self.config, self.out = config, out
        self.console = console()
        self.fingerprint = functools.cache(sha256)
        self.seeds = list(dict.fromkeys(config.seeds))
        offered = self.check_data()
        self.first_jobs = [
            Job(method, labels, frames, seed, config.budget(method))
            for labels in dict.fromkeys(config.labels)
            for frames in sorted({offered if n == "all" else n for n in config.sizes})
            for seed in self.seeds
            for method in config.methods
            if frames in {offered if n == "all" else n for n in config.sizes_of(method)}
        ]
        self.backbones = {method.backbone for method in config.methods.values()} - {None}
        self.known: set[Job] = set()
        self.rows: dict[Job, dict[str, Any]] = {}
        self.failed: dict[Job, BaseException] = {}

    def check_data(self) -> int:
        """Number of frames that there are for training; InputError unless all methods share all frames."""
        hashes: dict[str, dict[str, str]] = {}
        for name, method in self.config.methods.items():
            config = self.stage_config(name)
            sets = config.data.files()
            files = {key: self.fingerprint(sets[key]) if key in sets else None for key in ("train", "valid", "test")}
            hashes[name] = dict(files)
            made = {"transfer.start_from"} if method.teacher else {"backbone.model"} if method.backbone else set()
            for key, path in config.input_files().items():
                if key not in made and not path.is_file():
                    raise InputError(f"{key} = {path} in {method.config}, no file", "a file", "correct the path")
            if method.teacher is not None:
                frames = load_config(CalibrateConfig, method.teacher.calibrate).data.train
                hashes[name]["train"] = hashes[name]["train"] if self.fingerprint(frames) == files["train"] else None
            first = next(iter(hashes))
            for key, value in hashes[name].items():
                if value != hashes[first][key]:
                    raise InputError(
                        f"other {key} frames for {name} than for {first}",
                        f"the same data.{key} for all methods",
                        f"correct {method.config}, or set data.{key} in methods.{name}.set",
                    )
        return self.check_frames(config)

    def check_frames(self, config: RunConfig) -> int:
        """Number of frames for training; InputError for sets that are missing or too small."""
        data = read_sets(config.data, None, "first", config.seed)
        largest = max((n for n in self.config.sizes if n != "all"), default=1)
        if largest > len(data.train):
            raise InputError(
                f"size {largest}", f"at most {len(data.train)}, as in {config.data.train}", "ask for fewer"
            )
        if not data.valid and (self.config.search or self.config.converge):
            raise InputError("no validation frames", "some: search and [converge] go by them", "set data.valid")
        if not data.test and not self.config.search:
            raise InputError("no test frames", "the same ones for all methods", "set data.test in the methods' TOMLs")
        return len(data.train)

    def stage_config(self, method: str, settings: Iterable[str] = ()) -> RunConfig:
        """Configuration of a method's stage with further keys set; in a search without test frames."""
        chosen = self.config.methods[method]
        quick = ["stability.ps=0"] if chosen.stage == "finetune" else []
        config = load_config(STAGES[chosen.stage][0], chosen.config, [*quick, *chosen.set, *settings])
        if self.config.search:
            return config.model_copy(update={"data": config.data.model_copy(update={"test": None})})
        return config

    def job_config(self, job: Job) -> RunConfig:
        """Configuration of a run."""
        method = self.config.methods[job.method]
        settings = {"seed": job.seed, "data.labels": job.labels, "training.n_frames": job.frames}
        settings |= {"training.select": "random", "training.plots": "false", "training.threads": self.config.threads}
        if self.config.trained(job.method):
            settings["training.max_steps"] = job.budget
        if method.backbone is not None:
            settings["backbone.model"] = self.folder(job._replace(method=method.backbone)).absolute() / "model.pt"
        if self.config.split_by:
            settings["data.split_by"] = json.dumps(self.config.split_by)
        if (start := self.start_model(job)) is not None:
            settings["transfer.start_from"] = start.model
        few = method.set_few if job.frames <= method.few else []
        more = method.set_energies if job.labels == "energies" else []
        return self.stage_config(job.method, [*few, *more, *(f"{key}={value}" for key, value in settings.items())])

    def start_model(self, job: Job) -> Start | None:
        """The start of the model of a run, if its method has a teacher."""
        teacher = self.config.methods[job.method].teacher
        if teacher is None:
            return None
        folder = self.out.absolute() / "starts" / f"{job.method}-{job.labels}-frames{job.frames}-seed{job.seed}"
        return start_of(teacher, folder, job.labels, job.frames, job.seed, self.config.threads)

    def folder(self, job: Job) -> Path:
        return self.out / "runs" / job.name

    def ended(self, job: Job) -> bool:
        """Whether a run has ended, whose row is then taken; InputError if its folder holds another run."""
        config, folder = self.job_config(job), self.folder(job)
        if not (folder / "run.json").exists() or not (folder / "errors.json").exists():
            return False  # its start may be missing as well; RunFolder refuses what another run has begun
        record = run_record(self.config.methods[job.method].stage, config, self.fingerprint)
        refuse_another(folder, record)
        kept = {"model.pt"} if job.method in self.backbones else set()
        if kept and not (folder / "model.pt").exists():  # it ended when no kernel needed its model
            (folder / "errors.json").unlink()
            return False
        self.rows[job] = run_row(job, folder)
        if not self.config.keep_models:
            for path in folder.glob("*.pt"):
                if path.name not in kept:
                    path.unlink()
        return True

    def open(self, jobs: Iterable[Job]) -> list[Job]:
        """Those of `jobs` that must run; for those that have ended, the runs that follow from them."""
        todo = []
        for job in jobs:
            if job not in self.known:
                self.known.add(job)
                todo += self.open(self.following(job)) if self.ended(job) else [job]
        return todo

    def following(self, job: Job) -> list[Job]:
        """Runs that wait for the end of this one: kernels on its features, and longer runs."""
        kernels = [job._replace(method=name) for name, m in self.config.methods.items() if m.backbone == job.method]
        return [kernel for kernel in kernels if kernel in self.first_jobs] + self.longer(job)

    def longer(self, job: Job) -> list[Job]:
        """Runs of twice the steps, if those of all seeds have ended and the last doubling, if any, was worth it."""
        converge = self.config.converge
        seeds = [job._replace(seed=seed) for seed in self.seeds]
        if converge is None or not self.config.trained(job.method):
            return []
        if 2 * job.budget > converge.max_steps or not all(j in self.rows for j in seeds):
            return []
        halves = [j._replace(budget=job.budget // 2) for j in seeds]
        if all(j in self.rows for j in halves):
            if mean_gain([self.rows[j] for j in halves], [self.rows[j] for j in seeds]) < converge.gain:
                return []
        return [j._replace(budget=2 * job.budget) for j in seeds]

    def run(self) -> None:
        """Run what has not ended, several runs at once; one that fails does not stop the others."""
        todo = self.open(job for job in self.first_jobs if self.config.methods[job.method].backbone is None)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        with start_workers(self.config.jobs, self.config.threads) as pool, bar:
            bar.add_task("runs")
            running: dict[Future, Job] = {}
            while todo or running:
                for job in todo:
                    stage = self.config.methods[job.method].stage
                    running[
                        pool.submit(train, stage, self.job_config(job), self.folder(job), self.start_model(job))
                    ] = job
                bar.update(bar.task_ids[0], total=len(self.known), completed=len(self.known) - len(running))
                ended = wait(running, return_when=FIRST_COMPLETED).done
                todo = [longer for future in ended for longer in self.take(running.pop(future), future)]

    def take(self, job: Job, future: Future) -> list[Job]:
        """Note how a run ended; the runs that follow from it."""
        error = future.exception()
        if error is not None:
            self.failed[job] = error
            self.say(f"{job.name}: FAILED")
            return []
        self.ended(job)
        self.write_csv()
        row = self.rows[job]
        where = "valid" if self.config.search else "test"
        found = [(row.get(key_of(where, kind, self.config.measure)), unit) for kind, (_, unit) in KINDS.items()]
        errors = ", ".join(f"{number(value)} {unit}" for value, unit in found if value is not None)
        self.say(f"{job.name}: {where} {self.config.measure.upper()} {errors}; {60 * row['minutes']:.0f} s")
        return self.open(self.following(job))

    def say(self, text: str) -> None:
        say(self.console, text)

    def ordered(self) -> list[dict[str, Any]]:
        """The rows by labels, frames, method, budget, seed, as in the configuration."""
        points = list(dict.fromkeys((j.labels, j.frames, j.method) for j in self.first_jobs))
        place = {point: i for i, point in enumerate(points)}
        jobs = sorted(
            self.rows, key=lambda j: (place[j.labels, j.frames, j.method], j.budget, self.seeds.index(j.seed))
        )
        return [self.rows[job] for job in jobs]

    def write_csv(self) -> None:
        """curve.csv: a row for each run that has ended."""
        write_csv(self.out / "curve.csv", self.ordered())

    def conclude(self) -> None:
        """Table and plot of what there is; InputError that counts the runs that failed, after the error of each."""
        if self.rows:
            self.write_csv()
            write_report(self.ordered(), self.config, self.out, self.console)
        for job, error in self.failed.items():
            self.say(f"{job.name}: {error}")
        if self.failed:
            raise InputError(
                f"{len(self.failed)} of {len(self.known)} runs that failed (see above)",
                "all to end well",
                "remove the cause and start again: finished runs are kept",
            )


def train(stage: str, config: RunConfig, folder: Path, start: Start | None) -> None:
    """One run, in a worker process, after its start; its result stays in its folder."""
    if start is not None:
        make_start(start)
    STAGES[stage][1](config, folder)


def run_row(job: Job, folder: Path) -> dict[str, Any]:
    """Row of curve.csv from the folder of a run that has ended: the job, steps, wall time, and errors of every set."""
    try:
        with open(folder / "metrics.csv", encoding="utf-8") as file:
            metrics = [{key: float(value) for key, value in line.items()} for line in csv.DictReader(file)]
        losses = [line["valid_loss"] for line in metrics if not math.isnan(line.get("valid_loss", math.nan))]
        row: dict[str, Any] = {**job._asdict(), "steps": int(metrics[-1]["step"]), "minutes": metrics[-1]["minutes"]}
    except (ValueError, TypeError, KeyError, IndexError):
        raise damaged(folder / "metrics.csv", "rows of numbers") from None
    row["valid_loss"] = min(losses, default=None)
    try:
        errors = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
        for name, values in errors.items():
            row |= {f"{name}_{key}".replace(" ", "_"): value for key, value in values.items() if key != "n_frames"}
    except (ValueError, AttributeError):
        raise damaged(folder / "errors.json", "errors by set") from None
    return row
