"""Exact kernel ridge regression of energies per atom over the training frames: (K_alpha + lambda) c = y."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tlmd.evaluate.dataset import FrameSet
from tlmd.mekrr.accumulate import sample_features
from tlmd.mekrr.backbones import Backbone
from tlmd.mekrr.grid import NO_VALID, best_row
from tlmd.mekrr.ridge import Choice
from tlmd.models.kernel_head import KernelHead
from tlmd.models.kernels import Aggregation, Atoms, Kernel, aggregation_factors, alpha_kernel
from tlmd.run.errors import InputError

MOST_ATOMS = 20_000


class Labelled(NamedTuple):
    """Atoms of the frames that have an energy, and y (T,): energy per atom less the references, eV."""

    atoms: Atoms
    energies: Tensor


def labelled(backbone: Backbone, head: KernelHead, frames: FrameSet, references: Tensor, name: str) -> Labelled:
    """From the frames of a set; InputError if there are too many atoms or no energies."""
    chosen = [i for i in range(len(frames)) if frames.counts[i].energy]
    n_atoms = int(frames.sizes[chosen].sum())
    if not 0 < n_atoms <= MOST_ATOMS:
        raise InputError(
            f"{n_atoms} atoms in {name} frames with energies",
            f"1 to {MOST_ATOMS} for the exact solver",
            "take fewer frames, or solver fourier or nystroem",
        )
    h, species, frame = sample_features(backbone, frames, chosen)
    atoms = Atoms(head.scaled(h.double(), species), species, frame, len(references))
    totals = torch.cat([frames.labels[i].energy for i in chosen])
    counts = atoms.counts()
    return Labelled(atoms, (totals - counts @ references) / counts.sum(1))


def per_atom_kernel(kernel: Kernel, a: Atoms, b: Atoms, alpha: float, aggregation: Aggregation) -> Tensor:
    """Kernel of energies per atom: K_alpha of means, or that of sums over the numbers of atoms."""
    values = alpha_kernel(kernel, a, b, alpha, aggregation)
    return values if aggregation == "mean" else values / torch.outer(a.counts().sum(1), b.counts().sum(1))


def exact_grid(
    kernel: Kernel, train: Labelled, valid: Labelled | None, alphas: list[float], ridges: list[float], aggregation
) -> tuple[list[dict[str, float]], dict[tuple[float, float], Tensor]]:
    """Validation errors of each (alpha, lambda), as mekrr.ridge.grid, and the coefficients c (T,) of each; lambda in
    units of the mean diagonal element of K_alpha."""
    rows, solutions = [], {}
    for alpha in alphas:
        gram = per_atom_kernel(kernel, train.atoms, train.atoms, alpha, aggregation)
        across = valid and per_atom_kernel(kernel, valid.atoms, train.atoms, alpha, aggregation)
        for ridge in ridges:
            ridged = gram + ridge * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=gram.dtype)
            factor, failed = torch.linalg.cholesky_ex(ridged)
            c = torch.cholesky_solve(train.energies[:, None], factor)[:, 0]
            solutions[alpha, ridge] = torch.full_like(c, torch.nan) if failed else c
            if valid is not None:
                error = across @ solutions[alpha, ridge] - valid.energies
                rmse = float(error.square().mean().sqrt())
                score = rmse / float(valid.energies.square().mean().sqrt())
                rows.append(dict(zip(("alpha", "force_weight", "lambda", "score", "energy_rmse"),
                                     (alpha, 1.0, ridge, score, rmse), strict=True)))  # fmt: skip
    return rows, solutions


def exact_weights(c: Tensor, atoms: Atoms, choice: Choice, aggregation: Aggregation) -> tuple[Tensor, Tensor]:
    """w_0 (M,) and w_z (S, M) of the expansion over the M training atoms from the coefficients c (T,) of the frames."""
    counts = atoms.counts()
    of_all, of_species = aggregation_factors(counts, aggregation)
    if aggregation == "sum":
        of_all = of_all / counts.sum(1)
        of_species = of_species / counts.sum(1, keepdim=True)
    mine = torch.nn.functional.one_hot(atoms.species, atoms.n_species).t().double()
    own = choice.alpha * (c[:, None] * of_species)[atoms.frame].t() * mine
    return (1 - choice.alpha) * (c * of_all)[atoms.frame], own


def exact_choice(rows: list[dict[str, float]], solutions: dict) -> Choice:
    """The one with the smallest validation error; without validation frames the only one."""
    if not rows:
        if len(solutions) > 1:
            raise InputError(*NO_VALID)
        alpha, ridge = next(iter(solutions))
        return Choice(alpha, 1.0, ridge)
    best = rows[best_row(rows)]
    return Choice(best["alpha"], 1.0, best["lambda"])
