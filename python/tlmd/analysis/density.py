"""Mass density of an NPT run from its thermo output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlmd.analysis.statistics import Estimate, equilibrated_mean
from tlmd.analysis.thermo import Log, Run, join
from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError
from tlmd.units import density_g_cm3

CONSTANT_VOLUME = 1e-7  # relative spread of the volume below which a run is not NPT


@dataclass(frozen=True)
class Density:
    """Density over one run and its mean after equilibration."""

    times_fs: np.ndarray  # (R,)
    series: np.ndarray  # (R,) g/cm^3
    start: int  # index at which the equilibrated part begins
    estimate: Estimate  # g/cm^3


def density(times_fs: np.ndarray, series: np.ndarray) -> Density:
    """Mean density with its block-average error after equilibration, from times (R,) fs and densities (R,) g/cm^3."""
    estimate, start = equilibrated_mean(series, "g/cm3")
    return Density(np.asarray(times_fs), np.asarray(series), start, estimate)


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
