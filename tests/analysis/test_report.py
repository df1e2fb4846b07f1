"""Experimental values, records, report and the tl-analyze command."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tlmd.analysis.records import read_records, record, with_error, write_records
from tlmd.analysis.reference import water
from tlmd.analysis.registry import measure
from tlmd.analysis.report import write_report
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

DATA = Path(__file__).parents[1] / "data"
DUMP, LOG = str(DATA / "spcfw64.dump.xz"), str(DATA / "spcfw64.log.xz")
KEYS = [
    "quantity",
    "value",
    "standard_error",
    "unit",
    "experiment",
    "experiment_error",
    "deviation_percent",
    "temperature_K",
    "source",
    "radius_A",
    "level_of_theory",
    "level_of_theory_error",
    "drift",
    "drift_error",
    "drifts",
]


def measure_diffusion(dump, log, species=None, viscosity_mPa_s=None, **options):
    return measure("diffusion", Simulation(dump, log, **options), species=species, viscosity_mPa_s=viscosity_mPa_s)


def measure_structure(dump, log=None, pairs=None, **options):
    return measure("structure", Simulation(dump, log, **options), pairs=pairs)


def test_record_keys_and_deviation():
    estimate = Estimate(1.02, 0.001, "g/cm3", 50.0)
    line = record("density", estimate, 298.15, "test", Estimate(1.0, 0.1, "g/cm3", np.inf))
    assert list(line) == KEYS
    assert line["deviation_percent"] == pytest.approx(2.0)
    alone = record("density", estimate, 298.15, "test")
    assert (alone["experiment"], alone["experiment_error"], alone["deviation_percent"]) == (None, None, None)


def test_diffusion_of_the_water_run():
    """Within its error, and that of the correction, of the published SPC/Fw 2.32e-9 m^2/s (216 molecules)."""
    periodic, infinite = measure_diffusion(DUMP, LOG).records
    assert periodic["quantity"] == "diffusion coefficient, periodic box"
    assert periodic["experiment"] is None
    assert infinite["quantity"] == "diffusion coefficient"
    edge, viscosity = 12.37526446, water.viscosity(infinite["temperature_K"]).value / 1000
    correction = 2.837297 * 1.380649e-23 * infinite["temperature_K"] / (6 * np.pi * viscosity * edge * 1e-10)
    assert infinite["value"] - periodic["value"] == pytest.approx(correction, rel=1e-6)
    assert infinite["value"] == pytest.approx(2.32e-9 + 0.37e-9, abs=3 * infinite["standard_error"])
    assert infinite["standard_error"] < 0.5e-9
    assert "viscosity" in infinite["source"] and "IAPWS" in infinite["source"]
    assert infinite["experiment"] == pytest.approx(2.35e-9, rel=0.05)


def test_a_given_viscosity_is_used_and_stated():
    periodic, infinite = measure_diffusion(DUMP, LOG, viscosity_mPa_s=0.5, temperature_K=300.0).records
    assert "viscosity 0.5 mPa s (given)" in infinite["source"]
    correction = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.5e-3 * 12.37526446e-10)
    assert infinite["value"] - periodic["value"] == pytest.approx(correction, rel=1e-6)
    assert infinite["temperature_K"] == 300.0


def test_frames_left_out():
    full, half = measure_diffusion(DUMP, LOG).records[0], measure_diffusion(DUMP, LOG, skip_ps=20).records[0]
    assert "160 frames" in full["source"] and "140 frames" in half["source"]
    with pytest.raises(InputError, match=r"got --skip 500 ps; wanted less than 159 ps"):
        measure_diffusion(DUMP, LOG, skip_ps=500)


def test_structure_of_the_water_run():
    records = {record["quantity"]: record for record in measure_structure(DUMP, LOG).records}
    assert len(records) == 9
    assert records["O-O first peak position"]["value"] == pytest.approx(2.74, abs=0.03)
    assert records["O-H first peak position"]["value"] == pytest.approx(
        1.72, abs=0.1
    )  # the hydrogen bond, not the bond
    assert records["O-O coordination number"]["value"] == pytest.approx(4.6, abs=0.3)
    assert records["O-O first peak height"]["experiment"] == pytest.approx(2.49, abs=0.02)
    warm = measure_structure(DUMP, pairs="O-O", temperature_K=350.0).records
    assert [record["experiment"] for record in warm] == [None] * 3


def test_wrong_choices_are_refused():
    with pytest.raises(InputError, match="got species Na; wanted H or O or H2O or COM; correct --species"):
        measure_diffusion(DUMP, LOG, species="Na")
    with pytest.raises(InputError, match="got a dump alone; wanted the temperature; give --log or --temperature"):
        measure_structure(DUMP)
    with pytest.raises(InputError, match="got --skip without a log"):
        measure_structure(DUMP, temperature_K=300.0, skip_ps=1.0)


def test_json_has_exactly_the_keys(tl_analyze, tmp_path):
    for arguments, count in (
        (["density", LOG], 1),
        (["diffusion", DUMP, "--log", LOG], 2),
        (["structure", DUMP, "--log", LOG], 9),
    ):
        code, out, _ = tl_analyze(*arguments, "--json", tmp_path / "out.json", "--plot", tmp_path / "out.png")
        records = json.loads((tmp_path / "out.json").read_text())
        assert code == 0
        assert len(records) == count
        assert all(list(record) == KEYS for record in records)
        assert all(record["quantity"] in out for record in records)
        assert "±" in out and "experiment" in out
        assert (tmp_path / "out.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.png"]  # no temporary file is left


def test_report_is_one_file(tl_analyze, tmp_path):
    tl_analyze("density", LOG, "--json", tmp_path / "density.json")
    out = tmp_path / "report.html"
    code, printed, _ = tl_analyze("report", tmp_path / "density.json", "--dump", DUMP, "--log", LOG, "--out", out)
    page = out.read_text()
    assert code == 0 and "wrote" in printed
    assert len(re.findall(r"<tr>", page)) == 1 + 1 + 2 + 9 + 2
    assert page.count("data:image/png;base64,") == 4  # against experiment, MSD, g(r), hydrogen bonds
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "density" in page and "coordination number" in page


@pytest.mark.filterwarnings("ignore:density. MAY STILL DRIFT", "ignore:fluctuations left out")  # 4 ps
def test_report_of_a_liquid_of_three_elements(methanol, tl_analyze, tmp_path):
    """Every option of the analyses; a window that the run does not have costs the diffusion, not the report."""
    files = ["--npt-log", methanol / "npt.log", "--dump", methanol / "nvt.dump.gz", "--log", methanol / "nvt.log"]
    out = ["--out", tmp_path / "r.html"]
    code, printed, _ = tl_analyze("report", *files, *out, "--window", "0.5", "2", "--pairs", "O-O,O-HO")
    assert code == 0, printed
    page = (tmp_path / "r.html").read_text()
    assert "MSD of COM of CH4O" in page and "O-HO coordination number" in page
    assert page.count("methanol, 298.15 K") >= 2 and "water" not in page
    alone = ["--window", "0.5", "2", "--species", "O", "--pairs", "O-O", "--no-reference"]
    code, printed, _ = tl_analyze("report", *files, *out, *alone)
    assert code == 0, printed
    page = (tmp_path / "r.html").read_text()
    assert "MSD of O," in page and "experiment: " not in page and "Against experiment" not in page
    code, printed, error = tl_analyze("report", *files, *out, "--window", "50", "90", "--pairs", "O-O")
    assert code == 1 and error.startswith("error: got diffusion: fit window 50 to 90 ps") and error.count("\n") == 1
    page = (tmp_path / "r.html").read_text()
    assert "density" in page and "O-O coordination number" in page and "diffusion coefficient" not in page


def test_report_escapes_and_takes_tables(tmp_path):
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    tables = {"Errors <test>": [{"model": "a&b", "force MAE (meV/A)": 12.3456}, {"model": "c"}]}
    write_report(tmp_path / "r.html", "T <1>", [], {"One": figure}, tables)
    page = (tmp_path / "r.html").read_text()
    assert "<h1>T &lt;1&gt;</h1>" in page and "Errors &lt;test&gt;" in page
    assert "a&amp;b" in page and "12.346" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["density", "missing.log"], "error: .*missing.log"),
        (["density", DUMP], "error: got .* without a thermo table; wanted a LAMMPS log"),
        (["diffusion", LOG, "--log", LOG], "error: got .*; wanted a LAMMPS text dump"),
        (["structure", DUMP, "--log", LOG, "--pairs", "OO"], "error: got --pairs OO; wanted pairs such as O-O,O-H"),
        (["report"], "error: got nothing to report; wanted JSON files"),
        (["report", "--dump", DUMP], "error: got only one of --dump and --log; wanted both"),
        (["report", __file__], "error: .*wanted JSON of tl-analyze"),
    ],
)
def test_mistakes_are_one_line(tl_analyze, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = tl_analyze(*arguments)
    assert code == 1
    assert re.match(words, err)
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_records_survive_a_file(tmp_path):
    records = [record("x", Estimate(1.0, 0.1, "1", 9.0), 300.0, "s")]
    write_records(tmp_path / "r.json", records)
    assert read_records(tmp_path / "r.json") == records
    (tmp_path / "bad.json").write_text('[{"quantity": "x"}]')
    with pytest.raises(InputError, match="other keys; wanted quantity, value"):
        read_records(tmp_path / "bad.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "out.txt"
    write_atomic(target, lambda temporary: temporary.write_bytes(b"old"))
    with pytest.raises(TypeError):
        write_atomic(target, lambda temporary: temporary.write_bytes(None))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.3164e-9, 4.21e-11, "(2.316 ± 0.042)e-09"),
        (997.0471, 0.0123, "997.047 ± 0.012"),
        (997.0471, 0.0, "997.05"),
        (1.0, None, "1"),
        (120.3, 14.0, "120 ± 14"),
        (-0.25, 0.031, "-0.250 ± 0.031"),
        (0.99702, 1e-7, "0.99702"),
    ],
)
def test_value_and_error_are_rounded_alike(value, error, text):
    assert with_error(value, error) == text
