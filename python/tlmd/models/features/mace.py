"""MACE (Batatia et al., NeurIPS 2022, arXiv 2206.07697) as a feature module, by mace-torch (extra [mace])."""

from __future__ import annotations

import importlib
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn
from torch.nn.functional import one_hot

from tlmd.models.features.module import frozen
from tlmd.run.errors import InputError

NAME = re.compile(r"mace-(mp|off) (\S+)")  # foundation models: "mace-mp small" is mace_mp("small") of mace-torch


def mace_torch(module: str) -> Any:
    """A module of mace-torch."""
    try:
        with torch.serialization.safe_globals([slice]), warnings.catch_warnings():  # for e3nn's table of constants
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"no mace-torch ({error})", "it for MACE models", 'pip install "tlmd[mace]"') from None


def foundation_name(model: Path | str) -> tuple[str, str] | None:
    """Family and size of a foundation model, if that is its name."""
    name = NAME.fullmatch(str(model))
    return name and name.groups()


def model_file(model: Path | str) -> Path:
    """The file itself, or that of a foundation model, downloaded by mace-torch into its cache if it is not there."""
    name = foundation_name(model)
    if name is None:
        return Path(model)
    family, size = name
    foundations = mace_torch("mace.calculators.foundations_models")
    known = foundations.mace_mp_urls if family == "mp" else foundations.mace_off_urls
    if size not in known:
        raise InputError(f'backbone.model = "{model}"', f"mace-{family} and one of {', '.join(known)}", "correct it")
    try:
        if family == "mp":
            return Path(foundations.download_mace_mp_checkpoint(size))
        file = Path(foundations.get_cache_dir()) / os.path.basename(known[size]).split("?")[0]
        if not file.is_file():
            foundations.mace_off(size, device="cpu", return_raw_model=True)
        return file
    except (OSError, RuntimeError) as error:
        raise InputError(f"no download of {model} ({error})", "a connection", "give the path of a model file") from None


def mace_features(path: Path, layers: Sequence[int]) -> Any:
    """The feature module, scripted, of a model file that mace-torch has written, in the model's own precision.

    The file is a pickle: reading it runs the code that it names. InputError for files and models that do not fit.
    """
    jit = (mace_torch("mace.modules"), mace_torch("e3nn.util.jit"))[1]
    refusal = ("a MACE or ScaleShiftMACE model saved by mace-torch", "correct backbone.model or backbone.kind")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can fail in any way
        raise InputError(f"{path}, not a model file ({type(error).__name__}: {error})", *refusal) from None
    kind = type(model).__name__
    if kind not in ("MACE", "ScaleShiftMACE") or hasattr(model, "joint_embedding"):
        raise InputError(
            f"{path} with {kind}{' and embeddings' if hasattr(model, 'joint_embedding') else ''}", *refusal
        )
    depth = len(model.products)
    wrong = [layer for layer in layers if not -depth <= layer < depth]
    if wrong or not layers:
        raise InputError(f"layers {list(layers)}", f"some of 0 to {depth - 1}", "correct backbone.layers")
    features = MACEFeatures(model.eval().requires_grad_(False), sorted({layer % depth for layer in layers}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated upstream
        return frozen(jit.script(features))


class MACEFeatures(nn.Module):
    """Invariant scalars (0e) of the atoms after the interactions `layers` (ascending, from 0), side by side.

    Contract of models.features.module. `model`: MACE of mace-torch; its pair repulsion and readouts play no part.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int]):
        super().__init__()
        self.elements = [chemical_symbols[z] for z in model.atomic_numbers.tolist()]
        self.cutoff, self.n_layers = float(model.r_max), layers[-1] + 1
        self.node_embedding = model.node_embedding
        self.spherical_harmonics = model.spherical_harmonics
        self.radial_embedding = model.radial_embedding
        self.interactions = nn.ModuleList(model.interactions[: layers[-1] + 1])
        self.products = nn.ModuleList(model.products[: layers[-1] + 1])
        columns, start = [], 0
        for i, product in enumerate(self.products):
            irreps = product.linear.irreps_out
            scalars = [s for (_, ir), s in zip(irreps, irreps.slices(), strict=True) if ir.l == 0 and ir.p == 1]
            columns += [start + c for s in scalars for c in range(s.start, s.stop) if i in layers]
            start += irreps.dim
        self.width = len(columns)
        self.register_buffer("atomic_numbers", model.atomic_numbers.clone())
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        near = vectors.detach().square().sum(-1) < self.cutoff**2
        centre, column = torch.where(near)
        edges = torch.stack([neighbours[centre, column].to(torch.int64), centre])  # sender, receiver
        pairs = -vectors[centre, column]  # (E, 3), from sender to receiver
        attributes = one_hot(species, self.atomic_numbers.shape[0]).to(vectors.dtype)
        lengths = torch.linalg.vector_norm(pairs, dim=1, keepdim=True)
        h = self.node_embedding(attributes)
        angular = self.spherical_harmonics(pairs)
        radial, cutoff = self.radial_embedding(lengths, attributes, edges, self.atomic_numbers)
        found: list[Tensor] = []
        for i, (interaction, product) in enumerate(zip(self.interactions, self.products)):  # noqa: B905, scripted
            message, skip = interaction(
                node_attrs=attributes,
                node_feats=h,
                edge_attrs=angular,
                edge_feats=radial,
                edge_index=edges,
                cutoff=cutoff,
                first_layer=i == 0,
                lammps_class=None,
                lammps_natoms=(0, 0),
            )
            h = product(node_feats=message, sc=skip, node_attrs=attributes)
            found.append(h)
        return torch.cat(found, dim=1)[:, self.columns]
