"""Pair energies as cubic B-splines, continued below the shortest distance of the data, and as LAMMPS' tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.interpolate import BSpline

from tlmd.units import COULOMB_EV_A

MARGIN_A = 0.05  # below the shortest distances of the data, before the pair energies are continued
SHORTEST_A, SPACING_A = 0.02, 0.002  # of the table: molecules put down at random may overlap
ZBL = np.array([[0.18175, 0.50986, 0.28022, 0.02817], [3.1998, 0.94229, 0.4029, 0.20162]])

Pair = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # lengths (A) -> energy, slope


def basis(low: float, high: float, spacing: float) -> list[BSpline]:
    """Cubic B-splines on even knots that overlap [low, high] (A) and end with slope and curvature 0 at `high`."""
    n = max(4, round((high - low) / spacing))
    knots = low + (high - low) / n * np.arange(-3, n + 1)
    return [BSpline.basis_element(knots[k : k + 5], extrapolate=False) for k in range(n)]


def scatter(atoms: np.ndarray, forces: np.ndarray, n: int) -> np.ndarray:
    """(3 n,) sums of pair forces (E, 3) by atom; NaN, outside a spline, counts as zero."""
    forces = np.nan_to_num(forces)
    return np.stack([np.bincount(atoms, forces[:, axis], n) for axis in range(3)], axis=1).ravel()


def roughness(splines: Sequence[BSpline], smoothness: float, ridge: float) -> np.ndarray:
    """Rows (R, P) of the regularisation of their coefficients: second differences, and themselves."""
    n = len(splines)
    curvature = np.eye(n, n, -1) - 2 * np.eye(n) + np.eye(n, n, 1)
    return np.concatenate([smoothness * curvature, ridge * np.eye(n)])


def continued(
    splines: Sequence[BSpline], coefficients: np.ndarray, lengths: np.ndarray, nearest: float, first: int, second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Energy (eV) and slope (eV/A) of a pair of the elements `first` and `second` at `lengths` (A).

    Below `nearest`, the shortest distance in the data, the splines say nothing: they go on along their tangent, and the
    screened nuclear repulsion of Ziegler, Biersack and Littmark (1985) is added, from zero and slope zero at `nearest`.
    """
    inside = np.maximum(lengths, nearest)
    energies, slopes = np.zeros_like(lengths), np.zeros_like(lengths)
    for c, spline in zip(coefficients, splines, strict=True):
        energies += c * np.nan_to_num(spline(inside))
        slopes += c * np.nan_to_num(spline.derivative()(inside))
    beyond = np.minimum(lengths - nearest, 0.0)
    energies += slopes * beyond
    (core, pull), (start, slope) = nuclear(lengths, first, second), nuclear(np.array(nearest), first, second)
    energies += np.where(beyond < 0, core - start - slope * beyond, 0.0)
    slopes += np.where(beyond < 0, pull - slope, 0.0)
    return energies, slopes


def nuclear(lengths: np.ndarray, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """Ziegler-Biersack-Littmark repulsion of two nuclear charges: energy (eV) and slope (eV/A) at `lengths` (A)."""
    size = 0.46850 / (first**0.23 + second**0.23)
    parts = ZBL[0] * np.exp(-ZBL[1] * lengths[..., None] / size)
    screen, slope = parts.sum(-1), -(parts * ZBL[1]).sum(-1) / size
    coulomb = COULOMB_EV_A * first * second / lengths
    return coulomb * screen, coulomb * (slope - screen / lengths)


def table(pairs: Mapping[str, Pair], cutoff: float, energy_eV: float = 1.0) -> tuple[str, float]:
    """A file of LAMMPS' pair_style table with a section for each of `pairs` up to `cutoff` (A), in units of
    `energy_eV`; the last length (A)."""
    lengths = np.arange(SHORTEST_A, cutoff + 0.5 * SPACING_A, SPACING_A)
    blocks = []
    for name, pair in pairs.items():
        energies, slopes = pair(lengths)
        rows = enumerate(zip(lengths, energies / energy_eV, -slopes / energy_eV, strict=True), 1)
        text = "\n".join(f"{k} {length:.6f} {energy:.10g} {force:.10g}" for k, (length, energy, force) in rows)
        blocks.append(f"{name}\nN {len(lengths)} R {lengths[0]:.6f} {lengths[-1]:.6f}\n\n{text}\n")
    unit = "eV" if energy_eV == 1.0 else "kcal/mol"
    return f"# {unit}, A, by tl-calibrate\n\n" + "\n".join(blocks), float(lengths[-1])
