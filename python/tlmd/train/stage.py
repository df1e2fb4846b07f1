"""What pretraining and fine-tuning share before and after the loop: data, device, the final table, the model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import KINDS, UNITS, Errors, evaluate_frames
from tlmd.evaluate.plots import history_plot, parity_plot
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.mekrr.backbones import Backbone
from tlmd.modelfile import Card, load_model
from tlmd.models.potential import Potential
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_atomic
from tlmd.run.folder import RunFolder
from tlmd.train.config import MekrrConfig, TrainConfig
from tlmd.train.loop import Loop

RESULTS = ("model.pt", "errors.json")  # of a finished run of a stage that makes a model
TRAIN_SAMPLE = 200  # frames, at most, for the errors on the training set at the end


@dataclass
class Data:
    """Frames of a stage; `valid` and `test` may be empty."""

    train: list[Frame]
    valid: list[Frame]
    test: list[Frame]


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


def read_data(config: TrainConfig | MekrrConfig) -> Data:
    """The frames of a stage; where there is no file of validation frames, a part of `train` is held out."""
    data, training = config.data, config.training
    train = read_frames(data.train)
    if data.valid is None:
        train, valid = hold_out(train, data.valid_fraction)
    else:
        valid = read_frames(data.valid)
    train = select_frames(train, training.n_frames, training.select, config.seed, str(data.train))
    if data.labels == "energies":
        train, valid = ([frame.replace(forces=None, stress=None) for frame in part] for part in (train, valid))
    return Data(
        train,
        list(valid),
        read_frames(data.test) if data.test is not None else [],
    )


def hold_out(frames: Sequence[Frame], fraction: float) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames: whole trajectories (info "source"), evenly chosen, or the end of a single one.

    Neighbours in time are nearly equal, so that frames of one trajectory must not be dealt to both.
    """
    sources = list(dict.fromkeys(frame.info.get("source") for frame in frames))
    n = round(fraction * len(sources))
    if n == 0:
        cut = len(frames) - round(fraction * len(frames))
        return list(frames[:cut]), list(frames[cut:])
    chosen = {sources[int((k + 0.5) * len(sources) / n)] for k in range(n)}
    parts = [[f for f in frames if (f.info.get("source") in chosen) == held_out] for held_out in (False, True)]
    return parts[0], parts[1]


def select_frames(frames: Sequence[Frame], n: int | None, how: str, seed: int, name: str) -> list[Frame]:
    """`n` of the frames: the first, or a random choice that follows from the seed, in the order of the file.

    With one seed, a smaller choice is a part of every larger one.
    """
    if n is None:
        return list(frames)
    if n > len(frames):
        raise InputError(
            f"training.n_frames = {n}", f"at most {len(frames)}, which {name} offers for training", "ask for fewer"
        )
    chosen = range(n) if how == "first" else np.sort(np.random.default_rng(seed).permutation(len(frames))[:n])
    return [frames[int(i)] for i in chosen]


def setup(config: TrainConfig) -> torch.device:
    """Set threads and seed; the device to train on."""
    training = config.training
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    torch.manual_seed(config.seed)
    if training.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=training.device).device
    except (RuntimeError, AssertionError):
        raise InputError(
            f'training.device = "{training.device}"', "a device that this torch can use", 'set it to "auto" or "cpu"'
        ) from None


def frame_sets(data: Data, model: Potential | Backbone) -> dict[str, FrameSet | None]:
    """Frame sets of train, valid and test for a model; None where there are no frames."""
    parts = {"train": data.train, "valid": data.valid, "test": data.test}
    return {
        name: FrameSet(frames, model.elements, model.cutoff, model.dtype, f"{name} frames")
        if frames or name == "train"
        else None
        for name, frames in parts.items()
    }


def new_card(model: Potential, config: TrainConfig, n_frames: int, architecture) -> Card:
    """Card of a model that `config` trains on `n_frames` frames; errors are added at the end."""
    return Card(
        elements=model.elements,
        cutoff=model.cutoff,
        architecture=architecture,
        level_of_theory=config.data.level_of_theory,
        training_data=f"{config.data.train.name}, {n_frames} frames",
        training_data_sha256=sha256(config.data.train),
    )


def conclude(
    loop: Loop, sets: dict[str, FrameSet | None], config: TrainConfig, earlier: dict[str, Errors] | None = None
) -> Result:
    """Errors of the best parameters on every set, after the `earlier` ones: table, pictures, errors.json, model.pt."""
    run, model = loop.run_folder, loop.task.model
    errors: dict[str, Errors] = dict(earlier or {})
    errors |= reported_errors(model, sets, config, run, config.training.batch_atoms, loop.device)
    card = loop.task.card.model_copy(update={"held_out_errors": held_out(errors)})
    loop.write_model(card)
    if run.main:
        write_errors(run.path, errors)
        if config.training.plots:
            history_plot(run.path / "history.png", run.path / "metrics.csv")
        run.finish(steps=loop.step, best_step=loop.best_step, training_minutes=loop.minutes, errors=sums_of(errors))
        run.table(error_table(errors, f"{run.path.name}: best at step {loop.best_step} of {loop.step}"))
    return Result(model.to("cpu"), card, run.path, loop.step, loop.best_step, loop.minutes, errors)


def finished(run: RunFolder) -> Result:
    """The result of a run that has ended before, from its folder, where nothing changes."""
    errors, found = say_finished(run), run.result
    model, card = load_model(run.path / "model.pt")
    return Result(model, card, run.path, found["steps"], found["best_step"], found["training_minutes"], errors)


def say_finished(run: RunFolder) -> dict[str, Errors]:
    """The errors of a run that has ended before; they are shown again."""
    errors = {
        name: Errors(n, *torch.tensor(sums, dtype=torch.float64)) for name, (n, *sums) in run.result["errors"].items()
    }
    run.console.print(f"{run.path} is complete; nothing to do", markup=False)
    run.console.print(error_table(errors, f"{run.path.name}: errors at its end"))
    return errors


def sums_of(errors: dict[str, Errors]) -> dict[str, list]:
    """Errors as plain values."""
    return {name: [e.n_frames, e.number.tolist(), e.absolute.tolist(), e.square.tolist()] for name, e in errors.items()}


def reported_errors(
    model: Potential,
    sets: dict[str, FrameSet | None],
    config: TrainConfig | MekrrConfig,
    run: RunFolder,
    batch_atoms: int,
    device: torch.device | str = "cpu",
) -> dict[str, Errors]:
    """Errors on a sample of train, on valid, on test and on its parts by data.split_by; pictures of valid and test."""
    found = {name: frames for name, frames in sets.items() if frames is not None}
    found["train"] = found["train"].spread(TRAIN_SAMPLE)
    if config.data.split_by and "test" in found:
        found |= parts_by(found["test"], config.data.split_by)
    errors: dict[str, Errors] = {}
    for name, frames in found.items():
        errors[name], parity = evaluate_frames(model, frames, batch_atoms, device)
        if run.main and config.training.plots and name in ("valid", "test"):
            parity_plot(run.path / f"parity_{name}.png", parity, errors[name], f"{run.path.name}: {name} frames")
    return errors


def held_out(errors: dict[str, Errors]) -> dict[str, dict]:
    """What the card says of them."""
    return {name: errors[name].to_json() for name in ("test", "valid") if name in errors}


def parts_by(test: FrameSet, key: str) -> dict[str, FrameSet]:
    """`test VALUE`: the test frames with each value of the info key."""
    values = [str(frame.info.get(key, "without")) for frame in test.frames]
    if set(values) == {"without"}:
        raise InputError(f'data.split_by = "{key}"', "an info key of the test frames", "correct it or leave it out")
    return {f"test {v}": test.subset([i for i, x in enumerate(values) if x == v]) for v in sorted(set(values))}


def write_errors(folder: Path, errors: dict[str, Errors]) -> None:
    """errors.json of a run: the keys of `tl-evaluate --json` by set."""
    text = json.dumps({name: e.to_json() for name, e in errors.items()}, indent=1) + "\n"
    write_atomic(folder / "errors.json", lambda temporary: temporary.write_text(text))


def error_table(errors: dict[str, Errors | None], title: str) -> Table:
    """RMSE (MAE) of each kind that has labels, for each set."""
    present = {name: e for name, e in errors.items() if e is not None}
    kinds = [kind for kind in KINDS if any(e.mae(kind) is not None for e in present.values())]
    table = Table("frames", title=title)
    for kind in kinds:
        table.add_column(f"{kind} RMSE (MAE), {UNITS[kind]}", justify="right")
    for name, e in present.items():
        cells = ["-" if e.mae(kind) is None else f"{e.rmse(kind):.2f} ({e.mae(kind):.2f})" for kind in kinds]
        table.add_row(f"{name} ({e.n_frames})", *cells)
    return table
