"""Shell scripts run several at once, on this machine or by Slurm, through parsl (Babuji et al., HPDC 2019).

A script is a job: a process group of its own with a limit of its wall time. One that fails is an outcome like any
other. Every process that is started carries MARK in its environment. When the command ends in whatever way, also by
kill -9, the guard, a process that waits for that, ends all that carry it, and cancels its Slurm jobs.
"""

from __future__ import annotations

import datetime
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union

import psutil
from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from tlmd.run import collective
from tlmd.run.config import Section
from tlmd.run.errors import InputError
from tlmd.run.quantities import Minutes, Threads

MARK = "TLMD_EXECUTOR"
JOB = "TLMD_JOB"
SECONDS = "TLMD_SECONDS"  # wall time of the job, for scripts that end themselves in time
GRACE_S = 5.0  # between SIGTERM and SIGKILL
SPARE_S = 60  # of the wall time of a Slurm job, for its start and end
POLL_S = 60.0  # between two looks at the queue of Slurm, while no job ends
SLURM_TIMEOUT_S = 120  # of sbatch, squeue and scancel: busy controllers answer late


def _text_of_time(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.time) else value  # 12:00:00 without quotes is a time in TOML


Walltime = Annotated[str, BeforeValidator(_text_of_time), StringConstraints(pattern=r"^\d+:[0-5]\d:[0-5]\d$")]


class JobsConfig(Section):
    """What both kinds of executors have."""

    jobs: Threads = Field(1, description="jobs at once; kind slurm: on each node")
    cores: Threads = Field(1, description="cores of each job")
    limit_minutes: Minutes = Field(240.0, description="wall time of one job, after which it is ended")
    minutes: Minutes | None = Field(
        None, description="wall time of the command: no job is started that would not end in it; absent: no limit"
    )
    setup: list[str] = Field([], description='lines of shell before each job, e.g. ["module load cp2k/2024.1"]')


class LocalConfig(JobsConfig):
    """This machine."""

    kind: Literal["local"] = "local"

    @property
    def slots(self) -> int:
        """Jobs at once."""
        return self.jobs


class SlurmConfig(JobsConfig):
    """Slurm: jobs of one node each, as many as there is work for. The command stays on the login node."""

    kind: Literal["slurm"]
    nodes: Threads = Field(1, description="nodes at once; each is a Slurm job of its own")
    partition: str | None = Field(None, description="of sbatch")
    account: str | None = Field(None, description="of sbatch")
    walltime: Walltime = Field("24:00:00", description="of a Slurm job, HH:MM:SS")
    memory_GB: Threads | None = Field(None, description="GB, of a node; absent: Slurm's default")
    options: list[str] = Field([], description='further lines of the job script, e.g. ["#SBATCH --qos=long"]')
    address: str | None = Field(
        None, description="of this machine, as the nodes see it; absent: all of its addresses are tried"
    )

    @model_validator(mode="after")
    def _a_job_fits(self) -> SlurmConfig:
        if self.drain_s <= 0:
            raise ValueError(f"limit_minutes at least {SPARE_S / 60:g} minutes shorter than walltime")
        return self

    @property
    def slots(self) -> int:
        """Jobs at once."""
        return self.jobs * self.nodes

    @property
    def drain_s(self) -> int:
        """Seconds after which a Slurm job takes no more work: a job that starts then still ends in its wall time."""
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return int(3600 * hours + 60 * minutes + seconds - 60 * self.limit_minutes - SPARE_S)


def _local_by_default(table: Any) -> Any:
    return {"kind": "local"} | table if isinstance(table, dict) else table


AnyExecutorConfig = Annotated[
    Union[LocalConfig, SlurmConfig], Field(discriminator="kind"), BeforeValidator(_local_by_default)
]


class Job(NamedTuple):
    """A shell script that is run in its folder; what it prints goes to `log` there."""

    name: str
    script: Path
    log: Path


class Outcome(NamedTuple):
    """code: exit code of the script, None if it did not end by itself; then `why`. started: False if it never ran."""

    code: int | None
    seconds: float
    why: str = ""
    started: bool = True


def run_jobs(
    config: JobsConfig,
    jobs: Iterable[Job],
    folder: Path,
    say: Callable[[str], None] = lambda text: None,
    resumable: bool = False,
) -> Iterator[tuple[Job, Outcome]]:
    """Run the jobs; yield each with its outcome as it ends. Jobs that are not yielded were not started in time.

    folder: where parsl keeps its logs
    say: gets a line when the states of the Slurm jobs change
    resumable: the jobs end themselves in the time that SECONDS says, and go on later: they start however little is left

    Raises InputError if the executor itself fails, e.g. if sbatch refuses every job.
    """
    until = None if config.minutes is None else time.time() + 60 * config.minutes
    waiting, running, longest, said = iter(jobs), {}, 0.0, ""
    with _started(config, folder) as (submit, states):
        while True:
            while len(running) < config.slots and (until is None or time.time() + longest < until):
                job = next(waiting, None)
                if job is None:
                    break
                running[submit(job, 60 * config.limit_minutes, until)] = job
            if not running:
                return
            done = wait(running, POLL_S, FIRST_COMPLETED).done
            if isinstance(config, SlurmConfig) and not done and said != (found := states()):
                said = found
                say(f"Slurm jobs: {said}")
            for future in done:
                job, outcome = running.pop(future), _outcome(future)
                longest = 0.0 if resumable else max(longest, outcome.seconds)
                if outcome.started:
                    yield job, outcome


def _outcome(future: Any) -> Outcome:
    """What a job's future holds; a worker that was lost is the job's failure, an executor that failed is not."""
    error = future.exception()
    if error is None:
        return Outcome(*future.result())
    words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if type(error).__name__ in ("WorkerLost", "ManagerLost"):
        return Outcome(None, 0.0, f"the process or node that ran it was lost ({words})")
    raise InputError(f"an executor that failed ({words})", "jobs that run", "see the logs in parsl/ of the run folder")


@contextmanager
def _started(config: JobsConfig, folder: Path) -> Iterator[Any]:
    """Functions that submit a job to parsl, and that count the jobs of the pool of workers by their state.

    Everything that was started ends with the context.
    """
    from parsl import python_app
    from parsl.dataflow.dflow import DataFlowKernel

    mark = uuid.uuid4().hex[:12]
    guard = _start_guard(mark)
    before, alone = dict(os.environ), collective.alone()  # jobs are no ranks of ours
    os.environ.clear()
    os.environ.update(alone | {MARK: mark, "SPT_NOENV": "1"})  # setproctitle would write over the mark
    kernel = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kernel = DataFlowKernel(_parsl_config(config, folder.absolute(), mark))
        app = python_app(run_script, data_flow_kernel=kernel)
        pool = kernel.executors[f"tlmd-{mark}"]
        yield (
            lambda job, limit, until: app(str(job.script), str(job.log), limit, until),
            lambda: _counted(status.state.name for status in pool.status().values()),
        )
    finally:
        try:
            if kernel is not None:
                _close(kernel)
        finally:
            os.environ.clear()
            os.environ.update(before)
            guard.communicate()  # its input ends; it ends what is left


def _parsl_config(config: JobsConfig, folder: Path, mark: str) -> Any:
    """parsl's configuration: one pool of workers on this machine, or one in each Slurm job."""
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LocalProvider, SlurmProvider

    module = f"{sys.executable} -P -m parsl.executors.high_throughput."
    settings: dict[str, Any] = {"address": "127.0.0.1", "heartbeat_period": 5, "heartbeat_threshold": 30}
    if isinstance(config, SlurmConfig):
        if not shutil.which("sbatch"):
            raise InputError("executor.kind = slurm without sbatch", "Slurm's commands", "run on its login node")
        settings = {"address": config.address or "127.0.0.1", "drain_period": config.drain_s}
        provider = SlurmProvider(
            partition=config.partition,
            account=config.account,
            walltime=config.walltime,
            cores_per_node=config.jobs * config.cores,
            mem_per_node=config.memory_GB,
            init_blocks=0,
            max_blocks=config.nodes,
            scheduler_options="\n".join(config.options),
            cmd_timeout=SLURM_TIMEOUT_S,
            exclusive=False,
            launcher=SimpleLauncher(),
        )
    else:
        provider = LocalProvider(init_blocks=1, max_blocks=1, launcher=SimpleLauncher())
    executor = HighThroughputExecutor(
        label=f"tlmd-{mark}",
        provider=provider,
        max_workers_per_node=config.jobs,
        cores_per_worker=1e-3,  # the number of jobs is the user's choice
        launch_cmd=DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", f"{module}process_worker_pool"),
        interchange_launch_cmd=["setsid", *f"{module}interchange".split(" ")],  # Ctrl-C is for the command alone
        encrypted=True,
        **settings,
    )
    if isinstance(config, SlurmConfig) and config.address is None:
        interfaces = psutil.net_if_addrs().values()  # parsl alone would also ask a web service for our address
        executor.all_addresses = {a.address for known in interfaces for a in known if a.family == socket.AF_INET}
        executor.address = None  # it listens on all of them
    return Config(executors=[executor], run_dir=str(folder), retries=1, usage_tracking=0, max_idletime=30.0)


def _counted(states: Iterable[str]) -> str:
    """E.g. "1 pending, 2 running"."""
    found = Counter(state.lower() for state in states)
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items())) or "none yet"


def _close(kernel: Any) -> None:
    """End parsl, and close its log, which it leaves open."""
    logs = [handler for handler in logging.getLogger("parsl").handlers if isinstance(handler, logging.FileHandler)]
    kernel.cleanup()
    for handler in logs:
        handler.close()


def run_script(script: str, log: str, limit_s: float, until: float | None) -> tuple[int | None, float, str, bool]:
    """On the worker: run a script in its folder, end it and all that it has started after its limit; an Outcome."""
    began = time.monotonic()
    seconds = limit_s if until is None else min(limit_s, until - time.time())
    if seconds <= 0:
        return None, 0.0, "no time left", False
    mark = uuid.uuid4().hex
    with open(log, "wb") as out:
        process = subprocess.Popen(
            ["sh", script],
            cwd=os.path.dirname(script),
            env=os.environ | {JOB: mark, SECONDS: f"{seconds:.0f}"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code, why, started = None, "", True
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            started = seconds == limit_s  # else the command's time has ended, which is not the job's failure
            why = f"not ended after {seconds / 60:.3g} minutes"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        finally:
            end_marked(JOB, mark)
            process.wait()
    return code, time.monotonic() - began, why, started


def end_marked(name: str, value: str) -> None:
    """SIGKILL to every process, but this one, whose environment has `name` = `value`; until there is none."""
    while True:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                ended = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
                if not ended and process.environ().get(name) == value:
                    process.kill()
                    found.append(process)
        if not found:
            return
        psutil.wait_procs(found, timeout=1)


def _start_guard(mark: str) -> subprocess.Popen:
    """The process that ends what carries the mark when this process is gone, or closes its standard input."""
    command = [sys.executable, "-P", "-m", "tlmd.run.executor", mark]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def guard(mark: str) -> None:
    """Wait for the end of the standard input; then cancel the Slurm jobs and end the processes that carry the mark."""
    sys.stdin.buffer.read()
    if shutil.which("squeue"):
        with suppress(subprocess.SubprocessError):
            listed = subprocess.run(["squeue", "--me", "-h", "-o", "%A %j"], capture_output=True, text=True, timeout=60)
            jobs = re.findall(rf"^(\d+) .*tlmd-{mark}", listed.stdout, flags=re.MULTILINE)
            if jobs:
                subprocess.run(["scancel", *jobs], capture_output=True, timeout=60)
    end_marked(MARK, mark)


if __name__ == "__main__":
    guard(sys.argv[1])
