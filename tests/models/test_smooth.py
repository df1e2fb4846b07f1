"""The force field is smooth, also where symmetry makes the vectors V of PaiNN's update vanish: no cone, no force off a
site of a lattice. Of a model of random weights and of the shipped ones.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from tlmd.calculator import TLCalculator
from tlmd.engine import FeatureEngine
from tlmd.graph import build_graph
from tlmd.modelfile import Card, load_model, read_card, save_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.painn import NORM_EPSILON, OLD_NORM_EPSILON
from tlmd.run.installed import SHIPPED

SYSTEMS = {
    "H2O": molecule("H2O"),
    "NH3": molecule("NH3"),
    "CH4": molecule("CH4"),
    "C6H6": molecule("C6H6"),
    "fcc": bulk("Cu", "fcc", a=3.61) * (2, 2, 2),
    "bcc": bulk("Fe", "bcc", a=2.87) * (2, 2, 2),
    "surface": fcc111("Cu", (2, 2, 3), a=3.61, vacuum=5.0, periodic=True),
}
LATTICES = ("fcc", "bcc", "surface")
ELEMENTS = ["H", "C", "N", "O", "Fe", "Cu"]
STEP = {"float32": 5e-3, "float64": 1e-4}  # A, of differences
SHIPPED_STEP = {"float32": 1e-3, "float64": 2e-5}  # ML-PEG takes 1e-3; their higher derivatives are larger
ASYMMETRY = {"float32": 1e-3, "float64": 1e-6}
TOLD = ("native", "torch")


def random_model(folder, dtype: str, norm_epsilon: float = NORM_EPSILON):
    """A model file of random weights with forces of several eV/A."""
    torch.manual_seed(7)
    architecture = Architecture(width=32, n_layers=3, n_radial=8, norm_epsilon=norm_epsilon)
    potential = new_potential(ELEMENTS, 5.0, architecture).cast(getattr(torch, dtype))
    potential.scale.fill_(20.0)
    path = folder / f"{dtype}-{norm_epsilon}.pt"
    save_model(path, potential, Card(elements=ELEMENTS, cutoff=5.0, architecture=architecture))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("smooth")


def forces(atoms: Atoms, calculator: TLCalculator, moves) -> np.ndarray:
    """Forces (N, 3) of the atoms moved by `moves` (N, 3)."""
    moved = atoms.copy()
    moved.positions += moves
    moved.calc = calculator
    return moved.get_forces()


def jacobian(atoms: Atoms, calculator: TLCalculator, step: float) -> np.ndarray:
    """dF_i/dx_j (3N, 3N) by central differences."""
    n = 3 * len(atoms)
    moves = step * np.eye(n).reshape(n, len(atoms), 3)
    columns = [(forces(atoms, calculator, m) - forces(atoms, calculator, -m)).ravel() / (2 * step) for m in moves]
    return np.stack(columns, axis=1)


def asymmetry(j: np.ndarray) -> float:
    return float(np.linalg.norm(j - j.T) / np.linalg.norm(j + j.T))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", TOLD)
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_jacobian_of_the_forces_is_symmetric(folder, name, backend, dtype):
    calculator = TLCalculator(random_model(folder, dtype), backend=backend)
    atoms = SYSTEMS[name]
    found = jacobian(atoms, calculator, STEP[dtype])
    assert np.abs(found).max() > 1.0  # eV/A^2
    assert asymmetry(found) < ASYMMETRY[dtype]


def test_the_cone_of_format_1_is_seen_by_these_tests(folder):
    calculator = TLCalculator(random_model(folder, "float64", OLD_NORM_EPSILON), backend="torch")
    assert asymmetry(jacobian(SYSTEMS["CH4"], calculator, STEP["float64"])) > 100 * ASYMMETRY["float64"]


@pytest.mark.parametrize("name", ["CH4", "surface"])
def test_hessian_and_tangents_are_the_differences(folder, name):
    path, atoms = random_model(folder, "float64"), SYSTEMS[name]
    for backend in TOLD:
        calculator = TLCalculator(path, backend=backend)
        found, expected = calculator.hessian(atoms), -jacobian(atoms, calculator, STEP["float64"])
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())
    model, step = calculator.model, STEP["float64"]
    engine, moves = FeatureEngine(model, [0, 2]), np.random.default_rng(1).normal(size=(4, len(atoms), 3))

    def features(shift) -> np.ndarray:
        place = atoms.positions + shift
        box = (atoms.cell.array, atoms.pbc, model.elements, model.cutoff, torch.float64)
        return engine.features(build_graph(atoms.numbers, place, *box))

    expected = np.stack([(features(step * move) - features(-step * move)) / (2 * step) for move in moves])
    features(0.0)
    found = engine.tangents(moves, np.zeros((4, 3, 3)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def off_site(atoms: Atoms, calculator: TLCalculator) -> float:
    """Of an atom moved by 1e-4 A: its force beyond that of its site and what its stiffness over 0.01 A gives, eV/A."""
    largest = 0.0
    for direction in np.eye(3):
        moves = np.zeros((2, len(atoms), 3))
        moves[0, 0], moves[1, 0] = 1e-4 * direction, 1e-2 * direction
        site, near, far = (forces(atoms, calculator, m)[0] for m in (0 * moves[0], *moves))
        largest = max(largest, float(np.abs((near - site) - 1e-2 * (far - site)).max()))
    return largest


@pytest.mark.parametrize("backend", TOLD)
@pytest.mark.parametrize("name", LATTICES)
def test_no_force_pushes_an_atom_off_its_site(folder, name, backend):
    assert off_site(SYSTEMS[name], TLCalculator(random_model(folder, "float64"), backend=backend)) < 1e-3


def of_shipped():
    """Shipped models with the smooth norm, and the systems whose elements they know."""
    for name in SHIPPED:
        card = read_card(name)
        if card.architecture.norm_epsilon > 10 * OLD_NORM_EPSILON:
            for system, atoms in SYSTEMS.items():
                if set(atoms.get_chemical_symbols()) <= set(card.elements):
                    yield name, system


@pytest.mark.filterwarnings("ignore:.*in training at least")  # H-H, which frames of one formate do not have
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, system", of_shipped())
def test_shipped_models_are_smooth(folder, name, system, dtype):
    model, card = load_model(name)
    path = folder / f"{name}-{dtype}.pt"
    save_model(path, model.cast(getattr(torch, dtype)), card)
    for backend in TOLD:
        calculator = TLCalculator(path, backend=backend)
        found = jacobian(SYSTEMS[system], calculator, SHIPPED_STEP[dtype])
        assert asymmetry(found) < ASYMMETRY[dtype], backend
        if system in LATTICES:
            assert off_site(SYSTEMS[system], calculator) < 1e-3, backend
