"""Random fluxes whose integral is known."""

import numpy as np
from scipy.signal import lfilter


def ornstein_uhlenbeck(rng, n, fluxes, tau):
    """(n, fluxes) of variance 1 and correlation exp(-t / tau), and the trapezium integral of that correlation."""
    decay = np.exp(-1 / tau)
    noise = np.sqrt(1 - decay**2) * rng.normal(size=(n, fluxes))
    noise[0] = rng.normal(size=fluxes)
    return lfilter([1], [1, -decay], noise, axis=0), 0.5 + decay / (1 - decay)


def vibration(rng, n, fluxes, tau, frequency):
    """(n, fluxes) of correlation exp(-t / tau) cos(frequency t), and its integral."""
    decay = np.exp(-1 / tau + 1j * frequency)
    noise = np.sqrt(1 - abs(decay) ** 2) * (rng.normal(size=(n, fluxes)) + 1j * rng.normal(size=(n, fluxes)))
    return lfilter([1], [1, -decay], noise, axis=0).real, 0.5 + (decay / (1 - decay)).real
