"""Several processes (torchrun, gloo): each takes every world-th frame of a batch; gradients and errors are summed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def processes() -> Iterator[None]:
    """The process group of torchrun, if this process was started by it."""
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if started:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        if started:
            dist.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        dist.barrier()


def total(tensor: Tensor) -> Tensor:
    """Sum over processes."""
    if world() == 1:
        return tensor
    result = tensor.detach().to("cpu", copy=True)
    dist.all_reduce(result)
    return result.to(tensor.device)


def agree(decision: bool) -> bool:
    """The decision of process 0, for all: what depends on the clock."""
    return bool(total(torch.tensor(float(decision and rank() == 0))))


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over processes; one message for all."""
    if world() == 1:
        return
    parameters = list(parameters)
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = total(torch.cat([g.reshape(-1) for g in grads]))
    for p, part in zip(parameters, flat.split([g.numel() for g in grads]), strict=True):
        p.grad = part.view_as(p).clone()
