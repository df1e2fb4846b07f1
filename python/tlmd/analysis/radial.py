"""Radial distribution functions of pairs of species, between molecules and within them, from positions and cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlmd.run.errors import InputError

BIN_A = 0.02
BLOCKS = 5
MOST_FRAMES = 500  # evenly spaced ones are used of a longer run


@dataclass(frozen=True)
class Radial:
    """g(r) of one pair of species, in blocks of the trajectory."""

    pair: tuple[str, str]
    r_A: np.ndarray  # (M,) bin centres
    g: np.ndarray  # (M,) mean over all frames
    blocks: np.ndarray  # (B, M)
    neighbours: np.ndarray  # (B, M) of the second species around one of the first, up to a bin's outer edge
    within: Radial | None = None  # of pairs within molecules, where g is of pairs between them

    @property
    def error(self) -> np.ndarray:
        """(M,) standard error of g over the blocks."""
        return self.blocks.std(axis=0, ddof=1) / np.sqrt(len(self.blocks))


def even_frames(n_frames: int) -> np.ndarray:
    """At most MOST_FRAMES indices of frames, evenly spaced."""
    return np.unique(np.linspace(0, n_frames - 1, MOST_FRAMES).astype(int))


def species_pairs(species: np.ndarray) -> list[tuple[str, str]]:
    """All unordered pairs of the species (N,), in order of first appearance: O-O, O-H, H-H for water."""
    names = list(dict.fromkeys(species.tolist()))
    return [(a, b) for i, a in enumerate(names) for b in names[i:]]


def largest_cutoff(cells: np.ndarray) -> float:
    """Half the smallest distance in A between opposite faces of the cells (T, 3, 3)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cells), axis=1)  # columns of the inverse are the face normals
    return float(heights.min() / 2)


def radial_distributions(
    positions: np.ndarray,
    cells: np.ndarray,
    species: np.ndarray,
    pairs: list[tuple[str, str]] | None = None,
    cutoff_A: float | None = None,
    bin_A: float = BIN_A,
    molecule: np.ndarray | None = None,
) -> list[Radial]:
    """g(r) of pairs of species from positions (T, N, 3) and cells (T, 3, 3) in A, species (N,); fully periodic box.

    g is normalised so that an ideal gas of the same number of atoms gives 1. cutoff_A is at most half the box (default:
    that, or 10 A). With the number of the molecule (N,) that each atom belongs to, g is of pairs of different molecules
    (1 for an ideal gas of molecules), and `within` of those of one molecule. Where no two molecules have the pair, it
    is of all pairs.
    Raises InputError for an unknown species, a cutoff beyond half the box, or fewer than 5 frames.
    """
    half = largest_cutoff(cells)
    cutoff = min(half, 10.0) if cutoff_A is None else cutoff_A
    if cutoff > half * (1 + 1e-9):
        raise InputError(f"cutoff {cutoff:g} A", f"at most half the box, {half:.3f} A", "lower it or run a larger box")
    if len(positions) < BLOCKS:
        raise InputError(f"{len(positions)} frames", f"at least {BLOCKS}", "dump more often")
    pairs = pairs or species_pairs(species)
    known = set(species.tolist())
    for name in {name for pair in pairs for name in pair} - known:
        raise InputError(f"species {name}", " or ".join(sorted(known)), "correct the pair, or name types by --elements")
    n_bins = int(np.floor(cutoff / bin_A + 1e-9))
    edges = bin_A * np.arange(n_bins + 1)
    frames = np.array_split(np.arange(len(positions)), BLOCKS)
    molecule = np.arange(len(species)) if molecule is None else molecule
    counts = np.array([_count(positions[part], cells[part], species, pairs, edges, molecule) for part in frames])
    volumes = np.array([np.mean(1 / np.abs(np.linalg.det(cells[part]))) for part in frames])  # their inverse
    return [_radial(pair, counts[:, :, i], species, edges, volumes, molecule) for i, pair in enumerate(pairs)]


def _count(positions, cells, species, pairs, edges, molecule) -> np.ndarray:
    """(2, pairs, M) unordered pairs of atoms of two molecules, and of one, in each distance bin, mean over frames."""
    from vesin import NeighborList  # here, for it imports torch: seconds that the other commands need not wait

    neighbours = NeighborList(cutoff=float(edges[-1]), full_list=False)
    names, code = np.unique(species, return_inverse=True)
    counts = np.zeros((2, len(names), len(names), len(edges) - 1))
    for frame, cell in zip(positions, cells, strict=True):
        scaled = frame @ np.linalg.inv(cell)
        i, j, distance = neighbours.compute((scaled - np.floor(scaled)) @ cell, cell, True, "ijd")
        kind = ((molecule[i] == molecule[j]) * len(names) + code[i]) * len(names) + code[j]
        bins = np.minimum((distance / (edges[1] - edges[0])).astype(int), len(edges) - 2)
        flat = np.bincount(kind * (len(edges) - 1) + bins, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    counts = (counts + counts.transpose(0, 2, 1, 3)) / len(positions)
    index = {name: k for k, name in enumerate(names.tolist())}
    found = [counts[:, index[a], index[b]] / (2 if a == b else 1) for a, b in pairs]
    return np.stack(found, axis=1)


def _radial(pair, counts, species, edges, inverse_volumes, molecule) -> Radial:
    """g of one pair from its counts (B, 2, M)."""
    first, second = (np.bincount(molecule[species == name], minlength=molecule.max() + 1) for name in pair)
    same = pair[0] == pair[1]
    ideal = first.sum() * (first.sum() - 1) / 2 if same else first.sum() * second.sum()
    within = np.sum(first * (first - 1) / 2) if same else np.sum(first * second)
    if ideal == 0:
        raise InputError(f"one atom of {pair[0]}", "two for this pair", "choose other pairs")

    def normalised(counts: np.ndarray, ideal_pairs: float, inner: Radial | None = None) -> Radial:
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        blocks = counts / (ideal_pairs * shells * inverse_volumes[:, None])
        neighbours = np.cumsum(counts, axis=1) * (2 if same else 1) / first.sum()
        return Radial(pair, 0.5 * (edges[1:] + edges[:-1]), blocks.mean(axis=0), blocks, neighbours, inner)

    if within in (0, ideal):
        return normalised(counts.sum(axis=1), ideal)
    return normalised(counts[:, 0], ideal - within, normalised(counts[:, 1], ideal))
