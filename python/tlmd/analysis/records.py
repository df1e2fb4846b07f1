"""Records: what tl-analyze writes as JSON and prints as a table, one for each value that a run gives."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlmd.analysis.reference.liquid import Known
from tlmd.analysis.statistics import Estimate
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

COLUMNS = ("quantity", "value", "experiment", "unit", "deviation", "T (K)")
THEORY = "level of theory"  # a column where a record has one


class Record(BaseModel):
    """One value with its error, what it is compared with, and where it comes from."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")

    quantity: str = Field(description="what was measured, such as density")
    value: float = Field(description="the result")
    standard_error: float | None = Field(
        ge=0, description="its standard error, in the same unit; null if there is none"
    )
    unit: str = Field(description="of value, standard_error, experiment and level_of_theory; 1: a pure number")
    experiment: float | None = Field(description="the experimental value at this temperature; null if none is known")
    experiment_error: float | None = Field(description="its uncertainty")
    deviation_percent: float | None = Field(description="100 (value / experiment - 1)")
    temperature_K: float | None = Field(description="K, mean temperature of the run, or --temperature")
    source: str = Field(description="the files, what was left out, the experiment that is quoted")
    radius_A: float | None = Field(None, description="A, of a coordination number: up to which neighbours are counted")
    level_of_theory: float | None = Field(None, description="what the labels' level of theory gives, from --reference")
    level_of_theory_error: float | None = Field(None, description="its uncertainty")
    drift: float | None = Field(
        None, description="of a density: change from start to end of the part used, the last half of the run at least"
    )
    drift_error: float | None = Field(None, description="its standard error")
    drifts: bool | None = Field(None, description="whether it is more than four of them: no equilibrium, run longer")


RECORD_KEYS = {name: field.description for name, field in Record.model_fields.items()}
JSON_KEYS = {"tl-analyze": RECORD_KEYS}  # a list of records; docs/reference is written from it


def record(
    quantity: str,
    estimate: Estimate,
    temperature_K: float | None,
    source: str,
    experiment: Known | Estimate | None = None,
    theory: Known | None = None,
    radius_A: float | None = None,
) -> dict:
    """One line of tl-analyze's JSON, with the keys of `Record`; what is not known is None.

    Raises InputError for a value or an error that is not finite: nan is no result.
    """
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.standard_error)):
        raise InputError(f"{quantity} {estimate.value} ± {estimate.standard_error}", "finite numbers", "check the run")
    compared = experiment is not None and experiment.value != 0
    error = None if experiment is None else getattr(experiment, "standard_error", getattr(experiment, "error", None))
    return Record(
        quantity=quantity,
        value=estimate.value,
        standard_error=estimate.standard_error,
        unit=estimate.unit,
        experiment=None if experiment is None else experiment.value,
        experiment_error=error,
        deviation_percent=100 * (estimate.value / experiment.value - 1) if compared else None,
        temperature_K=None if temperature_K is None else float(temperature_K),
        source=source,
        radius_A=radius_A,
        level_of_theory=None if theory is None else theory.value,
        level_of_theory_error=None if theory is None else theory.error,
    ).model_dump()


def read_records(path: str | Path) -> list[dict]:
    """The list of records in a JSON file of tl-analyze; raises InputError for anything else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, or no text
        raise InputError(f"{path} ({error})", "JSON of tl-analyze", "give a file written by --json") from None
    if not isinstance(content, list):
        raise InputError(f"{path}: no list of records", "JSON of tl-analyze", "give a file written by --json")
    return [_checked(path, number, item) for number, item in enumerate(content)]


def _checked(path: str | Path, number: int, item: object) -> dict:
    required = [name for name, field in Record.model_fields.items() if field.is_required()]
    if not isinstance(item, dict) or not set(required) <= set(item):
        raise InputError(f"{path}: other keys", ", ".join(required), "give a file written by --json")
    try:
        return Record.model_validate(item).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Input should be ")
        got = f"{path}, record {number}: {first['loc'][0]} = {json.dumps(first['input'])[:40]}"
        raise InputError(got, message, "give a file written by --json") from None


def write_records(path: str | Path, records: Sequence[dict]) -> None:
    """The records as JSON."""
    text = json.dumps(list(records), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def columns(records: Sequence[dict]) -> tuple[str, ...]:
    """Names of the table's columns: COLUMNS, and the level of theory where one is known."""
    return (*COLUMNS, THEORY) if any(record.get("level_of_theory") is not None for record in records) else COLUMNS


def table_rows(records: Sequence[dict]) -> list[tuple[str, ...]]:
    """Cells of `columns(records)` for each record, as text."""
    return [tuple(_cells(record)[name] for name in columns(records)) for record in records]


def _cells(record: dict) -> dict[str, str]:
    deviation, temperature = record["deviation_percent"], record["temperature_K"]
    return {
        "quantity": record["quantity"],
        "value": with_error(record["value"], record["standard_error"]),
        "experiment": _with_error(record["experiment"], record["experiment_error"]),
        "unit": "" if record["unit"] == "1" else record["unit"],
        "deviation": "" if deviation is None else f"{deviation:+.2f} %",
        "T (K)": "" if temperature is None else f"{temperature:.1f}",
        THEORY: _with_error(record.get("level_of_theory"), record.get("level_of_theory_error")),
    }


def _with_error(value: float | None, error: float | None) -> str:
    return "" if value is None else with_error(value, error)


def with_error(value: float, error: float | None) -> str:
    """`value ± error` with the error to two digits and the value to the same place; exponents where numbers are tiny.

    >>> with_error(2.3164e-9, 4.21e-11), with_error(997.0471, 0.00123)
    ('(2.316 ± 0.042)e-09', '997.0471 ± 0.0012')
    """
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        power = math.floor(math.log10(abs(value)))
        scaled_error = None if error is None else error / 10.0**power
        body = with_error(value / 10.0**power, scaled_error)
        return f"({body})e{power:+03d}" if error else f"{body}e{power:+03d}"
    if not error or not math.isfinite(error) or error < 2e-6 * abs(value):
        return f"{value:.5g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"
