"""Thermal conductivity by Green-Kubo from the heat flux of a run at constant energy and volume."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.averages import during, read_averages
from tlmd.analysis.figures import draw_integral, new_figure
from tlmd.analysis.greenkubo import GreenKubo, green_kubo
from tlmd.analysis.records import with_error
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation, mean_temperature
from tlmd.analysis.statistics import Estimate
from tlmd.analysis.stress import LeaveOut, constant_volume, equilibrated, last_stretch
from tlmd.analysis.thermo import Run
from tlmd.run.errors import InputError
from tlmd.units import BOLTZMANN_J_K, LAMMPS_UNITS, W_M_PER_EV2_FS_A_J

DEPENDENT = 1e-6  # smallest over largest eigenvalue of the currents' correlations, below which they are not independent


@dataclass(frozen=True)
class ThermalConductivity:
    """Of one run."""

    estimate: Estimate  # W/(m K)
    integral: GreenKubo  # eV^2 A^2 / fs
    scale: float  # W/(m K) for one of these
    currents: int  # whose part is taken out
    run: Run


def thermal_conductivity(
    flux: np.ndarray, currents: np.ndarray, interval_fs: float, volume_A3: float, temperature_K: float
) -> tuple[Estimate, GreenKubo, float]:
    """kappa = 1 / (V k T^2) times the integral of <J_x(0) J_x(t)>, mean over three directions; and the factor.

    flux (n, 3) eV A/fs: the box's heat flux times its volume. currents (Q, n, 3): sums of the velocities of some atoms,
    Q of 0, 1 or 2, whose part is taken out: a constant energy of these atoms, such as that of the free atoms, then has
    no effect. Raises InputError for a run that is too short, and for currents that are not independent.
    """
    if len(currents):
        correlations = np.corrcoef(currents.reshape(len(currents), -1))
        eigenvalues = np.linalg.eigvalsh(np.atleast_2d(correlations))
        if not eigenvalues[0] > DEPENDENT * eigenvalues[-1]:
            got = f"{len(currents)} currents that are not independent"
            raise InputError(got, "independent ones", "leave out those of one element: all momenta add up to zero")
        columns = currents.reshape(len(currents), -1).T  # most of their part now, for the running integral
        flux = flux - (columns @ np.linalg.lstsq(columns, flux.reshape(-1), rcond=None)[0]).reshape(flux.shape)
    integral = green_kubo(flux, interval_fs, currents)
    scale = W_M_PER_EV2_FS_A_J / (volume_A3 * BOLTZMANN_J_K * temperature_K**2)
    return integral.estimate(scale, "W/(m K)"), integral, scale


@register("thermal-conductivity")
@dataclass(frozen=True)
class ThermalConductivityOfRun(Analysis[ThermalConductivity]):
    """Thermal conductivity by Green-Kubo from LOG, a run at constant energy, and --flux, its heat flux."""

    caption = "Green-Kubo integral of the thermal conductivity"
    needs = ("log",)
    expected = False
    of_dump = True

    flux: Annotated[
        Optional[Path],
        typer.Option(
            help="file of fix ave/time: the three components of compute heat/flux, then for each element but one the "
            "three sums of its velocities (inputs/decks/heat.in)"
        ),
    ] = None
    leave_out_ps: LeaveOut = None

    def compute(self, run: Simulation) -> ThermalConductivity:
        if self.flux is None:
            raise Lacking("no heat flux", "--flux", "give the file that inputs/decks/heat.in writes")
        rows = last_stretch(run.log)
        if rows is None:
            raise InputError(f"{run.log_path} without a run", "one", "give the log of the run that wrote the flux")
        rows, _ = equilibrated(rows, self.leave_out_ps)
        steps, flux, currents = read_flux(self.flux, run.log.units)
        inside = during(rows, steps, self.flux)
        steps, flux, currents = steps[inside], flux[inside], currents[:, inside]
        interval = float(steps[1] - steps[0]) * rows.timestep_fs
        found = thermal_conductivity(flux, currents, interval, constant_volume(rows), run.temperature(rows))
        return ThermalConductivity(*found, len(currents), rows)

    def records(self, result: ThermalConductivity, run: Simulation) -> list[dict]:
        temperature = mean_temperature(result.run)
        analysed, *more = result.integral.notes("3 components", "flux")
        parts = [
            f"{Path(self.flux).name}, {analysed}",
            f"less the part of {result.currents} currents of elements" if result.currents else "",
            *more,
            f"mean temperature {with_error(temperature.value, temperature.standard_error)} K",
        ]
        source = ", ".join(part for part in parts if part)
        return [run.record("thermal conductivity", result.estimate, run.temperature(result.run), source)]

    def curves(self, result: ThermalConductivity, run: Simulation) -> dict[str, np.ndarray]:
        return result.integral.curves(result.scale, "W_mK")

    def plot(self, result: ThermalConductivity, run: Simulation) -> Figure:
        figure, (axis,) = new_figure()
        known = run.known("thermal conductivity", "W/(m K)", run.temperature(result.run))
        draw_integral(axis, self.curves(result, run), result.estimate, known, "thermal conductivity")
        return figure


def read_flux(path: str | Path, units: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (n,), heat flux times volume (n, 3) in eV A/fs, and currents (Q, n, 3) in the file's unit.

    Raises InputError for a file with other columns than threes of vector components, or more than two currents.
    """
    names, table = read_averages(path)
    parts = [re.fullmatch(r"(?:[cfv]_)?(\w+)\[(\d+)\]", name) for name in names[1:]]
    threes = [parts[k : k + 3] for k in range(0, len(parts), 3)]
    whole = [len(three) == 3 and all(three) and len({part[1] for part in three}) == 1 for three in threes]
    if not threes or not all(whole):
        got = f"{path} with the columns {' '.join(names)}"
        raise InputError(got, "three of compute heat/flux, then three of each current", "see inputs/decks/heat.in")
    if len(threes) > 3:
        got = f"{path}: {len(threes) - 1} currents besides the heat flux"
        raise InputError(got, "two at most, fewer than directions", "sum over several elements in one of them")
    if not np.all(np.isfinite(table)):
        raise InputError(f"{path} with nan or inf", "finite values", "look where the run went unstable")
    values = table[:, 1:].reshape(len(table), -1, 3).transpose(1, 0, 2)
    unit = LAMMPS_UNITS[units]
    return table[:, 0].astype(np.int64), values[0] * (unit["energy_eV"] / unit["time_fs"]), values[1:]
