"""The smallest distance of each pair of elements among frames: nearer, a model has learnt nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.graph import neighbour_pairs, species_of
from tlmd.run import collective

CLOSE = 0.9  # a pair nearer than that part of its smallest distance is told of; bonds reach a little below it
DIGITS = 4  # of the distances in A, rounded down


def shortest_distances(
    frames: Sequence[Frame], elements: Sequence[str], cutoff: float, *earlier: Mapping[str, float]
) -> dict[str, float]:
    """Smallest distance in A of each pair of `elements`, by names as H-O, among `frames` and in `earlier` results.

    Pairs that are nowhere within the cutoff (A) have the cutoff. Collective: each process looks at a share of the
    frames, no farther than the distances that it has found.
    """
    table = np.full((len(elements), len(elements)), float(cutoff))
    for known in earlier:
        table = np.fmin(table, table_of(known, elements))
    for frame in frames[collective.rank() :: collective.world()]:
        species = species_of(frame.numbers, elements)
        reach = table[np.ix_(*[np.unique(species)] * 2)].max(initial=0.0)
        i, j, vectors = neighbour_pairs(frame.positions, frame.cell, frame.pbc, reach)
        np.minimum.at(table, (species[i], species[j]), np.linalg.norm(vectors, axis=1))
    table = np.min(collective.gather(table), axis=0)
    table = np.minimum(table, table.T)
    return {name: math.floor(table[i, j] * 10**DIGITS) / 10**DIGITS for name, i, j in named_pairs(elements)}


def named_pairs(elements: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name and two species of each pair of elements, in their order."""
    return [(f"{a}-{b}", i, i + k) for i, a in enumerate(elements) for k, b in enumerate(elements[i:])]


def table_of(distances: Mapping[str, float], elements: Sequence[str]) -> np.ndarray:
    """Distances by names of pairs as a symmetric table (S, S) by species; NaN where there is none."""
    return np.array(
        [[distances.get(f"{a}-{b}", distances.get(f"{b}-{a}", np.nan)) for b in elements] for a in elements]
    )


def line_of(distances: Mapping[str, float]) -> str:
    """One line for the log."""
    return ", ".join(f"{name} {value:g}" for name, value in distances.items()) + " A"
