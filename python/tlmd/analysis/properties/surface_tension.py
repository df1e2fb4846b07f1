"""Surface tension of a slab from the pressure tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, EXPERIMENT, FAINT, legend_above, new_figure
from tlmd.analysis.records import with_error
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, block_average
from tlmd.analysis.stress import COMPONENTS, LeaveOut, Pressures, Stress, stress_of
from tlmd.run.errors import InputError
from tlmd.units import MN_M_PER_BAR_A

AXES = "xyz"
SLAB = 1.5  # longest edge over the next one, from which a box is taken for that of a slab
SURFACES = 2


@dataclass(frozen=True)
class SurfaceTension:
    """Surface tension of one run."""

    estimate: Estimate  # mN/m
    series: np.ndarray  # (n,) mN/m
    normal: str
    stress: Stress


def surface_tension(stress: Stress, normal: str, edge_A: float) -> SurfaceTension:
    """gamma = L / 2 <P_n - (P_t + P_t') / 2> of the two surfaces of a slab in a box of edge L along its normal."""
    columns = {component: stress.tensor[:, k] for k, component in enumerate(COMPONENTS)}
    tangents = [columns[2 * axis] for axis in AXES if axis != normal]
    series = edge_A * (columns[2 * normal] - sum(tangents) / 2) / SURFACES * MN_M_PER_BAR_A
    return SurfaceTension(block_average(series, "mN/m"), series, normal, stress)


@register("surface-tension")
@dataclass(frozen=True)
class SurfaceTensionOfRun(Analysis[SurfaceTension]):
    """Surface tension from LOG, a run at constant volume of a slab with vacuum or vapour on both sides."""

    caption = "Surface tension"
    needs = ("log",)
    expected = False
    of_dump = True

    pressures: Pressures = None
    leave_out_ps: LeaveOut = None
    normal: Annotated[
        Optional[str], typer.Option(help="x, y or z, across the slab (default: the longest edge, if it is by a half)")
    ] = None

    def compute(self, run: Simulation) -> SurfaceTension:
        if self.normal not in (None, *AXES):
            raise InputError(f"--normal {self.normal}", "x, y or z", "correct it")
        edges = _edges(run)
        longest, next_one = sorted(edges, key=edges.get, reverse=True)[:2]
        if self.normal is None and edges[longest] < SLAB * edges[next_one]:
            shown = " ".join(f"{edge:.4g}" for edge in edges.values())
            raise Lacking(f"a box of {shown} A", "a slab, whose box is longer by a half", "give --normal if it is one")
        normal = self.normal or longest
        return surface_tension(stress_of(run, self.pressures, self.leave_out_ps), normal, edges[normal])

    def records(self, result: SurfaceTension, run: Simulation) -> list[dict]:
        rows, estimate = result.stress.run, result.estimate
        parts = [
            result.stress.source,
            f"two surfaces across {result.normal}",
            f"{estimate.samples:.0f} independent samples",
            run.temperature_note(rows),
        ]
        source = ", ".join(part for part in parts if part)
        return [run.record("surface tension", estimate, run.temperature(rows), source)]

    def plot(self, result: SurfaceTension, run: Simulation) -> Figure:
        figure, (axis,) = new_figure()
        time = np.arange(1, len(result.series) + 1) * result.stress.interval_fs / 1000
        axis.plot(time, np.cumsum(result.series) / np.arange(1, len(time) + 1), color=FAINT, label="running mean")
        value, error = result.estimate.value, result.estimate.standard_error
        axis.axhline(value, color=COMPUTED, label=f"mean {with_error(value, error)}")
        axis.axhspan(value - 2 * error, value + 2 * error, color=COMPUTED, alpha=0.25, linewidth=0)
        known = run.known("surface tension", "mN/m", run.temperature(result.stress.run))
        if known is not None:
            axis.axhline(known.value, color=EXPERIMENT, linestyle="--", label=f"experiment {known.value:.3g}")
        axis.set(xlabel="time (ps)", ylabel="surface tension (mN/m)")
        legend_above(axis)
        return figure


def _edges(run: Simulation) -> dict[str, float]:
    """Mean edges of the box in A by axis, from the log, or from an orthogonal box of the dump."""
    columns = run.log.runs[-1].columns
    if {"Lx", "Ly", "Lz"} <= set(columns):
        return {axis: float(columns[f"L{axis}"].mean()) for axis in AXES}
    if run.dump_path:
        cell = run.whole_dump.cells.mean(axis=0)
        if np.allclose(cell, np.diag(np.diag(cell)), atol=1e-6):
            return dict(zip(AXES, np.diag(cell).tolist(), strict=True))
    raise Lacking(f"{run.log_path} without lx ly lz", "the edges of the box", "add `lx ly lz` to thermo_style")
