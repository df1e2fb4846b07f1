"""tl-analyze: density, diffusion, structure and report from LAMMPS files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

from tlmd.analysis import report as reports
from tlmd.analysis.figures import comparison_figure
from tlmd.analysis.measure import Measurement, measure_density, measure_diffusion, measure_structure
from tlmd.run.command import application
from tlmd.run.errors import InputError

app = application(add_completion=False, help="Density, diffusion, structure.")
Dump = Annotated[Path, typer.Argument(help="LAMMPS text dump (plain, .gz, .xz)")]
Log = Annotated[Path, typer.Option("--log", help="log of the same run")]
Temperature = Annotated[Optional[float], typer.Option(help="K, for the comparison (default: mean of the log)", min=1.0)]
Elements = Annotated[Optional[str], typer.Option(help='elements of the types 1, 2, ... such as "O H"')]
Skip = Annotated[float, typer.Option(help="ps at the start of the dump to leave out", min=0.0)]
Compare = Annotated[bool, typer.Option("--experiment/--no-experiment", help="compare with liquid water at 1 bar")]
Json = Annotated[Optional[Path], typer.Option("--json", help="write the records to this file")]
Plot = Annotated[Optional[Path], typer.Option("--plot", help="write the figure to this PNG file")]


@app.callback()
def main() -> None:
    """Density, diffusion and structure of a LAMMPS run, with errors, beside experiment."""
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {message}\n"


@app.command()
def density(
    log: Annotated[Path, typer.Argument(help="log of an NPT run")],
    dump: Annotated[
        Optional[Path], typer.Option(help="dump of the run, for the masses if the log lacks density")
    ] = None,
    temperature: Temperature = None,
    elements: Elements = None,
    experiment: Compare = True,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Mean density of the last NPT stretch of LOG."""
    options = {"temperature_K": temperature, "elements": _names(elements), "experiment": experiment}
    _finish(measure_density(log, dump, **options), json, plot)


@app.command()
def diffusion(
    dump: Dump,
    log: Log,
    species: Annotated[Optional[str], typer.Option(help="element or type that diffuses (water: O)")] = None,
    viscosity: Annotated[
        Optional[float], typer.Option(help="mPa s, for the finite-size correction (water: experiment)", min=1e-6)
    ] = None,
    window: Annotated[
        Optional[tuple[float, float]], typer.Option(help="ps, of the fit (default: where the log-log slope is 1)")
    ] = None,
    temperature: Temperature = None,
    elements: Elements = None,
    skip: Skip = 0.0,
    experiment: Compare = True,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Self-diffusion coefficient from DUMP, of the periodic box and corrected for its size."""
    result = measure_diffusion(
        dump,
        log,
        species=species,
        viscosity_mPa_s=viscosity,
        window_ps=window,
        temperature_K=temperature,
        elements=_names(elements),
        skip_ps=skip,
        experiment=experiment,
    )
    _finish(result, json, plot)


@app.command()
def structure(
    dump: Dump,
    log: Annotated[Optional[Path], typer.Option("--log", help="log of the same run")] = None,
    pairs: Annotated[Optional[str], typer.Option(help="such as O-O,O-H (default: all)")] = None,
    temperature: Temperature = None,
    elements: Elements = None,
    skip: Skip = 0.0,
    experiment: Compare = True,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Radial distribution functions from DUMP: first peak and coordination number of each pair."""
    result = measure_structure(
        dump,
        log,
        pairs=_pairs(pairs),
        temperature_K=temperature,
        elements=_names(elements),
        skip_ps=skip,
        experiment=experiment,
    )
    _finish(result, json, plot)


@app.command()
def report(
    json: Annotated[Optional[list[Path]], typer.Argument(help="files written by --json")] = None,
    out: Annotated[Path, typer.Option(help="HTML file to write")] = Path("report.html"),
    npt_log: Annotated[Optional[Path], typer.Option(help="log of an NPT run: adds the density")] = None,
    dump: Annotated[Optional[Path], typer.Option(help="dump: adds diffusion and structure; needs --log")] = None,
    log: Annotated[Optional[Path], typer.Option(help="log of the dump's run")] = None,
    elements: Elements = None,
    title: Annotated[str, typer.Option(help="heading")] = "Molecular dynamics against experiment",
) -> None:
    """One HTML file from JSON files of the other commands, or from logs and dumps directly."""
    if (dump is None) != (log is None):
        raise InputError("only one of --dump and --log", "both, of one run", "give the other (density: --npt-log)")
    measured = [Measurement([record for path in json or [] for record in reports.read_records(path)], {})]
    names = _names(elements)
    if npt_log:
        measured.append(measure_density(npt_log, elements=names))
    if dump and log:
        measured.append(measure_diffusion(dump, log, elements=names))
        measured.append(measure_structure(dump, log, elements=names))
    records = [record for part in measured for record in part.records]
    if not records:
        raise InputError("nothing to report", "JSON files, --npt-log, or --dump with --log", "name at least one")
    figures = {caption: figure for part in measured for caption, figure in part.figures.items()}
    summary = comparison_figure(records)
    reports.write_report(out, title, records, ({"Against experiment": summary} if summary else {}) | figures)
    _show(records)
    print(f"wrote {out}")


@app.command()
def kernel(
    model: Annotated[Path, typer.Argument(help="trained model, whose layers are looked at")],
    trajectory: Annotated[Path, typer.Argument(help="frames in time order (extxyz)")],
    distance: Annotated[
        Optional[str], typer.Option(help="C-H (shortest of two elements) or 12-40 (atoms, from 0)")
    ] = None,
    alpha: Annotated[
        Optional[list[float]], typer.Option(help="weight of kernels by species (default: 0 and 1)")
    ] = None,
    clusters: Annotated[int, typer.Option(help="spectral clusters", min=2)] = 2,
    length: Annotated[float, typer.Option(help="of the gaussian, in units of the median distance", min=1e-3)] = 1.0,
    grid: Annotated[Optional[Path], typer.Option(help="grid.csv of tl-mekrr: errors against alpha as well")] = None,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """K_alpha between the frames of a trajectory, layer by layer, with clusters beside a distance."""
    from tlmd.analysis.kernel import measure_kernel

    result = measure_kernel(model, trajectory, distance, alpha or [0.0, 1.0], clusters, length, grid)
    if plot and grid:
        reports.write_figure(plot.with_name(f"{plot.stem}-alpha.png"), result.figures["Validation errors"])
    _finish(result, json, plot)


def _finish(result: Measurement, json: Path | None, plot: Path | None) -> None:
    if json:
        reports.write_records(json, result.records)
    if plot:
        reports.write_figure(plot, next(iter(result.figures.values())))
    _show(result.records)


def _show(records: list[dict]) -> None:
    table = Table(box=None, header_style="bold")
    for name in reports.COLUMNS:
        table.add_column(name, justify="left" if name in {"quantity", "unit"} else "right", no_wrap=name != "quantity")
    for row in reports.table_rows(records):
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    console.print(table)
    sources = list(dict.fromkeys(record["source"] for record in records))
    for source in sources:
        if not any(other != source and other.startswith(source) for other in sources):
            console.print(source, style="dim", markup=False)


def _names(elements: str | None) -> list[str] | None:
    return elements.replace(",", " ").split() if elements else None


def _pairs(pairs: str | None) -> list[tuple[str, str]] | None:
    if not pairs:
        return None
    split = [tuple(pair.split("-")) for pair in pairs.replace(",", " ").split()]
    if any(len(pair) != 2 for pair in split):
        raise InputError(f"--pairs {pairs}", "pairs such as O-O,O-H", "write two species joined by -")
    return split
