"""Time integrals of autocorrelations (Green-Kubo) with their errors, by cepstral analysis of the power spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct, irfft, next_fast_len, rfft
from scipy.special import digamma, polygamma

from tlmd.analysis.statistics import Estimate
from tlmd.run.errors import InputError

MIN_STEPS = 200  # of a flux: fewer have no spectrum
MIN_FREQUENCIES = 32  # up to the cutoff: fewer do not resolve the spectrum
FALLEN = 0.4  # of the power at zero frequency: the cutoff is where the fitted spectrum has fallen to it
LARGEST_ERROR = 0.3  # relative, above which there is no result
LEAST_MEMORIES = 20  # of the run, in units of the time over which its correlation is resolved
GOOD_ERROR = 0.1  # relative, for which a run that is too short is told how long to be
FOLDED = 0.1  # power at the highest frequency over that at zero, above which values were written too seldom


@dataclass(frozen=True)
class GreenKubo:
    """Integral of <J(0) J(t)> over t > 0, averaged over L equivalent fluxes J."""

    value: float  # unit of J^2 times fs
    length_fs: float  # of the run
    interval_fs: float
    relative_error: float
    coefficients: float  # mean number of cepstral coefficients
    cutoff_per_fs: float  # frequency up to which the spectrum is used
    memory_fs: float  # time over which the correlation is resolved: coefficients / (2 cutoff)
    folded: float  # power at the highest frequency of the run over that at zero
    times_fs: np.ndarray  # (M,) of the running integral
    running: np.ndarray  # (M,)
    running_error: np.ndarray  # (M,) standard error over the L fluxes
    spectrum: tuple[np.ndarray, np.ndarray, np.ndarray]  # frequencies (K,) 1/fs, periodogram, and what is fitted to it

    def estimate(self, scale: float, unit: str) -> Estimate:
        """`scale` times the value, with its error."""
        value, memory_fs = self.value * scale, max(self.memory_fs, self.interval_fs)
        return Estimate(value, value * self.relative_error, unit, self.length_fs / memory_fs)

    def curves(self, scale: float, unit: str) -> dict[str, np.ndarray]:
        """`scale` times the running integral and its error, over time; unit: as names of columns have it."""
        return {
            "time_ps": self.times_fs / 1000,
            f"running_integral_{unit}": self.running * scale,
            f"standard_error_{unit}": self.running_error * scale,
        }

    def notes(self, components: str, flux: str) -> list[str]:
        """How it was found, for a record's source: the number and kind of components, and what the flux is called."""
        length = self.length_fs / 1000
        return [
            f"{length:.4g} ps, Green-Kubo by cepstral analysis of {components} up to "
            f"{1000 * self.cutoff_per_fs:.3g}/ps",
            f"{flux} resolved over {self.memory_fs / 1000:.2g} ps",
            f"about {length * (20 * self.relative_error) ** 2:.2g} ps for an error of 5 %",
        ]


def green_kubo(fluxes: np.ndarray, interval_fs: float, others: np.ndarray | None = None) -> GreenKubo:
    """The integral from fluxes (n, L) that are equivalent, uncorrelated and of mean 0, one row each `interval_fs`.

    others (Q, n, L), Q < L: currents, independent of each other, whose part in the fluxes is taken out at each
    frequency (Bertossa et al. 2019, eqs. 4-8: the Schur complement of the cross periodogram, which has the noise of
    L - Q fluxes). Adding any of them to the fluxes changes nothing.

    The power spectrum at zero frequency is twice the integral. The logarithm of the mean periodogram of L fluxes is
    that of the spectrum plus noise of known mean psi(L) - ln L and variance psi'(L), the same at all frequencies; its
    first P cepstral coefficients hold the spectrum, and P is chosen by Akaike's criterion (Ercole, Marcolongo, Baroni,
    Sci. Rep. 7, 15835, 2017, eqs. 12-19; Bertossa et al., Phys. Rev. Lett. 122, 255901, 2019). Value and error are
    means over P by Akaike's weights, the spread of the values included (Burnham and Anderson 2002, eq. 4.9).
    Raises InputError for a run that is too short, with the length that would do.
    """
    n, length = len(fluxes), len(fluxes) * interval_fs
    if n < MIN_STEPS:
        raise InputError(f"{n} values of the fluxes", f"at least {MIN_STEPS}", "run longer or write more often")
    if not np.all(np.isfinite(fluxes)):
        raise InputError("fluxes with nan or inf", "finite values", "look where the run went unstable")
    if np.any(fluxes.std(axis=0) <= 1e-12 * np.abs(fluxes).max()):
        raise InputError("fluxes that do not change", "those of a moving liquid", "check the columns")
    n -= n % 2
    power, number = _periodogram(fluxes[:n], None if others is None else others[:, :n])
    power *= interval_fs / n
    frequencies = np.arange(len(power)) / (n * interval_fs)
    unbiased = _unbiased_log(power, number, whole=True)
    last = _cutoff(unbiased, number, n * interval_fs)
    value, error, coefficients, fit = _cepstral(
        _unbiased_log(power[: last + 1], number, last == len(power) - 1), number
    )
    memory = coefficients / (2 * frequencies[last])
    _long_enough(n * interval_fs, error, memory)
    folded = float(np.mean(power[-max(len(power) // 20, 10) :]) / value)
    times, running, running_error = running_integral(fluxes[:n], interval_fs, 4 * memory)
    shown = frequencies[: last + 1], power[: last + 1], fit
    return GreenKubo(
        value / 2, length, interval_fs, error, coefficients, float(frequencies[last]), memory, folded, times, running,
        running_error, shown,
    )  # fmt: skip


def _periodogram(fluxes: np.ndarray, others: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Mean power (K,) of fluxes (n, L), less the part of the others (Q, n, L), and how many fluxes' noise it has."""
    own, number = rfft(fluxes, axis=0), fluxes.shape[1]
    power = np.mean(np.abs(own) ** 2, axis=1)
    if others is None or not len(others):
        return power, number
    transforms = rfft(others / others.std(axis=(1, 2), keepdims=True), axis=1).transpose(1, 0, 2)  # (K, Q, L)
    cross = np.einsum("kql,kl->kq", transforms, own.conj()) / number
    matrix = np.einsum("kql,krl->kqr", transforms, transforms.conj()) / number
    part = np.einsum("kq,kq->k", cross.conj(), np.linalg.solve(matrix, cross[..., None])[..., 0]).real
    left = number - len(others)
    return np.maximum(power - part, 1e-12 * power) * (number / left), left


def _long_enough(length_fs: float, error: float, memory_fs: float) -> None:
    """Refuse a run whose error is too large, or that holds its own correlation time a few times only."""
    if error <= LARGEST_ERROR and length_fs >= LEAST_MEMORIES * memory_fs:
        return
    needed = max(length_fs * (error / GOOD_ERROR) ** 2, 2 * LEAST_MEMORIES * memory_fs)
    raise InputError(
        f"{length_fs / 1000:.3g} ps, whose Green-Kubo integral has an error of {100 * error:.0f} % and a correlation "
        f"over {memory_fs / 1000:.2g} ps",
        f"{100 * LARGEST_ERROR:.0f} % at most, and {LEAST_MEMORIES} times that",
        f"run about {needed / 1000:.2g} ps for {100 * GOOD_ERROR:.0f} %",
    )


def _unbiased_log(power: np.ndarray, number: int, whole: bool) -> np.ndarray:
    """Logarithm of the periodogram (K,) minus its noise's mean; at zero and at the highest frequency of the run
    Fourier coefficients are real, and the noise has half the degrees of freedom."""
    freedom = np.full(len(power), float(number))
    freedom[0] = number / 2
    if whole:
        freedom[-1] = number / 2
    return np.log(power) - digamma(freedom) + np.log(freedom)


def _cepstral(log_power: np.ndarray, number: int) -> tuple[float, float, float, np.ndarray]:
    """Power at zero frequency, its relative error, mean number of coefficients, and the fitted spectrum (K,)."""
    size = 2 * (len(log_power) - 1)
    cepstrum = dct(log_power, type=1) / size
    variance = np.full(len(cepstrum), float(polygamma(1, number)) / size)
    variance[[0, -1]] *= 2
    left = np.cumsum((cepstrum**2 / variance)[::-1])[::-1]  # chi^2 of the coefficients from each one on
    counts = np.arange(1, len(cepstrum) // 2 + 1)  # P: coefficients 0 ... P - 1
    criterion = left[counts] + 2 * counts
    weights = np.exp(-0.5 * (criterion - criterion.min()))
    weights /= weights.sum()
    logs = (2 * np.cumsum(cepstrum) - cepstrum[0])[counts - 1]  # of the spectrum at zero
    variances = float(polygamma(1, number)) * (4 * counts - 2) / size
    mean = weights @ logs
    error = np.sqrt(weights @ (variances + (logs - mean) ** 2))
    kept = np.zeros_like(cepstrum)
    kept[: counts[-1]] = cepstrum[: counts[-1]] * np.cumsum(weights[::-1])[::-1]
    fit = np.exp(dct(kept, type=1))
    return float(np.exp(mean)), float(error), float(weights @ counts), fit


def _cutoff(log_power: np.ndarray, number: int, length_fs: float) -> int:
    """Index of the frequency up to which the spectrum is used: where the fit has first fallen to FALLEN, found by steps
    from the whole spectrum downwards, each of which resolves low frequencies better; the last one for white noise.

    Raises InputError where there are too few frequencies below.
    """
    last = len(log_power) - 1
    for _ in range(20):
        fit = _cepstral(log_power[: last + 1], number)[3]
        low = np.flatnonzero(fit < FALLEN * fit[0])
        if not len(low) or low[0] >= 0.75 * last:
            break
        if low[0] < MIN_FREQUENCIES:
            needed = 4 * length_fs * MIN_FREQUENCIES / max(low[0], 1)
            raise InputError(
                f"{length_fs / 1000:.3g} ps, in which the spectrum falls over {low[0]} frequencies",
                f"{MIN_FREQUENCIES} at least for a Green-Kubo integral",
                f"run about {needed / 1000:.2g} ps",
            )
        last = int(low[0])
    return last


def running_integral(fluxes: np.ndarray, interval_fs: float, longest_fs: float) -> tuple[np.ndarray, ...]:
    """Times (M,), integral of the mean autocorrelation of fluxes (n, L) up to them, and its error over the fluxes.

    By FFT and the trapezium rule. The error takes the L fluxes for independent.
    """
    n = len(fluxes)
    lags = min(max(int(longest_fs / interval_fs), 2), n // 2)
    size = next_fast_len(n + lags, real=True)
    products = irfft(np.abs(rfft(fluxes, size, axis=0)) ** 2, size, axis=0)[: lags + 1]
    correlations = products / np.arange(n, n - lags - 1, -1)[:, None]
    steps = 0.5 * (correlations[1:] + correlations[:-1]) * interval_fs
    integrals = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    error = integrals.std(axis=1, ddof=1) / np.sqrt(fluxes.shape[1]) if fluxes.shape[1] > 1 else np.zeros(lags + 1)
    return interval_fs * np.arange(lags + 1), integrals.mean(axis=1), error
