"""Table and plot of a learning curve, from the rows of curve.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich.console import Console
from rich.table import Table

from tlmd.curves.config import CurveConfig
from tlmd.evaluate.plots import one_legend, save
from tlmd.run.files import write_atomic

Row = dict[str, Any]
KINDS = {"energy": ("energy_{}_mev_per_atom", "meV/atom"), "force": ("force_{}_mev_per_A", "meV/Å")}
EQUAL, CONVERGED = "equal steps", "converged"
NOTES = """{measure}, mean ± standard deviation over seeds {seeds}. x: error of {baseline} over that of the method, seed
by seed. saving: how many times more frames {baseline} needs for the same error, on straight lines between its mean
errors (log-log); > or < where that lies outside of its sizes. min: wall time of training.
"""
CONVERGENCE_NOTES = """Converged: the budget with the lowest validation loss; it was doubled as long as that fell by
{gain:.0%}. > before the steps: the loss still fell by more at the longest budget, {max_steps} steps at most.
"""
SEARCH_NOTES = """score: geometric mean over energy and force (where they have labels) of the validation error over that
of the baseline; the lower the better.
"""


def key_of(where: str, kind: str, measure: str) -> str:
    """Column of curve.csv with the error of a kind (energy, force) on a set of frames."""
    return f"{where}_{KINDS[kind][0].format(measure)}"


def by_point(rows: Iterable[Row]) -> dict[tuple[int, str], list[Row]]:
    """Rows of each size and method."""
    points: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        points.setdefault((row["frames"], row["method"]), []).append(row)
    return points


def baseline_of(config: CurveConfig) -> str:
    return config.baseline or next(iter(config.methods))


def curve_of(points: dict[tuple[int, str], list[Row]], method: str, key: str) -> list[tuple[int, float]]:
    """Frames and mean error of one method, by rising frames."""
    found = {frames: list(values(rows, key).values()) for (frames, name), rows in points.items() if name == method}
    return sorted((frames, float(np.mean(errors))) for frames, errors in found.items() if errors)


def values(rows: Iterable[Row], key: str) -> dict[int, float]:
    """Values by seed of the rows that have one."""
    return {row["seed"]: row[key] for row in rows if row.get(key) is not None}


def mean_gain(before: Sequence[Row], after: Sequence[Row]) -> float:
    """By which part the validation loss fell, geometric mean over seeds; rows in the same order."""
    logs = [math.log(b["valid_loss"] / a["valid_loss"]) for b, a in zip(before, after, strict=True)]
    return 1.0 - math.exp(-sum(logs) / len(logs))


def equal(rows: Iterable[Row], config: CurveConfig) -> list[Row]:
    """The runs of the equal budget."""
    return [row for row in rows if row["budget"] == config.budget(row["method"])]


def converged(rows: Iterable[Row], config: CurveConfig) -> tuple[list[Row], set[tuple[int, str]]]:
    """For each size and method (of one kind of labels) the runs of the budget with the lowest validation loss, kernels
    as they are; sizes and methods where more steps than converge.max_steps would still have paid.
    """
    chosen, unfinished = [], set()
    for point, part in by_point(rows).items():
        budgets: dict[int, list[Row]] = {}
        for row in part:
            budgets.setdefault(row["budget"], []).append(row)
        whole = [budgets[n] for n in sorted(budgets) if len(budgets[n]) == len(budgets[min(budgets)])]
        best = whole[0]
        for longer in whole[1:]:
            best = longer if mean_gain(best, longer) > 0 else best
        chosen += best
        trained = config.trained(point[1])
        if trained and (len(whole) == 1 or mean_gain(whole[-2], whole[-1]) >= config.converge.gain):
            unfinished.add(point)
    return chosen, unfinished


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:.{decimals(value)}f}"


def decimals(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2


def spread(found: Iterable[float]) -> str:
    """Mean ± standard deviation."""
    found = list(found)
    if not found:
        return "-"
    mean = float(np.mean(found))
    return number(mean) + (f" ± {np.std(found, ddof=1):.{decimals(mean)}f}" if len(found) > 1 else "")


def saving(frames: int, error: float | None, baseline: Sequence[tuple[int, float]]) -> str:
    """How many times `frames` the baseline needs for `error`, from its points (frames, error) by rising frames."""
    if not baseline or error is None:
        return "-"
    if baseline[0][1] <= error:
        return ("< " if baseline[0][1] < error else "") + number(baseline[0][0] / frames)
    for (n, e), (more, less) in pairwise(baseline):
        if less <= error < e:
            along = math.log(e / error) / math.log(e / less)
            return number(n * (more / n) ** along / frames)
    return f"> {number(baseline[-1][0] / frames)}"


def score(rows: Sequence[Row], baseline: Sequence[Row], measure: str) -> float:
    """Geometric mean of the ratios of validation errors to the baseline's, energy and forces where they have labels;
    infinite if there is nothing to compare.
    """
    logs = []
    for kind in KINDS:
        pair = [list(values(part, key_of("valid", kind, measure)).values()) for part in (rows, baseline)]
        if all(pair):
            logs.append(math.log(np.mean(pair[0]) / np.mean(pair[1])))
    return math.exp(np.mean(logs)) if logs else math.inf


def error_table(rows: Sequence[Row], config: CurveConfig, where: str, unfinished=frozenset()) -> list[list[str]]:
    """Header and lines of the errors on one set of frames, for rows of one kind of labels and one budget each.

    In a search the methods of a size are sorted by their score, without savings. unfinished: as from `converged`.
    """
    measure, base = config.measure, baseline_of(config)
    keys = {kind: key_of(where, kind, measure) for kind in KINDS}
    keys = {kind: key for kind, key in keys.items() if values(rows, key)}
    valid = {kind: key_of("valid", kind, measure) for kind in keys if where == "test"}
    valid = {kind: key for kind, key in valid.items() if values(rows, key)}
    header = ["frames", "method"]
    for kind in keys:
        header += [f"{where.replace('_', ' ')} {kind}, {KINDS[kind][1]}", "x", *([] if config.search else ["saving"])]
    header += [*(f"valid {kind}" for kind in valid), *(["score"] if config.search else []), "steps", "min"]
    points = by_point(rows)
    curves = {kind: curve_of(points, base, key) for kind, key in keys.items()}
    scores = {p: score(part, points.get((p[0], base), []), measure) for p, part in points.items()}
    lines = []
    for frames, method in sorted(points, key=lambda p: (p[0], scores[p])) if config.search else points:
        part, line = points[frames, method], [str(frames), method]
        for kind, key in keys.items():
            errors, reference = values(part, key), values(points.get((frames, base), []), key)
            ratios = [reference[seed] / errors[seed] for seed in errors if seed in reference]
            line += [spread(errors.values()), "1" if method == base else spread(ratios)]
            if not config.search:
                mean = float(np.mean(list(errors.values()))) if errors else None
                line.append("1" if method == base else saving(frames, mean, curves[kind]))
        line += [spread(values(part, key).values()) for key in valid.values()]
        line += [f"{scores[frames, method]:.3f}"] if config.search else []
        steps = f"{np.mean([row['steps'] for row in part]):.0f}"
        line += [f"> {steps}" if (frames, method) in unfinished else steps]
        lines.append([*line, f"{np.mean([row['minutes'] for row in part]):.2f}"])
    return [header, *lines]


def forgetting_table(rows: Sequence[Row], config: CurveConfig) -> list[list[str]]:
    """Header and lines of the errors on classical frames before and after, for the methods that report them."""
    keys = [
        (f"classical {kind} {when}, {unit}", key_of(where, kind, config.measure))
        for kind, (_, unit) in KINDS.items()
        for when, where in (("before", "classical_before"), ("after", "classical"))
    ]
    found = {point: [values(part, key).values() for _, key in keys] for point, part in by_point(rows).items()}
    lines = [[str(frames), method, *map(spread, v)] for (frames, method), v in found.items() if any(v)]
    return [["frames", "method", *(title for title, _ in keys)], *lines] if lines else []


def write_report(rows: Sequence[Row], config: CurveConfig, out: Path, console: Console) -> None:
    """table.md and, unless it is a search, curve.png in the folder `out`; the main tables on the terminal as well."""
    main = "valid" if config.search else "test"
    column = "_" + KINDS["energy"][0].format("mae")
    sets = dict.fromkeys(key.removesuffix(column) for row in rows for key in row if key.endswith(column))
    sets = [main, *(name for name in sets if name.startswith("test_"))]
    text, curves = ["# Learning curve\n", notes(config)], {}
    for labels in dict.fromkeys(row["labels"] for row in rows):
        chosen = [row for row in rows if row["labels"] == labels]
        budgets: dict[str, tuple] = {EQUAL: (equal(chosen, config), frozenset())}
        if config.converge is not None:
            budgets[CONVERGED] = converged(chosen, config)
        for budget, (part, unfinished) in budgets.items():
            curves[labels, budget] = [row for row in part if budget == EQUAL or config.trained(row["method"])]
            tables = {
                f"{where.replace('_', ' ')} frames": error_table(part, config, where, unfinished) for where in sets
            }
            show(console, tables[f"{main} frames"], f"labels: {labels}; {budget}; {main} frames")
            tables["forgetting"] = forgetting_table(part, config)
            text += [f"## Labels: {labels}; {budget}; {name}\n\n{markdown(t)}" for name, t in tables.items() if t]
    write_atomic(out / "table.md", lambda temporary: temporary.write_text("\n".join(text), encoding="utf-8"))
    if not config.search:
        plot(curves, config, main, out / "curve.png")


def notes(config: CurveConfig) -> str:
    """What the tables mean."""
    seeds = ", ".join(map(str, config.seeds))
    text = NOTES.format(measure=config.measure.upper(), seeds=seeds, baseline=baseline_of(config))
    if config.converge is not None:
        text += CONVERGENCE_NOTES.format(gain=config.converge.gain, max_steps=config.converge.max_steps)
    return text + (SEARCH_NOTES if config.search else "")


def show(console: Console, lines: Sequence[Sequence[str]], title: str) -> None:
    """A table on the terminal; the first line is the header."""
    table = Table(*lines[0], title=title)
    for line in lines[1:]:
        table.add_row(*line)
    console.print(table)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table of markdown; the first line is the header."""
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]]) + "\n"


def plot(curves: dict[tuple[str, str], list[Row]], config: CurveConfig, where: str, path: Path) -> None:
    """Errors against frames, log-log: a row of panels for each kind of labels, a colour for each method."""
    labels = list(dict.fromkeys(name for name, _ in curves))
    figure = Figure(figsize=(11, 4.2 * len(labels)), layout="constrained")
    for index, (name, kind) in enumerate((name, kind) for name in labels for kind in KINDS):
        axes = figure.add_subplot(len(labels), len(KINDS), index + 1, xscale="log", yscale="log")
        for (seen, budget), rows in curves.items():
            if seen == name:
                draw(axes, rows, list(config.methods), key_of(where, kind, config.measure), budget)
        for axis, ticks in ((axes.xaxis, (1.0, 2.0, 5.0)), (axes.yaxis, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))):
            axis.set_major_locator(LogLocator(subs=ticks))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("training frames")
        axes.set_ylabel(f"{where} {kind} {config.measure.upper()}, {KINDS[kind][1]}")
        axes.set_title(f"labels: {name}", fontsize=9)
    one_legend(figure, "outside right upper")
    save(figure, path)


def draw(axes: Axes, rows: Sequence[Row], methods: Sequence[str], key: str, budget: str) -> None:
    """Mean error of each method, and its seeds from lowest to highest as a band; dashed unless the steps are equal."""
    points = by_point(rows)
    style, suffix = ("o-", "") if budget == EQUAL else ("s--", f", {budget}")
    for index, method in enumerate(methods):
        found = [(n, list(values(part, key).values())) for (n, name), part in points.items() if name == method]
        found = [(n, errors) for n, errors in found if errors]
        if found:
            x, errors = zip(*found, strict=True)
            colour = f"C{index % 10}"
            means = [float(np.mean(e)) for e in errors]
            axes.plot(x, means, style, color=colour, label=method + suffix, markersize=4)
            axes.fill_between(x, [*map(min, errors)], [*map(max, errors)], color=colour, alpha=0.15, linewidth=0)
