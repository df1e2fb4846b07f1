"""Heat of vaporisation from logs of known energies."""

import json

import numpy as np
import pytest

from tlmd.analysis.registry import Lacking, measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

EV = 96.48533212  # kJ/mol
RT = 8.314462618e-3 * 300.0


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def log_of(path, energies, atoms, volumes=None, pressure=0.0, temperature=300.0, columns="PotEng"):
    """A log of these potential energies in eV, at 300 K; without volumes the box is fixed."""
    volumes = np.full(len(energies), 1e6) if volumes is None else volumes
    rows = "".join(
        f"{100 * k} {temperature} {pressure} {volume:.6f} {energy:.8f}\n"
        for k, (volume, energy) in enumerate(zip(volumes, energies, strict=True))
    )
    head = f"units metal\ntimestep 0.001\nStep Temp Press Volume {columns}\n"
    path.write_text(head + rows + f"Loop time of 1 on 1 procs for 1 steps with {atoms} atoms\n")
    return path


def test_the_difference_of_energies_and_the_work(rng, tmp_path):
    """100 molecules of 3 atoms at -10.5 eV each and 30 A^3, at 10 kbar; the gas at -10.1 eV."""
    liquid = log_of(
        tmp_path / "liquid.log", -1050 + 0.5 * rng.normal(size=2000), 300, 3000 + 10 * rng.normal(size=2000), 1e4
    )
    gas = log_of(tmp_path / "gas.log", -10.1 + 0.05 * rng.normal(size=2000), 3)
    (record,) = measure("vaporisation", Simulation(log=liquid), gas_log=gas).records
    work = RT - 1e9 * 30e-30 * 6.02214076e23 / 1000  # P v in kJ/mol
    assert record["unit"] == "kJ/mol"
    assert record["value"] == pytest.approx(0.4 * EV + work, abs=3 * record["standard_error"])
    assert record["standard_error"] == pytest.approx(np.hypot(0.005, 0.05) / np.sqrt(2000) * EV, rel=0.3)
    pair = log_of(tmp_path / "pair.log", -20.2 + 0.05 * rng.normal(size=2000), 6)
    (two,) = measure("vaporisation", Simulation(log=liquid), gas_log=pair, gas_molecules=2).records
    assert two["value"] == pytest.approx(record["value"], abs=4 * record["standard_error"])


def test_logs_that_do_not_fit_are_refused(rng, tmp_path):
    volumes = 3000 + 10 * rng.normal(size=100)
    liquid = log_of(tmp_path / "liquid.log", -1050 + rng.normal(size=100), 300, volumes)
    with pytest.raises(Lacking, match="give --gas-log"):
        measure("vaporisation", Simulation(log=liquid))
    other = log_of(tmp_path / "other.log", rng.normal(size=100), 7)
    with pytest.raises(InputError, match="got 300 atoms of liquid, 7 in 1 molecules of gas; wanted a whole number"):
        measure("vaporisation", Simulation(log=liquid), gas_log=other)
    hot = log_of(tmp_path / "hot.log", rng.normal(size=100), 3, temperature=350.0)
    with pytest.raises(InputError, match=r"got a liquid at 300\.0 K, a gas at 350\.0 K; wanted one temperature"):
        measure("vaporisation", Simulation(log=liquid), gas_log=hot)
    silent = log_of(tmp_path / "silent.log", rng.normal(size=100), 3, columns="KinEng")
    with pytest.raises(InputError, match="a log of the gas without pe"):
        measure("vaporisation", Simulation(log=liquid), gas_log=silent)


def test_the_command(rng, tmp_path, tl_analyze):
    liquid = log_of(tmp_path / "l.log", -1050 + rng.normal(size=200), 300, 3000 + rng.normal(size=200))
    gas = log_of(tmp_path / "g.log", -10.1 + 0.05 * rng.normal(size=200), 3)
    out = tmp_path / "out.json"
    code, printed, _ = tl_analyze("vaporisation", liquid, "--gas-log", gas, "--json", out, "--plot", tmp_path / "o.png")
    assert code == 0 and "kJ/mol" in printed
    assert json.loads(out.read_text())[0]["quantity"] == "heat of vaporisation"
