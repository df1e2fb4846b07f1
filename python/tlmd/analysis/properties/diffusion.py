"""Self-diffusion from mean squared displacements, with the finite-size correction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer
from matplotlib.figure import Figure
from scipy.fft import irfft, next_fast_len, rfft

from tlmd.analysis.figures import COMPUTED, FAINT, legend_above, new_figure
from tlmd.analysis.finite_size import cubic_edge, finite_size_correction, given_viscosity
from tlmd.analysis.molecules import centres_of_mass, molecules
from tlmd.analysis.records import with_error
from tlmd.analysis.reference.liquid import Known
from tlmd.analysis.registry import Analysis, register
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, mean_of_blocks
from tlmd.analysis.thermo import frame_times
from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError
from tlmd.units import M2_S_PER_A2_FS

LARGEST_LAGS = (0.1, 0.2)  # parts of the trajectory up to which lags are used; the second where the first is too short
SPAN = 4  # of the window at least, last lag over first
SLOPE_TOLERANCE = 0.1  # of the log-log slope about 1: the intercept of the fit takes up the constant that the cage adds
BLOCKS = 5  # of the trajectory at most, each at least 1.25 times the largest lag
MIN_FRAMES = 101
MOLECULES = "COM"  # in place of a species: the molecules' centres of mass


@dataclass(frozen=True)
class Diffusion:
    """Mean squared displacement, the window of the linear fit and the coefficient of the periodic box."""

    lags_fs: np.ndarray  # (M,)
    msd_A2: np.ndarray  # (M,)
    window: tuple[int, int]  # first and last index of the fit
    intercept_A2: float
    estimate: Estimate  # m^2/s, periodic box


def remove_drift(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Positions (T, N, 3) minus the displacement of the centre of mass since the first frame; masses (N,)."""
    centre = np.einsum("tnk,n->tk", positions, masses / np.sum(masses))
    return positions - (centre - centre[0])[:, None, :]


def mean_squared_displacement(positions: np.ndarray, chunk: int = 128) -> np.ndarray:
    """(T, N) squared displacement of each particle averaged over all time origins, A^2, from unwrapped (T, N, 3).

    By FFT: MSD(m) = <r^2(t+m) + r^2(t)> - 2 <r(t+m).r(t)> (Calandrini et al., Collection SFN 12, 201, 2011, section 2).
    """
    frames, particles = positions.shape[:2]
    result = np.empty((frames, particles))
    origins = np.arange(frames, 0, -1)[:, None]
    size = next_fast_len(2 * frames, real=True)
    for start in range(0, particles, chunk):
        part = positions[:, start : start + chunk] - positions[:, start : start + chunk].mean(axis=0)
        product = irfft(np.abs(rfft(part, size, axis=0)) ** 2, size, axis=0)[:frames].sum(axis=2)
        squares = np.sum(part**2, axis=2)
        total = np.cumsum(np.vstack([np.zeros_like(squares[:1]), squares]), axis=0)  # (T + 1, n)
        lag = np.arange(frames)
        sums = total[frames - lag] + total[frames] - total[lag]
        result[:, start : start + chunk] = (sums - 2 * product) / origins
    result[0] = 0.0
    return result


def fit_window(lags_fs: np.ndarray, msd: np.ndarray, frames: int) -> tuple[int, int]:
    """First and last index of the lags where d ln MSD / d ln t is 1, from lags (M,) fs and MSD (M,) of a T-frame run.

    The slope over every octave [t, 2t] of the window is 1 within 0.1, and the window is two octaves long at least: on
    its way from ballistic motion (2) into the cage (below 1) the slope passes 1 once, where nothing diffuses yet. The
    window ends at a tenth of the run at most (a fifth when there is none in a tenth) and starts as early as it can.
    Raises InputError, with the time that would do, when there is none.
    """
    if frames < MIN_FRAMES:
        raise InputError(
            f"{frames} frames", f"at least {MIN_FRAMES} for a diffusion coefficient", "run longer or dump more often"
        )
    largest = int(LARGEST_LAGS[-1] * (frames - 1))
    if msd[1 : largest + 1].min() <= 1e-12:
        raise InputError("atoms that do not move", "a moving liquid", "check the species and the run")
    for part in LARGEST_LAGS:
        grid = np.unique(np.geomspace(1, int(part * (frames - 1)), 60).astype(int))
        octaves = grid[2 * grid <= grid[-1]]
        fits = np.array([abs(log_slope(lags_fs, msd, start, 2 * start) - 1) <= SLOPE_TOLERANCE for start in octaves])
        for end in grid[grid >= grid[-1] / SPAN][::-1]:
            inside = octaves[2 * octaves <= end]
            misfits = np.flatnonzero(~fits[: len(inside)])
            starts = inside[misfits[-1] + 1 :] if len(misfits) else inside
            if len(starts) and end >= max(SPAN * starts[0], starts[0] + 4):
                return int(starts[0]), int(end)
    slope = log_slope(lags_fs, msd, largest // 2, largest)
    # MSD = a t + c has slope 1 / (1 + c/at): the time at which it is within the tolerance, ten times over
    needed = SPAN / LARGEST_LAGS[-1] * abs(1 / max(slope, 0.05) - 1) / SLOPE_TOLERANCE * lags_fs[largest]
    length = lags_fs[frames - 1]
    raise InputError(
        f"a trajectory of {length / 1000:.3g} ps whose MSD still grows as t^{slope:.2f}",
        "t^1 (diffusion)",
        f"run about {max(needed, 2 * length) / 1000:.2g} ps",
    )


def log_slope(lags: np.ndarray, msd: np.ndarray, start: int, end: int) -> float:
    """Slope of ln MSD against ln t over lags start..end, at log-spaced points."""
    points = np.unique(np.geomspace(start, max(end, start + 1), 24).astype(int))
    return float(np.polyfit(np.log(lags[points]), np.log(msd[points]), 1)[0])


def diffusion_coefficient(
    positions: np.ndarray, interval_fs: float, window_fs: tuple[float, float] | None = None
) -> Diffusion:
    """D of N particles from unwrapped, drift-free positions (T, N, 3) in A, one frame each `interval_fs`.

    Einstein's relation: the MSD is fitted by a line with intercept over `window_fs`, by default `fit_window`. The
    standard error is the larger of two: over particles, and over blocks of the run (which see collective fluctuations).
    Raises InputError for too short a trajectory.
    """
    frames, particles = positions.shape[:2]
    each = mean_squared_displacement(positions)
    lags = interval_fs * np.arange(frames)
    msd = each.mean(axis=1)
    start, end = given_window(lags, window_fs) if window_fs else fit_window(lags, msd, frames)
    slopes, intercepts = np.polynomial.polynomial.polyfit(lags[start : end + 1], each[start : end + 1], 1)[::-1]
    estimates = []
    blocks = min(BLOCKS, int(frames / (1.25 * (end + 1))))
    if blocks > 1:
        estimates.append(block_estimate(positions, lags, start, end, blocks))
    if particles > 1:
        estimates.append(mean_of_blocks(slopes / 6 * M2_S_PER_A2_FS, "m2/s"))
    if not estimates:
        raise InputError("one particle and one block", "more, for an error", "run longer or narrow the window")
    worst = max(estimates, key=lambda estimate: estimate.standard_error)
    value = float(slopes.mean() / 6 * M2_S_PER_A2_FS)
    estimate = Estimate(value, worst.standard_error, "m2/s", worst.samples)
    return Diffusion(lags, msd, (start, end), float(intercepts.mean()), estimate)


def given_window(lags_fs: np.ndarray, window_fs: tuple[float, float]) -> tuple[int, int]:
    """Indices of the first and last lag of a window in fs; raises InputError unless it has 3 lags in half the run."""
    start, end = (int(np.rint(edge / lags_fs[1])) if np.isfinite(edge) else -1 for edge in window_fs)
    half = (len(lags_fs) - 1) // 2
    if not (1 <= start and start + 2 <= end <= half):
        raise InputError(
            f"fit window {window_fs[0] / 1000:g} to {window_fs[1] / 1000:g} ps",
            f"at least 3 lags between {lags_fs[1] / 1000:g} and {lags_fs[half] / 1000:g} ps (half the run)",
            "change --window",
        )
    return start, end


def block_estimate(positions: np.ndarray, lags: np.ndarray, start: int, end: int, blocks: int) -> Estimate:
    """D in m^2/s as the mean of the fits, over the same window, to blocks of the trajectory (T, N, 3)."""
    length = len(positions) // blocks
    slopes = []
    for block in range(blocks):
        msd = mean_squared_displacement(positions[block * length : (block + 1) * length]).mean(axis=1)
        slopes.append(np.polyfit(lags[start : end + 1], msd[start : end + 1], 1)[0])
    return mean_of_blocks(np.array(slopes) / 6 * M2_S_PER_A2_FS, "m2/s")


def uniform_interval(times_fs: np.ndarray) -> float:
    """Time between frames in fs from times (T,); raises InputError when it is not constant."""
    intervals = np.diff(times_fs)
    if not len(intervals) or not np.allclose(intervals, intervals[0], rtol=1e-6):
        spread = f"frames {intervals.min():g} to {intervals.max():g} fs apart" if len(intervals) else "one frame"
        raise InputError(spread, "frames at one interval", "dump every N steps at a constant time step")
    return float(intervals.mean())


def chosen_atoms(trajectory: Trajectory, species: str | None, kinds: Sequence[str] = ()) -> np.ndarray:
    """Indices of the atoms of a species, which may be left out where there is only one; raises InputError, which names
    the kinds of molecules too."""
    names = sorted(set(trajectory.species.tolist()))
    if species is None and len(names) > 1:
        raise InputError(
            f"species {' '.join(names)}", f"one of them, or {MOLECULES} for the molecules", "choose it by --species"
        )
    chosen = np.flatnonzero(trajectory.species == (species or names[0]))
    if not len(chosen):
        known = " or ".join(dict.fromkeys([*names, *kinds, MOLECULES]))
        raise InputError(f"species {species}", known, "correct --species, or name types by --elements")
    return chosen


@register("diffusion")
@dataclass(frozen=True)
class DiffusionOfRun(Analysis[dict[str, Diffusion]]):
    """Self-diffusion coefficient from DUMP, of the periodic box and corrected for its size."""

    caption = "Mean squared displacement"
    needs = ("dump", "log")

    species: Annotated[
        Optional[str],
        typer.Option(
            help="what diffuses: an element or type, molecules of a formula (CH4O), or COM: those of each formula "
            "(default: O of water, else COM)"
        ),
    ] = None
    viscosity_mPa_s: Annotated[
        Optional[str],
        typer.Option(
            "--viscosity",
            help="for the finite-size correction: mPa s, or the JSON of tl-analyze viscosity of the same model "
            "(default: experiment's)",
        ),
    ] = None
    window_ps: Annotated[
        Optional[tuple[float, float]],
        typer.Option("--window", help="ps, of the fit (default: where the log-log slope is 1)"),
    ] = None

    def compute(self, run: Simulation) -> dict[str, Diffusion]:
        """The results by what diffuses. Of several kinds of molecules, those that give none are left out."""
        self._viscosity(run)  # refused here, before the work
        trajectory = run.trajectory
        if trajectory.masses is None:
            raise InputError(
                f"{run.dump_path}: atoms without masses", "masses for the drift", 'give --elements, such as "O H"'
            )
        moving = self._moving(run, remove_drift(trajectory.positions, trajectory.masses))
        interval = uniform_interval(frame_times(trajectory, run.rows.timestep_fs))
        window = tuple(1000 * edge for edge in self.window_ps) if self.window_ps else None
        found, refused = {}, {}
        for name, positions in moving.items():
            try:
                found[name] = diffusion_coefficient(positions, interval, window)
            except InputError as error:
                refused[name] = error
        if not found:
            raise next(iter(refused.values()))
        for name, error in refused.items():
            warnings.warn(f"diffusion of {name} left out: {error}", stacklevel=2)
        return found

    def records(self, result: dict[str, Diffusion], run: Simulation) -> list[dict]:
        trajectory, temperature, found = run.trajectory, run.temperature(), []
        several = self._species(run) == MOLECULES and len(run.molecules.kinds) > 1
        for name, diffusion in result.items():
            start, end = (diffusion.lags_fs[index] / 1000 for index in diffusion.window)
            parts = [
                f"{Path(run.dump_path).name}, MSD of {name}, drift removed",
                f"line fitted from {start:.3g} to {end:.3g} ps{' (given)' if self.window_ps else ''}",
                f"{len(trajectory.steps)} frames",
                run.temperature_note(),
            ]
            source = ", ".join(part for part in parts if part)
            quantity = f"diffusion coefficient {name.removeprefix('COM ')}" if several else "diffusion coefficient"
            found.append(run.record(f"{quantity}, periodic box", diffusion.estimate, temperature, source))
            infinite = self._infinite(diffusion.estimate, run, temperature)
            if infinite is not None:
                estimate, how = infinite
                found.append(run.record(quantity, estimate, temperature, f"{source}; {how}"))
        return found

    def curves(self, result: dict[str, Diffusion], run: Simulation) -> dict[str, np.ndarray]:
        columns = {"time_ps": next(iter(result.values())).lags_fs / 1000}
        return columns | {f"msd_{name.replace(' ', '_')}_A2": diffusion.msd_A2 for name, diffusion in result.items()}

    def plot(self, result: dict[str, Diffusion], run: Simulation) -> Figure:
        figure, axes = new_figure(len(result))
        for axis, (name, diffusion) in zip(axes, result.items(), strict=True):
            start, end = diffusion.window
            last, lags = min(len(diffusion.lags_fs), 4 * end), diffusion.lags_fs[start : end + 1]
            slope = 6 * diffusion.estimate.value / M2_S_PER_A2_FS
            msd = diffusion.msd_A2[1:last]
            axis.loglog(diffusion.lags_fs[1:last] / 1000, msd, color=FAINT, linewidth=2.5, label=f"MSD of {name}")
            axis.loglog(lags / 1000, diffusion.intercept_A2 + slope * lags, color=COMPUTED, label="fit, slope 6D")
            axis.set(xlabel="lag time (ps)", ylabel="mean squared displacement (Å²)")
            legend_above(axis)
        return figure

    def _species(self, run: Simulation) -> str | None:
        """The chosen species; by default the oxygen of water, the molecules of any other system that has some."""
        if self.species is None and run.liquid is not None and run.liquid.name == "water":
            return "O"
        if self.species is None and run.molecules is not None and len(set(run.trajectory.species.tolist())) > 1:
            return MOLECULES
        return self.species

    def _moving(self, run: Simulation, positions: np.ndarray) -> dict[str, np.ndarray]:
        """(T, n, 3) positions of the chosen atoms, or of the centres of mass of each chosen kind of molecule."""
        trajectory, species = run.trajectory, self._species(run)
        kinds = run.molecules.kinds if run.molecules is not None else []
        if species != MOLECULES and (species not in kinds or species in trajectory.species):
            chosen = chosen_atoms(trajectory, species, kinds)
            return {trajectory.species[chosen[0]]: positions[:, chosen]}
        if run.molecules is None:
            molecules(run.whole_dump)  # raises where elements are not known
            raise InputError("bonds that run through the whole box", "molecules", "choose an element by --species")
        centres = centres_of_mass(positions, trajectory.masses, run.molecules.number)
        formulas = run.molecules.formulas
        wanted = kinds if species == MOLECULES else [species]
        return {f"COM of {kind}": centres[:, formulas == kind] for kind in wanted}

    def _infinite(self, periodic: Estimate, run: Simulation, temperature_K: float) -> tuple[Estimate, str] | None:
        """Yeh-Hummer extrapolation of D and how it was done; None without a cubic box or a viscosity."""
        edge = cubic_edge(run.trajectory.cells.mean(axis=0))
        known = self._viscosity(run) or run.viscosity(temperature_K)
        if edge is None or known is None:
            return None
        correction = finite_size_correction(temperature_K, known.value / 1000, edge)
        error = float(np.hypot(periodic.standard_error, correction * (known.error or 0.0) / known.value))
        return replace(periodic, value=periodic.value + correction, standard_error=error), (
            f"Yeh-Hummer correction {correction:.3g} m2/s for a box of {edge:.2f} A "
            f"with viscosity {with_error(known.value, known.error)} mPa s ({known.source})"
        )

    def _viscosity(self, run: Simulation) -> Known | None:
        """The given viscosity, from a number or a JSON file of this model; None where none is given."""
        return None if self.viscosity_mPa_s is None else given_viscosity(self.viscosity_mPa_s, run.temperature)
