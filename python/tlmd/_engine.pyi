"""The native engine, compiled from lammps_plugin/engine: PaiNN on CPUs. Its README.md has the algebra.

Shapes: N atoms, K slots for neighbours, F channels, n_species elements. Energies in eV, lengths in A. Arrays are
C-contiguous numpy arrays of the stated type. Bad arguments raise RuntimeError with what was got, what is wanted and
what to do. tlmd.engine calls it with graphs and potentials.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)

class Head:
    """The kernel head of a model of kind mekrr: a function of scaled scalar features of `layers`, side by side."""

    @overload
    def __init__(self) -> None:
        """No head."""

    @overload
    def __init__(
        self,
        layers: Sequence[int],
        function: str,
        parameter: float,
        shift: NDArray[np.float64],
        factor: NDArray[np.float64],
        points: NDArray[np.float64],
        bias: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> None:
        """function: linear, fourier, gaussian or polynomial. parameter: 1 / (2 length^2) of gaussian, the degree of
        polynomial. Arrays are flat and row-major, with n_in = len(layers) F: shift, factor (n_species, n_in); points
        (n_out, n_in) and bias (n_out,), empty for linear; weights (n_species, n_out), fourier (n_species, 2 n_out) with
        the cosines first.
        """

class Basis:
    """Radial functions times their envelope."""

    def __init__(self, cutoff: float, centres: Sequence[float], width: float, bessel: bool, polynomial: bool) -> None:
        """cutoff in A. centres: k pi / r_c in 1/A (bessel) or of Gaussians in A, of this width. polynomial: envelope;
        else cosine.
        """

class Weights:
    """The parameters of a potential, in float64."""

    def __init__(
        self,
        n_species: int,
        width: int,
        n_layers: int,
        norm_epsilon: float,
        basis: Basis,
        first_basis: Basis,
        head: Head,
        get: Callable[[str], NDArray[np.float64]],
    ) -> None:
        """width: F. norm_epsilon: e of |V| = sqrt(V^2 + e^2). basis, first_basis: of the layers, and of the first one,
        whose cutoff is at least the others'. get: a parameter, flat and row-major, by its name in Potential's
        state_dict; RuntimeError if it has another number of values than expected.
        """

class Pairs:
    """The pairs of a system within the cutoff: two atoms of it stand once, for both directions."""

    def __init__(
        self,
        n_species: int,
        cutoff: float,
        species: NDArray[np.int32],
        neighbours: NDArray[np.int32],
        vectors: NDArray[np.float64],
        keep_slots: bool,
    ) -> None:
        """species (N,), neighbours (N, K), vectors (N, K, 3) r_j - r_i in A. keep_slots: for slots()."""

    def slots(self) -> NDArray[np.int32]:
        """(pairs,) the slot, i K + k, that each pair came from; empty without keep_slots."""

    @staticmethod
    def joined(systems: Sequence[Pairs]) -> Pairs:
        """Several systems as one, in order."""

class _Evaluation:
    """Energies, forces and virials."""

    def __init__(
        self, weights: Weights, isa: str, threads: int, n_bins: int, moment_species: int, keep_features: bool
    ) -> None:
        """isa: one of available_isas(), or auto. n_bins: of the filter table; 0 evaluates filters directly (slow).
        moment_species: the first layer goes by moments up to so many elements."""

    def evaluate(self, pairs: Pairs) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of the atoms: energies (N,) eV, forces (N, 3) eV/A, virials (N, 3, 3) eV, each its share of -r (x) dE/dr."""

    def features(self, layer: int) -> NDArray[np.float64]:
        """Scalar features (N, F) after a layer (0 the first) of the last evaluate; needs keep_features."""

    def set_head_weights(self, weights: NDArray[np.float64]) -> None:
        """Head's weights, flat, where they depend on the composition."""

    @property
    def memory(self) -> int:
        """Bytes that are held."""

    @property
    def isa(self) -> str:
        """The instruction set in use."""

class Float(_Evaluation):
    """In float32."""

class Double(_Evaluation):
    """In float64."""

class _Training(Generic[Real]):
    """Evaluation with gradients. A kernel head plays no part."""

    def __init__(self, weights: Weights, isa: str, threads: int, n_bins: int, moment_species: int) -> None:
        """As of Float."""

    def set_weights(self, weights: Weights) -> None:
        """Of the same architecture."""

    def evaluate(self, pairs: Pairs) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """As of Float."""

    def gradients(
        self,
        energies: NDArray[np.float64],
        forces: NDArray[np.float64],
        virials: NDArray[np.float64],
        wanted: Sequence[str],
    ) -> dict[str, NDArray[Real]]:
        """Gradients, flat, of a loss with these slopes with respect to what the last evaluate returned: energies (N,),
        forces (N, 3), virials (N, 3, 3). wanted: names in Potential's state_dict; "vectors" is (pairs, 3) of the pairs'
        vectors. What is not wanted is not computed.
        """

    def features(self, layers: Sequence[int]) -> NDArray[Real]:
        """Scalar features (N, len(layers) F) of the last evaluate after each of `layers`, side by side."""

    def tangents(
        self, displacements: NDArray[np.float64], strains: NDArray[np.float64], layers: Sequence[int]
    ) -> NDArray[Real]:
        """Changes (T, N, len(layers) F) of these features along displacements (T, N, 3) A of the atoms and strains
        (T, 3, 3) of the whole: r_ij changes by d_j - d_i + strain r_ij.
        """

    @property
    def memory(self) -> int:
        """Bytes that are held."""

class FloatTraining(_Training[np.float32]):
    """In float32."""

class DoubleTraining(_Training[np.float64]):
    """In float64."""

def available_isas() -> list[str]:
    """Instruction sets that this processor has, the best first: avx512, avx2, portable."""

def choose_bins(weights: Weights, sample: Pairs, float64: bool) -> tuple[int, float]:
    """A number of bins, as small as need be, whose filter table moves no force component of `sample` by more than 1e-6
    (float64: 1e-9) of the rms force; and that deviation.
    """
