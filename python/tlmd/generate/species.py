"""A kind of molecule as a graph: its atoms in order, its bonds, and moves of its parts that are not rings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, covalent_radii
from scipy.spatial.transform import Rotation

from tlmd.run.errors import InputError

SATURATED = {5: 3, 6: 4, 7: 3, 8: 2, 14: 4, 15: 3, 16: 2}  # neighbours of an atom about whose bonds parts turn freely
POLAR = {7, 8, 9, 17, 35, 53}  # elements whose hydrogens have a small radius
ANGLES_DEG = (30.0, 175.0)  # between which an angle is bent
CROWDED = 1.3  # times the sum of covalent radii: nearer atoms without a common neighbour are in each other's way
TRIES = 30  # to turn the parts of a molecule clear of each other

Bond, Angle = tuple[int, int], tuple[int, int, int]


class Species:
    """numbers (A,); bonds (B, 2) of atoms; positions (A, 3) A of one geometry, whole."""

    def __init__(self, numbers: Iterable[int], bonds: Iterable[Sequence[int]], positions: np.ndarray):
        self.numbers = np.array(numbers, dtype=int)
        self.bonds = np.array(list(bonds), dtype=int).reshape(-1, 2)
        self.name = Atoms(self.numbers).get_chemical_formula()
        self.masses = atomic_masses[self.numbers]
        self._neighbours: list[list[int]] = [[] for _ in self.numbers]
        for i, j in self.bonds.tolist():
            self._neighbours[i].append(j)
            self._neighbours[j].append(i)
        self.positions = np.asarray(positions, dtype=float)

    @classmethod
    def of_graph(cls, graph, positions: np.ndarray) -> Species:
        """From a molecule of RDKit with its hydrogens."""
        bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in graph.GetBonds()]
        return cls([atom.GetAtomicNum() for atom in graph.GetAtoms()], bonds, positions)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def sorts(self) -> np.ndarray:
        """(A,) atomic numbers, but 0 for hydrogen that is not bound to N, O or a halogen: such a one is larger."""
        polar = [bool(set(self.numbers[near]) & POLAR) for near in self._neighbours]
        return np.where((self.numbers == 1) & ~np.array(polar), 0, self.numbers)

    @cached_property
    def tree(self) -> list[Bond]:
        """Bonds (from, to) that reach every atom from the first one, in an order in which `from` has been reached."""
        reached, bonds = [0], []
        for i in reached:  # grows in the loop
            for j in self._neighbours[i]:
                if j not in reached:
                    reached.append(j)
                    bonds.append((i, j))
        if len(reached) < len(self):
            raise InputError(f"{self.name} in several parts", "a molecule whose bonds join all atoms", "correct bonds")
        return bonds

    @cached_property
    def branches(self) -> dict[Bond, np.ndarray]:
        """(A,) masks of the atoms beyond j of each bond i-j outside rings, in both directions."""
        found = {}
        for bond in self.bonds.tolist():
            for i, j in (bond, bond[::-1]):
                beyond = [j]
                for k in beyond:
                    beyond += [m for m in self._neighbours[k] if m not in beyond and {k, m} != {i, j}]
                if i not in beyond:
                    found[i, j] = np.isin(np.arange(len(self)), beyond)
        return found

    @cached_property
    def movable(self) -> tuple[list[Bond], list[Angle]]:
        """Bonds (i, j) outside rings, and angles (i, j, k) whose bond j-k is outside rings."""
        bonds = [(i, j) for i, j in self.bonds.tolist() if (i, j) in self.branches]
        pairs = [pair for bond in bonds for pair in (bond, bond[::-1])]
        return bonds, [(i, j, k) for j, k in pairs for i in self._neighbours[j] if i != k]

    @cached_property
    def turnable(self) -> list[Bond]:
        """Bonds outside rings of two saturated atoms that have other neighbours: what lies beyond turns freely."""
        saturated = [SATURATED.get(z) == len(near) for z, near in zip(self.numbers, self._neighbours, strict=True)]
        return [(i, j) for i, j in self.movable[0] if saturated[i] and saturated[j]]

    @cached_property
    def _apart(self) -> np.ndarray:
        """(A, A): the distance (A) that atoms three and more bonds apart keep, zero for nearer ones."""
        near = np.eye(len(self), dtype=int)
        near[tuple(self.bonds.T)] = near[tuple(self.bonds.T[::-1])] = 1
        radii = covalent_radii[self.numbers]
        return np.where(near @ near > 0, 0.0, CROWDED * (radii[:, None] + radii))

    def stretched(self, positions: np.ndarray, bond: Bond, length_A: float) -> np.ndarray:
        """Positions (A, 3) with a new length of a bond; what lies beyond its second atom moves along."""
        i, j = bond
        vector = positions[j] - positions[i]
        return positions + self.branches[bond][:, None] * vector * (length_A / np.linalg.norm(vector) - 1)

    def bent(self, positions: np.ndarray, angle: Angle, change_deg: float) -> np.ndarray:
        """Positions with an angle changed, between 30 and 175 degrees; what lies beyond its third atom moves along."""
        i, j, k = angle
        a, b = positions[i] - positions[j], positions[k] - positions[j]
        normal = np.cross(a, b)
        if not np.linalg.norm(normal) > 1e-6 * np.linalg.norm(a) * np.linalg.norm(b):  # straight: any direction across
            normal = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        old = angle_deg(a, b)
        turn = np.deg2rad(np.clip(old + change_deg, *ANGLES_DEG) - old) * normal / np.linalg.norm(normal)
        return self._turned(positions, (j, k), Rotation.from_rotvec(turn))

    def twisted(self, positions: np.ndarray, bond: Bond, turn_deg: float) -> np.ndarray:
        """Positions with what lies beyond the second atom of a bond turned about it."""
        axis = positions[bond[1]] - positions[bond[0]]
        turn = np.deg2rad(turn_deg) * axis / np.linalg.norm(axis)
        return self._turned(positions, bond, Rotation.from_rotvec(turn))

    def _turned(self, positions: np.ndarray, bond: Bond, rotation: Rotation) -> np.ndarray:
        moved, mask, origin = positions.copy(), self.branches[bond], positions[bond[0]]
        moved[mask] = origin + rotation.apply(positions[mask] - origin)
        return moved

    def shape(self, rng: np.random.Generator) -> np.ndarray:
        """(A, 3) A about the centre of mass: the geometry with random turns about its bonds, parts clear of each other
        (the geometry itself where none is found)."""
        for _ in range(TRIES if self.turnable else 0):
            positions = self.positions
            for bond in self.turnable:
                positions = self.twisted(positions, bond, rng.uniform(0, 360))
            if (np.linalg.norm(positions[:, None] - positions, axis=-1) >= self._apart).all():
                return self.centred(positions)
        return self.centred(self.positions)

    def centred(self, positions: np.ndarray) -> np.ndarray:
        """Positions (..., A, 3) with the centre of mass at the origin."""
        return positions - self.centre(positions)[..., None, :]

    def centre(self, positions: np.ndarray) -> np.ndarray:
        """The centre of mass (..., 3) of positions (..., A, 3)."""
        return np.einsum("a,...ai->...i", self.masses / self.masses.sum(), positions)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """The angle between two vectors, degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def lengthened(
    species: Species, positions: np.ndarray, stretch: tuple[float, float], changes: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions (A, 3) A with one to `changes` bonds outside rings multiplied by factors between those of `stretch`."""
    for i, j in _draw(rng, species.movable[0], changes):
        length = np.linalg.norm(positions[j] - positions[i])
        positions = species.stretched(positions, (i, j), rng.uniform(*stretch) * length)
    return positions


def opened(
    species: Species, positions: np.ndarray, bend_deg: tuple[float, float], changes: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions (A, 3) A with one to `changes` angles changed by `bend_deg` (smallest, largest) to either side."""
    for chosen in _draw(rng, species.movable[1], changes):
        positions = species.bent(positions, chosen, rng.choice([-1, 1]) * rng.uniform(*bend_deg))
    return positions


def _draw(rng: np.random.Generator, choices: list, at_most: int) -> list:
    """One to `at_most` different ones of `choices`, as far as there are so many."""
    count = min(len(choices), int(rng.integers(1, at_most + 1)))
    return [choices[i] for i in rng.choice(len(choices), count, replace=False)] if count else []
