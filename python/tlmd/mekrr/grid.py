"""The grid of a kernel model's hyper-parameters: as a file and as a table."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from tlmd.mekrr.ridge import Choice
from tlmd.run.files import write_atomic


def write_grid(path: Path, rows: list[dict[str, Any]]) -> None:
    """grid.csv: each choice with its validation errors in eV/atom, eV/A, eV/A^3."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    write_atomic(path, lambda temporary: temporary.write_text(text.getvalue()))


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
