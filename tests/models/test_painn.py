"""PaiNN against schnetpack's own, and the physics that every potential must obey."""

from __future__ import annotations

import importlib
import typing
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list
from torch.utils.data import dataloader

from tlmd.graph import batch_graphs, build_graph
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.painn import Edges, PaiNN
from tlmd.models.potential import Potential, evaluate, stress
from tlmd.run.errors import InputError

ELEMENTS = ["H", "C", "O"]
WIDTH, LAYERS, RADIAL, CUTOFF = 16, 3, 8, 4.0


@pytest.fixture(scope="module")
def schnetpack():
    """schnetpack itself, which expects a name that torch's loader no longer has."""
    dataloader.T_co = typing.TypeVar("T_co", covariant=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("schnetpack")


@pytest.fixture(scope="module", params=["gaussian", "bessel"])
def pair(schnetpack, request):
    """Our PaiNN and schnetpack's with the same random weights, float64, cosine cutoff."""
    spk, epsilon = schnetpack, {"gaussian": 1e-4, "bessel": 0.3}[request.param]
    torch.manual_seed(3)
    radial = {"gaussian": spk.nn.GaussianRBF, "bessel": spk.nn.BesselRBF}[request.param](RADIAL, CUTOFF)
    theirs = spk.model.NeuralNetworkPotential(
        spk.representation.PaiNN(WIDTH, LAYERS, radial, spk.nn.CosineCutoff(CUTOFF), epsilon=epsilon**2),
        input_modules=[spk.atomistic.Strain(), spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(WIDTH, output_key="energy"), spk.atomistic.Forces(calc_stress=True)],
    ).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    net = PaiNN(len(ELEMENTS), WIDTH, LAYERS, RADIAL, CUTOFF, request.param, "cosine", epsilon).double()
    net.load_state_dict(renamed(theirs.state_dict()))
    for name, value in radial.named_buffers():  # of float32 in schnetpack
        value[...] = net.edge_basis.width if name == "widths" else net.edge_basis.centres
    return Potential(net, ELEMENTS, CUTOFF), theirs


def renamed(source: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """schnetpack's weights by our names."""
    state = {"embedding.weight": source["representation.embedding.weight"][[1, 6, 8]]}
    for layer in range(LAYERS):
        for kind in ("weight", "bias"):
            filters = source[f"representation.filter_net.{kind}"]
            state[f"messages.{layer}.filter.{kind}"] = filters.chunk(LAYERS)[layer]
            for ours, theirs in ((0, 0), (2, 1)):
                names = f"representation.{{}}.{layer}.{{}}_context_net.{theirs}.{kind}"
                state[f"messages.{layer}.context.{ours}.{kind}"] = source[names.format("interactions", "interatomic")]
                state[f"updates.{layer}.context.{ours}.{kind}"] = source[names.format("mixing", "intraatomic")]
        state[f"updates.{layer}.mix.weight"] = source[f"representation.mixing.{layer}.mu_channel_mix.weight"]
    for ours, theirs in ((0, 0), (2, 1)):
        for kind in ("weight", "bias"):
            state[f"energy.{ours}.{kind}"] = source[f"output_modules.0.outnet.{theirs}.{kind}"]
    return state


def frames_for_both() -> list[Atoms]:
    """Molecules out of shape, the last one in a periodic cell smaller than two cutoffs."""
    frames = [molecule(name) for name in ("CH3CH2OH", "CH3COOH", "H2O", "CH3OH")]
    frames[-1].set_cell([[4.0, 0, 0], [1.0, 3.8, 0], [-0.7, 0.4, 4.1]])
    frames[-1].pbc = True
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    return frames


def of_schnetpack(model, atoms: Atoms) -> dict[str, torch.Tensor]:
    """Energy, forces and, of a box, stress, on the pairs that ASE finds."""
    i, j, offsets = neighbor_list("ijS", atoms, CUTOFF)
    cell = atoms.cell.array if atoms.pbc.any() else np.eye(3)
    inputs = {
        "_n_atoms": [len(atoms)], "_idx": [0], "_idx_m": np.zeros(len(atoms), int), "_atomic_numbers": atoms.numbers,
        "_positions": atoms.positions, "_cell": cell[None], "_idx_i": i, "_idx_j": j, "_offsets": offsets @ cell,
    }  # fmt: skip
    found = model({name: torch.as_tensor(value) for name, value in inputs.items()})
    return {name: value.detach() for name, value in found.items()}


def deviations(pair, atoms: Atoms) -> dict[str, float]:
    """Largest difference of each quantity, in units of its largest value."""
    potential, theirs = pair
    found, wanted = evaluate(potential, graph(atoms, potential)), of_schnetpack(theirs, atoms)
    values = {"energy": (found.energy, wanted["energy"]), "forces": (found.forces, wanted["forces"])}
    if atoms.pbc.any():
        values["stress"] = (stress(found, graph(atoms, potential).volumes), wanted["stress"])
    return {name: float((a - b.view_as(a)).abs().max() / b.abs().max()) for name, (a, b) in values.items()}


@pytest.mark.parametrize("atoms", frames_for_both(), ids=lambda atoms: atoms.get_chemical_formula())
def test_equals_schnetpack(pair, atoms):
    assert max(deviations(pair, atoms).values()) < 1e-12


def test_every_weight_is_compared_with_schnetpack(pair):
    """The test above fails for any array of weights that is off."""
    atoms, seen = frames_for_both()[0], {}
    for name, parameter in pair[0].net.named_parameters():
        as_it_was = parameter.detach().clone()
        parameter.data *= 1 + 1e-6
        seen[name] = max(deviations(pair, atoms).values())
        parameter.data = as_it_was
    assert len(seen) == 1 + 11 * LAYERS + 4
    assert {name: value for name, value in seen.items() if value < 1e-10} == {}


def graph(atoms: Atoms, potential: Potential):
    cell, pbc = atoms.cell.array, atoms.pbc
    return build_graph(atoms.numbers, atoms.positions, cell, pbc, potential.elements, potential.cutoff, potential.dtype)


def energy(potential: Potential, atoms: Atoms) -> float:
    return evaluate(potential, graph(atoms, potential)).energy.item()


@pytest.fixture(
    params=[
        ("bessel", "polynomial", 3, None),
        ("gaussian", "cosine", 2, None),
        ("bessel", "cosine", 1, None),
        ("bessel", "polynomial", 3, 5.5),
        ("gaussian", "cosine", 2, 4.5),
        ("bessel", "polynomial", 1, 5.0),
    ],
    ids=lambda p: "-".join(map(str, p)),
)
def potential(request) -> Potential:
    radial, envelope, n_layers, first_cutoff = request.param
    torch.manual_seed(0)
    architecture = Architecture(
        width=16, n_layers=n_layers, n_radial=8, radial=radial, envelope=envelope, first_cutoff=first_cutoff
    )
    potential = new_potential(ELEMENTS, 4.0, architecture).cast(torch.float64)
    potential.scale[:] = torch.tensor([1.0, 2.0, 3.0])
    potential.reference[:] = torch.tensor([-1.0, -20.0, -30.0])
    return potential


@pytest.fixture
def crystal() -> Atoms:
    """A dense triclinic box, smaller than two cutoffs."""
    rng = np.random.default_rng(1)
    cell = np.array([[5.0, 0, 0], [1.0, 5.5, 0], [-0.7, 0.4, 4.5]])
    return Atoms("C2H6O2", scaled_positions=rng.uniform(size=(10, 3)), cell=cell, pbc=True)


def test_forces_are_the_slope_of_the_energy(potential, crystal):
    forces = evaluate(potential, graph(crystal, potential)).forces.numpy()
    h = 1e-4
    for i, d in [(0, 0), (3, 1), (9, 2)]:
        plus, minus = crystal.copy(), crystal.copy()
        plus.positions[i, d] += h
        minus.positions[i, d] -= h
        assert forces[i, d] == pytest.approx((energy(potential, minus) - energy(potential, plus)) / (2 * h), rel=1e-5)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-10)


def test_stress_is_the_slope_with_strain(potential, crystal):
    g = graph(crystal, potential)
    tensor = stress(evaluate(potential, g), g.volumes)[0].numpy()
    h = 1e-5
    for a, b in [(0, 0), (1, 1), (0, 1), (1, 2)]:
        values = []
        for s in (h, -h):
            strained = crystal.copy()
            strain = np.eye(3)
            strain[a, b] += s
            strained.set_cell(crystal.cell.array @ strain, scale_atoms=True)
            values.append(energy(potential, strained))
        assert tensor[a, b] == pytest.approx(
            (values[0] - values[1]) / (2 * h) / crystal.get_volume(), rel=1e-5, abs=1e-8
        )


def test_rotation_permutation_and_images_change_nothing(potential, crystal):
    reference = evaluate(potential, graph(crystal, potential))
    rng = np.random.default_rng(2)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = crystal.copy()
    turned.set_cell(crystal.cell.array @ rotation, scale_atoms=True)
    order = rng.permutation(len(crystal))
    shuffled = crystal[order]
    moved = crystal.copy()
    moved.positions += rng.integers(-3, 4, size=(10, 3)) @ crystal.cell.array
    cases = {
        "turned": (turned, reference.forces.numpy() @ rotation),
        "shuffled": (shuffled, reference.forces.numpy()[order]),
        "moved": (moved, reference.forces.numpy()),
    }
    for name, (atoms, forces) in cases.items():
        prediction = evaluate(potential, graph(atoms, potential))
        assert prediction.energy.item() == pytest.approx(reference.energy.item(), rel=1e-12), name
        np.testing.assert_allclose(prediction.forces.numpy(), forces, atol=1e-10, err_msg=name)


def test_batch_equals_single(potential, crystal):
    frames = [crystal, Atoms("O"), molecule("CH3CH2OH")]
    graphs = [graph(atoms, potential) for atoms in frames]
    batch = evaluate(potential, batch_graphs(graphs))
    single = [evaluate(potential, g) for g in graphs]
    for name in ("energy", "forces", "virial", "atom_energies"):
        expected = torch.cat([getattr(p, name) for p in single])
        torch.testing.assert_close(getattr(batch, name), expected, rtol=1e-12, atol=1e-12)


def test_one_atom_has_its_reference_energy_and_no_force(potential):
    prediction = evaluate(potential, graph(Atoms("C"), potential))
    lonely = potential.net(
        torch.tensor([1]), torch.zeros(1, 0, 3, dtype=torch.float64), torch.zeros(1, 0, dtype=torch.int32)
    )
    assert prediction.energy.item() == pytest.approx(-20.0 + 2.0 * lonely.item())
    assert prediction.forces.tolist() == [[0.0, 0.0, 0.0]]


def test_far_molecules_are_independent(potential):
    water, ethanol = molecule("H2O"), molecule("CH3CH2OH")
    far = ethanol.copy()
    far.positions += [50.0, 0, 0]
    assert energy(potential, water + far) == pytest.approx(
        energy(potential, water) + energy(potential, ethanol), rel=1e-12
    )


def test_smooth_at_the_cutoff(potential):
    """Of both radii: between them the first layer alone acts."""

    def pair(d: float):
        return evaluate(potential, graph(Atoms("CO", [[0, 0, 0], [0, 0, d]]), potential))

    for radius in {4.0, potential.cutoff}:
        inside, outside = pair(radius - 1e-5), pair(radius + 1e-5)
        step = 4e-5 * float(outside.forces.abs().max())  # what the first layer alone does at the inner radius
        assert inside.energy.item() == pytest.approx(outside.energy.item(), abs=1e-8 + step)
        torch.testing.assert_close(inside.forces, outside.forces, rtol=0, atol=1e-4)
        assert (outside.forces.abs().max() == 0) == (radius == potential.cutoff)


def test_layers_after_the_first_see_the_cutoff_alone(potential, crystal):
    """Layer by layer, the others on a graph of their own; with the first layer's message by hand."""
    net, wide = potential.net, graph(crystal, potential)
    box = (crystal.numbers, crystal.positions, crystal.cell.array, crystal.pbc, potential.elements)
    near = build_graph(*box, 4.0, torch.float64)
    assert near.neighbours.shape < wide.neighbours.shape or potential.cutoff == 4.0
    first = net.first_basis or net.edge_basis
    assert first.cutoff == potential.cutoff
    q = net.embed(wide.species)
    dq, mu = net.messages[0](q, q.new_zeros(3, 0, net.width), *first(wide.vectors), wide.neighbours)
    q, mu = net.updates[0](q + dq, mu)
    for message, update in list(zip(net.messages, net.updates, strict=True))[1:]:
        dq, dmu = message(q, mu, *net.edge_basis(near.vectors), near.neighbours)
        q, mu = update(q + dq, mu + dmu)
    found = net.features(wide.species, wide.vectors, wide.neighbours)
    torch.testing.assert_close(found, q, rtol=0, atol=1e-12)


def test_first_cutoff_that_is_the_cutoff_changes_nothing(crystal):
    predictions = []
    for first_cutoff in (None, 4.0):
        torch.manual_seed(0)
        architecture = Architecture(width=16, n_layers=2, n_radial=8, first_cutoff=first_cutoff)
        potential = new_potential(ELEMENTS, 4.0, architecture)
        predictions.append(evaluate(potential, graph(crystal, potential)))
    assert all(torch.equal(a, b) for a, b in zip(*predictions, strict=True))


def test_a_first_layer_that_reaches_less_far_is_refused():
    with pytest.raises(InputError, match="got first_cutoff 3.5 A; wanted at least the cutoff, 4 A; make it longer"):
        new_potential(ELEMENTS, 4.0, Architecture(first_cutoff=3.5))


@pytest.mark.parametrize("envelope", ["polynomial", "cosine"])
def test_basis_beyond_the_cutoff_is_exactly_zero(envelope):
    edges = Edges(4.0, 8, "bessel", envelope)
    vectors = torch.tensor([[[0.0, 0.0, 4.0], [0.0, 0.0, 8.0], [0.0, 0.0, 3.0]]], requires_grad=True)
    _, basis = edges(vectors)
    assert basis[0, :2].abs().max() == 0 and basis[0, 2].abs().min() > 0
    (slope,) = torch.autograd.grad(basis[0, :2].sum(), vectors)
    assert slope.abs().max() == 0


def test_bessel_functions_and_envelope_have_the_published_form():
    d = torch.linspace(0.5, 3.9, 7, dtype=torch.float64)
    _, basis = Edges(4.0, 5)(torch.stack([0 * d, 0 * d, d], -1)[None])
    x = d / 4.0
    envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    for k in range(1, 6):
        torch.testing.assert_close(basis[0, :, k - 1], torch.sin(k * np.pi * x) / d * envelope)
    torch.testing.assert_close(basis[0, :, 5], envelope)


def test_unknown_element_is_refused(potential):
    with pytest.raises(InputError, match="got element Xe; wanted only H, C, O; use a model trained on these elements"):
        graph(Atoms("Xe"), potential)
