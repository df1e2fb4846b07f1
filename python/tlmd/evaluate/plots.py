"""Pictures of a training run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tlmd.evaluate.errors import KINDS, Errors, Parity
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

POINTS = 20000  # at most, in one panel
LABELS = {"energy": "energy", "forces": "force component", "stress": "stress component"}


def refuse_format(path: Path | str | None) -> None:
    """InputError for a picture whose suffix matplotlib does not know."""
    known = FigureCanvasAgg(Figure()).get_supported_filetypes()
    if path is not None and (kind := Path(path).suffix.lstrip(".").lower()) and kind not in known:
        raise InputError(f"a picture {path}", f"the suffix {', '.join(sorted(known))}", "choose another name")


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure without a display; the format follows from the suffix."""
    path = Path(path)
    refuse_format(path)
    FigureCanvasAgg(figure)
    kind = path.suffix.lstrip(".").lower() or "png"
    write_atomic(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=150, bbox_inches="tight"))


def one_legend(figure: Figure, place: str, **settings: Any) -> None:
    """One legend for all panels, each label once."""
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc=place, fontsize=8, **settings)


def parity_plot(path: Path | str, parity: Parity, errors: Errors, title: str) -> None:
    """Prediction against label for energy, forces and stress: one panel for each kind that has labels."""
    panels = [(name, kind, getattr(parity, name)) for name, kind in KINDS.items() if len(getattr(parity, name))]
    figure = Figure(figsize=(4.2 * max(1, len(panels)), 4.0))
    figure.suptitle(title)
    for index, (name, kind, values) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        thin = values[:: max(1, len(values) // POINTS)]
        axes.plot(thin[:, 0], thin[:, 1], ".", markersize=2, rasterized=True)
        span = np.array([values.min(), values.max()])
        axes.plot(span, span, "k-", linewidth=0.8)
        axes.set_xlabel(f"label: {LABELS[name]}, {kind.pretty.removeprefix('m')}")
        axes.set_ylabel("prediction")
        axes.set_title(f"RMSE {errors.rmse(name):.3g}, MAE {errors.mae(name):.3g} {kind.pretty}", fontsize=9)
    save(figure, path)


def history_plot(path: Path | str, metrics_csv: Path) -> None:
    """Validation errors and learning rate along the run, from metrics.csv."""
    with open(metrics_csv, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(12.6, 3.6))
    columns = [(f"valid_{KINDS[name].word}_rmse", KINDS[name].pretty) for name in ("energy", "forces")]
    columns.append(("lr", "learning rate"))
    for index, (key, label) in enumerate(columns):
        axes = figure.add_subplot(1, 3, index + 1)
        points = [(float(row["step"]), float(row[key])) for row in rows if row[key] not in ("nan", "")]
        if points:
            axes.semilogy(*zip(*points, strict=True))
        axes.set_xlabel("step")
        axes.set_ylabel(f"{key.replace('_', ' ')}, {label}" if key != "lr" else label)
    save(figure, path)
