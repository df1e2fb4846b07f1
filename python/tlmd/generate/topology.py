"""Molecules as graphs, by RDKit: SMILES, bonds found from a geometry, enumeration by valence, conformers.

A molecule is its canonical SMILES, with the stereochemistry that a given SMILES states (a geometry gives none). Its
atoms are ordered as in that SMILES, hydrogens last, as RDKit adds them; a frame that carries `smiles` in its info keeps
to this order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from ase.data import chemical_symbols

from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError

try:
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdDetermineBonds, rdDistGeom, rdForceFieldHelpers

    RDLogger.DisableLog("rdApp.*")  # what fails is counted and reported
except ImportError:
    Chem = None

VALENCES = {"C": 4, "N": 3, "O": 2, "S": 2, "F": 1}
ABUNDANCES = {"C": 14.0, "N": 3.0, "O": 3.0, "S": 1.0, "F": 1.0}  # how often growth draws an element
RINGS = (0.35, 0.4, 0.25)  # probability of closing 0, 1, 2 rings
SEARCH_STEPS = 2000  # of bond orders; a charged or crowded geometry would take for ever
_UNSTABLE = (
    "[N,O,S,F]~[N,O,S,F]~[N,O,S,F]",  # chains of hetero-atoms
    "[O,F]~[O,F]",
    "[N,S]~F",
    "[R]=*=*",  # cumulated double bonds at a ring
    "[R]#*",  # triple bonds in or beside a small ring
)


def require_rdkit() -> None:
    """Raise InputError where RDKit is missing."""
    if Chem is None:
        raise InputError("no RDKit", "the extra [molecules]", "pip install rdkit")


def canonical(molecule: Chem.Mol) -> str:
    """The molecule's SMILES, see the head of this file."""
    smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule))
    return "[H]F" if smiles == "F" else smiles  # extxyz would read a lone F as false


def with_hydrogens(smiles: str) -> Chem.Mol:
    """The molecule of a SMILES with all its hydrogens as atoms. Raises InputError unless it is one molecule."""
    require_rdkit()
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0 or len(Chem.GetMolFrags(molecule)) > 1:
        raise InputError(f"'{smiles}'", "the SMILES of one molecule", "correct it")
    return Chem.AddHs(molecule)


def from_geometry(frame: Frame) -> str | None:
    """The SMILES of a frame of one neutral molecule, bonds by distance and valence; None if there is no such graph."""
    editable = Chem.RWMol()
    for number in frame.numbers:
        editable.AddAtom(Chem.Atom(int(number)))
    conformer = Chem.Conformer(len(frame))
    conformer.SetPositions(np.ascontiguousarray(frame.positions))
    editable.AddConformer(conformer)
    molecule = editable.GetMol()
    try:
        rdDetermineBonds.DetermineBonds(molecule, charge=0, embedChiral=False, maxIterations=SEARCH_STEPS)
        _double_sulphur_oxygen(molecule)
        Chem.SanitizeMol(molecule)
    except (ValueError, RuntimeError):  # RDKit's ways to say that no bond orders fit
        return None
    return canonical(molecule) if len(Chem.GetMolFrags(molecule)) == 1 else None


def _double_sulphur_oxygen(molecule: Chem.Mol) -> None:
    """Write S+ - O- as S=O, the form that the tables of bond energies know."""
    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        if {(atom.GetSymbol(), atom.GetFormalCharge()) for atom in ends} == {("S", 1), ("O", -1)}:
            bond.SetBondType(Chem.BondType.DOUBLE)
            for atom in ends:
                atom.SetFormalCharge(0)


def is_typed(smiles: str) -> bool:
    """Whether MMFF94 has types and parameters for all atoms."""
    return rdForceFieldHelpers.MMFFHasAllMoleculeParams(with_hydrogens(smiles))


def from_frames(frames: Sequence[Frame]) -> tuple[list[str], Counter]:
    """The different molecules of `frames` in their order, and how many frames have no graph."""
    require_rdkit()
    found = [from_geometry(frame) for frame in frames]
    return list(dict.fromkeys(smiles for smiles in found if smiles)), Counter({"no bonds": found.count(None)})


def enumerate_molecules(count: int, elements: Sequence[str], heavy_atoms: tuple[int, int], seed: int) -> list[str]:
    """Up to `count` different neutral closed-shell molecules, grown at random by valence; given by the seed.

    A tree of single bonds grows atom by atom, rings are closed, bond orders are raised. Sizes are drawn in proportion
    to 3^size, as the number of graphs grows; growth ends early where no new graph is found in 200 trials.
    """
    require_rdkit()
    rng = np.random.default_rng(seed)
    low, high = heavy_atoms
    sizes = np.arange(low, high + 1)
    weights = 3.0**sizes / (3.0**sizes).sum()
    unstable = [Chem.MolFromSmarts(pattern) for pattern in _UNSTABLE]
    found: dict[str, None] = {}
    idle = 0
    while len(found) < count and idle < 200:
        molecule = _grow(rng, elements, int(rng.choice(sizes, p=weights)))
        idle += 1
        if molecule is None or any(molecule.HasSubstructMatch(pattern) for pattern in unstable):
            continue
        smiles = canonical(molecule)
        idle = idle if smiles in found else 0
        found[smiles] = None
    return list(found)


def _grow(rng: np.random.Generator, elements: Sequence[str], size: int) -> Chem.Mol | None:
    """One random molecule of `size` heavy atoms; None where growth came to a dead end."""
    weights = np.array([ABUNDANCES[element] for element in elements])
    symbols = rng.choice(np.array(list(elements)), size=size, p=weights / weights.sum())
    free = np.array([VALENCES[symbol] for symbol in symbols])
    orders = np.zeros((size, size), dtype=int)

    def bond(pairs: np.ndarray) -> bool:
        """One bond more between one of the pairs (n, 2), drawn from those with free valences."""
        open_pairs = pairs[(free[pairs] > 0).all(axis=1)]
        if not len(open_pairs):
            return False
        i, j = rng.choice(open_pairs)
        orders[i, j] += 1
        free[[i, j]] -= 1
        return True

    for new in range(1, size):
        if not bond(np.stack([np.arange(new), np.full(new, new)], axis=1)):
            return None
    for _ in range(rng.choice(len(RINGS), p=RINGS)):
        bond(np.argwhere(np.triu(orders == 0, k=1)))
    for _ in range(rng.integers(0, size // 2 + 2)):
        bond(np.argwhere((orders > 0) & (orders < 3)))
    editable = Chem.RWMol()
    for symbol in symbols:
        editable.AddAtom(Chem.Atom(str(symbol)))
    for i, j in np.argwhere(orders):
        editable.AddBond(int(i), int(j), Chem.BondType.values[int(orders[i, j])])
    molecule = editable.GetMol()
    Chem.SanitizeMol(molecule)
    return molecule


def embed(molecule: Chem.Mol, count: int, seed: int) -> list[int]:
    """Give `molecule` up to `count` conformers by ETKDG (Riniker and Landrum 2015), undefined stereo centres at random.

    Returns the identifiers of those that were found.
    """
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.maxIterations = 50
    return list(rdDistGeom.EmbedMultipleConfs(molecule, count, parameters))


def numbers_of(molecule: Chem.Mol) -> np.ndarray:
    """(N,) atomic numbers."""
    return np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])


def bond_counts(molecule: Chem.Mol) -> Counter:
    """How often each bond (element, element, order) occurs in a Kekule structure; elements in alphabetical order."""
    molecule = Chem.Mol(molecule)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    counts: Counter = Counter()
    for bond in molecule.GetBonds():
        ends = sorted(chemical_symbols[atom.GetAtomicNum()] for atom in (bond.GetBeginAtom(), bond.GetEndAtom()))
        counts[(*ends, int(bond.GetBondTypeAsDouble()))] += 1
    return counts


def ring_counts(molecule: Chem.Mol) -> Counter:
    """How often each ring (size, aromatic or not) occurs among the smallest rings."""
    counts: Counter = Counter()
    for ring in molecule.GetRingInfo().AtomRings():
        counts[(len(ring), all(molecule.GetAtomWithIdx(i).GetIsAromatic() for i in ring))] += 1
    return counts


def bent_angles(molecule: Chem.Mol) -> np.ndarray:
    """(A, 3) atoms i, j, k of the angles at atoms j that are not linear by their bonds."""
    return np.array(
        [
            (one.GetIdx(), centre.GetIdx(), two.GetIdx())
            for centre in molecule.GetAtoms()
            if centre.GetHybridization() != Chem.HybridizationType.SP
            for one, two in combinations(centre.GetNeighbors(), 2)
        ],
        dtype=int,
    ).reshape(-1, 3)
