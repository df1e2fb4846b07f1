"""tl-evaluate: a model on the frames of a file."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import torch

from tlmd.baseline.kinds import open_baseline
from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import Errors, Parity, evaluate_frames, with_baseline
from tlmd.evaluate.plots import parity_plot, refuse_format
from tlmd.evaluate.volume import SLOPES, slopes_by_composition
from tlmd.export import load_any
from tlmd.frames.read import read_once
from tlmd.frames.remainder import less_baseline
from tlmd.frames.split import check_labels
from tlmd.run.files import refuse_input, write_text


def evaluate_file(
    model_path: Path,
    data_path: Path,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    backend: str | None = None,
) -> tuple[Errors, Parity]:
    """tl-evaluate: errors of a model on the frames of a file, and the pairs behind them; JSON and picture if asked.
    Where the frames have several densities, the slopes of the energy errors with volume are told.

    Raises InputError for frames without labels, a prediction that is not finite, and an output that would replace what
    is read.
    """
    for path in (json_path, plot_path):
        refuse_input(path, [model_path, data_path])
    refuse_format(plot_path)
    model, card = load_any(model_path)
    labelled = read_once(data_path)
    notes = [*labelled.notes, *check_labels(labelled, str(data_path))]
    if card.baseline is not None:
        with closing(open_baseline(card.baseline)) as baseline:
            labelled = less_baseline(labelled, baseline, str(data_path))
    frames = FrameSet(labelled, model.elements, float(model.cutoff), getattr(torch, card.dtype), str(data_path))
    errors, parity = evaluate_frames(model, frames, backend=backend)
    parity = with_baseline(parity, labelled)
    with_energy = [frame for frame in labelled if frame.energy is not None]
    slopes = slopes_by_composition(with_energy, parity.energy[:, 1] - parity.energy[:, 0])
    for line in (*notes, *(slope.line(composition) for composition, slope in slopes.items())):
        print(line)
    if json_path is not None:
        content = errors.to_json() | {SLOPES: {name: slope._asdict() for name, slope in slopes.items()}}
        write_text(json_path, json.dumps(content, indent=1) + "\n")
    if plot_path is not None:
        parity_plot(plot_path, parity, errors, f"{model_path.name} on {data_path.name}")
    return errors, parity
