"""tl-pretrain: a new model, trained on cheap labels or from scratch on DFT ones."""

from __future__ import annotations

from pathlib import Path

import torch

from tlmd.evaluate.dataset import FrameSet, frame_sets
from tlmd.evaluate.errors import evaluate_frames
from tlmd.evaluate.table import RESULTS
from tlmd.frames.references import elements_of, energy_labels, isolated_atoms, label_scale, least_squares
from tlmd.frames.remainder import remainders
from tlmd.frames.split import Sets, read_sets
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import Potential
from tlmd.run import collective
from tlmd.run.folder import RunFolder
from tlmd.train.config import PretrainConfig
from tlmd.train.device import prepare
from tlmd.train.loop import Loop, Task
from tlmd.train.result import Result, card_of, finished_result, write_result
from tlmd.train.short_range import set_short_range


def pretrain(config: PretrainConfig, out: Path) -> Result:
    """Train a new model by `config` in the run folder `out`; goes on where a killed run stopped.

    Raises InputError for data, configuration or a run folder that do not fit.
    """
    with collective.processes():
        device, training = prepare(config), config.training
        with RunFolder(out, "pretrain", config, RESULTS) as run:
            if run.finished:
                return finished_result(run)
            sets = read_sets(config.data, training.n_frames, training.select, config.seed)
            for note in sets.notes:
                run.say(note)
            baseline = config.data.baseline_described()
            sets = remainders(sets, baseline, run)
            architecture = Architecture(**config.model.model_dump(include=set(Architecture.model_fields)))
            model = new_model(config, sets, architecture)
            frames = frame_sets(sets, model.elements, model.cutoff, model.dtype)
            centre(model, frames["train"])
            shortest = set_short_range(model, sets.train, run, training.repulsion)
            card = card_of(model, config, len(sets.train), architecture, shortest, baseline)
            groups = [{"params": list(model.parameters()), "rate": 1.0}]
            loop = Loop(Task(model.to(device), frames["train"], frames["valid"], groups, card), config, run, device)
            run.say(f"{sum(p.numel() for p in model.parameters())} parameters, {len(sets.train)} frames, {device}")
            loop.run()
            return write_result(loop, frames, config, notes=sets.notes)


def new_model(config: PretrainConfig, sets: Sets, architecture: Architecture) -> Potential:
    """An untrained potential with the reference energies and the scale of the training frames."""
    elements = config.model.elements or elements_of(sets.train + sets.valid + sets.test)
    model = new_potential(elements, config.model.cutoff, architecture).cast(getattr(torch, config.training.dtype))
    references = config.references
    if references.method == "isolated_atoms":
        energies = isolated_atoms(references.energies, references.file, elements)
    else:
        counts, labels = energy_labels(sets.train, elements)
        energies = least_squares(counts, labels) if len(labels) else torch.zeros(len(elements))
    model.reference.copy_(torch.as_tensor(energies))
    model.scale.fill_(label_scale(sets.train, elements))
    return model


@torch.no_grad()
def centre(model: Potential, frames: FrameSet, n_frames: int = 8) -> None:
    """Add a constant so that the untrained network gives the mean energy of a few frames.

    Isolated-atom references leave the whole cohesive energy to the network, which plain gradient steps learn slowly.
    """
    energy = evaluate_frames(model, frames.evenly(n_frames))[1].energy
    if len(energy):
        model.net.add_constant(float((energy[:, 0] - energy[:, 1]).mean() / model.scale[0]))
