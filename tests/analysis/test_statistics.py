"""Means and errors of correlated series against AR(1), whose autocorrelation is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from tlmd.analysis.statistics import (
    autocorrelation,
    block_average,
    block_errors,
    equilibrated_mean,
    equilibration,
    statistical_inefficiency,
)
from tlmd.run.errors import InputError


def ar1(rng, phi, length):
    """Stationary x_t = phi x_(t-1) + e_t: variance 1/(1 - phi^2), C(t) = phi^t, inefficiency (1 + phi)/(1 - phi)."""
    start = rng.normal() / np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], rng.normal(size=length), zi=[phi * start])[0]


def test_autocorrelation_equals_the_direct_sum(rng):
    series = ar1(rng, 0.8, 200)
    fluctuation = series - series.mean()
    direct = [np.mean(fluctuation[lag:] * fluctuation[: 200 - lag]) for lag in range(200)]
    assert autocorrelation(series) == pytest.approx(np.array(direct) / direct[0], abs=1e-12)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_inefficiency_of_ar1(rng, phi):
    values = [statistical_inefficiency(ar1(rng, phi, 20000)) for _ in range(10)]
    assert np.mean(values) == pytest.approx((1 + phi) / (1 - phi), rel=0.12)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.97])
def test_block_error_is_the_scatter_of_the_mean(rng, phi):
    """The stated error, the theoretical one and the scatter over repetitions agree."""
    estimates = [block_average(ar1(rng, phi, 8000), "1") for _ in range(60)]
    theory = 1 / (1 - phi) / np.sqrt(8000)
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(theory, rel=0.12)
    assert np.std([estimate.value for estimate in estimates]) == pytest.approx(theory, rel=0.3)
    assert np.mean([estimate.samples for estimate in estimates]) == pytest.approx(
        8000 * (1 - phi) / (1 + phi), rel=0.25
    )


def test_error_flattens_with_block_length(rng):
    lengths, errors, uncertainties = block_errors(ar1(rng, 0.9, 2**15))
    assert lengths.tolist() == [2**level for level in range(15)]
    naive, flat = errors[0], errors[8]
    assert flat / naive == pytest.approx(np.sqrt(19), rel=0.2)
    assert abs(errors[9] - errors[8]) < 3 * np.hypot(uncertainties[8], uncertainties[9])


def test_equilibration_is_found(rng):
    series = ar1(rng, 0.5, 3000)
    series[:600] += 20 * np.exp(-np.arange(600) / 100)
    assert 200 < equilibration(series) < 1000
    estimate, cut = equilibrated_mean(series, "K")
    assert cut == equilibration(series)
    assert abs(estimate.value) < 4 * estimate.standard_error
    assert estimate.unit == "K"


def test_no_equilibration_is_cut_from_a_stationary_series(rng):
    cuts = [equilibration(ar1(rng, 0.5, 2000)) for _ in range(20)]
    assert np.median(cuts) < 200


def test_a_constant_series_has_no_error():
    estimate = block_average(np.full(100, 3.5), "eV")
    assert (estimate.value, estimate.standard_error, estimate.samples) == (3.5, 0.0, 100)


def test_too_few_values_are_refused():
    with pytest.raises(InputError, match=r"got 15 values; wanted at least 16 .*; run longer"):
        block_average(np.arange(15.0), "1")


def test_an_exploded_run_is_refused():
    with pytest.raises(InputError, match="got a series with nan or inf; wanted finite values"):
        equilibrated_mean(np.append(np.ones(50), np.nan), "g/cm3")


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)


def test_short_correlated_series_never_get_a_tiny_error():
    """Runs of a few correlation times: no error by chance from the last two blocks, few means far outside theirs."""
    rng = np.random.default_rng(11)
    ratios = []
    for _ in range(200):
        noise, series = rng.normal(size=476), np.zeros(476)
        for t in range(1, 476):
            series[t] = 0.9 * series[t - 1] + noise[t]
        series = series[300:]  # 176 values, about 9 independent ones
        estimate = block_average(series, "1")
        assert estimate.standard_error > series.std() / np.sqrt(len(series))
        assert estimate.samples < 60
        ratios.append(abs(estimate.value) / estimate.standard_error)
    assert np.mean(np.array(ratios) > 3) < 0.05
