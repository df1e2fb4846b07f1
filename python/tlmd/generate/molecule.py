"""A single molecule by RDKit: its graph with conformers, and its energy by a teacher or by MMFF94."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from tlmd.generate import topology
from tlmd.generate.interfaces import Unsuited
from tlmd.units import EV_PER_KCAL_MOL


class Molecule:
    """A molecule as a graph, atoms in the order of `tlmd.generate.topology`.

    smiles; numbers (N,); charge, e; graph: RDKit's molecule, hydrogens as atoms
    """

    def __init__(self, smiles: str):
        self.smiles = smiles
        self.graph = topology.with_hydrogens(smiles)
        self.numbers = topology.numbers_of(self.graph)
        self.charge = topology.Chem.GetFormalCharge(self.graph)
        self._bent = topology.bent_angles(self.graph)

    def conformers(self, count: int, seed: int) -> list[np.ndarray]:
        """Up to `count` conformers by distance geometry, (N, 3) A each; Unsuited if none is found."""
        graph = topology.Chem.Mol(self.graph)
        found = topology.embed(graph, count, seed)
        if not found:
            got = f"{topology.canonical(graph)}, without a conformer"
            raise Unsuited(got, "a molecule that distance geometry can build", "leave it out")
        return [graph.GetConformer(i).GetPositions() for i in found]

    def widest_angle(self, positions: np.ndarray) -> float:
        """The widest angle (degrees) at atoms that are not linear by their bonds; 0 if there is none."""
        one, centre, two = positions[self._bent].swapaxes(0, 1)
        a, b = one - centre, two - centre
        cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        return float(np.degrees(np.arccos(cosines.clip(-1, 1))).max(initial=0.0))


class MoleculeEnergy(ABC):
    """The energy of one molecule by a teacher, which gives it by its method `energy_of(smiles)`."""

    def __init__(self, molecule: Molecule):
        self.molecule = molecule

    @abstractmethod
    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (eV) and forces (N, 3) (eV/A) at positions (N, 3) A. Raises Unsuited where there is no result."""

    @abstractmethod
    def relax(self, positions: np.ndarray) -> np.ndarray:
        """The minimum (N, 3) A near `positions`."""


class EnergyByTeacher(MoleculeEnergy):
    """The energy by any function of positions; relaxation by another one, from the minimum of MMFF94.

    evaluate, relax: as the methods of the same names
    """

    def __init__(
        self,
        molecule: Molecule,
        evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]],
        relax: Callable[[np.ndarray], np.ndarray],
    ):
        super().__init__(molecule)
        self._evaluate, self._relax, self._first = evaluate, relax, ForceField(molecule)

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        return self._evaluate(positions)

    def relax(self, positions: np.ndarray) -> np.ndarray:
        return self._relax(self._first.relax(positions))


class ForceField(MoleculeEnergy):
    """MMFF94 of a molecule; `offset` (eV) is added to its energy. Raises Unsuited for an atom without a type."""

    def __init__(self, molecule: Molecule, variant: str = "MMFF94"):
        super().__init__(molecule)
        self.offset = 0.0
        helpers = topology.rdForceFieldHelpers
        self._graph = topology.Chem.Mol(molecule.graph)
        properties = helpers.MMFFGetMoleculeProperties(self._graph, mmffVariant=variant)
        if properties is None:
            got = f"{molecule.smiles}, an atom without a type"
            raise Unsuited(got, "atoms that MMFF94 has types for", "leave it out")
        self._graph.AddConformer(topology.Chem.Conformer(len(molecule.numbers)))
        self._field = helpers.MMFFGetMoleculeForceField(self._graph, properties)
        self._field.Initialize()

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        coordinates = positions.ravel().tolist()
        energy = self._field.CalcEnergy(coordinates) * EV_PER_KCAL_MOL + self.offset
        return energy, np.array(self._field.CalcGrad(coordinates)).reshape(-1, 3) * -EV_PER_KCAL_MOL

    def relax(self, positions: np.ndarray) -> np.ndarray:
        self._graph.GetConformer().SetPositions(np.ascontiguousarray(positions))
        self._field.Initialize()
        self._field.Minimize(maxIts=2000)
        return np.array(self._field.Positions()).reshape(-1, 3)
