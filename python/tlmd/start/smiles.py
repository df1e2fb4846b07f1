"""Molecules from SMILES by RDKit: all atoms, conformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlmd.run.errors import InputError

if TYPE_CHECKING:
    from rdkit import Chem

ITERATIONS = 200  # of distance geometry, for each conformer


def molecule(smiles: str) -> Chem.Mol:
    """RDKit's molecule of a SMILES, hydrogens as atoms, last. Raises InputError unless it is one molecule or ion."""
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        raise InputError("no RDKit", "the extra [molecules]", "pip install rdkit") from None

    RDLogger.DisableLog("rdApp.*")  # what fails is said in one line
    found = Chem.MolFromSmiles(smiles)
    if found is None or found.GetNumAtoms() == 0:
        raise InputError(f"'{smiles}'", "the SMILES of a molecule or an ion", "correct it")
    if len(Chem.GetMolFrags(found)) > 1:
        raise InputError(f"'{smiles}', several molecules", "one molecule in each SMILES", "give --smiles for each")
    return Chem.AddHs(found)


def conformers(graph: Chem.Mol, count: int, seed: int) -> list[np.ndarray]:
    """Up to `count` conformers (N, 3) A by ETKDG (Riniker and Landrum 2015). Raises InputError if there is none."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    if graph.GetNumAtoms() == 1:
        return [np.zeros((1, 3))]
    copy, settings = Chem.Mol(graph), rdDistGeom.ETKDGv3()
    settings.randomSeed, settings.maxIterations = seed, ITERATIONS
    found = list(rdDistGeom.EmbedMultipleConfs(copy, count, settings))
    if not found:
        got = f"{Chem.MolToSmiles(Chem.RemoveHs(graph))}, without a conformer"
        raise InputError(got, "a molecule that distance geometry can build", "give --data and --include of your own")
    return [np.array(copy.GetConformer(i).GetPositions()) for i in found]
