"""The repulsion of pairs below their smallest distance in training: its form, all evaluators, stages and files."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms

from tlmd.calculator import TLCalculator
from tlmd.engine import Engine, TrainingEngine
from tlmd.evaluate.dataset import FrameSet
from tlmd.export import export_model, script
from tlmd.frames.read import read_frames
from tlmd.frames.shortest import table_of
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.fit import mekrr
from tlmd.modelfile import Card, load_model, read_card, save_model
from tlmd.models.architecture import Architecture
from tlmd.models.features.module import frozen
from tlmd.models.potential import evaluate, hessian
from tlmd.models.repulsion import STRENGTH, Repulsion, repulsion_radii
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.installed import SHIPPED
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune
from tlmd.train.pretrain import pretrain

from ..engine.test_gradients import CUTOFF, random_potential
from ..engine.test_positions import SYSTEMS, assert_equal, crystal, eager, gradients, graph_of

RADII = torch.tensor([[2.0, 2.4], [2.4, 1.6]], dtype=torch.float64)


def repelling(potential):
    potential.repulsion.radius.copy_(RADII)
    return potential


def energy_of(r: torch.Tensor, radius: float) -> torch.Tensor:
    return STRENGTH * torch.clamp((radius / r) ** 2 - 1, min=0) ** 3


def test_energies_are_those_of_the_formula_half_to_each_atom():
    potential = random_potential(2)
    atoms = SYSTEMS["small box"]  # an atom meets its own images
    graph = graph_of(potential, atoms)[0]
    without = potential(graph.species, graph.vectors, graph.neighbours)
    repelling(potential)
    potential.repulsion.radius += 1.5
    more = potential(graph.species, graph.vectors, graph.neighbours) - without
    cell, wanted = atoms.cell.array, 0.0
    radius = float(potential.repulsion.radius[graph.species[0], graph.species[0]])
    for shift in itertools.product(range(-2, 3), repeat=3):
        length = np.linalg.norm(shift @ cell)
        wanted += 0.5 * float(energy_of(torch.tensor(length), radius)) if 0 < length < radius else 0.0
    assert wanted > 0.3 and float(more.detach()) == pytest.approx(wanted, rel=1e-12)


def test_it_begins_with_two_derivatives_of_zero():
    layer = Repulsion(1)
    layer.radius[:] = 1.5
    r = torch.tensor([1.5 - 1e-3, 1.5, 1.5 + 1e-3], dtype=torch.float64, requires_grad=True)
    vectors = torch.stack([r, 0 * r, 0 * r], dim=-1)[:, None]
    species = torch.zeros(3, dtype=torch.long)
    values = layer(species, vectors, torch.zeros(3, 1, dtype=torch.int32))
    derivatives = [values]
    for _ in range(3):
        derivatives.append(torch.autograd.grad(derivatives[-1].sum(), r, create_graph=True)[0])
    assert [bool((d[1:] == 0).all()) for d in derivatives] == [True] * 4
    assert [bool(d[0] != 0) for d in derivatives] == [True] * 4
    assert float(values[0].detach()) < 1e-6 and float(derivatives[1][0].detach().abs()) < 2e-3  # eV, eV/A


@pytest.mark.parametrize("where", SYSTEMS)
def test_all_evaluators_have_it(where):
    """Eager, script, engine in both precisions: energies, forces, virials."""
    potential = random_potential(2)
    graph = graph_of(potential, SYSTEMS[where])[0].to("cpu")
    graph = graph._replace(vectors=graph.vectors.detach())
    plain = evaluate(potential, graph)
    truth = evaluate(repelling(potential), graph)
    if where in ("skewed", "cluster", "pair and single"):
        assert float((truth.forces - plain.forces).abs().max()) > 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated upstream
        scripted = evaluate(frozen(torch.jit.script(potential)), graph)
    found = {"script": (scripted, 1e-12), "double": (Engine(potential, n_bins=0).evaluate(graph), 1e-10)}
    found["float"] = (Engine(potential, dtype=torch.float32, n_bins=0).evaluate(graph), 1e-4)
    for name, (prediction, tolerance) in found.items():
        for key in ("energy", "forces", "virial", "atom_energies"):
            a, b = getattr(truth, key), getattr(prediction, key)
            assert float((a - b).abs().max()) <= tolerance * max(float(a.abs().max()), 1.0), (name, key)


@pytest.mark.parametrize("where", SYSTEMS)
def test_gradients_of_positions_have_it(where):
    potential = repelling(random_potential(2))
    names = ["energy", "atom_energies", "forces", "virial", "stress"]
    truth = gradients(potential, eager(potential), [SYSTEMS[where]], names)
    found = gradients(potential, TrainingEngine(potential, n_bins=0).evaluate, [SYSTEMS[where]], names)
    assert_equal(found, truth, 1e-10)


def test_hessians_have_it():
    potential = repelling(random_potential(2))
    atoms = crystal(2, edge=2, cell=False)
    graph, positions, _ = graph_of(potential, atoms)
    found = hessian(TrainingEngine(potential, n_bins=0).evaluate(graph), positions)
    step = 1e-4
    for k in (0, 5):
        rows = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions.flat[k] += sign * step
            rows.append(evaluate(potential, graph_of(potential, moved)[0]).forces.reshape(-1))
        torch.testing.assert_close(found[k], (rows[1] - rows[0]) / (2 * step), rtol=1e-5, atol=1e-4)


def test_radii_are_the_distances_but_no_farther_than_contacts():
    """0.8 of the sum of van der Waals radii (H 1.20, O 1.50, Na 2.50 A): for elements that met from afar or never."""
    shortest = table_of({"H-H": 1.4, "H-O": 0.9, "O-O": 2.3, "H-Na": 2.2, "Na-O": 6.0, "Na-Na": 6.0}, ["H", "O", "Na"])
    radii = repulsion_radii(shortest, ["H", "O", "Na"])
    truth = [[1.4, 0.9, 2.2], [0.9, 2.3, 3.2], [2.2, 3.2, 4.0]]
    torch.testing.assert_close(radii, torch.tensor(truth, dtype=torch.float64))
    assert repulsion_radii(np.full((1, 1), np.nan), ["H"]).tolist() == [[0.0]]


def train(folder, name: str, settings=()):
    config, stage = {
        "pretrain": (PretrainConfig, pretrain), "finetune": (FinetuneConfig, finetune), "mekrr": (MekrrConfig, mekrr)
    }[name]  # fmt: skip
    stage(load_config(config, folder / f"{name}.toml", list(settings)), folder / name)
    return folder / name / "model.pt"


def test_every_stage_adds_it_and_no_training_frame_changes(folder):
    (folder / "mekrr.toml").write_text(
        '[data]\ntrain = "train.extxyz"\nvalid = "valid.extxyz"\n[backbone]\nmodel = "pretrain/model.pt"\n'
        "[kernel]\nn_features = 8\n[training]\nthreads = 1\n"
    )
    frames, start = read_frames(folder / "train.extxyz"), ['transfer.start_from="pretrain/model.pt"']
    for name in ("pretrain", "finetune", "mekrr"):
        model = train(folder, name, start if name == "finetune" else [])
        potential, card = load_model(model)
        assert card.repulsion_A == card.shortest_A and read_card(export_model(model)).repulsion_A == card.repulsion_A
        data = FrameSet(frames, potential.elements, potential.cutoff, potential.dtype)
        graphs = [data.graph(k) for k in range(len(frames))]
        with_it = [evaluate(potential, graph) for graph in graphs]
        potential.repulsion.radius.zero_()
        for graph, prediction in zip(graphs, with_it, strict=True):
            assert torch.equal(evaluate(potential, graph).forces, prediction.forces)
            assert torch.equal(evaluate(potential, graph).energy, prediction.energy)
    (folder / "finetune").rename(folder / "before")
    card = read_card(train(folder, "finetune", [*start, "training.repulsion=false"]))
    assert card.repulsion_A == {} and card.shortest_A


def test_a_repelled_dimer_goes_apart(folder):
    """By the calculator, of a model that knows nothing below 1.49 A."""
    model = train(folder, "pretrain")
    shortest = read_card(model).shortest_A
    for pair in ("OO", "OH", "HH"):
        start = shortest["-".join(sorted(pair))]
        atoms = Atoms(pair, [[0, 0, 0], [0, 0, 1]])
        atoms.calc = TLCalculator(model)
        for r in np.arange(0.3, 0.9 * start, 0.05):
            atoms.positions[1, 2] = r
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert atoms.get_forces()[1, 2] > 0, (pair, r)


def test_older_files_have_none_and_an_edited_card_is_refused(tmp_path):
    potential = repelling(random_potential(2))
    architecture = Architecture(width=34, n_layers=3, n_radial=8)
    card = Card(elements=potential.elements, cutoff=CUTOFF, architecture=architecture)
    save_model(tmp_path / "model.pt", potential, card)
    again, stated = load_model(tmp_path / "model.pt")
    assert torch.equal(again.repulsion.radius, RADII) and stated.repulsion_A == {"H-H": 2.0, "H-C": 2.4, "C-C": 1.6}
    state = potential.state_dict()
    older = {name: value for name, value in state.items() if not name.startswith("repulsion")}
    fresh = random_potential(2)
    fresh.load_state_dict(older)
    assert not fresh.repulsion.radius.any() and len(older) == len(state) - 2
    again.repulsion.radius[0, 0] = 3.0  # beside the card
    content = script(again, card)
    (tmp_path / "other.pt").write_bytes(content)
    assert read_card(tmp_path / "other.pt").repulsion_A["H-H"] == 3.0


def test_a_card_that_states_another_repulsion_is_refused(tmp_path):
    from ..test_modelfile import with_card

    potential = repelling(random_potential(2))
    architecture = Architecture(width=34, n_layers=3, n_radial=8)
    save_model(tmp_path / "a.pt", potential, Card(elements=["H", "C"], cutoff=CUTOFF, architecture=architecture))
    edited = with_card(tmp_path / "a.pt", tmp_path / "b.pt", lambda c: c | {"repulsion_A": {}, "checksum": ""})
    with pytest.raises(InputError, match="b.pt, whose card and parameters differ \\(repulsion_A"):
        load_model(edited)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_models_repel_what_their_training_did_not_have(name):
    card = read_card(name)
    if name == "water-spcfw-f128" and not card.shortest_A:
        pytest.skip("of an older tlmd")
    assert card.shortest_A and set(card.repulsion_A) == set(card.shortest_A)
    radii = repulsion_radii(table_of(card.shortest_A, card.elements), card.elements)
    np.testing.assert_array_equal(table_of(card.repulsion_A, card.elements), radii.numpy())
