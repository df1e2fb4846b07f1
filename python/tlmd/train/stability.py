"""A short run of molecular dynamics with a new model: errors on frames like those of training cannot tell whether MD
stays among such frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from tlmd.calculator import TLCalculator
from tlmd.frames.density import is_filled
from tlmd.frames.frame import Frame
from tlmd.frames.shortest import CLOSE, line_of, named_pairs
from tlmd.lammps_job import hottest
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder
from tlmd.train.config import StabilityConfig
from tlmd.units import density_g_cm3

USUAL_K = 450.0  # 1.5 times ambient, where no frame states its temperature_K
TIMESTEP_FS, WITH_HYDROGEN_FS = 1.0, 0.5
THERMOSTAT_FS = 100.0
BLOCK_FS = 100.0  # over which temperatures are averaged
DRIFT = 10.0  # meV/atom/ps, of the conserved energy


def check_stability(
    model: Path, frames: Sequence[Frame], config: StabilityConfig, run: RunFolder, seed: int
) -> dict[str, Any] | None:
    """MD at constant volume and temperature (Bussi, Donadio and Parrinello 2007) from one of the training `frames`.

    The frame is the filled periodic one of the lowest density, or else the one with most atoms. The result, in plain
    values: `verdict`, which is "stable" or says what failed and when, and what was seen (keys: docs/short_range.md).
    None if there is nothing to run.
    """
    frame = start_frame(frames)
    if config.ps == 0 or frame is None:
        return None
    temperature = config.temperature_K or max((f.info.get("temperature_K", 0.0) for f in frames), default=0) or USUAL_K
    atoms = Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.calc = calculator = TLCalculator(model)
    watched = Watched(atoms, calculator, float(temperature), WITH_HYDROGEN_FS if 1 in frame.numbers else TIMESTEP_FS)
    run.say(f"stability: {config.ps:g} ps of MD at {temperature:g} K, {len(atoms)} atoms")
    with warnings.catch_warnings(), run.progress(round(1000 * config.ps / watched.timestep_fs)) as bar:
        warnings.simplefilter("ignore")  # of contacts: the verdict tells
        verdict = watched.go(bar.tasks[0].total, seed, lambda step: bar.update(bar.task_ids[0], completed=step))
    names = named_pairs(calculator.card.elements)
    seen = {name: round(float(calculator.closest[i, j]), 4) for name, i, j in names}
    found = {"verdict": verdict, "ps": watched.ps, "temperature_K": float(temperature)} | watched.means()
    if is_filled(frame):
        found["density_g_cm3"] = float(density_g_cm3(atomic_masses[frame.numbers].sum(), atoms.get_volume()))
    return found | {"closest_A": seen, "shortest_A": calculator.card.shortest_A}


def start_frame(frames: Sequence[Frame]) -> Frame | None:
    """Where the run starts; None where no frame has two atoms."""
    frames = [frame for frame in frames if len(frame) > 1]
    filled = [frame for frame in frames if is_filled(frame)]
    if filled:
        return min(filled, key=lambda f: atomic_masses[f.numbers].sum() / abs(np.linalg.det(f.cell)))
    return max(frames, key=len, default=None)


class Watched:
    """A run of MD that ends where it fails."""

    def __init__(self, atoms: Atoms, calculator: TLCalculator, temperature_K: float, timestep_fs: float):
        self.atoms, self.calculator, self.temperature, self.timestep_fs = atoms, calculator, temperature_K, timestep_fs
        self.temperatures: list[float] = []
        self.conserved: list[float] = []  # eV, at the end of each block
        self.block = max(1, round(BLOCK_FS / timestep_fs))

    @property
    def ps(self) -> float:
        """How long it ran."""
        return 1e-3 * self.timestep_fs * max(0, len(self.temperatures) - 1)

    def go(self, steps: int, seed: int, tell: Any) -> str:
        """Run so many steps or to the first failure: "stable", or the failure in words."""
        atoms, rng = self.atoms, np.random.default_rng(seed)
        try:
            MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature, rng=rng)
            Stationary(atoms)
            fs = units.fs
            dynamics = Bussi(atoms, self.timestep_fs * fs, self.temperature, THERMOSTAT_FS * fs, rng=rng)
            for step, _ in enumerate(dynamics.irun(steps)):
                self.temperatures.append(float(atoms.get_temperature()))
                if step % self.block == 0:
                    self.conserved.append(atoms.get_total_energy() - dynamics.transferred_energy)
                    tell(step)
                if failure := self.failure():
                    return f"{failure} after {self.ps:.3g} ps"
        except InputError as error:
            return f"{error} after {self.ps:.3g} ps"
        return "stable"

    def failure(self) -> str:
        """What is wrong at this step; empty if all is well."""
        closest, known = self.calculator.closest, self.calculator.known
        for name, i, j in named_pairs(self.calculator.card.elements):
            if closest[i, j] < CLOSE * known[i, j]:
                return f"{name} at {closest[i, j]:.2f} A (training {known[i, j]:.2f})"
        if not np.isfinite(self.temperatures[-1] + self.conserved[-1]):
            return "energy not finite"
        if len(self.temperatures) % self.block == 0:
            hot = np.mean(self.temperatures[-self.block :])
            if hot > hottest(self.temperature, len(self.atoms)):
                return f"{hot:.0f} K"
            if len(self.conserved) > 20 and abs(self.drift()) > DRIFT:
                return f"energy drifts by {self.drift():.1f} meV/atom/ps"
        return ""

    def drift(self) -> float:
        """Slope of the conserved energy, meV/atom/ps."""
        times = 1e-3 * self.block * self.timestep_fs * np.arange(len(self.conserved))
        return float(1e3 * np.polyfit(times, self.conserved, 1)[0] / len(self.atoms))

    def means(self) -> dict[str, float | None]:
        """Mean temperature and drift, null where the run was too short or broke."""
        mean = float(np.mean(self.temperatures)) if self.temperatures else np.nan
        drift = self.drift() if len(self.conserved) > 2 and np.isfinite(self.conserved).all() else np.nan
        found = {"mean_temperature_K": mean, "drift_mev_per_atom_ps": drift}
        return {key: round(value, 4) if np.isfinite(value) else None for key, value in found.items()}


def stability_notes(found: dict[str, Any] | None) -> list[str]:
    """Lines below the table of errors."""
    if found is None:
        return []
    drift = found["drift_mev_per_atom_ps"]
    return [
        f"closest in MD: {line_of(found['closest_A'])}; in training: {line_of(found['shortest_A'])}"
        + ("" if drift is None else f"; energy drift {drift:.2g} meV/atom/ps")
    ]
