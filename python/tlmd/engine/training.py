"""The native engine's gradients with respect to parameters and positions, and the tangents of its features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tlmd import _engine
from tlmd.engine.evaluate import choose_backend
from tlmd.engine.inputs import BINS, form_of, of_frames, pairs_of, weights_of
from tlmd.graph import Graph
from tlmd.models.network import engine_form
from tlmd.models.potential import Prediction, dtype_of, evaluate
from tlmd.run.errors import InputError


class _Evaluation(torch.autograd.Function):
    """Energies (N,), forces (N, 3), virials (N, 3, 3) of the atoms; its backward pass is the engine's, with respect to
    the vectors of the pairs (pairs, 3), None if they need no gradient, and the parameters.
    """

    @staticmethod
    def forward(ctx, engine, weights, pairs, *variables):
        ctx.set_materialize_grads(False)
        ctx.engine, ctx.inputs, ctx.variables = engine, (weights, pairs), variables
        return tuple(map(torch.from_numpy, engine.run(ctx.inputs)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, energies, forces, virials):
        engine, needed = ctx.engine, ctx.needs_input_grad[3:]
        n = max(len(slope) for slope in (energies, forces, virials) if slope is not None)
        shapes = ((energies, (n,)), (forces, (n, 3)), (virials, (n, 3, 3)))
        slopes = [np.zeros(s) if t is None else np.ascontiguousarray(t.numpy(), np.float64) for t, s in shapes]
        if engine.last is not ctx.inputs:  # something else was evaluated since
            engine.run(ctx.inputs)
        found = engine.training.gradients(
            *slopes, [name for name, wanted in zip(engine.names, needed, strict=True) if wanted]
        )
        gradients = (
            torch.from_numpy(found[name]).reshape(p.shape).to(p.dtype) if wanted else None
            for name, p, wanted in zip(engine.names, ctx.variables, needed, strict=True)
        )
        return (None, None, None, *gradients)


class TrainingEngine:
    """Predictions of `potential` that have gradients with respect to its parameters and to the graph's vectors, by the
    engine's tangent passes.

    n_bins as for Engine, chosen once on `sample`; moment_species as for Engine; threads: torch.get_num_threads().
    dtype as for Engine. What needs no gradient costs nothing.
    """

    def __init__(
        self,
        potential: Any,
        sample: Graph | None = None,
        n_bins: int | None = None,
        moment_species: int = 4,
        dtype: torch.dtype | None = None,
    ):
        weights, double = weights_of(potential), (dtype or dtype_of(potential.net)) == torch.float64
        if n_bins is None:
            n_bins = _engine.choose_bins(weights, pairs_of(potential, sample), double)[0] if sample else BINS
        self.potential, self.threads = potential, torch.get_num_threads()
        self.names = ["vectors", *(name for name, _ in potential.named_parameters())]
        kind = _engine.DoubleTraining if double else _engine.FloatTraining
        self.training = kind(weights, "auto", self.threads, n_bins, moment_species)
        self.last: tuple[_engine.Weights, _engine.Pairs] | None = None  # what the engine has evaluated

    def run(self, inputs: tuple[_engine.Weights, _engine.Pairs]) -> tuple[np.ndarray, ...]:
        """Energies, forces and virials of the atoms."""
        weights, pairs = self.last = inputs
        self.training.set_weights(weights)
        return self.training.evaluate(pairs)

    def evaluate(self, graph: Graph, pairs: _engine.Pairs | None = None) -> Prediction:
        """As models.potential.evaluate with create_graph, for the parameters of now.

        pairs: of the graph, if they are there; then the graph's neighbours and vectors are not looked at, unless the
        vectors need a gradient. They get it at one of the two directions of a pair, whose other is taken as its
        negative: gradients of positions and cell (build_graph) are whole.
        """
        if form_of(self.potential).head is not None:
            raise InputError("a kernel model", "PaiNN's own readout", "use models.potential.evaluate with create_graph")
        vectors = None
        if pairs is None or graph.vectors.requires_grad:
            pairs = pairs_of(self.potential, graph)
        if graph.vectors.requires_grad:
            vectors = graph.vectors.reshape(-1, 3)[torch.from_numpy(pairs.slots()).long()].double()
        inputs = (weights_of(self.potential), pairs, vectors, *self.potential.parameters())
        return of_frames(graph, *_Evaluation.apply(self, *inputs))


def differentiable(
    model: Any, backend: str | None = None, device: torch.device | str = "cpu", sample: Graph | None = None
) -> Callable[[Graph], Prediction]:
    """As predictor, with gradients: with respect to parameters and vectors that need them. native: in float64."""
    form = engine_form(model.net)
    if form is None or form.head is not None:
        backend = "torch"
    if choose_backend(backend, device, model.net) == "native":
        return TrainingEngine(model, sample, dtype=torch.float64).evaluate
    dtype = dtype_of(model.net)
    return lambda graph: evaluate(model, graph._replace(vectors=graph.vectors.to(dtype)), create_graph=True)


class FeatureEngine:
    """Scalar features of `potential` after the layers `layers` side by side, and their tangents, with the parameters
    of now. n_bins, sample: as for Engine."""

    def __init__(self, potential: Any, layers: list[int], sample: Graph | None = None, n_bins: int | None = None):
        self.potential, self.layers = potential, layers
        self._training = TrainingEngine(potential, sample, n_bins)

    def features(self, graph: Graph) -> np.ndarray:
        """(N, len(layers) F) in the potential's precision."""
        self._training.run((weights_of(self.potential), pairs_of(self.potential, graph)))
        return self._training.training.features(self.layers)

    def tangents(self, displacements: np.ndarray, strains: np.ndarray) -> np.ndarray:
        """Changes (T, N, len(layers) F) of the features of the last graph along displacements (T, N, 3) A of the atoms
        and strains (T, 3, 3): r_ij changes by d_j - d_i + strain r_ij."""
        return self._training.training.tangents(
            np.ascontiguousarray(displacements, np.float64), np.ascontiguousarray(strains, np.float64), self.layers
        )
