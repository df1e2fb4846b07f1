"""Damaged, odd and mixed-up files and options of tl-analyze: one line each, and never nan as a result."""

import gzip
import json
import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from tlmd import cli
from tlmd.analysis.records import record, write_records
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.statistics import Estimate
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"
DUMP, LOG = DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz"


@pytest.fixture
def refused(tl_analyze):
    """Run tl-analyze on arguments that it must refuse; returns its one line on stderr."""

    def run(*arguments):
        code, output, errors = tl_analyze(*arguments)
        assert code != 0
        assert errors.count("\n") == 1 and errors.startswith("error: "), errors
        assert "Traceback" not in output + errors
        return errors

    return run


def unpacked(path: Path) -> str:
    with lzma.open(path, "rt") as file:
        return file.read()


@pytest.mark.parametrize("keep_ps", [0.5, 60.0, 110.0])
def test_a_log_cut_before_the_frames_gives_no_temperature(tmp_path, keep_ps):
    """The temperature of other rows is not that of the frames: cut in the equilibration, and soon after the dump's
    start (at 71 ps).
    """
    lines = unpacked(LOG).splitlines(keepends=True)
    table = [i for i, line in enumerate(lines) if re.match(r" +\d+ +[\d.]+ +[\d.]+ ", line)]
    end = next(i for i in table if float(lines[i].split()[1]) >= 1000 * keep_ps)
    cut = tmp_path / "cut.log"
    cut.write_text("".join(lines[: end + 1]))
    for name in ("diffusion", "structure"):
        with pytest.raises(InputError, match="wanted one run|wanted a log of the whole dump"):
            measure(name, Simulation(DUMP, cut))


def test_a_log_cut_late_gives_the_temperature_of_the_frames(tmp_path):
    """Half of the frames and more are covered: the mean of these rows, 0.6 K at most off the whole."""
    text = unpacked(LOG)
    cut = tmp_path / "cut.log"
    cut.write_text(text[: text.rindex("Loop time")].rpartition("\n")[0].rpartition("\n")[0] + "\n")
    whole = measure("structure", Simulation(DUMP, LOG), pairs="O-O").records[0]["temperature_K"]
    late = measure("structure", Simulation(DUMP, cut), pairs="O-O").records[0]["temperature_K"]
    assert late == pytest.approx(whole, abs=0.6)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_compressed_file_with_a_flipped_bit_is_one_line(refused, tmp_path, place):
    for source, name, arguments in (
        (DUMP, "bad.dump.gz", ["--log", LOG]),
        (LOG, "bad.log.gz", []),
        (DUMP, "bad.dump.xz", ["--log", LOG]),
    ):
        packed = bytearray(gzip.compress(unpacked(source).encode()) if name.endswith("gz") else source.read_bytes())
        packed[int(place * len(packed))] ^= 0x10
        bad = tmp_path / name
        bad.write_bytes(packed)
        line = refused("density" if ".log" in name else "structure", bad, *arguments)
        assert name in line


def test_a_text_file_named_gz_is_one_line(refused, tmp_path):
    (tmp_path / "plain.dump.gz").write_text("ITEM: TIMESTEP\n0\n")
    assert "wanted a valid .gz file" in refused("structure", tmp_path / "plain.dump.gz", "--log", LOG)


GOOD = record("density", Estimate(1.0, 0.1, "g/cm3", 9.0), 298.15, "a run")


@pytest.mark.parametrize(
    "content",
    [
        '"a string"', "null", "3", "[null]", '["x"]', "[[]]", "{}", '[{"quantity": "x"}]', "[", "\udcff",
        *[json.dumps([GOOD | {key: value}]) for key, value in {
            "quantity": None, "value": "1.0", "standard_error": -1.0, "unit": 1, "experiment": "x",
            "temperature_K": [298], "source": None, "deviation_percent": {},
        }.items()],
        json.dumps([GOOD | {"value": float("nan")}]), json.dumps([GOOD | {"value": None}]),
        json.dumps([GOOD | {"standard_error": float("inf")}]), "[" * 100000,
    ],
)  # fmt: skip
def test_odd_json_is_one_line(refused, tmp_path, content):
    (tmp_path / "odd.json").write_bytes(content.encode(errors="surrogateescape"))
    line = refused("report", tmp_path / "odd.json", "--out", tmp_path / "r.html")
    assert "odd.json" in line
    assert not (tmp_path / "r.html").exists()


def test_markup_and_tags_in_a_record_are_text(monkeypatch, capsys, tmp_path):
    odd = record("[/nope] [red]x <b>", Estimate(1.0, 0.1, "[b]", 9.0), None, "[/source] <i>")
    write_records(tmp_path / "odd.json", [odd])
    monkeypatch.setattr("sys.argv", ["x", "report", str(tmp_path / "odd.json"), "--out", str(tmp_path / "r.html")])
    with pytest.raises(SystemExit) as ended:
        cli.analyze()
    assert ended.value.code == 0
    printed, page = capsys.readouterr().out, (tmp_path / "r.html").read_text()
    assert "[/nope] [red]x <b>" in printed and "[b]" in printed and "[/source]" in printed
    assert "&lt;b&gt;" in page and "<b>" not in page


def test_a_file_of_an_older_tlmd_is_read(monkeypatch, tmp_path):
    """The nine keys that every version has are enough."""
    old = {key: GOOD[key] for key in list(GOOD)[:9]}
    (tmp_path / "old.json").write_text(json.dumps([old]))
    monkeypatch.setattr("sys.argv", ["x", "report", str(tmp_path / "old.json"), "--out", str(tmp_path / "r.html")])
    with pytest.raises(SystemExit) as ended:
        cli.analyze()
    assert ended.value.code == 0 and "density" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_no_result(value):
    for estimate in (Estimate(value, 0.1, "1", 9.0), Estimate(1.0, value, "1", 9.0)):
        with pytest.raises(InputError, match="wanted finite numbers"):
            record("x", estimate, 300.0, "s")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--window", "nan", "nan"], "got --window nan nan; wanted finite numbers"),
        (["--window", "1", "inf"], "got --window 1.0 inf; wanted finite numbers"),
        (["--window", "-5", "3"], "got fit window -5 to 3 ps; wanted at least 3 lags"),
        (["--viscosity", "-1"], "got --viscosity -1; wanted mPa s above 0"),
        (["--temperature", "-5"], "got --temperature -5; wanted a number from 1 up"),
        (["--viscosity", "nan"], "got --viscosity nan; wanted finite numbers"),
        (["--temperature", "nan"], "got --temperature nan; wanted a number from 1 up"),
        (["--skip", "nan"], "got --skip nan; wanted a number from 0 up"),
        (["--skip", "inf"], "got --skip inf; wanted a number from 0 up"),
        (["--species", "Na"], "got species Na; wanted H or O or H2O or COM"),
        (["--reference", "missing.toml"], "got --reference missing.toml; wanted one of water, "),
    ],
)
def test_odd_options_are_one_line(refused, options, words):
    assert words in refused("diffusion", DUMP, "--log", LOG, *options)


def test_a_radius_beyond_g_is_one_line(refused):
    assert "got radius 20 A; wanted 0 to 6." in refused("structure", DUMP, "--log", LOG, "--radius", "20")
    assert "got --radius nan; wanted finite numbers" in refused("structure", DUMP, "--log", LOG, "--radius", "nan")


def dump_text(rows, columns="id type mass xu yu zu", box="0 9\n0 9\n0 9\n", n_atoms=None):
    body = "".join(f"{row}\n" for row in rows)
    return (
        f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{n_atoms or len(rows)}\nITEM: BOX BOUNDS pp pp pp\n{box}"
        f"ITEM: ATOMS {columns}\n{body}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (dump_text(["1 1 x 0 0 0"]), "wanted numbers in every column"),
        (dump_text(["1 1 nan 0 0 0"]), "masses that are not above 0"),
        (dump_text(["1 1 -1.0 0 0 0"]), "masses that are not above 0"),
        (dump_text(["x 1 1.0 0 0 0"]), "wanted numbers in every column"),
        (dump_text(["nan 1 1.0 0 0 0"]), "ids that are no different whole numbers"),
        (dump_text(["1.5 1 1.0 0 0 0"]), "ids that are no different whole numbers"),
        (dump_text(["1 1 1.0 0 0 0", "1 1 1.0 1 1 1"]), "ids that are no different whole numbers"),
        (dump_text(["1 x 1.0 0 0 0"]), "type x; wanted numbers from 1"),
        (dump_text(["1 0 1.0 0 0 0"]), "type 0; wanted numbers from 1"),
        (dump_text(["1 1 1.0 0 0 0 7"]), "rows of other than 6 columns"),
        (dump_text(["1 1 1.0 0 0 0"], box="0 nan\n0 9\n0 9\n"), "a box without volume"),
        (dump_text(["1 1 1.0 0 0 0"], box="0 0\n0 9\n0 9\n"), "a box without volume"),
    ],
)
def test_odd_atoms_are_one_line(refused, tmp_path, text, words):
    (tmp_path / "odd.dump").write_text(text)
    arguments = ["structure", tmp_path / "odd.dump", "--temperature", "300", "--elements", "O"]
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0 300 1.0\nnan 300 1.0\n", "steps that are no increasing numbers"),
        ("10 300 1.0\n0 300 1.0\n", "steps that are no increasing numbers"),
        ("".join(f"{i} nan {1 + 0.01 * (i % 7)}\n" for i in range(40)), "a temperature that is nan or inf"),
        ("".join(f"{i} 300 {'nan' if i == 30 else 1 + 0.01 * (i % 7)}\n" for i in range(40)), "a series with nan"),
    ],
)
def test_odd_logs_are_one_line(refused, tmp_path, rows, words):
    path = tmp_path / "odd.log"
    path.write_text(f"units metal\ntimestep 0.001\nStep Temp Density\n{rows}Loop time of 1 on 1 procs with 3 atoms\n")
    assert words in refused("density", path)


def test_the_time_step_of_a_log_is_above_0(refused, tmp_path):
    path = tmp_path / "odd.log"
    path.write_text("units metal\ntimestep -0.001\nStep Temp Density\n0 300 1.0\nLoop time of 1 with x atoms\n")
    assert "a time step of -1 fs; wanted one above 0" in refused("density", path)


def test_report_takes_the_options_of_the_analyses(monkeypatch, capsys, tmp_path):
    """--species, --no-experiment, --radius, --pairs: of a run with two species that is no water."""
    out = tmp_path / "r.html"
    arguments = ["report", "--dump", DUMP, "--log", LOG, "--npt-log", LOG, "--out", out, "--elements", "Ar Ne"]
    arguments += ["--species", "Ar", "--no-experiment", "--pairs", "Ar-Ar", "--radius", "4.0"]
    monkeypatch.setattr("sys.argv", ["tl-analyze", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.analyze()
    assert ended.value.code == 0
    page = out.read_text()
    assert "MSD of Ar" in page and "neighbours up to 4.00 A (given)" in page and "experiment: " not in page


def test_a_run_off_its_target_is_said(tmp_path):
    """302 K, 10 standard errors from the thermostat's 298.15 K."""
    rng = np.random.default_rng(3)
    rows = "".join(f"{10 * i} {302 + 4 * rng.normal():.3f} {1 + 0.01 * rng.normal():.6f}\n" for i in range(400))
    path = tmp_path / "warm.log"
    path.write_text(
        "units metal\ntimestep 0.001\nfix 1 all nvt temp ${t} ${t} 0.1\nfix 1 all nvt temp 298.15 298.15 0.1\n"
        f"unfix 1\nfix 1 all nve\nStep Temp Density\n{rows}Loop time of 1 with 3 atoms\n"
    )
    with pytest.warns(UserWarning, match=r"mean temperature 30\d\.\d+ ± 0\.\d+ K, but the thermostat's target was 298"):
        (line,) = measure("density", Simulation(log=path)).records
    assert "target 298.15 K" in line["source"]


def test_a_ramp_has_no_target(tmp_path):
    text = unpacked(LOG).replace("298.15 298.15", "298.15 400.0")
    (tmp_path / "ramp.log").write_text(text)
    line = measure("structure", Simulation(DUMP, tmp_path / "ramp.log"), pairs="O-O").records[0]
    assert "mean temperature" in line["source"] and "target" not in line["source"]
