"""The processes of one command, by mpirun or by torchrun: who is who, sums over all, and errors that end all.

A command knows one set of ranks: torchrun's process group within `processes()`, otherwise those of mpirun, otherwise
itself alone. Neither torch nor MPI is loaded by a command that runs alone.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tlmd.run.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Result = TypeVar("Result")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")  # of mpirun (MPICH, Open MPI) and srun
LAUNCHERS = (
    "PMI",
    "OMPI_",
    "HYDRA_",
    "MPI",
    "TORCHELASTIC_",
    "SLURM_STEP_NUM_TASKS",
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
)
FAILED = 911  # tag of the messages of ranks that have failed
PATIENCE_S = 2.0  # how long a rank that has failed waits for the same of all others


@contextmanager
def processes() -> Iterator[None]:
    """The process group of torchrun, if this process was started by it."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    import torch.distributed as dist

    started = not dist.is_initialized()
    if started:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        if started:
            dist.destroy_process_group()


def alone() -> dict[str, str]:
    """The environment for a process that is not one of the ranks: without what mpirun or torchrun told this one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}


def _torch():
    """torch.distributed, if torchrun's process group is there."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _mpi():
    """mpi4py.MPI, if mpirun started this process or somebody has loaded it already."""
    started = any(int(os.environ.get(name, "1")) > 1 for name in SIZES)
    if not started and "mpi4py.MPI" not in sys.modules:
        return None
    from mpi4py import MPI

    return None if MPI.Is_finalized() else MPI


def rank() -> int:
    """Number of this process; 0 writes files and speaks."""
    if dist := _torch():
        return dist.get_rank()
    return mpi.COMM_WORLD.rank if (mpi := _mpi()) else 0


def world() -> int:
    """Number of processes."""
    if dist := _torch():
        return dist.get_world_size()
    return mpi.COMM_WORLD.size if (mpi := _mpi()) else 1


def barrier() -> None:
    """Wait for all processes."""
    if dist := _torch():
        dist.barrier()
    elif mpi := _mpi():
        mpi.COMM_WORLD.Barrier()


def waiting(every_s: float = 0.1) -> Iterator[None]:
    """Wait for all processes as `barrier` does, and yield now and then meanwhile."""
    mpi = None if _torch() else _mpi()
    if mpi is None:
        barrier()
        return
    request = mpi.COMM_WORLD.Ibarrier()
    while not request.Test():
        time.sleep(every_s)
        yield


def gather(value: Result) -> list[Result]:
    """The values of all processes, by rank, on all of them."""
    if dist := _torch():
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, value)
        return found
    return mpi.COMM_WORLD.allgather(value) if (mpi := _mpi()) else [value]


def total(tensor: Tensor) -> Tensor:
    """Sum over processes."""
    if world() == 1:
        return tensor
    result = tensor.detach().to("cpu", copy=True).contiguous()
    add_up(result)
    return result.to(tensor.device)


def add_up(tensor: Tensor) -> None:
    """Replace a contiguous tensor on the CPU by its sum over processes."""
    if dist := _torch():
        dist.all_reduce(tensor)
    elif mpi := _mpi():
        mpi.COMM_WORLD.Allreduce(mpi.IN_PLACE, tensor.numpy())


def agree(decision: bool) -> bool:
    """The decision of process 0, for all: what depends on the clock."""
    return gather(decision)[0]


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over processes; one message for all."""
    if world() == 1:
        return
    import torch

    parameters = list(parameters)
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = total(torch.cat([g.reshape(-1) for g in grads]))
    for p, part in zip(parameters, flat.split([g.numel() for g in grads]), strict=True):
        p.grad = part.view_as(p).clone()


def together(work: Callable[[], Result]) -> list[Result]:
    """The results of `work()` on all ranks, by rank; an error of one rank is raised on all, once all have come here.

    `work` must not communicate: what one rank waits for within it, a rank that failed does not send (then `end` ends
    all of them, when the error reaches the command).
    """
    if world() == 1:
        return [work()]
    result, error = None, None
    try:
        result = work()
    except (InputError, OSError, MemoryError) as caught:
        error = caught
    outcomes = gather((result, error))
    for _, error in outcomes:
        if error is not None:
            error.everywhere = True  # all ranks raise it: nobody is left waiting
            raise error
    return [result for result, _ in outcomes]


def on_main(work: Callable[[], Result]) -> Result:
    """The result of `work()`, which rank 0 alone does, on all ranks; its error likewise."""
    return together(lambda: work() if rank() == 0 else None)[0]


def end(text: str, code: int, error: BaseException | None = None) -> NoReturn:
    """End this command on all ranks with exit code `code` and `text` on stderr, once.

    A rank that fails alone waits a moment for the same of the others (a bad TOML fails everywhere); if they go on, they
    would wait for it for ever, so that it speaks and ends them.
    """
    mpi = None if _torch() else _mpi()
    comm = mpi.COMM_WORLD if mpi else None
    if comm is None or comm.size == 1:
        if not (getattr(error, "everywhere", False) and int(os.environ.get("RANK", "0")) > 0):  # torchrun's
            print(text, file=sys.stderr)
        sys.exit(code)
    failed = set(range(comm.size)) if getattr(error, "everywhere", False) else _failed(mpi)
    if comm.rank == min(failed):
        print(text, file=sys.stderr, flush=True)
    if len(failed) == comm.size:
        sys.exit(code)
    sys.stdout.flush()
    time.sleep(0.2)  # so that the rank that speaks has spoken
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI_Abort adds nothing to the one line
    comm.Abort(code)
    sys.exit(code)


def _failed(mpi) -> set[int]:
    """The ranks that have failed by now or within PATIENCE_S, this one among them."""
    comm, failed, until = mpi.COMM_WORLD, {mpi.COMM_WORLD.rank}, time.monotonic() + PATIENCE_S
    requests = [comm.isend(None, dest=other, tag=FAILED) for other in range(comm.size) if other != comm.rank]
    while len(failed) < comm.size and time.monotonic() < until:
        status = mpi.Status()
        if comm.iprobe(source=mpi.ANY_SOURCE, tag=FAILED, status=status):
            comm.recv(source=status.Get_source(), tag=FAILED)
            failed.add(status.Get_source())
        else:
            time.sleep(0.01)
    mpi.Request.testall(requests)
    return failed


def end_unexpected() -> None:
    """After an error that nobody expected: its traceback, and the end of all ranks, which would wait for ever."""
    if world() > 1 and not _torch():
        traceback.print_exc()
        _mpi().COMM_WORLD.Abort(1)
        os._exit(1)
