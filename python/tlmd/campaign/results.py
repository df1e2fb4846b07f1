"""What the runs gave: records of each by tlmd.analysis, means over the seeds of a point, survival."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlmd.analysis.records import RECORD_KEYS
from tlmd.analysis.registry import Analysis, analyses
from tlmd.analysis.report import write_figure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.thermo import read_log
from tlmd.campaign.config import CampaignConfig
from tlmd.campaign.run import EXPLODED, FAILED, FINISHED, Run
from tlmd.run.errors import InputError, nearest
from tlmd.run.files import write_text
from tlmd.run.folder import damaged

RECORDS = "records.json"  # of a run: settings of its analysis, records, notes, g(r), the liquid it is of
AXES = ("model", "ensemble", "temperature_K", "pressure_bar", "atoms")
NORMAL_BAR, WITHIN_BAR = 1.0, 20.0  # within which a liquid is compared with experiment: 0.1 % of water's density
KEPT = ("experiment", "experiment_error", "level_of_theory", "level_of_theory_error")
ROW_KEYS = {
    "model": "name of the model",
    "ensemble": "npt, nvt or nve",
    "temperature_K": "K, of the thermostat",
    "pressure_bar": "bar, of NPT; null where it plays no part",
    "atoms": "atoms in the box",
    "quantity": "what was measured",
    "value": "mean over the runs",
    "standard_error": "its standard error: the larger one of runs and of blocks within them",
    "between_runs": "standard error by the spread of the runs; null for one run",
    "within_runs": "standard error by the blocks within the runs",
    "unit": "of the value and of what it is compared with",
    "runs": "runs that gave it",
    "mean_temperature_K": "K, mean of these runs; experiment is that at temperature_K, for NVE at this one",
    "deviation_percent": "100 (value / experiment - 1)",
} | {key: RECORD_KEYS[key] for key in KEPT}
JSON_KEYS = {"tl-campaign": {f"properties: {key}": meaning for key, meaning in ROW_KEYS.items()}}


def check_analyses(config: CampaignConfig) -> None:
    """InputError for an analysis or an option that there is not."""
    known, settings = analyses(), config.analysis
    for name in [*settings.npt, *settings.nvt, *settings.nve, *settings.options]:
        if name not in known:
            raise InputError(f"analysis {name}{nearest(name, known)}", f"one of {', '.join(known)}", "correct it")
    for name in settings.options:
        _made(config, name)


def _made(config: CampaignConfig, name: str) -> Analysis:
    options = config.analysis.options.get(name, {})
    fields = known_options(analyses()[name])
    for option in options:
        if option not in fields:
            got = f"analysis.options.{name}.{option}{nearest(option, fields)}"
            raise InputError(got, f"one of {', '.join(fields)}", "correct it")
    return analyses()[name](**{key: tuple(v) if isinstance(v, list) else v for key, v in options.items()})


def known_options(analysis: type[Analysis]) -> list[str]:
    """The fields of an analysis."""
    return list(analysis.__dataclass_fields__)


def analyse(run: Run, n_atoms: int) -> None:
    """Measure a finished run unless it has been: RECORDS and figures in its folder."""
    config, point = run.config, run.point
    names = getattr(config.analysis, point.ensemble)
    references = config.reference(point.temperature_K)
    told = references.read_text(encoding="utf-8") if isinstance(references, Path) else references
    settings = [run.steps, names, config.analysis.options, told]
    experiment = abs((point.pressure_bar or NORMAL_BAR) - NORMAL_BAR) <= WITHIN_BAR  # what is known is at 1 bar
    if (run.folder / RECORDS).exists() and results_of(run)["settings"] == json.loads(json.dumps(settings)):
        return
    log, dump = run.join(n_atoms)
    found: dict[str, Any] = {"settings": settings, "records": [], "notes": [], "radial": [], "liquid": None}
    for name in names:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                files = _files(name, log, dump)
                fixed = None if point.ensemble == "nve" else point.temperature_K
                simulation = Simulation(**files, temperature_K=fixed, references=references, experiment=experiment)
                _measure(run, _made(config, name), simulation, found)
            except InputError as error:
                found["notes"].append(f"{name}: {error}")
        found["notes"] += [f"{name}: {warning.message}" for warning in heard]
    rows = read_log(log).runs[-1].columns
    found |= {"volume_A3": float(rows["Volume"].mean()), "mean_temperature_K": float(rows["Temp"].mean())}
    write_text(run.folder / RECORDS, json.dumps(found, indent=1) + "\n")


def _files(name: str, log: Path, dump: Path) -> dict[str, Path]:
    """The log always; the dump, which takes long to read, where it is needed."""
    return {"log": log} | ({"dump": dump} if "dump" in analyses()[name].needs else {})


def _measure(run: Run, analysis: Analysis, simulation: Simulation, found: dict[str, Any]) -> None:
    result = analysis.compute(simulation)
    found["records"] += analysis.records(result, simulation)
    write_figure(run.folder / f"{analysis.name}.png", analysis.plot(result, simulation))
    if simulation.experiment and simulation.liquid is not None:
        found["liquid"] = simulation.liquid.name
    if analysis.name == "structure":
        for pair in result:
            radial = {"pair": "-".join(pair.radial.pair), "r_A": pair.radial.r_A.tolist(), "g": pair.radial.g.tolist()}
            found["radial"].append(radial)


def results_of(run: Run) -> dict[str, Any]:
    """What `analyse` wrote; empty where it has not."""
    path = run.folder / RECORDS
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        raise damaged(path, "the results of a run") from None


def npt_volume(run: Run) -> float | None:
    """Mean volume in A^3 of the recorded part of an NPT run that has ended well; None for another."""
    return results_of(run).get("volume_A3") if run.over == FINISHED else None


def grouped(runs: Sequence[Run], atoms: dict[int, int]) -> dict[tuple, list[Run]]:
    """Runs by their point without the seed: model, ensemble, K, bar, atoms."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        model, ensemble, temperature, pressure, size, _ = run.point
        found.setdefault((model, ensemble, temperature, pressure, atoms[size]), []).append(run)
    return found


def properties(groups: dict[tuple, list[Run]]) -> list[dict[str, Any]]:
    """A row (ROW_KEYS) for each quantity of each group, over its runs that reached their end."""
    rows = []
    for key, runs in groups.items():
        ended = [results_of(run) for run in runs if run.over == FINISHED]
        measured = [found for found in ended if found]
        records = [
            record | {"mean_temperature_K": found["mean_temperature_K"]}
            for found in measured
            for record in found["records"]
        ]
        for quantity in dict.fromkeys(record["quantity"] for record in records):
            same = [record for record in records if record["quantity"] == quantity]
            rows.append(dict(zip(AXES, key, strict=True)) | combined(same))
    return rows


def combined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of one quantity over independent runs, with its errors.

    Two estimates of the same standard error: by the spread of the runs, which few seeds give badly, and by the blocks
    within them, which miss what is slower than a run. The larger one is taken.
    """
    values = np.array([record["value"] for record in records])
    errors = np.array([record["standard_error"] or 0.0 for record in records])
    n, mean = len(values), float(values.mean())
    within = float(np.sqrt((errors**2).sum()) / n)
    between = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    compared = {key: mean_of([record[key] for record in records]) for key in KEPT}  # at the runs' own temperatures
    experiment = compared["experiment"]
    return {
        "quantity": records[0]["quantity"],
        "value": mean,
        "standard_error": max(within, between or 0.0),
        "between_runs": between,
        "within_runs": within,
        "unit": records[0]["unit"],
        "runs": n,
        "mean_temperature_K": float(np.mean([record["mean_temperature_K"] for record in records])),
        "deviation_percent": 100 * (mean / experiment - 1) if experiment else None,
    } | compared


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def survival(groups: dict[tuple, list[Run]]) -> list[dict[str, Any]]:
    """A row for each group: how many runs ended how, and how much MD there is to one explosion.

    ps per explosion: the MD of all runs over the number of explosions, which is the estimate of the mean survival time
    of largest likelihood where explosions come at a constant rate; None without any.
    """
    rows = []
    for key, runs in groups.items():
        ends, done = [run.over for run in runs], [run.ps(run.state.steps) for run in runs]
        early = [ps for ps, end in zip(done, ends, strict=True) if end == EXPLODED]
        reasons = dict.fromkeys(run.state.why for run in runs if run.state.why)
        rows.append(
            dict(zip(AXES, key, strict=True))
            | {"runs": len(runs), "finished": ends.count(FINISHED), "exploded": len(early)}
            | {"failed": ends.count(FAILED), "MD, ps": sum(done), "first explosion, ps": min(early, default=None)}
            | {"ps per explosion": sum(done) / len(early) if early else None, "reasons": "; ".join(reasons)}
        )
    return rows
