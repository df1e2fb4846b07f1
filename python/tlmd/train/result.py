"""What a training run ends with: the best model and its card, errors on every set, pictures, in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import Errors
from tlmd.evaluate.plots import history_plot
from tlmd.evaluate.table import error_table, errors_by_set, held_out, show_finished, sums_of, write_errors
from tlmd.frames.imports.formats import fingerprint
from tlmd.modelfile import Card, layer_cutoff, load_model
from tlmd.models.architecture import Architecture
from tlmd.models.potential import Potential
from tlmd.run.folder import RunFolder
from tlmd.train.config import TrainConfig
from tlmd.train.loop import Loop
from tlmd.train.stability import stability_notes


@dataclass
class Result:
    """What a run ends with: the best averaged parameters, their card, and errors by set (train, valid, test, ...)."""

    model: Potential
    card: Card
    out: Path
    steps: int
    best_step: int
    minutes: float
    errors: dict[str, Errors]


def card_of(
    model: Potential,
    config: TrainConfig,
    n_frames: int,
    architecture: Architecture,
    shortest: dict[str, float],
    baseline: dict[str, Any] | None = None,
) -> Card:
    """Card of a model that `config` trains on `n_frames` frames; errors are added at the end."""
    return Card(
        elements=model.elements,
        cutoff=layer_cutoff(model),
        architecture=architecture,
        level_of_theory=config.data.level_of_theory,
        training_data=f"{config.data.train.name}, {n_frames} frames",
        training_data_sha256=fingerprint(config.data.train),
        baseline=baseline,
        shortest_A=shortest,
    )


def write_result(
    loop: Loop,
    sets: dict[str, FrameSet | None],
    config: TrainConfig,
    earlier: dict[str, Errors] | None = None,
    notes: Sequence[str] = (),
    stability: Callable[[], dict[str, Any] | None] = lambda: None,
) -> Result:
    """Errors of the best parameters on every set, after the `earlier` ones: model.pt, errors.json, pictures, table.

    notes: lines below the table. stability: what gives its row, once the model is written.
    """
    run, model, training = loop.run_folder, loop.task.model, config.training
    errors: dict[str, Errors] = dict(earlier or {})
    errors |= errors_by_set(model, sets, run, config.data.split_by, training.plots, training.batch_atoms, loop.device)
    card = loop.task.card.model_copy(update={"held_out_errors": held_out(errors)})
    loop.write_model(card)
    if run.main:
        write_errors(run.path, errors)
        if training.plots:
            history_plot(run.path / "history.png", run.path / "metrics.csv")
        found = stability()
        write_errors(run.path, errors, found)
        run.finish(
            steps=loop.step, best_step=loop.best_step, training_minutes=loop.minutes, errors=sums_of(errors),
            stability=found,
        )  # fmt: skip
        title = f"{run.path.name}: best at step {loop.best_step} of {loop.step}"
        run.table(error_table(errors, title, found), *notes, *stability_notes(found))
    return Result(model.to("cpu"), card, run.path, loop.step, loop.best_step, loop.minutes, errors)


def finished_result(run: RunFolder) -> Result:
    """The result of a run that has ended before, from its folder, where nothing changes."""
    errors, found = show_finished(run), run.result
    model, card = load_model(run.path / "model.pt")
    return Result(model, card, run.path, found["steps"], found["best_step"], found["training_minutes"], errors)
