"""The engine's gradients of losses on energies, forces and virials against eager double backward in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from tlmd.engine import TrainingEngine
from tlmd.graph import Graph, batch_graphs, build_graph
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import Potential, Prediction, evaluate

SYMBOLS = ["H", "C", "N", "O", "F", "P", "S", "Cl"]
CUTOFF = 4.0


def random_potential(n_species: int, **architecture) -> Potential:
    torch.manual_seed(10 + n_species)
    settings = {"width": 34, "n_layers": 3, "n_radial": 8} | architecture
    potential = new_potential(SYMBOLS[:n_species], CUTOFF, Architecture(**settings)).cast(torch.float64)
    potential.scale[:] = torch.linspace(2.0, 3.0, n_species)
    return potential


def graph_of(potential: Potential, positions, cell=None) -> Graph:
    species = np.random.default_rng(0).integers(len(potential.elements), size=len(positions))
    numbers = np.array([atomic_numbers[s] for s in potential.elements])[species]
    box = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    return build_graph(
        numbers, positions, box, [cell is not None] * 3, potential.elements, potential.cutoff, torch.float64
    )


def lattice(n: int, spacing: float) -> np.ndarray:
    sites = np.stack(np.meshgrid(*[np.arange(float(n))] * 3), -1).reshape(-1, 3)
    return (sites + np.random.default_rng(1).uniform(-0.2, 0.2, sites.shape)) * spacing


SYSTEMS = {
    "liquid": (lattice(4, 2.2), np.eye(3) * 8.8),
    "triclinic": (lattice(3, 2.2), [[6.6, 0, 0], [2.0, 6.8, 0], [-1.5, 2.5, 6.4]]),
    "small box": (lattice(1, 3.0), np.eye(3) * 2.9),
    "isolated atoms": (lattice(2, 50.0), None),
    "pair and single": (np.array([[0.0, 0, 0], [1.1, 0, 0], [30.0, 0, 0]]), None),
    "at the cutoff": (np.array([[0.0, 0, 0], [CUTOFF, 0, 0], [0, 1.5, 0]]), None),
}


def loss_of(values: Iterable[torch.Tensor]) -> torch.Tensor:
    """Nonlinear in the values, different for each of their numbers."""
    random = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64)
    for value in values:
        weight = torch.randn(value.shape, generator=random, dtype=torch.float64)
        total = total + (weight * value).sum() + 0.1 * (value - weight).square().mean()
    return total


def loss(prediction: Prediction) -> torch.Tensor:
    """Of everything that is predicted, for every atom and component."""
    return loss_of((prediction.energy, prediction.atom_energies, prediction.forces, prediction.virial))


def gradients(potential: Potential, prediction: Prediction) -> dict[str, torch.Tensor]:
    potential.zero_grad()
    loss(prediction).backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in potential.named_parameters()}


def assert_equal(found: dict, truth: dict, tolerance: float) -> None:
    scale = max(float(t.abs().max()) for t in truth.values())
    assert scale > 0
    for name, gradient in truth.items():
        assert found[name].shape == gradient.shape
        assert float((found[name] - gradient).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("first_cutoff", [None, 5.0])
@pytest.mark.parametrize("where", SYSTEMS)
def test_equals_double_backward(where, first_cutoff):
    potential = random_potential(2, first_cutoff=first_cutoff)
    graph = graph_of(potential, *SYSTEMS[where])
    truth = gradients(potential, evaluate(potential, graph, create_graph=True))
    for moment_species in (0, 4):
        engine = TrainingEngine(potential, n_bins=0, moment_species=moment_species)
        assert_equal(gradients(potential, engine.evaluate(graph)), truth, 1e-10)


@pytest.mark.parametrize("n_species", range(1, 9))
def test_numbers_of_species(n_species):
    """Layer 1 by moments (up to 4 species, or as told) and by the message."""
    potential = random_potential(n_species, first_cutoff=None if n_species % 2 else 5.0)
    graph = graph_of(potential, *SYSTEMS["liquid"])
    truth = gradients(potential, evaluate(potential, graph, create_graph=True))
    for moment_species in (0, 4, 8):
        engine = TrainingEngine(potential, n_bins=0, moment_species=moment_species)
        assert_equal(gradients(potential, engine.evaluate(graph)), truth, 1e-10)


@pytest.mark.parametrize(
    "architecture",
    [
        {"width": 64, "n_radial": 20},
        {"width": 6, "n_layers": 1},
        {"n_layers": 2},
        {"n_layers": 4, "radial": "gaussian", "envelope": "cosine"},
        {"n_layers": 1, "first_cutoff": 5.0},
        {"n_layers": 4, "first_cutoff": 4.5, "radial": "gaussian", "envelope": "cosine"},
    ],
    ids=str,
)
def test_architectures(architecture):
    potential = random_potential(3, **architecture)
    graph = graph_of(potential, *SYSTEMS["liquid"])
    truth = gradients(potential, evaluate(potential, graph, create_graph=True))
    assert_equal(gradients(potential, TrainingEngine(potential, n_bins=0).evaluate(graph)), truth, 1e-10)


@pytest.mark.parametrize("first_cutoff", [None, 5.0])
@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_float32_with_a_table(isa, first_cutoff, monkeypatch):
    from tlmd import _engine

    if isa not in _engine.available_isas():
        pytest.skip(f"this processor has no {isa}")
    potential = random_potential(2, width=64, n_radial=20, first_cutoff=first_cutoff)
    graph = graph_of(potential, *SYSTEMS["liquid"])
    truth = gradients(potential, evaluate(potential, graph, create_graph=True))
    rms = float(torch.cat([t.flatten() for t in truth.values()]).square().mean().sqrt())
    monkeypatch.setenv("TLMD_ISA", isa)
    potential.cast(torch.float32)
    found = gradients(potential, TrainingEngine(potential, n_bins=300).evaluate(graph))
    largest = max(float((found[name].double() - t).abs().max()) for name, t in truth.items())
    assert largest < 1e-3 * rms
    error = torch.cat([(found[name].double() - t).flatten() for name, t in truth.items()])
    assert float(error.square().mean().sqrt()) < 1e-5 * rms


def on_several_threads(find: Callable[[], dict], check: Callable[[dict], None]) -> None:
    """What is found is right on 1, 2 and 3 threads, and the same bits every time."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            first = find()
            check(first)
            again = find()
            assert all(torch.equal(first[name], again[name]) for name in first)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("first_cutoff", [None, 5.0])
def test_batches_and_threads(first_cutoff):
    """Several frames at once; any number of threads; the same bits every time."""
    potential = random_potential(2, first_cutoff=first_cutoff)
    names = ("liquid", "pair and single", "triclinic")
    batch = batch_graphs([graph_of(potential, *SYSTEMS[name]) for name in names])
    truth = gradients(potential, evaluate(potential, batch, create_graph=True))
    on_several_threads(
        lambda: gradients(potential, TrainingEngine(potential, n_bins=0).evaluate(batch)),
        lambda found: assert_equal(found, truth, 1e-10),
    )


def test_energies_alone():
    """Also between steps on forces, and with frames of other sizes."""
    potential = random_potential(2)
    engine = TrainingEngine(potential, n_bins=0)
    for name in ("liquid", "triclinic", "liquid"):
        graph = graph_of(potential, *SYSTEMS[name])
        for energies_alone in (True, False, True):
            results = []
            for prediction in (evaluate(potential, graph, create_graph=True), engine.evaluate(graph)):
                potential.zero_grad()
                (prediction.energy.sum() if energies_alone else loss(prediction)).backward()
                results.append({n: p.grad.clone() for n, p in potential.named_parameters() if p.grad is not None})
            eager, native = results
            assert_equal({n: native[n] for n in eager}, eager, 1e-10)


TRAINED = {  # parts of the names of the parameters that are trained
    "all but the embedding": ["messages", "updates", "energy"],
    "readout": ["energy."],
    "one bias of the readout": ["energy.2.bias"],
    "last layer": ["messages.2", "updates.2", "energy."],
    "last context network": ["messages.2.context"],
    "mixing of layer 2": ["updates.1.mix"],
    "filter of layer 2": ["messages.1.filter"],
    "filter of layer 1": ["messages.0.filter.weight"],
    "embedding": ["embedding"],
    "first context network": ["messages.0.context.0.bias"],
}


@pytest.mark.parametrize("moment_species", [0, 4])
@pytest.mark.parametrize("trained", TRAINED)
def test_frozen_parameters(trained, moment_species):
    """What is frozen gets no gradient, and the others' are what they are without."""
    potential = random_potential(2)
    graph = graph_of(potential, *SYSTEMS["liquid"])
    truth = gradients(potential, evaluate(potential, graph, create_graph=True))
    chosen = [n for n, _ in potential.named_parameters() if any(part in n for part in TRAINED[trained])]
    assert chosen
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(name in chosen)
        parameter.grad = None
    loss(TrainingEngine(potential, n_bins=0, moment_species=moment_species).evaluate(graph)).backward()
    found = {name: p.grad for name, p in potential.named_parameters() if p.grad is not None}
    assert sorted(found) == sorted(chosen)
    scale = max(float(t.abs().max()) for t in truth.values())
    for name, gradient in found.items():
        assert float((gradient - truth[name]).abs().max()) <= 1e-10 * scale, name


def test_several_evaluations_before_one_backward_pass():
    """The engine keeps the values of its last evaluation alone, and evaluates again what it has lost."""
    potential = random_potential(2)
    graphs = [graph_of(potential, *SYSTEMS[name]) for name in ("liquid", "triclinic")]
    truth = gradients(potential, evaluate(potential, graphs[0], create_graph=True))
    engine = TrainingEngine(potential, n_bins=0)
    first = engine.evaluate(graphs[0])
    with torch.no_grad():
        engine.evaluate(graphs[1])
    assert_equal(gradients(potential, first), truth, 1e-10)


def test_gradients_end_there():
    """No second derivative is pretended."""
    potential = random_potential(1)
    graph = graph_of(potential, *SYSTEMS["triclinic"])
    energy = TrainingEngine(potential, n_bins=0).evaluate(graph).energy.sum()
    (slope,) = torch.autograd.grad(energy, potential.net.embedding.weight, create_graph=True)
    assert not slope.requires_grad
