"""Errors of one rank or of all end every rank, in one line and within seconds; by the real mpirun and torchrun."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

MPIRUN = Path(sysconfig.get_path("scripts")) / "mpirun"
PROGRAM = """
import sys
from tlmd.run import collective
from tlmd.run.command import entry
from tlmd.run.errors import InputError

@entry
def main(case: str) -> None:
    with collective.processes():
        rank = collective.rank()
        if case == "all":
            raise InputError("a bad file", "b", "c")
        if case == "main":
            collective.on_main(lambda: open("/nonexistent/x"))
        if case == "last alone":
            if rank == 1:
                raise InputError("a bad frame", "b", "c")
            collective.barrier()
        if case == "main alone" and rank == 0:
            raise OSError(28, "No space left on device")
        for _ in collective.waiting():
            pass
        if case == "sums":
            import torch
            assert collective.world() == 2 and collective.gather(rank) == [0, 1]
            assert float(collective.total(torch.tensor(rank + 1.0))) == 3.0
            assert collective.agree(rank == 0) and not collective.agree(rank == 1)
            assert collective.together(lambda: 2 * rank) == [0, 2]

main()
"""


def run(command, folder, *arguments):
    """Run `command` on two ranks; a hang fails the test."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "MPI", "HYDRA"))}
    words = [MPIRUN, "-n", "2", sys.executable, *command, *arguments]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def stage(name):
    return ("-c", f"from tlmd.cli import {name}; {name}()")


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("all", "error: got a bad file; wanted b; c\n"),
        ("main", "error: /nonexistent/x: no such file or directory\n"),
        ("last alone", "error: got a bad frame; wanted b; c\n"),
        ("main alone", "error: no space left on device; make room, then the same command goes on\n"),
        ("sums", ""),
    ],
)
def test_an_error_of_any_rank_ends_all_in_one_line(tmp_path, case, line):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run(["program.py"], tmp_path, case)
    assert (done.returncode, done.stderr) == (int(bool(line)), line)


def test_torchrun_has_the_same_ranks(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "program.py"]
    done = subprocess.run([*launcher, "sums"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*launcher, "main"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert done.stderr.count("error: /nonexistent/x: no such file or directory") == 1


def test_generate_ends_on_all_ranks_where_the_folder_is_a_file(tmp_path):
    (tmp_path / "monomer.toml").write_text('[systems.monomer]\nkind = "monomer"\nframes = 5\n')
    (tmp_path / "taken").write_text("")
    done = run(stage("generate"), tmp_path, "monomer.toml", "--out", "taken")
    line = "error: got taken, which is not a folder; wanted a run folder; choose another --out\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_generate_ends_on_all_ranks_where_the_disk_is_full(tmp_path):
    (tmp_path / "monomer.toml").write_text('[systems.monomer]\nkind = "monomer"\nframes = 5\n')
    program = "import resource\nfrom mpi4py import MPI\nfrom tlmd.cli import generate\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\ngenerate()"  # run.json is longer
    done = run(("-c", program), tmp_path, "monomer.toml", "--out", "out")
    assert (done.returncode, done.stderr) == (1, "error: out/run.json: file too large\n")
    done = run(stage("generate"), tmp_path, "monomer.toml", "--out", "out")
    assert done.returncode == 0 and (tmp_path / "out" / "frames.extxyz.xz").is_file(), done.stderr


def test_mekrr_ends_on_all_ranks_in_the_folder_of_another_run(folder):
    from tlmd.run.config import load_config
    from tlmd.train.config import PretrainConfig
    from tlmd.train.pretrain import pretrain

    overrides = ["training.max_steps=2", "training.plots=false"]
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", overrides), folder / "old")
    text = '[data]\ntrain = "train.extxyz"\nvalid = "valid.extxyz"\n[backbone]\nmodel = "old/model.pt"\n'
    (folder / "mekrr.toml").write_text(text + "[kernel]\nn_features = 16\n[training]\nplots = false\nthreads = 1\n")
    done = run(stage("mekrr"), folder, "mekrr.toml", "--out", "fit")
    assert done.returncode == 0, done.stderr
    done = run(stage("mekrr"), folder, "mekrr.toml", "--out", "fit", "--set", "seed=5")
    assert done.returncode == 1
    assert done.stderr.startswith("error: got seed = 5; wanted 1, as in the run that fit holds;")
    assert done.stderr.count("\n") == 1
    (folder / "fit" / "sums-train.pt").write_bytes(b"")
    (folder / "fit" / "model.pt").unlink()
    done = run(stage("mekrr"), folder, "mekrr.toml", "--out", "fit")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "sums-train.pt, which is damaged" in done.stderr
