"""Workers: the modules of the package and of Python, whatever lies in the working folder."""

import json
import os

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
