"""The demo from its first stage to the closing table and report.html."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from rich.table import Table

from tlmd.analysis.figures import comparison_figure
from tlmd.analysis.records import columns, table_rows, write_records
from tlmd.analysis.report import write_report
from tlmd.demo.config import DemoConfig, Size
from tlmd.demo.workflow import Workflow
from tlmd.run.errors import InputError


def demo(out: Path, config: DemoConfig, size: Size, from_scratch: bool = False) -> None:
    """Run the workflow of a liquid in the folder `out`, which gets classical/, scratch/ and finetuned/model.pt,
    finetuned/model-lammps.pt, md/, results.json and report.html; ends with one table.

    Raises InputError at the end if an MD run aborted or was too short: what else was measured is shown and kept.
    """
    workflow = Workflow(out, config, size, from_scratch)
    title = f"tl-demo: {config.title}, {workflow.dft.level_of_theory}"
    workflow.say(f"{title}, in {workflow.out}")
    workflow.prepare()
    errors = workflow.errors()
    workflow.simulate()
    result = workflow.analyse()
    write_records(workflow.out / "results.json", result.records)
    figures = dict(result.figures)
    overview = comparison_figure(result.records)
    if overview is not None:
        figures = {"Computed over measured": overview, **figures}
    tables = {". ".join(captions(workflow, errors[0])): errors}
    write_report(workflow.out / "report.html", title, result.records, figures, tables)
    show(workflow, errors, result.records)
    if workflow.failed:
        names = " and ".join(workflow.failed)
        raise InputError(f"no result of {names}", "MD to its end, long enough", "give more --md-minutes or --frames")


def captions(workflow: Workflow, columns: Collection[str]) -> tuple[str, str]:
    """Of the table of errors with these columns: what it holds, and what its first row is."""
    pressure = ", pressure P in bar (mean: model less label)" if "P mean" in columns else ""
    frames = f"{workflow.unseen} unseen {workflow.dft.level_of_theory} frames"
    return (
        f"Errors on {frames}: energy E in meV/atom, force F in meV/A{pressure}",
        "The first row: the network trained on the teacher's labels; its energies shifted by one constant",
    )


def show(workflow: Workflow, errors: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """The closing table: errors of the models, then computed against measured."""
    title, caption = captions(workflow, errors[0])
    table = Table(*errors[0], title=title, caption=caption)
    for row in errors:
        table.add_row(*map(str, row.values()))
    workflow.console.print(table)
    results = Table(*columns(records), title="Computed and measured")
    for row in table_rows(records):
        results.add_row(*row)
    workflow.console.print(results)
    workflow.say(f"report: {workflow.out / 'report.html'}")
