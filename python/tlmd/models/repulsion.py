"""A short-range repulsion of pairs, zero where the training frames are: the network knows nothing nearer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import atomic_numbers
from ase.data.vdw_alvarez import vdw_radii
from torch import Tensor, nn

STRENGTH = 100.0  # eV: 1.3 eV at 0.9 of the radius, 18 eV at 0.8
CONTACT = 0.8  # of the sum of van der Waals radii: beyond it nothing is repelled
UNKNOWN_A = 2.0  # van der Waals radius of elements that the table lacks


class Repulsion(nn.Module):
    """Atom energies in eV, float64: E_i = 1/2 sum_j strength ((R / r_ij)^2 - 1)^3 over the pairs nearer than
    R = radius[Z_i, Z_j], A; at R the energy and its first two derivatives are zero. Radii of zero: no repulsion.
    """

    def __init__(self, n_elements: int):
        super().__init__()
        self.register_buffer("radius", torch.zeros(n_elements, n_elements, dtype=torch.float64))
        self.register_buffer("strength", torch.tensor(STRENGTH, dtype=torch.float64))

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        radius = self.radius[species[:, None], species[neighbours.long()]]
        near = torch.nonzero(vectors.detach().to(torch.float64).square().sum(-1) < radius.square())
        centre, slot = near[:, 0], near[:, 1]
        square = vectors[centre, slot].to(torch.float64).square().sum(-1)
        energies = 0.5 * self.strength * (radius[centre, slot].square() / square - 1.0) ** 3
        return energies.new_zeros(len(neighbours)).index_add(0, centre, energies)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name, value in self.state_dict().items():  # files of format 2 and checkpoints of that time have none
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args)


def repulsion_radii(shortest: np.ndarray, elements: Sequence[str]) -> Tensor:
    """Radii (S, S) A from the smallest distances (S, S) A in training, zero where that is NaN; at most CONTACT of the
    sum of van der Waals radii (S. Alvarez, Dalton Trans. 42, 8617 (2013)): elements that never met in training, or met
    from afar only, repel each other no farther than that.
    """
    waals = np.nan_to_num(vdw_radii[[atomic_numbers[e] for e in elements]], nan=UNKNOWN_A)
    return torch.from_numpy(np.nan_to_num(np.minimum(shortest, np.round(CONTACT * (waals[:, None] + waals), 4))))


def radii_by_name(radius: Tensor, elements: Sequence[str]) -> dict[str, float]:
    """What a card says of the radii; nothing where all are zero."""
    named = {f"{a}-{b}": float(radius[i, i + k]) for i, a in enumerate(elements) for k, b in enumerate(elements[i:])}
    return named if any(named.values()) else {}
