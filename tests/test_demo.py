"""tl-demo, shortened: every stage of the workflow runs for real and leaves the files and keys of the contract."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tlmd import cli
from tlmd.demo import Size, Workflow
from tlmd.modelfile import read_card
from tlmd.run.errors import InputError

SCRIPT = Path(sysconfig.get_path("scripts")) / "tl-demo"
SMALL = Size(6, 2, 40, 200, 5.0, 400)
needs_scripts = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the installed console scripts")


@needs_scripts
@pytest.mark.timeout(1800)
def test_the_complete_workflow(tmp_path):
    """In a folder whose name has spaces, quotes and letters beyond ASCII."""
    folder = tmp_path / """my "first" démo's folder"""
    folder.mkdir()
    command = [SCRIPT, "--out", "out", "--steps", "6", "--frames", "2", "--md-minutes", "5", "--md-steps", "400"]
    command += ["--classical-frames", "40", "--classical-steps", "200"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500)
    # 0.4 ps with a model of two frames: if the box still expands or shrinks the demo has no density, and says so
    drifts = "a density that still drifts" in done.stdout
    assert done.returncode == int(drifts), done.stdout + done.stderr
    out = folder / "out"
    for name in ("classical", "scratch", "finetuned"):
        assert read_card(out / name / "model.pt").elements == ["H", "O"]
    assert read_card(out / "finetuned" / "model-lammps.pt").level_of_theory == "revPBE0-D3 (CP2K)"
    records = json.loads((out / "results.json").read_text())
    keys = "quantity value standard_error unit experiment experiment_error deviation_percent temperature_K source"
    assert all(list(record)[:9] == keys.split() for record in records)
    quantities = {record["quantity"] for record in records}
    assert "diffusion coefficient" in quantities
    assert ("density" in quantities) != drifts
    for record in records:  # the level of theory stands beside the experiment, with its source
        known = record["quantity"] == "density"
        assert (record["level_of_theory"] is not None) == known == ("level of theory: revPBE0-D3" in record["source"])
    assert all("target 298.15 K" in record["source"] for record in records)
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "fine-tuned (T-PaiNN)" in page
    assert "fine-tuned (T-PaiNN)" in done.stdout and "report.html" in done.stdout
    loses_only_what_failed(out)


def loses_only_what_failed(out):
    """One run without a usable log costs its own results alone."""
    (out / "md" / "diffusion.log").write_text("LAMMPS\n")
    workflow = Workflow(out, SMALL, from_scratch=False)
    before = {record["quantity"] for record in json.loads((out / "results.json").read_text())} & {"density"}
    assert {record["quantity"] for record in workflow.analyse().records} == before
    assert "diffusion" in workflow.failed and "no result" in workflow.failed["diffusion"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--steps", "0", "got --steps 0; wanted 1 to 1e+07"),
        ("--steps", "-3", "got --steps -3; wanted 1 to 1e+07"),
        ("--frames", "0", "got --frames 0; wanted 1 to"),
        ("--frames", "109", "got --frames 109; wanted 1 to 108"),
        ("--classical-frames", "0", "got --classical-frames 0"),
        ("--classical-steps", "0", "got --classical-steps 0"),
        ("--md-minutes", "nan", "got --md-minutes nan; wanted 0.05 to 100000"),
        ("--md-minutes", "inf", "got --md-minutes inf"),
        ("--md-minutes", "0", "got --md-minutes 0"),
        ("--md-steps", "0", "got --md-steps 0"),
        ("--md-steps", str(10**12), "got --md-steps 1e+12"),
    ],
)
def test_odd_sizes_are_refused_before_anything_starts(tmp_path, monkeypatch, capsys, option, value, words):
    monkeypatch.setattr("sys.argv", ["tl-demo", "--out", str(tmp_path / "out"), option, value])
    with pytest.raises(SystemExit) as ended:
        cli.demo()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith(f"error: {words}") and said.count("\n") == 1, said
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_stage_is_said_once(tmp_path):
    """Its own words and remedy, not wrapped again; of another program its last line or LAMMPS' ERROR."""
    workflow = Workflow(tmp_path, SMALL, from_scratch=False)
    with pytest.raises(InputError) as refused:
        workflow.run(["tl-export", tmp_path / "missing.pt"], tmp_path / "logs" / "x.output")
    assert str(refused.value).count("got ") == 1 and "missing.pt" in str(refused.value)
    assert "error:" not in str(refused.value) and "a command that ends well" not in str(refused.value)
    code = "print('ERROR: lost atoms (src/x.cpp:1)\\nLast input line: run 5'); raise SystemExit(1)"
    with pytest.raises(
        InputError, match=r"got ERROR: lost atoms \(src/x\.cpp:1\); wanted a command that ends well; see"
    ):
        workflow.run([sys.executable, "-c", code], tmp_path / "logs" / "y.output")


def test_steps_that_are_not_recorded_take_half_of_the_time(tmp_path):
    for minutes in (0.05, 3.5, 60.0):
        variables = Workflow(tmp_path, Size(6, 2, 40, 200, minutes, 10**6), False).variables("density")
        assert 1 <= variables["equilibrate_limit"] <= variables["limit"] / 2
        assert variables["limit"] == pytest.approx(60 * minutes, abs=1)
