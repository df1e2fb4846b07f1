"""Mass density of an NPT run from its thermo output."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, EXPERIMENT, FAINT, legend_above, new_figure
from tlmd.analysis.registry import Analysis, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, drift, equilibrated_mean
from tlmd.analysis.thermo import Log, Run, join
from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError
from tlmd.units import density_g_cm3

CONSTANT_VOLUME = 1e-7  # relative spread of the volume below which a run is not NPT
LARGEST_DRIFT = 0.05  # of the mean, over the part that is used, above which there is no density
SIGNIFICANT = (3.0, 4.0)  # standard errors of a drift: with a large one the run is refused, any other is said
EXPANDED = 1.5  # mean volume over that of the first row, above which it is said: no liquid grows so much


@dataclass(frozen=True)
class Density:
    """Density over one run and its mean after equilibration."""

    times_fs: np.ndarray  # (R,)
    series: np.ndarray  # (R,) g/cm^3
    start: int  # index at which the equilibrated part begins
    estimate: Estimate  # g/cm^3
    drift: Estimate  # g/cm^3, over the equilibrated part and the last half at least
    run: Run

    @property
    def used(self) -> Run:
        """The equilibrated rows."""
        columns = {name: column[self.start :] for name, column in self.run.columns.items()}
        return replace(self.run, columns=columns)

    @property
    def drifts(self) -> bool:
        """Whether the density still changes: its drift is more than four standard errors."""
        return abs(self.drift.value) > SIGNIFICANT[1] * self.drift.standard_error

    @property
    def doubts(self) -> list[str]:
        """What speaks against an equilibrium, in words."""
        time, found = (self.times_fs - self.times_fs[0]) / 1000, []
        if self.drifts:
            span = time[-1] - time[min(self.start, len(time) // 2)]
            change = f"{self.drift.value:+.2g} ± {self.drift.standard_error:.2g} g/cm3"
            found.append(f"STILL DRIFTS: {change} in the last {span:.3g} ps, run longer")
        elif self.start > len(self.series) / 2:
            used = f"the last {time[-1] - time[self.start]:.3g} ps of {time[-1]:.3g}"
            found.append(f"MAY STILL DRIFT: constant only in {used}, run longer")
        if self.series[0] > EXPANDED * self.estimate.value:
            found.append(f"EXPANDED to {self.series[0] / self.estimate.value:.2g} times its first volume: a gas?")
        return found


def density(run: Run, masses: np.ndarray | None = None) -> Density:
    """Mean density with its block-average error after equilibration, from an NPT run and masses (N,) in g/mol.

    Raises InputError for a run that is too short, and for a box that grows or shrinks without an end.
    """
    series = density_series(run, masses)
    estimate, start = equilibrated_mean(series, "g/cm3")
    looked_at = min(start, len(series) // 2)  # the last half at least: a short end of a long drift looks constant
    change = drift(series[looked_at:])
    times = run.steps * run.timestep_fs
    large = abs(change.value) > LARGEST_DRIFT * abs(estimate.value)
    if large and abs(change.value) > SIGNIFICANT[0] * change.standard_error:
        span = (times[-1] - times[looked_at]) / 1000
        raise InputError(
            f"a density that still drifts, {series[looked_at]:.3g} to {series[-1]:.3g} g/cm3 in the last {span:.3g} ps",
            "a box in equilibrium",
            "run longer; a box that expands without end says that the model has no liquid at this pressure",
        )
    return Density(times, series, start, estimate, change, run)


def density_series(run: Run, masses: np.ndarray | None = None) -> np.ndarray:
    """(R,) densities in g/cm^3 from the Density column, else from the volume and the masses (N,) in g/mol."""
    if "Density" in run.columns:
        return run.columns["Density"]
    volumes = run.volumes()
    if volumes is None:
        raise InputError("a log without Density or Volume", "one of them", "add `density` to thermo_style")
    if masses is None:
        raise InputError("a log without Density", "the masses", "give --dump with elements or masses, or log `density`")
    return density_g_cm3(np.sum(masses), volumes)


def npt_run(log: Log) -> Run:
    """The last stretch of consecutive runs whose volume changes; raises InputError when no run of the log is NPT."""
    stretch: list[Run] = []
    for run in reversed(log.runs):
        moving = _volume_changes(run)
        if stretch and (not moving or run.steps[-1] != stretch[0].steps[0]):
            break
        if moving:
            stretch.insert(0, run)
    if not stretch:
        raise InputError(f"{log.path}: constant volume", "an NPT run", "use fix npt, and log `density` or `vol`")
    return join(stretch)


def masses_of(log: Log, trajectory: Trajectory) -> np.ndarray | None:
    """Masses (N,) of the dump, once it is certain that it holds all atoms of the log."""
    counts = {run.n_atoms for run in log.runs if run.n_atoms is not None}
    n_atoms = len(trajectory.species)
    if counts and counts != {n_atoms}:
        raise InputError(
            f"{trajectory.path}: {n_atoms} atoms, {log.path}: {max(counts)}", "all atoms in the dump", "dump group all"
        )
    return trajectory.masses


def _volume_changes(run: Run) -> bool:
    series = run.columns.get("Density", run.volumes())
    # nan counts as a change, to be refused later in its own words
    return series is not None and not np.ptp(series) <= CONSTANT_VOLUME * np.mean(series)


@register("density")
@dataclass(frozen=True)
class DensityOfRun(Analysis[Density]):
    """Mean density of the last NPT stretch of LOG."""

    caption = "Density"
    needs = ("log",)
    may_use = ("dump",)  # for the masses, where the log lacks density

    def compute(self, run: Simulation) -> Density:
        masses = masses_of(run.log, run.whole_dump) if run.dump_path else None
        return density(npt_run(run.log), masses)

    def records(self, result: Density, run: Simulation) -> list[dict]:
        steps, times, start = result.run.steps, result.times_fs, result.start
        parts = [
            f"NPT, {Path(run.log_path).name}, steps {steps[0]}-{steps[-1]}",
            f"first {(times[start] - times[0]) / 1000:.3g} ps left out",
            f"{result.estimate.samples:.0f} independent samples",
        ]
        for doubt in result.doubts:
            parts.append(doubt)
            warnings.warn(f"density: {doubt}", stacklevel=2)
        if "Press" in result.used.columns:
            pressure = equilibrated_mean(result.used.columns["Press"], "bar")[0]
            parts.append(f"mean pressure {pressure.value:.0f} ± {pressure.standard_error:.0f} bar")
        parts.append(run.temperature_note(result.used))
        source = ", ".join(part for part in parts if part)
        record = run.record("density", result.estimate, run.temperature(result.used), source)
        return [
            record | {"drift": result.drift.value, "drift_error": result.drift.standard_error, "drifts": result.drifts}
        ]

    def plot(self, result: Density, run: Simulation) -> Figure:
        figure, (axis,) = new_figure()
        time = (result.times_fs - result.times_fs[0]) / 1000
        axis.plot(time, result.series, color=FAINT, linewidth=0.8, label="run")
        value, error = result.estimate.value, result.estimate.standard_error
        span = [time[result.start], time[-1]]
        axis.plot(span, [value, value], color=COMPUTED, label=f"mean {value:.4f} ± {error:.4f}")
        axis.fill_between(span, value - 2 * error, value + 2 * error, color=COMPUTED, alpha=0.3, linewidth=0)
        experiment = run.known("density", "g/cm3", run.temperature(result.used))
        if experiment is not None:
            axis.axhline(experiment.value, color=EXPERIMENT, linestyle="--", label=f"experiment {experiment.value:.4f}")
        axis.set(xlabel="time (ps)", ylabel="density (g/cm³)")
        legend_above(axis)
        return figure
