"""What holds for every registered analysis, on the real run of SPC/Fw."""

import json
import math
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from typer.testing import CliRunner

from tlmd.analysis.commands import app
from tlmd.analysis.records import RECORD_KEYS
from tlmd.analysis.registry import Lacking, analyses, measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"
DUMP, LOG = DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz"
# What needs columns that this run does not have is measured in the test of its own.
OTHERS = {"conductivity", "spectrum", "surface-tension", "thermal-conductivity", "vaporisation", "viscosity"}
each_analysis = pytest.mark.parametrize("name", sorted(set(analyses()) - OTHERS))
each_other = pytest.mark.parametrize("name", sorted(OTHERS))


@pytest.fixture(scope="module")
def measured():
    """Every analysis of one run, by name."""
    assert {"density", "diffusion", "structure"} <= set(analyses())
    return {name: measure(name, Simulation(DUMP, LOG)) for name in set(analyses()) - OTHERS}


@each_analysis
def test_values_are_finite_with_units_errors_and_sources(name, measured):
    records = measured[name].records
    assert records
    for record in records:
        assert list(record) == list(RECORD_KEYS)
        assert math.isfinite(record["value"]) and record["standard_error"] > 0
        assert record["unit"] and record["source"] and record["quantity"]
        assert record["temperature_K"] == pytest.approx(298.15, abs=3)
        assert "target 298.15 K" in record["source"]
        json.dumps(record, allow_nan=False)


@each_analysis
def test_water_is_beside_experiment_and_nothing_else_is(name, measured):
    compared = [record for record in measured[name].records if record["experiment"] is not None]
    assert compared or name == "hydrogen-bonds"  # a definition, not a measurement
    for record in compared:
        assert "experiment: " in record["source"] and record["experiment_error"] > 0
        assert record["deviation_percent"] == pytest.approx(100 * (record["value"] / record["experiment"] - 1))
    alone = measure(name, Simulation(DUMP, LOG, experiment=False)).records
    assert all(record["experiment"] is None for record in alone)
    argon = Simulation(DUMP, LOG, elements=["Ar", "Ne"])  # the dump's types under other names
    if name == "hydrogen-bonds":
        return  # argon has none
    options = {"species": "Ar"} if any(field.name == "species" for field in fields(analyses()[name])) else {}
    assert all(record["experiment"] is None for record in measure(name, argon, **options).records)


@each_analysis
def test_legends_cover_no_data(name, measured):
    """The legend's box on the drawn figure holds no point of a line and no corner of a band."""
    drawn = 0
    for figure in measured[name].figures.values():
        figure.canvas.draw()
        for axis in figure.axes:
            legend = axis.get_legend()
            if legend is None:
                continue
            box = legend.get_window_extent()
            for line in axis.lines:
                x, y = np.asarray(line.get_transform().transform(line.get_xydata())).T
                inside = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
                assert not inside.any(), f"{line.get_label()} under the legend"
                drawn += len(x)
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label, axis.yaxis.label):
                assert not (label.get_text() and label.get_window_extent().overlaps(box))
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert to_rgba(figure.get_facecolor())[3] == 1
    assert drawn > 10


@each_analysis
def test_the_command_writes_the_same_records(name, measured, tmp_path):
    analysis = analyses()[name]
    files = {"dump": DUMP, "log": LOG}
    first, *others = analysis.needs
    arguments = [name, files[first], *[word for other in others for word in (f"--{other}", files[other])]]
    arguments += [word for other in analysis.may_use for word in (f"--{other}", files[other])]
    arguments += ["--json", tmp_path / "out.json", "--plot", tmp_path / "out.png"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == measured[name].records
    assert (tmp_path / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@each_other
def test_what_the_files_lack_is_said(name):
    """A report leaves these out; the command says what to add."""
    with pytest.raises(Lacking, match="got .*; wanted .*; .*(add|give|dump) "):
        measure(name, Simulation(DUMP, LOG))


@each_analysis
def test_a_missing_file_is_said(name):
    with pytest.raises(InputError, match=f"got {name} without a "):
        measure(name, Simulation())


def test_an_unknown_analysis_is_named():
    with pytest.raises(
        InputError,
        match=r"got analysis difusion \(did you mean 'diffusion'\?\); wanted conductivity, density, diffusion, ",
    ):
        measure("difusion", Simulation(DUMP, LOG))
