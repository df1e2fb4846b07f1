"""Kernels of atoms and of frames, and the feature maps that stand for them.

Atoms have scaled features h (N, F). The kernel of two frames is a mean over pairs of their atoms (Falk, Bonati,
Novelli, Parrinello, Pontil, NeurIPS 2023, arXiv 2306.01589): K_0 over all pairs, K_s over those of species s, and
K_alpha = (1 - alpha) K_0 + alpha sum_s K_s. A feature map phi with phi(h).phi(h') = k(h, h') makes it a dot product.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Aggregation = Literal["mean", "sum"]
SAMPLE = 2000  # atoms for the median distance
SMALLEST = 1e-3  # of the median standard deviation of features: those that vary less are left out


class Kernel(NamedTuple):
    """k(h, h'): linear h.h'/F; gaussian exp(-|h - h'|^2 / 2 length^2); polynomial (1 + h.h'/F)^degree."""

    kind: Literal["linear", "gaussian", "polynomial"]
    length: float = 1.0
    degree: int = 2

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, F), (M, F) -> (N, M)."""
        return kernel_values(a, b, self.kind, self.length, self.degree)


def kernel_values(a: Tensor, b: Tensor, kind: str, length: float, degree: int) -> Tensor:
    """As Kernel, scriptable."""
    products = a @ b.t()
    if kind == "linear":
        return products / a.shape[1]
    if kind == "polynomial":
        return (1.0 + products / a.shape[1]) ** degree
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * products
    return torch.exp(squares.clamp(min=0.0) * (-0.5 / length**2))


def scaling(h: Tensor, species: Tensor, n_species: int) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation (S, F) of the features of each species; 0 for features that do not vary."""
    shift, factor = h.new_zeros(n_species, h.shape[1]), h.new_zeros(n_species, h.shape[1])
    for z in range(n_species):
        mine = h[species == z]
        if len(mine) > 1:
            deviation = mine.std(0)
            shift[z] = mine.mean(0)
            factor[z] = torch.where(deviation > SMALLEST * deviation.median(), 1 / deviation, 0.0)
    return shift, factor


def median_distance(h: Tensor, generator: torch.Generator, n: int = SAMPLE) -> float:
    """Median of the distances between different atoms of a random sample of at most `n` of the rows of h (N, F)."""
    chosen = h[torch.randperm(len(h), generator=generator)[:n]]
    distances = torch.pdist(chosen)
    return float(distances[distances > 0].median()) if bool((distances > 0).any()) else 1.0


class Atoms(NamedTuple):
    """Atoms of T frames: scaled features h (N, F), species (N,) below n_species, frame (N,) ascending."""

    h: Tensor
    species: Tensor
    frame: Tensor
    n_species: int

    def counts(self) -> Tensor:
        """Atoms of each species in each frame, (T, S) float64."""
        n_frames = int(self.frame[-1]) + 1
        places = self.frame * self.n_species + self.species
        counts = torch.bincount(places, minlength=n_frames * self.n_species)
        return counts.view(n_frames, self.n_species).to(torch.float64)


def alpha_kernel(kernel: Kernel, a: Atoms, b: Atoms, alpha: float, aggregation: Aggregation = "mean") -> Tensor:
    """K_alpha between the frames of `a` and of `b`, exactly, (T, T') float64; `sum` has no 1/(n m), 1/(n_s m_s)."""
    factors = [aggregation_factors(x.counts(), aggregation) for x in (a, b)]
    parts = torch.zeros(2, len(factors[0][0]), len(factors[1][0]), dtype=torch.float64)
    own = [species_factor[x.frame, x.species] for (_, species_factor), x in zip(factors, (a, b), strict=True)]
    for t in range(parts.shape[1]):
        mine = a.frame == t
        values = kernel(a.h[mine], b.h).to(torch.float64)  # atoms of one frame, all of the other
        same = a.species[mine][:, None] == b.species[None, :]
        parts[0][t].index_add_(0, b.frame, values.sum(0))
        parts[1][t].index_add_(0, b.frame, (own[0][mine] @ (values * same)) * own[1])
    mean = factors[0][0][:, None] * factors[1][0][None, :]
    return (1 - alpha) * mean * parts[0] + alpha * parts[1]


def aggregation_factors(counts: Tensor, aggregation: Aggregation) -> tuple[Tensor, Tensor]:
    """What sums over atoms are multiplied by: over all (T,), over those of each species (T, S)."""
    if aggregation == "sum":
        return torch.ones(len(counts), dtype=counts.dtype), torch.ones_like(counts)
    return 1 / counts.sum(1), 1 / counts.clamp(min=1)


class FourierMap(nn.Module):
    """phi(h) = sqrt(2/D) [cos(W h), sin(W h)], Rahimi and Recht 2007: of the gaussian kernel where rows of W are normal
    with variance 1/length^2. W (D/2, F), D even. Pairs have a smaller error than D cosines of random phases (Sutherland
    and Schneider 2015), from half as many products."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(n_out // 2, n_in))
        self.norm = (2.0 / n_out) ** 0.5

    def forward(self, h: Tensor) -> Tensor:
        p = linear(h, self.frequencies)
        return torch.cat([torch.cos(p), torch.sin(p)], dim=1) * self.norm

    def flat(self) -> tuple[str, float, Tensor, Tensor]:
        """The function of p = points h + bias that the native engine evaluates, its parameter, points and bias."""
        return "fourier", 0.0, self.frequencies, torch.zeros_like(self.frequencies[:, 0])

    def fold(self, weights: Tensor) -> Tensor:
        """Weights (S, D) of phi as weights of that function."""
        return weights * self.norm

    def slopes(self, h: Tensor) -> Tensor:
        """dphi_d/dh_f of each atom, (N, F, D)."""
        p, across = linear(h, self.frequencies)[:, None], self.frequencies.t() * self.norm
        return torch.cat([-torch.sin(p) * across, torch.cos(p) * across], dim=2)

    @torch.no_grad()
    def draw(self, lengths: list[float], generator: torch.Generator) -> FourierMap:
        """Orthogonal random frequencies (Yu et al. 2016): equal shares for each of `lengths`."""
        n, n_in = self.frequencies.shape
        rows, shares = [], np.array_split(np.arange(n), len(lengths))
        for length, share in zip(lengths, shares, strict=True):
            blocks = []
            for _ in range(-(-len(share) // n_in)):
                normal = torch.randn(2, n_in, n_in, generator=generator, dtype=torch.float64)
                blocks.append(torch.linalg.qr(normal[0])[0] * normal[1].norm(dim=1, keepdim=True))
            rows.append(torch.cat(blocks)[: len(share)] / length)
        self.frequencies.copy_(torch.cat(rows))
        return self


class LinearMap(nn.Module):
    """phi(h) = h / sqrt(F): of the linear kernel."""

    def __init__(self, n_in: int):
        super().__init__()
        self.norm = n_in**-0.5

    def forward(self, h: Tensor) -> Tensor:
        return h * self.norm

    def flat(self) -> tuple[str, float, Tensor, Tensor]:
        """As FourierMap.flat."""
        return "linear", 0.0, torch.zeros(0), torch.zeros(0)

    def fold(self, weights: Tensor) -> Tensor:
        """As FourierMap.fold."""
        return weights * self.norm

    def slopes(self, h: Tensor) -> Tensor:
        """dphi_d/dh_f of each atom, (N, F, F)."""
        return torch.eye(h.shape[1], dtype=h.dtype).mul(self.norm).expand(len(h), -1, -1)


class LandmarkMap(nn.Module):
    """phi(h) = k(h, landmarks) V: landmarks (M, F), V (M, D). Nystroem's map where V V^T is the inverse of
    k(landmarks, landmarks); V is one where n_out is 0."""

    def __init__(self, n_in: int, n_landmarks: int, n_out: int, kernel: Kernel):
        super().__init__()
        self.kind, self.length, self.degree = str(kernel.kind), float(kernel.length), int(kernel.degree)
        self.register_buffer("landmarks", torch.zeros(n_landmarks, n_in))
        self.register_buffer("whitening", torch.zeros(n_landmarks, n_out))

    def forward(self, h: Tensor) -> Tensor:
        values = kernel_values(h, self.landmarks, self.kind, self.length, self.degree)
        return values @ self.whitening if self.whitening.shape[1] > 0 else values

    def flat(self) -> tuple[str, float, Tensor, Tensor]:
        """As FourierMap.flat."""
        marks = self.landmarks
        if self.kind == "gaussian":
            narrow = 1.0 / self.length**2
            return self.kind, 0.5 * narrow, marks * narrow, (marks * marks).sum(1) * (-0.5 * narrow)
        ones = torch.ones_like(marks[:, 0])
        if self.kind == "polynomial":
            return self.kind, float(self.degree), marks / marks.shape[1], ones
        return "polynomial", 1.0, marks / marks.shape[1], torch.zeros_like(ones)

    def fold(self, weights: Tensor) -> Tensor:
        """As FourierMap.fold."""
        return weights @ self.whitening.t() if self.whitening.shape[1] > 0 else weights

    def slopes(self, h: Tensor) -> Tensor:
        """dphi_d/dh_f of each atom, (N, F, D)."""
        n_in = h.shape[1]
        if self.kind == "gaussian":
            away = self.landmarks[None] - h[:, None]  # (N, M, F)
            slopes = away * (kernel_values(h, self.landmarks, self.kind, self.length, 1) / self.length**2)[..., None]
        elif self.kind == "polynomial":
            inner = kernel_values(h, self.landmarks, self.kind, 1.0, self.degree - 1) * (self.degree / n_in)
            slopes = inner[..., None] * self.landmarks
        else:
            slopes = (self.landmarks / n_in).expand(len(h), -1, -1)
        return slopes.transpose(1, 2) @ self.whitening


def nystroem(kernel: Kernel, landmarks: Tensor, smallest: float = 1e-10) -> LandmarkMap:
    """Nystroem's map on `landmarks` (M, F); directions whose eigenvalue is below `smallest` of the largest are left
    out, so that D <= M."""
    landmarks = landmarks.to(torch.float64)
    values, vectors = torch.linalg.eigh(kernel(landmarks, landmarks))
    kept = values > smallest * values[-1]
    made = LandmarkMap(landmarks.shape[1], len(landmarks), int(kept.sum()), kernel).double()
    made.landmarks.copy_(landmarks)
    made.whitening.copy_(vectors[:, kept] * values[kept].rsqrt())
    return made
