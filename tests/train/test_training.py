"""The loop: resume, several processes, full disk, run folder, schedules; on tiny models."""

import csv
import os
import platform
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tlmd.evaluate.file import evaluate_file
from tlmd.modelfile import load_model, read_card
from tlmd.run import collective
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder, to_toml
from tlmd.train.checkpoint import load_checkpoint, save_checkpoint
from tlmd.train.config import OptimizerConfig, PretrainConfig
from tlmd.train.pretrain import pretrain
from tlmd.train.schedule import Average, Schedule

COMMAND = [sys.executable, "-c", "from tlmd.cli import pretrain; pretrain()"]


def run(folder, name="run", *overrides):
    return pretrain(load_config(PretrainConfig, folder / "pretrain.toml", overrides), folder / name)


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def same_weights(a, b) -> bool:
    first, second = (load_model(path)[0].state_dict() for path in (a, b))
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_learns_and_leaves_its_folder(folder):
    result = run(folder, "run", "training.max_steps=120", "training.valid_every=40")
    table = rows(folder / "run")
    assert [int(row["step"]) for row in table] == [40, 80, 120]
    keys = "step epoch minutes lr train_loss valid_loss valid_energy_rmse valid_force_rmse valid_stress_rmse"
    assert " ".join(table[0]) == keys
    assert float(table[-1]["valid_force_rmse"]) < 0.5 * result_of_zero(folder)
    for name in ("model.pt", "checkpoint.pt", "config.toml", "log.txt", "run.json", "errors.json", "history.png"):
        assert (folder / "run" / name).stat().st_size > 0
    assert (folder / "run" / "parity_valid.png").read_bytes().startswith(b"\x89PNG")
    assert not list((folder / "run").glob(".*.tmp"))
    card = read_card(folder / "run" / "model.pt")
    assert card.elements == ["H", "O"] and card.training_data == "train.extxyz, 10 frames"
    assert card.held_out_errors["valid"] == result.errors["valid"].to_json()
    again = load_config(PretrainConfig, folder / "run" / "config.toml")
    assert again.training.max_steps == 120 and again.data.train.name == "train.extxyz"


def result_of_zero(folder) -> float:
    """Force RMSE in meV/A of a model that predicts no forces."""
    from tlmd.frames.read import read_frames

    forces = np.concatenate([frame.forces for frame in read_frames(folder / "valid.extxyz")])
    return 1e3 * float(np.sqrt(np.mean(forces**2)))


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_a_first_layer_of_its_own_radius_is_trained(folder, backend):
    """Its file is one of both radii; errors come from frames whose graphs reach as far."""
    result = run(folder, "run", "model.first_cutoff=4.5", f'training.backend="{backend}"')
    model, card = load_model(folder / "run" / "model.pt")
    assert (card.cutoff, card.reach, model.cutoff, model.net.first_basis.cutoff) == (3.0, 4.5, 4.5, 4.5)
    errors = evaluate_file(folder / "run" / "model.pt", folder / "valid.extxyz")[0]
    assert errors.rmse("forces") == pytest.approx(result.errors["valid"].rmse("forces"), rel=1e-4)
    start = run(folder, "start", "model.first_cutoff=4.5", f'training.backend="{backend}"', "training.max_steps=1")
    assert errors.rmse("forces") < start.errors["valid"].rmse("forces")


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(folder):
    settings = ("training.max_steps=70", "training.valid_every=7", "training.n_frames=8", "training.batch_frames=2")
    steps = [part for setting in settings for part in ("--set", setting)]
    command = [*COMMAND, "pretrain.toml", *steps, "--out"]
    straight = subprocess.run([*command, "straight"], cwd=folder, capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr
    kills = 0
    for rows_before_kill in (2, 5):
        process = subprocess.Popen([*command, "killed"], cwd=folder, stdout=subprocess.DEVNULL)
        metrics = folder / "killed" / "metrics.csv"
        while process.poll() is None:
            if metrics.exists() and metrics.read_text().count("\n") > rows_before_kill:
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.002)
    at_kill = load_checkpoint(folder / "killed" / "checkpoint.pt")["step"]
    assert kills == 2 and 0 < at_kill < 70
    resumed = subprocess.run([*command, "killed"], cwd=folder, capture_output=True, text=True)
    assert f"resumed at step {at_kill}" in resumed.stdout, resumed.stderr
    assert same_weights(folder / "straight" / "model.pt", folder / "killed" / "model.pt")
    without_clock = [[{**row, "minutes": ""} for row in rows(folder / name)] for name in ("straight", "killed")]
    assert without_clock[0] == without_clock[1] and len(without_clock[0]) == 10


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
def test_two_processes_equal_one_with_the_double_batch(folder, launcher):
    common = ["pretrain.toml", "--set", 'training.dtype="float64"', "--set", "training.max_steps=10"]
    script = folder / "script.py"
    script.write_text("from tlmd.cli import pretrain\npretrain()\n")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    if launcher == "mpirun":
        words = [Path(sysconfig.get_path("scripts")) / "mpirun", "-n", "2", sys.executable, str(script)]
    words += [*common, "--out", "two"]
    two = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=collective.alone())
    assert two.returncode == 0, two.stderr
    assert '"processes": 2' in (folder / "two" / "run.json").read_text()
    run(folder, "one", "training.batch_frames=6", 'training.dtype="float64"', "training.max_steps=10")
    one, two = (load_model(folder / name / "model.pt")[0].state_dict() for name in ("one", "two"))
    assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-6) for key in one)
    for a, b in zip(rows(folder / "one"), rows(folder / "two"), strict=True):
        assert float(a["valid_loss"]) == pytest.approx(float(b["valid_loss"]), rel=1e-6)


def test_full_disk_leaves_the_old_files_whole(folder):
    run(folder)
    before = {name: (folder / "run" / name).read_bytes() for name in ("model.pt", "checkpoint.pt")}
    program = """
import resource, sys, torch
from pathlib import Path
from tlmd.modelfile import load_model, save_model
from tlmd.train.checkpoint import load_checkpoint, save_checkpoint
folder = Path(sys.argv[1])
model, card = load_model(folder / "model.pt")
state = load_checkpoint(folder / "checkpoint.pt")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
failed = 0
for write in (save_model, save_checkpoint):
    try:
        write(*((folder / "model.pt", model, card) if write is save_model else (folder / "checkpoint.pt", state)))
    except OSError:
        failed += 1
print(failed)
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder / "run")], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr
    assert all((folder / "run" / name).read_bytes() == content for name, content in before.items())
    assert not list((folder / "run").glob(".*.tmp"))


def test_run_folder_refuses_another_configuration_other_data_and_a_second_run(folder):
    run(folder)
    with pytest.raises(InputError, match=r"got optimizer\.lr = 0\.1; wanted 0\.005"):
        run(folder, "run", "optimizer.lr=0.1")
    text = (folder / "valid.extxyz").read_text()
    (folder / "valid.extxyz").write_text(text + text)
    with pytest.raises(InputError, match=r"data\.valid = .*valid\.extxyz with other content"):
        run(folder)
    config = load_config(PretrainConfig, folder / "pretrain.toml")
    first = RunFolder(folder / "other", "pretrain", config)
    with pytest.raises(InputError, match="in use by a run"):
        RunFolder(folder / "other", "pretrain", config)
    first.close()


def test_unknown_keys_and_impossible_choices_are_refused(folder):
    with pytest.raises(InputError, match=r"max_step.*did you mean 'training.max_steps'"):
        run(folder, "run", "training.max_step=3")
    with pytest.raises(InputError, match="at most 10"):
        run(folder, "run", "training.n_frames=11")
    with pytest.raises(InputError, match="model = a table in .*; wanted first_cutoff of at least the cutoff, 3 A"):
        run(folder, "run", "model.first_cutoff=2.5")
    with pytest.raises(InputError, match="wanted a device"):
        run(folder, "run", 'training.device="tpu9"')
    with pytest.raises(InputError, match=r"wanted a finite loss.*lower optimizer\.lr"):
        hot = ('references.method="isolated_atoms"', "references.energies={H=1e150, O=3e150}", "loss.energy=1e10")
        run(folder, "hot", *hot)


def test_damaged_and_newer_checkpoints_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="is no checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, {"step": 1, "format_version": 99})
    with pytest.raises(InputError, match="format 99"):
        load_checkpoint(path)


def test_checkpoint_restores_the_generator(tmp_path):
    torch.manual_seed(11)
    save_checkpoint(tmp_path / "c.pt", {"step": 3})
    first = torch.rand(4)
    assert load_checkpoint(tmp_path / "c.pt")["step"] == 3
    assert torch.equal(torch.rand(4), first)


def test_rows_beyond_the_checkpoint_and_cut_rows_are_dropped(folder):
    config = load_config(PretrainConfig, folder / "pretrain.toml")
    run_folder = RunFolder(folder / "r", "pretrain", config)
    for step in (5, 10, 15):
        run_folder.metrics({"step": step, "lr": 0.1})
    with open(folder / "r" / "metrics.csv", "a") as file:
        file.write("20,0")
    run_folder.rewind(10)
    run_folder.metrics({"step": 15, "lr": 0.2})
    run_folder.close()
    assert (folder / "r" / "metrics.csv").read_text() == "step,lr\n5,0.1\n10,0.1\n15,0.2\n"


def test_average_of_parameters():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    average, expected = Average([parameter], 0.9), np.array([1.0, -2.0])
    for step in range(200):
        with torch.no_grad():
            parameter += 0.1
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach().numpy()
        average.update(step)
    kept = parameter.detach().clone()
    with average.applied():
        assert np.allclose(parameter.detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(parameter.detach(), kept) and not np.allclose(kept.numpy(), expected)


def test_schedules():
    cosine = Schedule(OptimizerConfig(warmup_steps=4, final_factor=0.1), 104)
    assert [cosine.factor(s) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert (
        cosine.factor(4) == 1.0
        and cosine.factor(54) == pytest.approx(0.55)
        and cosine.factor(104) == pytest.approx(0.1)
    )
    plateau = Schedule(OptimizerConfig(schedule="plateau", warmup_steps=0, plateau_patience=1, final_factor=0.3), 100)
    factors = []
    for loss in (3.0, 2.0, 2.5, 2.4, 1.0, 1.1, 1.2, 1.3, 1.4):
        plateau.validated(loss)
        factors.append(plateau.factor(50))
    assert factors == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_early_stopping_and_time_limit(folder):
    patience = ("training.early_stopping=2", "training.valid_every=1", "optimizer.lr=1e-30", "training.max_steps=50")
    stopped = run(folder, "patience", *patience)
    assert stopped.steps == 3 and stopped.best_step == 1
    assert run(folder, "clock", "training.max_minutes=1e-6").steps == 1


def test_a_finished_run_is_not_trained_again(folder, capsys, monkeypatch):
    first = run(folder)
    model, now = (folder / "run" / "model.pt").read_bytes(), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 100)
    second = run(folder)
    assert (folder / "run" / "model.pt").read_bytes() == model  # what starts from it knows it by its hash
    assert "is complete; nothing to do" in capsys.readouterr().out
    assert len(rows(folder / "run")) == 3 and first.errors["valid"].to_json() == second.errors["valid"].to_json()


def test_best_parameters_are_saved(folder):
    result = run(folder, "run", "training.max_steps=40", "training.valid_every=5", "optimizer.lr=0.05")
    losses = [float(row["valid_loss"]) for row in rows(folder / "run")]
    assert result.best_step == 5 * (int(np.argmin(losses)) + 1)
    weights = load_config(PretrainConfig, folder / "pretrain.toml").loss
    reached = result.errors["valid"].loss((weights.energy, weights.forces, weights.stress))
    assert reached == pytest.approx(min(losses), rel=1e-6)


def test_without_validation_file_the_end_of_the_training_file_is_kept(folder):
    text = (folder / "pretrain.toml").read_text().replace('valid = "valid.extxyz"\n', "valid_fraction = 0.3\n")
    (folder / "pretrain.toml").write_text(text)
    errors = run(folder, "run", "training.max_steps=2").errors
    assert errors["train"].n_frames == 7 and errors["valid"].n_frames == 3


def test_isolated_atoms_and_tensorboard(folder):
    atoms = 'references={method="isolated_atoms", energies={H=-0.5, O=-2.0}}'
    result = run(folder, "run", atoms, "training.tensorboard=true")
    assert result.card.reference_energies == {} and result.model.reference.tolist() == [-0.5, -2.0]
    assert read_card(folder / "run" / "model.pt").reference_energies == {"H": -0.5, "O": -2.0}
    assert list((folder / "run" / "tensorboard").glob("events.*"))


def test_toml_copy_reads_back(tmp_path):
    import tomllib

    settings = {"seed": 1, "a": {"b": 'x"y\\z', "c": [1, 2.5], "d": {"messages.0": 0.5}, "e": None, "f": True}}
    assert tomllib.loads(to_toml(settings)) == {"seed": 1, "a": {k: v for k, v in settings["a"].items() if k != "e"}}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("setting", ["keep", "system"])
def test_keep_memory(setting):
    """glibc takes the settings, unless the environment says otherwise."""
    code = "from tlmd.run.memory import keep_memory; print(keep_memory())"
    run = subprocess.run([sys.executable, "-c", code], env=os.environ | {"TLMD_MALLOC": setting}, capture_output=True)
    assert run.stdout.decode().strip() == str(setting == "keep" and platform.libc_ver()[0] == "glibc")


def test_whole_trajectories_are_held_out(frames):
    from tlmd.frames.split import hold_out

    named = [frame.replace(info={"source": f"run {i // 4}"}) for i, frame in enumerate(frames)]
    train, valid = hold_out(named, 0.5)
    assert [frame.info["source"] for frame in valid] == ["run 1"] * 4 + ["run 3"] * 4
    assert len(train) == 8 and not {f.info["source"] for f in train} & {f.info["source"] for f in valid}
    train, valid = hold_out(frames, 0.25)
    assert train == frames[:12] and valid == frames[12:]
    kinds = [frame.replace(info={"kind": "ab"[i // 8], "source": f"run {i // 4 if i < 8 else 9}"}) for i, frame in
             enumerate(frames)]  # fmt: skip
    train, valid = hold_out(kinds, 0.25)  # too few runs of each kind: the ends of both
    assert [kinds.index(frame) for frame in valid] == [*range(6, 8), 14, 15]
    assert len(train) == 12


def test_plateau_goes_by_validation_frames(folder):
    settings = ['optimizer.schedule="plateau"', "data.valid_fraction=0"]
    text = (folder / "pretrain.toml").read_text().replace('valid = "valid.extxyz"\n', "")
    (folder / "pretrain.toml").write_text(text)
    with pytest.raises(InputError, match='optimizer.schedule = "plateau" without validation frames; wanted some'):
        run(folder, "run", *settings)
    assert not (folder / "run" / "model.pt").exists()


def test_a_device_that_cannot_train(folder):
    for device in ("meta", "cuda:99", "nonsense"):
        with pytest.raises(InputError, match=f'training.device = "{device}"; wanted a device that this torch can use'):
            run(folder, "run", f'training.device="{device}"')
