"""What a campaign shows: the table of its runs, campaign.csv, results.json, report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from tlmd.analysis.figures import EXPERIMENT, legend_above, new_figure
from tlmd.analysis.records import with_error
from tlmd.analysis.reference import liquid_named
from tlmd.analysis.report import write_report
from tlmd.campaign.parts import joined_table, parts_of
from tlmd.campaign.results import ROW_KEYS, grouped, properties, results_of, survival
from tlmd.campaign.run import FINISHED, Run
from tlmd.run.errors import InputError
from tlmd.run.files import write_csv, write_text
from tlmd.run.folder import in_use

CSV, JSON, REPORT, ATOMS = "campaign.csv", "results.json", "report.html", "atoms.json"
NS_PER_DAY = 86400 * 1e-6  # of a step of 1 fs each second
PLOTTED = {"density": "density (g/cm³)", "diffusion coefficient": "D, infinite box (m²/s)",
           "diffusion coefficient, periodic box": "D, periodic box (m²/s)"}  # fmt: skip
RECENT = 20  # rows of the log that give the speed


def status(runs: Sequence[Run], out: Path) -> Table:
    """One row for each run: state, ps, speed, last temperature and density."""
    table = Table("run", "state", "ps", "of", "ns/day", "T (K)", "density (g/cm3)", "why")
    busy = in_use(out)
    for row in (state_of(run, busy) for run in runs):
        cells = [
            "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()
        ]
        table.add_row(*cells)
    return table


def state_of(run: Run, busy: bool) -> dict[str, Any]:
    """Where a run stands, from its logs and what is noted of it. busy: whether the command is at work."""
    state, table = run.state, joined_table(run.folder)
    begun = len(parts_of(run.folder, "log")) > state.parts
    kind = run.over or ("running" if begun and busy else "stopped" if len(table.steps) else "waiting")
    speeds = table.column("S/CPU")[-RECENT:]
    steps = max(state.steps, int(table.steps[-1]) if len(table.steps) else 0)

    def last(name: str) -> float | None:
        column = table.column(name)
        return float(column[-1]) if len(column) else None

    fast = float(np.median(speeds[speeds > 0])) * run.config.timestep_fs * NS_PER_DAY if (speeds > 0).any() else None
    return {
        "run": run.name, "state": kind, "ps": run.ps(steps), "of": run.ps(run.steps), "ns/day": fast,
        "T (K)": last("Temp"), "density (g/cm3)": last("Density"), "why": state.why,
    }  # fmt: skip


def atoms_of(out: Path) -> dict[int, int]:
    """Atoms of each size, as the campaign noted them. InputError where it has not begun."""
    path = out / ATOMS
    if not path.exists():
        raise InputError(f"{out}, in which no campaign has begun", "its run folder", "check --out")
    return {int(size): number for size, number in json.loads(path.read_text(encoding="utf-8")).items()}


def write_all(runs: Sequence[Run], out: Path) -> list[dict[str, Any]]:
    """campaign.csv, results.json and report.html; the rows of properties."""
    groups = grouped(runs, atoms_of(out))
    found, lives = properties(groups), survival(groups)
    at_work = in_use(out)
    states = [state_of(run, at_work) for run in runs]
    write_csv(out / CSV, found, ROW_KEYS)
    text = json.dumps({"properties": found, "survival": lives, "runs": states}, indent=1, ensure_ascii=False)
    write_text(out / JSON, text + "\n")
    notes = [{"run": run.name, "note": note} for run in runs for note in results_of(run).get("notes", [])]
    tables = {
        "Survival": [_shown(row) for row in lives],
        "Means over seeds": [_compared(row) for row in found],
        "Runs": [_shown(row) for row in states],
        "Notes": notes,
    }
    write_report(out / REPORT, f"tl-campaign: {out.name}", [], figures(runs, found, lives), tables)
    return found


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {key: "" if value is None else value for key, value in row.items()}


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of properties: values with their errors."""

    def known(name: str) -> str:
        return "" if row[name] is None else with_error(row[name], row[f"{name}_error"])

    deviation = row["deviation_percent"]
    return {
        "model": row["model"],
        "ensemble": row["ensemble"],
        "T (K)": f"{row['temperature_K']:g}",
        "P (bar)": "" if row["pressure_bar"] is None else f"{row['pressure_bar']:g}",
        "atoms": row["atoms"],
        "quantity": row["quantity"],
        "value": with_error(row["value"], row["standard_error"]),
        "unit": "" if row["unit"] == "1" else row["unit"],
        "experiment": known("experiment"),
        "deviation": "" if deviation is None else f"{deviation:+.2f} %",
        "level of theory": known("level_of_theory"),
        "seeds": row["runs"],
    }


def figures(runs: Sequence[Run], found: Sequence[dict], lives: Sequence[dict]) -> dict[str, Figure]:
    """Density and D against temperature, g(r), survival."""
    liquids = list(dict.fromkeys(name for run in runs if (name := results_of(run).get("liquid"))))
    liquid = liquids[0] if len(liquids) == 1 else None
    made: dict[str, Figure] = {}
    names = [name for name in PLOTTED if any(row["quantity"] == name for row in found)]
    for name in names:
        if name.endswith("periodic box") and "diffusion coefficient" in names:
            continue  # it depends on the box; the other is what compares with experiment
        made[f"{name[:1].upper()}{name[1:]} against temperature"] = against_temperature(found, name, liquid)
    made |= {f"g(r) at {kelvin:g} K": figure for kelvin, figure in radials(runs, liquid).items()}
    return made | {"Survival of runs": lifetimes(lives)}


def against_temperature(found: Sequence[dict], quantity: str, liquid: str | None) -> Figure:
    """One quantity of all models, sizes and pressures; experiment as a curve; level of theory as crosses."""
    figure, (axis,) = new_figure()
    lines: dict[str, list[dict]] = {}
    for row in found:
        if row["quantity"] == quantity:
            pressure = "" if row["pressure_bar"] is None else f", {row['pressure_bar']:g} bar"
            lines.setdefault(f"{row['model']}, {row['ensemble']}, {row['atoms']} atoms{pressure}", []).append(row)
    for label, rows in lines.items():
        rows = sorted(rows, key=lambda row: row["temperature_K"])
        x, y, error = (np.array([row[k] for row in rows]) for k in ("temperature_K", "value", "standard_error"))
        axis.errorbar(x, y, yerr=2 * error, fmt="o-", capsize=3, label=label)
    low, high = axis.get_xlim()
    if liquid is not None:
        grid = np.linspace(low, high, 100)
        known = [(t, value.value) for t in grid if (value := liquid_named(liquid).known(quantity, float(t)))]
        if known:
            style = "--" if len(known) > 10 else "_"
            axis.plot(*zip(*known, strict=True), style, color=EXPERIMENT, label="experiment, 1 bar")
    for index, row in enumerate(row for row in found if row["quantity"] == quantity and row["level_of_theory"]):
        label = None if index else "level of theory"
        axis.plot(row["temperature_K"], row["level_of_theory"], "kx", label=label)
    axis.set(xlabel="temperature (K); bars: two standard errors", ylabel=PLOTTED[quantity])
    axis.legend(fontsize=8, frameon=False)
    return figure


def radials(runs: Sequence[Run], liquid: str | None) -> dict[float, Figure]:
    """g(r) of each pair at each temperature, a line for each model, ensemble and size, the mean over its runs."""
    curves: dict[float, dict[str, dict[str, list]]] = {}
    for run in runs:
        for radial in results_of(run).get("radial", []) if run.over == FINISHED else []:
            pairs = curves.setdefault(run.point.temperature_K, {}).setdefault(radial["pair"], {})
            label = f"{run.point.model}, {run.point.ensemble}, size {run.point.size}"
            pairs.setdefault(label, []).append((radial["r_A"], radial["g"]))
    made = {}
    for kelvin, pairs in sorted(curves.items()):
        figure, axes = new_figure(len(pairs))
        for axis, (pair, lines) in zip(axes, pairs.items(), strict=True):
            for label, found in lines.items():
                bins = min(len(r) for r, _ in found)  # a denser box ends earlier
                axis.plot(found[0][0][:bins], np.mean([g[:bins] for _, g in found], axis=0), label=label)
            known = liquid_named(liquid).curve(tuple(pair.split("-")), kelvin) if liquid else None
            if known is not None:
                inside = known.r_A <= axis.get_xlim()[1]
                axis.plot(known.r_A[inside], known.g[inside], "--", color=EXPERIMENT, label=known.source)
            axis.set(xlabel="r (Å)", ylabel=f"g({pair})")
            axis.set_ylim(bottom=0)
        legend_above(axes[0]).set_ncols(1)
        made[kelvin] = figure
    return made


def lifetimes(lives: Sequence[dict]) -> Figure:
    """Parts of the runs of each point that finished, exploded, failed or are not at their end."""
    figure, (axis,) = new_figure()
    figure.set_figheight(1.2 + 0.35 * len(lives))
    names = [
        f"{row['model']}, {row['ensemble']}, {row['temperature_K']:g} K"
        + ("" if row["pressure_bar"] is None else f", {row['pressure_bar']:g} bar")
        + f", {row['atoms']} atoms"
        for row in lives
    ]
    left = np.zeros(len(lives))
    for kind, colour in (("finished", "#3a7d44"), ("exploded", EXPERIMENT), ("failed", "#888888")):
        part = np.array([row[kind] / row["runs"] for row in lives])
        axis.barh(range(len(lives)), part, left=left, color=colour, label=kind)
        left += part
    axis.set_yticks(range(len(lives)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="part of the runs")
    legend_above(axis)
    return figure
