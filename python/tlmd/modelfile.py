"""Model files and their card: `model.pt` (trained: parameters) and `model-lammps.pt` (exported: TorchScript).

Both are zip archives with the card as the extra file card.json. Every reader compares the archive's own checksums
(tlmd.archive), and the card's over all that defines the model's numbers; older files have the first alone. Reading a
card or a trained model runs no code from the file, but for a kernel on a module: that is TorchScript inside the file.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator
from torch import Tensor

import tlmd
from tlmd.archive import flaw
from tlmd.models.architecture import (
    Architecture,
    Elements,
    KernelArchitecture,
    kernel_potential,
    module_potential,
    new_potential,
)
from tlmd.models.features.module import from_bytes, to_bytes
from tlmd.models.kernel_head import KernelModule
from tlmd.models.painn import OLD_NORM_EPSILON
from tlmd.models.potential import Potential, dtype_of
from tlmd.models.repulsion import radii_by_name
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic
from tlmd.run.installed import SHIPPED, named_or_path

FORMAT_VERSION = 3  # 2: the architecture states the length scale of the norm; 3: two radii, shortest_A, a repulsion
BACKBONE = "net.backbone."  # parameters of a module, which are in its own bytes
# keys of the card that define the model's numbers, with its tensors
DEFINING = ("kind", "elements", "cutoff", "architecture", "kernel", "dtype", "units", "reference_energies")
AS_WRITTEN = ("the file as it was written", "copy it again or write it again")
UNITS = {"energy": "eV", "length": "A", "force": "eV/A", "stress": "eV/A^3", "mass": "g/mol"}


class Card(BaseModel):
    """What a model is and where it comes from (card.json)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    format_version: int = FORMAT_VERSION
    kind: Literal["tpainn", "mekrr"] = "tpainn"
    elements: Elements = Field(min_length=1)
    cutoff: float = Field(gt=0, le=100, description="A, of the layers; the first one may have its own, first_cutoff")
    architecture: Architecture | None = Field(Architecture(), description="none where the backbone is a module")
    kernel: KernelArchitecture | None = Field(None, description="kind mekrr")
    dtype: Literal["float32", "float64"] = "float32"
    units: dict[str, str] = UNITS
    reference_energies: dict[str, float] = {}
    level_of_theory: str = "unknown"
    training_data: str = "unknown"
    training_data_sha256: str = ""
    baseline: dict[str, Any] | None = Field(
        None, description="what was taken off the labels and is added to the model, see tlmd.baseline.kinds"
    )
    held_out_errors: dict[str, Any] = {}
    shortest_A: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="smallest distance of each pair of elements in training, earlier stages included"
    )
    repulsion_A: dict[str, float] = Field({}, description="where the repulsion of each pair ends; none: there is none")
    deviation: dict[str, Any] = Field(
        {}, description="of a committee's first member: members, and limits of the deviation of forces, eV/A"
    )
    versions: dict[str, str] = Field(default_factory=lambda: {"torch": torch.__version__, "tlmd": tlmd.__version__})
    date: str = Field(default_factory=lambda: datetime.date.today().isoformat())
    checksum: str = Field("", description="SHA-256, see checksum(); empty in older files")

    @model_validator(mode="after")
    def _is_whole(self) -> Card:
        if (self.kind == "mekrr") != (self.kernel is not None):
            raise ValueError("kernel settings for kind mekrr, and for no other")
        if self.architecture is None and (self.kernel is None or self.kernel.backbone == "painn"):
            raise ValueError("the architecture of the network")
        _ = self.reach
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: Callable[[Card], dict[str, Any]]) -> dict[str, Any]:
        """A card without a committee is as older versions write it, and read it."""
        return {key: value for key, value in serialize(self).items() if key != "deviation" or value}

    @property
    def reach(self) -> float:
        """How far the model's graphs reach, A."""
        return self.architecture.reach(self.cutoff) if self.architecture else self.cutoff


class Sample(NamedTuple):
    """One real frame that travels with a trained model, for the checks at export: as in graph.build_graph."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


def layer_cutoff(model: Any) -> float:
    """What the card of a trained or exported model calls its cutoff, A: that of its layers. `model.cutoff` is how far
    its graphs reach, which is more where the first layer has a radius of its own."""
    edges = getattr(model.net, "edge_basis", None)
    return float(model.cutoff if edges is None else edges.cutoff)


def save_model(path: Path | str, potential: Potential, card: Card, sample: Any = None) -> None:
    """Write a trained model: parameters, card, and a sample frame (anything with the attributes of Sample).

    What the potential itself states (elements, cutoff, dtype, reference energies) is set in the card here.
    """
    state, module = potential.state_dict(), torch.zeros(0, dtype=torch.uint8)
    if isinstance(potential.net, KernelModule):
        module = to_bytes(potential.net.backbone)
        state = {name: value for name, value in state.items() if not name.startswith(BACKBONE)}
    content = {"state_dict": state} | ({"backbone": module} if len(module) else {})
    if sample is not None:
        content["sample"] = {name: torch.as_tensor(np.array(getattr(sample, name))) for name in Sample._fields}

    buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        entry = zipfile.ZipInfo(f"{root}/extra/card.json")  # without the time, so that the same model is the same file
        archive.writestr(entry, describe(potential, card, state | {"backbone": module}).model_dump_json(indent=1))
    write_atomic(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def describe(potential: Potential, card: Card, tensors: Mapping[str, Tensor]) -> Card:
    """The card with what the potential itself states, and the checksum with the file's tensors."""
    reference = dict(zip(potential.elements, potential.reference.tolist(), strict=True))
    described = card.model_copy(
        update={
            "format_version": FORMAT_VERSION,
            "elements": potential.elements,
            "cutoff": layer_cutoff(potential),
            "dtype": str(potential.dtype).removeprefix("torch."),
            "reference_energies": reference,
            "repulsion_A": radii_by_name(potential.repulsion.radius, potential.elements),
        }
    )
    text = json.loads(described.model_dump_json())
    return described.model_copy(update={"checksum": checksum(text, tensors)})


def checksum(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what defines a model's numbers: the keys DEFINING of its card as they stand in the file, with the
    baseline if there is one, and name, type, shape and bytes of each of its tensors, in the order of the names."""
    digest, defining = hashlib.sha256(), {key: card.get(key) for key in DEFINING}
    if card.get("baseline"):
        defining["baseline"] = card["baseline"]
    digest.update(json.dumps(defining, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def read_card(path: Path | str) -> Card:
    """The card of a trained or exported model; InputError if there is no such file, or it is none of a model, is cut
    short or damaged, or is of a newer format.
    """
    return card_and_text(path)[0]


def card_and_text(path: Path | str) -> tuple[Card, dict[str, Any]]:
    """The card, and what stands in the file."""
    content = _card_text(path)
    version = content.get("format_version", 0)
    if not isinstance(version, int):
        raise InputError(f"{path} with a damaged card (key format_version)", "a valid card", "write the model again")
    if version > FORMAT_VERSION:
        raise InputError(f"{path} of format {version}", f"format {FORMAT_VERSION} or older", "install a newer tlmd")
    values = dict(content)
    if version < 2 and isinstance(values.get("architecture"), dict):
        values["architecture"] = values["architecture"] | {"norm_epsilon": OLD_NORM_EPSILON}
    try:
        return Card.model_validate(values), content
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "kind"
        wanted = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else "a valid card"
        raise InputError(f"{path} with a damaged card (key {where})", wanted, "write the model again") from None


def _card_text(path: Path | str) -> dict[str, Any]:
    """The card as it stands in a file whose archive is sound."""
    try:
        data = named_or_path(path).read_bytes()
    except FileNotFoundError:
        shipped = ", ".join(SHIPPED)
        raise InputError(
            f"no file {path}", f"a model file, or one of {shipped}", "check the path or the name"
        ) from None
    except OSError as error:
        raise InputError(f"{path}, not to be read ({error.strerror})", "a model file", "check the path") from None
    found = flaw(data)
    if found is None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            card = [name for name in archive.namelist() if name.endswith("/extra/card.json")]
            found = None if card else "no card"
            text = archive.read(card[0]) if card else b""
    if found is not None:
        raise InputError(
            f"{path}, not a model file, cut short or damaged ({found})",
            "a file written by tl-pretrain, tl-finetune or tl-export",
            "copy it again, write it again, or check the path",
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} with a damaged card (not a JSON object)", "a valid card", "write the model again")
    return content


def load_model(path: Path | str) -> tuple[Potential, Card]:
    """A trained model (model.pt) in its own precision on the CPU, and its card. Exported files: tlmd.export.

    InputError for a file that is damaged or was changed since it was written.
    """
    (card, text), content = card_and_text(path), _content(path)
    state, module = content["state_dict"], content.get("backbone", torch.zeros(0, dtype=torch.uint8))
    if "net.head.map.phases" in state:
        raise InputError(
            f"{path}, a kernel of an older tlmd, cosines with phases", "one of cosines and sines", "fit again"
        )
    compare_checksum(path, text, state | {"backbone": module})
    try:
        potential = untrained(card, module, str(path))
        if isinstance(potential.net, KernelModule):
            state |= {name: value for name, value in potential.state_dict().items() if name.startswith(BACKBONE)}
        types = {name: value.dtype for name, value in potential.state_dict().items()}
        potential.load_state_dict(state)
        if {name: types[name] for name in state} != {name: value.dtype for name, value in state.items()}:
            raise ValueError("precision")
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        why = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}, whose card and parameters differ ({why})", *AS_WRITTEN) from None
    compare_card(path, card, potential)
    return potential.eval(), card


def untrained(card: Card, module: Tensor, name: str) -> Potential:
    """The potential that a card describes, its parameters still to be filled; module: the bytes of a feature module,
    from the file `name`."""
    dtype = getattr(torch, card.dtype)
    if card.kernel is None:
        return new_potential(card.elements, card.cutoff, card.architecture).cast(dtype)
    if card.kernel.backbone == "painn":
        return kernel_potential(card.elements, card.cutoff, card.architecture, card.kernel).cast(dtype)
    return module_potential(card.elements, from_bytes(module, name), card.kernel)


def compare_checksum(path: Path | str, card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """InputError if the checksum that the card states is not that of the file; nothing for older files, without one."""
    if card.get("checksum") and card["checksum"] != checksum(card, tensors):
        raise InputError(f"{path}, changed since it was written (checksum of card and parameters)", *AS_WRITTEN)


def compare_card(path: Path | str, card: Card, model: Any) -> None:
    """InputError if a trained or exported model states another cutoff, precision, order of elements or reference
    energies than its card."""
    found = {
        "elements": (card.elements, list(model.elements)),
        "cutoff": (card.cutoff, layer_cutoff(model)),
        "reach": (card.reach, float(model.cutoff)),
        "dtype": (card.dtype, str(dtype_of(model.net)).removeprefix("torch.")),
    }
    if card.architecture is not None and (card.kernel is None or card.kernel.backbone == "painn"):
        for key in ("width", "n_layers"):
            found[key] = (getattr(card.architecture, key), getattr(model.net, key))
    if card.reference_energies:
        energies = dict(zip(model.elements, model.reference.tolist(), strict=True))
        found["reference_energies"] = (card.reference_energies, energies)
    if hasattr(model, "repulsion"):
        found["repulsion_A"] = (card.repulsion_A, radii_by_name(model.repulsion.radius, model.elements))
    for key, (stated, there) in found.items():
        if stated != there:
            raise InputError(f"{path}, whose card and parameters differ ({key} {stated} and {there})", *AS_WRITTEN)


def load_sample(path: Path | str) -> Sample | None:
    """The sample frame of a trained model, if it has one."""
    sample = _content(path).get("sample")
    return sample and Sample(**{name: tensor.numpy() for name, tensor in sample.items()})


def _content(path: Path | str) -> dict[str, Any]:
    if is_exported(path):
        raise InputError(f"{path}, an exported TorchScript file", "a trained model.pt", "give the file it came from")
    try:
        content = torch.load(named_or_path(path), map_location="cpu", weights_only=True)
        if not all(isinstance(value, Tensor) for value in content["state_dict"].values()):
            raise KeyError("state_dict")
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}, damaged ({error})".splitlines()[0], "a trained model.pt", "train again") from None
    return content


def member_files(model: Path, members: int) -> list[Path]:
    """The files of a committee of so many members whose first one is `model`: members/k/model.pt beside it."""
    return [model, *(model.parent / "members" / str(k) / "model.pt" for k in range(2, members + 1))]


def is_exported(path: Path | str) -> bool:
    """Whether a model file holds TorchScript code."""
    with zipfile.ZipFile(named_or_path(path)) as archive:
        return any("/code/" in name for name in archive.namelist())
