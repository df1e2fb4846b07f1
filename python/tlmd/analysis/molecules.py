"""Molecules of a trajectory by the bonds of its first frame, and their centres of mass."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tlmd.analysis.trajectory import Trajectory
from tlmd.run.errors import InputError

BOND = 1.25  # longest bond, in units of the sum of covalent radii: a hydrogen bond is longer


def molecules(trajectory: Trajectory) -> np.ndarray:
    """(N,) number of the molecule that each atom belongs to. Raises InputError where elements are not known."""
    from tlmd.graph import neighbour_pairs  # here, for it imports torch: seconds that other commands need not wait

    names = trajectory.species.tolist()
    unknown = next((name for name in names if name not in atomic_numbers), None)
    if unknown is not None:
        raise InputError(f"species {unknown}, whose bonds are not known", "elements", 'give --elements, such as "O H"')
    radii = covalent_radii[[atomic_numbers[name] for name in names]]
    cell, positions = trajectory.cells[0], trajectory.positions[0]
    scaled = positions @ np.linalg.inv(cell)
    wrapped = (scaled - np.floor(scaled) * trajectory.periodic) @ cell
    i, j, vectors = neighbour_pairs(wrapped, cell, trajectory.periodic, 2 * BOND * float(radii.max()))
    bonded = np.linalg.norm(vectors, axis=1) < BOND * (radii[i] + radii[j])
    graph = coo_matrix((np.ones(int(bonded.sum())), (i[bonded], j[bonded])), shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1]


def centres_of_mass(positions: np.ndarray, masses: np.ndarray, molecule: np.ndarray) -> np.ndarray:
    """(T, M, 3) centres of the molecules (N,) from unwrapped positions (T, N, 3) and masses (N,).

    Atoms may be unwrapped into different images of their molecule: the centres' displacements are right all the same.
    """
    weights = np.zeros((molecule.max() + 1, len(masses)))
    weights[molecule, np.arange(len(masses))] = masses
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("mn,tnk->tmk", weights, positions, optimize=True)
