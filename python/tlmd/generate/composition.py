"""Molecules one after another: whose atoms are whose, whole molecules in a periodic box, distances of molecules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols, covalent_radii, vdw_radii
from ase.geometry import get_distances

from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.species import Species

# Smallest and largest distance (A) of a scan of close contacts, by sorts of atoms (see Species.sorts): from where the
# repulsion is some eV to where it ends. For other pairs the sums of covalent radii with what is added for each atom, so
# that 12-6 potentials exert about 30 eV/A, and of van der Waals radii.
CONTACTS_A = {(8, 8): (1.9, 3.0), (1, 8): (1.25, 2.2), (1, 1): (0.6, 2.2)}
ABOVE_COVALENT_A, HEAVY_A = {0: 0.4, 1: 0.0}, 0.3
WIDEST_A = 2.0  # van der Waals radius of elements without one


class Composition:
    """species; kinds (M,): which of them each molecule is. numbers (N,), sorts (N,): see Species; molecule (N,): whose
    atom each is."""

    def __init__(self, species: Sequence[Species], kinds: Sequence[int]):
        self.species, self.kinds = tuple(species), tuple(int(kind) for kind in kinds)
        mine = [self.species[kind] for kind in self.kinds]
        self.sizes = np.array([len(each) for each in mine])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(int)
        self.numbers = np.concatenate([each.numbers for each in mine])
        self.sorts = np.concatenate([each.sorts for each in mine])
        self.molecule = np.repeat(np.arange(len(mine)), self.sizes)
        self.mass = float(sum(each.masses.sum() for each in mine))  # g/mol
        counts = Counter(each.name for each in mine)
        self.name = " ".join(f"{name}:{count}" for name, count in counts.items())

    def __len__(self) -> int:
        return len(self.kinds)

    def atoms_of(self, molecule: int) -> slice:
        """The atoms of a molecule."""
        return slice(self.starts[molecule], self.starts[molecule + 1])

    def species_of(self, molecule: int) -> Species:
        """What a molecule is."""
        return self.species[self.kinds[molecule]]

    def whole(self, positions: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
        """(N, 3) A with the atoms of each molecule on the same side of the box as their neighbours in the molecule."""
        positions = positions.copy()
        for kind, species in enumerate(self.species if cell is not None else ()):
            starts = self.starts[:-1][np.array(self.kinds) == kind]
            for i, j in species.tree:
                vectors = positions[starts + j] - positions[starts + i]
                positions[starts + j] = positions[starts + i] + minimum_image(vectors, cell)
        return positions

    def centres(self, positions: np.ndarray) -> np.ndarray:
        """(M, 3) centres of mass of whole molecules."""
        parts = (self.species_of(m).centre(positions[self.atoms_of(m)]) for m in range(len(self)))
        return np.array(list(parts))

    def frame(self, positions: np.ndarray, cell: np.ndarray | None = None, **info: float) -> Frame:
        """A frame, periodic if there is a cell; `molecules` in its info says what they are."""
        info = {"molecules": self.name, **info}
        if cell is None:
            return Frame(self.numbers, positions, info=info)
        return Frame(self.numbers, positions, cell, np.ones(3, dtype=bool), info=info)


def composed(frame: Frame, species: Sequence[Species]) -> Composition:
    """A frame's atoms as a row of molecules of `species`, by elements; among species of the same elements the one whose
    bonds are nearest to their lengths. Unsuited if they are no such row."""
    count, cell = len(frame), frame.cell if frame.pbc.all() else None
    cost, last = np.full(count + 1, np.inf), np.zeros(count + 1, int)
    cost[0], reached = 0.0, 0
    for i in range(count):
        for kind, each in enumerate(species) if np.isfinite(cost[i]) else ():
            end = i + len(each)
            if np.array_equal(frame.numbers[i:end], each.numbers):
                new = cost[i] + _strain(each, frame.positions[i:end], cell)
                reached = max(reached, end)
                if not cost[end] <= new:
                    cost[end], last[end] = new, kind
    if np.isinf(cost[count]):
        symbols = [chemical_symbols[number] for number in frame.numbers[reached : reached + 12]]
        got = f"atoms {' '.join(symbols)}{' ...' if reached + 12 < count else ''} from atom {reached + 1} of {count} on"
        known = " or ".join(" ".join(chemical_symbols[number] for number in each.numbers) for each in species[:5])
        raise Unsuited(got, f"molecules one after another, each {known}", "order the atoms so, or leave it out")
    kinds, end = [], count
    while end:
        kinds.append(last[end])
        end -= len(species[last[end]])
    return Composition(species, kinds[::-1])


def _strain(species: Species, positions: np.ndarray, cell: np.ndarray | None) -> float:
    """How far bonds are from the lengths in the species."""
    i, j = species.bonds.T
    vectors = positions[j] - positions[i]
    if cell is not None:
        vectors = minimum_image(vectors, cell)
    own = np.linalg.norm(species.positions[j] - species.positions[i], axis=-1)
    return float(((np.linalg.norm(vectors, axis=-1) / own - 1) ** 2).sum())


def nearest_contact(frame: Frame, composition: Composition) -> float:
    """The shortest distance (A) of atoms of two molecules that are not both hydrogen, minimum image; inf if none."""
    cell = frame.cell if frame.pbc.all() else None
    distances = get_distances(frame.positions, cell=cell, pbc=None if cell is None else True)[1]
    hydrogen = composition.numbers == 1
    other = composition.molecule[:, None] != composition.molecule
    return float(distances[other & ~(hydrogen[:, None] & hydrogen)].min(initial=np.inf))


def contact_range(a: int, b: int) -> tuple[float, float]:
    """Smallest and largest distance (A) of a scan of close contacts of two sorts of atoms, see Species.sorts."""
    a, b = sorted((int(a), int(b)))
    if (a, b) in CONTACTS_A:
        return CONTACTS_A[a, b]
    numbers = [z or 1 for z in (a, b)]
    low = covalent_radii[numbers].sum() + sum(ABOVE_COVALENT_A.get(z, HEAVY_A) for z in (a, b))
    radii = [WIDEST_A if np.isnan(vdw_radii[z]) else vdw_radii[z] for z in numbers]
    return float(low), float(max(sum(radii), low + 0.5))


class Limits:
    """How near atoms of two molecules of `species` may come: the low ends of `contact_range` and `more_A`, but for the
    pairs of sorts in `other`."""

    def __init__(
        self, species: Sequence[Species], other: dict[tuple[int, int], float] | None = None, more_A: float = 0.0
    ):
        sorts = np.unique(np.concatenate([each.sorts for each in species])).tolist()
        self._matrix = np.zeros((max(sorts) + 1,) * 2)
        for a, b in combinations_with_replacement(sorts, 2):
            self._matrix[a, b] = self._matrix[b, a] = (other or {}).get((a, b), contact_range(a, b)[0] + more_A)

    def clearance(
        self,
        sorts: np.ndarray,
        positions: np.ndarray,
        others: np.ndarray,
        places: np.ndarray,
        cell: np.ndarray | None = None,
    ) -> np.ndarray:
        """(K,) smallest ratio of a distance to its limit, of the atoms `sorts` (A,) of a molecule in K `positions`
        (K, A, 3) to the other atoms `others` (B,) at `places` (B, 3) or (K, B, 3), minimum image in a cell."""
        vectors = (places if places.ndim == 3 else places[None])[:, None] - positions[:, :, None]
        if cell is not None:
            vectors = minimum_image(vectors, cell)
        return (np.linalg.norm(vectors, axis=-1) / self._matrix[sorts[:, None], others]).min(axis=(1, 2))
