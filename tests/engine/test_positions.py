"""The engine's gradients with respect to positions and cell, and Hessians, against double backward and differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers
from ase.vibrations import VibrationsData

from tlmd import _engine
from tlmd.calculator import TLCalculator
from tlmd.engine import TrainingEngine, differentiable
from tlmd.export import export_model
from tlmd.frames.read import read_frames
from tlmd.graph import Graph, batch_graphs, build_graph
from tlmd.modelfile import load_model
from tlmd.models.architecture import Architecture, KernelArchitecture, kernel_potential
from tlmd.models.potential import Potential, Prediction, evaluate, hessian, stress
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED

from .test_gradients import CUTOFF, SYMBOLS, loss_of, on_several_threads, random_potential

WATER = Path(__file__).parents[2] / "inputs" / "water" / "test.extxyz.xz"
LOSSES = {
    "energies": ["energy", "atom_energies"],
    "forces": ["forces"],
    "virials": ["virial"],
    "stresses": ["stress"],
    "all": ["energy", "atom_energies", "forces", "virial", "stress"],
}


def crystal(n_species: int, edge: int = 3, cell=None) -> Atoms:
    """Random species on a distorted lattice; periodic with `cell` or in a skewed one; without if it is False."""
    random = np.random.default_rng(n_species)
    sites = np.stack(np.meshgrid(*[np.arange(float(edge))] * 3), -1).reshape(-1, 3)
    numbers = [atomic_numbers[SYMBOLS[z]] for z in random.integers(n_species, size=len(sites))]
    skewed = 2.2 * edge * np.array([[1, 0, 0], [0.3, 1.05, 0], [-0.2, 0.4, 0.95]])
    cell = skewed if cell is None else cell
    positions = 2.2 * (sites + random.uniform(-0.2, 0.2, sites.shape))
    return Atoms(numbers, positions, cell=None if cell is False else cell, pbc=cell is not False)


SYSTEMS = {
    "skewed": crystal(2),
    "small box": crystal(2, edge=1, cell=[2.9, 3.0, 3.1]),
    "cluster": crystal(2, cell=False),
    "slab": Atoms(crystal(2), pbc=[True, True, False]),
    "pair and single": Atoms("HCH", [[0, 0, 0], [0.1, 0.3, 1.1], [30, 0, 0]]),
    "at the cutoff": Atoms("HCH", [[0, 0, 0], [CUTOFF, 0, 0], [0, 1.5, 0]]),
}


def graph_of(potential: Potential, atoms: Atoms) -> tuple[Graph, torch.Tensor, torch.Tensor]:
    """The graph, and the positions and the cell that need a gradient."""
    positions = torch.tensor(atoms.positions, requires_grad=True)
    cell = torch.tensor(atoms.cell.array, requires_grad=True)
    numbers, elements, cutoff = atoms.numbers, potential.elements, potential.cutoff
    return build_graph(numbers, positions, cell, atoms.pbc, elements, cutoff, torch.float64), positions, cell


def loss(prediction: Prediction, graph: Graph, names: list[str]) -> torch.Tensor:
    """Nonlinear in what is named, different for every atom and component."""
    values = prediction._asdict()
    if bool((graph.volumes > 0).all()):
        values["stress"] = 100 * stress(prediction, graph.volumes)
    return loss_of(values[name] for name in names if name in values)


def eager(potential: Potential):
    return lambda graph: evaluate(potential, graph, create_graph=True)


def gradients(potential: Potential, predict, systems: list[Atoms], names: list[str]) -> dict[str, torch.Tensor]:
    """Of the loss on a batch, with respect to positions, cells and the parameters that need them."""
    potential.zero_grad()
    parts = [graph_of(potential, atoms) for atoms in systems]
    graph = batch_graphs([part[0] for part in parts])
    value = loss(predict(graph), graph, names)
    variables = {
        f"{kind} {k}": parts[k][1 + c] for k in range(len(parts)) for c, kind in enumerate(("positions", "cell"))
    }
    if value.requires_grad:
        value.backward()
    variables |= {name: p for name, p in potential.named_parameters() if p.requires_grad}
    return {name: torch.zeros_like(x) if x.grad is None else x.grad.clone() for name, x in variables.items()}


def assert_equal(found: dict, truth: dict, tolerance: float) -> None:
    """Of the largest of positions and cell, and of the largest of the parameters."""
    assert found.keys() == truth.keys()
    for names in ([n for n in truth if " " in n], [n for n in truth if " " not in n]):
        scale = max((float(truth[n].abs().max()) for n in names), default=0)
        for n in names:
            assert float((found[n] - truth[n]).abs().max()) <= tolerance * scale + 1e-13, n


@pytest.mark.parametrize("names", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("where", SYSTEMS)
def test_equals_double_backward(where, names):
    """Layer 1 by the message and by moments."""
    potential = random_potential(2)
    truth = gradients(potential, eager(potential), [SYSTEMS[where]], names)
    assert where != "skewed" or min(float(truth[name].abs().max()) for name in ("positions 0", "cell 0")) > 1e-3
    for moment_species in (0, 4):
        engine = TrainingEngine(potential, n_bins=0, moment_species=moment_species)
        assert_equal(gradients(potential, engine.evaluate, [SYSTEMS[where]], names), truth, 1e-10)


@pytest.mark.parametrize(
    "architecture",
    [
        {"width": 64, "n_radial": 20},
        {"width": 6, "n_layers": 1},
        {"n_layers": 4, "radial": "gaussian", "envelope": "cosine"},
        {"radial": "gaussian"},
        {"first_cutoff": 5.0},
        {"first_cutoff": 5.0, "n_layers": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_species", [1, 3, 8])
def test_architectures_and_species(architecture, n_species):
    potential, atoms = random_potential(n_species, **architecture), crystal(n_species)
    truth = gradients(potential, eager(potential), [atoms], LOSSES["all"])
    found = gradients(potential, TrainingEngine(potential, n_bins=0).evaluate, [atoms], LOSSES["all"])
    assert_equal(found, truth, 1e-10)


@pytest.mark.parametrize("names", LOSSES.values(), ids=LOSSES)
def test_water(names):
    """A shipped model on a DFT frame, with the filter table that a sample asks for."""
    potential = load_model(SHIPPED["water-revpbed3-f64"])[0].cast(torch.float64)
    frame = read_frames(WATER)[0]
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    truth = gradients(potential, eager(potential), [atoms], names)
    sample = graph_of(potential, atoms)[0]
    found = gradients(potential, TrainingEngine(potential, sample).evaluate, [atoms], names)
    assert_equal(found, truth, 1e-7)


@pytest.mark.parametrize("moment_species", [0, 4])
@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_float32_with_a_table(isa, moment_species, monkeypatch):
    if isa not in _engine.available_isas():
        pytest.skip(f"this processor has no {isa}")
    potential, systems = random_potential(2, width=64, n_radial=20, first_cutoff=5.0), [SYSTEMS["skewed"]]
    truth = gradients(potential, eager(potential), systems, LOSSES["all"])
    monkeypatch.setenv("TLMD_ISA", isa)
    potential.cast(torch.float32)
    engine = TrainingEngine(potential, n_bins=300, moment_species=moment_species)
    found = gradients(potential, engine.evaluate, systems, LOSSES["all"])
    for name in ("positions 0", "cell 0"):
        error, rms = ((x.square().mean().sqrt()) for x in (found[name] - truth[name], truth[name]))
        assert float(error) < 1e-5 * float(rms), name
    double = TrainingEngine(potential, n_bins=0, moment_species=moment_species, dtype=torch.float64)
    potential.cast(torch.float64)
    again = gradients(potential, double.evaluate, systems, LOSSES["all"])
    rounded = gradients(potential, eager(potential), systems, LOSSES["all"])
    assert_equal(again, rounded, 1e-10)


def test_batches_and_threads():
    """Several frames at once, with vectors or a single frame's; any number of threads; the same bits every time."""
    potential = random_potential(2)
    systems = [SYSTEMS[name] for name in ("skewed", "pair and single", "cluster")]
    truth = gradients(potential, eager(potential), systems, LOSSES["all"])
    on_several_threads(
        lambda: gradients(potential, TrainingEngine(potential, n_bins=0).evaluate, systems, LOSSES["all"]),
        lambda found: assert_equal(found, truth, 1e-10),
    )


def test_between_steps_of_training():
    """Steps with and without positions, of several sizes, on one engine, with all and with no parameter."""
    potential = random_potential(2)
    engine = TrainingEngine(potential, n_bins=0)
    for trained in (True, False, True):
        potential.requires_grad_(trained)
        for where in ("skewed", "pair and single", "skewed"):
            truth = gradients(potential, eager(potential), [SYSTEMS[where]], LOSSES["all"])
            assert len(truth) == 2 + trained * len(list(potential.parameters()))
            assert_equal(gradients(potential, engine.evaluate, [SYSTEMS[where]], LOSSES["all"]), truth, 1e-10)
            if trained:
                graph = graph_of(potential, SYSTEMS[where])[0]
                fixed = graph._replace(vectors=graph.vectors.detach(), volumes=graph.volumes.detach())
                potential.zero_grad()
                loss(engine.evaluate(fixed), fixed, LOSSES["all"]).backward()
                for name, p in potential.named_parameters():
                    assert float((p.grad - truth[name]).abs().max()) <= 1e-9 * float(truth[name].abs().max()), name


@pytest.mark.parametrize("where", SYSTEMS)
def test_forces_and_virial_are_slopes(where):
    """The graph's own gradients: of positions minus the forces, of the cell what the virial says."""
    potential, atoms = random_potential(2, first_cutoff=5.0), SYSTEMS[where]
    graph, positions, cell = graph_of(potential, atoms)
    prediction = TrainingEngine(potential, n_bins=0).evaluate(graph)
    slope, of_cell = torch.autograd.grad(prediction.energy.sum(), (positions, cell))
    forces, virial = prediction.forces.detach(), prediction.virial[0].detach()
    torch.testing.assert_close(slope, -forces, rtol=0, atol=1e-10 * float(forces.abs().max()))
    strained = positions.detach().T @ slope + cell.detach().T @ of_cell  # dE/d(strain)
    torch.testing.assert_close(strained, -virial, rtol=0, atol=1e-9 * (1 + float(virial.abs().max())))


def test_volume_has_a_gradient():
    graph, _, cell = graph_of(random_potential(2), SYSTEMS["skewed"])
    (slope,) = torch.autograd.grad(graph.volumes.sum(), cell)
    torch.testing.assert_close(slope, graph.volumes.detach() * torch.linalg.inv(cell.detach()).T)


def test_gradients_end_there():
    """No second derivative is pretended."""
    potential = random_potential(1)
    graph, positions, _ = graph_of(potential, crystal(1))
    energy = TrainingEngine(potential, n_bins=0).evaluate(graph).energy.sum()
    (slope,) = torch.autograd.grad(energy, positions, create_graph=True)
    assert not slope.requires_grad


@pytest.mark.parametrize("where", ["skewed", "pair and single"])
def test_hessian(where):
    """Against differences of forces (four points); symmetric; unmoved by translation."""
    potential, atoms, step = random_potential(2), SYSTEMS[where], 1e-5  # A; |V| has sharp bends
    graph, positions, _ = graph_of(potential, atoms)
    found = hessian(TrainingEngine(potential, n_bins=0).evaluate(graph), positions)
    scale = float(found.abs().max())
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-10 * scale)
    for k in (0, 4, 3 * len(atoms) - 1):
        forces = {}
        for shift in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions.reshape(-1)[k] += shift * step
            forces[shift] = evaluate(potential, graph_of(potential, moved)[0]).forces.reshape(-1)
        row = -(8 * (forces[1] - forces[-1]) - (forces[2] - forces[-2])) / (12 * step)
        torch.testing.assert_close(found[k], row, rtol=0, atol=1e-6 * scale)
    sums = found.reshape(3 * len(atoms), -1, 3).sum(1)
    assert float(sums.abs().max()) <= 1e-12 * scale


def test_hessian_of_a_calculator(tmp_path):
    """By the engine in float64 and by torch in the model's float32, exported too; ASE makes vibrations of it."""
    atoms = molecule("H2O")
    atoms.rattle(0.02, seed=1)  # symmetric molecules have |V| near 0, where float32 has lost its curvature
    trained = SHIPPED["water-revpbed3-f64"]
    exported = export_model(trained, tmp_path / "exported.pt")
    native, through_torch = (TLCalculator(trained, backend=backend).hessian(atoms) for backend in (None, "torch"))
    for backend, same in (("native", native), ("torch", through_torch)):
        again = TLCalculator(exported, backend=backend).hessian(atoms)
        np.testing.assert_allclose(again, same, rtol=0, atol=1e-5 * np.abs(native).max())
    assert native.shape == (9, 9) and native.dtype == np.float64
    np.testing.assert_allclose(through_torch, native, rtol=0, atol=1e-5 * np.abs(native).max())
    frequencies = VibrationsData.from_2d(atoms, native).get_frequencies()[-3:]
    assert np.all(frequencies.imag == 0) and 1400 < frequencies.real[0] < 1900 < 3000 < frequencies.real[1]


def test_kernel_models():
    """Their heads have no tangents in the engine: it says so, and Hessians go through torch."""
    torch.manual_seed(0)
    architecture = Architecture(width=16, n_layers=2, n_radial=6)
    settings = {"kind": "linear", "map": "linear", "layers": [0, 1], "aggregation": "mean", "alpha": 0.5}
    head = KernelArchitecture(**settings, length=1.0, n_features=32)
    potential = kernel_potential(["H", "C"], CUTOFF, architecture, head)
    graph, positions, _ = graph_of(potential.cast(torch.float64), crystal(2, edge=2, cell=False))
    with pytest.raises(InputError, match="a kernel model"):
        TrainingEngine(potential, n_bins=0).evaluate(graph)
    assert hessian(differentiable(potential)(graph), positions).shape == (24, 24)
