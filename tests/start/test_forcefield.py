"""MMFF94 in LAMMPS: every part beside RDKit's own, forces beside differences, types, errors."""

import numpy as np
import pytest

pytest.importorskip("rdkit")
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from tlmd.run.errors import InputError
from tlmd.start.forcefield import from_smiles
from tlmd.start.smiles import conformers, molecule
from tlmd.units import EV_PER_KCAL_MOL

SMILES = {
    "methanol": "CO",
    "ethanol": "CCO",
    "acetonitrile": "CC#N",
    "benzene": "c1ccccc1",
    "acetic acid": "CC(=O)O",
    "acetate": "CC(=O)[O-]",
    "methylammonium": "C[NH3+]",
    "acetamide": "CC(=O)N",
    "carbon dioxide": "O=C=O",
    "butyne": "CC#CC",
    "cyclobutane": "C1CCC1",
    "pyrazole": "n1ccc[nH]1",
    "sodium": "[Na+]",
}
MMFF_PARTS = {"ebond": ["Bond"], "eangle": ["Angle", "StretchBend"], "edihed": ["Torsion"], "eimp": ["Oop"]}
ALL_PARTS = ("Bond", "Angle", "StretchBend", "Torsion", "Oop", "VdW", "Ele")
COULOMB = 332.06371  # kcal/mol A/e^2, LAMMPS' in units real


class Rdkit:
    """MMFF94 by RDKit with some of its parts: energy (kcal/mol) and forces (kcal/mol/A)."""

    def __init__(self, smiles: str, parts=ALL_PARTS):
        self.graph = molecule(smiles)
        self.graph.AddConformer(Chem.Conformer(self.graph.GetNumAtoms()))
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(self.graph)
        for part in ALL_PARTS:
            getattr(properties, f"SetMMFF{part}Term")(part in parts)
        self.field = rdForceFieldHelpers.MMFFGetMoleculeForceField(self.graph, properties)
        self.field.Initialize()

    def energy(self, positions) -> float:
        return self.field.CalcEnergy(positions.ravel().tolist())

    def forces(self, positions):
        self.energy(positions)  # CalcGrad takes the distances of the last energy
        return -np.array(self.field.CalcGrad(positions.ravel().tolist())).reshape(-1, 3)

    def relaxed(self, positions):
        self.graph.GetConformer().SetPositions(np.ascontiguousarray(positions))
        self.field.Minimize(maxIts=2000)
        return np.array(self.graph.GetConformer().GetPositions())


def rattled(smiles: str, count: int = 3, displacement: float = 0.1):
    rng = np.random.default_rng(7)
    found = conformers(molecule(smiles), count, 1)
    return [x + rng.normal(scale=displacement, size=x.shape) for x in found]


@pytest.mark.parametrize("smiles", SMILES.values(), ids=SMILES)
def test_bonded_parts_are_those_of_mmff94(free, smiles):
    field = from_smiles([smiles])
    parts = {name: Rdkit(smiles, parts) for name, parts in MMFF_PARTS.items()}
    for positions in rattled(smiles):
        found, _ = free(field, positions)
        for name, rdkit in parts.items():
            assert found[name] == pytest.approx(rdkit.energy(positions), rel=1e-6, abs=1e-5), name
        if field.molecules.sizes[0] > 4:
            assert found["ebond"] > 1


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1", "CC(=O)[O-]", "C1CCC1"])
def test_pairs_are_those_of_the_formulas(free, smiles):
    """12-6 with MMFF94's eps and 0.92 of its R*, and Coulomb's law, three bonds apart 0.75 of it."""
    field, graph = from_smiles([smiles]), molecule(smiles)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(graph)
    apart = Chem.GetDistanceMatrix(graph)
    for positions in rattled(smiles):
        near, charges = {3: (1.0, 0.75)}, {"evdwl": 0.0, "ecoul": 0.0}
        for i in range(len(positions)):
            for j in range(i):
                lj, coulomb = near.get(apart[i, j], (1.0, 1.0) if apart[i, j] > 3 else (0.0, 0.0))
                *_, radius, depth = properties.GetMMFFVdWParams(i, j)
                d = np.linalg.norm(positions[i] - positions[j])
                charges["evdwl"] += lj * depth * ((0.92 * radius / d) ** 12 - 2 * (0.92 * radius / d) ** 6)
                product = properties.GetMMFFPartialCharge(i) * properties.GetMMFFPartialCharge(j)
                charges["ecoul"] += coulomb * COULOMB * product / d
        found, _ = free(field, positions)
        assert {name: found[name] for name in charges} == pytest.approx(charges, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("smiles", ["CCO", "CC#N", "c1ccccc1", "CC(=O)O", "CCCCCC", "C1COCO1"])
def test_forces_near_the_minimum_are_near_those_of_mmff94(free, smiles):
    """What 12-6 and the shift of Coulomb's law change; with all of R* benzene has 400 meV/A."""
    field, rdkit = from_smiles([smiles]), Rdkit(smiles)
    for start in conformers(molecule(smiles), 2, 1):
        positions = rdkit.relaxed(start)
        _, forces = free(field, positions)
        differences = (forces - rdkit.forces(positions)) * EV_PER_KCAL_MOL
        assert np.sqrt(np.square(differences).mean()) < 0.07


def test_forces_are_the_gradient(free):
    field, (positions,) = from_smiles(["CC(=O)N"]), rattled("CC(=O)N", 1)
    forces, step = free(field, positions)[1], 1e-4
    rng = np.random.default_rng(2)
    for _ in range(6):
        way = rng.normal(size=positions.shape)
        up, down = (sum(free(field, positions + sign * step * way)[0].values()) for sign in (1, -1))
        assert -(up - down) / (2 * step) == pytest.approx((forces * way).sum(), rel=1e-5)


def test_atoms_equal_by_symmetry_share_types():
    benzene = from_smiles(["c1ccccc1"])
    assert benzene.elements == ["C", "H"] and list(benzene.molecules.kinds) == [0] * 6 + [1] * 6
    assert {name: len(types) for name, types in benzene.types.items()} == {
        "bond": 2, "angle": 2, "dihedral": 1, "improper": 1,
    }  # fmt: skip
    acetate = from_smiles(["CC(=O)[O-]"])
    assert acetate.elements == ["C", "C", "O", "H"] and acetate.net_charges == [-1.0]


def test_mixture_is_the_sum_of_its_molecules(free):
    field = from_smiles(["CC(=O)[O-]", "C[NH3+]"])
    one, two = rattled("CC(=O)[O-]", 1)[0], rattled("C[NH3+]", 1)[0]
    together, _ = free(field, np.concatenate([one, one + 40, two + 120]), (2, 1))
    alone = [free(from_smiles([s]), x)[0] for s, x in (("CC(=O)[O-]", one), ("C[NH3+]", two))]
    for part in ("ebond", "eangle", "edihed", "eimp"):
        assert together[part] == pytest.approx(2 * alone[0][part] + alone[1][part], rel=1e-6)


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("CB(O)O", "'CB\\(O\\)O', with an atom for which MMFF94 has no parameters; wanted .*; give --data"),
        ("C(", "got 'C\\('; wanted the SMILES of a molecule"),
        ("C.O", "got 'C.O', several molecules; wanted one molecule in each SMILES"),
        ("", "wanted the SMILES of a molecule"),
    ],
)
def test_what_mmff94_does_not_know_is_refused(smiles, words):
    with pytest.raises(InputError, match=words):
        from_smiles(["O", smiles])
