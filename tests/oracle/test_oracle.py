"""tl-oracle on SPC/Fw water: its labels are the potential's own, its estimates are right where the truth is known."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.io import read

from tlmd.analysis.statistics import Estimate
from tlmd.analysis.thermo import read_log
from tlmd.frames.read import read_frames
from tlmd.generate.teachers.spcfw import SPCFw, SPCFwConfig
from tlmd.oracle.config import OracleConfig
from tlmd.oracle.oracle import oracle
from tlmd.oracle.properties import Properties, density_from_pressure, difference, pressure_error, radial
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.installed import water_inputs
from tlmd.units import BAR_PER_EV_A3, BOLTZMANN_EV_K

INPUTS = water_inputs() / "oracle"
TOML = f"""
out = "oracle"
sizes = [3]
seeds = [1]
steps = 4
jobs = 2
[potential]
include = "spcfw.in"
data = "{INPUTS / "water64.data"}"
gas = "{INPUTS / "water1.data"}"
elements = ["O", "H"]
molecules = 64
labels = {{accuracy = "1e-6"}}
name = "SPC/Fw"
species = "O"
pair = "O-O"
[state]
equilibrate_ps = 0.02
npt_ps = 1.0
nvt_ps = 0.5
frames_fs = 50
n_test = 5
[sets.two]
temperature_K = [300]
pressure_bar = [1, 2000]
n_train = 4
n_valid = 2
spacing_ps = 0.02
equilibrate_ps = 0.02
[methods.tpainn]
stage = "finetune"
config = "{INPUTS.parent / "finetune.toml"}"
[md]
equilibrate_ps = 0.02
npt_ps = 0.4
nvt_ps = 0.2
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which tl-oracle has done its work, small but whole."""
    folder = tmp_path_factory.mktemp("an oracle")
    (folder / "spcfw.in").write_text((INPUTS / "spcfw.in").read_text())
    (folder / "oracle.toml").write_text(TOML)
    oracle(load_config(OracleConfig, folder / "oracle.toml"), folder / "oracle")
    return folder


def test_one_row_for_each_model(finished):
    (row,) = csv.DictReader((finished / "oracle" / "oracle.csv").read_text().splitlines())
    assert (row["method"], row["frames"], row["seed"]) == ("tpainn", "3", "1")
    for name in ("density", "vaporisation", "compressibility", "pressure_error_bar", "density_estimated"):
        assert np.isfinite(float(row[name])) and float(row[f"{name}_error"]) > 0
    assert row["diffusion"] == ""  # 0.2 ps give none
    assert 0.8 < float(row["density"]) < 1.3 and 30 < float(row["vaporisation"]) < 90
    table = (finished / "oracle" / "table.md").read_text()
    assert "| oracle |" in table and "SPC/Fw" in table
    assert (finished / "oracle" / "oracle.png").stat().st_size > 10_000


def test_labels_are_those_of_the_same_potential_as_a_teacher(finished):
    frames = read_frames(finished / "oracle" / "sets" / "two" / "train.extxyz.xz")
    assert len(frames) == 4
    assert np.ptp([np.linalg.det(frame.cell) for frame in frames]) > 1  # two pressures, by turns
    teacher = SPCFw(SPCFwConfig())
    offsets = []
    for frame in frames:
        known = teacher.label(frame)
        assert np.abs(frame.forces - known.forces).max() < 2e-3
        volume = np.linalg.det(frame.cell)
        shift = frame.stress - known.stress  # the oracle's tail correction: isotropic, -P ~ 1/V^2
        assert np.abs(shift - np.eye(3) * shift[0, 0]).max() < 1e-6 and shift[0, 0] > 0
        offsets.append((frame.energy - known.energy, shift[0, 0] * volume))
    teacher.close()
    for energy, work in offsets:  # the virial of -C6/r^6 beyond the cutoff: P V = 2 E (Allen and Tildesley, eq. 2.144)
        assert energy < 0 and work == pytest.approx(-2 * energy, rel=0.01)


def test_the_same_command_goes_on_and_changes_nothing(finished):
    out = finished / "oracle"
    (model,) = (out / "models").iterdir()
    (model / "nvt" / "md.log").unlink()  # as if it had been killed there
    (model / "nvt" / ".left.tmp").mkdir()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.gz") if path.parent != model / "nvt"}
    assert len(kept) == 7  # npt, gas and nvt of the oracle, two runs of the set, npt and gas of the model
    before = (out / "oracle.csv").read_text()
    command = [sys.executable, "-P", "-c", "from tlmd.cli import oracle; oracle()", str(finished / "oracle.toml")]
    subprocess.run(command, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "oracle.csv").read_text() == before


def test_another_potential_is_refused_in_the_same_folder(finished):
    text = (finished / "spcfw.in").read_text()
    (finished / "spcfw.in").write_text(text.replace("3.165492", "3.2"))
    with pytest.raises(InputError, match=r"include = .* with other content"):
        oracle(load_config(OracleConfig, finished / "oracle.toml"), finished / "oracle")
    (finished / "spcfw.in").write_text(text)


def test_models_start_where_the_oracle_ended(finished):
    """The last frame of a run whose box changes, as it is: all molecules whole."""
    truth = finished / "oracle" / "truth" / "npt"
    atoms = read(truth / "last.data", format="lammps-data", atom_style="atomic", units="metal")
    bonds = [atoms.get_distance(3 * i, 3 * i + k, mic=True) for i in range(64) for k in (1, 2)]
    assert 0.8 < min(bonds) and max(bonds) < 1.3
    (model,) = (finished / "oracle" / "models").iterdir()
    row = read_log(model / "npt" / "md.log").runs[0].columns
    assert row["Volume"][0] == pytest.approx(read_log(truth / "md.log").runs[-1].columns["Volume"][-1], rel=1e-6)


def test_g_of_a_run_differs_from_itself_by_nothing(finished):
    g = radial(finished / "oracle" / "truth" / "nvt", "O-O")
    assert difference(g, g) == 0
    assert g.r_A[np.argmax(g.g)] == pytest.approx(2.75, abs=0.15)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[methods.tpainn]", '[methods.tpainn]\nframes = "three"', "'three' of tpainn"),
        ("pressure_bar = [1, 2000]", "", "pressure_bar or density_g_cm3"),
        ("sizes = [3]", "sizes = [5]", "size 5"),
        ("pair_style lj/cut/coul/long 9.0", "pair_style unheard/of 9.0", "LAMMPS stopped: ERROR: Unrecognized pair"),
    ],
)
def test_bad_input_is_one_line(tmp_path, old, new, message):
    files = {"oracle.toml": TOML, "spcfw.in": (INPUTS / "spcfw.in").read_text()}
    assert any(old in text for text in files.values())
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace(old, new))
    command = [sys.executable, "-P", "-c", "from tlmd.cli import oracle; oracle()", str(tmp_path / "oracle.toml")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line]
    assert message in line


def test_pressure_and_density_where_the_truth_is_known():
    """Volumes of a harmonic box, F(V) = (V - V0)^2 / (2 s^2 / kT): an error c V shifts the mean by -c s^2 / kT."""
    rng = np.random.default_rng(1)
    volume, spread, kT, slope = 1900.0, 55.0, BOLTZMANN_EV_K * 300, 4e-4  # A3, A3, eV, eV/A3
    volumes = rng.normal(volume, spread, 4000)
    errors = slope * volumes + rng.normal(0, 0.02, 4000)
    parity = SimpleNamespace(energy=torch.tensor(np.stack([np.zeros(4000), errors / 192], axis=1)).numpy())
    pressure = pressure_error(volumes, parity, 192)
    assert pressure.value == pytest.approx(-slope * BAR_PER_EV_A3, abs=4 * pressure.standard_error)
    assert 2 < pressure.standard_error < 20
    kappa = spread**2 / (kT * volume) * 1e4 / BAR_PER_EV_A3  # 1/GPa
    truth = Properties(density=Estimate(1.0, 0, "g/cm3", 1), compressibility=Estimate(kappa, 0, "1/GPa", 1))
    found = density_from_pressure(truth, pressure)
    exact = volume / (volume - slope * spread**2 / kT)
    assert found.value == pytest.approx(exact, abs=0.002)
    assert json.loads(json.dumps(vars(found))) == vars(found)
