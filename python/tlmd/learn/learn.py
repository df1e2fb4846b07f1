"""tl-learn: choose frames, label them, tune a committee, run MD with it, and take the frames of which it is unsure.

Every step has its own run folder in rounds/NN, so a command that was killed at any moment goes on from there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tlmd.evaluate.file import evaluate_file
from tlmd.export import export_members, export_model
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.label.config import LabelConfig
from tlmd.label.label import label
from tlmd.label.report import FAILED, LABELS
from tlmd.learn.config import LearnConfig, WatchConfig
from tlmd.learn.dynamics import Ended, Run
from tlmd.learn.limits import LAST, Known, compare, factor, limits
from tlmd.learn.properties import UNCHANGED, Value, measured, settled
from tlmd.learn.report import begin, show, write_page
from tlmd.modelfile import member_files
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.executor import run_jobs
from tlmd.run.files import write_text
from tlmd.run.folder import RunFolder, damaged
from tlmd.select.config import SelectConfig
from tlmd.select.select import select
from tlmd.train.config import FinetuneConfig
from tlmd.train.finetune import finetune

RECORD, TRAIN, NEXT = "round.json", "train.extxyz", "next.extxyz"


def learn(config: LearnConfig, out: Path) -> str:
    """Rounds in the folder `out` until one of [stop] is met; why they ended.

    out gets rounds/NN/{selected, labels, model, md, page.html}, rounds.json and report.html. Raises InputError for
    settings or frames that do not fit, and where runs fail of which no frame can be labelled.
    """
    check(config)
    with RunFolder(out, "learn", config.of_the_run()) as run:
        rounds: list[Round] = []
        while not (why := ended(config, rounds)):
            rounds.append(Round(config, run, rounds))
            if rounds[-1].record is None:
                rounds[-1].do()
                show(run, config, rounds)
        run.say(f"{why}: {labels_of(rounds)} labels in {len(rounds)} rounds; the model: {rounds[-1].model}")
        return why


def check(config: LearnConfig) -> None:
    """InputError for TOMLs of stages that do not fit."""
    load_config(LabelConfig, config.label, [f"frames={json.dumps(str(config.label))}"])
    load_config(FinetuneConfig, config.finetune)


def labels_of(rounds: Sequence[Round]) -> int:
    """Frames that were labelled, or tried, in these rounds."""
    return sum(each.record["tried"] for each in rounds)


def ended(config: LearnConfig, rounds: list[Round]) -> str:
    """Why the rounds are at their end; "" where they are not."""
    if not rounds:
        return ""
    stop, last = config.stop, rounds[-1].record
    whole = all(not each["why"] for each in last["runs"])
    if stop.property:
        if settled([each.value for each in rounds[-UNCHANGED - 1 :]]):
            return f"{stop.property} has not moved for {UNCHANGED} rounds"
    elif whole and last["unsure"] <= stop.unsure and len(rounds) > 1:  # the first one has no label of its own MD
        return f"{last['unsure']} unsure frames in the last round"
    if labels_of(rounds) >= stop.labels:
        return f"the budget of {stop.labels} labels is spent"
    return f"{stop.rounds} rounds are done" if len(rounds) >= stop.rounds else ""


class Round:
    """One round in its folder. record: what it did, of plain values, once it has ended."""

    def __init__(self, config: LearnConfig, run: RunFolder, earlier: Sequence[Round]):
        self.config, self.run, self.earlier, self.number = config, run, tuple(earlier), len(earlier)
        self.before = earlier[-1] if earlier else None
        self.folder = run.path / "rounds" / f"{self.number:02d}"
        self.labels = self.folder / "labels" / LABELS
        self.runs = [
            Run(self.folder / "md" / f"{name}-{k}", name, k, config.seed + 1000 * self.number + i, state)
            for i, (name, state, k) in enumerate(
                (name, state, k) for name, state in config.states.items() for k in range(1, state.runs + 1)
            )
        ]

    @property
    def record(self) -> dict[str, Any] | None:
        """What a round that has ended did."""
        path = self.folder / RECORD
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except ValueError:
            raise damaged(path, "the record of a round") from None

    @property
    def model(self) -> Path:
        """The first model of the committee."""
        return self.folder / "model" / "model.pt"

    @cached_property
    def value(self) -> Value:
        """The property by this round."""
        run = next(run for run in self.runs if run.name == self.config.measured)
        if run.ended.why and self.config.stop.property != "energy_difference":
            return Value(why=f"the run ended: {run.ended.why}")
        return measured(self.config.stop, run.folder, self.members())

    def do(self) -> None:
        """Do what is missing of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        chosen = self.choose()
        tried = self.label(chosen) if chosen is not None else 0
        begin(self.run)
        surprise, known = self.surprise(), self.compare()
        labelled = self.labelled()
        models = self.train(labelled)
        recent = [Known(*pair) for each in self.earlier[1 - LAST :] for pair in each.record.get("known", [])]
        watch = limits(self.config.watch, self.model, by := factor([*recent, *known]))
        self.simulate(models, watch)
        unsure = [frame for run in self.runs for frame in run.unsure(self.config.watch.skip_ps)]
        write_frames(self.folder / NEXT, [*unsure, *self.others(len(unsure))])
        errors = json.loads((self.folder / "model" / "errors.json").read_text(encoding="utf-8"))
        ends = [{"run": run.folder.name, **run.ended._asdict()} for run in self.runs]
        record = {"tried": tried, "labelled": len(labelled), "errors": errors, "runs": ends}
        record |= {"unsure": len(unsure), "models": len(self.members()), "new": surprise}
        record |= {"known": known, "error_by_deviation": by, "dump_eV_A": watch.dump}
        write_text(self.folder / RECORD, json.dumps(record, indent=1) + "\n")
        write_page(self)

    def choose(self) -> Path | None:
        """The frames to label; None in a first round that starts from labelled frames alone."""
        config, budget = self.config, self.config.stop.labels
        exclude = [self.before.folder / TRAIN] if self.before else config.start.labelled
        if self.before is None:
            pool, amount = config.start.pool, config.start.n_frames
            model = load_config(FinetuneConfig, config.finetune).transfer.start_from
        else:
            pool, amount, model = [self.before.folder / NEXT], config.new.n_frames, self.before.model
            budget -= labels_of(self.earlier)
        if not pool:
            return None
        settings = {"pool": pool, "exclude": exclude, "model": model, "n_frames": max(1, min(amount, budget))}
        settings |= {"method": config.new.method, "nearest": config.new.nearest, "seed": config.seed + self.number}
        select(SelectConfig.model_validate(settings), self.folder / "selected")
        return self.folder / "selected" / "selected.extxyz"

    def label(self, frames: Path) -> int:
        """Label the frames; how many were tried. Those that a code could not label are left out, if others have one."""
        out, tried = self.labels.parent, len(read_frames(frames, check=False))
        config = load_config(LabelConfig, self.config.label, [f"frames={json.dumps(str(frames.absolute()))}"])
        try:
            label(config, out)
        except InputError as error:
            aside = len(read_frames(out / FAILED, check=False)) if (out / FAILED).exists() else 0
            done = len(read_frames(self.labels)) if self.labels.exists() else 0
            if not done or done + aside < tried:
                raise
            self.run.say(f"round {self.number}: {error}")
        return tried

    def surprise(self) -> dict[str, Any] | None:
        """Errors of the model of the round before on the frames that this one labelled; None in the first round."""
        if self.before is None:
            return None
        return evaluate_file(self.before.model, self.labels)[0].to_json()

    def compare(self) -> list[Known]:
        """Deviations and errors of the committee of the round before on the frames that this one labelled."""
        return compare(self.before.members(), read_frames(self.labels)) if self.before else []

    def labelled(self) -> list[Frame]:
        """All labelled frames up to this round."""
        made = [each.labels for each in (*self.earlier, self) if each.labels.exists()]
        files = [*self.config.start.labelled, *made]
        return list(itertools.chain.from_iterable(read_frames(path) for path in files))

    def train(self, labelled: Sequence[Frame]) -> list[Path]:
        """Tune the committee on all labelled frames; its exported files."""
        train = self.folder / TRAIN
        if not train.exists():
            write_frames(train, labelled)
        settings = [f"data.train={json.dumps(str(train.absolute()))}", f"committee={self.config.committee}"]
        settings += ["stability.ps=0"]  # MD follows
        finetune(load_config(FinetuneConfig, self.config.finetune, settings), self.folder / "model")
        return export_members(self.model, export_model(self.model))

    def members(self) -> list[Path]:
        """The models of the committee."""
        return member_files(self.model, self.config.committee)

    def simulate(self, models: list[Path], watch: WatchConfig) -> None:
        """Run the MD that has not ended."""
        missing = {run.folder.name: run for run in self.runs if run.ended is None}
        jobs = [run.job(models, watch, self.config.executor) for run in missing.values()]
        for job, outcome in run_jobs(self.config.executor, jobs, self.run.path / "parsl", self.run.say):
            found: Ended = missing.pop(job.name).conclude(outcome)
            ending = found.why or "to its end"
            self.run.say(f"round {self.number}, {job.name}: {found.ps:g} ps, {ending}; deviation {found.deviation:.3g}")
            self.run.note_time()
        if missing:
            raise InputError(f"{len(missing)} runs of MD not done in time", "all", "the same command goes on")

    def others(self, unsure: int) -> list[Frame]:
        """Frames of the trajectories, where those that are unsure are too few for the next round. InputError where a
        run failed before it wrote any."""
        if unsure >= self.config.new.n_frames:
            return []
        frames = [frame for run in self.runs for frame in run.others(self.config.watch.skip_ps)]
        if not unsure and not frames:
            failed = self.runs[0]
            got = f"{failed.folder}: {failed.ended.why or 'no frame'}, before a frame was written"
            raise InputError(got, "MD that can start", "see its log; begin with more labelled frames")
        return frames
