"""Python face of the native engine (lammps_plugin/engine): energy, forces and virial of PaiNN on the CPU.

Same numbers as models.potential.evaluate, which defines them; filters come from a table whose error is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tlmd import _engine
from tlmd.engine.inputs import BINS, flat, form_of, of_frames, pairs_of, weights_of
from tlmd.graph import Graph
from tlmd.models.network import engine_form
from tlmd.models.potential import Prediction, dtype_of, evaluate
from tlmd.run.errors import InputError


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
        dtype = dtype or dtype_of(potential.net)
        self.n_layers, self.keep_features = potential.net.n_layers, keep_features
        self.table_error: float | None = None
        if n_bins is None and sample is not None:
            n_bins, self.table_error = _engine.choose_bins(weights, pairs_of(potential, sample), dtype == torch.float64)
        self.n_bins = BINS if n_bins is None else n_bins
        self._potential = potential
        self._head = form_of(potential).head  # of a kernel model
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
            dtype = dtype_of(self._potential.net)
            return evaluate(self._potential, graph._replace(vectors=graph.vectors.to(dtype)))
        energies, forces, virials = map(torch.from_numpy, self._painn.evaluate(pairs_of(self._potential, graph)))
        return of_frames(graph, energies, forces, virials)

    def _compose(self, graph: Graph) -> bool:
        """Set a kernel head's weights for the composition of the graph's frames; False if they have several."""
        net = self._potential.net
        if self._head is None:
            return True
        of_atoms = net.ratio(graph.species, graph.frame)
        ratio = torch.ones(len(self._potential.elements), dtype=torch.float64)
        ratio[graph.species] = of_atoms
        if not torch.equal(ratio[graph.species], of_atoms):
            return False
        if self._ratio is None or not torch.equal(ratio, self._ratio):
            self._painn.set_head_weights(flat(self._head.flat(ratio.to(self._head.own.dtype))[-1]))
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


def choose_backend(backend: str | None, device: torch.device | str, net: Any) -> str:
    """native or torch: the one given, else native on the CPU for a network that the engine knows; InputError if there
    is no such thing on `device`."""
    on_cpu = torch.device(device).type == "cpu"
    backend = backend or ("native" if on_cpu and engine_form(net) is not None else "torch")
    if backend not in ("native", "torch") or (backend == "native" and not on_cpu):
        raise InputError(f"backend {backend} on {device}", "native (on the CPU) or torch", "correct the backend")
    return backend


def predictor(
    model: Any, backend: str | None = None, device: torch.device | str = "cpu", sample: Graph | None = None
) -> Callable[[Graph], Prediction]:
    """What evaluates graphs with the parameters that `model` has now: backend native (default for PaiNN on the CPU;
    `sample` as for Engine) or torch.
    """
    if choose_backend(backend, device, model.net) == "native":
        return Engine(model, sample=sample).evaluate
    dtype = dtype_of(model.net)
    return lambda graph: evaluate(model, graph._replace(vectors=graph.vectors.to(dtype)))
