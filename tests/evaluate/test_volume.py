"""The slope of the energy error with volume, against what is known of it."""

import numpy as np
import pytest

from tlmd.evaluate.volume import MIN_FRAMES, volume_slope
from tlmd.run.errors import InputError
from tlmd.units import BAR_PER_EV_A3


def test_a_tail_that_the_model_lacks():
    """E_label has the tail -a/V of a pair attraction, E_model has not: its pressure is too high by a/V^2."""
    volumes, a = np.linspace(1900.0, 1940.0, 20), 4.0e3
    slope, error = volume_slope(volumes, a / volumes + 7.0)
    assert -slope == pytest.approx(a / 1920.0**2 * BAR_PER_EV_A3, rel=2e-4) and -slope > 1500.0
    assert error < 1e-2 * abs(slope)
    per_atom = volume_slope(volumes / 192, a / volumes / 192)
    assert per_atom == pytest.approx((slope, error), rel=1e-9)


@pytest.mark.parametrize("memory", [0.0, 0.7])
def test_the_standard_error_is_that_of_repetitions(memory):
    """Also where the noise is correlated from frame to frame of a trajectory and the volume fluctuates slowly."""
    rng, slope, deviations = np.random.default_rng(3), 500.0, []
    for _ in range(200):
        noise = rng.normal(size=(2, 200))
        for i in range(1, 200):
            noise[:, i] += memory * noise[:, i - 1]
        volumes = 1920.0 + 30.0 * noise[0]
        found, error = volume_slope(volumes, slope / BAR_PER_EV_A3 * volumes + 0.05 * noise[1])
        deviations.append((found - slope) / error)
    assert abs(np.mean(deviations)) < 0.3 and 0.7 < np.std(deviations) < 1.3


def test_refusals():
    volumes = np.linspace(1.0, 1.2, MIN_FRAMES)
    for bad, words in [
        ((volumes[1:], volumes[1:]), "at least 8; take more frames"),
        ((volumes, volumes[1:]), "as many of each"),
        ((volumes, volumes * np.nan), "with nan or inf"),
        ((np.ones(9), np.arange(9.0)), "frames of one volume; wanted several volumes"),
    ]:
        with pytest.raises(InputError, match=words):
            volume_slope(*bad)
