"""Workers: the modules of the package and of Python, whatever lies in the working folder."""

import json
import os
import subprocess
import sys
import time

import pytest

from tlmd.run import collective
from tlmd.run.config import StageConfig, load_config
from tlmd.run.errors import InputError
from tlmd.run.memory import keep_memory
from tlmd.run.workers import start_workers


def test_modules_of_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    for name in ("random", "statistics", "pickle", "numpy", "ase", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'imported')!r}, 'w').close()\nraise SystemExit(3)\n"
        )
    monkeypatch.chdir(tmp_path)
    with start_workers(1, 1) as workers:
        workers.submit(keep_memory).result(timeout=120)
    assert not (tmp_path / "imported").exists()


def test_an_input_error_is_raised_here():
    with start_workers(1, 1) as workers, pytest.raises(InputError, match="no file absent.toml"):
        workers.submit(load_config, StageConfig, "absent.toml").result(timeout=120)


def test_a_worker_is_none_of_the_ranks(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not {"PMI_SIZE", "PMI_RANK", "WORLD_SIZE"} & set(collective.alone())
    with start_workers(1, 1) as workers:
        workers.submit(collective.agree, True).result(timeout=120)


def test_workers_report_errors_and_are_replaced():
    with start_workers(1, 1) as workers:
        assert workers.submit(print, "nothing to see").exception() is None
        assert isinstance(workers.submit(os.listdir, "/no/such/folder").exception(), FileNotFoundError)
        assert "JSONDecodeError" in str(workers.submit(json.loads, "x").exception())
        died = workers.submit(os._exit, 3).exception()
        assert isinstance(died, InputError) and "died (exit code 3)" in str(died)
        assert workers.submit(os.getpid).exception() is None
        processes = workers.processes
    assert len(processes) == 2 and all(process.poll() is not None for process in processes)


PARENT = """
import subprocess, sys
from tlmd.run.workers import start_workers
with start_workers(1, 1) as workers:
    call = workers.submit(subprocess.call, ["sleep", sys.argv[1]])
    if sys.argv[2] == "wait":
        call.result()
    while not subprocess.run(["pgrep", "-fx", f"sleep {sys.argv[1]}"], stdout=subprocess.DEVNULL).returncode == 0:
        pass
"""


@pytest.mark.parametrize("how", ["end", "wait"])
def test_what_a_worker_has_started_ends_with_it(how):
    """When its parent leaves the context, and when its parent is killed."""
    seconds = f"{300 + os.getpid() / 1e7:.7f}"  # a process that can be told from others

    def there():
        return subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], stdout=subprocess.DEVNULL).returncode == 0

    parent = subprocess.Popen([sys.executable, "-P", "-c", PARENT, seconds, how])
    if how == "wait":
        while not there():
            assert parent.poll() is None
        parent.kill()
    parent.wait(timeout=120)
    for _ in range(300):
        if not there():
            return
        time.sleep(0.1)
    raise AssertionError("still there")
