"""The loss on energy, forces and stress, with weights that may change along the run and labels that may be missing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlmd.engine import TrainingEngine
from tlmd.evaluate.dataset import Batch, Counts, count
from tlmd.models.potential import Prediction, evaluate, stress
from tlmd.train.config import LossConfig


class Weights(NamedTuple):
    """Weights of the mean squared errors in eV/atom, eV/A and eV/A^3."""

    energy: float
    forces: float
    stress: float


def weights_at(config: LossConfig, step: int) -> Weights:
    """Weights at a step: constant, or linear from the first to the second value over `ramp_steps` steps."""
    along = min(1.0, step / config.ramp_steps) if config.ramp_steps else 1.0

    def value(pair: float | tuple[float, float]) -> float:
        first, last = pair if isinstance(pair, tuple) else (pair, pair)
        return first + (last - first) * along

    return Weights(value(config.energy), value(config.forces), value(config.stress))


def penalty(error: Tensor, config: LossConfig) -> Tensor:
    """Squared error, or Huber's: x^2 up to delta and 2 delta |x| - delta^2 beyond."""
    if config.kind == "mse":
        return error * error
    size, delta = error.abs(), config.huber_delta
    return torch.where(size <= delta, error * error, 2.0 * delta * size - delta * delta)


def masked_sum(predicted: Tensor, label: Tensor, config: LossConfig) -> Tensor:
    """Sum of the penalties; entries without label (NaN) give neither value nor slope."""
    error = torch.where(torch.isfinite(label), predicted - label, 0.0)
    return penalty(error, config).sum()


def predict(
    model: nn.Module, batch: Batch, weights: Weights, counts: Counts, engine: TrainingEngine | None = None
) -> Prediction:
    """What the loss needs, by `engine` if there is one; by torch without labels or weights for forces and stress,
    energies alone and no gradient.
    """
    graph = batch.graph
    if engine is not None:
        return engine.evaluate(graph, batch.pairs)
    if (weights.forces and counts.forces) or (weights.stress and counts.stress):
        return evaluate(model, graph, create_graph=True)
    atoms = model(graph.species, graph.vectors, graph.neighbours)
    energy = atoms.new_zeros(len(graph.volumes)).index_add(0, graph.frame, atoms)
    unknown = atoms.new_full((), torch.nan)
    return Prediction(energy, unknown.expand(len(atoms), 3), unknown.expand(len(energy), 3, 3), atoms)


def batch_loss(
    model: nn.Module,
    batch: Batch,
    config: LossConfig,
    weights: Weights,
    counts: Counts | None = None,
    engine: TrainingEngine | None = None,
) -> Tensor:
    """Loss of a batch: sum over kinds of weight * (sum of penalties) / (number of labels of that kind), dimensionless.

    Errors: energy in eV per atom, force components in eV/A, stress components in eV/A^3. `counts`: of the whole
    batch, when this process holds a part of it, so that the losses of all processes add up. engine: as for predict.
    """
    labels = batch.labels
    counts = counts or count(labels)
    volumes = batch.graph.volumes
    prediction = predict(model, batch, weights, counts, engine)
    pairs = (
        (prediction.energy / labels.n_atoms, labels.energy / labels.n_atoms),
        (prediction.forces, labels.forces),
        (stress(prediction, torch.where(volumes > 0, volumes, 1.0)), labels.stress),  # no NaN in the backward pass
    )
    terms = [
        weight / number * masked_sum(*pair, config)
        for weight, number, pair in zip(weights, counts, pairs, strict=True)
        if weight and number
    ]
    return torch.stack(terms).sum() if terms else 0.0 * prediction.energy.sum()
