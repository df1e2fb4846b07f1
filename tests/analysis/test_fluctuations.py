"""Compressibility and expansion of gases whose distributions are known, and of a run of water."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.properties.fluctuations import compressibility, expansion, fluctuations, jackknife
from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.thermo import Run
from tlmd.run.errors import InputError

LOG = Path(__file__).parents[1] / "data" / "spcfw64.log.xz"
KT, BAR = 8.617333262e-5 * 300.0, 1 / 1602176.634  # eV at 300 K; eV/A^3
ATOMS, PRESSURE_BAR = 400, 500.0


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def ideal_gas(rng, rows):
    """Rows of N atoms at constant pressure: p(V) ~ V^N exp(-PV/kT), a gamma distribution. kappa = 1/P, alpha = 1/T."""
    volumes = rng.gamma(ATOMS + 1, KT / (PRESSURE_BAR * BAR), size=rows)
    columns = {"Step": 100.0 * np.arange(rows), "Volume": volumes, "PotEng": np.zeros(rows)}
    return Run(columns | {"Press": np.full(rows, PRESSURE_BAR)}, 1.0, ATOMS, True)


def test_ideal_gas_at_constant_pressure(rng):
    results = [fluctuations(ideal_gas(rng, 2000), 300.0) for _ in range(30)]
    for values, exact in (
        ([result.compressibility for result in results], 1e4 / PRESSURE_BAR),
        ([result.expansion for result in results], 1 / 300.0),
    ):
        scores = np.array([(value.value - exact) / value.standard_error for value in values])
        assert abs(scores.mean()) < 4 / np.sqrt(30) and 0.6 < scores.std() < 1.5
        assert np.mean([value.standard_error for value in values]) < 0.1 * exact


def test_a_run_in_correlated_steps_has_the_larger_error(rng):
    """Each row written five times: the same values, and the error of a fifth of the rows."""
    one = ideal_gas(rng, 1000)
    five = {name: np.repeat(column, 5) for name, column in one.columns.items()}
    five["Step"] = 20.0 * np.arange(5000)
    single, repeated = fluctuations(one, 300.0), fluctuations(Run(five, 1.0, ATOMS, True), 300.0)
    assert repeated.compressibility.value == pytest.approx(single.compressibility.value, rel=0.02)
    ratio = repeated.compressibility.standard_error / single.compressibility.standard_error
    assert 0.6 < ratio < 1.6


def test_the_bias_of_a_short_run_is_corrected(rng):
    """The variance of n values is too small by 1/n: for 10 of them by a tenth."""
    values = [jackknife(lambda x: x.var(), [rng.normal(size=10)], 10, "1") for _ in range(4000)]
    assert np.mean([value.value for value in values]) == pytest.approx(1.0, abs=0.04)


def test_functions_are_their_definitions(rng):
    volumes, enthalpies = 1000 + rng.normal(size=50), rng.normal(size=50)
    expected = np.mean(volumes**2) - np.mean(volumes) ** 2
    per_bar = expected / (KT * volumes.mean()) * BAR  # 1 A^3/eV in 1/bar
    assert compressibility(volumes, 300.0) == pytest.approx(per_bar * 1e4, rel=1e-6)
    covariance = np.mean(volumes * enthalpies) - volumes.mean() * enthalpies.mean()
    assert expansion(volumes, enthalpies, 300.0) == pytest.approx(covariance / (KT * 300 * volumes.mean()), rel=1e-6)


def test_water():
    """SPC/Fw: 0.45 1/GPa and 4.98e-4 1/K (Wu, Tepper, Voth 2006); here 64 molecules with a cutoff of 6 A."""
    squeezed, widened = measure("fluctuations", Simulation(log=LOG)).records
    assert squeezed["value"] == pytest.approx(0.45, abs=3 * squeezed["standard_error"])
    assert widened["value"] == pytest.approx(4.98e-4, abs=3 * widened["standard_error"])
    assert squeezed["experiment"] == pytest.approx(0.4525, rel=2e-3)
    assert widened["experiment"] == pytest.approx(2.57e-4, rel=2e-2)


def log_of(folder, run, fix="npt temp 300 300 100 iso 0 0 1000"):
    rows = zip(*run.columns.values(), strict=True)
    table = "".join(" ".join(f"{value:.10g}" for value in row) + "\n" for row in rows)
    head = f"units metal\ntimestep 0.001\nfix 1 all {fix}\n{' '.join(run.columns)} Temp\n"
    path = folder / "npt.log"
    path.write_text(head + table.replace("\n", " 300.0\n") + f"Loop time of 1 with {ATOMS} atoms\n")
    return path


def test_what_has_no_fluctuations_is_refused(rng, tmp_path):
    gas = ideal_gas(rng, 500)
    with pytest.raises(InputError, match=r"fix press/berendsen; wanted the fluctuations of an ensemble"):
        measure("fluctuations", Simulation(log=log_of(tmp_path, gas, "press/berendsen iso 0 0 1000")))
    slow = {name: np.repeat(column[:5], 100) for name, column in gas.columns.items()} | {"Step": gas.columns["Step"]}
    with pytest.raises(InputError, match=r"with a volume that fluctuates over .*; run about"):
        measure("fluctuations", Simulation(log=log_of(tmp_path, Run(slow, 1.0, ATOMS, True))))
    alone = {name: gas.columns[name] for name in ("Step", "Press")} | {"Density": 1 / gas.columns["Volume"]}
    with pytest.raises(Lacking, match="got a log without the volume"):
        measure("fluctuations", Simulation(log=log_of(tmp_path, Run(alone, 1.0, ATOMS, True))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volumes = {name: gas.columns[name] for name in ("Step", "Volume")}
        (only,) = measure("fluctuations", Simulation(log=log_of(tmp_path, Run(volumes, 1.0, ATOMS, True)))).records
    assert only["quantity"] == "isothermal compressibility"
