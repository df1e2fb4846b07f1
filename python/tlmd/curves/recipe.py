"""A model taught by a classical model that is calibrated to a few DFT frames: calibrate -> generate -> finetune."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from tlmd.calibrate.config import CalibrateConfig
from tlmd.generate.config import GenerateConfig
from tlmd.run.config import load_config
from tlmd.train.config import FinetuneConfig, TeacherConfig
from tlmd.train.finetune import finetune


class Lesson(NamedTuple):
    """The three stages of a lesson in `folder`: forcefield/, frames/ (dropped at the end), taught/model.pt."""

    calibrate: CalibrateConfig
    generate: GenerateConfig
    teach: FinetuneConfig
    folder: Path

    @property
    def model(self) -> Path:
        """The model that has learnt it."""
        return self.folder / "taught" / "model.pt"


def lesson_of(teacher: TeacherConfig, folder: Path, labels: str, frames: int, seed: int, threads: int) -> Lesson:
    """The lesson of `frames` frames chosen with `seed`, of which it sees `labels` (data.labels)."""
    few = [f"seed={seed}", f"n_frames={frames}", "select=random", f"data.labels={labels}"]
    include = folder / "forcefield" / "forcefield.in"
    taught = [f"seed={seed}", f"scale={teacher.scale}", "teacher.name=calibrated", f"teacher.include={include}"]
    steps = [f"seed={seed}", f"data.train={folder / 'frames' / 'frames.extxyz.xz'}", f"training.threads={threads}"]
    return Lesson(
        load_config(CalibrateConfig, teacher.calibrate, few),
        load_config(GenerateConfig, teacher.generate, taught),
        load_config(FinetuneConfig, teacher.teach, [*steps, "training.plots=false"]),
        folder,
    )


def learn(lesson: Lesson) -> None:
    """Go through what is still missing of a lesson."""
    from tlmd.calibrate.fit import calibrate
    from tlmd.generate.driver import generate

    if (lesson.model.parent / "errors.json").exists():
        return
    calibrate(lesson.calibrate, lesson.folder / "forcefield")
    generate(lesson.generate, lesson.folder / "frames")
    finetune(lesson.teach, lesson.model.parent)
    shutil.rmtree(lesson.folder / "frames")
