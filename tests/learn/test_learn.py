"""tl-learn on molecules by GFN2-xTB: rounds, a kill in the middle, stopping rules, what a user sees."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ase.build import molecule

from tlmd.analysis.statistics import Estimate
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.lammps_job import boxed, reason
from tlmd.learn.config import LearnConfig, StateConfig
from tlmd.learn.dynamics import Run
from tlmd.learn.learn import learn
from tlmd.learn.properties import Value, moved, settled
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.executor import Outcome

from ..kill import kill_when

TOML = """
out = "learnt"
label = "label.toml"
finetune = "finetune.toml"
committee = 3
[start]
pool = ["pool.extxyz"]
n_frames = 4
[states.hot]
frames = "pool.extxyz"
temperature_K = 400
ps = 0.3
runs = 2
[watch]
every = 5
dump = 0.01
halt = 50.0
[new]
n_frames = 2
nearest = 0.0
[stop]
rounds = 3
labels = 20
[executor]
jobs = 2
"""
FINETUNE = """
[data]
train = "replaced.extxyz"
valid_fraction = 0.0
level_of_theory = "GFN2-xTB"
[transfer]
start_from = "water-spcfw-f64"
[training]
max_steps = 20
batch_frames = 2
valid_every = 10
threads = 1
plots = false
[stability]
ps = 0
"""


def dimers(n: int) -> list[Frame]:
    """Two molecules of water at several distances."""
    one = molecule("H2O")
    rng, found = np.random.default_rng(5), []
    for k in range(n):
        other = one.copy()
        other.rotate(40 * k, (1, 1, 0))
        other.translate((0, 0, 2.9 + 0.1 * k))
        both = one + other
        both.positions += rng.normal(scale=0.02, size=both.positions.shape)
        found.append(Frame(both.numbers, both.positions, np.zeros((3, 3)), np.zeros(3, bool)))
    return found


@pytest.fixture
def project(tmp_path):
    """learn.toml with the TOMLs that it names."""
    write_frames(tmp_path / "pool.extxyz", dimers(8))
    (tmp_path / "learn.toml").write_text(TOML)
    (tmp_path / "finetune.toml").write_text(FINETUNE)
    (tmp_path / "label.toml").write_text('frames = "x"\n[calculator]\nname = "tblite"\nmethod = "GFN2-xTB"\n')
    return tmp_path


def test_rounds_go_on_after_a_kill(project):
    pytest.importorskip("tblite")
    command = [sys.executable, "-c", "from tlmd.cli import learn; learn()", str(project / "learn.toml")]
    out = project / "learnt"
    kill_when((out / "rounds/01/labels").exists, command, 240)
    assert (out / "rounds/00/round.json").exists() and not (out / "rounds/01/round.json").exists()
    kept = (out / "rounds/00/model/model.pt").read_bytes()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr
    assert "3 rounds are done: 8 labels in 3 rounds" in " ".join(ended.stdout.split())
    assert (out / "rounds/00/model/model.pt").read_bytes() == kept
    records = [json.loads((out / f"rounds/0{k}/round.json").read_text()) for k in range(3)]
    assert [record["labelled"] for record in records] == [4, 6, 8]
    assert all(record["models"] == 3 and record["unsure"] > 0 for record in records)
    assert records[0]["new"] is None and records[1]["new"]["force_mae_mev_per_A"] > 0
    known = np.array(records[1]["known"] + records[2]["known"])  # deviations and errors before they were learnt
    assert records[0]["known"] == [] and known.shape == (4, 2) and (known > 0).all()
    assert records[1]["error_by_deviation"] is None  # of two frames
    assert np.isclose(records[2]["error_by_deviation"], np.sqrt((known[:, 1] ** 2).mean() / (known[:, 0] ** 2).mean()))
    for k in (1, 2):  # what a round labels are unsure frames of the round before
        labelled = read_frames(out / f"rounds/0{k}/labels/labelled.extxyz")
        assert len(labelled) == 2
        for frame in labelled:
            assert frame.info["largest_deviation"] > 0.01 and frame.info["source"].startswith(f"0{k - 1}-hot-")
            assert frame.energy is not None and not frame.cell.any()
    page = (out / "rounds/01/page.html").read_text()
    assert "00-hot-" in page and "Labelled in this round" in page
    shown = subprocess.run([*command, "--status"], capture_output=True, text=True)
    assert shown.returncode == 0 and "training frames" in " ".join(shown.stdout.split())
    again = subprocess.run([*command, "--set", "stop.labels=8"], capture_output=True, text=True)
    assert again.returncode == 0 and "budget of 8 labels is spent" in " ".join(again.stdout.split())


def test_no_unsure_frames_end_it(project):
    pytest.importorskip("tblite")
    settings = ["watch.dump=40.0", "states.hot.runs=1", "states.hot.ps=0.15"]
    config = load_config(LearnConfig, project / "learn.toml", settings)
    assert learn(config, project / "sure") == "0 unsure frames in the last round"
    labelled = read_frames(project / "sure/rounds/01/labels/labelled.extxyz")  # frames of the first model's MD
    assert len(labelled) == 2 and all(frame.info["source"] == "00-hot-1" for frame in labelled)
    assert not (project / "sure/rounds/02").exists()


def test_refusals(project):
    def refused(pattern, *settings):
        with pytest.raises(InputError, match=pattern):
            learn(load_config(LearnConfig, project / "learn.toml", settings), project / "out")

    refused("committee", "committee=1")
    refused("ensemble = npt", 'stop.property="density"')
    refused("pair for property = rdf", 'stop.property="rdf"')
    refused("stop.state", 'stop.state="cold"')
    refused("labelled or pool", "start={}")
    assert not (project / "out").exists()


def test_data_of_a_free_molecule_has_vacuum():
    (frame,) = dimers(1)
    atoms = boxed(frame)
    assert (np.diag(atoms.cell.array) >= 20).all() and not atoms.pbc.any()


def test_why_a_run_ended(tmp_path):
    done = Outcome(0, 1.0)
    whole = "Loop time of 1\nTotal wall time: 0:00:01\n"
    assert reason(whole, done) == ""
    heat = "Fix halt condition for fix-id heat met on step 40 with value 912.3\n"
    assert reason(heat + whole, done) == "912 K at step 40"
    lost = "ERROR: Lost atoms: original 6 current 5 (src/thermo.cpp:494)\n"
    assert reason(lost, Outcome(1, 1.0)).startswith("ERROR: Lost atoms")
    assert reason("", Outcome(None, 1.0, "it took longer than its limit")) == "it took longer than its limit"
    assert reason("half a log", Outcome(137, 1.0)) == "exit code 137"
    state = StateConfig(frames=tmp_path / "x.extxyz", temperature_K=300)
    assert Run(tmp_path, "x", 1, 1, state).ended is None


def test_when_a_property_is_settled():
    def value(number):
        return Value(Estimate(number, 0.01, "g/cm3", 10))

    assert moved(value(0.95), value(0.99)) and not moved(value(0.95), value(0.96))
    assert moved(value(0.95), Value(why="too short"))
    assert settled([value(0.9), value(0.95), value(0.951), value(0.949)])
    assert not settled([value(0.95), value(0.951)])
    assert not settled([value(0.9), value(0.95), value(0.951)])
