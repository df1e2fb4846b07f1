"""Corrections of a given force field between molecules: a spline for each pair of atom types, and charges by type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlmd.calibrate.bonded import Columns
from tlmd.calibrate.geometry import Geometry, TypePair
from tlmd.calibrate.splines import MARGIN_A, Pair, basis, continued
from tlmd.frames.frame import Frame
from tlmd.generate.teachers.lammps import Lammps

STEP_E = 0.1  # length of the changes of charges, over all types, by which Coulomb's energy is taken apart


class Spline:
    """B-splines of the distance of two atom types, of the elements `numbers`, from `nearest` (A), the shortest distance
    in the data, to `cutoff`."""

    def __init__(self, types: TypePair, numbers: tuple[int, int], nearest: float, cutoff: float, spacing: float):
        self.types, self.numbers, self.nearest = types, numbers, nearest - MARGIN_A
        self.splines = basis(self.nearest, cutoff, spacing)
        self.size = len(self.splines)

    def columns(self, geometry: Geometry, atoms: np.ndarray, vectors: np.ndarray) -> Columns:
        """Of the directed pairs with the atoms (E,) and vectors (E, 3)."""
        lengths = np.linalg.norm(vectors, axis=1)
        units = vectors / lengths[:, None]
        values = np.nan_to_num([spline(lengths) for spline in self.splines])
        slopes = np.nan_to_num([spline.derivative()(lengths) for spline in self.splines])
        pull = (slopes.T[:, None] * units[..., None]).reshape(len(lengths), 3 * self.size)
        forces = np.zeros((len(geometry), pull.shape[1]))
        np.add.at(forces, atoms, pull)
        strain = 0.5 * np.einsum("pe,ea,eb->abp", slopes, units, vectors)
        return Columns(0.5 * values.sum(1), forces.reshape(len(geometry), 3, self.size), strain)

    def written(self, change: np.ndarray) -> Pair:
        """Energy and slope at lengths (A)."""
        return lambda lengths: continued(self.splines, change, lengths, self.nearest, *self.numbers)


class Charges:
    """Changes of the charges (T,) of `types` that leave every molecule its charge, along `ways` (K, T), e.

    stoichiometry (S, T): atoms of each type in each molecule. Coulomb's energy is a quadratic form of the charges: of
    the changes c (K,), and of their products.
    """

    def __init__(self, charges: dict[int, float], stoichiometry: np.ndarray):
        self.types, self.given = list(charges), np.array(list(charges.values()))
        _, sizes, turn = np.linalg.svd(stoichiometry.astype(float))
        self.ways = turn[int((sizes > 1e-9).sum()) :] * STEP_E
        self.size = len(self.ways)

    def columns(self, teacher: Lammps, frame: Frame) -> tuple[Frame, Columns]:
        """The labels by the given charges; what c and then c_k c_l, k <= l, add to them.

        Energies are evaluated with the given charges, with them and each way, less each way, and with each two ways.
        """
        k, j = np.triu_indices(self.size, 1)
        eye = np.eye(self.size)
        moves = np.concatenate([np.zeros((1, self.size)), eye, -eye, eye[k] + eye[j]])
        labels = teacher.label_after(frame, map(self.commands, moves))
        volume = abs(np.linalg.det(frame.cell)) if frame.pbc.all() else 0.0
        energy = np.array([each.energy for each in labels])
        forces = np.stack([each.forces for each in labels], axis=-1)
        strain = np.stack([each.stress * volume if volume else np.zeros((3, 3)) for each in labels], axis=-1)
        return labels[0], Columns(*(self._taken_apart(values) for values in (energy, forces, strain)))

    def _taken_apart(self, values: np.ndarray) -> np.ndarray:
        """(..., K + K (K + 1) / 2) of values (..., M) at the charges of `columns`."""
        n = self.size
        given, up, down, both = np.split(values, [1, 1 + n, 1 + 2 * n], axis=-1)
        linear, square = (up - down) / 2, (up + down) / 2 - given
        place = {pair: at for at, pair in enumerate(zip(*np.triu_indices(n, 1), strict=True))}
        mixed = [
            square[..., k] if k == j else both[..., place[k, j]] - up[..., k] - up[..., j] + given[..., 0]
            for k, j in zip(*np.triu_indices(n), strict=True)
        ]
        return np.concatenate([linear, np.stack(mixed, axis=-1) if n else values[..., :0]], axis=-1)

    def commands(self, change: np.ndarray) -> str:
        """LAMMPS' commands for the charges with a change (K,)."""
        pairs = zip(self.types, self.given + change @ self.ways, strict=True)
        return "\n".join(f"set type {kind} charge {charge:.12g}" for kind, charge in pairs)


def stoichiometry(kinds_of: Sequence[Sequence[int]], types: Sequence[int]) -> np.ndarray:
    """(S, T) atoms of each type in each molecule, from the types of the atoms of each."""
    return np.array([[list(kinds).count(kind) for kind in types] for kinds in kinds_of])
