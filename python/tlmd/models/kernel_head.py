"""MEKRR's potential: a kernel head on the features of a frozen network, scriptable.

E = sum_i [w_0 + ratio_i w_{Z_i}] . phi(h_i) + E0[Z_i], where h_i are scaled features of atom i, and ratio_i is
N / n_{Z_i} of its frame (aggregation mean) or 1 (sum): a sum over atoms that is linear in the kernel K_alpha of
models.kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from tlmd.graph import Graph
from tlmd.models.kernels import Aggregation, FourierMap, LandmarkMap, LinearMap
from tlmd.models.network import EngineForm, Network, class_of
from tlmd.models.painn import PaiNN
from tlmd.run.errors import InputError

Map = FourierMap | LandmarkMap | LinearMap


class KernelHead(nn.Module):
    """Features of atoms (N, F), species (N,), ratio (N,) -> energies (N,).

    Buffers: shift and factor (S, F) scale the features of each species, common (D,) is w_0, own (S, D) the w_Z. spread
    (blocks, D, K) is a root of the weights' covariance, in the columns of mekrr.ridge.Blocks: a block for each species,
    or one more and first for w_0; no blocks: not known. centre (S, D) is the mean phi of each species: deviations are
    of energies relative to it, since energies of frames do not tell how a constant is shared among species.
    """

    def __init__(self, n_species: int, n_in: int, n_out: int, features: Map, spread: tuple[int, int] = (0, 0)):
        super().__init__()
        self.map = features
        self.register_buffer("shift", torch.zeros(n_species, n_in))
        self.register_buffer("factor", torch.ones(n_species, n_in))
        self.register_buffer("common", torch.zeros(n_out))
        self.register_buffer("own", torch.zeros(n_species, n_out))
        self.register_buffer("spread", torch.zeros(spread[0], n_out, spread[1]))
        self.register_buffer("centre", torch.zeros(n_species, n_out))

    def scaled(self, h: Tensor, species: Tensor) -> Tensor:
        """Features as the kernel sees them, (N, F)."""
        return (h - self.shift[species]) * self.factor[species]

    @torch.jit.export
    def flat(self, ratio: Tensor) -> tuple[str, float, Tensor, Tensor, Tensor]:
        """What the native engine takes: function, its parameter, points and bias as in FourierMap.flat, and the weights
        of each species (S, n) where its ratio is `ratio` (S,)."""
        function, parameter, points, bias = self.map.flat()
        return function, parameter, points, bias, self.map.fold(self.common + ratio[:, None] * self.own)

    def rows(self, h: Tensor, species: Tensor) -> Tensor:
        """phi of every atom less the mean of its species, (N, D)."""
        return self.map(self.scaled(h, species)) - self.centre[species]

    @torch.jit.export
    def deviation(self, psi: Tensor, ratio: Tensor) -> Tensor:
        """Standard deviation (B,) in eV of energies with the sums psi (B, S, D) of phi by species; ratio (B, S)."""
        if len(self.spread) > psi.shape[1]:
            psi = torch.cat([psi.sum(1, keepdim=True), ratio[:, :, None] * psi], dim=1)
        return (psi.flatten(1) @ self.spread.flatten(0, 1)).square().sum(1).sqrt()

    def forward(self, h: Tensor, species: Tensor, ratio: Tensor) -> Tensor:
        phi = self.map(self.scaled(h, species))
        return phi @ self.common + ratio * (phi * self.own[species]).sum(1)


class KernelNet(Network):
    """What all of MEKRR's networks share: a head on the features of `layers`, side by side, of those that
    `after_layers(species, vectors, neighbours)` gives, (N, F) each. What LAMMPS calls has the same names in all."""

    def features(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        """What the head sees, (N, F)."""
        return self.side_by_side(self.after_layers(species, vectors, neighbours))

    def side_by_side(self, after_layers: list[Tensor]) -> Tensor:
        """Features of the chosen layers, (N, F)."""
        return torch.cat([after_layers[i] for i in self.layers], dim=1)

    @torch.jit.export
    def sums(self, after_layers: list[Tensor], species: Tensor) -> Tensor:
        """As of_species, from the features after every layer."""
        return self.of_species(self.side_by_side(after_layers), species)

    def of_species(self, h: Tensor, species: Tensor) -> Tensor:
        """phi - centre of every atom at its species, zero at others: (N, S, D), whose sum over atoms is psi."""
        phi = self.head.rows(h, species)
        return torch.nn.functional.one_hot(species, self.head.own.shape[0]).to(phi.dtype)[:, :, None] * phi[:, None]

    @torch.jit.export
    def deviations(
        self, species: Tensor, vectors: Tensor, neighbours: Tensor, frame: Tensor, n_frames: int
    ) -> tuple[Tensor, Tensor]:
        """Standard deviations of the energies of atoms (N,) and of frames (n_frames,), in eV."""
        psi = self.of_species(self.features(species, vectors, neighbours), species)
        ratio = self.ratios(species, frame, n_frames).to(psi.dtype)
        of_frames = torch.zeros_like(psi[:1]).expand(n_frames, -1, -1).index_add(0, frame, psi)
        return self.head.deviation(psi, ratio[frame]), self.head.deviation(of_frames, ratio)

    @torch.jit.export
    def ratio(self, species: Tensor, frame: Optional[Tensor]) -> Tensor:
        """N / n_Z of each atom's frame (N,), one without aggregation mean; one frame if none are given."""
        frames = torch.zeros_like(species) if frame is None else frame
        n_frames = int(frames.max()) + 1 if len(frames) > 0 else 1
        return self.ratios(species, frames, n_frames)[frames, species]

    def ratios(self, species: Tensor, frame: Tensor, n_frames: int) -> Tensor:
        """N / n_Z of each frame (n_frames, S), one without aggregation mean; float64."""
        n_species = self.head.own.shape[0]
        counts = torch.bincount(frame * n_species + species, minlength=n_frames * n_species)
        counts = counts.view(n_frames, n_species).to(torch.float64)
        return counts.sum(1, keepdim=True) / counts.clamp(min=1.0) if self.mean else torch.ones_like(counts)

    @torch.jit.export
    def readout(self, h: Tensor) -> Tensor:
        raise RuntimeError("a kernel model is read out by kernel_readout")

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor, frame: Optional[Tensor] = None) -> Tensor:
        ratio = self.ratio(species, frame).to(vectors.dtype)
        return self.kernel_readout(self.after_layers(species, vectors, neighbours), species, ratio)


class KernelModule(KernelNet):
    """A scripted feature module (models.features.module) that is not cut into layers, for `elements`, some of its own.

    n_layers: pairs of atoms from an atom to the farthest one that its features depend on; 0: the module does not say.
    """

    def __init__(
        self,
        backbone: nn.Module,
        elements: Sequence[str],
        aggregation: Aggregation,
        features: Map,
        n_out: int,
        spread: tuple[int, int] = (0, 0),
    ):
        super().__init__()
        self.backbone = backbone
        self.width, self.n_layers, self.layers = int(backbone.width), int(getattr(backbone, "n_layers", 0)), [0]
        self.mean = aggregation == "mean"
        self.head = KernelHead(len(elements), self.width, n_out, features, spread)
        index = torch.tensor([backbone.elements.index(e) for e in elements])
        self.register_buffer("index", index, persistent=False)

    @torch.jit.export
    def after_layers(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> list[Tensor]:
        """The module's features, (N, F), alone."""
        return [self.backbone(self.index[species], vectors, neighbours)]

    @torch.jit.export
    def kernel_readout(self, after_layers: list[Tensor], species: Tensor, ratio: Tensor) -> Tensor:
        """Atom energies (N,) from what after_layers gives and the ratio N / n_Z (N,)."""
        return self.head(self.side_by_side(after_layers), species, ratio)


class KernelPaiNN(KernelNet, PaiNN):
    """PaiNN up to the last of `layers`, whose scalar features after these layers, side by side, go to the head.

    baseline: the head's energies are added to the network's own.
    """

    def __init__(
        self,
        layers: list[int],
        aggregation: Aggregation,
        n_out: int,
        features: Map,
        spread: tuple[int, int] = (0, 0),
        baseline: bool = False,
        **architecture,
    ):
        super().__init__(**architecture)
        self.baseline = baseline
        if not baseline:
            self.energy = nn.Identity()  # not called
        self.layers = list(layers)
        self.mean = aggregation == "mean"
        self.head = KernelHead(self.embedding.num_embeddings, len(layers) * self.width, n_out, features, spread)

    @torch.jit.export
    def after_layers(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> list[Tensor]:
        """Scalar features after every layer, (N, F) each."""
        unit, basis = self.edges(vectors)
        q = self.embed(species)
        mu = q.new_zeros(3, 0, self.width)  # not read by the first layer
        found: list[Tensor] = []
        for i in range(self.n_layers):
            q, mu = self.layer(i, q, mu, unit, basis, neighbours)
            found.append(q)
        return found

    @torch.jit.export
    def kernel_readout(self, after_layers: list[Tensor], species: Tensor, ratio: Tensor) -> Tensor:
        """Atom energies (N,) from the scalar features after every layer, each (N, F), and the ratio N / n_Z (N,)."""
        e = self.head(self.side_by_side(after_layers), species, ratio)
        if self.baseline:
            e = e + self.energy(after_layers[-1]).squeeze(-1)
        return e

    def engine_form(self) -> EngineForm:
        return PaiNN.engine_form(self)._replace(head=self.head, layers=tuple(self.layers))


@torch.no_grad()
def deviations(model: nn.Module, graph: Graph) -> tuple[Tensor, Tensor]:
    """Predicted standard deviations in eV of the energies of atoms (N,) and of frames (B,), relative to mean atoms of
    their species, by a kernel potential, trained or exported; InputError for one that cannot."""
    net = model.net
    if not issubclass(class_of(net), KernelNet) or not len(net.head.spread):
        raise InputError("a model without deviations", "one by tl-mekrr with fit.deviation", "fit again")
    vectors = graph.vectors.to(net.head.spread.dtype)
    return net.deviations(graph.species, vectors, graph.neighbours, graph.frame, len(graph.volumes))
