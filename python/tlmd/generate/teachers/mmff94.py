"""The teacher MMFF94 (Halgren, J. Comput. Chem. 17, 490, 1996) by RDKit: energies and forces of single molecules.

MMFF94 gives energies relative to an arbitrary zero of each bond graph. So that graphs can be compared, the energy of
the lowest relaxed conformer is replaced by bond energies, ring strains and resonance energies of textbooks:
E(x) = E_MMFF(x) - E_MMFF(lowest) - sum of bond energies + sum of ring strains - sum of resonance energies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import Teacher, TeacherConfig, Unsuited
from tlmd.generate.registry import teacher
from tlmd.run.errors import InputError
from tlmd.units import EV_PER_KJ_MOL

if TYPE_CHECKING:
    from tlmd.generate.molecule import ForceField, Molecule

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


class MMFF94Config(TeacherConfig):
    """The teacher MMFF94: single organic molecules, evaluated by RDKit."""

    matter: ClassVar[tuple[str, ...]] = ("molecules",)
    name: Literal["mmff94"]
    variant: Literal["MMFF94", "MMFF94s"] = Field("MMFF94", description="MMFF94s favours planar nitrogen")
    energies: Literal["bonds", "mmff94"] = Field(
        "bonds", description="zero of energy: free atoms by tabulated bond energies (bonds), or MMFF94's own"
    )


@teacher
class MMFF94(Teacher):
    """Labels of frames that carry their molecule's SMILES in info, atoms in the order of `tlmd.generate.topology`."""

    config: MMFF94Config

    def __init__(self, config: MMFF94Config):
        from tlmd.generate import topology

        topology.require_rdkit()
        super().__init__(config)
        self.energy_of = lru_cache(maxsize=256)(self._energy_of)  # of a molecule by its SMILES

    def _energy_of(self, smiles: str) -> ForceField:
        """The force field of a molecule. Raises Unsuited for missing parameters or bond energies, or no conformer."""
        from tlmd.generate.molecule import ForceField, Molecule

        molecule = Molecule(smiles)
        field = ForceField(molecule, self.config.variant)
        if self.config.energies == "bonds":
            starts = molecule.conformers(CONFORMERS, CONFORMER_SEED)
            lowest = min(field.evaluate(field.relax(x))[0] for x in starts)
            field.offset = atomisation_energy(molecule) - lowest
        return field

    def unfit(self, frame: Frame) -> str | None:
        """The words straight angle where a bent atom's angle nears 180 degrees: torsions are singular there."""
        widest = self._energy_at(frame).molecule.widest_angle(frame.positions)
        return "straight angle" if widest > STRAIGHT_DEG else None

    def label(self, frame: Frame) -> Frame:
        """`frame` with energy (eV) and forces (eV/A). Raises InputError for a missing SMILES or other atoms."""
        energy, forces = self._energy_at(frame).evaluate(frame.positions)
        return frame.replace(energy=energy, forces=forces)

    def _energy_at(self, frame: Frame) -> ForceField:
        smiles = frame.info.get("smiles")
        if smiles is None:
            raise InputError("a frame without smiles", "info smiles=...", "generate it by a system of molecules")
        field = self.energy_of(smiles)
        if list(field.molecule.numbers) != list(frame.numbers):
            raise InputError(f"other atoms than in {smiles}", "its atoms in order, hydrogens last", "reorder them")
        return field


def atomisation_energy(molecule: Molecule) -> float:
    """Energy in eV of the relaxed molecule against free atoms, by the tables above; Unsuited for a bond not in them."""
    from tlmd.generate import topology

    bonds = topology.bond_counts(molecule.graph)
    if unknown := [bond for bond in bonds if bond not in BOND_ENERGIES]:
        one, two, order = unknown[0]
        bond = f"{one}{' -=#'[order]}{two}"
        raise Unsuited(f"{molecule.smiles}, with a bond {bond}", "bonds with a tabulated energy", "leave it out")
    energy = -sum(count * BOND_ENERGIES[bond] for bond, count in bonds.items())
    for (size, aromatic), count in topology.ring_counts(molecule.graph).items():
        energy += count * (-RESONANCE.get(size, 0.0) if aromatic else RING_STRAINS.get(size, 0.0))
    return energy * EV_PER_KJ_MOL
