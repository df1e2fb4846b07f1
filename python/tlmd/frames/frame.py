"""A labelled frame: one configuration of atoms with its energy, forces and stress."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import get_distances

from tlmd.frames.labels import Keys, labels_of


@dataclass(frozen=True, eq=False)
class Frame:
    """One configuration and its labels; a label that is absent is None.

    numbers (N,) int; positions (N, 3) A; cell (3, 3) A, rows are vectors; pbc (3,) bool; energy eV;
    forces (N, 3) eV/A; stress (3, 3) eV/A^3 in ASE's sign (tension positive); info: kind, source, set, ...;
    unused: names of the columns of its file that were not read; total: the frame with whole labels, where a baseline
    was taken off these.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    total: Frame | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labelled(self) -> bool:
        """Whether it has an energy, forces or a stress."""
        return not (self.energy is None and self.forces is None and self.stress is None)

    def replace(self, **changes: Any) -> Frame:
        """A copy with the named fields changed."""
        return replace(self, **changes)

    def atoms(self) -> Atoms:
        """ASE Atoms with the labels in a SinglePointCalculator."""
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info))
        stress = None if self.stress is None else self.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=self.energy, forces=self.forces, stress=stress)
        return atoms

    @classmethod
    def from_columns(cls, numbers, positions, cell, pbc, info, arrays, keys: Keys | None = None) -> Frame:
        """From what a file holds: keys `info` of the frame and columns `arrays`, among them the labels.

        keys: other names of labels, see tlmd.frames.labels. Raises ValueError for a label of another shape.
        """
        cell = np.array(cell, dtype=float)
        labels = labels_of(info, arrays, cell, keys)
        return cls(
            np.array(numbers, dtype=int),
            np.array(positions, dtype=float),
            cell,
            np.array(pbc, dtype=bool),
            *labels,
        )

    @classmethod
    def from_atoms(cls, atoms: Atoms, keys: Keys | None = None) -> Frame:
        """From ASE Atoms: labels from the calculator's results, atoms.info and atoms.arrays, in this order."""
        results = atoms.calc.results if atoms.calc is not None else {}
        labels = ("energy", "free_energy", "forces", "stress")
        info = {**atoms.info, **{name: results[name] for name in labels if results.get(name) is not None}}
        arrays = {name: values for name, values in atoms.arrays.items() if name not in ("numbers", "positions")}
        return cls.from_columns(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, info, arrays, keys)


def minimum_image(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) A moved by whole cell vectors so that each fractional coordinate lies within half a cell."""
    fractions = vectors @ np.linalg.inv(cell)
    return (fractions - np.round(fractions)) @ cell


def distances(frame: Frame) -> np.ndarray:
    """(N, N) distances (A), minimum image where periodic."""
    return get_distances(frame.positions, cell=frame.cell, pbc=frame.pbc)[1]


def shortest(frame: Frame) -> float:
    """The shortest distance (A) between two atoms, minimum image where periodic; inf for a single one."""
    return float(distances(frame)[~np.eye(len(frame), dtype=bool)].min(initial=np.inf))
