"""tl-pretrain: a new model, taught by classical labels, or from scratch by DFT ones."""

from __future__ import annotations

from pathlib import Path

import torch

from tlmd.evaluate.dataset import FrameSet
from tlmd.evaluate.errors import evaluate_frames
from tlmd.frames.references import elements_of, energy_labels, isolated_atoms, label_scale, least_squares
from tlmd.models.architecture import Architecture, new_potential
from tlmd.models.potential import Potential
from tlmd.run import collective
from tlmd.run.folder import RunFolder
from tlmd.train.config import PretrainConfig
from tlmd.train.loop import Loop, Task
from tlmd.train.stage import RESULTS, Data, Result, conclude, finished, frame_sets, new_card, read_data, setup


def pretrain(config: PretrainConfig, out: Path) -> Result:
    """Train a new model by `config` in the run folder `out`; goes on where a killed run stopped.

    Raises InputError for data, configuration or a run folder that do not fit.
    """
    with collective.processes():
        device = setup(config)
        run = RunFolder(out, "pretrain", config, RESULTS)
        try:
            if run.finished:
                return finished(run)
            data = read_data(config)
            architecture = Architecture(**config.model.model_dump(include=set(Architecture.model_fields)))
            model = new_model(config, data, architecture)
            sets = frame_sets(data, model)
            centre(model, sets["train"])
            card = new_card(model, config, len(data.train), architecture)
            groups = [{"params": list(model.parameters()), "rate": 1.0}]
            loop = Loop(Task(model.to(device), sets["train"], sets["valid"], groups, card), config, run, device)
            run.say(f"{sum(p.numel() for p in model.parameters())} parameters, {len(data.train)} frames, {device}")
            loop.run()
            return conclude(loop, sets, config)
        finally:
            run.close()


def new_model(config: PretrainConfig, data: Data, architecture: Architecture) -> Potential:
    """An untrained potential with the reference energies and the scale of the training frames."""
    elements = config.model.elements or elements_of(data.train + data.valid + data.test)
    model = new_potential(elements, config.model.cutoff, architecture).cast(getattr(torch, config.training.dtype))
    references = config.references
    if references.method == "isolated_atoms":
        energies = isolated_atoms(references.energies, references.file, elements)
    else:
        counts, labels = energy_labels(data.train, elements)
        energies = least_squares(counts, labels) if len(labels) else torch.zeros(len(elements))
    model.reference.copy_(torch.as_tensor(energies))
    model.scale.fill_(label_scale(data.train, elements))
    return model


@torch.no_grad()
def centre(model: Potential, frames: FrameSet, n_frames: int = 8) -> None:
    """Add a constant so that the untrained network gives the mean energy of a few frames.

    Isolated-atom references leave the whole cohesive energy to the network, which plain gradient steps learn slowly.
    """
    energy = evaluate_frames(model, frames.spread(n_frames))[1].energy
    if len(energy):
        model.net.add_constant(float((energy[:, 0] - energy[:, 1]).mean() / model.scale[0]))
