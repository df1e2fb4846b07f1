"""tl-campaign on water by the shipped SPC/Fw model: a kill in the middle, an explosion, wall time, what is written."""

import csv
import gzip
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tlmd.analysis.thermo import read_log
from tlmd.analysis.trajectory import read_dump
from tlmd.campaign.campaign import Campaign, campaign
from tlmd.campaign.config import CampaignConfig
from tlmd.campaign.parts import joined_table, newest_restart, parts_of, read_table, write_dump
from tlmd.campaign.report import state_of
from tlmd.campaign.results import combined, survival
from tlmd.campaign.start import shared
from tlmd.frames.read import read_frames
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.executor import SECONDS, Outcome
from tlmd.run.folder import RunFolder
from tlmd.run.installed import water_inputs

from ..kill import kill_when

TOML = f"""
out = "c"
temperature_K = [300, 9000]
ensembles = ["nvt", "npt"]
ps = 1.2
equilibrate_ps = 0.04
timestep_fs = 1.0
minimise = 50
thermo_steps = 5
frame_steps = 10
restart_steps = 20
[models]
spcfw = "water-spcfw-f64"
[start]
file = "{water_inputs() / "train.extxyz.xz"}"
[analysis]
nvt = ["structure"]
options = {{structure = {{pairs = "O-O"}}}}
references = {{"300" = "values.toml"}}
[executor]
jobs = 1
"""
VALUES = "[level_of_theory]\nsource = 'SPC/Fw'\ndensity = {value = 1.01, error = 0.01}\n"
COLD = "spcfw-npt-300K-1bar-size1-seed1"


@pytest.fixture
def project(tmp_path):
    """campaign.toml and the values of a level of theory."""
    (tmp_path / "campaign.toml").write_text(TOML)
    (tmp_path / "values.toml").write_text(VALUES)
    return tmp_path


def test_goes_on_after_a_kill_and_counts_an_explosion(project):
    command = [sys.executable, "-c", "from tlmd.cli import campaign; campaign()", str(project / "campaign.toml")]
    out, cold = project / "c", project / "c" / "runs" / COLD
    kill_when((cold / "restart_b").exists, command, 200)
    assert not (cold / "state.json").exists() and newest_restart(cold) is not None
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr

    begun = read_table(parts_of(cold, "log")[1]).steps[0]  # the second part begins at a restart file, not at 0
    assert begun >= 20 and begun % 20 == 0 and begun < read_table(parts_of(cold, "log")[0]).steps[-1] + 20
    run = read_log(cold / "md.log").runs[0]
    assert run.steps.tolist() == list(range(40, 1241, 5)) and run.columns["Temp"].min() > 150
    assert read_table(parts_of(cold, "log")[0]).column("Temp")[0] == pytest.approx(300)  # no row of the minimisation
    assert read_dump(cold / "md.dump.gz").steps.tolist() == list(range(40, 1241, 10)) and not parts_of(cold, "dump")

    row, *others = [
        r for r in csv.DictReader((out / "campaign.csv").read_text().splitlines()) if r["quantity"] == "density"
    ]
    assert not others and (row["model"], row["atoms"], row["runs"]) == ("spcfw", "96", "1")
    assert 0.7 < float(row["value"]) < 1.3 and float(row["standard_error"]) > 0
    assert 0.99 < float(row["experiment"]) < 1.0 and (row["level_of_theory"], row["unit"]) == ("1.01", "g/cm3")

    results = json.loads((out / "results.json").read_text())
    life = {(row["ensemble"], row["temperature_K"]): row for row in results["survival"]}
    assert life["npt", 300]["finished"] == 1 and life["npt", 300]["ps per explosion"] is None
    assert life["npt", 9000]["exploded"] == 1 and 0 <= life["npt", 9000]["first explosion, ps"] < 1.24
    assert re.search(r"in training at least|K at step|ERROR|no number", life["npt", 9000]["reasons"])
    shown = subprocess.run([*command, "--status"], capture_output=True, text=True)
    assert shown.returncode == 0 and COLD in shown.stdout and "exploded" in shown.stdout
    states = {row["run"]: row["state"] for row in results["runs"]}
    nvt = {name: state for name, state in states.items() if "nvt" in name}
    assert list(nvt.values()) == ["finished", "waiting"]  # the hot one has no density to run at
    scale = float(re.search(r"variable scale index (\S+)", (out / "runs" / next(iter(nvt)) / "in.lmp").read_text())[1])
    start = read_frames(water_inputs() / "train.extxyz.xz")[0]
    volume = read_log(cold / "md.log").runs[0].columns["Volume"].mean()
    assert scale**3 * np.linalg.det(start.cell) == pytest.approx(volume, rel=1e-5)

    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and 'src="http' not in page and "Survival" in page
    assert "to go on" not in ended.stdout and f"no volume, {COLD.replace('300K', '9000K')} exploded" in ended.stdout
    longer = ["ps=1.25", 'ensembles=["npt"]']
    campaign(load_config(CampaignConfig, project / "campaign.toml", longer), out)
    assert read_dump(cold / "md.dump.gz").steps.tolist() == list(range(40, 1291, 10))


def test_wall_time_stops_a_run_that_goes_on_later(project):
    settings = ['ensembles=["nvt"]', "temperature_K=[300]", "ps=100", "equilibrate_ps=0", "analysis.references={}"]
    config = load_config(CampaignConfig, project / "campaign.toml", settings)
    with RunFolder(project / "c", "campaign", config.of_the_run()) as folder:
        work = Campaign(config, folder)
        (run,) = work.runs
        assert work.prepare(run) and state_of(run, busy=True)["state"] == "waiting"
        for part in (1, 2):
            before = run.state.steps
            done = subprocess.run(["sh", run.job().script], env=os.environ | {SECONDS: "2"}, capture_output=True)
            assert done.returncode == 0 and "Wall time limit reached" in parts_of(run.folder, "log")[-1].read_text()
            run.conclude(Outcome(0, 2.0))
            assert run.state.parts == part and run.state.steps > before and not run.over
            assert state_of(run, busy=True)["state"] == "stopped" and state_of(run, busy=True)["ns/day"] > 0
        assert (np.diff(joined_table(run.folder).steps) > 0).all()
        whole = newest_restart(run.folder)
        (run.folder / "restart_a").write_bytes(whole.read_bytes()[:-40])  # newer, but cut short
        assert newest_restart(run.folder) == whole
        run.job()
        run.conclude(Outcome(None, 2.0, "it was not ended"))  # a third part without a step
        assert run.over == "failed" and run.state.why == "it was not ended"


def test_joined_dump_has_each_step_once(tmp_path):
    box = "ITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    frame = "ITEM: TIMESTEP\n{0}\nITEM: NUMBER OF ATOMS\n1\n" + box + "ITEM: ATOMS id x\n1 {1}\n"
    log = "Step Temp\n{}Loop time of 1\n"
    rows = {1: range(0, 50, 10), 2: range(20, 30, 10), 3: range(20, 70, 10)}  # the second one was killed at once
    for part, steps in rows.items():
        (tmp_path / f"md.{part}.log").write_text(log.format("".join(f"{step} 300\n" for step in steps)))
        text = "".join(frame.format(step, f"{part}.0") for step in steps)
        (tmp_path / f"md.{part}.dump").write_text(text + frame.format(99, 0)[:60])  # a last frame that was cut short
    text = gzip.open(write_dump(tmp_path, 10), "rt").read()
    found = re.findall(r"TIMESTEP\n(\d+)\n(?:.*\n){7}1 (\d)", text)
    assert found == [("0", "1"), ("10", "1"), *((str(step), "3") for step in range(20, 70, 10))]
    (tmp_path / "md.4.log").write_text(log.format("80 300\n"))
    (tmp_path / "md.4.dump").write_text(frame.format(80, "4.0"))
    with pytest.raises(InputError, match="frames from step 60 to 80"):
        write_dump(tmp_path, 10)


def test_errors_over_seeds():
    def record(value, error):
        known = {"experiment": 1.0, "experiment_error": None, "level_of_theory": None, "level_of_theory_error": None}
        return (
            {"quantity": "density", "value": value, "standard_error": error, "unit": "g/cm3"}
            | known
            | {"mean_temperature_K": 300.0}
        )

    row = combined([record(0.98, 0.01), record(1.02, 0.01), record(1.03, 0.01)])
    assert row["value"] == pytest.approx(1.01) and row["deviation_percent"] == pytest.approx(1.0)
    assert row["within_runs"] == pytest.approx(0.01 / np.sqrt(3))
    assert (
        row["between_runs"] == pytest.approx(np.std([0.98, 1.02, 1.03], ddof=1) / np.sqrt(3)) == row["standard_error"]
    )
    assert combined([record(1.0, 0.02)])["standard_error"] == 0.02
    assert survival({}) == [] and shared(12, [1, 2]) == [4, 8]


def test_refusals(project):
    def refused(pattern, *settings, out="out"):
        with pytest.raises(InputError, match=pattern):
            campaign(load_config(CampaignConfig, project / "campaign.toml", settings), project / out)

    refused("a multiple of thermo_steps", "frame_steps=7")
    refused("temperature of the campaign, not 310", 'analysis.references={"310"="values.toml"}')
    refused("analysis densty.*density", 'analysis.npt=["densty"]')
    refused("options.structure.pair.*pairs", 'analysis.options={structure={pair="O-O"}}')
    refused("file or smiles", 'start.smiles=["O"]')
    refused("npt for volume = npt", 'volume="npt"', 'ensembles=["nve"]')
    assert not (project / "out" / "runs").exists()
    with pytest.raises(InputError, match="multiple of 3"):
        shared(10, [1, 2])
    settings = ['ensembles=["nvt"]', "analysis.references={}", "temperature_K=[300]"]
    config = load_config(CampaignConfig, project / "campaign.toml", settings)
    with RunFolder(project / "c", "campaign", config.of_the_run()) as folder:
        work = Campaign(config, folder)
        work.prepare(work.runs[0])
    with pytest.raises(InputError, match="in.lmp: variable timestep index 1 .*variable timestep index 0.5"):
        campaign(load_config(CampaignConfig, project / "campaign.toml", [*settings, "timestep_fs=0.5"]), project / "c")
