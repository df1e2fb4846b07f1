"""Molecules of a trajectory by its bonds: what they are made of, which atoms they hold, their centres of mass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.formula import Formula
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError

BOND = 1.25  # longest bond, in units of the sum of covalent radii: a hydrogen bond is longer
FRAMES = 11  # looked at, evenly spaced; a bond holds in more than half of them
# Their radii reach over the solvent's first shell; as ions they have no bonds.
IONS = {"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba"}


@dataclass(frozen=True)
class Molecules:
    """The molecules that N atoms form by B bonds."""

    species: np.ndarray  # (N,) element symbols
    bonds: np.ndarray  # (B, 2) atoms, each bond once
    number: np.ndarray  # (N,) molecule that each atom belongs to, from 0
    finite: bool  # no molecule is bonded to its own periodic image, as a crystal or a surface is

    @cached_property
    def formulas(self) -> np.ndarray:
        """(M,) formula of each molecule in Hill order, such as CH4O."""
        counts = [Counter() for _ in range(self.number.max() + 1)]
        for molecule, element in zip(self.number.tolist(), self.species.tolist(), strict=True):
            counts[molecule][element] += 1
        return np.array([Formula.from_dict(count).format("hill") for count in counts])

    @property
    def kinds(self) -> list[str]:
        """The different formulas, in order of first appearance."""
        return list(dict.fromkeys(self.formulas.tolist()))

    @property
    def constitution(self) -> tuple[Counter[str], Counter[str]] | None:
        """Atoms of each element and bonds of each pair of elements (`C-H`) in a molecule; None if they differ."""
        bonds = [Counter() for _ in range(self.number.max() + 1)]
        for i, j in self.bonds.tolist():
            bonds[self.number[i]][bond_name(self.species[i], self.species[j])] += 1
        if len(self.kinds) > 1 or any(other != bonds[0] for other in bonds):
            return None
        return Counter(self.species[self.number == 0].tolist()), bonds[0]

    @property
    def hydrogens(self) -> np.ndarray:
        """(N,) the species, but hydrogens with one bond by what they are bonded to: HO, HC, HN."""
        names = self.species.astype(object)
        bonded = np.bincount(self.bonds.ravel(), minlength=len(names))
        for i, j in np.concatenate([self.bonds, self.bonds[:, ::-1]]).tolist():
            if self.species[i] == "H" and bonded[i] == 1 and self.species[j] != "H":
                names[i] = f"H{self.species[j]}"
        return names.astype(str)

    def text(self) -> str:
        """What there is, such as `64 H2O` or `20 CH4O + 44 H2O`."""
        formulas = self.formulas.tolist()
        return " + ".join(f"{formulas.count(kind)} {kind}" for kind in self.kinds)


def bond_name(first: str, second: str) -> str:
    """A pair of elements in the order of the alphabet: C-H."""
    return "-".join(sorted((first, second)))


def molecules(trajectory: Trajectory) -> Molecules:
    """The molecules of a trajectory by the bonds that hold in most of its frames.

    Raises InputError where elements are not known.
    """
    names = trajectory.species.tolist()
    unknown = next((name for name in names if name not in atomic_numbers), None)
    if unknown is not None:
        raise InputError(f"species {unknown}, whose bonds are not known", "elements", 'give --elements, such as "O H"')
    radii = covalent_radii[[atomic_numbers[name] for name in names]]
    radii[[name in IONS for name in names]] = -np.inf
    frames = np.unique(np.linspace(0, len(trajectory.positions) - 1, FRAMES).astype(int))
    found = [_bonds(trajectory, frame, radii) for frame in frames]  # each with i, j, vectors
    codes = [np.unique(i * len(names) + j) for i, j, _ in found]
    unique, times = np.unique(np.concatenate(codes), return_counts=True)
    bonds = np.stack(np.divmod(unique[2 * times > len(frames)], len(names)), axis=1)
    bonds = bonds[bonds[:, 0] < bonds[:, 1]]
    number = connected_components(_graph(*bonds.T, len(names)), directed=False)[1]
    return Molecules(trajectory.species, bonds, number, _finite(*found[0], len(names)))


def centres_of_mass(positions: np.ndarray, masses: np.ndarray, molecule: np.ndarray) -> np.ndarray:
    """(T, M, 3) centres of the molecules (N,) from unwrapped positions (T, N, 3) and masses (N,).

    Atoms may be unwrapped into different images of their molecule: the centres' displacements are right all the same.
    """
    weights = np.zeros((molecule.max() + 1, len(masses)))
    weights[molecule, np.arange(len(masses))] = masses
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("mn,tnk->tmk", weights, positions, optimize=True)


def _bonds(trajectory: Trajectory, frame: int, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms i, j (B,) and vectors r_j - r_i (B, 3) of all bonds of a frame, each in both directions."""
    from tlmd.graph import neighbour_pairs  # here, for it imports torch: seconds that other commands need not wait

    cell, periodic = trajectory.cells[frame], trajectory.periodic
    scaled = trajectory.positions[frame] @ np.linalg.inv(cell)
    wrapped = (scaled - np.floor(scaled) * periodic) @ cell
    i, j, vectors = neighbour_pairs(wrapped, cell, periodic, max(2 * BOND * float(radii.max()), 0.1))
    bonded = np.linalg.norm(vectors, axis=1) < BOND * (radii[i] + radii[j])
    return i[bonded].astype(int), j[bonded].astype(int), vectors[bonded]


def _graph(i: np.ndarray, j: np.ndarray, n_atoms: int) -> csr_matrix:
    return coo_matrix((np.ones(len(i)), (i, j)), shape=(n_atoms, n_atoms)).tocsr()


def _finite(i: np.ndarray, j: np.ndarray, vectors: np.ndarray, n_atoms: int) -> bool:
    """Whether every molecule fits together without periodic images: laid out along a tree of bonds, all others fit."""
    roots = np.unique(connected_components(_graph(i, j, n_atoms), directed=False)[1], return_index=True)[1]
    joined = np.append(i, np.full(len(roots), n_atoms)), np.append(j, roots)  # one tree for all, from a last atom
    order, before = breadth_first_order(_graph(*joined, n_atoms + 1), n_atoms, directed=False)
    bond = {(first, second): k for k, (first, second) in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
    laid_out = np.zeros((n_atoms, 3))
    for atom in order[1:].tolist():
        if (parent := int(before[atom])) != n_atoms:
            laid_out[atom] = laid_out[parent] + vectors[bond[parent, atom]]
    return bool(np.allclose(laid_out[j] - laid_out[i], vectors, atol=1e-3))
