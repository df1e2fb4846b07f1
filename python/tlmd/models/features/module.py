"""TorchScript modules as feature maps of atoms.

A feature module has the attributes `elements: list[str]`, `cutoff: float` (A: how far vectors reach), `width: int`, and
forward(species (N,) int64 index into its elements, vectors (N, K, 3) A, neighbours (N, K) int32) -> (N, width), with
the arguments as in graph.Graph: entries as long as the cutoff or longer are filler and must change nothing. Frames of
a batch lie side by side in one call. Its precision is that of its first parameter or buffer.

For LAMMPS it also has `n_layers: int`, its message layers: the features of an atom depend on atoms up to n_layers
pairs away and on nothing else, such as means over all atoms. 1: on the atom's own neighbours alone. Features of atoms
without neighbours are finite, and so are their slopes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers

from tlmd.run.errors import InputError


def load_script(source: Path | str | io.BytesIO, refusal: tuple[str, str, str], device: str = "cpu") -> Any:
    """A TorchScript module, frozen, ready for evaluation; InputError (got, wanted, do) of `refusal` if it is none."""
    got, wanted, do = refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated upstream
        try:
            module = torch.jit.load(source if isinstance(source, io.BytesIO) else str(source), map_location=device)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{got} ({str(error).splitlines()[0]})", wanted, do) from None
    return frozen(module)


def frozen(module: Any) -> Any:
    """The scripted module without gradients of its parameters."""
    # As torchscript.cpp does: the optimiser slows the first steps, and its own derivatives are not needed.
    torch._C._set_graph_executor_optimize(False)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def load_features(path: Path | str) -> Any:
    """The feature module in a TorchScript file; InputError if the file has none."""
    wanted = "a TorchScript module with elements, cutoff, width and forward(species, vectors, neighbours)"
    module = load_script(path, (f"{path}, not a TorchScript file", wanted, "correct backbone.model or backbone.kind"))

    def positive(kind: type) -> Callable[[Any], bool]:
        return lambda found: isinstance(found, kind) and found > 0

    checks = {
        "elements": lambda found: isinstance(found, list) and found and all(e in atomic_numbers for e in found),
        "cutoff": positive(float),
        "width": positive(int),
        "n_layers": positive(int),
    }
    for name, fits in checks.items():
        found = getattr(module, name, 1 if name == "n_layers" else None)  # n_layers: for LAMMPS alone
        if not fits(found):
            raise InputError(f"{path} with {name} {found}", wanted, "give the module that attribute and save it again")
    return module


def to_bytes(module: Any) -> torch.Tensor:
    """A scripted module as a file's bytes, uint8 (n,)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, buffer)
    return torch.frombuffer(bytearray(buffer.getbuffer()), dtype=torch.uint8)


def from_bytes(data: torch.Tensor, name: str) -> Any:
    """What `to_bytes` was given; `name` of the file that it comes from is for the error message."""
    refusal = (f"{name} with a damaged backbone", "a trained model.pt", "fit again")
    return load_script(io.BytesIO(data.numpy().tobytes()), refusal)
