"""Ion conductivity from the motion of all charges together, beside that of independent ions (Nernst-Einstein)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, FAINT, legend_above, new_figure
from tlmd.analysis.greenkubo import GreenKubo, green_kubo
from tlmd.analysis.molecules import centres_of_mass
from tlmd.analysis.properties.diffusion import (
    Diffusion,
    diffusion_coefficient,
    mean_squared_displacement,
    remove_drift,
    uniform_interval,
)
from tlmd.analysis.records import with_error
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate
from tlmd.analysis.thermo import frame_times
from tlmd.run.errors import InputError
from tlmd.units import BOLTZMANN_J_K, M2_S_PER_A2_FS, S_M_PER_E2_A_FS_J

NEUTRAL = 0.01  # e: charge of the box, or of a molecule, below which it is taken for 0


@dataclass(frozen=True)
class Conductivity:
    """Both conductivities of one run."""

    collective: Estimate  # S/m
    integral: GreenKubo  # e^2 A^2 / fs
    independent: Estimate  # S/m, Nernst-Einstein
    kinds: dict[str, Diffusion]  # ions by formula or element
    lags_fs: np.ndarray  # (M,)
    dipole_msd: np.ndarray  # (M,) e^2 A^2, of the translational dipole
    frames: int


def conductivity(
    centres: np.ndarray,
    charges: np.ndarray,
    kinds: np.ndarray,
    interval_fs: float,
    volume_A3: float,
    temperature_K: float,
) -> Conductivity:
    """From unwrapped, drift-free centres (T, M, 3) of ions in A, their charges (M,) in e and names (M,).

    sigma = V / kT times the integral of <j(0) j(t)>: the current is the change of the translational dipole
    sum q r from frame to frame, whose spectrum at zero frequency is the Einstein-Helfand slope; value and error are of
    green_kubo over x, y, z. Nernst-Einstein: sum n q^2 D / (V kT), D by the mean squared displacement of each kind.
    Raises InputError for a run that is too short.
    """
    dipole = np.einsum("tmk,m->tk", centres, charges)
    integral = green_kubo(np.diff(dipole, axis=0) / interval_fs, interval_fs)
    scale = S_M_PER_E2_A_FS_J / (BOLTZMANN_J_K * temperature_K * volume_A3)
    found, total, variance = {}, 0.0, 0.0
    for name in dict.fromkeys(kinds[charges != 0].tolist()):
        chosen = kinds == name
        if np.ptp(charges[chosen]) > NEUTRAL:
            raise InputError(f"{name} of several charges", "one charge for all", "give other names to the types")
        found[name] = diffusion_coefficient(centres[:, chosen], interval_fs)
        weight = np.sum(charges[chosen] ** 2) * scale / M2_S_PER_A2_FS
        total += weight * found[name].estimate.value
        variance += (weight * found[name].estimate.standard_error) ** 2
    msd = mean_squared_displacement(dipole[:, None, :])[:, 0]
    lags = interval_fs * np.arange(len(msd))
    return Conductivity(
        integral.estimate(scale, "S/m"),
        integral,
        Estimate(float(total), float(np.sqrt(variance)), "S/m", float(len(found))),
        found,
        lags,
        msd,
        len(centres),
    )


def charges_of(text: str, names: set[str]) -> dict[str, float]:
    """The charges in a text such as "Na=1 Cl=-1"; raises InputError for other names, or words of another form."""
    found = {}
    for word in text.replace(",", " ").split():
        name, _, charge = word.partition("=")
        try:
            found[name] = float(charge)
        except ValueError:
            raise InputError(f"--charges {word}", "such as Na=1 Cl=-1", "correct it") from None
    unknown = sorted(set(found) - names)
    if unknown or not found:
        raise InputError(f"--charges of {' '.join(unknown) or 'nothing'}", " or ".join(sorted(names)), "correct it")
    return found


@register("conductivity")
@dataclass(frozen=True)
class ConductivityOfRun(Analysis[Conductivity]):
    """Ion conductivity from DUMP with the charges q or --charges, of all ions together and by Nernst-Einstein."""

    caption = "Ion conductivity"
    needs = ("dump", "log")
    expected = False

    charges: Annotated[
        Optional[str],
        typer.Option(help="e, of elements, types or molecules' formulas: Na=1 Cl=-1 (default: column q of the dump)"),
    ] = None

    def compute(self, run: Simulation) -> Conductivity:
        trajectory = run.trajectory
        if trajectory.charges is None and self.charges is None:
            raise Lacking(f"{run.dump_path} without charges", "q", "dump q, or give --charges")
        if trajectory.masses is None:
            raise InputError(f"{run.dump_path}: atoms without masses", "masses", 'give --elements, such as "O H"')
        kinds, number = self._ions(run)
        charges = self._charges(run, kinds, number)
        if not np.any(charges):
            raise Lacking(f"{run.dump_path}: neutral molecules", "ions", "give --charges, if there are some")
        if abs(charges.sum()) > NEUTRAL:
            raise InputError(
                f"a box of charge {charges.sum():.3g} e", "a neutral one", "correct --charges, or dump all"
            )
        ions = charges != 0
        positions = remove_drift(trajectory.positions, trajectory.masses)
        centres = centres_of_mass(positions, trajectory.masses, number)[:, ions]
        interval = uniform_interval(frame_times(trajectory, run.rows.timestep_fs))
        volume = float(trajectory.volumes.mean())
        return conductivity(centres, charges[ions], kinds[ions], interval, volume, run.temperature())

    def _ions(self, run: Simulation) -> tuple[np.ndarray, np.ndarray]:
        """(M,) names of molecules, or of atoms where there are none, and (N,) which one each atom belongs to."""
        if run.molecules is not None:
            return run.molecules.formulas, run.molecules.number
        return run.trajectory.species, np.arange(len(run.trajectory.species))

    def _charges(self, run: Simulation, kinds: np.ndarray, number: np.ndarray) -> np.ndarray:
        """(M,) charges of the molecules in e, 0 where they are below NEUTRAL."""
        if self.charges is None:
            charges = np.bincount(number, run.trajectory.charges)
        else:
            given = charges_of(self.charges, set(kinds.tolist()))
            charges = np.array([given.get(kind, 0.0) for kind in kinds.tolist()])
        return np.where(np.abs(charges) < NEUTRAL, 0.0, charges)

    def records(self, result: Conductivity, run: Simulation) -> list[dict]:
        coefficients = [
            f"D of {name} {with_error(one.estimate.value, one.estimate.standard_error)} m2/s"
            for name, one in result.kinds.items()
        ]
        start = [f"{Path(run.dump_path).name}, {result.frames} frames, drift removed", "periodic box"]
        memory = (
            f"Einstein-Helfand by cepstral analysis, current resolved over {result.integral.memory_fs / 1000:.3g} ps"
        )
        note, temperature = run.temperature_note(), run.temperature()
        whole = ", ".join(part for part in [*start, memory, note] if part)
        single = ", ".join(part for part in [*start, *coefficients, note] if part)
        return [
            run.record("ion conductivity", result.collective, temperature, whole),
            run.record("ion conductivity, Nernst-Einstein", result.independent, temperature, single),
        ]

    def curves(self, result: Conductivity, run: Simulation) -> dict[str, np.ndarray]:
        columns = {"time_ps": result.lags_fs / 1000, "dipole_msd_e2_A2": result.dipole_msd}
        return columns | {f"msd_{name}_A2": one.msd_A2 for name, one in result.kinds.items()}

    def plot(self, result: Conductivity, run: Simulation) -> Figure:
        figure, (axis,) = new_figure()
        last = max(len(result.lags_fs) // 5, 3)
        lags, scale = result.lags_fs[1:last], result.integral.value / result.collective.value
        axis.plot(lags / 1000, result.dipole_msd[1:last], color=FAINT, linewidth=2.5, label="all charges")
        for name, estimate, style in (
            ("collective", result.collective, "-"),
            ("Nernst-Einstein", result.independent, "--"),
        ):
            slope = 6 * scale * estimate.value
            label = f"{name} {with_error(estimate.value, estimate.standard_error)} S/m"
            axis.plot(lags / 1000, slope * lags, color=COMPUTED, linestyle=style, label=label)
        axis.set(xlabel="lag time (ps)", ylabel="mean squared displacement (e² Å²)", ylim=(0, None))
        legend_above(axis)
        return figure
