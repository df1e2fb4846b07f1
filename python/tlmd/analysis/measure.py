"""From files to records: what the commands, tl-demo and a notebook call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tlmd.analysis import compare, figures
from tlmd.analysis.density import density, density_series, masses_of, npt_run
from tlmd.analysis.diffusion import (
    cubic_edge,
    diffusion_coefficient,
    finite_size_correction,
    remove_drift,
    uniform_interval,
)
from tlmd.analysis.statistics import Estimate, equilibrated_mean
from tlmd.analysis.structure import first_peak, radial_distributions, species_pairs
from tlmd.analysis.thermo import Run, frame_times, match, mean_temperature, read_log
from tlmd.analysis.trajectory import Trajectory, read_dump
from tlmd.run.errors import InputError

PathLike = str | Path


class Measurement(NamedTuple):
    """Records with the keys of compare.RECORD_KEYS, and the figures that belong to them by caption."""

    records: list[dict]
    figures: dict[str, Figure]


def measure_density(
    log_path: PathLike,
    dump_path: PathLike | None = None,
    *,
    temperature_K: float | None = None,
    elements: Sequence[str] | None = None,
    experiment: bool = True,
) -> Measurement:
    """Density (g/cm^3) of the last NPT stretch of a log, beside water's at 1 bar.

    The dump is needed only where the log has no Density column (for the masses), or to tell that this is not water.
    Raises InputError for a log without NPT or too few rows.
    """
    trajectory = read_dump(dump_path, elements) if dump_path else None
    log = read_log(log_path, trajectory.units if trajectory else None)
    run = npt_run(log)
    masses = masses_of(log, trajectory) if trajectory else None
    times = run.steps * run.timestep_fs
    result = density(times, density_series(run, masses))
    rest = {name: column[result.start :] for name, column in run.columns.items()}
    temperature = temperature_K or mean_temperature(Run(rest, run.timestep_fs, run.n_atoms, run.finished))
    water = experiment and (trajectory is None or compare.is_water(trajectory.species))
    reference = compare.water_density(temperature) if water else None
    source = (
        f"NPT, {Path(log_path).name}, steps {run.steps[0]}-{run.steps[-1]}, "
        f"first {(times[result.start] - times[0]) / 1000:.3g} ps left out, "
        f"{result.estimate.samples:.0f} independent samples"
    )
    if "Press" in rest:
        pressure = equilibrated_mean(rest["Press"], "bar")[0]
        source += f", mean pressure {pressure.value:.0f} ± {pressure.standard_error:.0f} bar"
    if reference:
        source += "; experiment: water at 1 bar, IAPWS SR6-08"
    records = [compare.record("density", result.estimate, temperature, source, reference)]
    return Measurement(records, {"Density": figures.density_figure(result, reference)})


def measure_diffusion(
    dump_path: PathLike,
    log_path: PathLike,
    *,
    species: str | None = None,
    viscosity_mPa_s: float | None = None,
    window_ps: tuple[float, float] | None = None,
    temperature_K: float | None = None,
    elements: Sequence[str] | None = None,
    skip_ps: float = 0.0,
    experiment: bool = True,
) -> Measurement:
    """Self-diffusion coefficient (m^2/s) of a species (water: O), of the periodic box and of the infinite system.

    The infinite system needs a cubic box and a viscosity: the given one, or for water the experimental one. The MSD is
    fitted over `window_ps`, by default where its log-log slope is 1.
    Raises InputError for files of different runs, too short a trajectory, missing masses or an unknown species.
    """
    trajectory, run = _production(dump_path, log_path, elements, skip_ps)
    temperature = temperature_K or mean_temperature(run)
    water = compare.is_water(trajectory.species)
    chosen = _chosen(trajectory, species or ("O" if water else None))
    if trajectory.masses is None:
        raise InputError(f"{dump_path}: atoms without masses", "masses for the drift", 'give --elements, such as "O H"')
    positions = remove_drift(trajectory.positions, trajectory.masses)[:, chosen]
    interval = uniform_interval(frame_times(trajectory, run.timestep_fs))
    window = (1000 * window_ps[0], 1000 * window_ps[1]) if window_ps else None
    result = diffusion_coefficient(positions, interval, window)
    start, end = (result.lags_fs[index] / 1000 for index in result.window)
    label = trajectory.species[chosen][0]
    source = (
        f"{Path(dump_path).name}, MSD of {label}, drift removed, line fitted from {start:.3g} to {end:.3g} ps"
        f"{' (given)' if window_ps else ''}, "
        f"{len(trajectory.steps)} frames"
    )
    records = [compare.record("diffusion coefficient, periodic box", result.estimate, temperature, source)]
    infinite = _infinite(result.estimate, trajectory, temperature, viscosity_mPa_s, water)
    if infinite:
        reference = compare.water_diffusion(temperature) if water and experiment else None
        source += f"; {infinite[1]}" + ("; experiment: Holz 2000" if reference else "")
        records.append(compare.record("diffusion coefficient", infinite[0], temperature, source, reference))
    return Measurement(records, {"Mean squared displacement": figures.diffusion_figure(result)})


def measure_structure(
    dump_path: PathLike,
    log_path: PathLike | None = None,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    temperature_K: float | None = None,
    elements: Sequence[str] | None = None,
    skip_ps: float = 0.0,
    max_frames: int = 500,
    experiment: bool = True,
) -> Measurement:
    """First peak (A, height, coordination number) of each g(r); in water beyond the bonds, and beside Soper 2013.

    At most `max_frames` frames, evenly spaced, are used. Raises InputError for files of different runs, or when neither
    log nor temperature is given.
    """
    if log_path is None and temperature_K is None:
        raise InputError("a dump alone", "the temperature", "give --log or --temperature")
    if log_path is None and skip_ps:
        raise InputError("--skip without a log", "the time step", "give --log")
    trajectory, run = _production(dump_path, log_path, elements, skip_ps)
    temperature = temperature_K or mean_temperature(run)
    if not trajectory.periodic.all():
        raise InputError(f"{dump_path}: a box that is not periodic", "periodic in x, y, z", "use boundary p p p")
    water = compare.is_water(trajectory.species)
    pairs = list(pairs or species_pairs(trajectory.species))
    frames = np.unique(np.linspace(0, len(trajectory.steps) - 1, max_frames).astype(int))
    radials = radial_distributions(trajectory.positions[frames], trajectory.cells[frames], trajectory.species, pairs)
    records = []
    for radial in radials:
        name = "-".join(radial.pair)
        reference = compare.soper_peak(radial.pair, temperature) if water and experiment else {}
        radius = reference["minimum"].value if reference else None
        peak = first_peak(radial, compare.beyond_bonds(radial.pair) if water else 0.0, radius)
        source = f"{Path(dump_path).name}, {len(frames)} frames, bins of 0.02 A"
        inside = f"{source}, neighbours up to {peak.radius_A:.2f} A"
        note = "; experiment: Soper 2013, 298 K" if reference else ""
        for quantity, estimate, text, key in (
            ("first peak position", peak.position, source, "position"),
            ("first peak height", peak.height, source, "height"),
            ("coordination number", peak.coordination, inside, "coordination"),
        ):
            records.append(compare.record(f"{name} {quantity}", estimate, temperature, text + note, reference.get(key)))
    return Measurement(records, {"Radial distribution": figures.structure_figure(radials, water and experiment)})


def _production(dump_path, log_path, elements, skip_ps) -> tuple[Trajectory, Run | None]:
    """The frames after `skip_ps` and the rows of the log written during them."""
    trajectory = read_dump(dump_path, elements)
    if log_path is None:
        return trajectory, None
    log = read_log(log_path, trajectory.units)
    run = match(trajectory, log)
    if skip_ps <= 0:
        return trajectory, run
    times = frame_times(trajectory, run.timestep_fs)
    first = int(np.searchsorted(times, times[0] + 1000 * skip_ps))
    if first >= len(times):
        raise InputError(f"--skip {skip_ps:g} ps", f"less than {np.ptp(times) / 1000:.4g} ps", "skip less")
    trajectory = trajectory.after(first)
    return trajectory, match(trajectory, log)


def _chosen(trajectory: Trajectory, species: str | None) -> np.ndarray:
    names = sorted(set(trajectory.species.tolist()))
    if species is None and len(names) > 1:
        raise InputError(
            f"species {' '.join(names)}", "one of them", "choose it by --species (types: name them by --elements)"
        )
    chosen = np.flatnonzero(trajectory.species == (species or names[0]))
    if not len(chosen):
        raise InputError(f"species {species}", " or ".join(names), "correct --species, or name types by --elements")
    return chosen


def _infinite(
    periodic: Estimate, trajectory: Trajectory, temperature_K: float, viscosity_mPa_s: float | None, water: bool
) -> tuple[Estimate, str] | None:
    """Yeh-Hummer extrapolation of D and how it was done; None without a cubic box or a viscosity."""
    edge = cubic_edge(trajectory.cells.mean(axis=0))
    viscosity = viscosity_mPa_s / 1000 if viscosity_mPa_s else compare.water_viscosity(temperature_K) if water else None
    if edge is None or viscosity is None:
        return None
    origin = "given" if viscosity_mPa_s else "experimental, IAPWS SR6-08"
    correction = finite_size_correction(temperature_K, viscosity, edge)
    estimate = Estimate(periodic.value + correction, periodic.standard_error, periodic.unit, periodic.samples)
    return estimate, (
        f"Yeh-Hummer correction {correction:.3g} m2/s for a box of {edge:.2f} A "
        f"with viscosity {1000 * viscosity:.4g} mPa s ({origin})"
    )
