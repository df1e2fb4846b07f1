"""tl-analyze: one command for each registered analysis, made from its fields; report; kernel."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, get_type_hints

import typer
from rich.table import Table
from rich.text import Text

from tlmd.analysis import records, report
from tlmd.analysis.figures import comparison_figure
from tlmd.analysis.reference import liquids
from tlmd.analysis.registry import Analysis, Lacking, Measurement, analyses, measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.command import Application
from tlmd.run.console import console as new_console
from tlmd.run.errors import InputError

app = Application(add_completion=False, help="Properties of LAMMPS runs.")
Options = dict[str, tuple[Any, Any]]  # name -> annotation, default

FILES = {
    "dump": "LAMMPS text dump (plain, .gz, .xz)",
    "log": "log of the run",
}
REFERENCE = (
    f"liquid to compare with: {', '.join(liquid.name for liquid in liquids())}, none (default: the one that its "
    "molecules are); or a TOML file with tables experiment and level_of_theory"
)
COMMON: Options = {
    "temperature": (
        Annotated[Optional[float], typer.Option(help="K, for the comparison (default: mean of the log)")],
        None,
    ),
    "elements": (Annotated[Optional[str], typer.Option(help='elements of the types 1, 2, ... such as "O H"')], None),
    "skip": (Annotated[float, typer.Option(help="ps at the start of the dump to leave out")], 0.0),
    "experiment": (
        Annotated[
            bool,
            typer.Option(
                "--experiment/--no-experiment", " /--no-reference", help="compare with what is known of the liquid"
            ),
        ],
        True,
    ),
    "reference": (
        Annotated[Optional[Path], typer.Option(help=REFERENCE)],
        None,
    ),
}
OUTPUT: Options = {
    "json": (Annotated[Optional[Path], typer.Option("--json", help="write the records to this file")], None),
    "plot": (Annotated[Optional[Path], typer.Option("--plot", help="write the figure to this PNG file")], None),
}
CSV: Options = {
    "csv": (Annotated[Optional[Path], typer.Option("--csv", help="write the figure's curves to this CSV file")], None)
}


@app.callback()
def main() -> None:
    """Properties of a LAMMPS run, with errors, beside experiment."""
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {message}\n"


def add_command(name: str, analysis: type[Analysis]) -> None:
    """`tl-analyze NAME`: the files that the analysis needs, its fields, the common options, --json and --plot."""
    own = fields(analysis)

    def run(**given: Any) -> None:
        simulation = simulation_of(given, given.get("dump"), given.get("log"))
        result = measure(name, simulation, **{field: given[field] for field in own})
        _check_references(simulation)
        _finish(result, given["json"], given["plot"], given.get("csv"))

    curves = {} if analysis.curves is Analysis.curves else CSV
    common = dict(COMMON) if "dump" in analysis.needs else {key: COMMON[key] for key in COMMON if key != "skip"}
    command = with_options(run, file_options(analysis) | own | common | OUTPUT | curves)
    app.command(name, help=inspect.getdoc(analysis))(command)


def with_options(function: Callable[..., None], options: Options) -> Callable[..., None]:
    """The function with a signature that typer reads."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in options.items()
    ]
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    return function


def file_options(analysis: type[Analysis]) -> Options:
    """The first file that the analysis needs is the argument, the others are options."""
    first, *others = analysis.needs
    required = inspect.Parameter.empty
    argument = Annotated[Path, typer.Argument(help=FILES[first], metavar=first.upper())]
    options: Options = {first: (argument, required)}
    options |= {name: (Annotated[Path, typer.Option(help=FILES[name])], required) for name in others}
    return options | {
        name: (Annotated[Optional[Path], typer.Option(help=FILES[name])], None) for name in analysis.may_use
    }


def fields(analysis: type[Analysis]) -> Options:
    """The fields of an analysis with their annotations and defaults."""
    hints = get_type_hints(analysis, include_extras=True)
    return {field.name: (hints[field.name], field.default) for field in dataclasses.fields(analysis)}


def simulation_of(given: dict[str, Any], dump: Path | None, log: Path | None) -> Simulation:
    """The run that the common options and two files name."""
    elements = given["elements"]
    return Simulation(
        dump,
        log,
        elements=elements.replace(",", " ").split() if elements else None,
        temperature_K=given["temperature"],
        skip_ps=given.get("skip", 0.0),
        experiment=given["experiment"],
        references=given["reference"],
    )


def _report(**given: Any) -> None:
    """One HTML file from JSON files of the other commands, or from logs and dumps directly.

    What a run does not give is said at the end, with exit code 1; the report has the rest.
    """
    npt_log, dump, log = given["npt_log"], given["dump"], given["log"]
    if (dump is None) != (log is None):
        raise InputError("only one of --dump and --log", "both, of one run", "give the other (density: --npt-log)")
    found = [Measurement([record for path in given["json"] or [] for record in records.read_records(path)], {})]
    npt = simulation_of(given | {"skip": 0.0}, None, npt_log) if npt_log else None
    run = simulation_of(given, dump, log) if dump else None
    refused, lacking = [], []
    for name, analysis in analyses().items():
        simulation = run if analysis.of_dump or "dump" in analysis.needs else npt
        if simulation is None:
            continue
        try:
            found.append(measure(name, simulation, **{field: given[field] for field in fields(analysis)}))
        except Lacking:
            lacking.append(name)
        except InputError as error:
            if analysis.expected:
                refused.append(error.at(name))
            else:
                warnings.warn(f"{name} left out: {error}", stacklevel=2)
    values = [record for part in found for record in part.records]
    if refused and not values:
        raise refused[0]
    if not values:
        raise InputError("nothing to report", "JSON files, --npt-log, or --dump with --log", "name at least one")
    figures = {caption: figure for part in found for caption, figure in part.figures.items()}
    summary = comparison_figure(values)
    if summary:
        figures = {"Against experiment": summary} | figures
    report.write_report(given["out"], given["title"], values, figures)
    _show(values)
    print(f"wrote {given['out']}" + (f" (needs other files: {', '.join(lacking)})" if lacking else ""))
    for error in refused[1:]:
        warnings.warn(str(error), stacklevel=2)
    if refused:
        raise refused[0]


def add_report() -> None:
    """`tl-analyze report`, which takes the options of every analysis."""
    options: Options = {
        "json": (Annotated[Optional[list[Path]], typer.Argument(help="files written by --json")], None),
        "out": (Annotated[Path, typer.Option(help="HTML file to write")], Path("report.html")),
        "npt_log": (
            Annotated[
                Optional[Path],
                typer.Option(help="log of an NPT run: adds density and fluctuations"),
            ],
            None,
        ),
        "dump": (
            Annotated[Optional[Path], typer.Option(help="dump: adds diffusion, structure and more; needs --log")],
            None,
        ),
        "log": (Annotated[Optional[Path], typer.Option(help="log of the dump's run")], None),
        "title": (Annotated[str, typer.Option(help="heading")], "Molecular dynamics against experiment"),
    }
    for analysis in analyses().values():
        options |= fields(analysis)
    app.command("report", help=inspect.getdoc(_report))(with_options(_report, options | COMMON))


for _name, _analysis in analyses().items():
    add_command(_name, _analysis)
add_report()


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
    json: Annotated[Optional[Path], typer.Option("--json", help="write the records to this file")] = None,
    plot: Annotated[Optional[Path], typer.Option("--plot", help="write the figure to this PNG file")] = None,
) -> None:
    """K_alpha between the frames of a trajectory, layer by layer, with clusters beside a distance."""
    from tlmd.analysis.kernel import measure_kernel

    result = measure_kernel(model, trajectory, distance, alpha or [0.0, 1.0], clusters, length, grid)
    if plot and grid:
        report.write_figure(plot.with_name(f"{plot.stem}-alpha.png"), result.figures["Validation errors"])
    _finish(
        Measurement([{key: row.get(key) for key in records.RECORD_KEYS} for row in result.records], result.figures),
        json,
        plot,
    )


def _finish(result: Measurement, json: Path | None, plot: Path | None, csv: Path | None = None) -> None:
    if csv:
        report.write_curves(csv, result.curves)
    if json:
        records.write_records(json, result.records)
    if plot:
        report.write_figure(plot, next(iter(result.figures.values())))
    _show(result.records)


def _check_references(simulation: Simulation) -> None:
    """Refuse a file of references of which nothing belongs to what was measured."""
    wrong = simulation.references.unknown_to(simulation.quantities)
    if wrong is not None:
        raise wrong


def _show(values: list[dict]) -> None:
    table = Table(box=None, header_style="bold")
    for name in records.columns(values):
        table.add_column(name, justify="left" if name in {"quantity", "unit"} else "right", no_wrap=name != "quantity")
    for row in records.table_rows(values):
        table.add_row(*map(Text, row))  # as text: a quantity may hold brackets
    console = new_console()
    console.print(table)
    sources = list(dict.fromkeys(record["source"] for record in values))
    for source in sources:
        if not any(other != source and other.startswith(source) for other in sources):
            console.print(source, style="dim", markup=False)
