"""What the figures of the analyses share: matplotlib Figure objects, no global state, legends outside the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from tlmd.analysis.records import with_error
from tlmd.analysis.reference.liquid import Known
from tlmd.analysis.statistics import Estimate

COMPUTED, EXPERIMENT, FAINT = "#1f5fa8", "#c0392b", "#b8c4d0"
ROW = 3  # panels


def new_figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A Figure with its axes side by side, at most three in a row."""
    columns, rows = min(panels, ROW), -(-panels // ROW)
    figure = Figure(figsize=(5.2 * columns if panels > 1 else 6.4, 3.8 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend_above(axis: Axes) -> Legend:
    """A legend in one line above the axes, where it covers no data."""
    n_entries = len(axis.get_legend_handles_labels()[1])
    return axis.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=n_entries, frameon=False, borderaxespad=0)


def draw_integral(axis: Axes, curves: dict[str, np.ndarray], estimate: Estimate, known: Known | None, name: str):
    """A running integral (time, value, error), the estimate's band and experiment's line; `name` of the property."""
    time, running, error = curves.values()
    value, width = estimate.value, estimate.standard_error
    axis.fill_between(time, running - error, running + error, color=FAINT, alpha=0.5, linewidth=0)
    axis.plot(time, running, color=FAINT, label="running integral")
    axis.axhline(value, color=COMPUTED, label=f"cepstral {with_error(value, width)}")
    axis.axhspan(value - width, value + width, color=COMPUTED, alpha=0.25, linewidth=0)
    if known is not None:
        axis.axhline(known.value, color=EXPERIMENT, linestyle="--", label=f"experiment {known.value:.3g}")
    axis.set(xlabel="time (ps)", ylabel=f"{name} ({estimate.unit})", ylim=(0, None))
    legend_above(axis)


def comparison_figure(records: Sequence[dict]) -> Figure | None:
    """Ratio of value to experiment with its error bar for each record that has an experiment; None when none has."""
    compared = [record for record in records if record["experiment"]]
    if not compared:
        return None
    figure, (axis,) = new_figure()
    for row, record in enumerate(compared):
        scale = abs(record["experiment"])
        ratio, error = record["value"] / record["experiment"], (record["standard_error"] or 0.0) / scale
        axis.errorbar(ratio, -row, xerr=2 * error, fmt="o", color=COMPUTED, capsize=3)
    axis.axvline(1.0, color=EXPERIMENT, linestyle="--")
    axis.set_yticks([-row for row in range(len(compared))], [record["quantity"] for record in compared])
    axis.set_ylim(-len(compared) + 0.5, 0.5)
    axis.set_xlabel("computed / experiment (bars: two standard errors)")
    return figure
