"""tl-finetune: a pretrained potential is moved to another level of theory by a few labels (T-PaiNN, "autotuning").

Reference energies and scale are set first; then parts of the network move at their own rates, with old frames replayed
if asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlmd.baseline.kinds import open_baseline, same_baseline
from tlmd.evaluate.dataset import FrameSet, frame_sets
from tlmd.evaluate.doubts import doubts
from tlmd.evaluate.errors import Errors, Parity, evaluate_frames
from tlmd.evaluate.table import RESULTS
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_once
from tlmd.frames.references import carry, energy_labels, isolated_atoms, least_squares
from tlmd.frames.remainder import less_baseline, remainders
from tlmd.frames.split import check_labels, read_sets
from tlmd.modelfile import Card, load_model, member_files
from tlmd.models.potential import Potential
from tlmd.run import collective
from tlmd.run.errors import InputError, nearest
from tlmd.run.folder import RunFolder
from tlmd.train.committee import Members, judge, seed_of, tell_apart
from tlmd.train.config import FinetuneConfig
from tlmd.train.device import prepare
from tlmd.train.loop import Loop, Task
from tlmd.train.result import Result, card_of, finished_result, write_result
from tlmd.train.short_range import set_short_range
from tlmd.train.stability import check_stability


def finetune(config: FinetuneConfig, out: Path) -> Result:
    """Tune a pretrained model by `config` in the run folder `out`; goes on where a killed run stopped.

    Result.errors holds `valid before` (with the new reference energies, before the first step), train, valid, test and,
    with replay frames, `classical before` and `classical`: what was forgotten.
    Raises InputError for data, configuration, pretrained model or a run folder that do not fit.
    """
    with collective.processes():
        device, training = prepare(config), config.training
        models = member_files(out / "model.pt", config.committee or 1)
        results = (*RESULTS, *(str(file.relative_to(out)) for file in models[1:]))
        with RunFolder(out, "finetune", config, results) as run:
            if run.finished:
                return finished_result(run)
            sets = read_sets(config.data, training.n_frames, training.select, config.seed)
            model, pretrained = pretrained_model(config)
            start = str(config.transfer.start_from)
            baseline = same_baseline(config.data.baseline_described(), pretrained.baseline, start)
            sets = remainders(sets, baseline, run)
            groups = parameter_groups(model, config.transfer.freeze, config.transfer.rates)
            tell_apart(model.net, config)
            old_frames = read_once(config.replay.frames) if config.replay else []
            seen = [*sets.train, *old_frames]
            shortest = set_short_range(model, seen, run, training.repulsion, pretrained.shortest_A)
            frames = frame_sets(sets, model.elements, model.cutoff, model.dtype)
            old_references = model.reference.numpy().copy()
            parity = predict_train(model, frames["train"], config, run)
            notes = [*sets.notes, *(doubts(parity) if config.member is None else ())]
            adapt(model, frames["train"], parity, config, run)
            for note in notes:
                run.say(note)
            replay, sample = replay_sets(config, model, old_references, baseline, old_frames)
            before = errors_before(model.to(device), frames, sample, config, run, device)
            card = card_of(model, config, len(sets.train), pretrained.architecture, shortest, baseline)
            fraction = config.replay.fraction if config.replay else 0.0
            task = Task(model, frames["train"], frames["valid"], groups, card, replay, fraction)
            loop = Loop(task, config.model_copy(update={"seed": seed_of(config)}), run, device)
            with Members(config, out, finetune) as members:
                loop.run()
                members.wait()
            if len(models) > 1:
                deviation, lines = judge(models, frames, device)
                task.card, notes = card.model_copy(update={"deviation": deviation}), [*notes, *lines]
            stable = partial(check_stability, out / "model.pt", sets.train, config.stability, run, config.seed)
            return write_result(loop, frames | {"classical": sample}, config, before, notes, stable)


def pretrained_model(config: FinetuneConfig) -> tuple[Potential, Card]:
    """The model to start from, in the dtype of the run, and its card. InputError for a kernel model."""
    model, card = load_model(config.transfer.start_from)
    if card.kernel is not None:
        raise InputError(f"{config.transfer.start_from} of kind mekrr", "kind tpainn", "start from its backbone")
    return model.cast(getattr(torch, config.training.dtype)), card


def predict_train(model: Potential, frames: FrameSet, config: FinetuneConfig, run: RunFolder) -> Parity:
    """Labels of the training frames and what the pretrained model predicts for them."""
    errors, parity = evaluate_frames(model, frames, config.training.batch_atoms)
    run.say(f"train, pretrained model as it is, RMSE (MAE): {errors.line()}")
    return parity


@torch.no_grad()
def adapt(model: Potential, frames: FrameSet, parity: Parity, config: FinetuneConfig, run: RunFolder) -> None:
    """Set scale and reference energies for the new labels of `frames`; the network stays as it is.

    parity: of the pretrained model on these frames. The refit corrects the old reference energies by the least-squares
    solution of least norm for what the scaled network leaves over.
    """
    factor = scale_factor(parity, config.transfer.scale)
    counts, labels = energy_labels(frames.frames, model.elements)
    old = model.reference.numpy().copy()
    new = old
    if config.transfer.references == "isolated_atoms":
        new = isolated_atoms(config.references.energies, config.references.file, model.elements)
    elif config.transfer.references == "refit" and len(labels):
        network = parity.energy[:, 1] * counts.sum(axis=1) - counts @ old
        new = old + least_squares(counts, labels - factor * network - counts @ old)
    model.scale.mul_(factor)
    model.reference.copy_(torch.as_tensor(new))
    energies = ", ".join(f"{e} {value:.6f}" for e, value in zip(model.elements, new, strict=True))
    one = len({tuple(np.sort(frame.numbers)) for frame in frames.frames}) == 1 and len(model.elements) > 1
    remark = " (one composition: only their sum over a frame is fixed)" if one else ""
    run.say(f"scale times {factor:.4f}; reference energies {energies} eV{remark}")


def scale_factor(parity: Parity, how: str) -> float:
    """Factor on the network's output from labelled against predicted forces; 1 without forces."""
    label, predicted = parity.forces.T
    square = float(predicted @ predicted)
    if how == "keep" or square == 0.0:
        return 1.0
    if how == "rms":
        return float(np.sqrt(label @ label / square))
    return float(label @ predicted / square)


def errors_before(
    model: Potential,
    frames: Mapping[str, FrameSet | None],
    sample: FrameSet | None,
    config: FinetuneConfig,
    run: RunFolder,
    device: torch.device,
) -> dict[str, Errors]:
    """Errors before the first step on the validation (or else the training) frames and a sample of replayed ones."""
    first = "valid" if frames["valid"] is not None else "train"
    found = {f"{first} before": frames[first], "classical before": sample}
    errors = {
        name: evaluate_frames(model, part, config.training.batch_atoms, device)[0]
        for name, part in found.items()
        if part is not None
    }
    for name, each in errors.items():
        run.say(f"{name} the first step, RMSE (MAE): {each.line()}")
    return errors


def replay_sets(
    config: FinetuneConfig,
    model: Potential,
    old: np.ndarray,
    baseline: dict[str, Any] | None,
    old_frames: list[Frame],
) -> tuple[FrameSet | None, FrameSet | None]:
    """Replayed frames with the labels that are trained on, and a sample with all labels for errors before and after.

    Their energies are carried from the `old` reference energies (n_elements,) eV of the pretrained model to the new;
    the baseline is taken off.
    """
    replay = config.replay
    if replay is None:
        return None, None
    frames = carry(old_frames, model.elements, old, model.reference.cpu().numpy())
    chosen = np.unique(np.linspace(0, len(frames) - 1, replay.n_report).astype(int))
    if replay.fraction == 0:
        frames, chosen = [frames[int(i)] for i in chosen], np.arange(len(chosen))
    if baseline is not None:
        with closing(open_baseline(baseline)) as opened:
            frames = less_baseline(frames, opened, f"replay.frames = {replay.frames}")
    sample = [frames[int(i)] for i in chosen]

    def frame_set(part: list[Frame]) -> FrameSet:
        return FrameSet(part, model.elements, model.cutoff, model.dtype, f"replay frames of {replay.frames}")

    if replay.fraction == 0:
        return None, frame_set(sample)
    labelled = frames if replay.labels == "all" else [frame.replace(energy=None) for frame in frames]
    check_labels(labelled, str(replay.frames))
    return frame_set(labelled), frame_set(sample)


def parameter_groups(model: Potential, freeze: Iterable[str], rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Groups of parameters by their factor on the learning rate; frozen ones take no gradient and are left out.

    Names are those of the network's parts, e.g. embedding, messages.0, messages.0.filter.weight. InputError for a name
    that matches nothing, a factor that is not positive, or if all is frozen.
    """
    named = dict(model.net.named_parameters())
    known = {".".join(name.split(".")[: i + 1]) for name in named for i in range(name.count(".") + 1)}
    for name in (*freeze, *rates):
        if name not in known:
            raise InputError(
                f"no part '{name}'{nearest(name, known)}", "a part of the network", "correct transfer.freeze or rates"
            )
    for name, rate in rates.items():
        if rate <= 0:
            raise InputError(
                f"rate {rate} for '{name}'", "a positive factor", "name it in transfer.freeze to keep it fixed"
            )
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in named.items():
        parts = {".".join(name.split(".")[: i + 1]) for i in range(name.count(".") + 1)}
        frozen = bool(parts & set(freeze))
        parameter.requires_grad_(not frozen)
        if not frozen:
            rate = rates[max(parts & set(rates), key=len)] if parts & set(rates) else 1.0
            groups.setdefault(rate, []).append(parameter)
    if not groups:
        raise InputError("all parts frozen", "a part that can learn", "shorten transfer.freeze")
    return [{"params": parameters, "rate": rate} for rate, parameters in sorted(groups.items())]
