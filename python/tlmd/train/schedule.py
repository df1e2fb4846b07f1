"""Learning rate along the run, and the exponential moving average of the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tlmd.train.config import OptimizerConfig


class Schedule:
    """Factor on the learning rate: linear warm-up; then cosine to `final_factor` at `max_steps`, plateau, or none."""

    def __init__(self, config: OptimizerConfig, max_steps: int):
        self.config, self.max_steps = config, max_steps
        self.plateau, self.best, self.stale = 1.0, math.inf, 0

    def factor(self, step: int) -> float:
        """Factor for the update number `step` (from 0)."""
        c = self.config
        if step < c.warmup_steps:
            return (step + 1) / c.warmup_steps
        if c.schedule == "cosine":
            along = (step - c.warmup_steps) / max(1, self.max_steps - c.warmup_steps)
            return c.final_factor + (1 - c.final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
        return self.plateau

    def validated(self, loss: float) -> None:
        """Tell the plateau schedule a validation loss."""
        if self.config.schedule != "plateau":
            return
        self.best, self.stale = (loss, 0) if loss < self.best else (self.best, self.stale + 1)
        if self.stale > self.config.plateau_patience:
            self.plateau = max(self.config.final_factor, self.plateau * self.config.plateau_factor)
            self.stale = 0

    def state_dict(self) -> dict:
        return {"plateau": self.plateau, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict) -> None:
        self.plateau, self.best, self.stale = state["plateau"], state["best"], state["stale"]


class Average:
    """Exponential moving average: a <- d a + (1 - d) p with d = min(decay, (1 + t)/(10 + t)) at step t."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float):
        self.parameters, self.decay = list(parameters), decay
        self.values: list[Tensor] = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after the update number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.parameters, 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averaged values in the place of the parameters, for validation and saving."""
        kept = [p.detach().clone() for p in self.parameters]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for p, value in zip(self.parameters, values, strict=True):
            p.copy_(value)
