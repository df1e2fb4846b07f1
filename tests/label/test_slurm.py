"""Labels by a real Slurm of one node on the loopback; Debian's packages munge and slurm-wlm."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlmd.frames.read import read_frames
from tlmd.run import executor

SCRIPT = Path(__file__).with_name("slurm.sh")
INSTALLED = all(map(shutil.which, ("slurmctld", "slurmd", "munged")))
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets that parsl leaves open
    pytest.mark.skipif(os.getuid() != 0, reason="wants root: munged, slurmctld and slurmd are started"),
    pytest.mark.skipif(not (INSTALLED or shutil.which("apt-get")), reason="wants slurm-wlm and munge, or apt-get"),
]
TOML = """
[calculator]
name = "tblite"
[executor]
kind = "slurm"
jobs = 2
partition = "main"
walltime = "00:30:00"
limit_minutes = 5
"""


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True)
    if started.returncode and not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip(f"apt-get could not install slurm-wlm and munge: {started.stderr[-200:]}")
    assert not started.returncode, started.stderr
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield
    subprocess.run([SCRIPT, "stop", folder], check=True)


def queue() -> list[str]:
    return subprocess.run(["squeue", "-h", "-o", "%j"], capture_output=True, text=True, check=True).stdout.split()


def wait_for(condition, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_labels_and_nothing_left_in_the_queue(place, slurm, monkeypatch):
    place.write(place.waters(3), TOML)
    program = "from tlmd.cli import label; label()"
    process = subprocess.Popen([sys.executable, "-c", program, "label.toml"], cwd=place.path)
    wait_for(queue, 120)
    process.kill()
    process.wait()
    wait_for(lambda: not queue(), 60)
    monkeypatch.setattr(executor, "POLL_S", 0.5)
    labels = read_frames(place.run())
    said = (place.out / "log.txt").read_text()
    assert "Slurm jobs: 1 pending" in said or "Slurm jobs: 1 running" in said
    assert [frame.info["set"] for frame in labels] == ["w0", "w1", "w2"]
    assert all(frame.forces is not None for frame in labels)
    wait_for(lambda: not queue(), 60)
    assert "SLURM_JOB_ID" not in os.environ and list(place.out.glob("parsl/*/submit_scripts/*"))
