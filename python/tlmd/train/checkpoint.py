"""Checkpoints: everything that the rest of a run depends on, as tensors and plain numbers (read with weights_only)."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

FORMAT_VERSION = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values, nested) and torch's generator; OSError if the disk is full."""
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, "generator": torch.get_rng_state(), **state}, buffer)
    write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint and set torch's generator; runs no code from the file. InputError if it is damaged or newer."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format_version"]
    except (RuntimeError, pickle.UnpicklingError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}, which is no checkpoint ({type(error).__name__})",
            "a file written by tl-pretrain or tl-finetune",
            "delete it to start the run again, or choose another --out",
        ) from None
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} of format {version}",
            f"format {FORMAT_VERSION} or older",
            "go on with the newer tlmd that wrote it",
        )
    torch.set_rng_state(state.pop("generator"))
    return state
