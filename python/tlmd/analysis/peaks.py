"""Maxima and minima of a radial distribution function, computed or measured: one way for both."""

from __future__ import annotations

import numpy as np

from tlmd.run.errors import InputError

PEAK_HALF_WIDTH_A = 0.15  # of the cubic fitted to the top of a peak
PROMINENCE = 0.2  # of a peak, as part of the largest g, so that noise is none


def running_mean(g: np.ndarray) -> np.ndarray:
    """(M,) mean over five bins, fewer at the ends."""
    return np.convolve(g, np.ones(5), mode="same") / np.convolve(np.ones(len(g)), np.ones(5), mode="same")


def first_maximum(r_A: np.ndarray, g: np.ndarray, beyond_A: float = 0.0) -> float:
    """Distance in A of the first maximum of g (M,) beyond `beyond_A` that stands out by a fifth of the largest g there.

    Raises InputError when there is none (an ideal gas).
    """
    from scipy.signal import find_peaks

    start = int(np.searchsorted(r_A, beyond_A))
    smooth = running_mean(g)[start:]
    peaks, _ = find_peaks(smooth, prominence=max(PROMINENCE * np.max(smooth, initial=0.0), 1e-12))
    if not len(peaks):
        raise InputError(f"a g(r) without a peak beyond {beyond_A:g} A", "one", "check the pair and the box")
    return float(r_A[start + peaks[0]])


def top_of_peak(r_A: np.ndarray, g: np.ndarray, near_A: float) -> tuple[float, float]:
    """Position (A) and height of the peak of g (M,) near `near_A`: top of a cubic fitted within 0.15 A of it."""
    near = np.abs(r_A - near_A) <= PEAK_HALF_WIDTH_A
    cubic = np.polynomial.Polynomial.fit(r_A[near], g[near], min(3, int(near.sum()) - 1))
    fine = np.linspace(r_A[near][0], r_A[near][-1], 2001)
    best = int(np.argmax(cubic(fine)))
    return float(fine[best]), float(cubic(fine[best]))


def minimum_after(r_A: np.ndarray, g: np.ndarray, peak_A: float) -> float:
    """Distance in A of the smallest g (running mean) between the first peak and 1.6 times its distance.

    Raises InputError when g ends at the peak.
    """
    between = np.flatnonzero((r_A > peak_A) & (r_A < 1.6 * peak_A))
    if not len(between):
        raise InputError(f"a g(r) that ends at its peak, {peak_A:.2f} A", "a minimum after it", "run a larger box")
    return float(r_A[between[np.argmin(running_mean(g)[between])]])
