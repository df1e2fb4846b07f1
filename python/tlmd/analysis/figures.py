"""Figures of the analyses: matplotlib Figure objects, no global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tlmd.analysis.compare import soper_curve
from tlmd.analysis.density import Density
from tlmd.analysis.diffusion import Diffusion
from tlmd.analysis.statistics import Estimate
from tlmd.analysis.structure import Radial
from tlmd.units import M2_S_PER_A2_FS

COMPUTED, EXPERIMENT, FAINT = "#1f5fa8", "#c0392b", "#b8c4d0"


def new_figure(panels: int = 1) -> tuple[Figure, list]:
    """A Figure with its axes side by side."""
    figure = Figure(figsize=(5.2 * panels if panels > 1 else 6.4, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def density_figure(result: Density, experiment: Estimate | None) -> Figure:
    """Density against time, the equilibrated mean and the experimental line."""
    figure, (axis,) = new_figure()
    time = (result.times_fs - result.times_fs[0]) / 1000
    axis.plot(time, result.series, color=FAINT, linewidth=0.8, label="run")
    value, error = result.estimate.value, result.estimate.standard_error
    span = [time[result.start], time[-1]]
    axis.plot(span, [value, value], color=COMPUTED, label=f"mean {value:.4f} ± {error:.4f}")
    axis.fill_between(span, value - 2 * error, value + 2 * error, color=COMPUTED, alpha=0.3, linewidth=0)
    if experiment is not None:
        axis.axhline(experiment.value, color=EXPERIMENT, linestyle="--", label=f"experiment {experiment.value:.4f}")
    axis.set(xlabel="time (ps)", ylabel="density (g/cm³)")
    axis.legend(frameon=False)
    return figure


def diffusion_figure(result: Diffusion) -> Figure:
    """Mean squared displacement on logarithmic axes with the fitted line over its window."""
    figure, (axis,) = new_figure()
    start, end = result.window
    last = min(len(result.lags_fs), 4 * end)
    axis.loglog(result.lags_fs[1:last] / 1000, result.msd_A2[1:last], color=FAINT, linewidth=2.5, label="MSD")
    lags = result.lags_fs[start : end + 1]
    slope = 6 * result.estimate.value / M2_S_PER_A2_FS
    axis.loglog(lags / 1000, result.intercept_A2 + slope * lags, color=COMPUTED, label="fit, slope 6D")
    axis.set(xlabel="lag time (ps)", ylabel="mean squared displacement (Å²)")
    axis.legend(frameon=False)
    return figure


def structure_figure(radials: Sequence[Radial], with_experiment: bool) -> Figure:
    """g(r) of each pair with its error band, and Soper's curve for water."""
    figure, axes = new_figure(len(radials))
    for axis, radial in zip(axes, radials, strict=True):
        axis.fill_between(
            radial.r_A, radial.g - 2 * radial.error, radial.g + 2 * radial.error, color=COMPUTED, alpha=0.3, linewidth=0
        )
        axis.plot(radial.r_A, radial.g, color=COMPUTED, linewidth=1.2, label="run")
        curve = soper_curve(radial.pair) if with_experiment else None
        if curve is not None:
            shown = curve[0] <= radial.r_A[-1]
            axis.plot(curve[0][shown], curve[1][shown], color=EXPERIMENT, linestyle="--", label="Soper 2013")
        outer = radial.r_A > 1.4  # a bond's peak would set the scale
        axis.set_ylim(0, 1.2 * max(1.0, float(np.max(radial.g[outer], initial=0.0))))
        axis.set(xlabel="r (Å)", ylabel=f"g({'-'.join(radial.pair)})")
        axis.legend(frameon=False)
    return figure


def comparison_figure(records: Sequence[dict]) -> Figure | None:
    """Ratio of value to experiment with its error bar for each record that has an experiment; None when none has."""
    compared = [record for record in records if record["experiment"]]
    if not compared:
        return None
    figure, (axis,) = new_figure()
    for row, record in enumerate(compared):
        ratio, error = record["value"] / record["experiment"], record["standard_error"] / abs(record["experiment"])
        axis.errorbar(ratio, -row, xerr=2 * error, fmt="o", color=COMPUTED, capsize=3)
    axis.axvline(1.0, color=EXPERIMENT, linestyle="--")
    axis.set_yticks([-row for row in range(len(compared))], [record["quantity"] for record in compared])
    axis.set_ylim(-len(compared) + 0.5, 0.5)
    axis.set_xlabel("computed / experiment (bars: two standard errors)")
    return figure
