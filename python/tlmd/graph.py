"""The Graph contract: what every potential sees, and how frames become graphs.

A graph holds, for each atom, a row of K neighbours and the vectors to them: a dense matrix instead of a pair list, so
that sums over neighbours are matrix products and plain sums. Rows with fewer than K neighbours are filled with pairs
that lie outside the cutoff, where every filter and its slope are exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import vesin
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from tlmd.run.errors import InputError

PADDING = 2.0  # filler pairs have this length in units of the cutoff
LONGEST_A = 1e5  # cell vectors and distances of free atoms; the neighbour search fails near 1e6
SAME_PLACE_A = 1e-4  # a model has no force for atoms that are nearer than that
LOWEST_A = 0.5  # height of a periodic cell: lower ones have as many images as the cutoff is long


class Graph(NamedTuple):
    """One frame or a batch of frames.

    species     (N,) index into the model's elements
    neighbours  (N, K) int32, atom j of each pair i<-j; filler entries point to atom i itself
    vectors     (N, K, 3) r_j - r_i + image, A; filler entries have length PADDING * cutoff
    frame       (N,) frame that an atom belongs to, 0..B-1
    volumes     (B,) float64 A^3, 0 where a frame is not periodic in three directions
    """

    species: Tensor
    neighbours: Tensor
    vectors: Tensor
    frame: Tensor
    volumes: Tensor

    def to(self, device: torch.device | str) -> Graph:
        """The same graph on another device."""
        return Graph(*(tensor.to(device) for tensor in self))


def species_of(numbers: np.ndarray, elements: Sequence[str]) -> np.ndarray:
    """Index of each atom's element in `elements`, (N,); InputError for an element that the model lacks."""
    table = np.full(max(len(chemical_symbols), int(np.max(numbers, initial=0)) + 1), -1)
    table[[atomic_numbers[e] for e in elements]] = np.arange(len(elements))
    species = table[numbers]
    if np.any(species < 0):
        missing = sorted({chemical_symbols[z] for z in np.asarray(numbers)[species < 0]})
        raise InputError(
            f"element {', '.join(missing)}", f"only {', '.join(elements)}", "use a model trained on these elements"
        )
    return species


def check_cell(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    """InputError unless the neighbour search can take it: positions (N, 3) A, cell (3, 3) A, pbc (3,) bool.

    Along periodic directions the cell needs linearly independent vectors of sane lengths and heights; atoms may lie
    LONGEST_A apart at most.
    """
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise InputError("positions or cell with nan or inf", "finite numbers", "remove the frame")
    if len(positions) and (extent := float(np.ptp(positions, axis=0).max())) > LONGEST_A:
        raise InputError(f"atoms {extent:.3g} A apart", f"at most {LONGEST_A:g} A", "correct the positions")
    periodic = np.asarray(cell, dtype=float)[np.asarray(pbc, dtype=bool)]
    if not len(periodic):
        return
    lengths = np.linalg.norm(periodic, axis=1)
    if lengths.max() > LONGEST_A:
        raise InputError(f"a cell vector of {lengths.max():.3g} A", f"at most {LONGEST_A:g} A", "correct the cell")
    if lengths.min() < 1e-6 or np.linalg.matrix_rank(periodic / lengths[:, None], tol=1e-6) < len(periodic):
        got = "pbc without a cell: vectors that are zero or linearly dependent"
        raise InputError(got, "a cell with a volume", "add Lattice or set pbc to F")
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(periodic), axis=0)
    if heights.min() < LOWEST_A:
        raise InputError(f"a cell {heights.min():.3g} A high", f"at least {LOWEST_A:g} A", "correct or repeat the cell")


def neighbour_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float):
    """All directed pairs i<-j within `cutoff`, sorted by i: i (E,), j (E,), vectors r_j - r_i + image (E, 3) in A.

    Raises InputError for a cell that cannot be searched (check_cell) and for two atoms at one place.
    """
    pbc = np.asarray(pbc, dtype=bool)
    check_cell(positions, cell, pbc)
    box = np.where(pbc[:, None], np.asarray(cell, dtype=np.float64), 0.0)
    search = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
    i, j, vectors = search.compute(points=np.asarray(positions, np.float64), box=box, periodic=pbc, quantities="ijD")
    order = np.argsort(i, kind="stable")
    if (same := np.einsum("ij,ij->i", vectors, vectors) < SAME_PLACE_A**2).any():
        pair = f"atoms {i[same][0]} and {j[same][0]} at one place"
        raise InputError(pair, "atoms apart from each other", "remove one of them")
    return i[order].astype(np.int64), j[order].astype(np.int64), vectors[order]


def build_graph(
    numbers: np.ndarray,
    positions: np.ndarray | Tensor,
    cell: np.ndarray | Tensor,
    pbc: np.ndarray,
    elements: Sequence[str],
    cutoff: float,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """The graph of one frame: numbers (N,), positions (N, 3) A, cell (3, 3) A with rows as vectors, pbc (3,).

    positions and cell may be tensors: what needs a gradient gets those of the vectors and of the volume.
    """
    species = species_of(numbers, elements)
    positions, cell = (torch.as_tensor(x, dtype=torch.float64) for x in (positions, cell))
    i, j, pair_vectors = neighbour_pairs(positions.detach().numpy(), cell.detach().numpy(), pbc, cutoff)
    count = np.bincount(i, minlength=len(species))
    width = int(count.max(initial=0))
    column = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    neighbours = np.repeat(np.arange(len(species), dtype=np.int32)[:, None], width, axis=1)
    neighbours[i, column] = j
    vectors = torch.zeros(len(species), width, 3, dtype=torch.float64)
    vectors[..., 2] = PADDING * cutoff
    vectors[i, column] = with_gradients(torch.as_tensor(pair_vectors), i, j, positions, cell)
    volume = torch.linalg.det(cell).abs() if np.all(pbc) else cell.new_zeros(())
    return Graph(
        torch.as_tensor(species),
        torch.as_tensor(neighbours),
        vectors.to(dtype),
        torch.zeros(len(species), dtype=torch.long),
        volume[None],
    )


def with_gradients(vectors: Tensor, i: np.ndarray, j: np.ndarray, positions: Tensor, cell: Tensor) -> Tensor:
    """The vectors r_j - r_i + image (E, 3) of pairs as a function of the positions and the cell, if these need it."""
    if not (positions.requires_grad or cell.requires_grad):
        return vectors
    between = positions[j] - positions[i]
    shifts = torch.round((vectors - between.detach()) @ torch.linalg.pinv(cell.detach()))
    return between + shifts @ cell


def batch_graphs(graphs: Sequence[Graph]) -> Graph:
    """One graph of several: atom indices shifted, rows widened to the widest, frames numbered in order."""
    if len(graphs) == 1:
        return graphs[0]
    width = max(g.neighbours.shape[1] for g in graphs)
    length = max((float(g.vectors.detach().norm(dim=-1).max()) for g in graphs if g.vectors.numel()), default=1.0)
    neighbours, vectors, frames = [], [], []
    n_atoms = n_frames = 0
    for g in graphs:
        n, k = g.neighbours.shape
        rows = torch.arange(n, dtype=torch.int32)[:, None].expand(n, width - k)
        filler = g.vectors.new_zeros(n, width - k, 3)
        filler[..., 2] = PADDING * length
        neighbours.append(torch.cat([g.neighbours, rows], dim=1) + n_atoms)
        vectors.append(torch.cat([g.vectors, filler], dim=1))
        frames.append(g.frame + n_frames)
        n_atoms, n_frames = n_atoms + n, n_frames + len(g.volumes)
    return Graph(
        torch.cat([g.species for g in graphs]),
        torch.cat(neighbours),
        torch.cat(vectors),
        torch.cat(frames),
        torch.cat([g.volumes for g in graphs]),
    )
