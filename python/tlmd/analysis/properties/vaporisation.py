"""Heat of vaporisation from the potential energies of a liquid and of its gas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, FAINT, legend_above, new_figure
from tlmd.analysis.properties.density import npt_run
from tlmd.analysis.records import with_error
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation, mean_temperature
from tlmd.analysis.statistics import Estimate, equilibrated_mean
from tlmd.analysis.thermo import Log, Run, read_log
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3, BOLTZMANN_EV_K, EV_PER_KJ_MOL

SAME_TEMPERATURE_K = 5.0  # difference of liquid and gas above which their energies cannot be compared


@dataclass(frozen=True)
class Vaporisation:
    """Heat of vaporisation, with what it is made of."""

    estimate: Estimate  # kJ/mol
    liquid: Estimate  # eV, potential energy of a molecule
    gas: Estimate  # eV, the same
    molecules: int  # in the liquid
    rows: Run  # of the liquid
    gas_rows: Run


def vaporisation(liquid: Run, gas: Run, n_gas: int, temperature_K: float) -> Vaporisation:
    """dH = u_gas - u_liquid + kT - P v for each molecule, of an ideal gas, from the rows of both and the number of
    molecules in the gas.

    u: mean potential energies; kinetic energies of classical nuclei are equal at one temperature. Raises InputError
    where the atoms of the liquid are not a whole number of the gas' molecules.
    """
    for name, rows in (("liquid", liquid), ("gas", gas)):
        if "PotEng" not in rows.columns:
            raise Lacking(f"a log of the {name} without pe", "potential energies", "add `pe` to thermo_style")
        if rows.n_atoms is None:
            raise InputError(f"a log of the {name} without its last lines", "the number of atoms", "let the run end")
    if gas.n_atoms % n_gas or liquid.n_atoms % (gas.n_atoms // n_gas):
        got = f"{liquid.n_atoms} atoms of liquid, {gas.n_atoms} in {n_gas} molecules of gas"
        raise InputError(got, "a whole number of the same molecules", "give --gas-molecules, or another log")
    molecules = liquid.n_atoms // (gas.n_atoms // n_gas)
    inside, outside = (equilibrated_mean(rows.columns["PotEng"], "eV")[0] for rows in (liquid, gas))
    u_liquid = Estimate(inside.value / molecules, inside.standard_error / molecules, "eV", inside.samples)
    u_gas = Estimate(outside.value / n_gas, outside.standard_error / n_gas, "eV", outside.samples)
    work = BOLTZMANN_EV_K * temperature_K
    volumes = liquid.volumes()
    if volumes is not None and "Press" in liquid.columns:
        work -= float(liquid.columns["Press"].mean() * volumes.mean()) / molecules / BAR_PER_EV_A3
    value = u_gas.value - u_liquid.value + work
    error = float(np.hypot(u_gas.standard_error, u_liquid.standard_error))
    samples = min(u_gas.samples, u_liquid.samples)
    estimate = Estimate(value / EV_PER_KJ_MOL, error / EV_PER_KJ_MOL, "kJ/mol", samples)
    return Vaporisation(estimate, u_liquid, u_gas, molecules, liquid, gas)


@register("vaporisation")
@dataclass(frozen=True)
class VaporisationOfRun(Analysis[Vaporisation]):
    """Heat of vaporisation from LOG, an NPT run of the liquid, and the log of a run of its molecule alone."""

    caption = "Potential energy of a molecule"
    needs = ("log",)
    expected = False

    gas_log: Annotated[
        Optional[Path],
        typer.Option(help="log of the gas at the same temperature: one molecule in a large box"),
    ] = None
    gas_molecules: Annotated[int, typer.Option(help="molecules in the run of the gas", min=1)] = 1

    def compute(self, run: Simulation) -> Vaporisation:
        if self.gas_log is None:
            raise Lacking("a log of the liquid alone", "the gas too", "give --gas-log")
        liquid = npt_run(run.log)
        gas = last_energies(read_log(self.gas_log, run.log.units))
        temperatures = [mean_temperature(rows).value for rows in (liquid, gas)]
        if abs(temperatures[1] - temperatures[0]) > SAME_TEMPERATURE_K:
            got = f"a liquid at {temperatures[0]:.1f} K, a gas at {temperatures[1]:.1f} K"
            raise InputError(got, "one temperature", "a single molecule needs a Langevin thermostat and a long run")
        return vaporisation(liquid, gas, self.gas_molecules, run.temperature(liquid))

    def records(self, result: Vaporisation, run: Simulation) -> list[dict]:
        steps, gas = result.rows.steps, result.gas_rows.steps
        u_gas = with_error(result.gas.value, result.gas.standard_error)
        parts = [
            f"{Path(run.log_path).name}, steps {steps[0]}-{steps[-1]}, {result.molecules} molecules of "
            f"{with_error(result.liquid.value, result.liquid.standard_error)} eV",
            f"{self.gas_log.name}, steps {gas[0]}-{gas[-1]}, {u_gas} eV",
            "ideal gas, classical nuclei",
            run.temperature_note(result.rows),
        ]
        source = ", ".join(part for part in parts if part)
        return [run.record("heat of vaporisation", result.estimate, run.temperature(result.rows), source)]

    def plot(self, result: Vaporisation, run: Simulation) -> Figure:
        figure, axes = new_figure(2)
        for axis, name, rows, mean, number in (
            (axes[0], "liquid", result.rows, result.liquid, result.molecules),
            (axes[1], "gas", result.gas_rows, result.gas, self.gas_molecules),
        ):
            time = (rows.steps - rows.steps[0]) * rows.timestep_fs / 1000
            axis.plot(time, rows.columns["PotEng"] / number, color=FAINT, label=name)
            axis.axhline(mean.value, color=COMPUTED, label=f"mean {with_error(mean.value, mean.standard_error)}")
            axis.set(xlabel="time (ps)", ylabel="potential energy of a molecule (eV)")
            legend_above(axis)
        return figure


def last_energies(log: Log) -> Run:
    """The last run of a log with more rows than a single point."""
    found = [run for run in log.runs if len(run.steps) > 2]
    if not found:
        raise InputError(f"{log.path}: no run of more than two rows", "energies along a run", "log every 100 steps")
    return found[-1]
