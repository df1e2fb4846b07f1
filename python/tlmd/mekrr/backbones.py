"""Frozen feature maps of atoms: what MEKRR's kernels see. One interface, Backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tlmd.engine import FeatureEngine
from tlmd.graph import Graph
from tlmd.modelfile import layer_cutoff, load_model
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential, module_potential
from tlmd.models.features.mace import mace_features
from tlmd.models.features.module import load_features
from tlmd.models.painn import PaiNN
from tlmd.models.potential import Potential, dtype_of, slopes
from tlmd.run.errors import InputError


class Backbone(Protocol):
    """elements and cutoff (A) of the graphs that it takes; width: features of an atom; layers: those that they come
    from, if it knows; architecture: PaiNN's up to the last of them; has_last_layer: whether that is the model's own
    last one; origin: a word on its training; shortest_A: the smallest distances in it, as in a card."""

    elements: list[str]
    cutoff: float
    width: int
    dtype: torch.dtype
    layers: list[int]
    architecture: Architecture | None
    has_last_layer: bool
    origin: str
    shortest_A: dict[str, float]

    def features(self, graph: Graph) -> Tensor:
        """Features of the atoms, (N, width)."""

    def tangents(self, graph: Graph, displacements: np.ndarray, strains: np.ndarray) -> Tensor:
        """Their changes (T, N, width) along displacements (T, N, 3) of the atoms, per A, and strains (T, 3, 3): r_ij
        changes by d_j - d_i + strain r_ij. The graph is that of the last call of `features`."""

    def kernel_model(self, kernel: KernelArchitecture) -> Potential:
        """A potential of this backbone and an empty kernel head."""


def open_backbone(kind: str, model: Path, layers: Sequence[int], elements: Sequence[str]) -> Backbone:
    """Backbone of kind painn | mace | torchscript in the file `model`; InputError if it does not fit.

    elements: of the frames. Modules are often for many more, and each would have its own weights.
    """
    if kind == "painn":
        backbone = PaiNNBackbone(model, layers)
        if backbone.kernel is not None:
            raise InputError(f"backbone.model = {model} of kind mekrr", "kind tpainn", "give the model that it is on")
        return backbone
    if kind == "mace":
        origin = f"MACE, layers {', '.join(map(str, layers))}"
        return ModuleBackbone(mace_features(model, layers), elements, origin)
    return ModuleBackbone(load_features(model), elements, "TorchScript")


class PaiNNBackbone:
    """Scalar features of a trained model after the message layers `layers` (from 0; negative from the last; None: all),
    side by side, by the native engine."""

    def __init__(self, path: Path, layers: Sequence[int] | None = None):
        self.potential, card = load_model(path)
        if not isinstance(self.potential.net, PaiNN):
            raise InputError(f"{path} of {card.kind} on another backbone", "a PaiNN model", "correct backbone.model")
        depth = self.potential.net.n_layers
        layers = range(depth) if layers is None else layers
        wrong = [layer for layer in layers if not -depth <= layer < depth]
        if wrong or not layers:
            raise InputError(f"layers {list(layers)}", f"some of 0 to {depth - 1}", "correct backbone.layers")
        self.layers = sorted({layer % depth for layer in layers})
        self.has_last_layer = self.layers[-1] == depth - 1
        self.architecture = card.architecture.model_copy(update={"n_layers": self.layers[-1] + 1})
        self.origin, self.kernel, self.shortest_A = card.level_of_theory, card.kernel, card.shortest_A
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

    def kernel_model(self, kernel: KernelArchitecture) -> Potential:
        model = kernel_potential(self.elements, layer_cutoff(self.potential), self.architecture, kernel).cast(
            self.dtype
        )
        own, trained = model.net.state_dict(), self.potential.net.state_dict()
        model.net.load_state_dict({k: v for k, v in trained.items() if k in own}, strict=False)
        return model


class ModuleBackbone:
    """Features of a scripted module (contract: models.features.module) for `elements`, some of its own.

    Tangents by reverse passes alone: the slopes of features weighted by u are linear in u, and their derivative with
    respect to u along a change of the vectors is the tangent. One forward pass for all the tangents of a graph.
    """

    architecture, has_last_layer = None, False

    def __init__(self, module: Any, elements: Sequence[str], origin: str):
        missing = [e for e in elements if e not in module.elements]
        if missing:
            known = ", ".join(module.elements)
            raise InputError(f"element {', '.join(missing)}", f"only {known}", "use a backbone that knows it")
        self.module, self.elements, self.origin = module, list(elements), origin
        self.cutoff, self.width, self.dtype = float(module.cutoff), int(module.width), dtype_of(module)
        self.layers: list[int] = []
        self.shortest_A: dict[str, float] = {}
        self.index = torch.tensor([module.elements.index(e) for e in elements])
        self._slopes: tuple[Tensor, Tensor] | None = None  # u, and slopes of the features weighted by it

    def features(self, graph: Graph) -> Tensor:
        self._slopes = None
        with torch.no_grad():
            h = self._evaluate(graph, graph.vectors)
        wanted = (len(graph.species), self.width)
        if h.shape != wanted or h.dtype != self.dtype:
            raise InputError(f"features {tuple(h.shape)} {h.dtype}", f"{wanted} {self.dtype}", "correct the module")
        return h

    def tangents(self, graph: Graph, displacements: np.ndarray, strains: np.ndarray) -> Tensor:
        if self._slopes is None:
            vectors = graph.vectors.clone().requires_grad_(True)
            with torch.enable_grad():
                h = self._evaluate(graph, vectors)
                u = torch.zeros_like(h, requires_grad=True)
                self._slopes = u, slopes(h, vectors, u, create_graph=True)
        u, weighted = self._slopes
        moves, strains = (torch.from_numpy(x).to(self.dtype) for x in (displacements, strains))
        changes = u.new_empty(len(moves), *u.shape)
        for t, (move, strain) in enumerate(zip(moves, strains, strict=True)):
            along = move[graph.neighbours] - move[:, None] + graph.vectors @ strain.t()
            changes[t] = slopes(weighted, u, along, retain_graph=True)
        return changes

    def _evaluate(self, graph: Graph, vectors: Tensor) -> Tensor:
        return self.module(self.index[graph.species], vectors, graph.neighbours)

    def kernel_model(self, kernel: KernelArchitecture) -> Potential:
        return module_potential(self.elements, self.module, kernel)
