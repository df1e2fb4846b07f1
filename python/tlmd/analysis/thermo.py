"""LAMMPS logs -> thermo tables in eV, fs, bar, K; and whether a log and a dump are of one run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlmd.analysis.trajectory import Trajectory, complete_lines
from tlmd.run.errors import InputError
from tlmd.units import LAMMPS_UNITS

ENERGY_COLUMNS = {"PotEng", "KinEng", "TotEng", "Enthalpy", "E_pair", "E_mol", "E_bond", "E_angle", "E_coul", "E_long"}
PRESSURE_COLUMNS = {"Press", "Pxx", "Pyy", "Pzz", "Pxy", "Pxz", "Pyz"}
DEFAULT_TIMESTEP_FS = {"real": 1.0, "metal": 1.0}  # what LAMMPS takes without a `timestep` command
# Word of a `fix` command at which the starting temperature of a thermostat stands; the final one follows.
THERMOSTATS = {"langevin": 4, "temp/berendsen": 4, "temp/csvr": 4, "temp/csld": 4, "temp/rescale": 5}
SAME_VOLUME = 1e-4  # relative; a log prints about 8 digits


@dataclass(frozen=True)
class Run:
    """The thermo table of one `run`: columns by LAMMPS' names, (R,) each, in eV, fs, bar, K, A."""

    columns: dict[str, np.ndarray]
    timestep_fs: float
    n_atoms: int | None  # None when the run was killed
    finished: bool
    target_K: float | None = None  # of the thermostat set last before the run, where it is constant

    @property
    def steps(self) -> np.ndarray:
        """(R,) MD steps."""
        return self.columns["Step"].astype(np.int64)

    def volumes(self) -> np.ndarray | None:
        """(R,) box volumes in A^3, from Volume or from Lx Ly Lz; None when the log has neither."""
        if "Volume" in self.columns:
            return self.columns["Volume"]
        if {"Lx", "Ly", "Lz"} <= set(self.columns):
            return self.columns["Lx"] * self.columns["Ly"] * self.columns["Lz"]
        return None


@dataclass(frozen=True)
class Log:
    """All runs of one log file, in order."""

    path: Path
    units: str
    runs: tuple[Run, ...]

    def chains(self) -> list[Run]:
        """Runs that continue one another (last step = first of the next, one time step), joined."""
        chains: list[list[Run]] = []
        for run in self.runs:
            before = chains[-1][-1] if chains else None
            if (
                before
                and before.steps[-1] == run.steps[0]
                and np.isclose(before.timestep_fs, run.timestep_fs, rtol=1e-3)
            ):
                chains[-1].append(run)
            else:
                chains.append([run])
        return [join(chain) for chain in chains]


def join(runs: list[Run]) -> Run:
    """One table from consecutive runs; the row that two runs share is kept once."""
    names = [name for name in runs[0].columns if all(name in run.columns for run in runs)]
    keep = [np.arange(len(run.steps)) >= (1 if i else 0) for i, run in enumerate(runs)]
    columns = {n: np.concatenate([run.columns[n][k] for run, k in zip(runs, keep, strict=True)]) for n in names}
    return replace(runs[-1], columns=columns, n_atoms=runs[0].n_atoms)


def read_log(path: str | Path, units: str | None = None) -> Log:
    """Read every thermo table of a LAMMPS log (one-line style, with a Step column), plain or compressed.

    Units, time step and the thermostat's target come from the echoed commands (`units`, `timestep`, `fix`) or the Time
    column; `units` is used when the log does not say. Raises InputError when there is no table, no unit style, or no
    known time step.
    """
    path = Path(path)
    lines = complete_lines(path)
    timestep, target, restarted, tables = None, None, False, []
    for line in lines:
        words = line.split()
        command = words[0] if words else ""
        if command == "units" and len(words) > 1 and "$" not in words[1]:
            units = words[1]
        elif command == "timestep" and len(words) > 1 and "$" not in words[1]:
            timestep = _number(words[1])
        elif command == "read_restart":
            restarted = True
        elif command == "fix" and "$" not in line:
            target = _thermostat(words, target)
        elif command == "Step":
            rows, n_atoms, finished = _table(path, lines, words)
            if len(rows):
                tables.append((words, rows, timestep, target, n_atoms, finished))
    if not tables:
        raise InputError(f"{path} without a thermo table", "a LAMMPS log (one-line thermo with Step)", "give that file")
    if units not in LAMMPS_UNITS:
        raise InputError(f"{path}: units {units}", " or ".join(LAMMPS_UNITS), "put `units` after `log` in the input")
    default = None if restarted else DEFAULT_TIMESTEP_FS[units]
    return Log(path, units, tuple(_run(path, units, default, *table) for table in tables))


def _thermostat(words: list[str], before: float | None) -> float | None:
    """Target in K after a `fix` command: its own if it is a thermostat (None for a ramp), else the one before."""
    style = words[3] if len(words) > 3 else ""
    if style.startswith(("nvt", "npt")) and "temp" in words[4:]:
        first = words.index("temp", 4) + 1
    elif style in THERMOSTATS:
        first = THERMOSTATS[style]
    else:
        return before
    ends = {_number(word) for word in words[first : first + 2]}
    return ends.pop() if len(ends) == 1 else None


def _table(path: Path, lines: Iterator[str], names: list[str]) -> tuple[np.ndarray, int | None, bool]:
    """Rows (R, width) up to the `Loop time` line, number of atoms, whether that line came; other lines are skipped."""
    rows, n_atoms, finished = [], None, False
    for line in lines:
        words = line.split()
        if line.startswith("Loop time of"):
            atoms = re.search(r"(\d+) atoms", line)
            n_atoms, finished = int(atoms[1]) if atoms else None, True
            break
        if len(words) == len(names):
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                continue  # a warning between the rows
    table = np.array(rows).reshape(-1, len(names))
    steps = table[:, names.index("Step")]
    if not np.all(np.isfinite(steps)) or np.any(steps < 0) or np.any(np.diff(steps) < 0):
        raise InputError(f"{path}: steps that are no increasing numbers", "a LAMMPS log", "give the file as written")
    return table, n_atoms, finished


def _run(path, units, default, names, rows, timestep, target, n_atoms, finished) -> Run:
    scale = LAMMPS_UNITS[units]
    columns = dict(zip(names, rows.T, strict=True))
    for name in columns:
        if name in ENERGY_COLUMNS:
            columns[name] = columns[name] * scale["energy_eV"]
        elif name in PRESSURE_COLUMNS:
            columns[name] = columns[name] * scale["pressure_bar"]
        elif name == "Time":
            columns[name] = columns[name] * scale["time_fs"]
    elapsed = np.ptp(columns["Step"])
    if "Time" in columns and elapsed > 0 and np.ptp(columns["Time"]) > 0:
        timestep_fs = np.ptp(columns["Time"]) / elapsed
    elif timestep is not None:
        timestep_fs = timestep * scale["time_fs"]
    elif default is not None:
        timestep_fs = default
    else:
        raise InputError(f"{path}: no time step", "a `timestep` line or a Time column", "add `time` to thermo_style")
    if not (np.isfinite(timestep_fs) and timestep_fs > 0):
        raise InputError(f"{path}: a time step of {timestep_fs:g} fs", "one above 0", "give the file as written")
    return Run(columns, float(timestep_fs), n_atoms, finished, target)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def match(trajectory: Trajectory, log: Log) -> Run:
    """The rows of `log` written during `trajectory`; raises InputError when the two are not of one run.

    Compared: number of atoms, step range, time step and box volume, as far as the two files state them. Where no row
    falls between the first and the last frame, the rows just before and after are given. A log that was cut may end
    within the frames, not before them.
    """
    both = f"{trajectory.path} and {log.path}"
    advice = "give the dump and the log of the same run"
    _same_atoms(trajectory, log, both, advice)
    first, last = trajectory.steps[0], trajectory.steps[-1]
    chains = log.chains()
    covering = [
        chain
        for chain in chains
        if chain.steps[0] <= first <= chain.steps[-1] and (last <= chain.steps[-1] or not chain.finished)
    ]
    if not covering:
        ranges = ", ".join(f"{chain.steps[0]}-{chain.steps[-1]}" for chain in chains)
        raise InputError(f"{both}: steps {first}-{last} in the dump, {ranges} in the log", "one run", advice)
    boxes = [chain for chain in covering if _volume_difference(trajectory, chain) <= SAME_VOLUME]
    if not boxes:
        worst = min(_volume_difference(trajectory, chain) for chain in covering)
        raise InputError(f"{both}: box volumes that differ by {100 * worst:.2g} %", "one run", advice)
    rows = boxes[-1]
    _same_timestep(trajectory, rows, both, advice)
    inside = (rows.steps >= first) & (rows.steps <= last)
    if not inside.any():
        after = int(np.searchsorted(rows.steps, last))
        inside[max(0, after - 1) : after + 1] = True
    return replace(rows, columns={name: column[inside] for name, column in rows.columns.items()})


def _same_atoms(trajectory: Trajectory, log: Log, both: str, advice: str) -> None:
    counts = {run.n_atoms for run in log.runs if run.n_atoms is not None}
    n_atoms = trajectory.positions.shape[1]
    if counts and n_atoms > max(counts):  # a dump of a group has fewer
        raise InputError(f"{both}: {n_atoms} atoms in the dump, {max(counts)} in the log", "one run", advice)


def _same_timestep(trajectory: Trajectory, rows: Run, both: str, advice: str) -> None:
    if trajectory.times_fs is None or len(trajectory.steps) < 2:
        return
    dumped = np.ptp(trajectory.times_fs) / np.ptp(trajectory.steps)
    if not np.isclose(dumped, rows.timestep_fs, rtol=1e-3):
        raise InputError(
            f"{both}: time step {dumped:.4g} fs in the dump, {rows.timestep_fs:.4g} fs in the log", "one run", advice
        )


def _volume_difference(trajectory: Trajectory, run: Run) -> float:
    """Largest relative difference of the volume at the steps that dump and log share; 0 when they share none."""
    volumes = run.volumes()
    _, dumped, logged = np.intersect1d(trajectory.steps, run.steps, return_indices=True)
    if volumes is None or not len(dumped):
        return 0.0
    return float(np.max(np.abs(volumes[logged] / trajectory.volumes[dumped] - 1)))


def frame_times(trajectory: Trajectory, timestep_fs: float) -> np.ndarray:
    """(T,) times of the frames in fs: those in the dump, else step x timestep."""
    return trajectory.steps * timestep_fs if trajectory.times_fs is None else trajectory.times_fs
