"""Python face of the native engine (lammps_plugin/engine): energy, forces and virial of PaiNN on the CPU.

Same numbers as models.potential.evaluate, which defines them; filters come from a table whose error is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tlmd import _engine
from tlmd.graph import Graph
from tlmd.models.painn import OLD_NORM_EPSILON
from tlmd.models.potential import Prediction, dtype_of, evaluate
from tlmd.run.errors import InputError

BINS = 256  # of the filter table where no sample says how many are needed


def weights_of(potential: Any) -> _engine.Weights:
    """The engine's weights from a trained Potential or from its exported form."""
    net, parameters = potential.net, potential.state_dict()
    if not on_painn(net):
        raise InputError("a kernel on features of a TorchScript module", "PaiNN for the engine", "use backend torch")
    edges = net.edge_basis
    return _engine.Weights(
        len(potential.elements), net.width, net.n_layers, getattr(net, "norm_epsilon", OLD_NORM_EPSILON),
        float(potential.cutoff), edges.centres.tolist(), edges.width, edges.bessel, edges.polynomial,
        head_of(potential),
        lambda name: flat(parameters[name]) if name in parameters else np.zeros(0),
    )  # fmt: skip


def on_painn(net: Any) -> bool:
    """Whether the engine can evaluate a potential's network, or torch alone."""
    return hasattr(net, "edge_basis")


def flat(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as the engine reads it."""
    return tensor.detach().to("cpu", torch.float64).reshape(-1).numpy()


def head_of(potential: Any) -> _engine.Head:
    """The kernel head of a potential of kind mekrr, for one atom of each species; else none."""
    if not hasattr(potential.net, "kernel_readout"):
        return _engine.Head()
    head = potential.net.head
    function, parameter, *tensors = head.flat(torch.ones(len(potential.elements), dtype=head.own.dtype))
    arrays = [flat(tensor) for tensor in (head.shift, head.factor, *tensors)]
    return _engine.Head(list(potential.net.layers), function, parameter, *arrays)


class Engine:
    """Evaluates graphs with the parameters that `potential` (trained or exported) has now.

    dtype: arithmetic, default the potential's. threads: default torch.get_num_threads(). isa: avx512 | avx2 |
    portable | auto (the best of this processor). n_bins: of the filter table; 0 evaluates filters directly (slow);
    None chooses so many that the table's force error stays below 1e-6 of the rms force (float64: 1e-9) on `sample`, a
    Graph; `table_error` says what it is, None if it was not measured. moment_species: layer 1 by moments up to so many
    elements.
    """

    def __init__(
        self,
        potential: Any,
        dtype: torch.dtype | None = None,
        threads: int | None = None,
        isa: str = "auto",
        n_bins: int | None = None,
        sample: Graph | None = None,
        moment_species: int = 4,
        keep_features: bool = False,
    ):
        weights = weights_of(potential)
        dtype = dtype or potential.net.embedding.weight.dtype
        self.n_layers, self.keep_features = potential.net.n_layers, keep_features
        self.table_error: float | None = None
        if n_bins is None and sample is not None:
            n_bins, self.table_error = _engine.choose_bins(weights, pairs_of(potential, sample), dtype == torch.float64)
        self.n_bins = BINS if n_bins is None else n_bins
        self._potential = potential
        self._ratio: torch.Tensor | None = None  # of each species, that the head's weights are for
        kind = {torch.float32: _engine.Float, torch.float64: _engine.Double}[dtype]
        self._painn = kind(weights, isa, threads or torch.get_num_threads(), self.n_bins, moment_species, keep_features)

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._painn.isa

    @property
    def memory(self) -> int:
        """Bytes that the engine holds."""
        return self._painn.memory

    def evaluate(self, graph: Graph) -> Prediction:
        """Energy, forces, virial and atom energies of every frame in `graph`, as models.potential.evaluate."""
        if not self._compose(graph):
            dtype = self._potential.net.embedding.weight.dtype
            return evaluate(self._potential, graph._replace(vectors=graph.vectors.to(dtype)))
        energies, forces, virials = map(torch.from_numpy, self._painn.evaluate(pairs_of(self._potential, graph)))
        return of_frames(graph, energies, forces, virials)

    def _compose(self, graph: Graph) -> bool:
        """Set a kernel head's weights for the composition of the graph's frames; False if they have several."""
        net = self._potential.net
        if not hasattr(net, "kernel_readout"):
            return True
        of_atoms = net.ratio(graph.species, graph.frame)
        ratio = torch.ones(len(self._potential.elements), dtype=torch.float64)
        ratio[graph.species] = of_atoms
        if not torch.equal(ratio[graph.species], of_atoms):
            return False
        if self._ratio is None or not torch.equal(ratio, self._ratio):
            self._painn.set_head_weights(flat(net.head.flat(ratio.to(net.head.own.dtype))[-1]))
            self._ratio = ratio
        return True

    def features(self, graph: Graph, layer: int = -1) -> np.ndarray:
        """Scalar features (N, F) after layer `layer`, float64; the engine must have been made with keep_features."""
        if not self.keep_features:
            raise InputError("no features kept", "keep_features=True", "make the engine with it")
        if not -self.n_layers <= layer < self.n_layers:
            raise InputError(f"layer {layer}", f"0 to {self.n_layers - 1}", "choose a message layer of the model")
        self._painn.evaluate(pairs_of(self._potential, graph))
        return self._painn.features(layer % self.n_layers)


def choose_backend(backend: str | None, device: torch.device | str) -> str:
    """native or torch: the one given, else native on the CPU; InputError if there is no such thing on `device`."""
    on_cpu = torch.device(device).type == "cpu"
    backend = backend or ("native" if on_cpu else "torch")
    if backend not in ("native", "torch") or (backend == "native" and not on_cpu):
        raise InputError(f"backend {backend} on {device}", "native (on the CPU) or torch", "correct the backend")
    return backend


def predictor(
    model: Any, backend: str | None = None, device: torch.device | str = "cpu", sample: Graph | None = None
) -> Callable[[Graph], Prediction]:
    """What evaluates graphs with the parameters that `model` has now: backend native (default for PaiNN on the CPU;
    `sample` as for Engine) or torch.
    """
    if backend is None and not on_painn(model.net):
        backend = "torch"
    if choose_backend(backend, device) == "native":
        return Engine(model, sample=sample).evaluate
    dtype = dtype_of(model.net)
    return lambda graph: evaluate(model, graph._replace(vectors=graph.vectors.to(dtype)))


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
        weights, double = weights_of(potential), (dtype or potential.net.embedding.weight.dtype) == torch.float64
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
        if hasattr(self.potential.net, "kernel_readout"):
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
    if not on_painn(model.net) or hasattr(model.net, "kernel_readout"):
        backend = "torch"
    if choose_backend(backend, device) == "native":
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


def of_frames(graph: Graph, energies: torch.Tensor, forces: torch.Tensor, virials: torch.Tensor) -> Prediction:
    """The prediction from the numbers of the atoms: energies (N,), forces (N, 3), virials (N, 3, 3)."""
    n_frames = len(graph.volumes)
    energy = energies.new_zeros(n_frames).index_add(0, graph.frame, energies)
    virial = virials.new_zeros(n_frames, 3, 3).index_add(0, graph.frame, virials)
    return Prediction(energy, forces, virial, energies)


def pairs_of(potential: Any, graph: Graph) -> _engine.Pairs:
    """The engine's pairs of a graph, those within the potential's cutoff."""
    return pairs_within(len(potential.elements), float(potential.cutoff), graph)


def pairs_within(n_species: int, cutoff: float, graph: Graph) -> _engine.Pairs:
    """The engine's pairs of a graph, those within `cutoff` A."""
    return _engine.Pairs(
        n_species,
        cutoff,
        graph.species.numpy().astype(np.int32),
        np.ascontiguousarray(graph.neighbours.numpy(), dtype=np.int32),
        np.ascontiguousarray(graph.vectors.detach().numpy(), dtype=np.float64),
        graph.vectors.requires_grad,
    )
