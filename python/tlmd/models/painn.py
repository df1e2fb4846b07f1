"""PaiNN: Schuett, Unke, Gastegger, ICML 2021 (arXiv 2102.03150). The reference definition; scriptable.

Shapes: N atoms whose energy is wanted, M >= N atoms with features (the rest are ghosts of a domain), K neighbours, F
channels. Filters act on a basis that already carries the cutoff: W_ij = A (rbf f_c) + b f_c = [rbf f_c, f_c] [A; b],
one product.
"""

from __future__ import annotations

import math
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from tlmd.models.network import EngineForm, Network, RadialForm, network
from tlmd.run.errors import InputError

NORM_EPSILON = 0.3  # of new networks
OLD_NORM_EPSILON = 1e-4  # of files of format 1, which do not state it


class Edges(nn.Module):
    """Vectors (N, K, 3) -> unit vectors (N, K, 3) and basis (N, K, n_radial + 1): the radial functions and 1, times
    f_c.

    radial: bessel, sin(k pi d / r_c) / d, or gaussian, centres linspace(0, r_c), width = spacing. envelope f_c:
    polynomial (p = 6, C2 at r_c; Gasteiger et al. 2020, eq. 8) or cosine (C1). Exactly zero, with zero slope, for d >=
    r_c.
    """

    def __init__(self, cutoff: float, n_radial: int = 20, radial: str = "bessel", envelope: str = "polynomial"):
        super().__init__()
        self.cutoff = float(cutoff)
        self.bessel = {"bessel": True, "gaussian": False}[radial]
        self.polynomial = {"polynomial": True, "cosine": False}[envelope]
        start, stop = (math.pi / cutoff, n_radial * math.pi / cutoff) if self.bessel else (0.0, self.cutoff)
        self.register_buffer("centres", torch.linspace(start, stop, n_radial, dtype=torch.float64), persistent=False)
        self.width = self.cutoff / max(n_radial - 1, 1)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        d2 = (vectors * vectors).sum(-1, keepdim=True)
        inverse = torch.rsqrt(d2)
        d = d2 * inverse
        x = d / self.cutoff
        if self.polynomial:
            x2 = x * x
            f_c = 1.0 + x2 * x2 * x2 * (-28.0 + x * (48.0 - 21.0 * x))
        else:
            f_c = 0.5 * (torch.cos(math.pi * x) + 1.0)
        f_c = torch.where(x < 1.0, f_c, torch.zeros_like(f_c))
        centres = self.centres.to(d.dtype)
        if self.bessel:
            radial = torch.sin(d * centres) * (inverse * f_c)
        else:
            radial = torch.exp(-0.5 * ((d - centres) / self.width) ** 2) * f_c
        return vectors * inverse, torch.cat([radial, f_c], dim=-1)


def radial_form(edges: Edges) -> RadialForm:
    """What the native engine needs to know of it."""
    return RadialForm(float(edges.cutoff), edges.centres.tolist(), edges.width, edges.bessel, edges.polynomial)


def inner_pairs(unit: Tensor, basis: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs whose basis is not zero, in as few columns k as hold them: unit vectors (N, k, 3), basis (N, k, B)
    and neighbours (N, k)."""
    inside = basis[..., -1] != 0
    k = int(inside.sum(1).max()) if inside.numel() > 0 else 0
    order = torch.sort(inside.to(torch.uint8), stable=True, dim=1, descending=True)[1][:, :k]
    along = order[:, :, None]
    unit = unit.gather(1, along.expand(-1, -1, unit.shape[2]))
    basis = basis.gather(1, along.expand(-1, -1, basis.shape[2]))
    return unit, basis, neighbours.gather(1, order)


def mlp(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Linear, SiLU, Linear: the only dense network in PaiNN."""
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.SiLU(), nn.Linear(n_hidden, n_out))


class Message(nn.Module):
    """Sums of filtered neighbour features, eqs. 7 and 8. `first`: mu is zero, so the third filter is not evaluated."""

    def __init__(self, width: int, n_radial: int, first: bool):
        super().__init__()
        self.width, self.first = width, first
        self.filter = nn.Linear(n_radial, 3 * width)
        self.context = mlp(width, width, 3 * width)

    def forward(self, q: Tensor, mu: Tensor, unit: Tensor, basis: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        n, k = neighbours.shape
        f = self.width
        j = neighbours.reshape(-1)
        a, b, c = torch.cat([self.filter.weight, self.filter.bias[:, None]], dim=1).chunk(3)  # (F, n_radial + 1) each
        x_a, x_b, x_c = self.context(q).chunk(3, dim=1)  # (M, F) each
        scalar = linear(basis, a) * x_a.index_select(0, j).view(n, k, f)  # (N, K, F)
        vector = linear(basis, b) * x_b.index_select(0, j).view(n, k, f)
        dq = scalar.sum(1)
        dmu = torch.bmm(unit.transpose(1, 2), vector).transpose(0, 1)  # (3, N, F)
        if not self.first:
            weight = linear(basis, c) * x_c.index_select(0, j).view(n, k, f)
            dmu = dmu + (weight * mu.index_select(1, j).view(3, n, k, f)).sum(2)
        return dq, dmu


class Update(nn.Module):
    """Mixing of the channels of one atom, eqs. 9 and 10. `last`: the vectors are not needed afterwards and stay as
    they are. The norm of V is sqrt(|V|^2 + norm_epsilon^2), smooth also where symmetry makes V vanish.
    """

    def __init__(self, width: int, last: bool, norm_epsilon: float):
        super().__init__()
        self.width, self.last, self.epsilon2 = width, last, norm_epsilon * norm_epsilon
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.context = mlp(2 * width, width, 3 * width)

    def forward(self, q: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        v, u = self.mix(mu).chunk(2, dim=-1)  # (3, N, F) each
        norm = torch.sqrt((v * v).sum(0) + self.epsilon2)
        ss, vv, sv = self.context(torch.cat([q, norm], dim=1)).chunk(3, dim=1)  # (N, F) each
        q = q + ss + sv * (u * v).sum(0)
        if not self.last:
            mu = mu + vv * u
        return q, mu


@network("painn")
class PaiNN(Network):
    """species (N,), vectors (N, K, 3) A, neighbours (N, K) -> dimensionless atom energies e (N,).

    The segments `edges`, `embed`, `layer` and `readout` are what a domain-decomposed run calls, one by one; `forward`
    is their composition. Parameters: number of elements, width F, number of layers L, number of radial functions B - 1,
    cutoff in A, radial basis and envelope as in Edges, length scale of the norm as in Update, and first_cutoff in A, of
    the first layer alone, whose message needs of a neighbour its element and place (None: the cutoff).
    """

    def __init__(
        self,
        n_elements: int,
        width: int = 128,
        n_layers: int = 3,
        n_radial: int = 20,
        cutoff: float = 5.0,
        radial: str = "bessel",
        envelope: str = "polynomial",
        norm_epsilon: float = NORM_EPSILON,
        first_cutoff: Optional[float] = None,
    ):
        super().__init__()
        self.width, self.n_layers, self.norm_epsilon = width, n_layers, norm_epsilon
        self.embedding = nn.Embedding(n_elements, width)
        self.edge_basis = Edges(cutoff, n_radial, radial, envelope)
        if first_cutoff is not None and first_cutoff < cutoff:
            raise InputError(f"first_cutoff {first_cutoff:g} A", f"at least the cutoff, {cutoff:g} A", "make it longer")
        two_radii = first_cutoff is not None and first_cutoff != cutoff
        self.first_basis = Edges(first_cutoff, n_radial, radial, envelope) if two_radii else None
        self.messages = nn.ModuleList([Message(width, n_radial, first=i == 0) for i in range(n_layers)])
        self.updates = nn.ModuleList([Update(width, i == n_layers - 1, norm_epsilon) for i in range(n_layers)])
        self.energy = mlp(width, width // 2, 1)

    @torch.jit.export
    def embed(self, species: Tensor) -> Tensor:
        """Scalar features before the first layer, (M, F)."""
        return self.embedding(species)

    @torch.jit.export
    def edges(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (N, K, 3) and basis (N, K, B); with two radii (N, K, 2B), the first layer's in front."""
        unit, basis = self.edge_basis(vectors)
        if self.first_basis is not None:
            basis = torch.cat([self.first_basis(vectors)[1], basis], dim=-1)
        return unit, basis

    @torch.jit.export
    def layer(
        self, index: int, q: Tensor, mu: Tensor, unit: Tensor, basis: Tensor, neighbours: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Message and update of layer `index`: features of M atoms, q (M, F), mu (3, M, F), to those of the first N."""
        n = neighbours.shape[0]
        if self.first_basis is not None:
            of_first, basis = basis.chunk(2, dim=-1)
            if index == 0:
                basis = of_first
            else:
                unit, basis, neighbours = inner_pairs(unit, basis, neighbours)
        for i, (message, update) in enumerate(zip(self.messages, self.updates)):  # noqa: B905
            if i == index:
                dq, dmu = message(q, mu, unit, basis, neighbours)
                q, mu = update(q[:n] + dq, dmu if i == 0 else mu[:, :n] + dmu)
        return q, mu

    @torch.jit.export
    def readout(self, q: Tensor) -> Tensor:
        """Atom energies (N,) from the scalar features after the last layer (N, F)."""
        return self.energy(q).squeeze(-1)

    def features(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        """Scalar features after the last layer, (N, F)."""
        unit, basis = self.edges(vectors)
        q = self.embed(species)
        mu = q.new_zeros(3, 0, self.width)  # not read by the first layer
        for i in range(self.n_layers):
            q, mu = self.layer(i, q, mu, unit, basis, neighbours)
        return q

    @torch.no_grad()
    def add_constant(self, e: float) -> None:
        """Add e to the last bias."""
        self.energy[-1].bias += e

    def engine_form(self) -> EngineForm:
        epsilon = getattr(self, "norm_epsilon", OLD_NORM_EPSILON)  # exported files of format 1 do not state it
        first = getattr(self, "first_basis", None)  # nor older ones this
        return EngineForm(epsilon, radial_form(self.edge_basis), radial_form(first or self.edge_basis))
