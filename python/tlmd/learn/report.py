"""What a round says: a page of HTML, and one table of all rounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from tlmd.analysis.report import write_report
from tlmd.frames.read import read_frames
from tlmd.learn.config import LearnConfig
from tlmd.run.errors import InputError
from tlmd.run.files import write_text
from tlmd.run.folder import RunFolder

if TYPE_CHECKING:
    from tlmd.learn.learn import Round

ROUNDS, REPORT = "rounds.json", "report.html"
QUIET = "largest error by deviation", "unsure above (eV/A)"  # columns for which a terminal has no room
COLUMNS = {
    "energy (meV/atom)": "energy_mae_mev_per_atom",
    "force (meV/A)": "force_mae_mev_per_A",
    "pressure (bar)": "pressure_mae_bar",
}


def begin(run: RunFolder) -> None:
    """An empty rounds.json, if there is none: labels have been made, and from now on the folder is of this run."""
    if not (run.path / ROUNDS).exists():
        write_text(run.path / ROUNDS, "[]\n")


def rows(config: LearnConfig, rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """One row for each round."""
    found = []
    for each in rounds:
        record = each.record
        ends = [run["why"] for run in record["runs"]]
        row = {"round": each.number, "labels": record["tried"], "training frames": record["labelled"]}
        row |= errors_of(record["errors"])
        if record["new"]:
            row["new frames before, force MAE (meV/A)"] = record["new"][COLUMNS["force (meV/A)"]]
        row |= {"runs to their end": f"{ends.count('')} of {len(ends)}", "unsure frames": record["unsure"]}
        if record.get("error_by_deviation"):
            row[QUIET[0]] = record["error_by_deviation"]
        if isinstance(record.get("dump_eV_A"), float):
            row[QUIET[1]] = record["dump_eV_A"]
        row |= {"largest deviation (eV/A)": max(run["deviation"] for run in record["runs"])}
        found.append(row | ({config.stop.property: each.value.text()} if config.stop.property else {}))
    return found


def errors_of(errors: dict[str, Any]) -> dict[str, float]:
    """MAE of the test frames, or else those of validation or training, by column."""
    name = next(name for name in ("test", "valid", "train") if name in errors)
    return {f"{name} MAE, {column}": errors[name][key] for column, key in COLUMNS.items() if errors[name].get(key)}


def show(run: RunFolder, config: LearnConfig, rounds: Sequence[Round]) -> None:
    """The table of the rounds on the terminal, rounds.json and report.html."""
    found = rows(config, rounds)
    run.table(table_of(found))
    write_text(run.path / ROUNDS, json.dumps(found, indent=1) + "\n")
    write_report(run.path / REPORT, f"tl-learn: {run.path.name}", [], {"Rounds": curve(found)}, {"Rounds": found})


def table_of(found: Sequence[dict[str, Any]]) -> Table:
    """Rows as a table."""
    columns = [key for key in dict.fromkeys(key for row in found for key in row) if key not in QUIET]
    table = Table(*columns)
    for row in found:
        cells = [row.get(key, "") for key in columns]
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table


def curve(found: Sequence[dict[str, Any]]) -> Figure:
    """Force error and largest deviation against the number of training frames."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    left = figure.add_subplot()
    frames = [row["training frames"] for row in found]
    for key in dict.fromkeys(key for row in found for key in row if key.endswith("force (meV/A)")):
        left.plot(frames, [row.get(key, np.nan) for row in found], "o-", label=key)
    right = left.twinx()
    right.plot(frames, [row["largest deviation (eV/A)"] for row in found], "s--", color="gray", label="deviation")
    left.set_xlabel("training frames")
    left.set_ylabel("force MAE, meV/Å")
    right.set_ylabel("largest deviation in MD, eV/Å")
    left.set_ylim(bottom=0)
    left.legend(loc="upper right")
    return figure


def write_page(each: Round) -> None:
    """page.html of a round: what was labelled and why, errors, how the runs of MD ended."""
    record = each.record
    frames = read_frames(each.labels) if each.labels.exists() else []
    labelled = [
        {
            "frame": index,
            "from": frame.info.get("source", frame.info.get("pool_file", "")),
            "deviation (eV/A)": frame.info.get("largest_deviation", ""),
            "distance to the others": frame.info.get("distance", ""),
            "atoms": len(frame),
            "largest force (eV/A)": float(np.abs(frame.forces).max()),
        }
        for index, frame in enumerate(frames)
    ]
    sets = record["errors"] | ({"new, by the model of the round before": record["new"]} if record["new"] else {})
    errors = [{"frames": name, **found} for name, found in sets.items() if COLUMNS["force (meV/A)"] in found]
    tables = {
        "Labelled in this round": labelled,
        "Errors of the first model": errors,
        "Runs of MD (why they ended; nothing: at their end)": record["runs"],
    }
    write_report(each.folder / "page.html", f"tl-learn: round {each.number}", [], None, tables)


def status(out: Path) -> Table:
    """The rounds that have ended. InputError if there are none."""
    found = json.loads((out / ROUNDS).read_text(encoding="utf-8")) if (out / ROUNDS).exists() else []
    if not found:
        raise InputError(f"{out} without a round that has ended", "a run folder of tl-learn", "wait, or check --out")
    return table_of(found)
