"""tl-analyze kernel: records and figures of what a kernel of mean embeddings sees along a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlmd.analysis.records import RECORD_KEYS
from tlmd.analysis.registry import Measurement
from tlmd.frames.read import read_frames
from tlmd.mekrr.heatmaps import distances, explained, grid_figure, heat_maps, kernel_views

MOST_FRAMES = 400


def measure_kernel(
    model: Path,
    trajectory: Path,
    distance: str | None,
    alphas: Sequence[float],
    n_clusters: int,
    length: float,
    grid: Path | None,
) -> Measurement:
    """Heat maps of K_alpha along a trajectory for every layer of `model` and each alpha, with spectral clusters and, if
    given, a distance such as "C-H" (the shortest between two elements) or "12-40" (two atoms, from 0).

    length: of the gaussian kernel, in units of the median distance of scaled features. The records say how much of the
    variance of the distance the clusters explain. grid: grid.csv of tl-mekrr, drawn as well.
    Raises InputError for frames or names that do not fit.
    """
    frames = read_frames(trajectory)
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int)]
    along = distances(frames, distance) if distance else None
    views = kernel_views(model, frames, alphas, n_clusters, length)
    figures = {"Kernel along the trajectory": heat_maps(views, along, distance)}
    if grid is not None:
        figures["Validation errors"] = grid_figure(grid)
    source = f"{model.name} on {trajectory.name}, {len(frames)} frames, {n_clusters} clusters"
    records = []
    for view in views if along is not None else []:
        name = f"variance of {distance} explained by clusters, layer {view.layer}, alpha {view.alpha:g}"
        values = (name, explained(along, view.clusters), None, "1", None, None, None, None, source)
        records.append(dict(zip(RECORD_KEYS, values, strict=False)))  # those after are None
    return Measurement(records, figures)
