"""The teacher MMFF94 (Halgren, J. Comput. Chem. 17, 490, 1996) by RDKit: energies and forces of single molecules.

MMFF94 gives energies relative to an arbitrary zero of each bond graph. So that graphs can be compared, the energy of
the lowest relaxed conformer is replaced by bond energies, ring strains and resonance energies of textbooks:
E(x) = E_MMFF(x) - E_MMFF(lowest) - sum of bond energies + sum of ring strains - sum of resonance energies.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tlmd.frames.frame import Frame
from tlmd.generate import topology
from tlmd.generate.config import MMFF94Config
from tlmd.generate.interfaces import Teacher, Unsuited
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_KCAL_MOL, EV_PER_KJ_MOL

# Mean bond energies, kJ/mol (Zumdahl, Chemistry; Huheey, Inorganic Chemistry); N-S by Pauling's rule.
BOND_ENERGIES = {
    ("H", "H", 1): 432, ("F", "H", 1): 565, ("C", "H", 1): 413, ("H", "N", 1): 391, ("H", "O", 1): 467,
    ("H", "S", 1): 347, ("C", "C", 1): 347, ("C", "C", 2): 614, ("C", "C", 3): 839, ("C", "N", 1): 305,
    ("C", "N", 2): 615, ("C", "N", 3): 891, ("C", "O", 1): 358, ("C", "O", 2): 745, ("C", "F", 1): 485,
    ("C", "S", 1): 259, ("C", "S", 2): 573, ("N", "N", 1): 160, ("N", "N", 2): 418, ("N", "N", 3): 941,
    ("N", "O", 1): 201, ("N", "O", 2): 607, ("F", "N", 1): 272, ("N", "S", 1): 233, ("O", "O", 1): 146,
    ("O", "O", 2): 495, ("F", "O", 1): 190, ("O", "S", 1): 265, ("O", "S", 2): 523, ("F", "S", 1): 327,
    ("S", "S", 1): 266, ("F", "F", 1): 154,
}  # fmt: skip
RING_STRAINS = {3: 115.0, 4: 111.0, 5: 26.0}  # kJ/mol, of cycloalkanes; MMFF94 has its own angles in small rings
RESONANCE = {5: 90.0, 6: 150.0}  # kJ/mol, of an aromatic ring: pyrrole and its like, benzene
CONFORMERS, CONFORMER_SEED = 4, 1  # among which the lowest is found
STRAIGHT_DEG = 170.0


class MMFF94(Teacher):
    """Labels of frames that carry their molecule's SMILES in info, atoms in the order of `tlmd.generate.topology`."""

    def __init__(self, config: MMFF94Config):
        topology.require_rdkit()
        self.config = config

    def field(self, smiles: str) -> Field:
        """The force field of a molecule. Raises Unsuited for missing parameters or bond energies, or no conformer."""
        return _field(smiles, self.config)

    def unfit(self, frame: Frame) -> str | None:
        """The words straight angle where a bent atom's angle nears 180 degrees: torsions are singular there."""
        return "straight angle" if self._field_of(frame).widest_angle(frame.positions) > STRAIGHT_DEG else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV) and forces (eV/A). Raises InputError for a missing SMILES or other atoms."""
        energy, forces = self._field_of(frame).evaluate(frame.positions)
        return frame.replace(energy=energy, forces=forces)

    def _field_of(self, frame: Frame) -> Field:
        smiles = frame.info.get("smiles")
        if smiles is None:
            raise InputError("a frame without smiles", "info smiles=...", "generate it by a system of molecules")
        field = self.field(smiles)
        if not np.array_equal(field.numbers, frame.numbers):
            raise InputError(f"other atoms than in {smiles}", "its atoms in order, hydrogens last", "reorder them")
        return field


class Field:
    """MMFF94 of one molecule. numbers (N,); offset in eV, added to MMFF94's own energy."""

    def __init__(self, smiles: str, config: MMFF94Config):
        self.molecule = topology.with_hydrogens(smiles)
        self.numbers = topology.numbers_of(self.molecule)
        helpers = topology.rdForceFieldHelpers
        properties = helpers.MMFFGetMoleculeProperties(self.molecule, mmffVariant=config.variant)
        if properties is None:
            raise Unsuited(f"{smiles}, an atom without a type", "atoms that MMFF94 has types for", "leave it out")
        self.molecule.AddConformer(topology.Chem.Conformer(len(self.numbers)))
        self._field = helpers.MMFFGetMoleculeForceField(self.molecule, properties)
        self._field.Initialize()
        self._bent = topology.bent_angles(self.molecule)
        self.offset = 0.0
        if config.energies == "bonds":
            lowest = min(self.evaluate(self.relax(x))[0] for x in self.conformers(CONFORMERS, CONFORMER_SEED))
            self.offset = atomisation_energy(self.molecule, smiles) - lowest

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (eV) and forces (N, 3) (eV/A) at positions (N, 3) A."""
        coordinates = positions.ravel().tolist()
        energy = self._field.CalcEnergy(coordinates) * EV_PER_KCAL_MOL + self.offset
        return energy, np.array(self._field.CalcGrad(coordinates)).reshape(-1, 3) * -EV_PER_KCAL_MOL

    def widest_angle(self, positions: np.ndarray) -> float:
        """The widest angle (degrees) at atoms that are not linear by their bonds; 0 if there is none."""
        one, centre, two = positions[self._bent].swapaxes(0, 1)
        a, b = one - centre, two - centre
        cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        return float(np.degrees(np.arccos(cosines.clip(-1, 1))).max(initial=0.0))

    def conformers(self, count: int, seed: int) -> list[np.ndarray]:
        """Up to `count` conformers by distance geometry, (N, 3) A each; Unsuited if none is found."""
        molecule = topology.Chem.Mol(self.molecule)
        found = topology.embed(molecule, count, seed)
        if not found:
            got = f"{topology.canonical(molecule)}, without a conformer"
            raise Unsuited(got, "a molecule that distance geometry can build", "leave it out")
        return [molecule.GetConformer(i).GetPositions() for i in found]

    def relax(self, positions: np.ndarray) -> np.ndarray:
        """The minimum (N, 3) A near `positions`."""
        self.molecule.GetConformer().SetPositions(np.ascontiguousarray(positions))
        self._field.Initialize()
        self._field.Minimize(maxIts=2000)
        return np.array(self._field.Positions()).reshape(-1, 3)


_field = lru_cache(maxsize=256)(Field)


def atomisation_energy(molecule, smiles: str) -> float:
    """Energy in eV of the relaxed molecule against free atoms, by the tables above; Unsuited for a bond not in them."""
    bonds = topology.bond_counts(molecule)
    if unknown := [bond for bond in bonds if bond not in BOND_ENERGIES]:
        raise Unsuited(f"{smiles}, with a bond {unknown[0]}", "bonds with a tabulated energy", "leave it out")
    energy = -sum(count * BOND_ENERGIES[bond] for bond, count in bonds.items())
    for (size, aromatic), count in topology.ring_counts(molecule).items():
        energy += count * (-RESONANCE.get(size, 0.0) if aromatic else RING_STRAINS.get(size, 0.0))
    return energy * EV_PER_KJ_MOL
