"""Mean and standard error of a correlated series: equilibration found, blocks long enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlmd.run.errors import InputError

MIN_SAMPLES = 16  # rows below which an error of a correlated series means nothing
MIN_BLOCKS = 8  # below this the error of the error is above 27 %


@dataclass(frozen=True)
class Estimate:
    """What an analysis returns."""

    value: float
    standard_error: float
    unit: str
    samples: float  # effective number of independent samples


def autocorrelation(series: np.ndarray) -> np.ndarray:
    """(n,) normalised autocorrelation of a series (n,), by FFT; zero for a constant series."""
    fluctuation = series - series.mean()
    n = len(series)
    power = np.abs(np.fft.rfft(fluctuation, 2 * n)) ** 2
    covariance = np.fft.irfft(power, 2 * n)[:n] / np.arange(n, 0, -1)
    return covariance / covariance[0] if covariance[0] > 0 else np.zeros(n)


def statistical_inefficiency(series: np.ndarray) -> float:
    """g = 1 + 2 sum_t (1 - t/n) C(t), summed up to the first C(t) <= 0 (Chodera et al., JCTC 3, 26, 2007); g >= 1."""
    correlation = autocorrelation(np.asarray(series, dtype=float))
    stop = np.flatnonzero(correlation[1:] <= 0)
    lags = np.arange(1, (stop[0] if len(stop) else len(correlation) - 1) + 1)
    return float(max(1.0, 1.0 + 2.0 * np.sum((1 - lags / len(correlation)) * correlation[lags])))


def equilibration(series: np.ndarray, candidates: int = 50) -> int:
    """Index at which a series (n,) has equilibrated: the cut with most effective samples left, at least 16 values.

    Chodera, J. Chem. Theory Comput. 12, 1799 (2016).
    """
    series = np.asarray(series, dtype=float)
    last = max(0, min(0.9 * len(series), len(series) - MIN_SAMPLES))
    cuts = np.unique(np.linspace(0, last, candidates).astype(int))
    samples = [(len(series) - cut) / statistical_inefficiency(series[cut:]) for cut in cuts]
    return int(cuts[np.argmax(samples)])


def block_errors(series: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block lengths, standard error of the mean at each, and the error of that error.

    Blocks are doubled until two are left (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989).
    """
    blocks = np.asarray(series, dtype=float)
    lengths, errors, uncertainties = [], [], []
    length = 1
    while len(blocks) >= 2:
        error = np.std(blocks, ddof=1) / np.sqrt(len(blocks))
        lengths.append(length)
        errors.append(error)
        uncertainties.append(error / np.sqrt(2 * (len(blocks) - 1)))
        blocks = 0.5 * (blocks[: len(blocks) // 2 * 2 : 2] + blocks[1 : len(blocks) // 2 * 2 : 2])
        length *= 2
    return np.array(lengths), np.array(errors), np.array(uncertainties)


def block_average(series: np.ndarray, unit: str) -> Estimate:
    """Mean and standard error of a stationary series (n,) from blocks at which the error has flattened.

    The block is the shortest of length B with B^3 > 2 n (error_B / error_1)^4 (Lee et al., Phys. Rev. E 83, 066706,
    2011, eq. 26 for doubled blocks), among lengths with at least MIN_BLOCKS blocks: fewer give an error by chance.
    Where none is flat (series too short) it is the largest of theirs and of the one from the autocorrelation time.
    Raises InputError for fewer than 16 values or values that are not finite.
    """
    series = np.asarray(series, dtype=float)
    if not np.all(np.isfinite(series)):
        raise InputError("a series with nan or inf", "finite values", "look where the run went unstable")
    if len(series) < MIN_SAMPLES:
        raise InputError(f"{len(series)} values", f"at least {MIN_SAMPLES} for a mean with an error", "run longer")
    lengths, errors, _ = block_errors(series)
    if errors[0] == 0:
        return Estimate(float(series.mean()), 0.0, unit, float(len(series)))
    enough = len(series) // lengths >= MIN_BLOCKS
    flat = np.flatnonzero(enough & (lengths**3 > 2 * len(series) * (errors / errors[0]) ** 4))
    correlated = errors[0] * np.sqrt(statistical_inefficiency(series))
    error = errors[flat[0]] if len(flat) else max(errors[enough].max(), correlated)
    return Estimate(float(series.mean()), float(error), unit, float(min(1.0, (errors[0] / error) ** 2) * len(series)))


def equilibrated_mean(series: np.ndarray, unit: str) -> tuple[Estimate, int]:
    """Block average of the equilibrated part of a series (n,), and the index at which that part starts."""
    cut = equilibration(series) if len(series) >= MIN_SAMPLES and np.all(np.isfinite(series)) else 0
    return block_average(series[cut:], unit), cut


def drift(series: np.ndarray) -> Estimate:
    """Change of a series (n,) from its start to its end by a fitted line; the error is that of correlated residuals.

    A stationary series has a drift within a few errors of 0.
    """
    series = np.asarray(series, dtype=float)
    x = np.linspace(-0.5, 0.5, len(series))
    slope, middle = np.polyfit(x, series, 1)
    residual = series - slope * x - middle
    samples = len(series) / statistical_inefficiency(residual)
    error = np.std(residual) * np.sqrt(12 / max(samples - 2, 1.0))
    return Estimate(float(slope), float(error), "", float(samples))


def mean_of_blocks(values: np.ndarray, unit: str) -> Estimate:
    """Mean and standard error of (B,) independent values."""
    values = np.asarray(values, dtype=float)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), unit, float(len(values)))
