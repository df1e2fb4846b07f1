"""The contract of a network, and the table of the networks that a model card can name.

To add a network: a file in this folder with a subclass of Network under the decorator `network(NAME)`.
`model.network = "NAME"` in the TOML of tl-pretrain trains it (docs/extending.md). It runs in PyTorch and, exported,
in LAMMPS, where a rank evaluates it in one piece with ghosts out to n_layers times the cutoff. The native engine
evaluates networks with an EngineForm.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn


class RadialForm(NamedTuple):
    """Radial basis and envelope of a painn.Edges: cutoff in A, centres, width of Gaussians, and their kinds."""

    cutoff: float
    centres: list[float]
    width: float
    bessel: bool
    polynomial: bool


class EngineForm(NamedTuple):
    """What the native engine needs to know of a PaiNN beside its parameters, which it takes by their names.

    norm_epsilon: length scale of the norm; basis, first_basis: of the layers, and of the first one, which may reach
    further; head, layers: a KernelHead and the layers whose features it sees, or None.
    """

    norm_epsilon: float
    basis: RadialForm
    first_basis: RadialForm
    head: Any = None
    layers: tuple[int, ...] = ()


CLASSES: dict[str, type[Network]] = {}  # by the name of the class, which an exported file keeps
NETWORKS: dict[str, type[Network]] = {}  # by the name that a card states, see networks()


class Network(nn.Module):
    """species (N,) index into the elements, vectors (N, K, 3) A, neighbours (N, K) -> dimensionless energies e (N,).

    A subclass is made by `cls(n_elements, cutoff=..., **settings)` with the settings of architecture.Architecture, sets
    `width` (features F) and `n_layers`, and defines `features` and `readout`; all of it scriptable. The features of an
    atom depend on atoms up to n_layers pairs away and on nothing else; pairs as long as the cutoff or longer are filler
    and must change nothing. Its e is smooth in the vectors, also at the cutoff.
    """

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        CLASSES[cls.__name__] = cls

    def features(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> Tensor:
        """Scalar features after the last layer, (N, F)."""
        raise NotImplementedError

    @torch.jit.export
    def readout(self, h: Tensor) -> Tensor:
        """Atom energies (N,) from the features after the last layer (N, F)."""
        raise NotImplementedError

    @torch.jit.export
    def after_layers(self, species: Tensor, vectors: Tensor, neighbours: Tensor) -> list[Tensor]:
        """The features that a run in one piece asks for, (N, F) each; the last ones are read out."""
        return [self.features(species, vectors, neighbours)]

    def forward(self, species: Tensor, vectors: Tensor, neighbours: Tensor, frame: Optional[Tensor] = None) -> Tensor:
        return self.readout(self.features(species, vectors, neighbours))

    def add_constant(self, e: float) -> None:
        """Add e to the energy of every atom, if the network has a parameter for that; else nothing is done and the
        constant is learnt in training."""

    def engine_form(self) -> EngineForm | None:
        """What the native engine needs; None: it cannot evaluate this network. Called on exported networks as well,
        which have the attributes of `self` and not its methods."""
        return None


def network(name: str) -> Callable[[type[Network]], type[Network]]:
    """Decorator of a class: the network that cards and TOMLs call `name`."""

    def register(cls: type[Network]) -> type[Network]:
        NETWORKS[name] = cls
        return cls

    return register


def networks() -> dict[str, type[Network]]:
    """NETWORKS, after all modules of tlmd.models are imported, so that the classes in them register."""
    package = importlib.import_module("tlmd.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"tlmd.models.{module.name}")
    return NETWORKS


def class_of(net: Any) -> type[Network]:
    """The class of a network or of its exported form; Network where this process does not know it."""
    if isinstance(net, Network):
        return type(net)
    return CLASSES.get(getattr(net, "original_name", ""), Network)


def engine_form(net: Any) -> EngineForm | None:
    """Network.engine_form of a network, or of its exported form."""
    return class_of(net).engine_form(net)
