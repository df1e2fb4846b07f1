"""Files of LAMMPS' `fix ave/time`: columns of numbers by name, during the run of a log."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tlmd.analysis.thermo import Run
from tlmd.analysis.trajectory import complete_lines
from tlmd.run.errors import InputError


def read_averages(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Names of the columns in the file's second line, and their numbers (n, columns); the first is TimeStep.

    Raises InputError for a file without that line, or with rows of another length.
    """
    names, rows = [], []
    for line in complete_lines(Path(path)):
        words = line.split()
        if line.startswith("#") and "TimeStep" in words:
            names = words[words.index("TimeStep") :]
        elif words and not line.startswith("#"):
            rows.append(words)
    if not names:
        raise InputError(f"{path} without names of columns", "a file of fix ave/time, scalars", "give the right file")
    try:
        return names, np.array(rows, dtype=float).reshape(-1, len(names))
    except ValueError:
        raise InputError(f"{path}: rows of other than {len(names)} numbers", "a table", "write it again") from None


def during(run: Run, steps: np.ndarray, path: str | Path) -> np.ndarray:
    """Which of a file's rows (n,) belong to a run of the log; InputError where none does, or at uneven intervals."""
    inside = (steps > run.steps[0]) & (steps <= run.steps[-1])
    if not inside.any():
        ranges = (
            f"steps {steps[0]}-{steps[-1]}, the log's run {run.steps[0]}-{run.steps[-1]}" if len(steps) else "empty"
        )
        raise InputError(f"{path}: {ranges}", "one run", "give the log and the file of the same run")
    gaps = np.diff(steps[inside])
    if not len(gaps) or np.any(gaps != gaps[0]):
        raise InputError(f"{path}: values at uneven intervals", "one interval", "give the file of one fix ave/time")
    return inside
