"""Errors of a model on labelled frames, and the pairs of values behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tlmd.engine import predictor
from tlmd.evaluate.dataset import Batch, FrameSet
from tlmd.graph import Graph
from tlmd.models.potential import Prediction, stress
from tlmd.run import collective
from tlmd.run.errors import InputError


class Kind(NamedTuple):
    """A kind of label: its word in tables and metrics.csv, the unit of its errors, its key in JSON (mae or rmse)."""

    word: str
    unit: str
    key: str

    @property
    def pretty(self) -> str:
        """The unit as figures have it."""
        return self.unit.replace("A", "Å").replace("^3", "³")


KINDS = {  # in the order of the sums
    "energy": Kind("energy", "meV/atom", "energy_{}_mev_per_atom"),
    "forces": Kind("force", "meV/A", "force_{}_mev_per_A"),
    "stress": Kind("stress", "meV/A^3", "stress_{}_mev_per_A3"),
}
JSON_KEYS = {  # docs/reference is written from it
    "tl-evaluate": {
        "n_frames": "number of frames",
        "energy_mae_mev_per_atom": "meV/atom, mean absolute error of the energy; null without labels, as all of these",
        "energy_rmse_mev_per_atom": "meV/atom, root mean square error of the energy",
        "force_mae_mev_per_A": "meV/A, mean absolute error of the force components",
        "force_rmse_mev_per_A": "meV/A, root mean square error of the force components",
        "stress_mae_mev_per_A3": "meV/A^3, mean absolute error of the stress components",
    }
}


@dataclass
class Errors:
    """Number of labels, sums of |error| and error^2, (3,) each: energy per atom, force, stress components, eV, A."""

    n_frames: int = 0
    number: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    absolute: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    square: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def add(self, kind: str, pairs: Tensor) -> None:
        """Take in pairs of label and prediction (n, 2), eV and A."""
        error, i = pairs[:, 1] - pairs[:, 0], list(KINDS).index(kind)
        self.number[i] += error.numel()
        self.absolute[i] += error.abs().sum()
        self.square[i] += (error * error).sum()

    def check(self, where: str) -> None:
        """InputError if an error is not finite: `where` says of which frames."""
        for kind, absolute, square in zip(KINDS.values(), self.absolute, self.square, strict=True):
            if not math.isfinite(absolute + square):
                raise InputError(
                    f"{where}: {kind.word} predicted as NaN or infinite",
                    "finite numbers",
                    "look for atoms far from all training frames, or train or copy the model again",
                )

    def mae(self, kind: str) -> float | None:
        """Mean absolute error in the unit of `kind` (a key of KINDS); None without labels."""
        i = list(KINDS).index(kind)
        return float(1e3 * self.absolute[i] / self.number[i]) if self.number[i] else None

    def rmse(self, kind: str) -> float | None:
        """Root mean square error in the same unit; None without labels."""
        i = list(KINDS).index(kind)
        return float(1e3 * (self.square[i] / self.number[i]).sqrt()) if self.number[i] else None

    def loss(self, weights: Sequence[float]) -> float:
        """Weighted sum of the mean squared errors in eV and A, as in the training loss."""
        return float(sum(w * s / n for w, s, n in zip(weights, self.square, self.number, strict=True) if n))

    def to_json(self) -> dict[str, Any]:
        """The keys of `tl-evaluate --json`; null without labels."""
        found: dict[str, Any] = {"n_frames": self.n_frames}
        for name, kind in KINDS.items():
            found |= {kind.key.format("mae"): self.mae(name), kind.key.format("rmse"): self.rmse(name)}
        return {key: found[key] for key in JSON_KEYS["tl-evaluate"]}

    def line(self) -> str:
        """One line for the log: RMSE (MAE)."""
        parts = [
            f"{kind.word} {self.rmse(name):.2f} ({self.mae(name):.2f}) {kind.unit}"
            for name, kind in KINDS.items()
            if self.mae(name) is not None
        ]
        return ", ".join(parts) or "no labels"


@dataclass
class Parity:
    """Label and prediction, (n, 2) each: energy per atom (eV), force components (eV/A), stress components (eV/A^3)."""

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


def batch_pairs(predict: Callable[[Graph], Prediction], batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """(label, prediction) of energy per atom (B,), forces (N, 3), stress (B, 3, 3); eV, A; NaN without a label."""
    labels = batch.labels
    prediction = predict(batch.graph)
    return [
        (labels.energy / labels.n_atoms, prediction.energy / labels.n_atoms),
        (labels.forces, prediction.forces),
        (labels.stress, stress(prediction, batch.graph.volumes)),
    ]


def evaluate_frames(
    model: nn.Module,
    frames: FrameSet,
    batch_atoms: int = 1024,
    device: torch.device | str = "cpu",
    split: bool = False,
    backend: str | None = None,
) -> tuple[Errors, Parity]:
    """Errors of `model` on `frames`, and the pairs behind them; split: each process does a share and has its pairs.
    backend: as for tlmd.engine.predictor. Raises InputError for a prediction that is not finite.
    """
    predict = predictor(model, backend, device, frames.graph(int(np.argmax(frames.sizes))) if len(frames) else None)
    errors = Errors()
    pairs: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    mine = range(collective.rank(), len(frames), collective.world()) if split else range(len(frames))
    for batch in frames.batches(mine, len(frames), batch_atoms, device):
        for kind, (label, predicted) in zip(KINDS, batch_pairs(predict, batch), strict=True):
            known = torch.stack([label, predicted], dim=-1)[torch.isfinite(label)].to("cpu")
            errors.add(kind, known)
            pairs[kind].append(known)
    if split:
        sums = collective.total(torch.stack([errors.number, errors.absolute, errors.square]))
        errors = Errors(0, *sums)
    errors.n_frames = len(frames)
    errors.check(frames.name)
    empty = torch.zeros(0, 2, dtype=torch.float64)
    return errors, Parity(*(torch.cat([empty, *part]).numpy() for part in pairs.values()))
