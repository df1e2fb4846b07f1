"""Predicted standard deviations against errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tlmd.engine import predictor
from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.plots import save
from tlmd.models.kernel_head import deviations
from tlmd.models.potential import Potential
from tlmd.run.folder import RunFolder

BINS = 8


class Reliability(NamedTuple):
    """Of frames with an energy: standard deviations and errors (B,), eV; of atoms with a force: standard deviations of
    their energies, eV, and norms of the force errors, eV/A (N,)."""

    energies: Tensor
    errors: Tensor
    atoms: Tensor
    force_errors: Tensor


def reliability(model: Potential, frames: FrameSet) -> Reliability:
    """Deviations and errors of the labelled ones among `frames`."""
    predict = predictor(model, sample=frames.graph(0))
    parts: list[list[Tensor]] = [[], [], [], []]
    for i in range(len(frames)):
        graph, labels = frames.graph(i), frames.labels[i]
        of_atoms, of_frame = (part.double() for part in deviations(model, graph))
        prediction = predict(graph)
        if torch.isfinite(labels.energy).all():
            parts[0].append(of_frame)
            parts[1].append((prediction.energy - labels.energy).abs())
        if torch.isfinite(labels.forces).all():
            parts[2].append(of_atoms)
            parts[3].append((prediction.forces - labels.forces).norm(dim=1))
    return Reliability(*(torch.cat(part) if part else torch.zeros(0, dtype=torch.float64) for part in parts))


def calibrate_deviations(
    model: Potential, root: Tensor, sets: dict[str, FrameSet | None], run: RunFolder, plots: bool
) -> None:
    """Give the model's head its predicted standard deviations, in the size of the errors on the validation frames.

    root (blocks, D, K): of the weights' covariance but for its scale. Without frames with energies its scale stays one;
    nothing is kept where the predicted deviations or the errors are not finite, or the deviations vanish.
    """
    head = model.net.head
    head.spread = root.to(head.common.dtype)
    name = "valid" if sets["valid"] is not None else "train"
    found = reliability(model, sets[name])
    if not len(found.energies):
        return
    factor = float((found.errors / found.energies).square().mean().sqrt())
    if not math.isfinite(factor):
        head.spread = head.spread[:0, :, :0]
        run.say(f"no standard deviations: those predicted for the {name} frames vanish, or errors are not finite")
        return
    head.spread *= factor
    scaled = found._replace(energies=factor * found.energies, atoms=factor * found.atoms)
    run.say(f"standard deviations of energies in the size of the errors on the {name} frames")
    for name in ("valid", "test"):
        if sets[name] is None:
            continue
        found = scaled if name == "valid" else reliability(model, sets[name])
        if len(found.energies):
            inside = [float((found.errors < k * found.energies).double().mean()) for k in (1, 2)]
            one, two = (f"{100 * share:.0f} %" for share in inside)
            run.say(f"{name}: {one} of energies within one, {two} within two of them")
        if plots:
            reliability_plot(run.path / f"deviation_{name}.png", found, f"{run.path.name}: {name} frames")


def reliability_plot(path: Path, found: Reliability, title: str) -> None:
    """Errors against predicted deviations, and their root mean square in bins of equal numbers."""
    figure = Figure(figsize=(9.0, 4.0))
    figure.suptitle(title)
    panels = [
        (found.energies, found.errors, "standard deviation of a frame's energy, meV", "error, meV"),
        (found.atoms, found.force_errors, "standard deviation of an atom's energy, meV", "force error, meV/Å"),
    ]
    for index, (deviation, error, x_label, y_label) in enumerate(panels):
        axes = figure.add_subplot(1, 2, index + 1)
        x, y = 1e3 * deviation.numpy(), 1e3 * error.numpy()
        axes.loglog(x, y, ".", markersize=2, alpha=0.4, rasterized=True)
        if len(x) >= 2 * BINS:
            parts = np.array_split(np.argsort(x), BINS)
            axes.plot(
                [np.sqrt(np.mean(x[p] ** 2)) for p in parts],
                [np.sqrt(np.mean(y[p] ** 2)) for p in parts],
                "o-",
                color="k",
            )
        if index == 0 and len(x):
            axes.plot([x.min(), x.max()], [x.min(), x.max()], "--", color="gray", linewidth=0.8)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    save(figure, path)
