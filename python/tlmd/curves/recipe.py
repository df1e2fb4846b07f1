"""A start pretrained on a classical model that is calibrated to a few DFT frames: calibrate -> generate -> finetune."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from tlmd.calibrate.config import CalibrateConfig
from tlmd.curves.config import RecipeConfig
from tlmd.generate.config import GenerateConfig
from tlmd.run.config import load_config
from tlmd.train.config import FinetuneConfig
from tlmd.train.finetune import finetune


class Start(NamedTuple):
    """The three stages of a start in `folder`: forcefield/, frames/ (dropped at the end), pretrained/model.pt."""

    calibrate: CalibrateConfig
    generate: GenerateConfig
    teach: FinetuneConfig
    folder: Path

    @property
    def model(self) -> Path:
        """The model to start from."""
        return self.folder / "pretrained" / "model.pt"


def start_of(recipe: RecipeConfig, folder: Path, labels: str, frames: int, seed: int, threads: int) -> Start:
    """The start for `frames` frames chosen with `seed`, of which it sees `labels` (data.labels)."""
    few = [f"seed={seed}", f"n_frames={frames}", "select=random", f"data.labels={labels}"]
    include = folder / "forcefield" / "forcefield.in"
    calibrated = load_config(CalibrateConfig, recipe.calibrate, few)
    teacher = "lammps" if calibrated.field else "calibrated"
    labelled = [f"seed={seed}", f"scale={recipe.scale}", f"teacher.name={teacher}", f"teacher.include={include}"]
    steps = [f"seed={seed}", f"data.train={folder / 'frames' / 'frames.extxyz.xz'}", f"training.threads={threads}"]
    return Start(
        calibrated,
        load_config(GenerateConfig, recipe.generate, labelled),
        load_config(FinetuneConfig, recipe.teach, [*steps, "training.plots=false", "stability.ps=0"]),
        folder,
    )


def make_start(start: Start) -> None:
    """Do what is still missing of a start."""
    from tlmd.calibrate.fit import calibrate
    from tlmd.generate.driver import generate

    if (start.model.parent / "errors.json").exists():
        return
    calibrate(start.calibrate, start.folder / "forcefield")
    generate(start.generate, start.folder / "frames")
    finetune(start.teach, start.model.parent)
    shutil.rmtree(start.folder / "frames")
