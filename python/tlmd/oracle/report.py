"""Table and figure of tl-oracle: each method's properties beside those of the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from rich.console import Console

from tlmd.analysis.records import with_error
from tlmd.analysis.statistics import Estimate
from tlmd.curves.report import markdown, show, spread
from tlmd.evaluate.plots import one_legend, save
from tlmd.oracle.config import OracleConfig
from tlmd.oracle.properties import Properties, difference, noise
from tlmd.run.files import write_csv, write_text

QUANTITIES = {  # attribute of Properties: column
    "density": "density, g/cm3",
    "diffusion": "D of the box, 1e-9 m2/s",
    "vaporisation": "heat of vaporisation, kJ/mol",
    "compressibility": "kappa_T, 1/GPa",
}
NOTES = """Oracle: {name}, {temperature:g} K, {pressure:g} bar, {molecules} molecules. Models: mean ± standard deviation
over seeds {seeds} (a single seed: ± the standard error of its run); oracle: ± the standard error of its run.

- pressure error: -d<E_model - E_oracle>/dV on the oracle's NPT frames; positive: the model wants to expand.
- density, estimated: the oracle's density corrected by that error to first order, without MD of the model.
- g(r) difference: integral of |g_model - g_oracle| over that of g_oracle, {pair}; oracle: what noise makes.
- energy and force: MAE on {n_test} test frames of the oracle's NPT run.
"""


class Row(NamedTuple):
    """One model: its run of the learning curve, its pressure error, and its properties."""

    method: str
    frames_of: str
    frames: int
    seed: int
    errors: dict[str, Any]  # a row of curve.csv
    pressure: Estimate  # bar
    estimated: Estimate  # g/cm3
    found: Properties

    def flat(self, truth: Properties) -> dict[str, Any]:
        """The row of oracle.csv."""
        flat = {"method": self.method, "set": self.frames_of, "frames": self.frames, "seed": self.seed}
        flat |= {key: value for key, value in self.errors.items() if key.startswith("test_")}
        named = {"pressure_error_bar": self.pressure, "density_estimated": self.estimated}
        named |= {name: getattr(self.found, name) for name in QUANTITIES}
        for name, estimate in named.items():
            flat[name] = estimate and estimate.value
            flat[f"{name}_error"] = estimate and estimate.standard_error
        both = self.found.radial and truth.radial
        return flat | {"g_difference_percent": difference(self.found.radial, truth.radial) if both else None}


def write_report(rows: Sequence[Row], truth: Properties, config: OracleConfig, out: Path, console: Console) -> None:
    """oracle.csv (a row for each model), table.md and oracle.png in `out`; the table on the terminal as well."""
    write_csv(out / "oracle.csv", [row.flat(truth) for row in rows])
    lines = table(rows, truth)
    notes = NOTES.format(
        name=config.potential.name, temperature=config.state.temperature_K, pressure=config.state.pressure_bar,
        molecules=config.potential.molecules, seeds=", ".join(map(str, config.seeds)), pair=config.potential.pair,
        n_test=config.state.n_test,
    )  # fmt: skip
    write_text(out / "table.md", f"# Models against their oracle\n\n{notes}\n{markdown(lines)}")
    show(console, lines, f"models against {config.potential.name}")
    write_figure(rows, truth, list(config.methods), out / "oracle.png")


def table(rows: Sequence[Row], truth: Properties) -> list[list[str]]:
    """Header, the oracle's line, and a line for each method and number of frames."""
    header = ["method", "frames", "energy, meV/atom", "force, meV/A", "pressure error, bar", "density, estimated"]
    header += [*QUANTITIES.values(), "g(r) difference, %"]
    own = [with_error(each.value, each.standard_error) if each else "-" for each in properties_of(truth)]
    lines = [header, ["oracle", "", "", "", "", "", *own, f"{noise(truth.radial):.2f}" if truth.radial else "-"]]
    for method, frames in dict.fromkeys((row.method, row.frames) for row in rows):
        part = [row for row in rows if (row.method, row.frames) == (method, frames)]
        line = [method, str(frames)]
        line += [spread(row.errors[f"test_{key}"] for row in part) for key in ERRORS]
        line += [summary(part, lambda row: row.pressure), summary(part, lambda row: row.estimated, truth.density)]
        for name in QUANTITIES:
            line.append(summary(part, lambda row, name=name: getattr(row.found, name), getattr(truth, name)))
        found = [difference(row.found.radial, truth.radial) for row in part if row.found.radial and truth.radial]
        lines.append([*line, spread(found)])
    return lines


ERRORS = ("energy_mae_mev_per_atom", "force_mae_mev_per_A")


def properties_of(found: Properties) -> list[Estimate | None]:
    return [getattr(found, name) for name in QUANTITIES]


def summary(rows: Sequence[Row], value: Callable[[Row], Estimate | None], truth: Estimate | None = None) -> str:
    """Mean over the rows that have a value, its spread, and the deviation from the oracle in percent."""
    found = [each for each in map(value, rows) if each is not None]
    if not found:
        return "-"
    values = np.array([each.value for each in found])
    error = values.std(ddof=1) if len(values) > 1 else found[0].standard_error
    text = with_error(float(values.mean()), float(error))
    return text if truth is None else f"{text} ({100 * (values.mean() / truth.value - 1):+.1f} %)"


def write_figure(rows: Sequence[Row], truth: Properties, methods: Sequence[str], path: Path) -> None:
    """Density (by MD, and estimated), D, and force error against the number of frames, a colour for each method; what
    no model has is left out."""
    panels = {
        "density, g/cm3": (lambda row: row.found.density, truth.density),
        "density, estimated, g/cm3": (lambda row: row.estimated, truth.density),
        "D of the box, 1e-9 m2/s": (lambda row: row.found.diffusion, truth.diffusion),
        "force MAE, meV/Å": (lambda row: Estimate(row.errors[f"test_{ERRORS[1]}"], 0.0, "", 1.0), None),
    }
    shown = {title: given for title, given in panels.items() if any(given[0](row) for row in rows)}
    figure = Figure(figsize=(10, 3.5 * -(-len(shown) // 2)), layout="constrained")
    for place, (title, (value, known)) in enumerate(shown.items()):
        axes = figure.add_subplot(
            -(-len(shown) // 2), 2, place + 1, xscale="log", xlabel="training frames", ylabel=title
        )
        for index, method in enumerate(methods):
            points = [(row.frames, value(row)) for row in rows if row.method == method and value(row)]
            sizes = sorted({frames for frames, _ in points})
            means = [np.mean([each.value for frames, each in points if frames == size]) for size in sizes]
            axes.plot([p[0] for p in points], [p[1].value for p in points], ".", color=f"C{index}", alpha=0.5)
            axes.plot(sizes, means, "o-", color=f"C{index}", label=method, markersize=4)
        axes.set_xticks(sorted({row.frames for row in rows}), minor=False)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        if known is not None:
            axes.axhline(known.value, color="k", linewidth=1)
            low, high = known.value - 2 * known.standard_error, known.value + 2 * known.standard_error
            axes.axhspan(low, high, color="k", alpha=0.12, linewidth=0)
    one_legend(figure, "outside upper center", ncols=4)
    save(figure, path)
