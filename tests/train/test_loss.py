"""The loss: its gradient, missing labels, batches, weights."""

import numpy as np
import pytest
import torch

from tlmd.engine import TrainingEngine
from tlmd.evaluate.dataset import Counts, FrameSet, Shuffled, collate, packs
from tlmd.models.architecture import Architecture, new_potential
from tlmd.run.errors import InputError
from tlmd.train.config import LossConfig
from tlmd.train.loss import Weights, batch_loss, weights_at

WEIGHTS = Weights(2.0, 1.0, 5.0)


@pytest.fixture
def model():
    torch.manual_seed(5)
    small = Architecture(width=8, n_layers=2, n_radial=6)
    return new_potential(["H", "O"], 3.0, small).cast(torch.float64)


def value_of(*args) -> float:
    return float(batch_loss(*args).detach())


def frame_set(frames, model):
    return FrameSet(frames, model.elements, model.cutoff, model.dtype)


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_gradient_of_the_loss_is_its_finite_difference(model, frames, kind):
    config = LossConfig(kind=kind, huber_delta=0.5)
    batch = frame_set(frames, model).batch(range(4))

    def value() -> torch.Tensor:
        return batch_loss(model, batch, config, WEIGHTS)

    value().backward()
    checked = 0
    for name, p in model.net.named_parameters():
        index = int(p.grad.abs().argmax())
        slope = float(p.grad.reshape(-1)[index])
        step = 1e-5
        with torch.no_grad():
            p.reshape(-1)[index] += step
            up = float(value().detach())
            p.reshape(-1)[index] -= 2 * step
            down = float(value().detach())
            p.reshape(-1)[index] += step
        assert (up - down) / (2 * step) == pytest.approx(slope, rel=2e-5, abs=1e-7), name
        checked += 1
    assert checked > 15


def test_loss_of_a_batch_is_that_of_its_frames(model, frames):
    data = frame_set([*frames[:3], frames[3].replace(forces=None)], model)
    total = sum(data.counts, Counts(0, 0, 0))
    whole = value_of(model, data.batch(range(4)), LossConfig(), WEIGHTS)
    parts = [value_of(model, data.batch([i]), LossConfig(), WEIGHTS, total) for i in range(4)]
    assert whole == pytest.approx(sum(parts), rel=1e-10)


def test_missing_labels_add_nothing_and_leave_finite_gradients(model, frames):
    bare = frames[1].replace(energy=None, forces=None, stress=None)
    with_bare = frame_set([frames[0], bare], model).batch([0, 1])
    alone = frame_set([frames[0]], model).batch([0])
    loss = batch_loss(model, with_bare, LossConfig(), WEIGHTS)
    assert float(loss.detach()) == pytest.approx(value_of(model, alone, LossConfig(), WEIGHTS), rel=1e-10)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_free_and_periodic_frames_share_a_stress_loss(model, frames):
    assert frames[0].stress is None and frames[1].stress is not None
    loss = batch_loss(model, frame_set(frames, model).batch([0, 1]), LossConfig(), Weights(0.0, 0.0, 1.0))
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert float(loss.detach()) > 0 and all(torch.isfinite(g).all() for g in grads)


def test_without_force_labels_the_energies_are_the_same(model, frames):
    energies_only = [frame.replace(forces=None, stress=None) for frame in frames[:3]]
    quick = value_of(model, frame_set(energies_only, model).batch(range(3)), LossConfig(), WEIGHTS)
    full = value_of(model, frame_set(frames, model).batch(range(3)), LossConfig(), Weights(2.0, 0.0, 0.0))
    assert quick == pytest.approx(full, rel=1e-12)
    nothing = frame_set([frames[0].replace(energy=None, forces=None)], model).batch([0])
    assert value_of(model, nothing, LossConfig(), WEIGHTS) == 0.0


def test_values_against_numpy(model, frames):
    from tlmd.models.potential import evaluate

    data = frame_set(frames[:1], model)
    predicted = evaluate(model, data.graph(0))
    energy = (float(predicted.energy) - frames[0].energy) / len(frames[0])
    force = predicted.forces.numpy() - frames[0].forces
    expected = 2.0 * energy**2 + np.mean(force**2)
    assert value_of(model, data.batch([0]), LossConfig(), WEIGHTS) == pytest.approx(expected)
    huber = np.where(np.abs(force) < 0.3, force**2, 0.6 * np.abs(force) - 0.09).mean()
    config = LossConfig(kind="huber", huber_delta=0.3)
    assert value_of(model, data.batch([0]), config, Weights(0.0, 1.0, 0.0)) == pytest.approx(huber)


def test_weights_ramp_linearly():
    config = LossConfig(energy=(0.0, 10.0), forces=3.0, ramp_steps=100)
    assert weights_at(config, 0) == Weights(0.0, 3.0, LossConfig().stress)
    assert weights_at(config, 25).energy == 2.5
    assert weights_at(config, 1000).energy == 10.0


def test_bad_frames_are_refused(model, frames):
    with pytest.raises(InputError, match="got no frames in data; wanted at least one"):
        frame_set([], model)
    forces = frames[2].forces.copy()
    forces[0, 1] = np.nan
    with pytest.raises(InputError, match="frame 1: forces that is NaN"):
        frame_set([frames[0], frames[2].replace(forces=forces)], model)
    with pytest.raises(InputError, match="energy that is NaN"):
        frame_set([frames[0].replace(energy=float("inf"))], model)
    with pytest.raises(InputError, match="stress without a periodic box"):
        frame_set([frames[0].replace(stress=np.eye(3))], model)
    with pytest.raises(InputError, match="element C"):
        frame_set([frames[0].replace(numbers=np.full(len(frames[0]), 6))], model)


def test_packs_keep_both_budgets_and_every_frame():
    sizes = np.array([5, 5, 30, 1, 1, 1, 1, 9])
    result = packs(np.arange(8), sizes, n_frames=3, n_atoms=12)
    assert [list(p) for p in result] == [[0, 1], [2], [3, 4, 5], [6, 7]]
    assert packs(np.arange(0), sizes, 3, 12) == []


def test_shuffled_epochs_are_permutations_that_follow_from_the_seed():
    sizes = np.full(10, 4)
    stream, other = Shuffled(sizes, 3, 100, seed=1), Shuffled(sizes, 3, 100, seed=1)
    epochs = [np.concatenate([stream.next() for _ in range(4)]) for _ in range(2)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and list(epochs[0]) != list(epochs[1])
    other.move_to(1, 2)
    assert list(other.next()) == list(epochs[1][6:9])
    assert list(Shuffled(sizes, 3, 100, seed=2).next()) != list(epochs[0][:3])


def test_graphs_and_pairs_are_built_once(model, frames):
    data = frame_set(frames[:2], model)
    assert data.graph(1) is data.graph(1) and data.pairs(1) is data.pairs(1)
    batch = collate([(data, 0), (data, 1)])
    assert len(batch.labels.energy) == 2 and len(batch.labels.forces) == len(frames[0]) + len(frames[1])


def test_pairs_of_a_batch_give_the_same_loss_as_its_graph(model, frames):
    data = frame_set(frames[:4], model)
    items = [(data, index) for index in (2, 0, 3)]
    engine = TrainingEngine(model, n_bins=0)
    native, dense = collate(items, native=True), collate(items)
    assert native.graph.neighbours.numel() == 0
    found = value_of(model, native, LossConfig(), WEIGHTS, None, engine)
    assert found == value_of(model, dense, LossConfig(), WEIGHTS, None, engine)
    assert found == pytest.approx(value_of(model, dense, LossConfig(), WEIGHTS), rel=1e-9)


def test_spread_takes_frames_evenly(model, frames):
    data = frame_set(frames, model)
    assert data.evenly(4).frames == [frames[i] for i in (0, 5, 10, 15)] and data.evenly(16) is data


def test_labels_are_kept_in_double_precision(model, frames):
    energy = -30044.466500001
    assert float(frame_set([frames[0].replace(energy=energy)], model).labels[0].energy) == energy
