"""Isothermal compressibility and thermal expansion from the fluctuations of a run at constant pressure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, FAINT, legend_above, new_figure
from tlmd.analysis.properties.density import npt_run
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, equilibration, statistical_inefficiency
from tlmd.analysis.thermo import Run
from tlmd.analysis.trajectory import complete_lines
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3, BOLTZMANN_EV_K

BLOCKS = (8, 40)  # of the jackknife: at least, at most
BLOCK = 3.0  # length of a block at least, in correlation times
WEAK = ("press/berendsen", "temp/berendsen")  # fixes that suppress the fluctuations of the ensemble


def compressibility(volumes_A3: np.ndarray, temperature_K: float) -> float:
    """kappa_T = <dV^2> / (kT <V>) in 1/GPa, from volumes (n,)."""
    per_eV_A3 = volumes_A3.var() / (BOLTZMANN_EV_K * temperature_K * volumes_A3.mean())
    return per_eV_A3 / BAR_PER_EV_A3 * 1e4


def expansion(volumes_A3: np.ndarray, enthalpies_eV: np.ndarray, temperature_K: float) -> float:
    """alpha = <dV dH> / (k T^2 <V>) in 1/K, from volumes and enthalpies E + P V of the ensemble's pressure, (n,).

    The kinetic energy has no correlation with the volume: E may be the potential energy alone, which has less noise.
    """
    covariance = np.mean((volumes_A3 - volumes_A3.mean()) * (enthalpies_eV - enthalpies_eV.mean()))
    return covariance / (BOLTZMANN_EV_K * temperature_K**2 * volumes_A3.mean())


def jackknife(function: Callable[..., float], columns: list[np.ndarray], blocks: int, unit: str) -> Estimate:
    """A function of columns (n,), and its standard error by leaving out each of `blocks` blocks in turn.

    The value has the jackknife's correction for the bias of a short run, which makes variances too small (Efron,
    The Jackknife, 1982, eqs. 2.8, 3.1).
    """
    edges = np.linspace(0, len(columns[0]), blocks + 1).astype(int)
    without = []
    for start, end in pairwise(edges.tolist()):
        keep = np.r_[0:start, end : len(columns[0])]
        without.append(function(*(column[keep] for column in columns)))
    without = np.array(without)
    error = np.sqrt((blocks - 1) * np.mean((without - without.mean()) ** 2))
    whole = function(*columns)
    return Estimate(float(whole + (blocks - 1) * (whole - without.mean())), float(error), unit, float(blocks))


@dataclass(frozen=True)
class Fluctuations:
    """Both values, and the rows that they are from."""

    compressibility: Estimate  # 1/GPa
    expansion: Estimate | None  # 1/K; None where the log has no energy
    used: Run
    left_out_fs: float
    correlation_fs: float  # of the squared fluctuation of the volume


def fluctuations(run: Run, temperature_K: float) -> Fluctuations:
    """Both from the equilibrated rows of an NPT run at its temperature. Raises InputError for too short a run."""
    volumes = run.volumes()
    if volumes is None:
        raise Lacking("a log without the volume", "vol or lx ly lz", "add `vol` to thermo_style")
    energies = next((run.columns[name] for name in ("PotEng", "TotEng") if name in run.columns), None)
    if not all(np.all(np.isfinite(series)) for series in (volumes, energies) if series is not None):
        raise InputError(
            "a volume or an energy that is nan or inf", "finite values", "look where the run went unstable"
        )
    start = equilibration(volumes)
    used = replace(run, columns={name: column[start:] for name, column in run.columns.items()})
    interval = float(np.mean(np.diff(run.steps))) * run.timestep_fs
    volumes, energies = volumes[start:], None if energies is None else energies[start:]
    correlation = statistical_inefficiency((volumes - volumes.mean()) ** 2)
    blocks = int(len(volumes) / (BLOCK * correlation))
    if blocks < BLOCKS[0]:
        needed = BLOCKS[0] * BLOCK * correlation * interval / 1000
        raise InputError(
            f"{len(volumes) * interval / 1000:.3g} ps of equilibrium, with a volume that fluctuates over "
            f"{correlation * interval / 1000:.2g} ps",
            f"{BLOCKS[0] * BLOCK:.0f} times that for its fluctuations",
            f"run about {2 * needed:.2g} ps",
        )
    blocks = min(blocks, BLOCKS[1])
    squeezed = jackknife(lambda v: compressibility(v, temperature_K), [volumes], blocks, "1/GPa")
    widened = None
    if energies is not None:
        pressure = float(used.columns["Press"].mean()) / BAR_PER_EV_A3 if "Press" in used.columns else 0.0
        columns = [volumes, energies + pressure * volumes]
        widened = jackknife(lambda v, h: expansion(v, h, temperature_K), columns, blocks, "1/K")
    left_out = (run.steps[start] - run.steps[0]) * run.timestep_fs
    return Fluctuations(squeezed, widened, used, left_out, correlation * interval)


def _refuse_weak_coupling(path: Path) -> None:
    """Raises InputError for a log in which a thermostat or barostat is Berendsen's."""
    for line in complete_lines(path):
        words = line.split()
        if len(words) > 3 and words[0] == "fix" and words[3] in WEAK:
            do = "use fix npt, or press/langevin with temp/csvr"
            raise InputError(f"{path}: fix {words[3]}", "the fluctuations of an ensemble", do)


@register("fluctuations")
@dataclass(frozen=True)
class FluctuationsOfRun(Analysis[Fluctuations]):
    """Isothermal compressibility and thermal expansion from the fluctuations of the last NPT stretch of LOG."""

    caption = "Fluctuations of the volume"
    needs = ("log",)
    may_use = ("dump",)  # which tells the liquid by its bonds
    expected = False

    def compute(self, run: Simulation) -> Fluctuations:
        _refuse_weak_coupling(Path(run.log_path))
        rows = npt_run(run.log)
        return fluctuations(rows, run.temperature(rows))

    def records(self, result: Fluctuations, run: Simulation) -> list[dict]:
        steps, temperature = result.used.steps, run.temperature(result.used)
        parts = [
            f"NPT, {Path(run.log_path).name}, steps {steps[0]}-{steps[-1]}",
            f"first {result.left_out_fs / 1000:.3g} ps left out",
            f"jackknife over {result.compressibility.samples:.0f} blocks, volume fluctuates over "
            f"{result.correlation_fs / 1000:.2g} ps",
            run.temperature_note(result.used),
        ]
        source = ", ".join(part for part in parts if part)
        found = [run.record("isothermal compressibility", result.compressibility, temperature, source)]
        if result.expansion is not None:
            found.append(run.record("thermal expansion", result.expansion, temperature, source))
        return found

    def plot(self, result: Fluctuations, run: Simulation) -> Figure:
        figure, (axis,) = new_figure()
        volumes = result.used.volumes()
        axis.hist(volumes, bins=40, density=True, color=FAINT, label="run")
        kT = BOLTZMANN_EV_K * run.temperature(result.used)
        variance = result.compressibility.value * 1e-4 * BAR_PER_EV_A3 * kT * volumes.mean()
        grid = np.linspace(volumes.min(), volumes.max(), 200)
        bell = np.exp(-((grid - volumes.mean()) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        axis.plot(grid, bell, color=COMPUTED, label="of the compressibility")
        axis.set(xlabel="volume (Å³)", ylabel="probability density (1/Å³)")
        legend_above(axis)
        return figure
