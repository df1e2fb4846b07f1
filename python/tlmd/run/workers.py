"""A few worker processes that live long: each takes one call after another, so that Python and torch start once.

A worker is `python -P -m tlmd.run.workers`, not a process of multiprocessing, which would run the user's main module
again. Calls and their outcomes go through pipes, pickled.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.memory import keep_memory


class Workers:
    """Processes, one for each thread of an executor; started with the first call."""

    def __init__(self, n: int):
        self.executor = ThreadPoolExecutor(n)
        self.own = threading.local()
        self.processes: list[subprocess.Popen] = []

    def submit(self, function: Callable[..., None], *arguments: Any) -> Future:
        """Call a function of a module in a worker; its value is dropped, an InputError or OSError is raised here."""
        return self.executor.submit(self.call, function, *arguments)

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """`submit`, within a thread of the executor; a worker that died is replaced at the next call."""
        process = getattr(self.own, "process", None)
        if process is None or process.poll() is not None:
            command = [sys.executable, "-P", "-m", "tlmd.run.workers"]  # -P: not the modules of the working folder
            process = self.own.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=collective.alone(), start_new_session=True
            )
            self.processes.append(process)
        try:
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            error = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            raise InputError(
                f"a worker process that died (exit code {process.wait()})",
                "memory for all runs at once",
                "start again with fewer jobs: finished runs are kept",
            ) from None
        if error is not None:
            raise error

    def end(self) -> None:
        """End the workers, and what they have started, whatever they do."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid, signal.SIGKILL)
        self.executor.shutdown()
        for process in self.processes:
            process.communicate()


@contextmanager
def start_workers(n: int | None, threads: int) -> Iterator[Workers]:
    """`n` workers, by default as many as the cores have room for with `threads` each; they end with the context."""
    workers = Workers(n or max(1, len(os.sched_getaffinity(0)) // threads))
    try:
        yield workers
    finally:
        workers.end()


def main() -> None:
    """Take calls from the standard input until it ends; what they print is dropped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it as well, and ends this process
    threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
    keep_memory()
    calls, outcomes = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        try:
            function(*arguments)
            error = None
        except (InputError, OSError) as expected:
            error = expected
        except Exception:
            error = RuntimeError(traceback.format_exc())
        pickle.dump(error, outcomes)
        outcomes.flush()


def follow(parent: int) -> None:
    """End this process and what it has started, also within a run, when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
