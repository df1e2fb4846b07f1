"""Fine-tuning: references and scale, frozen parts and rates, replay, what is forgotten."""

import numpy as np
import pytest
import torch

from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import evaluate_frames
from tlmd.frames.extxyz import write_frames
from tlmd.frames.read import read_frames
from tlmd.modelfile import load_model
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.train import loop
from tlmd.train.config import FinetuneConfig, PretrainConfig
from tlmd.train.finetune import finetune, parameter_groups, scale_factor
from tlmd.train.pretrain import pretrain
from tlmd.units import BOHR_A, EV_PER_HARTREE


@pytest.fixture
def old(folder):
    """A model pretrained on the classical frames, in old/model.pt."""
    settings = ['data.train="classical.extxyz"', "training.max_steps=30", 'training.dtype="float64"']
    return pretrain(load_config(PretrainConfig, folder / "pretrain.toml", settings), folder / "old").model


def tune(folder, name="new", *overrides):
    return finetune(load_config(FinetuneConfig, folder / "finetune.toml", overrides), folder / name)


def relabel(folder, model, file, energies, factor):
    """Write the frames of `file` again with the model's own labels, forces times `factor`, energies by `energies`."""
    frames = read_frames(folder / file)
    few = FrameSet(frames, model.elements, model.cutoff, model.dtype)
    from tlmd.models.potential import evaluate

    new = []
    for index, frame in enumerate(frames):
        predicted = evaluate(model, few.graph(index))
        counts = np.array([np.sum(frame.numbers == z) for z in (1, 8)])
        network = float(predicted.energy) - counts @ model.reference.numpy()
        energy = factor * network + counts @ np.asarray(energies)
        new.append(frame.replace(energy=energy, forces=factor * predicted.forces.numpy(), stress=None))
    write_frames(folder / file, new)


def test_refit_finds_the_references_and_scale_that_made_the_labels(folder, old):
    for file in ("train.extxyz", "valid.extxyz"):
        relabel(folder, old, file, (-13.6, -2041.0), 1.7)
    settings = ['transfer.scale="least_squares"', "training.max_steps=1", 'training.dtype="float64"']
    result = tune(folder, "new", *settings)
    before = result.errors["valid before"]
    assert before.rmse("energy") < 1e-4 and before.rmse("forces") < 1e-4  # meV: as exact as the file's nine digits
    assert np.allclose(result.model.reference.numpy(), [-13.6, -2041.0], atol=1e-6)
    assert np.allclose(result.model.scale.numpy(), 1.7 * old.scale.numpy(), rtol=1e-6)


def test_keep_leaves_references_and_scale(folder, old):
    result = tune(folder, "new", 'transfer.references="keep"', "training.max_steps=1")
    assert torch.equal(result.model.reference, old.reference) and torch.equal(result.model.scale, old.scale)
    atoms = 'transfer.references="isolated_atoms"'
    table = "references.energies={H=-1.0, O=-9.0}"
    assert tune(folder, "atoms", atoms, table, "training.max_steps=1").model.reference.tolist() == [-1.0, -9.0]


def test_scale_factors():
    class Pairs:
        forces = np.array([[3.0, 1.0], [0.0, 1.0], [4.0, 2.0]])

    assert scale_factor(Pairs, "keep") == 1.0
    assert scale_factor(Pairs, "least_squares") == pytest.approx(11 / 6)
    assert scale_factor(Pairs, "rms") == pytest.approx(5 / np.sqrt(6))


def test_frozen_parts_stay_and_rates_are_applied(folder, old):
    before = {name: p.detach().clone() for name, p in old.net.named_parameters()}
    settings = [
        'transfer.freeze=["embedding", "messages.0.filter"]',
        'transfer.rates={"messages.1"=0.25, "messages.1.filter"=0.5}',
        "training.max_steps=1",
        "optimizer.warmup_steps=0",
        "optimizer.lr=0.001",
        "optimizer.ema=0",
        'training.dtype="float64"',
    ]
    after = dict(tune(folder, "new", *settings).model.net.named_parameters())
    for name, p in after.items():
        moved = float((p.detach() - before[name]).abs().max())
        if name.startswith(("embedding", "messages.0.filter")):
            assert moved == 0.0, name
            continue
        rate = 0.5 if name.startswith("messages.1.filter") else 0.25 if name.startswith("messages.1.") else 1.0
        assert moved == pytest.approx(0.001 * rate, rel=1e-3), name  # Adam's first step is lr in every direction


def test_names_that_match_nothing_are_refused(folder, old):
    with pytest.raises(InputError, match=r"no part 'mesages\.0' \(did you mean 'messages\.0'\?\)"):
        parameter_groups(old, ["mesages.0"], {})
    with pytest.raises(InputError, match=r"no part 'messages\.7'"):
        parameter_groups(old, [], {"messages.7": 0.1})
    with pytest.raises(InputError, match="wanted a part that can learn"):
        parameter_groups(old, ["embedding", "messages", "updates", "energy"], {})
    with pytest.raises(InputError, match=r"rate 0\.0 for 'energy'"):
        parameter_groups(old, [], {"energy": 0.0})


def test_elements_must_be_those_of_the_model(folder, old):
    frames = read_frames(folder / "train.extxyz")
    carbon = frames[0].replace(numbers=np.where(frames[0].numbers == 8, 6, 1))
    write_frames(folder / "train.extxyz", [carbon, *frames[1:]])
    with pytest.raises(InputError, match="got element C; wanted only H, O"):
        tune(folder)


def test_forgetting_is_reported_with_the_classical_references(folder, old):
    replay = 'replay={frames="classical.extxyz", n_report=8}'
    for file in ("train.extxyz", "valid.extxyz"):
        relabel(folder, old, file, (-13.6, -2041.0), 1.0)
    result = tune(folder, "new", replay, "training.max_steps=1", 'training.dtype="float64"', "optimizer.lr=1e-12")
    classical = FrameSet(read_frames(folder / "classical.extxyz"), old.elements, old.cutoff, old.dtype)
    truth = evaluate_frames(old, classical)[0]
    for name in ("classical before", "classical"):
        found = result.errors[name]
        assert found.n_frames == 8
        assert found.rmse("energy") == pytest.approx(truth.rmse("energy"), rel=1e-4)
        assert found.rmse("forces") == pytest.approx(truth.rmse("forces"), rel=1e-6)


@pytest.mark.parametrize("labels", ["forces", "all"])
def test_replay_takes_its_part_of_the_frames_and_its_own_references(folder, old, monkeypatch, labels):
    seen = []
    collate = loop.collate
    monkeypatch.setattr(
        loop, "collate", lambda items, *how, **which: seen.append(items) or collate(items, *how, **which)
    )
    replay = f'replay={{frames="classical.extxyz", fraction=0.4, labels="{labels}"}}'
    # labels of the new level are far away in reference energies; the replayed ones must not pull the model there
    for file in ("train.extxyz", "valid.extxyz"):
        relabel(folder, old, file, (-13.6, -2041.0), 1.0)
    result = tune(folder, "new", replay, "training.max_steps=8", 'training.dtype="float64"')
    replayed = [(frames, i) for items in seen for frames, i in items if "replay" in frames.name]
    new = sum(len(items) for items in seen) - len(replayed)
    assert len(replayed) == 16 and new == 20  # 8 steps with ratio 2; batches 3, 3, 3, 1 of 10 frames twice
    assert sum(frames.counts[i].energy for frames, i in replayed) == (16 if labels == "all" else 0)
    assert all(frames.counts[i].forces > 0 for frames, i in replayed)
    assert result.errors["valid"].rmse("energy") < 1000 and result.errors["classical"].rmse("energy") < 1000


def test_replay_keeps_the_old_level_better(folder, old):
    kept, lost = (
        tune(folder, f"r{part}", f'replay={{frames="classical.extxyz", fraction={part}}}', "training.max_steps=40")
        for part in (0.5, 0.0)
    )
    assert kept.errors["classical before"].rmse("forces") == lost.errors["classical before"].rmse("forces")
    assert lost.errors["valid"].rmse("forces") < lost.errors["valid before"].rmse("forces")
    assert "classical" in lost.errors and kept.steps == lost.steps == 40


def test_interrupted_finetuning_with_replay_goes_on_exactly(folder, old, monkeypatch):
    replay = 'replay={frames="classical.extxyz", fraction=0.4}'
    straight = tune(folder, "straight", replay).model.state_dict()
    update = loop.Loop.update

    def interrupted(self):
        if self.step == 8:
            raise KeyboardInterrupt
        update(self)

    monkeypatch.setattr(loop.Loop, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(folder, "broken", replay)
    monkeypatch.setattr(loop.Loop, "update", update)
    resumed = tune(folder, "broken", replay).model.state_dict()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    log = (folder / "broken" / "log.txt").read_text()
    assert "resumed at step 5" in log and "classical before the first step" in log


def test_another_pretrained_model_is_another_run(folder, old):
    tune(folder)
    other = ["training.max_steps=3", "seed=9", 'data.train="classical.extxyz"']
    pretrain(load_config(PretrainConfig, folder / "pretrain.toml", other), folder / "other")
    with pytest.raises(InputError, match=r"transfer\.start_from"):
        tune(folder, "new", 'transfer.start_from="other/model.pt"')
    assert load_model(folder / "new" / "model.pt")[1].training_data == "train.extxyz, 10 frames"


@pytest.mark.parametrize(
    ("factor", "words"),
    [(BOHR_A / EV_PER_HARTREE, "forces 0.0194 times those"), (-1.0, "forces against those of the pretrained model")],
)
def test_doubtful_labels_are_said_in_the_log_and_below_the_table(folder, old, capsys, factor, words):
    """Forces in hartree/bohr, gradients instead of forces: the start model knows better."""
    relabel(folder, old, "train.extxyz", (-13.6, -2041.0), factor)
    tune(folder, "tuned", "training.max_steps=2")
    for text in ((folder / "tuned" / "log.txt").read_text(), capsys.readouterr().out):
        after = text.rindex("best at step")
        assert text.index(f"doubtful labels: {words}") < after and f"doubtful labels: {words}" in text[after:]


def test_frames_without_labels_are_refused(folder, old):
    bare = [f.replace(energy=None, forces=None, stress=None) for f in read_frames(folder / "train.extxyz")]
    write_frames(folder / "bare.extxyz", [f.replace(positions=f.positions + 1) for f in bare])
    for key in ("train", "valid", "test"):
        with pytest.raises(InputError, match="bare.extxyz without labels"):
            tune(folder, "tuned", f"data.{key}={folder / 'bare.extxyz'}")
    assert not (folder / "tuned" / "model.pt").exists()


def test_replayed_frames_without_what_they_are_for(folder, old):
    energies = [f.replace(forces=None, stress=None) for f in read_frames(folder / "classical.extxyz")]
    write_frames(folder / "energies.extxyz", energies)
    with pytest.raises(InputError, match="energies.extxyz without labels"):
        tune(folder, "tuned", f'replay={{frames="{folder / "energies.extxyz"}", fraction=0.3}}')
