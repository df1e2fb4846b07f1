"""Properties of the runs of one system, and how a model's energies change with volume on the oracle's own frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlmd.analysis.properties.diffusion import MOLECULES
from tlmd.analysis.properties.fluctuations import compressibility
from tlmd.analysis.radial import Radial, even_frames, radial_distributions
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate, equilibrated_mean, mean_of_blocks
from tlmd.analysis.thermo import read_log
from tlmd.analysis.trajectory import read_dump
from tlmd.evaluate.volume import volume_slope
from tlmd.units import BOLTZMANN_EV_K, EV_PER_KJ_MOL

BLOCKS = 10


@dataclass(frozen=True)
class Properties:
    """What the runs of a system gave; None where there was no run or it was too short, which `missing` explains."""

    density: Estimate | None = None  # g/cm3
    compressibility: Estimate | None = None  # 1/GPa
    volume_A3: float | None = None  # mean of the NPT run
    energy: Estimate | None = None  # eV, mean potential energy of the NPT run
    diffusion: Estimate | None = None  # 1e-9 m2/s, of the periodic box
    radial: Radial | None = None
    vaporisation: Estimate | None = None  # kJ/mol
    missing: str = ""


def of_npt(folder: Path) -> dict[str, Any]:
    """Density, compressibility, mean volume and potential energy of an NPT run, by the names of Properties.

    kappa_T = <dV^2> / (k T <V>); its error is that of the mean over blocks of a tenth of the run. Raises InputError
    for a run that is too short.
    """
    run = read_log(folder / "md.log").runs[-1]
    density, start = equilibrated_mean(run.columns["Density"], "g/cm3")
    volume, temperature = run.columns["Volume"][start:], run.columns["Temp"][start:].mean()
    mean = float(volume.mean())
    value, squares = compressibility(volume, temperature), (volume - mean) ** 2
    error = mean_of_blocks([part.mean() for part in np.array_split(squares, BLOCKS)], "").standard_error
    kappa = Estimate(float(value), float(value * error / squares.mean()), "1/GPa", density.samples)
    energy = equilibrated_mean(run.columns["PotEng"][start:], "eV")[0]
    return {"density": density, "compressibility": kappa, "volume_A3": mean, "energy": energy}


def diffusion(folder: Path, species: str | None, window_ps: tuple[float, float]) -> Estimate:
    """Diffusion coefficient of the box in 1e-9 m2/s, of an element or (None) the molecules, from the slope of the mean
    squared displacement over one window, the same for all runs that are compared. Raises InputError."""
    simulation = Simulation(folder / "md.dump.gz", folder / "md.log", experiment=False)
    records = measure("diffusion", simulation, species=species or MOLECULES, window_ps=window_ps).records
    found = next(record for record in records if record["quantity"].endswith("periodic box"))
    return Estimate(1e9 * found["value"], 1e9 * found["standard_error"], "1e-9 m2/s", 0.0)


def radial(folder: Path, pair: str) -> Radial:
    """g(r) of a pair of elements such as O-O. Raises InputError."""
    run = read_dump(folder / "md.dump.gz")
    frames = even_frames(len(run.steps))
    pairs = [tuple(pair.split("-"))]
    return radial_distributions(run.positions[frames], run.cells[frames], run.species, pairs)[0]


def vaporisation(gas: Path, liquid: Estimate, molecules: int) -> Estimate:
    """Heat of vaporisation in kJ/mol: <U> of a molecule in vacuum less <U> of the liquid per molecule, plus R T.

    gas: its run; liquid: mean potential energy of the NPT run in eV. Kinetic energies cancel (classical nuclei), p V
    of the liquid is left out.
    """
    run = read_log(gas / "md.log").runs[-1]
    alone = equilibrated_mean(run.columns["PotEng"], "eV")[0]
    value = alone.value - liquid.value / molecules + BOLTZMANN_EV_K * run.target_K
    error = float(np.hypot(alone.standard_error, liquid.standard_error / molecules))
    return Estimate(value / EV_PER_KJ_MOL, error / EV_PER_KJ_MOL, "kJ/mol", alone.samples)


def difference(found: Radial, other: Radial) -> float:
    """Integrated difference of two g(r) in percent: the integral of |g - g'| over that of g', on their common bins."""
    n = min(len(found.r_A), len(other.r_A))
    return float(100 * np.abs(found.g[:n] - other.g[:n]).sum() / other.g[:n].sum())


def noise(found: Radial) -> float:
    """The difference (percent) that noise alone makes: from its first and last two fifths."""
    first, last = found.blocks[:2].mean(axis=0), found.blocks[-2:].mean(axis=0)
    return float(100 * np.abs(first - last).sum() / found.g.sum() / np.sqrt(2.5))


def pressure_error(volumes_A3: np.ndarray, errors: np.ndarray) -> Estimate:
    """What the model's pressure is above the oracle's, in bar, from its energies less the oracle's (T,), in eV, on the
    oracle's NPT frames.

    P_model - P_oracle = -d<E_model - E_oracle>/dV: see tlmd.evaluate.volume.volume_slope.
    """
    slope, error = volume_slope(volumes_A3, errors)
    return Estimate(-slope, error, "bar", float(len(volumes_A3)))


def density_from_pressure(truth: Properties, pressure: Estimate) -> Estimate:
    """The model's density (g/cm3) to first order in its pressure error: rho (1 - kappa dP)."""
    factor = truth.density.value * truth.compressibility.value * 1e-4  # g/cm3/bar
    value = truth.density.value - factor * pressure.value
    return Estimate(value, factor * pressure.standard_error, "g/cm3", pressure.samples)
