"""Density of NPT logs, and the SPC/Fw deck run by lmp."""

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.properties.density import density, density_series, npt_run
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.analysis.thermo import Run, match, read_log
from tlmd.analysis.trajectory import read_dump
from tlmd.run.errors import InputError

DATA = Path(__file__).parents[1] / "data"
INPUTS = Path(__file__).parents[2] / "inputs" / "water"


def measure_density(log, dump=None, **options):
    return measure("density", Simulation(dump, log, **options))


def write_log(folder, volumes, column="Volume", first=0, name="npt.log", atoms=3):
    rows = "".join(f"{first + 100 * i} 300.0 {volume:.8f}\n" for i, volume in enumerate(volumes))
    path = folder / name
    head = f"units real\ntimestep 1.0\nStep Temp {column}\n"
    path.write_text(f"{head}{rows}Loop time of 1 on 1 procs for 1 steps with {atoms} atoms\n")
    return path


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_density_of_a_known_series(rng):
    series = 1.01 + 0.01 * rng.normal(size=4000)
    series[:400] += np.linspace(0.3, 0, 400)
    result = density(Run({"Step": np.arange(4000) * 100.0, "Density": series}, 1.0, 3, True))
    assert 250 < result.start < 800
    assert result.estimate.value == pytest.approx(1.01, abs=4 * result.estimate.standard_error)
    assert result.estimate.standard_error == pytest.approx(0.01 / np.sqrt(4000 - result.start), rel=0.2)
    assert result.estimate.unit == "g/cm3"


def test_density_from_volume_and_masses(rng, tmp_path):
    """One water molecule in 29.915 A^3 is 1 g/cm^3: 18.015 g/mol / (29.915e-24 cm^3 x 6.02214e23 / mol)."""
    run = npt_run(read_log(write_log(tmp_path, 29.915 + 0.1 * rng.normal(size=500))))
    masses = np.array([15.999, 1.008, 1.008])
    series = density_series(run, masses)
    assert np.mean(series) == pytest.approx(18.015 / (29.915e-24 * 6.02214076e23), rel=1e-3)
    assert series == pytest.approx(18.015 / (run.columns["Volume"] * 1e-24 * 6.02214076e23), rel=1e-12)


def test_density_from_box_edges(rng):
    log = read_log(DATA / "spcfw64.log.xz")
    run = npt_run(log)
    edges = {name: run.volumes() ** (1 / 3) for name in ("Lx", "Ly", "Lz")}
    columns = {name: column for name, column in run.columns.items() if name not in ("Volume", "Density")} | edges
    bare = type(run)(columns, run.timestep_fs, run.n_atoms, run.finished)
    masses = read_dump(DATA / "spcfw64.dump.xz").masses
    assert density_series(bare, masses) == pytest.approx(run.columns["Density"], rel=1e-5)


def test_the_density_column_agrees_with_the_masses_of_the_dump():
    with_dump = measure_density(DATA / "spcfw64.log.xz", DATA / "spcfw64.dump.xz").records
    (record,) = with_dump
    (alone,) = measure_density(DATA / "spcfw64.log.xz").records
    told = " (water by the mean mass of the log's atoms)"
    assert alone == record | {"source": record["source"] + told}
    assert record["value"] == pytest.approx(1.012, abs=0.02)  # 64 molecules, cutoff 6 A: not the published set-up
    assert 0.001 < record["standard_error"] < 0.01
    assert record["experiment"] == pytest.approx(0.997, abs=0.001)
    assert record["deviation_percent"] == pytest.approx(100 * (record["value"] / record["experiment"] - 1))
    assert record["temperature_K"] == pytest.approx(298.15, abs=2)
    assert "mean pressure" in record["source"]


def test_consecutive_npt_runs_are_joined_and_others_left_out(rng, tmp_path):
    names = "abcd"
    volumes = [np.full(5, 40.0), 30 + rng.random(20), 30 + rng.random(30), np.full(9, 30.0)]
    starts = [0, 400, 2300, 5200]
    parts = [
        write_log(tmp_path, v, first=s, name=n).read_text() for v, s, n in zip(volumes, starts, names, strict=True)
    ]
    (tmp_path / "all.log").write_text("".join(parts))
    run = npt_run(read_log(tmp_path / "all.log"))
    assert run.steps.tolist() == list(range(400, 5201, 100))
    assert run.columns["Volume"][:20] == pytest.approx(volumes[1], abs=1e-6)
    assert run.columns["Volume"][20:] == pytest.approx(volumes[2][1:], abs=1e-6)


def test_bad_density_logs_are_refused(rng, tmp_path):
    constant = write_log(tmp_path, np.full(100, 30.0))
    with pytest.raises(InputError, match=r"npt\.log: constant volume; wanted an NPT run; use fix npt"):
        measure_density(constant)
    no_volume = write_log(tmp_path, rng.random(100), column="Press")
    with pytest.raises(InputError, match="constant volume"):
        measure_density(no_volume)
    volume = write_log(tmp_path, 30 + rng.random(100))
    with pytest.raises(InputError, match="got a log without Density; wanted the masses; give --dump"):
        measure_density(volume)
    with pytest.raises(InputError, match=r"192 atoms, .*npt\.log: 3; wanted all atoms in the dump"):
        measure_density(volume, DATA / "spcfw64.dump.xz")
    exploded = write_log(tmp_path, np.append(30 + rng.random(50), np.nan), column="Density")
    with pytest.raises(InputError, match="got a series with nan or inf"):
        measure_density(exploded)
    short = write_log(tmp_path, 30 + rng.random(9), column="Density")
    with pytest.raises(InputError, match="got 9 values; wanted at least 16"):
        measure_density(short)


def write_npt_log(folder, mass, rng):
    """One box of 192 atoms of this mean mass at about 1 g/cm^3: the log has volume and density."""
    volumes = 192 * mass / 0.60221408 * (1 + 0.01 * rng.normal(size=100))
    rows = "".join(f"{100 * i} 298.0 {v:.8f} {192 * mass / 0.60221408 / v:.8f}\n" for i, v in enumerate(volumes))
    path = folder / "npt.log"
    path.write_text(f"units metal\ntimestep 0.001\nStep Temp Volume Density\n{rows}Loop time of 1 with 192 atoms\n")
    return path


@pytest.mark.parametrize(
    ("mass", "experiment"), [(18.0154 / 3, 0.99709), (32.042 / 6, 0.7866), (20.0276 / 3, None), (39.948, None)]
)
def test_a_log_is_compared_with_the_liquid_that_its_mass_tells(mass, experiment, rng, tmp_path):
    """Water, methanol, heavy water, argon; nothing is assumed to be water."""
    log = write_npt_log(tmp_path, mass, rng)
    (record,) = measure_density(log).records
    assert record["experiment"] == (None if experiment is None else pytest.approx(experiment, rel=1e-5))
    assert ("experiment: " in record["source"]) == (experiment is not None)
    assert measure_density(log, experiment=False).records[0]["experiment"] is None


def test_no_experiment_for_an_unknown_composition(rng, tmp_path):
    log = write_log(tmp_path, 0.8 + 0.01 * rng.random(100), column="Density", atoms=1)
    assert measure_density(log).records[0]["experiment"] is None
    dump = tmp_path / "ar.dump"
    dump.write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id element x y z\n1 Ar 0 0 0\n"
    )
    record = measure_density(log, dump).records[0]
    assert (record["experiment"], record["deviation_percent"], record["experiment_error"]) == (None, None, None)


def test_values_of_a_file_stand_beside_the_result(rng, tmp_path):
    log = write_log(tmp_path, 0.8 + 0.01 * rng.random(100), column="Density", atoms=1)
    references = tmp_path / "mine.toml"
    references.write_text(
        '[experiment]\nsource = "CRC"\ndensity = 0.79\n[level_of_theory]\ndensity = {value = 0.75, error = 0.01}\n'
    )
    (record,) = measure_density(log, references=references).records
    assert (record["experiment"], record["level_of_theory"], record["level_of_theory_error"]) == (0.79, 0.75, 0.01)
    assert record["deviation_percent"] == pytest.approx(100 * (record["value"] / 0.79 - 1))
    assert "experiment: CRC" in record["source"]


@pytest.mark.parametrize("rows", [40, 101, 500])
@pytest.mark.parametrize("noise", [0.001, 0.01, 0.03])
@pytest.mark.parametrize("shape", ["expanding", "linear", "exploding"])
def test_a_box_that_expands_without_end_has_no_density(rng, tmp_path, rows, noise, shape):
    """From 0.83 g/cm^3 to a seventh of it: refused, or said to drift."""
    t = np.linspace(0, 1, rows)
    series = {"expanding": 0.83 / (1 + 6 * t), "linear": 0.83 - 0.71 * t, "exploding": 0.83 * np.exp(-2 * t)}[shape]
    series = series * (1 + noise * rng.normal(size=rows))
    log = write_log(tmp_path, series, column="Density")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (record,) = measure_density(log).records
        assert "STILL DRIFT" in record["source"] and any("STILL DRIFT" in str(item.message) for item in caught)
    except InputError as error:
        assert "density that still drifts" in str(error) and "wanted a box in equilibrium" in str(error)


def correlated(rng, rows, time):
    """(rows,) of variance 1, correlated over `time` rows as a barostat leaves them."""
    noise = np.convolve(rng.normal(size=rows + 10 * time), np.exp(-np.arange(10 * time) / time), mode="valid")
    return noise[:rows] / np.sqrt(time / 2)


@pytest.mark.parametrize(("rows", "time", "most"), [(600, 10, 2), (200, 5, 3), (2000, 10, 1)])
def test_a_box_in_equilibrium_does_not_drift(rng, rows, time, most):
    """Of 60 runs at most a few are said to drift."""
    said = 0
    for _ in range(60):
        columns = {"Step": np.arange(rows) * 100.0, "Density": 1 + 0.006 * correlated(rng, rows, time)}
        said += density(Run(columns, 1.0, 3, True)).drifts
    assert said <= most


def test_a_slow_drift_is_said_with_its_error(rng, tmp_path):
    """3 % in the run, 0.6 % of noise: 1.5 % in its second half, seen though no part of it is refused."""
    series = 1 + 0.006 * correlated(rng, 2000, 5) + np.linspace(0, 0.03, 2000)
    with pytest.warns(
        UserWarning, match=r"density: STILL DRIFTS: \+0\.0\d+ ± 0\.00\d+ g/cm3 in the last .* ps, run longer"
    ):
        (record,) = measure_density(write_log(tmp_path, series, column="Density")).records
    assert record["drifts"] is True and record["drift_error"] < 0.003
    assert 0.0149 < record["drift"] + 3 * record["drift_error"] and record["drift"] < 0.031
    steady = write_log(tmp_path, 1 + 0.006 * correlated(rng, 2000, 5), column="Density")
    (record,) = measure_density(steady).records
    assert record["drifts"] is False and abs(record["drift"]) < 4 * record["drift_error"]


def test_a_liquid_that_has_become_a_gas_is_said(rng, tmp_path):
    """From 0.8 to 0.1 g/cm^3 in a tenth of the run, then constant: a mean, but of what?"""
    series = 0.1 * (1 + 0.02 * correlated(rng, 2000, 5))
    series[:200] = np.linspace(0.8, 0.1, 200)
    with pytest.warns(UserWarning, match=r"density: EXPANDED to 8 times its first volume: a gas\?"):
        (record,) = measure_density(write_log(tmp_path, series, column="Density")).records
    assert record["value"] == pytest.approx(0.1, rel=0.02) and "EXPANDED" in record["source"]


def test_the_spcfw_deck_runs(tmp_path):
    """27 molecules for a few picoseconds: a liquid at about 1 g/cm^3, whose dump and log belong together."""
    variables = {"cells": 3, "cutoff": 4.5, "equilibrate": 500, "npt": 2000, "nvt": 1000, "every": 100, "name": "tiny"}
    arguments = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    command = ["lmp", "-in", INPUTS / "spcfw.in", "-var", "molecule", INPUTS / "water.mol", *arguments]
    subprocess.run([*command, "-log", "none", "-screen", "none"], cwd=tmp_path, check=True, timeout=300)
    trajectory, log = read_dump(tmp_path / "tiny.dump.gz"), read_log(tmp_path / "tiny.log")
    run = match(trajectory, log)
    assert trajectory.positions.shape == (11, 81, 3)
    bonds = trajectory.positions[:, 1::3] - trajectory.positions[:, ::3]
    assert np.linalg.norm(bonds, axis=-1).mean() == pytest.approx(
        1.03, abs=0.02
    )  # 1.012 A at rest, longer in the liquid
    (record,) = measure_density(tmp_path / "tiny.log").records
    assert 0.85 < record["value"] < 1.15
    assert run.columns["Density"] == pytest.approx(np.full(len(run.steps), run.columns["Density"][0]), rel=1e-6)
    with pytest.raises(InputError, match=r"got 11 frames; wanted at least 101 for a diffusion coefficient"):
        measure("diffusion", Simulation(tmp_path / "tiny.dump.gz", tmp_path / "tiny.log"))
