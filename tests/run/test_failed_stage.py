"""A stage that fails on its input leaves no folder: the corrected TOML runs with the same --out; Ctrl-C."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlmd import cli

INPUTS = Path(__file__).parents[2] / "inputs" / "water"
STAGES = {
    "pretrain": ("scratch.toml", "data.train"),
    "finetune": ("finetune.toml", "data.train"),
    "mekrr": ("mekrr.toml", "data.train"),
    "calibrate": ("calibrate.toml", "data.train"),
    "generate": ("xtb.toml", "systems.liquid.file"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("content", ["cut short", "no frame", "absent"])
def test_bad_frames_leave_no_folder(stage, content, tmp_path, monkeypatch, capsys):
    toml, key = STAGES[stage]
    frames = tmp_path / "frames.extxyz"
    if content != "absent":
        frames.write_text({"cut short": "3\nLattice\nO 0 0 0\n", "no frame": "vasp.6.3.0\n"}[content])
    words = [f"tl-{stage}", INPUTS / toml, "--out", tmp_path / "run", "--set", f"{key}={frames}"]
    if stage == "generate":
        words += ["--set", 'systems={liquid = {kind = "file", frames = 1, file = "' + str(frames) + '"}}']
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as ended:
        getattr(cli, stage)()
    error = capsys.readouterr().err
    assert ended.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1, error
    assert "frames.extxyz" in error
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_that_the_same_command_goes_on_and_it_does(folder):
    """A real training of far more steps than there is time for, interrupted twice by a signal as Ctrl-C sends it."""
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tlmd.cli import pretrain"
    words = [sys.executable, "-c", f"{start}; pretrain()", "pretrain.toml", "--set", "training.max_steps=1000000"]
    log = folder / "run" / "log.txt"
    for awaited in ("step 20", "resumed at step"):
        process = subprocess.Popen([*words, "--out", "run"], cwd=folder, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while not (log.is_file() and awaited in log.read_text()) and time.monotonic() < until:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (130, "interrupted; the same command goes on\n")
    assert awaited in log.read_text()
