"""What a baseline is: a potential whose energies, forces and stresses are taken off the labels before training and are
added to the model's wherever it runs. A new kind is one file here and a line in tlmd.baseline.kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlmd.run.errors import InputError


class Values(NamedTuple):
    """energy (eV), forces (N, 3) (eV/A) and, where periodic, stress (3, 3) (eV/A^3, tension positive), else None."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


class Baseline(ABC):
    """A potential that is known beforehand. described: plain values, as a card has them, that make the same one again;
    name: a few words."""

    described: dict[str, Any]
    name: str

    def values(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Values:
        """Of atoms at positions (N, 3) A; cell (3, 3) A. InputError where it has none, or pbc differs by direction."""
        if np.any(pbc) and not np.all(pbc):
            do = "put vacuum into the cell and make all directions periodic"
            raise InputError(f"pbc {pbc} with the baseline {self.name}", "all directions periodic or none", do)
        return self._values(np.asarray(numbers), np.asarray(positions, float), np.asarray(cell, float), bool(pbc[0]))

    @abstractmethod
    def _values(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, periodic: bool) -> Values: ...

    @abstractmethod
    def lines(self, style: str, model: str, elements: Sequence[str]) -> list[str]:
        """LAMMPS commands for the sum: pair_style `style` with the file `model`, whose atom types are `elements`, and
        this."""

    def write(self, model: Path | str, elements: Sequence[str]) -> None:  # noqa: B027, some need none
        """Write the files that `lines` name beside the exported `model`."""

    def close(self) -> None:  # noqa: B027, some hold nothing
        """Release what it holds."""

    def hessian(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
        """Second derivatives (3N, 3N) of the energy, eV/A^2, by differences of forces over 2e-3 A."""
        rows, step = [], 1e-3
        for i in range(positions.size):
            moved = np.array([positions, positions], float).reshape(2, -1)
            moved[:, i] += (step, -step)
            ahead, behind = (self.values(numbers, x.reshape(-1, 3), cell, pbc).forces.ravel() for x in moved)
            rows.append((behind - ahead) / (2 * step))
        return (np.array(rows) + np.array(rows).T) / 2
