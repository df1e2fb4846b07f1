"""The grid of a kernel model's hyper-parameters: the choice by the validation frames, as a file and as a table."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from torch import Tensor

from tlmd.mekrr.accumulate import Accumulation
from tlmd.mekrr.config import FitConfig
from tlmd.mekrr.ridge import Choice, Solver, grid
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.files import write_csv
from tlmd.run.folder import RunFolder

NO_VALID = ("no validation frames", "some, to choose from the grid", "set data.valid, or give single values in fit")


def choose(fit: FitConfig, solver: Solver, valid: Accumulation | None, run: RunFolder) -> tuple[Choice, Tensor]:
    """The choice with the smallest validation score, and its solution; the ranks share the grid."""
    weights = fit.force_weight if len(solver.sums) > 1 else [1.0]
    choices = [Choice(*each) for each in itertools.product(fit.alpha, weights, fit.ridge)]
    if valid is None:
        if len(choices) > 1:
            raise InputError(*NO_VALID)
        return choices[0], solver.solve(choices[0])
    start, world = time.monotonic(), collective.world()
    parts = collective.gather(grid(solver, valid.sums, choices[collective.rank() :: world]))
    rows = [parts[i % world][i // world] for i in range(len(choices))]
    best = choices[best_row(rows)]
    run.say(f"{len(choices)} solutions in {time.monotonic() - start:.1f} s")
    show_grid(run, rows, best)
    return best, solver.solve(best)


def best_row(rows: list[dict[str, Any]]) -> int:
    """The row with the smallest score; InputError if none is finite."""
    best = int(np.argmin([row["score"] if math.isfinite(row["score"]) else math.inf for row in rows]))
    if not math.isfinite(rows[best]["score"]):
        raise InputError("no solution for any choice", "a larger lambda", "add larger values to fit.ridge")
    return best


def show_grid(run: RunFolder, rows: list[dict[str, Any]], best: Choice) -> None:
    """grid.csv, and the best choices as a table."""
    if rows and run.main:
        write_grid(run.path / "grid.csv", rows)
        run.table(grid_table(rows, best))


def write_grid(path: Path, rows: list[dict[str, Any]]) -> None:
    """grid.csv: each choice with its validation errors in eV/atom, eV/A, eV/A^3."""
    write_csv(path, [{key: f"{value:.6g}" for key, value in row.items()} for row in rows])


def grid_table(rows: list[dict[str, Any]], best: Choice) -> Table:
    """The best choice for each alpha."""
    errors = [key for key in rows[0] if key.endswith("_rmse")]
    units = {"energy_rmse": "meV/atom", "forces_rmse": "meV/A", "stress_rmse": "meV/A^3"}
    table = Table(title="validation RMSE, best for each alpha")
    for name in ("alpha", "force weight", "lambda", *(f"{key.split('_')[0]}, {units[key]}" for key in errors)):
        table.add_column(name, justify="right")
    for alpha in dict.fromkeys(row["alpha"] for row in rows):
        row = min((r for r in rows if r["alpha"] == alpha and math.isfinite(r["score"])), key=lambda r: r["score"])
        mark = " *" if alpha == best.alpha else ""
        cells = [f"{alpha:g}{mark}", f"{row['force_weight']:g}", f"{row['lambda']:.0e}"]
        table.add_row(*cells, *(f"{1e3 * row[key]:.2f}" for key in errors))
    return table
