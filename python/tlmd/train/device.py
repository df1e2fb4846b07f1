"""Threads, seed and device of a training run."""

from __future__ import annotations

import torch

from tlmd.run.errors import InputError
from tlmd.train.config import TrainConfig

KINDS = ("cpu", "cuda")


def prepare(config: TrainConfig) -> torch.device:
    """Set threads and seed; the device to train on. InputError for a device that is not there."""
    training = config.training
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    torch.manual_seed(config.seed)
    if training.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.zeros(0, device=training.device).device
    except (RuntimeError, AssertionError):
        device = None
    if device is None or device.type not in KINDS:
        raise InputError(
            f'training.device = "{training.device}"', "a device that this torch can use", 'set it to "auto" or "cpu"'
        )
    return device
