"""What the native engine (lammps_plugin/engine) takes and gives: weights, pairs, predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tlmd import _engine
from tlmd.graph import Graph
from tlmd.models.network import EngineForm, engine_form
from tlmd.models.potential import Prediction
from tlmd.run.errors import InputError

BINS = 256  # of the filter table where no sample says how many are needed


def form_of(potential: Any) -> EngineForm:
    """The form of a potential, trained or exported, that the engine evaluates; InputError if there is none."""
    form = engine_form(potential.net)
    if form is None:
        raise InputError("a network that the native engine does not know", "PaiNN", "use backend torch")
    return form


def weights_of(potential: Any) -> _engine.Weights:
    """The engine's weights from a trained Potential or from its exported form."""
    net, parameters, form = potential.net, potential.state_dict(), form_of(potential)
    return _engine.Weights(
        len(potential.elements), net.width, net.n_layers, form.norm_epsilon,
        _engine.Basis(*form.basis), _engine.Basis(*form.first_basis), head_of(form),
        lambda name: flat(parameters[name]) if name in parameters else np.zeros(0),
    )  # fmt: skip


def flat(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as the engine reads it."""
    return tensor.detach().to("cpu", torch.float64).reshape(-1).numpy()


def head_of(form: EngineForm) -> _engine.Head:
    """The kernel head of a network, for one atom of each species; else none."""
    head = form.head
    if head is None:
        return _engine.Head()
    function, parameter, *tensors = head.flat(torch.ones(len(head.own), dtype=head.own.dtype))
    arrays = [flat(tensor) for tensor in (head.shift, head.factor, *tensors)]
    return _engine.Head(list(form.layers), function, parameter, *arrays)


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
