"""Pressure tensors of a run: from the thermo columns of its log, or from a file of `fix ave/time`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from tlmd.analysis.averages import during, read_averages
from tlmd.analysis.registry import Lacking
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import MIN_SAMPLES, equilibration
from tlmd.analysis.thermo import Log, Run, join
from tlmd.run.errors import InputError
from tlmd.units import LAMMPS_UNITS

Pressures = Annotated[  # options of the analyses of a pressure tensor
    Optional[Path], typer.Option(help="file of fix ave/time with the pressure tensor, instead of the log's columns")
]
LeaveOut = Annotated[
    Optional[float],
    typer.Option("--leave-out", help="ps at the start of the log's run (default: those before equilibrium)"),
]
COMPONENTS = ("xx", "yy", "zz", "xy", "xz", "yz")  # the order of LAMMPS' compute pressure
MOVING_BOX = 1e-4  # relative spread of the volume above which a run is not at constant volume
COLUMNS = tuple(f"P{component}" for component in COMPONENTS)


@dataclass(frozen=True)
class Stress:
    """The pressure tensor of the equilibrated part of a run at one interval."""

    tensor: np.ndarray  # (n, 6) xx yy zz xy xz yz, bar
    interval_fs: float
    run: Run  # thermo rows of the same part
    source: str  # the file, the steps, what was left out

    @property
    def shear(self) -> np.ndarray:
        """(n, 5) components of the traceless tensor that have equal variance and no correlation in a liquid:
        xy, xz, yz, (xx - yy) / 2, (2 zz - xx - yy) / sqrt(12)."""
        xx, yy, zz, *off = self.tensor.T
        return np.stack([*off, (xx - yy) / 2, (2 * zz - xx - yy) / np.sqrt(12)], axis=1)


def stress_of(run: Simulation, file: Path | None, leave_out_ps: float | None) -> Stress:
    """The pressure tensor of the last run of the log, or of `file` by `fix ave/time` during it.

    leave_out_ps: of its start; None: the part before equilibrium, by the potential energy or the pressure.
    Raises Lacking where neither file has the six components; InputError for values at uneven intervals.
    """
    needed = () if file else COLUMNS
    rows = last_stretch(run.log, needed)
    if rows is None:
        missing = [name.lower() for name in COLUMNS if name not in run.log.runs[-1].columns]
        raise Lacking(
            f"{run.log_path} without {' '.join(missing)}",
            "the six components of the pressure",
            f"add `{' '.join(column.lower() for column in COLUMNS)}` to thermo_style, or give --pressures",
        )
    rows, left_out = equilibrated(rows, leave_out_ps)
    if file is None:
        steps, tensor = rows.steps, np.stack([rows.columns[name] for name in COLUMNS], axis=1)
    else:
        steps, tensor = read_pressures(file, run.log.units)
        inside = during(rows, steps, file)
        steps, tensor = steps[inside], tensor[inside]
    if not np.all(np.isfinite(tensor)):
        raise InputError("a pressure tensor with nan or inf", "finite values", "look where the run went unstable")
    if file is None:
        gaps = np.diff(steps[:-1])  # LAMMPS writes the last step of a run whatever the interval
        if not len(gaps) or np.any(gaps != gaps[0]):
            raise InputError("a pressure tensor at uneven intervals", "one interval", "analyse one run of one `thermo`")
        if steps[-1] - steps[-2] != gaps[0]:
            steps, tensor = steps[:-1], tensor[:-1]
    gap = steps[1] - steps[0]
    source = f"{Path(file or run.log_path).name}, steps {steps[0]}-{steps[-1]} each {gap}{left_out}"
    return Stress(tensor, float(gap * rows.timestep_fs), rows, source)


def last_stretch(log: Log, columns: tuple[str, ...] = ()) -> Run | None:
    """The last run of a log that has these columns, with those before that it continues at the same interval; None
    where no run has them."""
    stretch: list[Run] = []
    for run in reversed(log.runs):
        if stretch and not _continues(run, stretch[0], columns):
            break
        if set(columns) <= set(run.columns) and len(run.steps) > 1:
            stretch.insert(0, run)
    return join(stretch) if stretch else None


def _continues(run: Run, after: Run, columns: tuple[str, ...]) -> bool:
    same = set(columns) <= set(run.columns) and run.steps[-1] == after.steps[0]
    return same and len(run.steps) > 1 and np.diff(run.steps)[0] == np.diff(after.steps)[0]


def constant_volume(rows: Run) -> float:
    """The volume in A^3 of a run; InputError where it changes or is not in the log."""
    volumes = rows.volumes()
    if volumes is None:
        raise InputError("a log without the volume", "vol or lx ly lz", "add `vol` to thermo_style")
    if np.ptp(volumes) > MOVING_BOX * volumes.mean():
        spread = 100 * np.ptp(volumes) / volumes.mean()
        raise InputError(f"a volume that changes by {spread:.2g} %", "NVT or NVE", "fix the box at its mean volume")
    return float(volumes.mean())


def equilibrated(rows: Run, leave_out_ps: float | None) -> tuple[Run, str]:
    """The rows after the given time, or from equilibrium on, and how much was left out in words."""
    times = (rows.steps - rows.steps[0]) * rows.timestep_fs / 1000
    if leave_out_ps is not None:
        if not 0 <= leave_out_ps < times[-1]:
            raise InputError(f"--leave-out {leave_out_ps:g}", f"0 to {times[-1]:.4g} ps, the run", "correct it")
        first = int(np.searchsorted(times, leave_out_ps))
    else:
        series = next((rows.columns[name] for name in ("PotEng", "Press") if name in rows.columns), None)
        usable = series is not None and len(series) >= MIN_SAMPLES and np.all(np.isfinite(series))
        first = equilibration(series) if usable else 0
    cut = replace(rows, columns={name: column[first:] for name, column in rows.columns.items()})
    return cut, f", first {times[first]:.3g} ps left out" if first else ""


def read_pressures(path: str | Path, units: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) and pressure tensors (n, 6) in bar from a file of `fix ave/time` (scalars, one row a time).

    Columns are known by their names in the file's second line: c_ID[1] ... c_ID[6] of compute pressure, or variables
    such as v_pxy. Raises InputError for a file without them.
    """
    names, table = read_averages(path)
    found = [_component(name) for name in names]
    missing = [component for component in COMPONENTS if component not in found]
    if missing:
        do = "fix ave/time with c_thermo_press[1] ... [6], or variables pxx ... pyz"
        raise InputError(f"{path} without a column for {' '.join(missing)}", "the six components", do)
    order = [found.index(component) for component in COMPONENTS]
    return table[:, 0].astype(np.int64), table[:, order] * LAMMPS_UNITS[units]["pressure_bar"]


def _component(name: str) -> str | None:
    """xx, yy, ... of a column's name; None for another column."""
    vector = re.fullmatch(r"c_\w+\[([1-6])\]", name)
    if vector:
        return COMPONENTS[int(vector[1]) - 1]
    variable = re.fullmatch(r"(?:[cvf]_)?p_?([xyz]{2})", name.lower())
    return variable[1] if variable and variable[1] in COMPONENTS else None
