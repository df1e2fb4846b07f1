"""The members of a committee, and what their deviations mean.

Member 1 is the run folder itself. Members k = 2, ..., K lie in its members/k, each a run folder of tl-finetune with the
same frames and from the same start, but with a readout made anew and another order of frames: another seed alone makes
members that agree where all are wrong (docs/results/uncertainty.md).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from tlmd.committee import Committee, deviations
from tlmd.evaluate.dataset import FrameSet
from tlmd.modelfile import member_files
from tlmd.models.network import Network
from tlmd.models.potential import dtype_of
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.run.workers import Workers
from tlmd.train.config import FinetuneConfig

QUANTILE = 0.999  # of the deviations of atoms
DUMP, HALT = 1.5, 3.0  # in units of that: docs/results/uncertainty.md
JUDGED = 200  # frames, at most, that the quantile is taken from


def seed_of(config: FinetuneConfig) -> int:
    """The seed of what tells members apart; that of the configuration for the first one."""
    if config.member is None:
        return config.seed
    return int(np.random.default_rng([config.seed, config.member]).integers(2**62))


@torch.no_grad()
def tell_apart(net: Network, config: FinetuneConfig) -> None:
    """New random values for the readout of `net`, if it is of a member but the first.

    InputError, also for the first one, if the readout has no layers that can be made anew or if they are frozen.
    """
    if config.member is None and (config.committee or 1) < 2:
        return
    called: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda module, *_: called.append(module)) for module in net.modules()]
    net.readout(torch.zeros(1, net.width, dtype=dtype_of(net)))
    for hook in hooks:
        hook.remove()
    layers = [module for module in called if hasattr(module, "reset_parameters")]
    if not layers or not all(p.requires_grad for layer in layers for p in layer.parameters()):
        got = "a committee of a network whose readout is frozen or has no layers to make anew"
        raise InputError(got, "a readout that learns", "take it out of transfer.freeze, or leave out committee")
    if config.member is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(config))
            for layer in layers:
                layer.reset_parameters()


class Members:
    """The members but the first one, trained by `train(config, folder)` in processes beside this one while it is in
    its `with` block, which trains the first; `wait` ends when all have ended.

    Killed with this process, and resumed with it. With one job, and among ranks of mpirun or torchrun, which share each
    member, they are trained one after another in `wait`.
    """

    def __init__(self, config: FinetuneConfig, out: Path, train: Callable[[FinetuneConfig, Path], Any]):
        self.train = train
        self.todo: deque[tuple[FinetuneConfig, Path]] = deque()
        for k, model in enumerate(member_files(out / "model.pt", config.committee or 1)[1:], start=2):
            stability = config.stability.model_copy(update={"ps": 0.0})
            own = {"committee": None, "committee_jobs": None, "member": k, "stability": stability}
            self.todo.append((config.model_copy(update=own), model.parent))
        threads = config.training.threads or torch.get_num_threads()
        jobs = config.committee_jobs or max(1, len(os.sched_getaffinity(0)) // threads)
        self.jobs = min(jobs, len(self.todo) + 1) if collective.world() == 1 else 1
        self.futures: list[Future] = []

    def __enter__(self) -> Members:
        self.workers = Workers(self.jobs)
        self.futures += [self.workers.executor.submit(self.work) for _ in range(self.jobs - 1)]
        return self

    def __exit__(self, *_) -> None:
        self.workers.end()

    def work(self) -> None:
        """Train what is left, in a worker process."""
        while self.todo:
            self.workers.call(self.train, *self.todo.popleft())

    def wait(self) -> None:
        """Until all members are trained, with one process more than before. Raises what ended one of them."""
        if self.jobs == 1:
            while self.todo:
                self.train(*self.todo.popleft())
        elif self.todo:
            self.futures.append(self.workers.executor.submit(self.work))
        for future in self.futures:
            future.result()
        collective.barrier()


def judge(
    files: Sequence[Path], sets: dict[str, FrameSet | None], device: torch.device
) -> tuple[dict[str, Any], list[str]]:
    """Deviations of a committee on frames like those of training: the card's table, and lines for the log.

    Limits follow from the validation frames, or else from the training frames, which all members know. The table is
    empty where the members do not differ or are not finite.
    """
    committee = Committee(files, str(device))
    name = "valid" if sets["valid"] is not None else "train"
    known, errors = spread(committee, sets[name])
    limit = float(np.quantile(known, QUANTILE))
    if not 0 < limit < np.inf:
        return {}, [f"no limits for deviations: {100 * QUANTILE:g} % of those on the {name} frames is {limit} eV/A"]
    found: dict[str, Any] = {"quantity": "forces", "members": len(files), "frames": name, "p999_eV_A": limit}
    found |= {"dump_eV_A": DUMP * limit, "halt_eV_A": HALT * limit}
    notes = [
        f"deviation of forces, {len(files)} members: {100 * QUANTILE:g} % of the atoms of the {name} frames below "
        f"{limit:.3g} eV/A; dump auto from {DUMP * limit:.3g}, halt auto from {HALT * limit:.3g}"
    ]
    if name == "train":
        notes.append("no validation frames: all members know these, so that the limits are too low")
    if sets["test"] is not None:
        known, errors = spread(committee, sets["test"])
        above = [f"{100 * np.mean(known > bound):.2g} %" for bound in (limit, DUMP * limit)]
        notes.append(f"test atoms above {limit:.3g} eV/A: {above[0]}, above {DUMP * limit:.3g}: {above[1]}")
        name = "test"
    labelled = np.isfinite(errors)
    if labelled.sum() > 2:
        correlation = spearmanr(known[labelled], errors[labelled]).statistic
        notes.append(f"rank correlation with the force errors of the {name} atoms: {correlation:.2f}")
    return found, notes


def spread(committee: Committee, frames: FrameSet) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of the atoms of at most JUDGED of the frames, and errors of the first member's forces on them, NaN
    without labels; (N,) each, eV/A."""
    frames, known, errors = frames.evenly(JUDGED), [], []
    for i, labels in enumerate(frames.labels):
        forces = torch.stack([found.forces.cpu() for found in committee.predict(frames.graph(i).to(committee.device))])
        known.append(deviations(forces))
        errors.append((forces[0] - labels.forces).norm(dim=1))
    return torch.cat(known).numpy(), torch.cat(errors).numpy()
