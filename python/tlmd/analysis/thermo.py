"""LAMMPS logs -> thermo tables in eV, fs, bar, K; and whether a log and a dump are of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlmd.analysis.trajectory import Trajectory, complete_lines
from tlmd.run.errors import InputError
from tlmd.units import LAMMPS_UNITS

ENERGY_COLUMNS = {"PotEng", "KinEng", "TotEng", "Enthalpy", "E_pair", "E_mol", "E_bond", "E_angle", "E_coul", "E_long"}
PRESSURE_COLUMNS = {"Press", "Pxx", "Pyy", "Pzz", "Pxy", "Pxz", "Pyz"}
DEFAULT_TIMESTEP_FS = {"real": 1.0, "metal": 1.0}  # what LAMMPS takes without a `timestep` command
SAME_VOLUME = 1e-4  # relative; a log prints about 8 digits


@dataclass(frozen=True)
class Run:
    """The thermo table of one `run`: columns by LAMMPS' names, (R,) each, in eV, fs, bar, K, A."""

    columns: dict[str, np.ndarray]
    timestep_fs: float
    n_atoms: int | None  # None when the run was killed
    finished: bool

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
    return Run(columns, runs[-1].timestep_fs, runs[0].n_atoms, runs[-1].finished)


def read_log(path: str | Path, units: str | None = None) -> Log:
    """Read every thermo table of a LAMMPS log (one-line style, with a Step column), plain or compressed.

    Units and time step come from the echoed commands (`units`, `timestep`) or the Time column; `units` is used when
    the log does not say. Raises InputError when there is no table, no unit style, or no known time step.
    """
    path = Path(path)
    lines = complete_lines(path)
    timestep, restarted, tables = None, False, []
    for line in lines:
        words = line.split()
        if words[:1] == ["units"] and len(words) > 1 and "$" not in words[1]:
            units = words[1]
        elif words[:1] == ["timestep"] and len(words) > 1 and "$" not in words[1]:
            timestep = _number(words[1])
        elif words[:1] == ["read_restart"]:
            restarted = True
        elif words[:1] == ["Step"]:
            rows, n_atoms, finished = _table(lines, len(words))
            if len(rows):
                tables.append((words, rows, timestep, n_atoms, finished))
    if not tables:
        raise InputError(f"{path} without a thermo table", "a LAMMPS log (one-line thermo with Step)", "give that file")
    if units not in LAMMPS_UNITS:
        raise InputError(f"{path}: units {units}", " or ".join(LAMMPS_UNITS), "put `units` after `log` in the input")
    default = None if restarted else DEFAULT_TIMESTEP_FS[units]
    return Log(path, units, tuple(_run(path, units, default, *table) for table in tables))


def _table(lines: Iterator[str], width: int) -> tuple[np.ndarray, int | None, bool]:
    """Rows (R, width) up to the `Loop time` line, number of atoms, whether that line came; other lines are skipped."""
    rows = []
    for line in lines:
        words = line.split()
        if line.startswith("Loop time of"):
            return np.array(rows), int(words[words.index("atoms") - 1]) if "atoms" in words else None, True
        if len(words) == width:
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                continue  # a warning between the rows
    return np.array(rows), None, False


def _run(path, units, default, names, rows, timestep, n_atoms, finished) -> Run:
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
    return Run(columns, float(timestep_fs), n_atoms, finished)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def match(trajectory: Trajectory, log: Log) -> Run:
    """The rows of `log` written during `trajectory`; raises InputError when the two are not of one run.

    Compared: number of atoms, step range, time step and box volume, as far as the two files state them.
    """
    first, last = trajectory.steps[0], trajectory.steps[-1]
    both = f"{trajectory.path} and {log.path}"
    advice = "give the dump and the log of the same run"
    counts = {run.n_atoms for run in log.runs if run.n_atoms is not None}
    n_atoms = trajectory.positions.shape[1]
    if counts and n_atoms > max(counts):  # a dump of a group has fewer
        raise InputError(f"{both}: {n_atoms} atoms in the dump, {max(counts)} in the log", "one run", advice)
    ends = [(chain.steps[0], chain.steps[-1] if chain.finished else np.inf) for chain in log.chains()]
    covering = [chain for chain, (low, high) in zip(log.chains(), ends, strict=True) if low <= first and last <= high]
    if not covering:
        ranges = ", ".join(f"{low}-{high}" for low, high in ends)
        raise InputError(f"{both}: steps {first}-{last} in the dump, {ranges} in the log", "one run", advice)
    boxes = [chain for chain in covering if _volume_difference(trajectory, chain) <= SAME_VOLUME]
    if not boxes:
        worst = min(_volume_difference(trajectory, chain) for chain in covering)
        raise InputError(f"{both}: box volumes that differ by {100 * worst:.2g} %", "one run", advice)
    rows = boxes[-1]
    if trajectory.times_fs is not None and len(trajectory.steps) > 1:
        dumped = np.ptp(trajectory.times_fs) / np.ptp(trajectory.steps)
        if not np.isclose(dumped, rows.timestep_fs, rtol=1e-3):
            raise InputError(
                f"{both}: time step {dumped:.4g} fs in the dump, {rows.timestep_fs:.4g} fs in the log",
                "one run",
                advice,
            )
    inside = (rows.steps >= first) & (rows.steps <= last)
    columns = {name: column[inside] if inside.any() else column for name, column in rows.columns.items()}
    return Run(columns, rows.timestep_fs, rows.n_atoms, rows.finished)


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


def mean_temperature(run: Run) -> float:
    """Mean temperature in K of the rows of a run; raises InputError without a Temp column."""
    if "Temp" not in run.columns:
        raise InputError("a log without the column Temp", "the temperature", "give --temperature")
    return float(np.mean(run.columns["Temp"]))
