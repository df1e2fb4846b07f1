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
from tlmd.evaluate.dataset import Batch, FrameSet, frame_labels
from tlmd.frames.frame import Frame
from tlmd.graph import Graph
from tlmd.models.potential import Prediction, stress
from tlmd.run import collective
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3


class Kind(NamedTuple):
    """What has errors: its word in tables and metrics.csv, the unit of its errors, its key in JSON (mae or rmse), and
    that unit's number in eV and A."""

    word: str
    unit: str
    key: str
    factor: float = 1e3

    @property
    def pretty(self) -> str:
        """The unit as figures have it."""
        return self.unit.replace("A", "Å").replace("^3", "³")


KINDS = {  # of labels, in the order of the sums
    "energy": Kind("energy", "meV/atom", "energy_{}_mev_per_atom"),
    "forces": Kind("force", "meV/A", "force_{}_mev_per_A"),
    "stress": Kind("stress", "meV/A^3", "stress_{}_mev_per_A3"),
}
MEASURES = KINDS | {"pressure": Kind("pressure", "bar", "pressure_{}_bar", BAR_PER_EV_A3)}  # -trace/3 of the stress
JSON_KEYS = {  # docs/reference is written from it
    "tl-evaluate": {
        "n_frames": "number of frames",
        "energy_mae_mev_per_atom": "meV/atom, mean absolute error of the energy; null without labels, as all of these",
        "energy_rmse_mev_per_atom": "meV/atom, root mean square error of the energy",
        "force_mae_mev_per_A": "meV/A, mean absolute error of the force components",
        "force_rmse_mev_per_A": "meV/A, root mean square error of the force components",
        "stress_mae_mev_per_A3": "meV/A^3, mean absolute error of the stress components",
        "pressure_mae_bar": "bar, mean absolute error of the pressure, -trace/3 of the stress",
        "pressure_rmse_bar": "bar, root mean square error of the pressure",
        "pressure_mean_error_bar": "bar, mean error of the pressure, model less label: positive, it is too high",
    }
}


def _zeros() -> Tensor:
    return torch.zeros(len(MEASURES), dtype=torch.float64)


@dataclass
class Errors:
    """Number of labels, sums of |error|, error^2 and error, (4,) each: energy per atom, force components, stress
    components, pressure; eV, A."""

    n_frames: int = 0
    number: Tensor = field(default_factory=_zeros)
    absolute: Tensor = field(default_factory=_zeros)
    square: Tensor = field(default_factory=_zeros)
    signed: Tensor = field(default_factory=_zeros)

    @classmethod
    def of_sums(cls, n_frames: int, sums: Sequence[Sequence[float]]) -> Errors:
        """From what `sums` gave, also of an earlier version, which had no pressure."""
        errors = cls(n_frames)
        for mine, given in zip(errors.sums(), sums, strict=False):
            mine[: len(given)] = torch.as_tensor(given, dtype=torch.float64)
        return errors

    def sums(self) -> tuple[Tensor, ...]:
        """number, absolute, square, signed."""
        return self.number, self.absolute, self.square, self.signed

    def add(self, kind: str, pairs: Tensor) -> None:
        """Take in pairs of label and prediction (n, 2), eV and A."""
        error, i = pairs[:, 1] - pairs[:, 0], list(MEASURES).index(kind)
        for total, part in zip(self.sums(), (torch.ones_like(error), error.abs(), error * error, error), strict=True):
            total[i] += part.sum()

    def check(self, where: str) -> None:
        """InputError if an error is not finite: `where` says of which frames."""
        for kind, absolute, square in zip(MEASURES.values(), self.absolute, self.square, strict=True):
            if not math.isfinite(absolute + square):
                raise InputError(
                    f"{where}: {kind.word} predicted as NaN or infinite",
                    "finite numbers",
                    "look for atoms far from all training frames, or train or copy the model again",
                )

    def _mean(self, kind: str, sums: Tensor) -> float | None:
        """Mean of one of the sums in eV and A; None without labels."""
        i = list(MEASURES).index(kind)
        return float(sums[i] / self.number[i]) if self.number[i] else None

    def mae(self, kind: str) -> float | None:
        """Mean absolute error in the unit of `kind` (a key of MEASURES); None without labels."""
        mean = self._mean(kind, self.absolute)
        return mean if mean is None else MEASURES[kind].factor * mean

    def rmse(self, kind: str) -> float | None:
        """Root mean square error in the same unit; None without labels."""
        mean = self._mean(kind, self.square)
        return mean if mean is None else MEASURES[kind].factor * math.sqrt(mean)

    def mean_error(self, kind: str) -> float | None:
        """Mean of prediction less label in the same unit; None without labels."""
        mean = self._mean(kind, self.signed)
        return mean if mean is None else MEASURES[kind].factor * mean

    def loss(self, weights: Sequence[float]) -> float:
        """Weighted sum of the mean squared errors of the labels in eV and A, as in the training loss."""
        parts = zip(weights, self.square[: len(KINDS)], self.number[: len(KINDS)], strict=True)
        return float(sum(w * s / n for w, s, n in parts if n))

    def to_json(self) -> dict[str, Any]:
        """The keys of `tl-evaluate --json` that are of errors; null without labels."""
        found: dict[str, Any] = {"n_frames": self.n_frames, "pressure_mean_error_bar": self.mean_error("pressure")}
        for name, kind in MEASURES.items():
            found |= {kind.key.format("mae"): self.mae(name), kind.key.format("rmse"): self.rmse(name)}
        return {key: found[key] for key in JSON_KEYS["tl-evaluate"]}

    def text(self, kind: str) -> str:
        """RMSE (MAE) in the unit of `kind`, of the pressure also the mean error; - without labels."""
        rmse, mae = self.rmse(kind), self.mae(kind)
        if rmse is None or mae is None:
            return "-"
        if kind == "pressure":
            return f"{rmse:.0f} ({mae:.0f}; mean {self.mean_error(kind):+.0f})"
        return f"{rmse:.2f} ({mae:.2f})"

    def line(self) -> str:
        """One line for the log: RMSE (MAE)."""
        found = [(kind, self.text(name)) for name, kind in MEASURES.items()]
        return ", ".join(f"{kind.word} {text} {kind.unit}" for kind, text in found if text != "-") or "no labels"


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
            if kind == "stress":
                errors.add("pressure", -known.view(-1, 3, 3, 2).diagonal(dim1=1, dim2=2).mean(-1))
    if split:
        errors = Errors.of_sums(0, collective.total(torch.stack(errors.sums())))
    errors.n_frames = len(frames)
    errors.check(frames.name)
    empty = torch.zeros(0, 2, dtype=torch.float64)
    return errors, Parity(*(torch.cat([empty, *part]).numpy() for part in pairs.values()))


def with_baseline(parity: Parity, frames: Sequence[Frame]) -> Parity:
    """The pairs of these frames with what a baseline took off their labels on both sides; the errors stay."""
    if all(frame.total is None for frame in frames):
        return parity
    whole, left = (
        [torch.cat(part) for part in zip(*(frame_labels(f) for f in each), strict=True)]
        for each in ([frame.total or frame for frame in frames], frames)
    )
    known = [torch.isfinite(part) for part in left]
    added = [(a - b)[k] for a, b, k in zip(whole, left, known, strict=True)]
    added[0] = added[0] / left[-1][known[0]]
    return Parity(*(getattr(parity, kind) + a.numpy()[:, None] for kind, a in zip(KINDS, added, strict=False)))
