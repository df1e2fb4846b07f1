"""Pictures of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tlmd.evaluate.errors import Errors, Parity
from tlmd.run.files import write_atomic

POINTS = 20000  # at most, in one panel


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure without a display; the format follows from the suffix."""
    path = Path(path)
    FigureCanvasAgg(figure)
    kind = path.suffix.lstrip(".") or "png"
    write_atomic(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=150, bbox_inches="tight"))


def parity_plot(path: Path | str, parity: Parity, errors: Errors, title: str) -> None:
    """Prediction against label for energy, forces and stress: one panel for each kind that has labels."""
    panels = [
        ("energy", "energy, eV/atom", "meV/atom", parity.energy),
        ("force", "force component, eV/Å", "meV/Å", parity.force),
        ("stress", "stress component, eV/Å³", "meV/Å³", parity.stress),
    ]
    panels = [panel for panel in panels if len(panel[3])]
    figure = Figure(figsize=(4.2 * max(1, len(panels)), 4.0))
    figure.suptitle(title)
    for index, (kind, label, unit, values) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        thin = values[:: max(1, len(values) // POINTS)]
        axes.plot(thin[:, 0], thin[:, 1], ".", markersize=2, rasterized=True)
        span = np.array([values.min(), values.max()])
        axes.plot(span, span, "k-", linewidth=0.8)
        axes.set_xlabel(f"label: {label}")
        axes.set_ylabel("prediction")
        axes.set_title(f"RMSE {errors.rmse(kind):.3g}, MAE {errors.mae(kind):.3g} {unit}", fontsize=9)
    save(figure, path)


def history_plot(path: Path | str, metrics_csv: Path) -> None:
    """Validation errors and learning rate along the run, from metrics.csv."""
    with open(metrics_csv, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(12.6, 3.6))
    columns = [("valid_energy_rmse", "meV/atom"), ("valid_force_rmse", "meV/Å"), ("lr", "learning rate")]
    for index, (key, label) in enumerate(columns):
        axes = figure.add_subplot(1, 3, index + 1)
        points = [(float(row["step"]), float(row[key])) for row in rows if row[key] not in ("nan", "")]
        if points:
            axes.semilogy(*zip(*points, strict=True))
        axes.set_xlabel("step")
        axes.set_ylabel(f"{key.replace('_', ' ')}, {label}" if key != "lr" else label)
    save(figure, path)
