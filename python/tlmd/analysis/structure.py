"""Radial distribution functions, their first peaks and coordination numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tlmd.analysis.statistics import Estimate, mean_of_blocks
from tlmd.run.errors import InputError

BIN_A = 0.02
PEAK_HALF_WIDTH_A = 0.15  # of the cubic fitted to the top of a peak
PROMINENCE = 0.2  # of a peak, as part of the largest g, so that noise is none
BLOCKS = 5


@dataclass(frozen=True)
class Radial:
    """g(r) of one pair of species, in blocks of the trajectory."""

    pair: tuple[str, str]
    r_A: np.ndarray  # (M,) bin centres
    g: np.ndarray  # (M,) mean over all frames
    blocks: np.ndarray  # (B, M)
    neighbours: (
        np.ndarray
    )  # (B, M) running number of the second species around one of the first, up to a bin's outer edge

    @property
    def error(self) -> np.ndarray:
        """(M,) standard error of g over the blocks."""
        return self.blocks.std(axis=0, ddof=1) / np.sqrt(len(self.blocks))


@dataclass(frozen=True)
class Peak:
    """First peak of a g(r) and the number of neighbours in it."""

    position: Estimate  # A
    height: Estimate  # 1
    coordination: Estimate  # 1
    radius_A: float  # up to which the neighbours are counted


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
) -> list[Radial]:
    """g(r) of pairs of species from positions (T, N, 3) and cells (T, 3, 3) in A, species (N,); fully periodic box.

    g is normalised so that an ideal gas of the same number of atoms gives 1. cutoff_A is at most half the box (default:
    that, or 10 A). Raises InputError for an unknown species, a cutoff beyond half the box, or fewer than 5 frames.
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
    counts = np.array([_count(positions[part], cells[part], species, pairs, edges) for part in frames])  # (B, pairs, M)
    inverse_volumes = np.array([np.mean(1 / np.abs(np.linalg.det(cells[part]))) for part in frames])
    return [_normalise(pair, counts[:, i], species, edges, inverse_volumes) for i, pair in enumerate(pairs)]


def _count(positions, cells, species, pairs, edges) -> np.ndarray:
    """(pairs, M) unordered pairs of atoms in each distance bin, mean over the frames of positions (T, N, 3)."""
    from vesin import NeighborList  # here, for it imports torch: seconds that the other commands need not wait

    neighbours = NeighborList(cutoff=float(edges[-1]), full_list=False)
    names, code = np.unique(species, return_inverse=True)
    counts = np.zeros((len(names), len(names), len(edges) - 1))
    for frame, cell in zip(positions, cells, strict=True):
        scaled = frame @ np.linalg.inv(cell)
        i, j, distance = neighbours.compute((scaled - np.floor(scaled)) @ cell, cell, True, "ijd")
        kind = code[i] * len(names) + code[j]
        bins = np.minimum((distance / (edges[1] - edges[0])).astype(int), len(edges) - 2)
        flat = np.bincount(kind * (len(edges) - 1) + bins, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    counts = (counts + counts.transpose(1, 0, 2)) / len(positions)
    index = {name: k for k, name in enumerate(names.tolist())}
    return np.array([counts[index[a], index[b]] / (2 if a == b else 1) for a, b in pairs])


def _normalise(pair, counts, species, edges, inverse_volumes) -> Radial:
    n_first, n_second = (int(np.sum(species == name)) for name in pair)
    same = pair[0] == pair[1]
    ideal_pairs = n_first * (n_first - 1) / 2 if same else n_first * n_second
    if ideal_pairs == 0:
        raise InputError(f"one atom of {pair[0]}", "two for this pair", "choose other pairs")
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    blocks = counts / (ideal_pairs * shells * inverse_volumes[:, None])
    neighbours = np.cumsum(counts, axis=1) * (2 if same else 1) / n_first
    return Radial(pair, 0.5 * (edges[1:] + edges[:-1]), blocks.mean(axis=0), blocks, neighbours)


def running_mean(g: np.ndarray) -> np.ndarray:
    """(M,) mean over five bins, fewer at the ends."""
    return np.convolve(g, np.ones(5), mode="same") / np.convolve(np.ones(len(g)), np.ones(5), mode="same")


def first_maximum(r_A: np.ndarray, g: np.ndarray, beyond_A: float = 0.0) -> float:
    """Distance in A of the first maximum of g (M,) beyond `beyond_A` that stands out by a fifth of the largest g there.

    Raises InputError when there is none (an ideal gas).
    """
    from scipy.signal import find_peaks

    start = int(np.searchsorted(r_A, beyond_A))
    smooth = running_mean(g)[start:]
    peaks, _ = find_peaks(smooth, prominence=max(PROMINENCE * np.max(smooth, initial=0.0), 1e-12))
    if not len(peaks) or smooth[peaks[0]] < 1:
        raise InputError(f"a g(r) without a peak beyond {beyond_A:g} A", "one above 1", "check the pair and the box")
    return float(r_A[start + peaks[0]])


def top_of_peak(r_A: np.ndarray, g: np.ndarray, near_A: float) -> tuple[float, float]:
    """Position (A) and height of the peak of g (M,) near `near_A`: top of a cubic fitted within 0.15 A of it."""
    near = np.abs(r_A - near_A) <= PEAK_HALF_WIDTH_A
    cubic = np.polynomial.Polynomial.fit(r_A[near], g[near], min(3, int(near.sum()) - 1))
    fine = np.linspace(r_A[near][0], r_A[near][-1], 2001)
    best = int(np.argmax(cubic(fine)))
    return float(fine[best]), float(cubic(fine[best]))


def minimum_after(r_A: np.ndarray, g: np.ndarray, peak_A: float) -> float:
    """Distance in A of the smallest g (running mean) between the first peak and 1.6 times its distance."""
    between = np.flatnonzero((r_A > peak_A) & (r_A < 1.6 * peak_A))
    return float(r_A[between[np.argmin(running_mean(g)[between])]])


def first_peak(radial: Radial, beyond_A: float = 0.0, radius_A: float | None = None) -> Peak:
    """First peak beyond `beyond_A` (to pass over bonds), with errors over the blocks of the trajectory.

    Neighbours are counted from there to `radius_A`, by default the minimum after the peak. Raises InputError when g has
    no peak there.
    """
    near = first_maximum(radial.r_A, radial.g, beyond_A)
    position, height = top_of_peak(radial.r_A, radial.g, near)
    tops = np.array([top_of_peak(radial.r_A, block, near) for block in radial.blocks])
    radius = minimum_after(radial.r_A, radial.g, position) if radius_A is None else radius_A
    edges = radial.r_A + 0.5 * (radial.r_A[1] - radial.r_A[0])
    inner, outer = ([np.interp(r, edges, block) for block in radial.neighbours] for r in (beyond_A, radius))
    return Peak(
        replace(mean_of_blocks(tops[:, 0], "A"), value=position),
        replace(mean_of_blocks(tops[:, 1], "1"), value=height),
        mean_of_blocks(np.subtract(outer, inner), "1"),
        radius,
    )
