"""What energies at several densities say of a model's pressure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlmd.frames.density import ONE_DENSITY, by_composition, spread, volumes_per_atom
from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3

SLOPES = "energy_error_by_volume"
JSON_KEYS = {
    "tl-evaluate": {
        SLOPES: "by composition, where volumes per atom differ by more than 1 %: `slope_bar`, "
        "d(E_model - E_label)/dV, its `standard_error_bar`, `n_frames`, `volumes_A3_per_atom` (smallest and largest)"
    }
}
MIN_FRAMES = 8
MIN_BLOCKS = 8  # of consecutive frames, for the standard error


def volume_slope(volumes: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Slope d<E_model - E_label>/dV and its standard error, both in bar, by a line of least squares.

    volumes (B,) A^3 and errors (B,) eV, E_model - E_label of the same frames: both of whole boxes of one size, or both
    per atom. A constant error (other reference energies) does not count. Where the frames are equilibrium frames of the
    labels, several densities at one temperature, to first order in the error (F_model - F_label = <E_model - E_label>)

        P_model(V) - P_label(V) = -d<E_model - E_label>/dV = -slope,

    and with the isothermal compressibility kappa the model's density at a given pressure is wrong by about
    kappa density slope: a positive slope makes it too dense.

    The standard error allows for residuals r that are correlated between consecutive frames of a trajectory: with
    w = (V - <V>) / sum (V - <V>)^2 the slope is sum w E, its variance the sum of (sum of w r)^2 over blocks of 1, 2,
    4, ... consecutive frames (the sandwich of Liang and Zeger, Biometrika 73, 13, 1986); of the lengths with at least
    MIN_BLOCKS blocks the one with the largest variance counts. Raises InputError for fewer than MIN_FRAMES frames,
    values that are not finite, or volumes that are all the same.
    """
    volumes, errors = np.asarray(volumes, dtype=float), np.asarray(errors, dtype=float)
    if volumes.ndim != 1 or volumes.shape != errors.shape or len(volumes) < MIN_FRAMES:
        got = f"{volumes.shape} volumes and {errors.shape} energy errors"
        raise InputError(got, f"as many of each, at least {MIN_FRAMES}", "take more frames")
    if not (np.isfinite(volumes).all() and np.isfinite(errors).all()):
        raise InputError("volumes or energy errors with nan or inf", "finite values", "leave those frames out")
    shifts = volumes - volumes.mean()
    if np.ptp(volumes) <= 1e-9 * abs(volumes.mean()):
        raise InputError("frames of one volume", "several volumes", "take frames of several densities")
    weights = shifts / (shifts @ shifts)
    slope = weights @ errors
    parts = weights * (errors - errors.mean() - slope * shifts)
    variance, length = 0.0, 1
    while (n := -(-len(parts) // length)) >= MIN_BLOCKS:
        blocks = np.add.reduceat(parts, np.arange(0, len(parts), length))
        variance = max(variance, n / (n - 1) * (len(parts) - 1) / (len(parts) - 2) * float(blocks @ blocks))
        length *= 2
    return float(slope) * BAR_PER_EV_A3, float(np.sqrt(variance)) * BAR_PER_EV_A3


class VolumeSlope(NamedTuple):
    """What `volume_slope` gives for n_frames frames, and the smallest and largest volume per atom among them."""

    slope_bar: float
    standard_error_bar: float
    n_frames: int
    volumes_A3_per_atom: tuple[float, float]

    def line(self, composition: str) -> str:
        """One line for the terminal."""
        low, high = self.volumes_A3_per_atom
        side = "high" if self.slope_bar < 0 else "low"
        return (
            f"{composition}: energy error by volume {self.slope_bar:+.0f} +- {self.standard_error_bar:.0f} bar "
            f"({self.n_frames} frames, {low:.2f} to {high:.2f} A^3/atom); of equilibrium frames: the model's pressure "
            f"is too {side} by that"
        )


def slopes_by_composition(frames: Sequence[Frame], errors: np.ndarray) -> dict[str, VolumeSlope]:
    """The slopes of the compositions with MIN_FRAMES filled periodic frames whose volumes per atom differ by more than
    ONE_DENSITY; errors (B,) eV/atom of all `frames`."""
    volumes, found = volumes_per_atom(frames), {}
    for composition, chosen in by_composition(frames).items():
        mine = volumes[chosen]
        if len(chosen) >= MIN_FRAMES and spread(mine) > ONE_DENSITY:
            bounds = (float(mine.min()), float(mine.max()))
            found[composition] = VolumeSlope(*volume_slope(mine, errors[chosen]), len(chosen), bounds)
    return found
