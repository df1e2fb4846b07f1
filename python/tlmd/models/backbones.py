"""Frozen feature maps of atoms: what MEKRR's kernels see. One interface, Backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tlmd.engine import FeatureEngine
from tlmd.errors import InputError
from tlmd.graph import Graph
from tlmd.modelfile import load_model


class Backbone(Protocol):
    """elements and cutoff (A) of the graphs that it takes; width: features of an atom."""

    elements: list[str]
    cutoff: float
    width: int
    dtype: torch.dtype

    def features(self, graph: Graph) -> Tensor:
        """Features of the atoms, (N, width)."""

    def tangents(self, graph: Graph, displacements: np.ndarray, strains: np.ndarray) -> Tensor:
        """Their changes (T, N, width) along displacements (T, N, 3) of the atoms, per A, and strains (T, 3, 3): r_ij
        changes by d_j - d_i + strain r_ij. The graph is that of the last call of `features`."""


class PaiNNBackbone:
    """Scalar features of a trained model after the message layers `layers` (from 0; negative from the last), side by
    side, by the native engine."""

    def __init__(self, path: Path, layers: Sequence[int] = (-1,)):
        self.potential, self.card = load_model(path)
        depth = self.potential.net.n_layers
        wrong = [layer for layer in layers if not -depth <= layer < depth]
        if wrong or not layers:
            raise InputError(f"layers {list(layers)}", f"some of 0 to {depth - 1}", "correct backbone.layers")
        self.layers = sorted({layer % depth for layer in layers})
        self.elements, self.cutoff = self.potential.elements, self.potential.cutoff
        self.dtype = self.potential.dtype
        self.width = len(self.layers) * self.potential.net.width
        self.engine: FeatureEngine | None = None

    def features(self, graph: Graph) -> Tensor:
        if self.engine is None:
            self.engine = FeatureEngine(self.potential, self.layers, sample=graph)
        return torch.from_numpy(self.engine.features(graph))

    def tangents(self, graph: Graph, displacements: np.ndarray, strains: np.ndarray) -> Tensor:
        return torch.from_numpy(self.engine.tangents(displacements, strains))
