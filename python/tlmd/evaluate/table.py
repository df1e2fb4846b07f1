"""The errors of a model on the sets of a stage: computed, shown as a table, kept in the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import MEASURES, Errors, evaluate_frames, with_baseline
from tlmd.evaluate.plots import parity_plot
from tlmd.run.files import write_text
from tlmd.run.folder import RunFolder

RESULTS = ("model.pt", "errors.json")  # of a finished run of a stage that makes a model
TRAIN_SAMPLE = 200  # frames, at most, for the errors on the training set at the end


def errors_by_set(
    model: nn.Module,
    sets: Mapping[str, FrameSet | None],
    run: RunFolder,
    split_by: str | None = None,
    plots: bool = False,
    batch_atoms: int = 1024,
    device: torch.device | str = "cpu",
) -> dict[str, Errors]:
    """Errors on a sample of train, on valid, on test and on its parts by the info key `split_by`.

    plots: parity plots of valid and test are drawn into the run folder.
    """
    found = {name: frames for name, frames in sets.items() if frames is not None}
    found["train"] = found["train"].evenly(TRAIN_SAMPLE)
    if split_by and "test" in found:
        found |= parts_by(found["test"], split_by)
    errors: dict[str, Errors] = {}
    for name, frames in found.items():
        errors[name], parity = evaluate_frames(model, frames, batch_atoms, device)
        if run.main and plots and name in ("valid", "test"):
            parity = with_baseline(parity, frames.frames)
            parity_plot(run.path / f"parity_{name}.png", parity, errors[name], f"{run.path.name}: {name} frames")
    return errors


def parts_by(test: FrameSet, key: str) -> dict[str, FrameSet]:
    """`test VALUE`: the test frames with each value of the info key; those that lack it are `test without`."""
    values = [str(frame.info.get(key, "without")) for frame in test.frames]
    return {f"test {v}": test.subset([i for i, x in enumerate(values) if x == v]) for v in sorted(set(values))}


def held_out(errors: Mapping[str, Errors]) -> dict[str, dict]:
    """What a model card says of them."""
    return {name: errors[name].to_json() for name in ("test", "valid") if name in errors}


def error_table(errors: Mapping[str, Errors | None], title: str, stability: Mapping[str, Any] | None = None) -> Table:
    """RMSE (MAE) of what has labels, for each set, and the verdict of `stability` if there is one.

    Raises InputError for an error that is not finite.
    """
    present = {name: e for name, e in errors.items() if e is not None}
    kinds = [kind for kind in MEASURES if any(e.mae(kind) is not None for e in present.values())]
    table = Table("frames", title=title)
    for kind in kinds:
        table.add_column(f"{MEASURES[kind].word} RMSE (MAE), {MEASURES[kind].unit}", justify="right")
    for name, e in present.items():
        e.check(f"the {name} frames")
        table.add_row(f"{name} ({e.n_frames})", *(e.text(kind) for kind in kinds))
    if stability:
        table.add_section()
        table.add_row(f"stability, {stability['temperature_K']:g} K", stability["verdict"])
    return table


def write_errors(folder: Path, errors: Mapping[str, Errors], stability: Mapping[str, Any] | None = None) -> None:
    """errors.json of a run: the keys of `tl-evaluate --json` by set, and `stability` under its name. InputError for an
    error that is not finite.
    """
    for name, each in errors.items():
        each.check(f"the {name} frames")
    content = {name: e.to_json() for name, e in errors.items()} | ({"stability": stability} if stability else {})
    write_text(folder / "errors.json", json.dumps(content, indent=1) + "\n")


def sums_of(errors: Mapping[str, Errors]) -> dict[str, list]:
    """Errors as plain values, for the notes of a run folder."""
    return {name: [e.n_frames, *(part.tolist() for part in e.sums())] for name, e in errors.items()}


def show_finished(run: RunFolder) -> dict[str, Errors]:
    """The errors of a run that has ended before; they are shown again."""
    errors = {name: Errors.of_sums(n, sums) for name, (n, *sums) in run.result["errors"].items()}
    run.console.print(f"{run.path} is complete; nothing to do", markup=False)
    run.console.print(error_table(errors, f"{run.path.name}: errors at its end", run.result.get("stability")))
    return errors
