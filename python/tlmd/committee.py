"""Several models of one system: where they differ, none of them is to be believed.

The deviation of an atom is sigma_i = sqrt(sum_k |F_i^k - mean F_i|^2 / (K - 1)), in eV/A, over the forces of K models
that were trained alike from different random choices (tl-finetune with `committee`); that of a frame is the largest of
its atoms. pair_style tpainn with K files takes the same definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlmd.engine import predictor
from tlmd.export import load_any, sample_graph
from tlmd.graph import Graph, build_graph
from tlmd.models.potential import Prediction
from tlmd.run.errors import InputError


class Committee:
    """K trained or exported models, of which the first one stands for all.

    device, backend: as in TLCalculator. Raises InputError for models of different elements, orders of elements or
    baselines.
    """

    def __init__(self, files: Sequence[Path | str], device: str = "cpu", backend: str | None = None):
        if not files:
            raise InputError("no models", "at least one file", "give the first member's model.pt")
        self.device = device
        self.models, self.cards, self.predictors = [], [], []
        for file in files:
            model, card = load_any(file, device)
            for parameter in model.parameters():  # a script module has no requires_grad_
                parameter.requires_grad_(False)
            self.models.append(model)
            self.cards.append(card)
            self.predictors.append(predictor(model, backend, device, sample_graph(file, model)))
        for file, card in zip(files, self.cards, strict=True):
            for key in ("elements", "baseline"):
                if getattr(card, key) != getattr(self.cards[0], key):
                    got, do = f"{file} with other {key} than {files[0]}", "give members of one tl-finetune"
                    raise InputError(got, f"models with the same {key}", do)
        self.cutoff = max(float(model.cutoff) for model in self.models)

    def __len__(self) -> int:
        return len(self.models)

    def graph(self, frame: Any) -> Graph:
        """The graph, for all members, of anything with numbers, positions, cell and pbc; vectors in float64."""
        elements = self.cards[0].elements
        return build_graph(
            frame.numbers, frame.positions, np.asarray(frame.cell), frame.pbc, elements, self.cutoff, torch.float64
        ).to(self.device)

    def predict(self, graph: Graph) -> list[Prediction]:
        """What each member says of a graph, without the baseline that they share."""
        return [predict(graph) for predict in self.predictors]

    def deviations(self, graph: Graph) -> Tensor:
        """Standard deviations (N,) of the forces on atoms among the members, eV/A. InputError for one member alone."""
        return deviations(torch.stack([found.forces for found in self.predict(graph)]))


def deviations(forces: Tensor) -> Tensor:
    """sqrt(sum_k |F_i^k - mean F_i|^2 / (K - 1)), (N,), of forces (K, N, 3)."""
    if len(forces) < 2:
        raise InputError("one model", "two or more, whose forces are compared", "give all members of the committee")
    return (forces - forces.mean(0)).square().sum((0, 2)).div(len(forces) - 1).sqrt()


def mean_of(predictions: Sequence[Prediction]) -> Prediction:
    """The mean of what members say."""
    return Prediction(*(torch.stack(parts).mean(0) for parts in zip(*predictions, strict=True)))
