"""tl-oracle on SPC/Fw water: its labels are the potential's own, its estimates are right where the truth is known."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from ase.io import read

from tlmd.analysis.statistics import Estimate
from tlmd.analysis.thermo import read_log
from tlmd.export import export_model
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame, minimum_image
from tlmd.frames.read import read_frames
from tlmd.generate.teachers.spcfw import SPCFw, SPCFwConfig
from tlmd.oracle.config import OracleConfig
from tlmd.oracle.oracle import oracle
from tlmd.oracle.properties import Properties, density_from_pressure, difference, of_npt, pressure_error, radial
from tlmd.oracle.simulate import Labels, Run, label, simulate
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
[sets.given]
file = "given.extxyz"
n_train = 4
n_valid = 2
[methods.tpainn]
stage = "finetune"
config = "{INPUTS.parent / "finetune.toml"}"
[methods.other]
stage = "finetune"
config = "{INPUTS.parent / "finetune.toml"}"
frames = "given"
md = false
[md]
equilibrate_ps = 0.02
npt_ps = 0.4
nvt_ps = 0.2
"""


def rattled(count):
    """The water of the data file with other positions and boxes."""
    atoms, rng = (
        read(INPUTS / "water64.data", format="lammps-data", units="real", sort_by_id=True),
        np.random.default_rng(1),
    )
    for _ in range(count):
        scale = rng.uniform(1.0, 1.05)
        positions = scale * atoms.positions + rng.normal(scale=0.02, size=(192, 3))
        yield Frame(atoms.numbers, positions, scale * atoms.cell.array, np.ones(3, bool), energy=0.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which tl-oracle has done its work, small but whole."""
    folder = tmp_path_factory.mktemp("an oracle")
    (folder / "spcfw.in").write_text((INPUTS / "spcfw.in").read_text())
    (folder / "oracle.toml").write_text(TOML)
    write_frames(folder / "given.extxyz", list(rattled(6)))
    oracle(load_config(OracleConfig, folder / "oracle.toml"), folder / "oracle")
    return folder


def test_one_row_for_each_model(finished):
    row, other = csv.DictReader((finished / "oracle" / "oracle.csv").read_text().splitlines())
    assert (row["method"], row["frames"], row["seed"]) == ("tpainn", "3", "1")
    for name in ("density", "vaporisation", "compressibility", "pressure_error_bar", "density_estimated"):
        assert np.isfinite(float(row[name])) and float(row[f"{name}_error"]) > 0
    assert row["diffusion"] == ""  # 0.2 ps give none
    assert (other["method"], other["set"], other["density"]) == ("other", "given", "")
    assert np.isfinite(float(other["pressure_error_bar"]))
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


def test_frames_of_a_file_get_the_labels_of_the_potential(finished):
    sets, teacher = finished / "oracle" / "sets" / "given", SPCFw(SPCFwConfig())
    frames = [*read_frames(sets / "train.extxyz.xz"), *read_frames(sets / "valid.extxyz.xz")]
    given = [frame for index, frame in enumerate(rattled(6)) if index not in (0, 5)] + [*rattled(6)][::5]
    assert len(frames) == 6
    for frame, known in zip(frames, given, strict=True):
        assert np.abs(minimum_image(frame.positions - known.positions, known.cell)).max() < 1e-6
        assert np.allclose(frame.cell, known.cell)
        assert np.abs(frame.forces - teacher.label(known).forces).max() < 2e-3
    teacher.close()


def test_the_same_command_goes_on_and_changes_nothing(finished):
    out = finished / "oracle"
    (model,) = (out / "models").glob("two-*")
    (model / "nvt" / "md.log").unlink()  # as if it had been killed there
    (model / "nvt" / ".left.tmp").mkdir()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.gz") if path.parent != model / "nvt"}
    assert len(kept) == 8  # npt, gas, nvt of the oracle, two runs of a set, a file's frames, npt and gas of the model
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
    (model,) = (finished / "oracle" / "models").glob("two-*")
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
        ("temperature_K = [300]", 'file = "given.extxyz"', "pressure_bar or density_g_cm3 or file"),
        ('include = "spcfw.in"', "", "include or calculator"),
        ('file = "given.extxyz"', 'file = "wrong.extxyz"', "the atoms of potential.data in its order"),
        ("sizes = [3]", "sizes = [5]", "size 5"),
        ("pair_style lj/cut/coul/long 9.0", "pair_style unheard/of 9.0", "LAMMPS stopped: ERROR: Unrecognized pair"),
    ],
)
def test_bad_input_is_one_line(tmp_path, old, new, message):
    files = {"oracle.toml": TOML, "spcfw.in": (INPUTS / "spcfw.in").read_text()}
    write_frames(tmp_path / "given.extxyz", list(rattled(1)))
    write_frames(tmp_path / "wrong.extxyz", [frame.replace(numbers=frame.numbers[::-1]) for frame in rattled(1)])
    assert any(old in text for text in files.values())
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace(old, new))
    command = [sys.executable, "-P", "-c", "from tlmd.cli import oracle; oracle()", str(tmp_path / "oracle.toml")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line]
    assert message in line


def test_ase_in_lammps_is_the_pair_style(tmp_path):
    """NPT and labels by an ASE calculator, through fix external, and by the pair style of the same model."""
    given = {"data": water_inputs() / "water64.data", "units": "metal", "elements": ["O", "H"]}
    run = {"ensemble": "npt", "temperature_K": 300, "pressure_bar": 1, "timestep_fs": 1, "thermostat_fs": 100}
    run |= {"barostat_fs": 500, "equilibrate_ps": 0.005, "ps": 0.04, "every_fs": 20}
    export_model("water-gfn1-f64", tmp_path / "model.pt")
    ase = {"calculator": "tlmd.calculator:TLCalculator", "arguments": {"model": "water-gfn1-f64"}}
    found, labels = [], []
    for name, potential in {"pair": {"model": tmp_path / "model.pt"}, "ase": ase}.items():
        simulate(Run(**given, **run, **potential), tmp_path / name)
        label(Labels(**given, **potential, dump=tmp_path / name / "md.dump.gz"), tmp_path / name / "labels")
        found.append(read_log(tmp_path / name / "md.log").runs[-1].columns)
        labels.append(read_frames(tmp_path / name / "labels" / "frames.extxyz.xz"))
    assert len(found[0]["Step"]) == 3 and len(labels[0]) == 3
    assert np.ptp(found[0]["Volume"]) > 1
    for column, within in {"PotEng": 0.01, "Press": 0.5, "Volume": 1e-3, "Temp": 1e-2}.items():
        assert np.abs(found[0][column] - found[1][column]).max() < within
    for one, other in zip(*labels, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-3)
        assert np.abs(one.forces - other.forces).max() < 2e-4
        assert np.abs(one.stress - other.stress).max() < 1e-6


def test_density_of_a_calculator_that_labels_what_an_include_runs(tmp_path):
    """SPC/Fw runs, and labels by itself through ASE but for a pressure of 300 bar: E' = E - P V."""
    (tmp_path / "shifted.py").write_text(SHIFTED)
    text = TOML[: TOML.index("[sets.given]")] + TOML[TOML.index("[methods.tpainn]") : TOML.index("[methods.other]")]
    text = text.replace('labels = {accuracy = "1e-6"}', 'calculator = "shifted.py:Shifted"')
    text = text.replace("gas = ", "# gas = ").replace("npt_ps = 1.0", "npt_ps = 2.0")
    (tmp_path / "spcfw.in").write_text((INPUTS / "spcfw.in").read_text().replace("tail yes", "tail no"))
    (tmp_path / "oracle.toml").write_text(text + "[md]\nsizes = []\n")
    oracle(load_config(OracleConfig, tmp_path / "oracle.toml"), tmp_path / "oracle")
    npt = of_npt(tmp_path / "oracle" / "truth" / "npt")
    rho, kappa = npt["density"].value, npt["compressibility"].value
    line = next(x for x in (tmp_path / "oracle" / "table.md").read_text().splitlines() if x.startswith("| oracle"))
    found = float(line.split("|")[7].split()[0])
    assert found == pytest.approx(rho * (1 - kappa * 1e-4 * 300), abs=2e-4)


SHIFTED = """
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from tlmd.frames.frame import Frame, minimum_image
from tlmd.generate.teachers.spcfw import SPCFw, SPCFwConfig
from tlmd.units import BAR_PER_EV_A3

class Shifted(Calculator):
    implemented_properties = ["energy", "forces", "stress"]
    teacher = SPCFw(SPCFwConfig())

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        frame = self.teacher.label(Frame.from_atoms(self.atoms))
        pressure = 300 / BAR_PER_EV_A3
        stress = (frame.stress - pressure * np.eye(3))[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        energy = frame.energy - pressure * self.atoms.get_volume()
        self.results = {"energy": energy, "forces": frame.forces, "stress": stress}
"""


def test_pressure_and_density_where_the_truth_is_known():
    """Volumes of a harmonic box, F(V) = (V - V0)^2 / (2 s^2 / kT): an error c V shifts the mean by -c s^2 / kT."""
    rng = np.random.default_rng(1)
    volume, spread, kT, slope = 1900.0, 55.0, BOLTZMANN_EV_K * 300, 4e-4  # A3, A3, eV, eV/A3
    volumes = rng.normal(volume, spread, 4000)
    errors = slope * volumes + rng.normal(0, 0.02, 4000)
    pressure = pressure_error(volumes, errors)
    assert pressure.value == pytest.approx(-slope * BAR_PER_EV_A3, abs=4 * pressure.standard_error)
    assert 2 < pressure.standard_error < 20
    kappa = spread**2 / (kT * volume) * 1e4 / BAR_PER_EV_A3  # 1/GPa
    truth = Properties(density=Estimate(1.0, 0, "g/cm3", 1), compressibility=Estimate(kappa, 0, "1/GPa", 1))
    found = density_from_pressure(truth, pressure)
    exact = volume / (volume - slope * spread**2 / kT)
    assert found.value == pytest.approx(exact, abs=0.002)
    assert json.loads(json.dumps(vars(found))) == vars(found)
