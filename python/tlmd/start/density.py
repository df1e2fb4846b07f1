"""The density of a liquid from its formula (Girolami, J. Chem. Educ. 71, 962, 1994): right within some 15 %."""

from __future__ import annotations

from collections.abc import Sequence

from tlmd.start.smiles import molecule

# Relative volumes of atoms by the row of the periodic table: up to this atomic number, so many.
VOLUMES = ((1, 1.0), (9, 2.0), (17, 4.0), (35, 5.0), (53, 7.5), (83, 9.0))
CUBE = 5.0  # cm3/mol of a relative volume of 1
GROUPS = ("[OX2;H1,H2]", "[NX3;H1,H2;!$(N[#6]=[#8])]", "[#6](=O)[NX3]", "[#16X3](=O)", "[#16X4](=O)=O")  # 10 % each
RING, MOST = 0.1, 1.3


def guessed_density(molecules: Sequence[tuple[str, int]]) -> float:
    """g/cm3 of a mixture of (SMILES, number), volumes added up.

    Hydrogen bonds, sulphoxides and rings make 10 % each, 30 % at most for a molecule. Measured against it: water 0.99
    (0.997), ethanol 0.84 (0.785), benzene 0.95 (0.874), acetonitrile 0.91 (0.777).
    """
    from rdkit import Chem
    from rdkit.Chem.Descriptors import MolWt

    mass = volume = 0.0
    for smiles, count in molecules:
        graph = molecule(smiles)
        atoms = (next(size for last, size in VOLUMES if atom.GetAtomicNum() <= last) for atom in graph.GetAtoms())
        found = sum(len(graph.GetSubstructMatches(Chem.MolFromSmarts(group))) for group in GROUPS)
        denser = min(MOST, 1 + 0.1 * found + RING * graph.GetRingInfo().NumRings())
        mass += count * MolWt(graph)
        volume += count * CUBE * sum(atoms) / denser
    return mass / volume
