"""The native engine against eager PyTorch in float64: energies, forces, virials, features, on every instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase.build import molecule

from tlmd import _engine
from tlmd.engine import Engine, predictor
from tlmd.graph import Graph, batch_graphs, build_graph
from tlmd.modelfile import load_model
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import Potential, Prediction, evaluate
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED

ISAS = _engine.available_isas()
SYMBOLS = ["H", "C", "N", "O", "F", "P", "S", "Cl"]
CUTOFF = 4.0


def random_potential(n_species: int, **architecture) -> Potential:
    torch.manual_seed(n_species)
    settings = {"width": 32, "n_layers": 3, "n_radial": 8} | architecture
    potential = new_potential(SYMBOLS[:n_species], CUTOFF, Architecture(**settings)).cast(torch.float64)
    potential.scale[:] = torch.linspace(2.0, 3.0, n_species)
    potential.reference[:] = torch.linspace(-5.0, 5.0, n_species)
    return potential


def graph_of(potential: Potential, positions, cell=None, seed: int = 0) -> Graph:
    """Atoms of random species at `positions` A; periodic if there is a cell."""
    n_species = len(potential.elements)
    species = np.random.default_rng(seed).integers(n_species, size=len(positions))
    numbers = np.array([{"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "P": 15, "S": 16, "Cl": 17}[s] for s in SYMBOLS])
    box = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    periodic = [cell is not None] * 3
    return build_graph(numbers[species], positions, box, periodic, potential.elements, potential.cutoff, torch.float64)


def lattice(n: int, spacing: float, noise: float = 0.2) -> np.ndarray:
    sites = np.array(list(itertools.product(range(n), repeat=3)), float)
    return (sites + np.random.default_rng(1).uniform(-noise, noise, sites.shape)) * spacing


def surroundings() -> dict:
    """Positions and cell by what is special about them."""
    pair = np.array([[0.0, 0, 0], [1.1, 0, 0]])
    return {
        "liquid": (lattice(4, 2.2), np.eye(3) * 8.8),
        "triclinic": (lattice(4, 2.2), [[8.8, 0, 0], [2.0, 9.0, 0], [-1.5, 2.5, 8.5]]),
        "dense": (lattice(5, 1.3), np.eye(3) * 6.5),
        "cluster": (lattice(3, 2.0), None),
        "small box, atoms that see their own images": (lattice(1, 3.0), np.eye(3) * 2.9),
        "two atoms and many images": (pair, np.eye(3) * 3.1),
        "isolated atoms": (lattice(2, 50.0), None),
        "an atom with neighbours and one without": (np.vstack([pair, [[30.0, 0, 0]]]), None),
        "just inside the cutoff": (np.array([[0.0, 0, 0], [CUTOFF - 1e-9, 0, 0], [0, 1.5, 0]]), None),
        "at the cutoff": (np.array([[0.0, 0, 0], [CUTOFF, 0, 0], [0, 1.5, 0]]), None),
        "nearly on top of each other": (np.array([[0.0, 0, 0], [0.02, 0, 0], [0, 1.5, 0]]), None),
        "one atom": (np.zeros((1, 3)), None),
    }


def assert_equal(found: Prediction, truth: Prediction, tolerance: float) -> None:
    """Forces and virials relative to the largest, energies to 1 eV an atom."""
    n = len(truth.atom_energies)
    assert float((found.energy - truth.energy).abs().max()) <= tolerance * max(n, 1)
    for name in ("atom_energies", "forces", "virial"):
        a, b = getattr(found, name), getattr(truth, name)
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1e-3), name


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("where", surroundings())
def test_equals_eager(where, isa):
    potential = random_potential(2)
    graph = graph_of(potential, *surroundings()[where])
    truth = evaluate(potential, graph)
    assert_equal(Engine(potential, isa=isa, n_bins=0).evaluate(graph), truth, 1e-11)
    assert_equal(Engine(potential, isa=isa, n_bins=400).evaluate(graph), truth, 1e-7)
    assert_equal(Engine(potential, torch.float32, isa=isa, n_bins=400).evaluate(graph), truth, 5e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("where", surroundings())
def test_a_first_layer_that_reaches_further(where, isa):
    potential = random_potential(2, first_cutoff=5.5)
    graph = graph_of(potential, *surroundings()[where])
    truth = evaluate(potential, graph)
    for moment_species in (0, 4):
        exact = Engine(potential, isa=isa, n_bins=0, moment_species=moment_species)
        assert_equal(exact.evaluate(graph), truth, 1e-11)
    assert_equal(Engine(potential, isa=isa, n_bins=400, threads=2).evaluate(graph), truth, 1e-7)
    assert_equal(Engine(potential, torch.float32, isa=isa, n_bins=400).evaluate(graph), truth, 5e-5)


def test_first_cutoff_that_is_the_cutoff_gives_the_same_bits():
    graph = graph_of(random_potential(2), *surroundings()["liquid"])
    plain, same = (
        Engine(random_potential(2, first_cutoff=first), torch.float32, n_bins=200).evaluate(graph)
        for first in (None, CUTOFF)
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n_species", range(1, 9))
def test_numbers_of_species(n_species, isa):
    """Layer 1 by moments (up to 4 species, or as told) and by the ordinary message."""
    potential = random_potential(n_species, first_cutoff=None if n_species % 2 else 5.0)
    graph = graph_of(potential, lattice(4, 2.0), np.eye(3) * 8.0)
    truth = evaluate(potential, graph)
    for moment_species in (0, 4, 8):
        engine = Engine(potential, isa=isa, n_bins=0, moment_species=moment_species)
        assert_equal(engine.evaluate(graph), truth, 1e-11)


ARCHITECTURES = [
    {"width": 64},
    {"width": 6},
    {"width": 34, "n_radial": 2},
    {"width": 128, "n_radial": 20},
    {"n_layers": 1},
    {"n_layers": 2},
    {"n_layers": 5},
    {"radial": "gaussian", "envelope": "cosine"},
    {"radial": "gaussian"},
    {"envelope": "cosine", "n_radial": 33},
    {"first_cutoff": 5.0, "n_layers": 1},
    {"first_cutoff": 5.0, "n_layers": 5, "width": 34},
    {"first_cutoff": 4.3, "radial": "gaussian", "envelope": "cosine"},
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_architectures(architecture, isa):
    potential = random_potential(3, **architecture)
    graph = graph_of(potential, lattice(3, 2.1), np.eye(3) * 6.3)
    truth = evaluate(potential, graph)
    for moment_species in (0, 4):
        engine = Engine(potential, isa=isa, n_bins=0, moment_species=moment_species)
        assert_equal(engine.evaluate(graph), truth, 1e-11)
    # a cosine envelope is only C1 at the cutoff; the splines end there too and do not smear it
    assert_equal(Engine(potential, isa=isa, n_bins=512).evaluate(graph), truth, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing_but_rounding(threads, isa):
    """Equal to one thread within rounding; the same bits every time with the same number of threads."""
    potential = random_potential(2, width=64)
    graph = graph_of(potential, lattice(6, 2.2), np.eye(3) * 13.2)
    alone = Engine(potential, torch.float32, isa=isa, n_bins=200, threads=1).evaluate(graph)
    engine = Engine(potential, torch.float32, isa=isa, n_bins=200, threads=threads)
    first = engine.evaluate(graph)
    assert_equal(first, alone, 1e-5)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(engine.evaluate(graph), first, strict=True))


def test_one_engine_for_graphs_of_all_sizes():
    """What a larger graph left in the engine's memory does not touch a smaller one."""
    potential = random_potential(2)
    engine = Engine(potential, n_bins=0)
    for where in ("liquid", "one atom", "dense", "isolated atoms", "liquid", "cluster", "liquid"):
        graph = graph_of(potential, *surroundings()[where])
        assert_equal(engine.evaluate(graph), evaluate(potential, graph), 1e-11)


@pytest.mark.parametrize("isa", ISAS)
def test_the_same_frame_many_times(isa):
    """Three species, 7 atoms: vectors of moments' adjoints once reached into rows beyond the last atom, which grew at
    each evaluation until they were inf. Contexts 1.5 times as large make that quick."""
    potential, _ = load_model(SHIPPED["malonaldehyde-gfn1-f64"])
    with torch.no_grad():
        for name, parameter in potential.named_parameters():
            if "context" in name and parameter.ndim == 2:
                parameter.mul_(1.5)
    atoms = molecule("CH3CHO")
    elements, free = potential.elements, np.zeros((3, 3))
    graph = build_graph(atoms.numbers, atoms.positions, free, [False] * 3, elements, potential.cutoff, torch.float64)
    engine = Engine(potential, torch.float32, isa=isa)
    first = engine.evaluate(graph).forces
    for _ in range(250):
        last = engine.evaluate(graph).forces
    assert torch.equal(first, last)


def test_batches_of_frames():
    potential = random_potential(2)
    graphs = [graph_of(potential, *surroundings()[w], seed=k) for k, w in enumerate(("liquid", "cluster", "one atom"))]
    batch = batch_graphs(graphs)
    found = Engine(potential, n_bins=0).evaluate(batch)
    assert found.energy.shape == (3,)
    assert_equal(found, evaluate(potential, batch), 1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("first_cutoff", [None, 6.0])
def test_the_table_keeps_its_promise(first_cutoff, dtype):
    """The stated error of the chosen table bounds the deviation on the sample; more bins, less error."""
    potential = random_potential(2, width=64, n_radial=20, first_cutoff=first_cutoff)
    graph = graph_of(potential, lattice(4, 2.2), np.eye(3) * 8.8)
    truth = evaluate(potential, graph).forces
    rms = float(truth.square().mean().sqrt())
    engine = Engine(potential, dtype, sample=graph)
    assert engine.table_error <= {torch.float32: 1e-6, torch.float64: 1e-9}[dtype]
    errors = {}
    for n_bins in (engine.n_bins // 2, engine.n_bins):
        found = Engine(potential, torch.float64, n_bins=n_bins).evaluate(graph).forces
        errors[n_bins] = float((found - truth).abs().max()) / rms
    assert errors[engine.n_bins] == pytest.approx(engine.table_error, rel=0.05)
    assert errors[engine.n_bins // 2] > 20 * errors[engine.n_bins]
    if dtype == torch.float32:
        single = Engine(potential, torch.float32, n_bins=engine.n_bins).evaluate(graph).forces
        assert float((single - truth).abs().max()) < 1e-5 * rms


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("first_cutoff", [None, 6.0])
def test_forces_are_minus_the_slope_of_the_energy(first_cutoff, isa):
    """Of the table's own energy, in float64: energy is conserved whatever the table's error."""
    potential = random_potential(2, first_cutoff=first_cutoff)
    positions, cell = lattice(3, 2.1), np.eye(3) * 6.3
    engine = Engine(potential, isa=isa, n_bins=60)
    forces = engine.evaluate(graph_of(potential, positions, cell)).forces.numpy()
    h = 1e-4
    for atom, axis in ((0, 0), (5, 1), (26, 2)):
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * h
            energies.append(engine.evaluate(graph_of(potential, moved, cell)).energy.item())
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=1e-7)


def test_features_of_every_layer():
    potential = random_potential(3, width=34)
    graph = graph_of(potential, lattice(3, 2.1), np.eye(3) * 6.3)
    engine = Engine(potential, n_bins=0, keep_features=True)
    net = potential.net
    with torch.no_grad():
        unit, basis = net.edges(graph.vectors)
        q, mu = net.embed(graph.species), torch.zeros(3, 0, net.width, dtype=torch.float64)
        for layer in range(net.n_layers):
            q, mu = net.layer(layer, q, mu, unit, basis, graph.neighbours)
            np.testing.assert_allclose(engine.features(graph, layer), q.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(engine.features(graph, -1), engine.features(graph, net.n_layers - 1))


def test_says_what_is_wrong():
    potential = random_potential(2)
    graph = graph_of(potential, lattice(2, 2.0))
    engine = Engine(potential)
    with pytest.raises(RuntimeError, match="got species 5; wanted 0 to 1; use the model's elements"):
        engine.evaluate(graph._replace(species=torch.full_like(graph.species, 5)))
    with pytest.raises(RuntimeError, match="got neighbour 99; wanted 0 to 7; correct the graph"):
        engine.evaluate(graph._replace(neighbours=torch.full_like(graph.neighbours, 99)))
    with pytest.raises(RuntimeError, match="got a vector between atoms that is NaN or infinite"):
        engine.evaluate(graph._replace(vectors=graph.vectors * float("nan")))
    with pytest.raises(RuntimeError, match="got arrays that do not fit"):
        engine.evaluate(graph._replace(vectors=graph.vectors[:, :1]))
    with pytest.raises(InputError, match="got layer 3; wanted 0 to 2"):
        Engine(potential, keep_features=True).features(graph, 3)
    with pytest.raises(InputError, match="got no features kept; wanted keep_features=True"):
        engine.features(graph)
    with pytest.raises(InputError, match="got backend native on cuda; wanted native .on the CPU. or torch"):
        predictor(potential, "native", "cuda")
    with pytest.raises(InputError, match="got backend fast on cpu"):
        predictor(potential, "fast")


def test_forced_instruction_set(monkeypatch):
    potential = random_potential(2)
    monkeypatch.setenv("TLMD_ISA", "portable")
    assert Engine(potential).isa == "portable"
    monkeypatch.setenv("TLMD_ISA", "mmx")
    with pytest.raises(RuntimeError, match="mmx"):
        Engine(potential)
    monkeypatch.delenv("TLMD_ISA")
    assert Engine(potential).isa in ISAS
    with pytest.raises(RuntimeError, match="sse9"):
        Engine(potential, isa="sse9")


def test_memory_is_stated():
    potential = random_potential(2, width=128)
    graph = graph_of(potential, lattice(8, 2.15), np.eye(3) * 17.2)
    engine = Engine(potential, torch.float32)
    engine.evaluate(graph)
    assert 10 < engine.memory / 512 / 1024 < 60  # KiB an atom
