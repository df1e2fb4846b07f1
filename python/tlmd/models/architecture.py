"""Settings of networks, as cards and TOMLs state them, and what builds potentials from them."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tlmd.models.kernel_head import KernelModule, KernelPaiNN
from tlmd.models.kernels import FourierMap, Kernel, LandmarkMap, LinearMap
from tlmd.models.network import networks
from tlmd.models.painn import NORM_EPSILON
from tlmd.models.potential import Potential, dtype_of
from tlmd.run.errors import nearest


def _known_once(elements: list[str]) -> list[str]:
    unknown = [e for e in elements if atomic_numbers.get(e, 0) < 1]
    twice = sorted({e for e in elements if elements.count(e) > 1})
    if unknown or twice:
        raise ValueError(f"symbols of elements, each of them once, not {', '.join(unknown or twice)}")
    return elements


Elements = Annotated[list[str], AfterValidator(_known_once)]  # in the order of the species


class Architecture(BaseModel):
    """What a network is built from, beside the elements and the cutoff; each takes what means something to it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    network: str = Field("painn", description="painn, or the name of a network added in models/")
    width: int = Field(128, gt=0, le=4096, multiple_of=2, description="channels F")
    n_layers: int = Field(3, gt=0, le=16, description="message layers L")
    n_radial: int = Field(20, gt=1, le=1000, description="radial functions")
    radial: Literal["bessel", "gaussian"] = Field("bessel", description="kind of the radial functions")
    envelope: Literal["polynomial", "cosine"] = Field("polynomial", description="how they end at the cutoff")
    norm_epsilon: float = Field(NORM_EPSILON, gt=0, description="|V| is sqrt(|V|^2 + norm_epsilon^2)")
    first_cutoff: float | None = Field(
        None, gt=0, le=100, description="A, distance to which atoms see each other in the first layer; absent: cutoff"
    )

    @model_validator(mode="after")
    def _takes_two_radii(self) -> Architecture:
        if self.first_cutoff and "first_cutoff" not in inspect.signature(networks()[self.network]).parameters:
            raise ValueError(f"network {self.network} without first_cutoff: it has one cutoff")
        return self

    def reach(self, cutoff: float) -> float:
        """How far graphs reach, A: the larger one of both radii, which has to be the first layer's; else ValueError."""
        if (self.first_cutoff or cutoff) < cutoff:
            raise ValueError(f"first_cutoff of at least the cutoff, {cutoff:g} A")
        return self.first_cutoff or cutoff

    @field_validator("network")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in networks():
            raise ValueError(f"one of {', '.join(networks())}{nearest(name, networks())}")
        return name


class KernelArchitecture(BaseModel):
    """What a kernel head is built from (kind mekrr)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    kind: Literal["linear", "gaussian", "polynomial"]
    map: Literal["linear", "fourier", "landmarks", "atoms"]  # atoms: every atom of the training frames, exact
    backbone: Literal["painn", "module"] = Field("painn", description="module: TorchScript, in the model file")
    layers: list[int] = Field(description="of PaiNN whose features are taken, from 0")
    aggregation: Literal["mean", "sum"]
    alpha: float = Field(ge=0, le=1)
    length: float = Field(gt=0, description="of the gaussian kernel, in units of scaled features")
    degree: int = Field(2, gt=0, description="of the polynomial kernel")
    n_landmarks: int = Field(0, ge=0, description="atoms that features are compared with")
    n_features: int = Field(gt=0, description="D")
    baseline: bool = Field(False, description="whether the energies are added to the network's own")
    spread: tuple[int, int] = Field((0, 0), description="blocks and rank of the root of the weights' covariance")

    def feature_map(self, n_in: int) -> FourierMap | LandmarkMap | LinearMap:
        """The map phi, its buffers still zero."""
        if self.map == "linear":
            return LinearMap(n_in)
        if self.map == "fourier":
            return FourierMap(n_in, self.n_features)
        kernel = Kernel(self.kind, self.length, self.degree)
        return LandmarkMap(n_in, self.n_landmarks, 0 if self.map == "atoms" else self.n_features, kernel)


def settings_of(cutoff: float, architecture: Architecture) -> dict[str, Any]:
    """What a network is made with, beside the number of elements."""
    return {"cutoff": cutoff, **architecture.model_dump(exclude={"network"}, exclude_none=True)}


def new_potential(elements: list[str], cutoff: float, architecture: Architecture) -> Potential:
    """An untrained potential in float32 (parameters from torch's global generator)."""
    net = networks()[architecture.network](len(elements), **settings_of(cutoff, architecture))
    return Potential(net, elements, architecture.reach(cutoff))


def kernel_potential(
    elements: list[str], cutoff: float, architecture: Architecture, kernel: KernelArchitecture
) -> Potential:
    """A potential of kind mekrr on PaiNN in float32, its parameters and buffers still to be filled."""
    features = kernel.feature_map(len(kernel.layers) * architecture.width)
    net = KernelPaiNN(
        kernel.layers, kernel.aggregation, kernel.n_features, features, kernel.spread, kernel.baseline,
        n_elements=len(elements), **settings_of(cutoff, architecture),
    )  # fmt: skip
    return Potential(net, elements, architecture.reach(cutoff))


def module_potential(elements: list[str], module: Any, kernel: KernelArchitecture) -> Potential:
    """A potential of kind mekrr on a feature module, in the module's precision, its head still to be filled."""
    features = kernel.feature_map(module.width)
    net = KernelModule(module, elements, kernel.aggregation, features, kernel.n_features, kernel.spread)
    net.head.to(dtype_of(module))
    return Potential(net, elements, module.cutoff)
