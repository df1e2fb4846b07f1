"""Vibrational spectrum of the elements from the autocorrelation of velocities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure
from scipy.fft import irfft
from scipy.signal import find_peaks

from tlmd.analysis.figures import legend_above, new_figure
from tlmd.analysis.properties.diffusion import uniform_interval
from tlmd.analysis.registry import Analysis, Lacking, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, mean_of_blocks
from tlmd.analysis.thermo import frame_times
from tlmd.run.errors import InputError
from tlmd.units import WAVENUMBER_PER_FS

BLOCKS = 5  # of the run, for the errors
RESOLUTION_CM = 20.0  # width of a line at half its height by the window, by default
HANN_WIDTH = 1.44  # of Hann's window's line at half its height in power, in units of 1 / segment
HIGHEST_CM, HIGHEST_H_CM = 2500.0, 4100.0  # of vibrations, without and with hydrogen
PROMINENCE = 0.1  # of a peak, as part of the highest
PEAKS = 6  # at most, of an element
LEAST_CM = 3.0  # of a peak's place, in resolutions: below is diffusion


@dataclass(frozen=True)
class Spectrum:
    """Vibrational density of states of each element, in degrees of freedom of an atom per 1/cm."""

    wavenumbers_cm: np.ndarray  # (K,)
    densities: dict[str, np.ndarray]  # (K,) by element; the integral is 3
    peaks: dict[str, list[Estimate]]  # 1/cm, by element, highest first
    interval_fs: float
    segment_fs: float
    segments: int


def power_spectra(velocities: np.ndarray, weights: np.ndarray, interval_fs: float, segment: int) -> np.ndarray:
    """(S, K) weighted power of velocities (T, N, 3) in each of S segments, overlapping by half, under Hann's window.

    weights (N,); normalised so that the sum over frequencies k/(segment interval) times their spacing is the weighted
    mean square velocity (Welch, IEEE Trans. Audio 15, 70, 1967).
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(segment) / segment)
    scale = interval_fs / np.sum(window**2)
    starts = range(0, len(velocities) - segment + 1, segment // 2)
    found = []
    for start in starts:
        part = velocities[start : start + segment] * window[:, None, None]
        power = sum(np.abs(np.fft.rfft(part[:, :, axis], axis=0)) ** 2 @ weights for axis in range(3)) * scale
        power[1 : len(power) - (segment % 2 == 0)] *= 2  # negative frequencies
        found.append(power)
    return np.array(found)


def spectrum(
    velocities: np.ndarray, species: np.ndarray, masses: np.ndarray, interval_fs: float, resolution_cm: float
) -> Spectrum:
    """Densities of states of the elements from velocities (T, N, 3), one frame each interval.

    Of each element, the power of its atoms' velocities is divided by their mean square, so that equipartition is not
    assumed. A peak's error is that of its place over blocks of the run, and half the spacing of frequencies.
    Raises InputError for a run shorter than 5 segments, or frames too far apart for the element's vibrations.
    """
    _often_enough(species, interval_fs)
    segment = round(HANN_WIDTH / (resolution_cm * WAVENUMBER_PER_FS * interval_fs))
    length = len(velocities) * interval_fs
    if segment < 16 or len(velocities) < BLOCKS * segment:
        raise InputError(
            f"{length / 1000:.3g} ps of velocities at a resolution of {resolution_cm:g} cm-1",
            f"{BLOCKS} segments of {segment * interval_fs / 1000:.3g} ps",
            "run longer, or give a larger --resolution",
        )
    momentum = np.einsum("tnk,n->tk", velocities, masses / masses.sum())
    relative = velocities - momentum[:, None, :]
    wavenumbers = np.arange(segment // 2 + 1) / (segment * interval_fs) / WAVENUMBER_PER_FS
    spacing = wavenumbers[1]
    densities, peaks = {}, {}
    for name in dict.fromkeys(species.tolist()):
        atoms = species == name
        power = power_spectra(relative[:, atoms], masses[atoms], interval_fs, segment)
        if not power.mean(axis=0).sum() > 0:
            raise InputError(f"{name} at rest", "moving atoms", "dump vx vy vz of the whole system")
        densities[name] = 3 * power.mean(axis=0) / (power.mean(axis=0).sum() * spacing)
        peaks[name] = _peaks(wavenumbers, densities[name], power, LEAST_CM * resolution_cm)
    segments = (len(velocities) - segment) // (segment // 2) + 1
    return Spectrum(wavenumbers, densities, peaks, interval_fs, segment * interval_fs, segments)


def _often_enough(species: np.ndarray, interval_fs: float) -> None:
    """Refuse frames that cannot follow the stretches of bonds; of one element, which may be a metal, H2 alone."""
    names = set(species.tolist())
    highest = HIGHEST_H_CM if "H" in names else HIGHEST_CM
    if (names != {"H"} and len(names) == 1) or 0.5 / interval_fs >= highest * WAVENUMBER_PER_FS:
        return
    raise InputError(
        f"velocities each {interval_fs:g} fs, which fold what is above {0.5 / interval_fs / WAVENUMBER_PER_FS:.0f} "
        "cm-1 onto lower frequencies",
        f"vibrations up to {highest:.0f} cm-1",
        f"dump each {0.5 / (highest * WAVENUMBER_PER_FS):.1f} fs at most",
    )


def _peaks(wavenumbers: np.ndarray, density: np.ndarray, power: np.ndarray, least_cm: float) -> list[Estimate]:
    """Places of the highest peaks above `least_cm`, in order of height."""
    spacing = wavenumbers[1]
    found, _ = find_peaks(density, prominence=PROMINENCE * density[wavenumbers > least_cm].max())
    found = [k for k in found if wavenumbers[k] > least_cm]
    places = []
    for k in sorted(found, key=lambda k: -density[k])[:PEAKS]:
        near = slice(max(k - 2, 1), k + 3)
        blocks = [part.mean(axis=0) for part in np.array_split(power, BLOCKS)]
        tops = np.array([np.average(wavenumbers[near], weights=block[near] ** 2) for block in blocks])
        error = float(np.hypot(mean_of_blocks(tops, "").standard_error, spacing / np.sqrt(12)))
        place = float(np.average(wavenumbers[near], weights=density[near] ** 2))
        places.append(Estimate(place, error, "1/cm", float(len(power))))
    return places


@register("spectrum")
@dataclass(frozen=True)
class SpectrumOfRun(Analysis[Spectrum]):
    """Vibrational spectrum of each element, and the autocorrelation of its velocities, from a DUMP with vx vy vz."""

    caption = "Vibrational spectrum"
    needs = ("dump", "log")
    expected = False

    resolution_cm: Annotated[
        Optional[float],
        typer.Option("--resolution", help=f"cm-1, width of a line by Hann's window (default: {RESOLUTION_CM:g})"),
    ] = None

    def compute(self, run: Simulation) -> Spectrum:
        trajectory, resolution = run.trajectory, self.resolution_cm or RESOLUTION_CM
        if not 0.1 <= resolution <= 500:
            raise InputError(f"--resolution {resolution:g}", "0.1 to 500 cm-1", "correct it")
        if trajectory.velocities is None:
            raise Lacking(f"{run.dump_path} without velocities", "vx vy vz", "add them to dump custom, each 2 to 4 fs")
        if trajectory.masses is None:
            raise InputError(f"{run.dump_path}: atoms without masses", "masses", 'give --elements, such as "O H"')
        interval = uniform_interval(frame_times(trajectory, run.rows.timestep_fs))
        return spectrum(trajectory.velocities, trajectory.species, trajectory.masses, interval, resolution)

    def records(self, result: Spectrum, run: Simulation) -> list[dict]:
        parts = [
            f"{Path(run.dump_path).name}, velocities each {result.interval_fs:g} fs, motion of the whole removed",
            f"Hann's window of {result.segment_fs / 1000:.3g} ps, {result.segments} segments",
            run.temperature_note(),
        ]
        source = ", ".join(part for part in parts if part)
        found = []
        for name, peaks in result.peaks.items():
            for number, peak in enumerate(peaks, 1):
                found.append(run.record(f"{name} vibration, peak {number}", peak, run.temperature(), source))
        if not found:
            raise InputError("a spectrum without a peak", "vibrations", "a simple liquid has none; see --plot")
        return found

    def curves(self, result: Spectrum, run: Simulation) -> dict[str, np.ndarray]:
        named = {f"density_of_states_{name}_cm": density for name, density in result.densities.items()}
        return {"wavenumber_1/cm": result.wavenumbers_cm} | named

    def plot(self, result: Spectrum, run: Simulation) -> Figure:
        figure, (left, right) = new_figure(2)
        for name, density in result.densities.items():
            right.plot(result.wavenumbers_cm, density, linewidth=1.0, label=name)
            correlation = irfft(density)[: len(density) // 2]
            lags = np.arange(len(correlation)) * result.interval_fs
            left.plot(lags[lags < 500], (correlation / correlation[0])[lags < 500], linewidth=1.0, label=name)
        right.set(xlabel="wavenumber (1/cm)", ylabel="density of states (cm, per atom)", ylim=(0, None))
        left.set(xlabel="time (fs)", ylabel="velocity autocorrelation, windowed")
        legend_above(right)
        legend_above(left)
        return figure
