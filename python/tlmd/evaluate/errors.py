"""Errors of a model on labelled frames, and the pairs of values behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlmd.engine import predictor
from tlmd.evaluate.dataset import Batch, FrameSet
from tlmd.export import load_any
from tlmd.frames.read import read_frames
from tlmd.graph import Graph
from tlmd.models.potential import Prediction, stress
from tlmd.run import collective
from tlmd.run.files import write_atomic

KINDS = ("energy", "force", "stress")
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
UNITS = {"energy": "meV/atom", "force": "meV/A", "stress": "meV/A^3"}


@dataclass
class Errors:
    """Number of labels, sums of |error| and error^2, (3,) each: energy per atom, force, stress components, eV, A."""

    n_frames: int = 0
    number: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    absolute: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    square: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def add(self, kind: int, pairs: Tensor) -> None:
        """Take in pairs of label and prediction (n, 2)."""
        error = pairs[:, 1] - pairs[:, 0]
        self.number[kind] += error.numel()
        self.absolute[kind] += error.abs().sum()
        self.square[kind] += (error * error).sum()

    def mae(self, kind: str) -> float | None:
        """Mean absolute error in meV/atom, meV/A or meV/A^3; None without labels."""
        i = KINDS.index(kind)
        return float(1e3 * self.absolute[i] / self.number[i]) if self.number[i] else None

    def rmse(self, kind: str) -> float | None:
        """Root mean square error in the same units; None without labels."""
        i = KINDS.index(kind)
        return float(1e3 * (self.square[i] / self.number[i]).sqrt()) if self.number[i] else None

    def loss(self, weights: Sequence[float]) -> float:
        """Weighted sum of the mean squared errors in eV and A, as in the training loss."""
        return float(sum(w * s / n for w, s, n in zip(weights, self.square, self.number, strict=True) if n))

    def to_json(self) -> dict[str, Any]:
        """The keys of `tl-evaluate --json`."""
        return {
            "n_frames": self.n_frames,
            "energy_mae_mev_per_atom": self.mae("energy"),
            "energy_rmse_mev_per_atom": self.rmse("energy"),
            "force_mae_mev_per_A": self.mae("force"),
            "force_rmse_mev_per_A": self.rmse("force"),
            "stress_mae_mev_per_A3": self.mae("stress"),
        }

    def line(self) -> str:
        """One line for the log: RMSE (MAE)."""
        parts = [
            f"{kind} {self.rmse(kind):.2f} ({self.mae(kind):.2f}) {UNITS[kind]}"
            for kind in KINDS
            if self.mae(kind) is not None
        ]
        return ", ".join(parts) or "no labels"


@dataclass
class Parity:
    """Label and prediction, (n, 2) each: energy per atom (eV), force components (eV/A), stress components (eV/A^3)."""

    energy: np.ndarray
    force: np.ndarray
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
    backend: as for tlmd.engine.predictor.
    """
    predict = predictor(model, backend, device, frames.graph(int(np.argmax(frames.sizes))) if len(frames) else None)
    errors = Errors()
    pairs: list[list[Tensor]] = [[], [], []]
    mine = range(collective.rank(), len(frames), collective.world()) if split else range(len(frames))
    for batch in frames.batches(mine, len(frames), batch_atoms, device):
        for kind, (label, predicted) in enumerate(batch_pairs(predict, batch)):
            known = torch.stack([label, predicted], dim=-1)[torch.isfinite(label)].to("cpu")
            errors.add(kind, known)
            pairs[kind].append(known)
    if split:
        sums = collective.total(torch.stack([errors.number, errors.absolute, errors.square]))
        errors = Errors(0, *sums)
    errors.n_frames = len(frames)
    empty = torch.zeros(0, 2, dtype=torch.float64)
    return errors, Parity(*(torch.cat([empty, *part]).numpy() for part in pairs))


def evaluate_file(
    model_path: Path,
    data_path: Path,
    json_path: Path | None = None,
    plot_path: Path | None = None,
    backend: str | None = None,
) -> tuple[Errors, Parity]:
    """tl-evaluate: errors of a model on the frames of a file, and the pairs behind them; JSON and picture if asked."""
    model, card = load_any(model_path)
    dtype = getattr(torch, card.dtype)
    frames = FrameSet(read_frames(data_path), card.elements, card.cutoff, dtype, str(data_path))
    errors, parity = evaluate_frames(model, frames, backend=backend)
    if json_path is not None:
        text = json.dumps(errors.to_json(), indent=1)
        write_atomic(json_path, lambda temporary: temporary.write_text(text + "\n"))
    if plot_path is not None:
        from tlmd.evaluate.plots import parity_plot

        parity_plot(plot_path, parity, errors, f"{model_path.name} on {data_path.name}")
    return errors, parity
