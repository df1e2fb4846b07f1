"""Ridge regression on sums of atomic features: normal equations of energies, forces and stresses, and their solution.

A frame's energy is sum_z u_z . psi_z with psi_z the sum of phi over its atoms of species z, plus reference energies.
K_alpha is the prior u_z = sqrt(1 - alpha) w_0 + sqrt(alpha) c_z w_z with all w standard normal; c_z = N / n_z of the
frame (aggregation mean) or 1 (sum). Where c is the same for all frames, rows have a block of D columns for each species
and alpha enters only when the equations are solved: one accumulation serves every alpha. Else there is a block for w_0
and one for each w_z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

KINDS = ("energy", "forces", "stress")
FINEST = 1e-6  # (1 meV/atom)^2: energies do not count in a smaller unit, as where reference energies fit them exactly


class Blocks(NamedTuple):
    """How frames become columns: ratio (S,) where N / n_z is the same for all frames (or one: aggregation sum); else
    None. n_species S."""

    n_species: int
    ratio: Tensor | None

    @property
    def number(self) -> int:
        """Blocks of columns."""
        return self.n_species + (self.ratio is None)

    def rows(self, psi: Tensor, ratio: Tensor) -> Tensor:
        """Rows (..., number D) from sums by species (..., S, D) of a frame with the given N / n_z (S,)."""
        if self.ratio is None:
            psi = torch.cat([psi.sum(-2, keepdim=True), ratio.to(psi.dtype)[:, None] * psi], dim=-2)
        return psi.flatten(-2)

    def prior(self, alpha: float) -> Tensor:
        """P (number, R) with u = P w: what independent standard normal coefficients w become."""
        if self.ratio is None:
            factors = torch.cat([torch.tensor([1 - alpha]), torch.full((self.n_species,), alpha)])
            return torch.diag(factors.double().sqrt())[:, factors > 0]
        covariance = (1 - alpha) * torch.ones(self.n_species, self.n_species, dtype=torch.float64)
        covariance += torch.diag(alpha * self.ratio**2)
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > 1e-12 * values[-1]
        return vectors[:, kept] * values[kept].sqrt()

    def weights(self, u: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """w_0 (D,) and w_z (S, D), each with its factor of alpha, from the solution u (number, D)."""
        if self.ratio is None:
            return u[0], u[1:]
        prior = self.prior(alpha)
        share = torch.linalg.pinv(prior @ prior.t(), hermitian=True) @ u
        return (1 - alpha) * share.sum(0), alpha * self.ratio[:, None] * share


@dataclass
class Sums:
    """Of n labels y with rows x (P,): sum x x^T (P, P), sum x y (P,), sum y^2; float64."""

    gram: Tensor
    cross: Tensor
    square: float = 0.0
    number: int = 0

    @staticmethod
    def empty(n: int) -> Sums:
        """Of no labels, n columns."""
        return Sums(torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Take in rows (n, P) and labels (n,)."""
        rows, labels = rows.to(torch.float64), labels.to(torch.float64)
        self.gram.addmm_(rows.t(), rows)
        self.cross.addmv_(rows.t(), labels)
        self.square += float(labels @ labels)
        self.number += len(labels)

    def merge(self, other: Sums) -> None:
        """Take in what another process has summed."""
        self.gram += other.gram
        self.cross += other.cross
        self.square += other.square
        self.number += other.number

    def mse(self, u: Tensor) -> float:
        """Mean squared error of the solution u (P,); NaN if u is."""
        total = float(u @ (self.gram @ u) - 2 * (u @ self.cross)) + self.square
        return (0.0 if total < 0 else total) / self.number

    def mean_square(self) -> float:
        """Mean square of the labels."""
        return self.square / self.number


@dataclass(frozen=True)
class Choice:
    """Hyper-parameters: alpha, weight of forces and stresses against energies, and lambda in units of the mean diagonal
    element of the normal equations."""

    alpha: float
    force_weight: float
    ridge: float


class Solver:
    """Solutions for many choices from one accumulation {kind: Sums}."""

    def __init__(self, sums: dict[str, Sums], blocks: Blocks):
        self.sums = {kind: s for kind, s in sums.items() if s.number}
        self.blocks = blocks
        self._reduced: dict[tuple[str, float], tuple[Tensor, Tensor]] = {}

    def normal(self, alpha: float, force_weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """A (R D, R D) and b of the weighted mean squared errors, each in units of its labels' mean square; P."""
        prior = self.blocks.prior(alpha)
        weights = kind_weights(self.sums, force_weight)
        gram, cross = 0.0, 0.0
        for kind, sums in self.sums.items():
            unit = max(sums.mean_square(), FINEST) if kind == "energy" else sums.mean_square()
            factor = weights[kind] / (sums.number * unit)
            g, c = self._reduce(kind, alpha, prior)
            gram, cross = gram + factor * g, cross + factor * c
        return gram, cross, prior

    def _reduce(self, kind: str, alpha: float, prior: Tensor) -> tuple[Tensor, Tensor]:
        if (kind, alpha) not in self._reduced:
            if len(self._reduced) and alpha != next(iter(self._reduced))[1]:
                self._reduced.clear()  # one alpha at a time
            sums, n = self.sums[kind], len(prior)
            blocks = sums.gram.view(n, -1, n, len(sums.cross) // n)
            gram = torch.einsum("bdce,br,cq->rdqe", blocks, prior, prior).reshape(prior.shape[1] * blocks.shape[1], -1)
            self._reduced[kind, alpha] = (gram, (prior.t() @ sums.cross.view(n, -1)).flatten())
        return self._reduced[kind, alpha]

    def solve(self, choice: Choice) -> Tensor:
        """u (P,); NaN where lambda is too small for a Cholesky factor."""
        gram, cross, prior = self.normal(choice.alpha, choice.force_weight)
        factor, failed = torch.linalg.cholesky_ex(ridged(gram, choice.ridge))
        if failed:
            return torch.full((len(prior) * (len(cross) // prior.shape[1]),), torch.nan, dtype=torch.float64)
        w = torch.cholesky_solve(cross[:, None], factor)[:, 0]
        return (prior @ w.view(prior.shape[1], -1)).flatten()

    def covariance_root(self, choice: Choice) -> Tensor:
        """V (P, R D) with V V^T the covariance of u but for its scale: the variance of a row x is |x V|^2 times it."""
        gram, _, prior = self.normal(choice.alpha, choice.force_weight)
        factor = torch.linalg.cholesky(ridged(gram, choice.ridge))
        root = torch.linalg.solve_triangular(factor, torch.eye(len(factor), dtype=torch.float64), upper=False)
        return torch.einsum("br,qrd->bdq", prior, root.view(len(root), prior.shape[1], -1)).reshape(-1, len(root))


def ridged(gram: Tensor, ridge: float) -> Tensor:
    """The normal equations with lambda on the diagonal."""
    result = gram.clone()
    result.diagonal().add_(ridge * float(gram.diagonal().mean()))
    return result


def kind_weights(kinds: Sequence[str], force_weight: float) -> dict[str, float]:
    """Weights of the kinds of labels, which add up to one: forces and stresses share force_weight."""
    others = [kind for kind in kinds if kind != "energy"]
    if not others or "energy" not in kinds:
        return dict.fromkeys(kinds, 1 / len(kinds))
    return {"energy": 1 - force_weight} | {kind: force_weight / len(others) for kind in others}


def grid(solver: Solver, valid: dict[str, Sums], choices: Sequence[Choice]) -> list[dict[str, float]]:
    """For each choice its errors on the validation sums: RMSE of each kind (eV/atom, eV/A, eV/A^3) and the score, the
    sum of RMSE in units of the labels' rms. Choices of one alpha should follow each other."""
    rows = []
    for choice in choices:
        u = solver.solve(choice)
        row = {"alpha": choice.alpha, "force_weight": choice.force_weight, "lambda": choice.ridge, "score": 0.0}
        for kind, sums in valid.items():
            if sums.number:
                row[f"{kind}_rmse"] = float(np.sqrt(sums.mse(u)))
                row["score"] += row[f"{kind}_rmse"] / np.sqrt(sums.mean_square())
        rows.append(row)
    return rows
