"""What a kernel of mean embeddings sees along a trajectory: K_alpha between its frames, the clusters in it, figures."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers
from ase.geometry import get_distances
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.cluster.vq import kmeans2

from tlmd.evaluate.dataset import FrameSet
from tlmd.frames.frame import Frame
from tlmd.mekrr.accumulate import sample_features
from tlmd.mekrr.backbones import PaiNNBackbone
from tlmd.models.kernels import Atoms, Kernel, alpha_kernel, median_distance, scaling
from tlmd.run.errors import InputError


@dataclass
class View:
    """K_alpha of the features after one layer, normalised to 1 for a frame with itself (T, T), and clusters (T,)."""

    layer: int
    alpha: float
    kernel: np.ndarray
    clusters: np.ndarray


def kernel_views(
    model: Path, frames: list[Frame], alphas: Sequence[float], n_clusters: int, length: float
) -> list[View]:
    """Kernels and clusters of the features after each layer, scaled for each species; InputError for numbers that do
    not fit."""
    check_numbers(len(frames), alphas, n_clusters, length)
    backbone = PaiNNBackbone(model)
    sets = FrameSet(frames, backbone.elements, backbone.cutoff, backbone.dtype, "trajectory")
    features, species, frame = sample_features(backbone, sets, range(len(sets)))
    views = []
    for layer, h in enumerate(features.double().chunk(len(backbone.layers), dim=1)):
        shift, factor = scaling(h, species, len(backbone.elements))
        atoms = Atoms((h - shift[species]) * factor[species], species, frame, len(backbone.elements))
        median = median_distance(atoms.h, torch.Generator().manual_seed(1))
        for alpha in alphas:
            kernel = alpha_kernel(Kernel("gaussian", length * median), atoms, atoms, alpha).numpy()
            size = np.sqrt(np.diag(kernel))
            kernel = kernel / np.outer(size, size)
            if not np.isfinite(kernel).all():
                raise InputError(
                    f"a kernel that is not finite (layer {layer}, alpha {alpha:g})",
                    "finite features, and a length that is neither tiny nor huge",
                    "check the model and the frames, or correct --length",
                )
            views.append(View(layer, alpha, kernel, spectral_clusters(kernel, n_clusters)))
    return views


def check_numbers(n_frames: int, alphas: Sequence[float], n_clusters: int, length: float) -> None:
    """InputError unless there are frames to compare, no more clusters than frames, and settings of a kernel."""
    if n_frames < 2:
        raise InputError(f"{n_frames} frame", "two or more, to compare", "give a trajectory")
    if not 2 <= n_clusters <= n_frames:
        raise InputError(f"--clusters {n_clusters}", f"2 to {n_frames}, the number of frames", "correct --clusters")
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"--alpha {alpha:g}", "0 to 1", "correct --alpha")
    if not 0 < length < math.inf:
        raise InputError(f"--length {length}", "a positive number", "correct --length")


def spectral_clusters(kernel: np.ndarray, n: int) -> np.ndarray:
    """Clusters (T,) by k-means on the first eigenvectors of the normalised affinity (Ng, Jordan, Weiss 2002).

    The affinity is a gaussian of the distance sqrt(2 - 2 K) between normalised mean embeddings, as wide as its median.
    Clusters are numbered in the order in which they first appear.
    """
    squares = np.maximum(2 - 2 * kernel, 0)
    affinity = np.exp(-0.5 * squares / max(float(np.median(squares)), 1e-12))
    root = 1 / np.sqrt(affinity.sum(1))
    vectors = np.linalg.eigh(affinity * np.outer(root, root))[1][:, -n:]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    best, labels = np.inf, None
    for seed in range(10):
        centres, found = kmeans2(vectors, n, minit="++", seed=seed)
        inertia = float(np.sum((vectors - centres[found]) ** 2))
        if inertia < best:
            best, labels = inertia, found
    order = {label: k for k, label in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[label] for label in labels.tolist()])


def explained(values: np.ndarray, clusters: np.ndarray) -> float:
    """Share of the variance of `values` (T,) that lies between clusters: 1 if they tell all, 0 if nothing."""
    means = np.array([values[clusters == c].mean() for c in clusters])
    variance = float(np.var(values))
    return float(np.var(means)) / variance if variance > 0 else 0.0


def distances(frames: Sequence[Frame], name: str) -> np.ndarray:
    """Distance (T,) in A: of two atoms "12-40", or the shortest between two elements "C-H", by minimum image."""
    ends = name.split("-")
    if len(ends) != 2 or not all(end.isdigit() or end in atomic_numbers for end in ends):
        raise InputError(f"--distance {name}", "two elements or two atoms, as C-H or 12-40", "correct --distance")
    found = []
    for frame in frames:
        a, b = (
            [int(end)] if end.isdigit() else np.flatnonzero(frame.numbers == atomic_numbers[end]).tolist()
            for end in ends
        )
        if not a or not b or max(*a, *b) >= len(frame.numbers):
            raise InputError(f"--distance {name}", "atoms that every frame has", "correct --distance")
        lengths = get_distances(frame.positions[a], frame.positions[b], cell=frame.cell, pbc=frame.pbc)[1]
        found.append(np.min(np.where(np.equal.outer(a, b), np.inf, lengths)))
    return np.array(found)


def heat_maps(views: Sequence[View], along: np.ndarray | None, name: str | None) -> Figure:
    """A row for each alpha, a column for each layer: the kernel, and under it the clusters and the distance."""
    layers, alphas = sorted({v.layer for v in views}), list(dict.fromkeys(v.alpha for v in views))
    figure = Figure(figsize=(3.1 * len(layers), 4.2 * len(alphas)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    spec = figure.add_gridspec(3 * len(alphas), len(layers), height_ratios=[3, 0.25, 1] * len(alphas))
    for view in views:
        row, column = 3 * alphas.index(view.alpha), layers.index(view.layer)
        axis = figure.add_subplot(spec[row, column])
        image = axis.imshow(view.kernel, cmap="viridis", origin="lower", aspect="auto")
        axis.set_title(f"layer {view.layer}, α = {view.alpha:g}", fontsize=9)
        figure.colorbar(image, ax=axis, fraction=0.05)
        strip = figure.add_subplot(spec[row + 1, column], sharex=axis)
        strip.imshow(view.clusters[None], cmap="tab10", vmin=0, vmax=9, aspect="auto")
        strip.set_yticks([])
        if along is not None:
            below = figure.add_subplot(spec[row + 2, column], sharex=axis)
            for cluster in np.unique(view.clusters):
                mine = np.flatnonzero(view.clusters == cluster)
                below.plot(mine, along[mine], ".", markersize=3, color=f"C{cluster}")
            below.set_ylabel(f"{name} (Å)", fontsize=8)
            below.set_xlabel("frame", fontsize=8)
    return figure


def grid_figure(grid: Path) -> Figure:
    """Validation errors of tl-mekrr against alpha, each the best of the other choices."""
    with open(grid, encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    kinds = [key for key in rows[0] if key.endswith("_rmse")]
    figure = Figure(figsize=(4.2 * len(kinds), 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    alphas = sorted({row["alpha"] for row in rows})
    units = {"energy_rmse": "meV/atom", "forces_rmse": "meV/Å", "stress_rmse": "meV/Å³"}
    for index, kind in enumerate(kinds):
        axis = figure.add_subplot(1, len(kinds), index + 1)
        best = [np.nanmin([row[kind] for row in rows if row["alpha"] == alpha]) for alpha in alphas]
        axis.plot(alphas, 1e3 * np.array(best), "o-")
        axis.set(xlabel="α", ylabel=f"validation RMSE, {kind.split('_')[0]}, {units[kind]}")
        axis.set_xscale("symlog", linthresh=0.01)
    return figure
