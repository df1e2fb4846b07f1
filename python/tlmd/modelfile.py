"""Model files and their card: `model.pt` (trained: parameters) and `model-lammps.pt` (exported: TorchScript).

Both are zip archives with the card as the extra file card.json. Reading a card or a trained model runs no code from
the file, but for a kernel on a module: that is TorchScript inside the file.
"""

from __future__ import annotations

import datetime
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tlmd
from tlmd.models.architecture import (
    Architecture,
    KernelArchitecture,
    kernel_potential,
    module_potential,
    new_potential,
)
from tlmd.models.features.module import from_bytes, to_bytes
from tlmd.models.kernel_head import KernelModule
from tlmd.models.painn import OLD_NORM_EPSILON
from tlmd.models.potential import Potential
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic
from tlmd.run.installed import SHIPPED, named_or_path

FORMAT_VERSION = 2  # 2: the architecture states the length scale of the norm
BACKBONE = "net.backbone."  # parameters of a module, which are in its own bytes
UNITS = {"energy": "eV", "length": "A", "force": "eV/A", "stress": "eV/A^3", "mass": "g/mol"}


class Card(BaseModel):
    """What a model is and where it comes from (card.json)."""

    model_config = ConfigDict(extra="forbid")
    format_version: int = FORMAT_VERSION
    kind: Literal["tpainn", "mekrr"] = "tpainn"
    elements: list[str]
    cutoff: float = Field(gt=0, description="A")
    architecture: Architecture | None = Field(Architecture(), description="none where the backbone is a module")
    kernel: KernelArchitecture | None = Field(None, description="kind mekrr")
    dtype: Literal["float32", "float64"] = "float32"
    units: dict[str, str] = UNITS
    reference_energies: dict[str, float] = {}
    level_of_theory: str = "unknown"
    training_data: str = "unknown"
    training_data_sha256: str = ""
    held_out_errors: dict[str, Any] = {}
    versions: dict[str, str] = Field(default_factory=lambda: {"torch": torch.__version__, "tlmd": tlmd.__version__})
    date: str = Field(default_factory=lambda: datetime.date.today().isoformat())


class Sample(NamedTuple):
    """One real frame that travels with a trained model, for the checks at export: as in graph.build_graph."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


def save_model(path: Path | str, potential: Potential, card: Card, sample: Any = None) -> None:
    """Write a trained model: parameters, card, and a sample frame (anything with the attributes of Sample).

    What the potential itself states (elements, cutoff, dtype, reference energies) is set in the card here.
    """
    card = describe(potential, card)
    state = potential.state_dict()
    content = {"state_dict": state}
    if isinstance(potential.net, KernelModule):
        content["backbone"] = to_bytes(potential.net.backbone)
        content["state_dict"] = {name: value for name, value in state.items() if not name.startswith(BACKBONE)}
    if sample is not None:
        content["sample"] = {name: torch.as_tensor(np.array(getattr(sample, name))) for name in Sample._fields}

    buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        entry = zipfile.ZipInfo(f"{root}/extra/card.json")  # without the time, so that the same model is the same file
        archive.writestr(entry, card.model_dump_json(indent=1))
    write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def describe(potential: Potential, card: Card) -> Card:
    """The card with what the potential itself states."""
    reference = dict(zip(potential.elements, potential.reference.tolist(), strict=True))
    return card.model_copy(
        update={
            "format_version": FORMAT_VERSION,
            "elements": potential.elements,
            "cutoff": potential.cutoff,
            "dtype": str(potential.dtype).removeprefix("torch."),
            "reference_energies": reference,
        }
    )


def read_card(path: Path | str) -> Card:
    """The card of a trained or exported model; InputError if there is no such file, or it is none of a model, is cut
    short, or is of a newer format.
    """
    try:
        with zipfile.ZipFile(named_or_path(path)) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/extra/card.json"))
            text = archive.read(name)
    except FileNotFoundError:
        shipped = ", ".join(SHIPPED)
        raise InputError(
            f"no file {path}", f"a model file, or one of {shipped}", "check the path or the name"
        ) from None
    except (zipfile.BadZipFile, StopIteration, OSError) as error:
        raise InputError(
            f"{path}, not a model file or cut short ({type(error).__name__})",
            "a file written by tl-pretrain, tl-finetune or tl-export",
            "write it again or check the path",
        ) from None
    content = json.loads(text)
    version = content.get("format_version", 0)
    if version > FORMAT_VERSION:
        raise InputError(f"{path} of format {version}", f"format {FORMAT_VERSION} or older", "install a newer tlmd")
    try:
        if version < 2 and content.get("architecture"):
            content["architecture"]["norm_epsilon"] = OLD_NORM_EPSILON
        return Card.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"{path} with a damaged card (key {where})", "a valid card", "write the model again") from None


def load_model(path: Path | str) -> tuple[Potential, Card]:
    """A trained model (model.pt) in its own precision on the CPU, and its card. Exported files: tlmd.export."""
    card, content = read_card(path), _content(path)
    state, dtype = content["state_dict"], getattr(torch, card.dtype)
    if "net.head.map.phases" in state:
        raise InputError(
            f"{path}, a kernel of an older tlmd, cosines with phases", "one of cosines and sines", "fit again"
        )
    if card.kernel is None:
        potential = new_potential(card.elements, card.cutoff, card.architecture).cast(dtype)
    elif card.kernel.backbone == "painn":
        potential = kernel_potential(card.elements, card.cutoff, card.architecture, card.kernel).cast(dtype)
    else:
        potential = module_potential(card.elements, from_bytes(content["backbone"], str(path)), card.kernel)
        state |= {name: value for name, value in potential.state_dict().items() if name.startswith(BACKBONE)}
    potential.load_state_dict(state)
    return potential.eval(), card


def load_sample(path: Path | str) -> Sample | None:
    """The sample frame of a trained model, if it has one."""
    sample = _content(path).get("sample")
    return sample and Sample(**{name: tensor.numpy() for name, tensor in sample.items()})


def _content(path: Path | str) -> dict[str, Any]:
    if is_exported(path):
        raise InputError(f"{path}, an exported TorchScript file", "a trained model.pt", "give the file it came from")
    try:
        return torch.load(named_or_path(path), map_location="cpu", weights_only=True)
    except (RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}, damaged ({error})".splitlines()[0], "a trained model.pt", "train again") from None


def is_exported(path: Path | str) -> bool:
    """Whether a model file holds TorchScript code."""
    with zipfile.ZipFile(named_or_path(path)) as archive:
        return any("/code/" in name for name in archive.namelist())
