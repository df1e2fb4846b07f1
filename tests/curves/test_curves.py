"""Learning curves: the runs are those of the stages, go on where they stopped, and are compared as the table says."""

import csv
import json
import re
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from tlmd.curves import curve as curves
from tlmd.curves.config import CurveConfig
from tlmd.curves.curve import Job, curve
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.folder import Lock
from tlmd.run.installed import water_inputs
from tlmd.run.workers import start_workers
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

COMMON = """
out = "curve"
seeds = [1, 2]
sizes = [2, "all"]
steps = 6
jobs = 1
[methods.scratch]
stage = "pretrain"
config = "pretrain.toml"
"""
TUNED = """
[methods.tuned]
stage = "finetune"
config = "finetune.toml"
set = ['replay.frames="classical.extxyz"', "replay.n_report=3"]
set_energies = ["optimizer.lr=0.002"]
"""

KERNEL = """
[data]
train = "train.extxyz"
valid = "valid.extxyz"
test = "test.extxyz"
[backbone]
model = "old/model.pt"
[kernel]
n_features = 16
[fit]
alpha = [0.0, 0.3]
ridge = [1e-6]
"""
KERNELS = """
[methods.classical]
stage = "mekrr"
config = "mekrr.toml"
[methods.on_scratch]
stage = "mekrr"
config = "mekrr.toml"
set = ["backbone.layers=[0, 1]"]
backbone = "scratch"
"""


@pytest.fixture
def water(folder, frames):
    """The folder with test frames of two kinds, named in both TOMLs, and curve.toml with the method scratch."""
    test = read_frames(folder / "test.extxyz")
    test = [frame.replace(info={"set": "odd" if i % 2 else "even"}) for i, frame in enumerate(test)]
    write_frames(folder / "test.extxyz", test)
    for name in ("pretrain.toml", "finetune.toml"):
        text = (folder / name).read_text().replace("[data]\n", '[data]\ntest = "test.extxyz"\n')
        (folder / name).write_text(text)
    (folder / "curve.toml").write_text(COMMON)
    return folder


@pytest.fixture
def inline(monkeypatch):
    """Runs are made in this process, at once; the list of the folders of those that were started."""
    started = []

    class Inline:
        def submit(self, function, *arguments):
            started.append(arguments[2].name)
            future = Future()
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future

    @contextmanager
    def start(n, threads):
        yield Inline()

    monkeypatch.setattr(curves, "start_workers", start)
    return started


def run(folder, *overrides):
    config = load_config(CurveConfig, folder / "curve.toml", overrides)
    curve(config, config.out)
    return list(csv.DictReader((config.out / "curve.csv").read_text().splitlines()))


def test_points_are_runs_of_the_stages_and_are_not_run_again(water, inline, monkeypatch):
    monkeypatch.setattr(curves, "start_workers", start_workers)  # real ones
    pretrain(load_config(PretrainConfig, water / "pretrain.toml", ['data.train="classical.extxyz"']), water / "old")
    (water / "curve.toml").write_text(COMMON + TUNED)
    settings = ('labels=["all", "energies"]', "split_by=set", "keep_models=false", "jobs=2")
    rows = run(water, *settings)
    points = [(r["labels"], r["frames"], r["method"], r["seed"]) for r in rows]
    methods = ("scratch", "tuned")
    wanted = [(k, n, m, s) for k in ("all", "energies") for n in ("2", "10") for m in methods for s in "12"]
    assert points == wanted
    assert all(r["steps"] == r["budget"] == "6" and float(r["minutes"]) > 0 for r in rows)
    assert not list(water.glob("curve/runs/*/*.pt")) and not list(water.glob("curve/runs/*/*.png"))
    assert (water / "curve" / "curve.png").read_bytes().startswith(b"\x89PNG")

    row = rows[points.index(("energies", "10", "tuned", "2"))]
    same = ["seed=2", "training.n_frames=10", "training.max_steps=6", "data.labels=energies", "optimizer.lr=0.002"]
    replay = ['replay.frames="classical.extxyz"', "replay.n_report=3", "data.split_by=set"]
    errors = finetune(load_config(FinetuneConfig, water / "finetune.toml", same + replay), water / "alone").errors
    for name in ("valid", "test", "test even", "test odd", "classical before", "classical", "valid before", "train"):
        for kind, word, unit in (("energy", "energy", "mev_per_atom"), ("forces", "force", "mev_per_A")):
            prefix = f"{name.replace(' ', '_')}_{word}"
            for measure in ("mae", "rmse"):
                value = getattr(errors[name], measure)(kind)
                assert row[f"{prefix}_{measure}_{unit}"] == ("" if value is None else repr(value))
    assert errors["valid"].mae("forces") is None and errors["test"].mae("forces") > 0
    assert errors["test even"].n_frames == errors["test odd"].n_frames == 3
    losses = [float(line.split(",")[5]) for line in (water / "alone" / "metrics.csv").read_text().splitlines()[1:]]
    assert float(row["valid_loss"]) == min(losses)
    assert rows[0]["classical_force_mae_mev_per_A"] == ""  # scratch forgets nothing
    text = (water / "curve" / "table.md").read_text()
    assert "## Labels: energies; equal steps; test odd frames" in text and "equal steps; forgetting" in text

    monkeypatch.setattr(curves, "train", None)  # any run would fail
    assert run(water, *settings) == rows
    with pytest.raises(InputError, match=r"optimizer\.lr = 0\.001; wanted 0\.005, as in the run that .*scratch-all-"):
        run(water, *settings, 'methods.scratch.set=["optimizer.lr=1e-3"]')
    with pytest.raises(InputError, match="16 of 32 runs that failed"):  # more seeds only add runs
        run(water, *settings, "seeds=[1, 2, 3, 4]")


def test_a_failed_run_is_shown_and_the_others_are_kept(water, inline, capsys):
    text = COMMON.replace('"all"', "3") + TUNED.replace("set = [", "set = [\"transfer.freeze=['mesages']\", ")
    (water / "curve.toml").write_text(text)
    pretrain(load_config(PretrainConfig, water / "pretrain.toml", ["training.max_steps=1"]), water / "old")
    with pytest.raises(InputError, match=r"got 4 of 8 runs that failed"):
        run(water)
    shown = capsys.readouterr().out
    assert "tuned-all-frames3-seed2-steps6: got no part 'mesages' (did you mean 'messages'?)" in shown
    assert [line.split(",")[0] for line in (water / "curve" / "curve.csv").read_text().splitlines()] == [
        "method",
        *["scratch"] * 4,
    ]
    assert "| 3 | scratch |" in (water / "curve" / "table.md").read_text()
    with pytest.raises(InputError, match="4 of 8"):
        run(water)
    assert len(inline) == 12 and all(name.startswith("tuned") for name in inline[8:])


def test_killed_and_started_again(water, inline):
    """After SIGKILL the workers end as well, in the middle of a run; what had ended is not run again."""
    program = "from tlmd.cli import curve; curve()"
    command = [sys.executable, "-c", program, water / "curve.toml", "--set", "steps=300"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    runs = water / "curve" / "runs"
    while process.poll() is None and not list(runs.glob("*/errors.json")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.5)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/errors.json")}
    logs = [path.read_text() for path in runs.glob("*/log.txt")]
    assert 0 < len(before) < 4
    time.sleep(1.0)
    assert [path.read_text() for path in runs.glob("*/log.txt")] == logs
    assert len(run(water, "steps=300")) == 4 and len(inline) == 4 - len(before)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_budgets_are_doubled_until_the_gain_is_small(water, inline, monkeypatch):
    losses = {2: (8.0, 2.0), 4: (4.0, 1.0), 8: (2.0, 1.9), 16: (1.0, 1.0)}  # by budget: seeds 1, 2
    row = curves.run_row

    def with_loss(job, folder):
        return row(job, folder) | {"valid_loss": losses[job.budget][job.seed - 1]}

    monkeypatch.setattr(curves, "run_row", with_loss)
    text = COMMON.replace("[methods.scratch]", "[converge]\ngain = 0.1\nmax_steps = 64\n[methods.scratch]")
    (water / "curve.toml").write_text(text.replace('[2, "all"]', "[2]").replace("steps = 6", "steps = 2"))
    rows = run(water)
    assert [(r["budget"], r["seed"]) for r in rows] == [(n, s) for n in "248" for s in "12"]  # gain 2 -> 0.026
    text = (water / "curve" / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| 2 | scratch")]
    assert [line.split(" | ")[-2] for line in lines] == ["2", "8"]
    assert len(run(water, "converge.max_steps=4")) == 4
    assert "| > 4 |" in (water / "curve" / "table.md").read_text()
    assert len(inline) == 6
    assert len(run(water, "converge.gain=0.02")) == 8  # 8 -> 16 after all


def test_search_goes_by_validation_and_leaves_the_test_frames_alone(water, inline):
    (water / "test.extxyz").unlink()
    slow = '[methods.slow]\nstage = "pretrain"\nconfig = "pretrain.toml"\nset = ["optimizer.lr=1e-9"]\n'
    long = '[methods.long]\nstage = "pretrain"\nconfig = "pretrain.toml"\nsteps = 150\n'
    (water / "curve.toml").write_text(
        COMMON.replace("[methods", "search = true\nbaseline = 'slow'\n[methods") + slow + long
    )
    rows = run(water, "sizes=[10]")
    assert {r["budget"] for r in rows if r["method"] == "long"} == {"150"} and not any("test" in key for key in rows[0])
    lines = [line for line in (water / "curve" / "table.md").read_text().splitlines() if line.startswith("| 10")]
    assert [line.split(" | ")[1] for line in lines] == ["long", "scratch", "slow"]
    assert lines[2].split(" | ")[-3] == "1.000" and float(lines[0].split(" | ")[-3]) < 0.9


def test_a_method_may_have_fewer_sizes(water, inline):
    rows = run(water, 'methods.few={stage="pretrain", config="pretrain.toml", sizes=["all"]}', "seeds=[1]")
    assert [(row["frames"], row["method"]) for row in rows] == [("2", "scratch"), ("10", "scratch"), ("10", "few")]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sizes=[11]", r"got size 11; wanted at most 10"),
        ("sizes=[0]", r"sizes"),
        ("methods.scratch.sizes=[3]", r"sizes 3 of scratch that are among those of `sizes`"),
        ("seed=1", r"unknown key 'seed'.*did you mean 'seeds'"),
        ("baseline=stratch", r"baseline 'stratch' that is one of the methods: scratch"),
        ('methods."a b"={stage="pretrain", config="pretrain.toml"}', r"methods"),
        (
            'methods.b={stage="pretrain", config="pretrain.toml", set=["training.max_step=3"]}',
            r"mean 'training.max_steps'",
        ),
        ('methods.b={stage="pretrain", config="absent.toml"}', r"no file .*absent.toml"),
        ('methods.b={stage="finetune", config="finetune.toml"}', r"old/model.pt"),
        (
            'methods.b={stage="pretrain", config="pretrain.toml", set=["data.test=valid.extxyz"]}',
            r"other test frames for b",
        ),
        (
            'methods.b={stage="pretrain", config="pretrain.toml", set=["data.train=valid.extxyz"]}',
            r"other train frames",
        ),
        ("split_by=phase", r"data.split_by = \"phase\"|runs that failed"),
    ],
)
def test_what_does_not_fit_is_refused(water, inline, override, words):
    with pytest.raises((InputError, OSError), match=words):
        run(water, override)
    assert not inline or "split_by" in override


def test_a_curve_needs_test_frames_and_converging_validation_frames(water, inline):
    text = (water / "pretrain.toml").read_text()
    (water / "pretrain.toml").write_text(text.replace('test = "test.extxyz"\n', ""))
    with pytest.raises(InputError, match="got no test frames"):
        run(water)
    (water / "pretrain.toml").write_text(text.replace('valid = "valid.extxyz"\n', "valid_fraction = 0\n"))
    with pytest.raises(InputError, match="got no validation frames"):
        run(water, "converge={max_steps=8}")
    assert run(water, "sizes=[2]")[0]["valid_loss"] == ""


def test_kernels_follow_the_runs_of_their_backbones(water, inline):
    pretrain(load_config(PretrainConfig, water / "pretrain.toml"), water / "old")
    (water / "mekrr.toml").write_text(KERNEL)
    settings = ("seeds=[1]", "sizes=[4]", "keep_models=false", "split_by=set", "converge={max_steps=12, gain=0.0}")
    run(water, *settings)  # ends without a model: no kernel needs it yet
    assert not list(water.glob("curve/runs/*/*.pt"))
    inline.clear()
    (water / "curve.toml").write_text(COMMON + KERNELS)
    rows = run(water, *settings)
    names = ["classical-all-frames4-seed1", "scratch-all-frames4-seed1-steps6", "on_scratch-all-frames4-seed1-steps6"]
    assert sorted(inline[:2]) == sorted(names[:2]) and names[2] in inline[2:]
    found = {(row["method"], row["budget"], row["valid_loss"] == "") for row in rows}
    assert found == {
        ("scratch", "6", False),
        ("scratch", "12", False),
        ("classical", "0", True),
        ("on_scratch", "6", True),
    }
    runs = water / "curve" / "runs"
    models = [path.parent.name for path in runs.glob("*/*.pt")]
    assert models and all(name.startswith("scratch") for name in models)
    same = ["seed=1", "training.n_frames=4", "training.select=random", "backbone.layers=[0, 1]", "data.split_by=set"]
    backbone = f"backbone.model={runs / names[1] / 'model.pt'}"
    errors = mekrr(load_config(MekrrConfig, water / "mekrr.toml", [*same, backbone]), water / "alone").errors
    row = next(row for row in rows if row["method"] == "on_scratch")
    assert {"test", "test even", "test odd"} <= set(errors)
    for name, error in errors.items():
        assert float(row[f"{name.replace(' ', '_')}_force_mae_mev_per_A"]) == pytest.approx(error.mae("forces"))
    assert (water / "curve" / "table.md").read_text().count("on_scratch") >= 2

    inline.clear()
    assert len(run(water, *settings)) == len(rows) and not inline


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            'stage = "mekrr"\nbackbone = "other"',
            "backbone 'other' of wrong that is one of the trained methods: scratch",
        ),
        ('stage = "mekrr"\nsteps = 5', "no `steps` for stage mekrr"),
        ('stage = "finetune"\nbackbone = "scratch"', "other stages have no `backbone`"),
    ],
)
def test_keys_that_do_not_fit_a_kernel(water, method, message):
    (water / "curve.toml").write_text(COMMON + f'[methods.wrong]\nconfig = "mekrr.toml"\n{method}\n')
    with pytest.raises(InputError, match=message):
        load_config(CurveConfig, water / "curve.toml")


def test_names_of_runs_differ():
    job = Job("scratch", "all", 5, 1, 800)
    names = {
        job._replace(**change).name
        for change in ({}, {"labels": "energies"}, {"frames": 6}, {"seed": 2}, {"budget": 9})
    }
    assert len(names) == 5


def test_a_method_with_its_own_teacher(tmp_path, inline):
    """Real water frames: the classical model, its labels and the model pretrained on them are made once."""
    inputs = water_inputs()
    short = ["training.max_steps=4", "training.valid_every=4"]
    teach = (inputs / "teach.toml").read_text()
    teach = re.sub(r"(max_steps|ramp_steps|valid_every) = \d+", r"\1 = 5", teach)
    assert teach.count("= 5\n") == 3
    (tmp_path / "teach.toml").write_text(teach)
    (tmp_path / "curve.toml").write_text(
        f'''
out = "curve"
seeds = [1]
sizes = [1]
steps = 4
jobs = 1
converge = {{max_steps = 8, gain = 0.0}}
[methods.calibrated]
stage = "finetune"
config = "{inputs / "finetune.toml"}"
set = {short}
[methods.calibrated.teacher]
calibrate = "{inputs / "calibrate.toml"}"
generate = "{tmp_path / "classical.toml"}"
scale = 1.0
teach = "teach.toml"
'''
    )
    (tmp_path / "classical.toml").write_text(
        '[systems.dimer]\nkind = "dimer"\nframes = 30\n[systems.monomer]\nkind = "monomer"\nframes = 30\n'
    )
    config = load_config(CurveConfig, tmp_path / "curve.toml")
    curve(config, config.out)
    names = ["calibrated-all-frames1-seed1-steps4", "calibrated-all-frames1-seed1-steps8"]
    assert inline == names
    start = tmp_path / "curve" / "starts" / "calibrated-all-frames1-seed1"
    assert {path.name for path in start.iterdir()} == {"forcefield", "pretrained"}
    for name in names:
        record = json.loads((tmp_path / "curve" / "runs" / name / "run.json").read_text())["record"]
        assert record["config"]["transfer"]["start_from"] == str(start / "pretrained" / "model.pt")
    curve(config, config.out)
    assert inline == names
    with pytest.raises(InputError, match="stage finetune"):
        load_config(CurveConfig, tmp_path / "curve.toml", ["methods.calibrated.stage=pretrain"])


def test_one_curve_at_a_time(water):
    (water / "curve.toml").write_text(COMMON)
    lock = Lock(water / "curve")
    with pytest.raises(InputError, match=r"curve, in use by a run; wanted a free folder"):
        run(water)
    lock.close()


@pytest.mark.parametrize("name", ["metrics.csv", "errors.json"])
@pytest.mark.parametrize("content", ["", "{", "step,minutes\n1", "[1]"])
def test_damaged_runs_are_one_line(tmp_path, name, content):
    (tmp_path / "metrics.csv").write_text("step,minutes,valid_loss\n4,0.1,0.5\n")
    (tmp_path / "errors.json").write_text('{"test": {"n_frames": 3, "force_mae_mev_per_A": 1.0}}')
    job = Job("scratch", "all", 2, 1, 4)
    assert curves.run_row(job, tmp_path)["test_force_mae_mev_per_A"] == 1.0
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}, which is damaged; wanted .*delete the folder to start again"):
        curves.run_row(job, tmp_path)
