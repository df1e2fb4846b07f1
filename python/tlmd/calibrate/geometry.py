"""A frame as tl-calibrate's terms see it: whole molecules, their bonds and angles by type, pairs between molecules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from tlmd.frames.frame import Frame
from tlmd.generate.composition import Composition
from tlmd.generate.lammps_data import Pattern
from tlmd.generate.species import Species
from tlmd.graph import neighbour_pairs

SPECIAL = 3  # bonds apart: nearer atoms of a molecule are no pair
SAME_A = 1e-6
BROKEN = 1.6  # times its length in the data file: a bond that is no longer one

TypePair = tuple[int, int]


class Geometry:
    """positions (N, 3) A with whole molecules; kinds (N,) atom types; counts (S,) molecules of each species; bonds
    (E, 2) and angles (E, 3), their atoms by type; longest: of bonds, in units of their lengths in the data file."""

    def __init__(self, frame: Frame, composition: Composition, patterns: Sequence[Pattern], kinds: np.ndarray):
        self.frame, self._composition, self.kinds = frame, composition, kinds
        self.positions = composition.whole(frame.positions, frame.cell if frame.pbc.all() else None)
        self.counts = np.bincount(composition.kinds, minlength=len(composition.species))
        joined: dict[str, dict[str, list]] = {"Bonds": defaultdict(list), "Angles": defaultdict(list)}
        for start, pattern in zip(composition.starts, patterns, strict=False):
            for section, mine in joined.items():
                for kind, atoms in pattern.joined[section]:
                    mine[kind].append([start + atom for atom in atoms])
        self.bonds, self.angles = ({key: np.array(rows) for key, rows in mine.items()} for mine in joined.values())

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def longest(self) -> float:
        found = [1.0]
        for m in range(len(self._composition)):
            species, mine = self._composition.species_of(m), self.positions[self._composition.atoms_of(m)]
            lengths = [np.linalg.norm(at[species.bonds[:, 0]] - at[species.bonds[:, 1]], axis=1)
                       for at in (mine, species.positions)]  # fmt: skip
            found.append((lengths[0] / lengths[1]).max(initial=0.0))
        return max(found)

    def pairs(self, cutoff: float) -> dict[TypePair, tuple[np.ndarray, np.ndarray]]:
        """Directed pairs within `cutoff` (A) by types: atoms i (E,) and vectors from i to j (E, 3); of two molecules,
        or of one and four and more bonds apart."""
        at, c = self.positions, self._composition
        i, j, vectors = neighbour_pairs(at, self.frame.cell, self.frame.pbc, cutoff)
        same = c.molecule[i] == c.molecule[j]
        same &= (np.abs(vectors - at[j] + at[i]) < SAME_A).all(1)  # otherwise an image: another molecule
        near = np.zeros(len(i), bool)
        for k in np.flatnonzero(same):
            first = c.starts[c.molecule[i[k]]]
            near[k] = _near(c.species_of(c.molecule[i[k]]))[i[k] - first, j[k] - first]
        i, j, vectors = i[~near], j[~near], vectors[~near]
        low, high = np.sort([self.kinds[i], self.kinds[j]], axis=0)
        found = {}
        for a, b in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
            mine = (low == a) & (high == b)
            found[a, b] = i[mine], vectors[mine]
        return found


@lru_cache(maxsize=256)
def _near(species: Species) -> np.ndarray:
    """(A, A): whether atoms are three bonds apart or less."""
    n, ends = len(species), species.bonds.T
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), (n, n))
    return shortest_path(graph, directed=False, unweighted=True) <= SPECIAL
