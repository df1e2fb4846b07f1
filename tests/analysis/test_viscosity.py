"""Viscosity: processes of known integral, argon by lmp against the literature, files, refusals, and its use for D."""

import json
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tlmd.analysis.greenkubo import green_kubo, running_integral
from tlmd.analysis.registry import measure
from tlmd.analysis.simulation import Simulation
from tlmd.run.errors import InputError

from .processes import ornstein_uhlenbeck, vibration

RUNS = 24
LMP = Path(sysconfig.get_path("scripts")) / "lmp"
DATA = Path(__file__).parents[1] / "data"
# Lennard-Jones argon near its triple point, 0.8442 / sigma^3 and 0.722 epsilon / k: 108 atoms.
ARGON = """
log argon.log
units metal
lattice fcc 5.719
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 39.948
pair_style lj/cut 8.5125
pair_coeff 1 1 0.0103235 3.405
velocity all create 175 7 mom yes dist gaussian
timestep 0.008
fix 1 all nvt temp 86.5 86.5 0.4
thermo 5000
run 3000
reset_timestep 0
variable a equal pxx
variable b equal pyy
variable c equal pzz
variable d equal pxy
variable e equal pxz
variable f equal pyz
fix p all ave/time 1 5 5 c_thermo_press[1] c_thermo_press[2] c_thermo_press[3] c_thermo_press[4] c_thermo_press[5] &
  c_thermo_press[6] file pressures.txt
thermo 5
thermo_style custom step temp press pxx pyy pzz pxy pxz pyz vol density pe
run 25000
"""


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def check(results, exact):
    """Values without a bias beyond 0.6 of an error, and errors that are the spread of the values."""
    values = np.array([result.value for result in results]) / exact
    errors = np.array([result.value * result.relative_error for result in results]) / exact
    scores = (values - 1) / errors
    assert RUNS - 3 <= len(values)
    assert abs(scores.mean()) < 0.6
    assert 0.6 < np.sqrt(np.mean(scores**2)) < 1.4
    assert 0.6 < errors.mean() / values.std() < 1.6


@pytest.mark.parametrize("fluxes", [1, 3, 5])
def test_one_relaxation(rng, fluxes):
    exact = ornstein_uhlenbeck(rng, 10, fluxes, 20.0)[1]
    check([green_kubo(ornstein_uhlenbeck(rng, 90000 // fluxes, fluxes, 20.0)[0], 1.0) for _ in range(RUNS)], exact)


def test_white_noise(rng):
    check([green_kubo(rng.normal(size=(5000, 3)), 1.0) for _ in range(RUNS)], 0.5)


def test_a_slow_relaxation_below_vibrations(rng):
    """As in flexible water: two vibrations hold nine tenths of the variance, the slow part most of the integral."""
    results = []
    for _ in range(RUNS):
        fast, one = vibration(rng, 60000, 5, 50.0, 0.6)
        bend, two = vibration(rng, 60000, 5, 50.0, 0.3)
        slow, three = ornstein_uhlenbeck(rng, 60000, 5, 150.0)
        try:
            results.append(green_kubo(3 * fast + 2 * bend + slow, 1.0))
        except InputError:  # an error above 30 %
            continue
    check(results, 9 * one + 4 * two + three)


def test_the_unit_of_time_enters_once(rng):
    fluxes = ornstein_uhlenbeck(rng, 20000, 5, 20.0)[0]
    one, five = green_kubo(fluxes, 1.0), green_kubo(3 * fluxes, 5.0)
    assert five.value == pytest.approx(45 * one.value, rel=1e-9)
    assert five.memory_fs == pytest.approx(5 * one.memory_fs)


def test_running_integral_is_the_definition(rng):
    fluxes = ornstein_uhlenbeck(rng, 400, 3, 5.0)[0]
    times, integral, _ = running_integral(fluxes, 2.0, 40.0)
    correlation = [np.mean([np.mean(x[lag:] * x[: 400 - lag]) for x in fluxes.T]) for lag in range(21)]
    assert times[-1] == 40.0
    assert integral == pytest.approx([2.0 * np.trapezoid(correlation[: k + 1]) for k in range(21)], abs=1e-9)


def test_short_runs_are_told_how_long_to_be(rng):
    fluxes = ornstein_uhlenbeck(rng, 200000, 5, 200.0)[0]
    needed, refused = 1.0, []
    while needed < 200:
        try:
            result = green_kubo(fluxes[: int(1000 * needed)], 1.0)
            break
        except InputError as error:
            refused.append(str(error))
            needed = float(refused[-1].split("run about ")[1].split(" ps")[0])
    assert 20 < needed < 200 and result.relative_error < 0.3  # 25 ps have 24 frequencies in the width of the spectrum
    assert 1 <= len(refused) <= 3 and refused[0].startswith("got 1 ps, in which the spectrum falls over")
    for wrong, words in ((fluxes[:100], "got 100 values"), (np.ones((5000, 5)), "fluxes that do not change")):
        with pytest.raises(InputError, match=words):
            green_kubo(wrong, 1.0)
    fluxes[50] = np.nan
    with pytest.raises(InputError, match="fluxes with nan or inf"):
        green_kubo(fluxes, 1.0)


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("argon")
    (folder / "argon.in").write_text(ARGON)
    subprocess.run([LMP, "-in", "argon.in", "-log", "none", "-screen", "none"], cwd=folder, check=True, timeout=300)
    return folder


def test_argon_at_the_triple_point(argon):
    """3.24 +- 0.04 sqrt(m epsilon) / sigma^2 (Ferrario, Ciccotti, Holian, Ryckaert, Phys. Rev. A 44, 6936, 1991)."""
    unit = np.sqrt(39.948e-3 / 6.02214076e23 * 0.0103235 * 1.602176634e-19) / 3.405e-10**2 * 1000  # mPa s
    (record,) = measure("viscosity", Simulation(log=argon / "argon.log")).records
    assert record["unit"] == "mPa s" and record["experiment"] is None
    assert 0.03 < record["standard_error"] / record["value"] < 0.2
    assert record["value"] == pytest.approx(3.24 * unit, abs=3 * record["standard_error"])
    assert "-25000 each 5" in record["source"] and "stress resolved over" in record["source"]
    averaged = measure("viscosity", Simulation(log=argon / "argon.log"), pressures=argon / "pressures.txt").records[0]
    assert averaged["value"] == pytest.approx(record["value"], rel=0.1)
    assert "pressures.txt, steps " in averaged["source"]


def test_the_command_writes_the_running_integral(argon, tl_analyze, tmp_path):
    out = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "png")}
    arguments = ["--json", out["json"], "--csv", out["csv"], "--plot", out["png"], "--leave-out", "20"]
    code, printed, _ = tl_analyze("viscosity", argon / "argon.log", *arguments)
    assert code == 0 and "viscosity" in printed
    (record,) = json.loads(out["json"].read_text())
    assert "first 20 ps left out" in record["source"]
    table = np.genfromtxt(out["csv"], delimiter=",", names=True)
    assert table.dtype.names == ("time_ps", "running_integral_mPa_s", "standard_error_mPa_s")
    end = table["running_integral_mPa_s"][len(table) // 4]
    assert end == pytest.approx(record["value"], abs=4 * record["standard_error"])


def test_wrong_files_are_refused(argon, tmp_path, rng):
    with pytest.raises(InputError, match="without pxx pyy pzz pxy pxz pyz; .* add `pxx pyy pzz pxy pxz pyz` to thermo"):
        measure("viscosity", Simulation(log=DATA / "spcfw64.log.xz"))
    lines = (argon / "argon.log").read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.split()[:4] == ["Step", "Temp", "Press", "Pxx"])
    shifted = tmp_path / "sheared.log"
    rows = [line.split() for line in lines[start + 1 : start + 2001]]
    rows = [[*row[:6], f"{float(row[6]) + 500:.3f}", *row[7:]] for row in rows]
    shifted.write_text("".join(lines[: start + 1]) + "".join(" ".join(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"got a mean shear stress xy of .* bar; wanted 0, an isotropic liquid"):
        measure("viscosity", Simulation(log=shifted))
    uneven = tmp_path / "uneven.log"
    uneven.write_text("".join(lines[: start + 500]) + "".join(lines[start + 510 : start + 2000]))
    with pytest.raises(InputError, match="at uneven intervals"):
        measure("viscosity", Simulation(log=uneven))
    table = tmp_path / "p.txt"
    table.write_text("# Time-averaged data for fix p\n# TimeStep v_pxx v_pyy v_pxy\n5 1 2 3\n")
    with pytest.raises(InputError, match=r"p\.txt without a column for zz xz yz"):
        measure("viscosity", Simulation(log=argon / "argon.log"), pressures=table)


def test_diffusion_takes_the_models_own_viscosity(tmp_path):
    """The correction is inversely proportional to it, and so its relative error is the viscosity's."""
    run = Simulation(DATA / "spcfw64.dump.xz", DATA / "spcfw64.log.xz")
    periodic, infinite = measure("diffusion", run).records
    record = infinite | {"quantity": "viscosity", "value": 0.7, "standard_error": 0.14, "unit": "mPa s"}
    file = tmp_path / "viscosity.json"
    file.write_text(json.dumps([record]))
    _, own = measure("diffusion", run, viscosity_mPa_s=str(file)).records
    _, given = measure("diffusion", run, viscosity_mPa_s="0.7").records
    correction = own["value"] - periodic["value"]
    assert own["value"] == given["value"] and given["standard_error"] == periodic["standard_error"]
    assert own["standard_error"] == pytest.approx(np.hypot(periodic["standard_error"], 0.2 * correction))
    assert "viscosity 0.70 ± 0.14 mPa s (this model's, viscosity.json)" in own["source"]
    file.write_text(json.dumps([record | {"temperature_K": 350.0}]))
    with pytest.raises(InputError, match=r"a viscosity at 350\.0 K; wanted at the run's 299.9 K"):
        measure("diffusion", run, viscosity_mPa_s=str(file))
    file.write_text(json.dumps([infinite]))
    with pytest.raises(InputError, match="0 viscosities; wanted one"):
        measure("diffusion", run, viscosity_mPa_s=str(file))
    with pytest.raises(InputError, match=r"got --viscosity thick; wanted a number in mPa s, or a file"):
        measure("diffusion", run, viscosity_mPa_s="thick")
