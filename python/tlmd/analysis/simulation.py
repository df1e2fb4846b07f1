"""One LAMMPS run as its files tell it: frames, thermo rows, temperature, liquid, and what it is compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from tlmd.analysis import records
from tlmd.analysis.molecules import Molecules, molecules
from tlmd.analysis.reference import NONE, given_references, liquid_named, liquid_of_mass, liquid_of_molecules
from tlmd.analysis.reference.liquid import Curve, Known, Liquid
from tlmd.analysis.statistics import MIN_SAMPLES, Estimate, equilibrated_mean
from tlmd.analysis.thermo import Log, Run, frame_times, match, read_log
from tlmd.analysis.trajectory import Trajectory, read_dump
from tlmd.run.errors import InputError
from tlmd.units import GCM3_PER_GMOL_A3

PathLike = str | Path
EXPECTED = ("density", "diffusion coefficient")  # of a liquid that was named: said where it is not known
LEAST_COVER = 0.5  # part of the frames' time that the log's rows must span to give their temperature
SAME_ISOTOPES = 0.01  # relative, of the mean mass of an atom: heavy water is another liquid, rounded masses are not
OFF_TARGET = 3.0  # standard errors from the target above which a warning is given


class Simulation:
    """The dump, the log, or both, of one run; a file is read when an analysis asks for what is in it.

    elements: of the LAMMPS types 1, 2, ...; temperature_K: instead of the log's mean; skip_ps: of the dump's start to
    leave out; experiment: whether to compare with experiment; references: the liquid to compare with by its name (by
    default the one that the bonds tell), "none", or a TOML file of the user's own values.
    """

    def __init__(
        self,
        dump: PathLike | None = None,
        log: PathLike | None = None,
        *,
        elements: Sequence[str] | None = None,
        temperature_K: float | None = None,
        skip_ps: float = 0.0,
        experiment: bool = True,
        references: PathLike | None = None,
    ):
        self.dump_path, self.log_path = dump, log
        self.elements, self.given_K, self.skip_ps, self.experiment = elements, temperature_K, skip_ps, experiment
        self.named = liquid_named(str(references))
        self.experiment &= str(references) != NONE
        self.references = given_references(references)
        self.quantities: set[str] = set()  # recorded so far
        for option, value, least in (("--temperature", temperature_K, 1.0), ("--skip", skip_ps, 0.0)):
            if value is not None and not least <= value < np.inf:
                raise InputError(f"{option} {value:g}", f"a number from {least:g} up", "correct it")
        if dump and not log and skip_ps:
            raise InputError("--skip without a log", "the time step", "give --log")

    @cached_property
    def whole_dump(self) -> Trajectory:
        """All frames of the dump."""
        return read_dump(self.dump_path, self.elements)

    @cached_property
    def log(self) -> Log:
        """The log; its unit style may come from the dump."""
        return read_log(self.log_path, self.whole_dump.units if self.dump_path else None)

    @cached_property
    def trajectory(self) -> Trajectory:
        """The frames after `skip_ps`. Raises InputError when none is left, or the log belongs to another run."""
        if self.log_path is None:
            return self.whole_dump
        rows = match(self.whole_dump, self.log)
        if self.skip_ps <= 0:
            return self.whole_dump
        times = frame_times(self.whole_dump, rows.timestep_fs)
        first = int(np.searchsorted(times, times[0] + 1000 * self.skip_ps))
        if first >= len(times):
            raise InputError(f"--skip {self.skip_ps:g} ps", f"less than {np.ptp(times) / 1000:.4g} ps", "skip less")
        return self.whole_dump.after(first)

    @cached_property
    def rows(self) -> Run:
        """The rows of the log written during the frames."""
        return match(self.trajectory, self.log)

    def temperature(self, rows: Run | None = None) -> float:
        """The given temperature in K, else the mean of these rows (default: those of the frames).

        Raises InputError when there is neither, or the rows cover less than half of the frames.
        """
        if self.given_K is not None:
            return self.given_K
        if rows is not None:
            return mean_temperature(rows).value
        if self.log_path is None:
            raise InputError("a dump alone", "the temperature", "give --log or --temperature")
        self._covered()
        return mean_temperature(self.rows).value

    def temperature_note(self, rows: Run | None = None) -> str:
        """The mean temperature with its error beside the thermostat's target, for a record's source.

        Warns when the mean is more than three standard errors off.
        """
        rows = self.rows if rows is None and self.log_path else rows
        if rows is None or "Temp" not in rows.columns:
            return ""
        mean, target = mean_temperature(rows), rows.target_K
        text = f"mean temperature {records.with_error(mean.value, mean.standard_error)} K"
        if target is None:
            return text
        if mean.standard_error > 0 and abs(mean.value - target) > OFF_TARGET * mean.standard_error:
            warnings.warn(f"{text}, but the thermostat's target was {target:g} K", stacklevel=2)
        return f"{text}, target {target:g} K"

    def _covered(self) -> None:
        """Refuse a log that ends before half of the frames."""
        steps = self.trajectory.steps
        end = self.rows.steps[-1]
        if end - steps[0] < LEAST_COVER * (steps[-1] - steps[0]):
            raise InputError(
                f"{self.log_path}: rows up to step {end}, frames of steps {steps[0]}-{steps[-1]}",
                "a log of the whole dump",
                "give the whole log, or --temperature",
            )

    @cached_property
    def molecules(self) -> Molecules | None:
        """What the atoms of the dump are bonded to; None without elements, and where bonds run through the whole box
        (a crystal, a surface and what is bonded to it)."""
        if any(name not in atomic_numbers for name in self.whole_dump.species.tolist()):
            return None
        found = molecules(self.whole_dump)
        return found if found.finite else None

    @cached_property
    def liquid(self) -> Liquid | None:
        """The liquid that was named, else that the molecules of the dump are, or the mass and volume in the log tell;
        None where it is of no known one. Warns where a liquid was named and the run is none of it."""
        told = self._told()
        if self.named is None:
            return told
        if told is None and self.dump_path is not None and self.molecules is not None:
            warnings.warn(f"compared with {self.named.name}, the run holds {self.molecules.text()}", stacklevel=2)
        elif told is not None and told.name != self.named.name:
            warnings.warn(f"compared with {self.named.name}, the run is of {told.name}", stacklevel=2)
        return self.named

    def _told(self) -> Liquid | None:
        """The liquid that the files tell."""
        if self.dump_path is None:
            mass = mean_mass(self.log)
            return None if mass is None else liquid_of_mass(mass, self.elements or ())
        found = liquid_of_molecules(self.molecules) if self.molecules is not None else None
        masses = self.whole_dump.masses
        isotopes = found is not None and abs(masses.mean() / found.mean_mass - 1) > SAME_ISOTOPES
        return None if isotopes else found

    def known(self, quantity: str, unit: str, temperature_K: float) -> Known | None:
        """Experiment's value: the user's own, else that of the liquid; None where it is not known or not wanted."""
        given = self.references.experiment.known(quantity, unit, "given")
        if given is not None:
            return given
        found = self.liquid.known(quantity, temperature_K) if self.experiment and self.liquid else None
        if found is None and self.named is not None and quantity in EXPECTED:
            warnings.warn(f"no {quantity} of {self.named.name} is known at {temperature_K:.0f} K", stacklevel=2)
        if found is not None and self.dump_path is None and self.named is None:
            return replace(found, source=f"{found.source} ({self.liquid.name} by the mean mass of the log's atoms)")
        return found

    def viscosity(self, temperature_K: float) -> Known | None:
        """Viscosity in mPa s by the user's file or of the liquid, for finite-size corrections."""
        given = self.references.experiment.known("viscosity", "mPa s", "given")
        return given or (self.liquid.known("viscosity", temperature_K) if self.liquid else None)

    def curve(self, pair: tuple[str, str], temperature_K: float) -> Curve | None:
        """Experiment's g(r) of a pair of elements."""
        return self.liquid.curve(pair, temperature_K) if self.experiment and self.liquid else None

    def record(
        self,
        quantity: str,
        estimate: Estimate,
        temperature_K: float,
        source: str,
        known: Known | None = None,
        radius_A: float | None = None,
    ) -> dict:
        """A record beside experiment (by default `self.known`) and level of theory, with their sources."""
        self.quantities.add(quantity)
        experiment = known or self.known(quantity, estimate.unit, temperature_K)
        theory = self.references.level_of_theory.known(quantity, estimate.unit, "given")
        source += f"; experiment: {experiment.source}" if experiment else ""
        source += f"; level of theory: {theory.source}" if theory else ""
        return records.record(quantity, estimate, temperature_K, source, experiment, theory, radius_A)


def mean_temperature(run: Run) -> Estimate:
    """Mean temperature in K of the rows of a run, its error from blocks (0, none, below 16 rows).

    Raises InputError without a Temp column, without rows, or where it is not finite.
    """
    if "Temp" not in run.columns:
        raise InputError("a log without the column Temp", "the temperature", "give --temperature")
    series = run.columns["Temp"]
    if not len(series) or not np.all(np.isfinite(series)):
        raise InputError("a temperature that is nan or inf", "finite values", "look where the run went unstable")
    mean = float(series.mean())
    if len(series) < MIN_SAMPLES:
        return Estimate(mean, 0.0, "K", float(len(series)))
    return replace(equilibrated_mean(series, "K")[0], value=mean)


def mean_mass(log: Log) -> float | None:
    """Mean mass in g/mol of an atom from density, volume and number of atoms in a log; None when it lacks one."""
    for run in reversed(log.runs):
        volumes = run.volumes()
        if run.n_atoms and volumes is not None and "Density" in run.columns:
            masses = run.columns["Density"] * volumes / GCM3_PER_GMOL_A3 / run.n_atoms
            return float(np.median(masses)) if np.all(np.isfinite(masses)) else None
    return None
