"""Shear viscosity by Green-Kubo from the pressure tensor of a run at constant volume."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from tlmd.analysis.figures import COMPUTED, FAINT, draw_integral, legend_above, new_figure
from tlmd.analysis.greenkubo import FOLDED, GreenKubo, green_kubo
from tlmd.analysis.records import with_error
from tlmd.analysis.registry import Analysis, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, block_average
from tlmd.analysis.stress import LeaveOut, Pressures, Stress, constant_volume, stress_of
from tlmd.run.errors import InputError
from tlmd.units import BOLTZMANN_J_K, MPA_S_PER_BAR2_A3_FS_J

ANISOTROPIC = 5.0  # standard errors from 0 of a mean shear stress: no liquid in equilibrium


@dataclass(frozen=True)
class Viscosity:
    """Viscosity of one run."""

    estimate: Estimate  # mPa s
    integral: GreenKubo  # bar^2 fs
    scale: float  # mPa s for 1 bar^2 fs: V / kT
    stress: Stress


def viscosity(stress: Stress, volume_A3: float, temperature_K: float) -> Viscosity:
    """eta = V / kT times the integral of <P(0) P(t)>, mean over the five shear components of a liquid.

    Raises InputError for a run that is too short, and for a mean shear stress that no liquid bears.
    """
    shear = stress.shear
    if len(shear) >= 16:
        for name, series in zip(("xy", "xz", "yz", "xx - yy", "2 zz - xx - yy"), shear.T, strict=True):
            mean = block_average(series, "bar")
            if abs(mean.value) > ANISOTROPIC * mean.standard_error:
                got = f"a mean shear stress {name} of {with_error(mean.value, mean.standard_error)} bar"
                raise InputError(got, "0, an isotropic liquid", "a solid, a slab or a squeezed box has no viscosity")
    integral = green_kubo(shear, stress.interval_fs)
    scale = volume_A3 / (BOLTZMANN_J_K * temperature_K) * MPA_S_PER_BAR2_A3_FS_J
    return Viscosity(integral.estimate(scale, "mPa s"), integral, scale, stress)


@register("viscosity")
@dataclass(frozen=True)
class ViscosityOfRun(Analysis[Viscosity]):
    """Shear viscosity by Green-Kubo from LOG, a run at constant volume with pxx pyy pzz pxy pxz pyz at each few fs."""

    caption = "Green-Kubo integral of the viscosity"
    needs = ("log",)
    expected = False
    of_dump = True

    pressures: Pressures = None
    leave_out_ps: LeaveOut = None

    def compute(self, run: Simulation) -> Viscosity:
        stress = stress_of(run, self.pressures, self.leave_out_ps)
        volume = constant_volume(stress.run)
        return viscosity(stress, volume, run.temperature(stress.run))

    def records(self, result: Viscosity, run: Simulation) -> list[dict]:
        stress, integral = result.stress, result.integral
        if self.pressures is None and integral.folded > FOLDED:
            share, interval = f"{100 * integral.folded:.0f} %", f"{stress.interval_fs:g} fs"
            warnings.warn(
                f"viscosity: fluctuations at the highest frequency are {share} of those at zero, and faster ones fold "
                f"onto low ones: write the pressure more often than each {interval}, or averages by fix ave/time",
                stacklevel=2,
            )
        notes = integral.notes("5 shear components", "stress")
        parts = [stress.source, *notes, run.temperature_note(stress.run)]
        source = ", ".join(part for part in parts if part)
        return [run.record("viscosity", result.estimate, run.temperature(stress.run), source)]

    def curves(self, result: Viscosity, run: Simulation) -> dict[str, np.ndarray]:
        return result.integral.curves(result.scale, "mPa_s")

    def plot(self, result: Viscosity, run: Simulation) -> Figure:
        figure, (axis, spectrum) = new_figure(2)
        known = run.known("viscosity", "mPa s", run.temperature(result.stress.run))
        draw_integral(axis, self.curves(result, run), result.estimate, known, "viscosity")
        frequency, power, fit = result.integral.spectrum
        spectrum.plot(1000 * frequency, power / 2 * result.scale, color=FAINT, label="periodogram")
        spectrum.plot(1000 * frequency, fit / 2 * result.scale, color=COMPUTED, label="cepstral")
        spectrum.set(xlabel="frequency (1/ps)", ylabel="spectrum of the shear stress (mPa s)")
        legend_above(spectrum)
        return figure
