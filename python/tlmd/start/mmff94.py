"""Every term of MMFF94 (Halgren, J. Comput. Chem. 17, 490, 1996) of molecules given by SMILES, in LAMMPS' form.

Parameters by RDKit; energies in kcal/mol, lengths in A, angles in radians unless said otherwise. Exact: stretch (bond
class2), bend with stretch-bend (angle class2; linear atoms: angle cosine), torsion (dihedral opls), out of plane
(improper inversion/harmonic is the Wilson angle, all three terms of a centre at once). Not exact: van der Waals is
12-6 with eps and 0.92 of R* of MMFF94's buffered 14-7 potential (docs/decisions.md), and Coulomb's law lacks MMFF94's
shift of 0.05 A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

from tlmd.run.errors import InputError
from tlmd.start.smiles import molecule

if TYPE_CHECKING:
    from rdkit import Chem

HALF_MDYN = 143.9325 / 2  # half of 1 mdyn/A in kcal/mol/A^2, Halgren's factor; the same for 1 mdyn A/rad^2
CUBIC_STRETCH, CUBIC_BEND = -2.0, -0.4  # 1/A; 1/rad (Halgren: -0.007 per degree; RDKit: -0.4 per radian)
RADIUS = 0.92  # factor on R*: forces three bonds apart are near MMFF94's, and liquids are less thin
Term = tuple[tuple[int, ...], tuple[Any, ...]]  # its atoms, counted from 0, and LAMMPS' coefficients


@dataclass(frozen=True)
class Typed:
    """Molecules with all their terms.

    smiles, sizes: of each molecule; the arrays below hold the atoms of all molecules, one after another
    numbers (N,) atomic numbers; charges (N,) e; kinds (N,): atoms of one MMFF94 type and charge share a kind (from 0)
    terms: "bond", "angle", "dihedral", "improper" -> its terms
    pairs: (kind, kind) -> eps (kcal/mol) and sigma (A) of 12-6, for kinds in order
    """

    smiles: tuple[str, ...]
    sizes: tuple[int, ...]
    numbers: np.ndarray
    charges: np.ndarray
    kinds: np.ndarray
    terms: dict[str, list[Term]]
    pairs: dict[tuple[int, int], tuple[float, float]]


def typed(smiles: Sequence[str]) -> Typed:
    """The molecules of `smiles` with all their terms. Raises InputError for one without MMFF94 parameters."""
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    molecules = [molecule(one) for one in smiles]
    for one, graph in zip(smiles, molecules, strict=True):
        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(graph):
            got = f"'{one}', with an atom for which MMFF94 has no parameters"
            raise InputError(got, "a molecule of its elements and valences", "give --data and --include of your own")
    whole = molecules[0]
    for graph in molecules[1:]:
        whole = Chem.CombineMols(whole, graph)
    Chem.SanitizeMol(whole)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(whole)
    numbers = np.array([atom.GetAtomicNum() for atom in whole.GetAtoms()])
    charges = np.array([properties.GetMMFFPartialCharge(i) for i in range(len(numbers))]).round(8) + 0.0
    keys = [(z, properties.GetMMFFAtomType(i), q) for i, (z, q) in enumerate(zip(numbers, charges, strict=True))]
    known = list(dict.fromkeys(keys))
    reader = Parameters(whole, properties)
    terms = {"bond": reader.bonds, "angle": reader.angles, "dihedral": reader.torsions, "improper": reader.out_of_plane}
    return Typed(
        tuple(smiles),
        tuple(graph.GetNumAtoms() for graph in molecules),
        numbers,
        charges,
        np.array([known.index(key) for key in keys]),
        {name: list(read()) for name, read in terms.items()},
        {
            (i, j): reader.van_der_waals(keys.index(known[i]), keys.index(known[j]))
            for i in range(len(known))
            for j in range(i, len(known))
        },
    )


class Parameters:
    """The terms of RDKit's molecule `graph`, whose MMFF94 types are in `properties`."""

    def __init__(self, graph: Chem.Mol, properties: Any):
        self.graph, self.properties = graph, properties
        self.near = [[n.GetIdx() for n in atom.GetNeighbors()] for atom in graph.GetAtoms()]
        self.linear = {i for i in range(len(self.near)) if self._is_linear(i)}

    def _is_linear(self, centre: int) -> bool:
        """Whether MMFF94 takes the atom for linear: its angles are of 180 degrees and cosine potentials."""
        if len(self.near[centre]) != 2:
            return False
        one, two = self.near[centre]
        return self._got("AngleBend", one, centre, two)[2] == 180.0

    def _got(self, name: str, *atoms: int) -> Any:
        """The parameters of a term, None if MMFF94 has no such term here; InputError where it should have."""
        found = getattr(self.properties, f"GetMMFF{name}Params")(self.graph, *atoms)
        if found is None and name in ("BondStretch", "AngleBend"):
            symbols = "-".join(chemical_symbols[self.graph.GetAtomWithIdx(i).GetAtomicNum()] for i in atoms)
            got = f"{symbols} without MMFF94 parameters"
            raise InputError(got, "a molecule that MMFF94 knows", "give --data and --include of your own")
        return found

    def _length(self, one: int, two: int) -> float:
        return self._got("BondStretch", one, two)[2]

    def bonds(self) -> Iterator[Term]:
        """Bond class2: r0 K2 K3 K4. MMFF94's quartic: k/2 d^2 (1 + c d + 7/12 c^2 d^2)."""
        for bond in self.graph.GetBonds():
            pair = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            _, stiffness, length = self._got("BondStretch", *pair)
            k = HALF_MDYN * stiffness
            yield pair, (length, k, k * CUBIC_STRETCH, k * 7 / 12 * CUBIC_STRETCH**2)

    def angles(self) -> Iterator[Term]:
        """("class2", theta0 in degrees, K2, K3, K4, N1, N2, r1, r2), the latter four of stretch-bend; or ("cosine", K)
        of linear atoms."""
        for centre, near in enumerate(self.near):
            for one, two in combinations(near, 2):
                _, stiffness, degrees = self._got("AngleBend", one, centre, two)
                k = HALF_MDYN * stiffness
                if centre in self.linear:
                    yield (one, centre, two), ("cosine", 2 * k)
                    continue
                _, *couplings = self._got("StretchBend", one, centre, two) or (0, 0.0, 0.0)
                ends = [
                    (2 * HALF_MDYN * coupling, self._length(end, centre), end)
                    for coupling, end in zip(couplings, (one, two), strict=True)
                ]
                (n1, r1, first), (n2, r2, last) = sorted(ends)  # so that equal angles are written alike
                yield (first, centre, last), ("class2", degrees, k, CUBIC_BEND * k, 0.0, n1, n2, r1, r2)

    def torsions(self) -> Iterator[Term]:
        """Dihedral opls: V1 V2 V3 and 0."""
        for bond in self.graph.GetBonds():
            j, k = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            if j in self.linear or k in self.linear:
                continue
            for i in self.near[j]:
                for m in self.near[k]:
                    if len({i, j, k, m}) == 4 and (found := self._got("Torsion", i, j, k, m)) and any(found[1:]):
                        yield (i, j, k, m), (*found[1:], 0.0)

    def out_of_plane(self) -> Iterator[Term]:
        """Improper inversion/harmonic: K and 0; the centre first. LAMMPS takes a third of K for each of the three
        Wilson angles, MMFF94 k/2 for each."""
        for centre, near in enumerate(self.near):
            if len(near) == 3 and (stiffness := self._got("OopBend", near[0], centre, near[1], near[2])):
                yield (centre, *near), (3 * HALF_MDYN * stiffness, 0.0)

    def van_der_waals(self, one: int, two: int) -> tuple[float, float]:
        """eps (kcal/mol) and sigma (A) of 12-6, from eps and R* of MMFF94's buffered 14-7 potential."""
        *_, radius, depth = self.properties.GetMMFFVdWParams(one, two)
        return depth, RADIUS * radius / 2 ** (1 / 6)
