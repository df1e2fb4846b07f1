"""tl-label: each frame is a job of its own; what has a label is not run again, what fails is set aside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tlmd.frames.checks import check_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.label.config import LabelConfig
from tlmd.label.folders import ASIDE, LABELLED, SCRIPT, STATE, FrameFolder, folders_of
from tlmd.label.interfaces import CODES, Code
from tlmd.label.report import conclude, write_labelled
from tlmd.run.errors import InputError
from tlmd.run.executor import run_jobs
from tlmd.run.files import write_text
from tlmd.run.folder import RunFolder

JOBS = "jobs.txt"
EVERY_S = 60.0  # s between two writings of labelled.extxyz while jobs run


class Labelling:
    """The frames of a configuration in its run folder, each with its folder."""

    def __init__(self, config: LabelConfig, run: RunFolder):
        self.config, self.run = config, run
        self.code: Code = CODES[config.calculator.name](config.calculator)
        self.folders = folders_of(config, frames_of(config, self.code), self.code, run.path)
        old = sum(folder.is_(LABELLED) for folder in self.folders)
        run.say(f"{config.frames}: {len(self.folders)} frames" + (f", {old} of them labelled before" if old else ""))

    def prepare(self) -> None:
        """Folders with inputs, and jobs.txt with one line for each frame without a label."""
        known = known_labels(self.config.known)
        for folder in self.folders:
            folder.prepare(self.code, self.config)
            if not folder.is_(LABELLED) and (frame := known.get(folder.state["input_sha256"])):
                folder.take(frame)
        lines = [f"sh {(folder.path / SCRIPT).absolute()}\n" for folder in self.missing()]
        write_text(self.run.path / JOBS, "".join(lines))

    def missing(self) -> list[FrameFolder]:
        """The frames to run: those without a label, but for what was set aside before, unless `retry`."""
        states = (LABELLED,) if self.config.retry else (LABELLED, ASIDE)
        return [folder for folder in self.folders if not any(map(folder.is_, states))]

    def collect(self) -> None:
        """Read the outputs that there are, of frames without a label."""
        for folder in self.folders:
            if not folder.is_(LABELLED) and (folder.path / self.code.output).is_file():
                folder.collect(self.code, self.config)

    def work(self) -> None:
        """Run the missing frames; each is read as it ends."""
        missing = self.missing()
        if not missing:
            return
        by_name = {folder.name: folder for folder in missing}
        written = time.monotonic()
        with self._progress(len(missing)) as step:
            jobs = (folder.job() for folder in missing)
            for job, outcome in run_jobs(self.config.executor, jobs, self.run.path / "parsl", self.run.say):
                folder = by_name[job.name]
                folder.collect(self.code, self.config, outcome)
                if folder.is_(ASIDE):
                    self.run.say(f"frame {folder.name} set aside: {folder.state['reason']}")
                step()
                if time.monotonic() - written > EVERY_S:
                    write_labelled(self.run, [each for each in self.folders if each.is_(LABELLED)])
                    written = time.monotonic()
                self.run.note_time()

    @contextmanager
    def _progress(self, total: int):
        columns = (TextColumn("labels"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.run.console, disable=not self.run.console.is_terminal) as bar:
            task = bar.add_task("labels", total=total)
            yield lambda: bar.advance(task)


def label(config: LabelConfig, out: Path | None = None) -> Path:
    """Label the frames; the path of the labelled ones. InputError at the end if any of them has no label."""
    with _labelling(config, out) as work:
        work.prepare()
        work.work()
        return conclude(work.run, work.folders, work.code)


def prepare(config: LabelConfig, out: Path | None = None) -> Path:
    """Write folders, inputs and jobs.txt, for people who run the jobs by hand; the path of jobs.txt."""
    with _labelling(config, out) as work:
        work.prepare()
        work.run.say(f"{len(work.missing())} jobs, one line each, in {work.run.path / JOBS}")
        return work.run.path / JOBS


def collect(config: LabelConfig, out: Path | None = None) -> Path:
    """Read the outputs of jobs that were run by hand; as `label` otherwise."""
    with _labelling(config, out) as work:
        if not any((folder.path / STATE).exists() for folder in work.folders):
            raise InputError(f"{work.run.path} without inputs", "those of tl-label prepare", "run it, then the jobs")
        work.collect()
        return conclude(work.run, work.folders, work.code)


@contextmanager
def _labelling(config: LabelConfig, out: Path | None):
    with RunFolder(Path(out or config.out), "label", config.of_the_run()) as run:
        yield Labelling(config, run)


def known_labels(files: Sequence[Path]) -> dict[str, Frame]:
    """Labelled frames of these files by the hash of the input that gave the label; InputError if one has none."""
    known = {}
    for file in files:
        for index, frame in enumerate(read_frames(file)):
            if "input_sha256" not in frame.info or frame.energy is None or frame.forces is None:
                got = f"{file}, frame {index} without input_sha256, energy or forces"
                raise InputError(got, "frames that tl-label labelled", "correct `known`")
            known[frame.info["input_sha256"]] = frame
    return known


def frames_of(config: LabelConfig, code: Code) -> Sequence[Frame]:
    """The frames without labels, checked; InputError names the first that cannot be labelled."""
    plain = {"energy": None, "forces": None, "stress": None, "unused": ()}
    frames = [frame.replace(**plain) for frame in read_frames(config.frames, check=False)]
    check_frames(frames, config.frames)
    for index, frame in enumerate(frames):
        try:
            code.check(frame)
        except InputError as error:
            raise error.at(f"{config.frames}, frame {index}") from None
    return frames
