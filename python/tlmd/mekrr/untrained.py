"""A kernel model before its weights are solved for: scaling, feature map, reference energies; or an earlier fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tlmd.baseline.kinds import same_baseline
from tlmd.engine import predictor
from tlmd.evaluate.dataset import FrameSet
from tlmd.frames.references import energy_labels, isolated_atoms, least_squares
from tlmd.graph import Graph
from tlmd.mekrr.accumulate import Accumulation, sample_features
from tlmd.mekrr.backbones import Backbone
from tlmd.mekrr.config import MekrrConfig
from tlmd.mekrr.grid import NO_VALID
from tlmd.modelfile import load_model, read_card
from tlmd.models.architecture import KernelArchitecture
from tlmd.models.kernels import FourierMap, Kernel, median_distance, nystroem, scaling
from tlmd.models.potential import Potential, Prediction
from tlmd.run.errors import InputError
from tlmd.run.files import sha256
from tlmd.run.folder import read_run

SAMPLE_FRAMES = 200  # at most, for scaling, median distance and landmarks


class Untrained(NamedTuple):
    """A potential of kind mekrr without weights, and its settings. sums, shortest: those of an earlier fit that goes
    on; baseline: the energies of the network itself, which are taken off the labels."""

    model: Potential
    kernel: KernelArchitecture
    sums: Accumulation | None = None
    baseline: Callable[[Graph], Prediction] | None = None
    shortest: Mapping[str, float] = MappingProxyType({})


def check(config: MekrrConfig, backbone: Backbone, has_valid: bool) -> None:
    """InputError for settings that do not fit the backbone or each other, before anything is computed."""
    if config.backbone.baseline:
        if not backbone.has_last_layer or config.kernel.solver == "exact":
            raise InputError(
                "backbone.baseline", "the last layer, and a solver that is not exact", "set baseline = false"
            )
        scale = backbone.potential.scale
        if not bool((scale == scale[0]).all()):
            raise InputError("a backbone with a scale for each element", "one scale", "set backbone.baseline = false")
    if not has_valid and len(config.fit.alpha) * len(config.fit.ridge) > 1:
        raise InputError(*NO_VALID)


def described_baseline(config: MekrrConfig) -> dict[str, Any] | None:
    """The baseline as a card has it: that of the backbone too, where its own energies are part of the model."""
    wanted = config.data.baseline_described()
    if not config.backbone.baseline:
        return wanted
    return same_baseline(wanted, read_card(config.backbone.model).baseline, str(config.backbone.model))


def untrained(config: MekrrConfig, backbone: Backbone, train: FrameSet) -> Untrained:
    """That of an earlier fit where `update` names one, else a new one."""
    baseline = own_energies(backbone, train) if config.backbone.baseline else None
    if config.update is not None:
        return earlier(config, backbone)._replace(baseline=baseline)
    generator = torch.Generator().manual_seed(config.seed)
    sample = train.evenly(SAMPLE_FRAMES)
    h, species, _ = sample_features(backbone, sample, range(len(sample)))
    shift, factor = scaling(h.double(), species, len(backbone.elements))
    scaled = (h.double() - shift[species]) * factor[species]
    kernel, feature_map = new_map(config, backbone, train, scaled, generator)
    model = backbone.kernel_model(kernel)
    head = model.net.head
    head.map.load_state_dict(feature_map.state_dict())
    head.shift.copy_(shift)
    head.factor.copy_(factor)
    for z in torch.unique(species) if kernel.map != "atoms" else ():
        head.centre[z] = head.map(head.scaled(h, species)[species == z]).mean(0)
    if baseline is not None:
        model.scale.copy_(backbone.potential.scale)
    model.reference.copy_(torch.as_tensor(reference_energies(config, train, backbone.elements, baseline)))
    return Untrained(model.eval().requires_grad_(False), kernel, baseline=baseline)


def new_map(
    config: MekrrConfig, backbone: Backbone, train: FrameSet, scaled: Tensor, generator: torch.Generator
) -> tuple[KernelArchitecture, nn.Module]:
    """The settings of the kernel and its feature map, drawn by the seed; scaled (n, F): features of some atoms."""
    settings, median = config.kernel, median_distance(scaled, generator)
    shared = {
        "kind": settings.kind,
        "backbone": "painn" if backbone.architecture else "module",
        "layers": backbone.layers,
        "baseline": config.backbone.baseline,
        "aggregation": settings.aggregation,
        "alpha": 0.0,
        "length": settings.lengths[0] * median,
        "degree": settings.degree,
    }
    if settings.kind == "linear" and settings.solver != "exact":
        kernel = KernelArchitecture(map="linear", n_features=backbone.width, **shared)
        return kernel, kernel.feature_map(backbone.width)
    if settings.solver == "fourier":
        kernel = KernelArchitecture(map="fourier", n_features=settings.n_features, **shared)
        filled = FourierMap(backbone.width, settings.n_features)
        return kernel, filled.draw([length * median for length in settings.lengths], generator)
    if settings.solver == "exact":
        n = int(train.sizes[[c.energy > 0 for c in train.counts]].sum())
        kernel = KernelArchitecture(map="atoms", n_landmarks=n, n_features=n, **shared)
        return kernel, kernel.feature_map(backbone.width)
    marks = scaled[torch.randperm(len(scaled), generator=generator)[: settings.n_features]]
    filled = nystroem(Kernel(settings.kind, shared["length"], settings.degree), marks)
    n_landmarks, n_features = filled.whitening.shape
    return KernelArchitecture(map="landmarks", n_landmarks=n_landmarks, n_features=n_features, **shared), filled


def own_energies(backbone: Backbone, train: FrameSet) -> Callable[[Graph], Prediction]:
    """What the network of the backbone predicts, without reference energies and repulsion."""
    bare = copy.deepcopy(backbone.potential)
    bare.reference.zero_()
    bare.repulsion.radius.zero_()
    return predictor(bare, sample=train.graph(0))


def reference_energies(
    config: MekrrConfig, train: FrameSet, elements: list[str], base: Callable[[Graph], Prediction] | None
) -> np.ndarray:
    """Reference energies (S,) eV, isolated atoms or least squares, of what `base` leaves over."""
    if config.references.method == "isolated_atoms":
        return isolated_atoms(config.references.energies, config.references.file, elements)
    chosen = [i for i in range(len(train)) if train.counts[i].energy]
    if not chosen:
        return np.zeros(len(elements))
    counts, labels = energy_labels([train.frames[i] for i in chosen], elements)
    if base is not None:
        labels = labels - [float(base(train.graph(i)).energy) for i in chosen]
    return least_squares(counts, labels)


def earlier(config: MekrrConfig, backbone: Backbone) -> Untrained:
    """Model and sums of the fit in the folder config.update; InputError if it had another backbone or kernel."""
    folder = config.update
    for name in ("model.pt", "sums-train.pt", "run.json"):
        if not (folder / name).is_file():
            raise InputError(f"no {folder / name}", "the folder of a finished tl-mekrr", "correct `update`")
    record = read_run(folder)["record"]
    mine = config.model_dump(mode="json")
    same = {"kernel": (record["config"]["kernel"], mine["kernel"])}
    for key in ("layers", "baseline"):
        same[f"backbone.{key}"] = (record["config"]["backbone"][key], mine["backbone"][key])
    same["backbone.model"] = (record["files"]["backbone.model"]["sha256"], sha256(config.backbone.file()))
    for key in ("labels", "baseline"):
        same[f"data.{key}"] = (record["config"]["data"].get(key), mine["data"][key])
    for key, (theirs, ours) in same.items():
        if theirs != ours:
            raise InputError(f"{key} {ours}", f"{theirs}, as in {folder}", "make both the same, or fit anew")
    model, card = load_model(folder / "model.pt")
    if model.elements != backbone.elements:
        raise InputError(f"elements {backbone.elements}", f"{model.elements}, as in {folder}", "fit anew")
    sums = Accumulation.read(folder / "sums-train.pt")
    return Untrained(model.requires_grad_(False), card.kernel, sums, shortest=card.shortest_A)
