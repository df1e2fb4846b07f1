"""A network in one file, as docs/extending.md asks for: messages filtered by distance, scalars alone (after SchNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlmd.models.network import Network, network


@network("scalars")
class Scalars(Network):
    """h_i <- h_i + silu(W sum_j filter(d_ij) h_j), n_layers times; the energy is a dense network of h (N, F)."""

    def __init__(self, n_elements: int, cutoff: float, width: int, n_layers: int, n_radial: int, **other):
        super().__init__()
        self.width, self.n_layers, self.cutoff = width, n_layers, cutoff
        self.sharpness = 0.5 * (n_radial / cutoff) ** 2
        self.register_buffer("centres", torch.linspace(0.0, cutoff, n_radial), persistent=False)
        self.embedding = nn.Embedding(n_elements, width)
        self.filters = nn.ModuleList([nn.Linear(n_radial, width, bias=False) for _ in range(n_layers)])
        self.mixing = nn.ModuleList([nn.Linear(width, width) for _ in range(n_layers)])
        self.energy = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def features(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        d = vectors.square().sum(-1, keepdim=True).sqrt()  # (N, K, 1)
        envelope = (1.0 - (d / self.cutoff).clamp(max=1.0).square()) ** 3
        basis = torch.exp(-self.sharpness * (d - self.centres).square()) * envelope  # (N, K, n_radial)
        h = self.embedding(species)
        for filters, mixing in zip(self.filters, self.mixing):  # noqa: B905, scripted
            h = h + torch.nn.functional.silu(mixing((filters(basis) * h[neighbours]).sum(1)))
        return h

    @torch.jit.export
    def readout(self, h: Tensor) -> Tensor:
        return self.energy(h).squeeze(-1)

    @torch.no_grad()
    def add_constant(self, e: float) -> None:
        self.energy[-1].bias += e
