"""From atom energies to energy, forces and virial. Other files take their gradients by `slopes`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from tlmd.graph import Graph
from tlmd.models.repulsion import Repulsion


def dtype_of(module: nn.Module) -> torch.dtype:
    """Precision of the first real parameter or buffer; float64 without any."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float64)


class Potential(nn.Module):
    """Atom energies in eV: E_i = scale[Z_i] e_i + E0[Z_i] + repulsion, with e_i from `net` in its own precision and the
    rest in float64. The repulsion is off in a new potential.

    net: module (species (N,), vectors (N, K, 3) A, neighbours (N, K), frame (N,) of each atom or None: one frame) ->
    (N,). cutoff: of its graphs, A: how far vectors reach, the larger one of two radii.
    """

    def __init__(self, net: nn.Module, elements: Sequence[str], cutoff: float):
        super().__init__()
        self.net = net
        self.elements = list(elements)
        self.cutoff = float(cutoff)
        self.register_buffer("scale", torch.ones(len(elements), dtype=torch.float64))
        self.register_buffer("reference", torch.zeros(len(elements), dtype=torch.float64))
        self.repulsion = Repulsion(len(elements))

    @torch.jit.unused
    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return dtype_of(self.net)

    def cast(self, dtype: torch.dtype) -> Potential:
        """Change the precision of the network in place; scales and reference energies stay in float64."""
        self.net.to(dtype)
        return self

    @torch.jit.export
    def scaled(self, e: Tensor, species: Tensor) -> Tensor:
        """Atom energies in eV, float64 (N,), from the network's output e (N,), without the repulsion."""
        return e.to(torch.float64) * self.scale[species] + self.reference[species]

    def forward(
        self,
        species: Tensor,
        vectors: Tensor,
        neighbours: Tensor,
        frame: Optional[Tensor] = None,
    ) -> Tensor:
        repulsion = self.repulsion(species, vectors, neighbours)
        return self.scaled(self.net(species, vectors, neighbours, frame), species) + repulsion


def slopes(
    values: Tensor, of: Tensor, weights: Tensor | None = None, create_graph: bool = False, retain_graph: bool = False
) -> Tensor:
    """Slopes of the weighted sum of `values` with respect to `of`, in its shape. weights: as values; absent: ones.

    The package's one call of torch.autograd.grad; create_graph and retain_graph as there.
    """
    weights = torch.ones_like(values) if weights is None else weights
    return torch.autograd.grad(values, of, weights, create_graph=create_graph, retain_graph=retain_graph or None)[0]


class Prediction(NamedTuple):
    """energy (B,) eV, forces (N, 3) eV/A, virial (B, 3, 3) eV in LAMMPS' sign, atom_energies (N,) eV; all float64."""

    energy: Tensor
    forces: Tensor
    virial: Tensor
    atom_energies: Tensor


def evaluate(model: nn.Module, graph: Graph, create_graph: bool = False) -> Prediction:
    """Energy, forces F_i = sum_j dE/dr_ij - sum_j dE/dr_ji and virial W = -sum r_ij (x) dE/dr_ij of every frame in
    `graph`.

    create_graph: keep what a loss needs for its own backward pass, also to the graph's vectors if they need a gradient.
    """
    vectors = graph.vectors
    if not (create_graph and vectors.requires_grad):
        vectors = vectors.detach().requires_grad_(True)
    with torch.enable_grad():
        atom_energies = model(graph.species, vectors, graph.neighbours, graph.frame)
        slope = slopes(atom_energies, vectors, create_graph=create_graph)
    slope = slope.to(torch.float64)
    forces = slope.sum(1).index_add(0, graph.neighbours.reshape(-1), slope.reshape(-1, 3), alpha=-1)
    atom_virial = -torch.bmm(graph.vectors.to(torch.float64).transpose(1, 2), slope)  # (N, 3, 3)
    n_frames = len(graph.volumes)
    energy = atom_energies.new_zeros(n_frames).index_add(0, graph.frame, atom_energies)
    virial = slope.new_zeros(n_frames, 3, 3).index_add(0, graph.frame, atom_virial)
    result = Prediction(energy, forces, virial, atom_energies)
    return result if create_graph else Prediction(*(tensor.detach() for tensor in result))


def hessian(prediction: Prediction, positions: Tensor) -> Tensor:
    """Second derivatives (3N, 3N) of the energy in eV/A^2, a row from each component of the forces: `prediction` by
    evaluate with create_graph, or by TrainingEngine, of a graph of `positions` (N, 3) A that need a gradient.
    """
    components = prediction.forces.reshape(-1)
    units = torch.eye(len(components), dtype=components.dtype, device=components.device)
    rows = [slopes(components, positions, unit, retain_graph=True).reshape(-1) for unit in units]
    return -torch.stack(rows)


def stress(prediction: Prediction, volumes: Tensor) -> Tensor:
    """Stress (B, 3, 3) in eV/A^3, ASE's sign, from the volumes (B,) in A^3: -W/V; NaN where a frame has no volume."""
    volumes = torch.where(volumes > 0, volumes, torch.full_like(volumes, torch.nan))
    return -prediction.virial / volumes[:, None, None]
