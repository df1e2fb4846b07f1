"""tl-calibrate with real LAMMPS: the include gives the fitted energies, pairs repel below the data, refusals."""

import json
import shutil
import sys

import numpy as np
import pytest

from tlmd import cli
from tlmd.calibrate.config import CalibrateConfig, CalibrateTermsConfig
from tlmd.calibrate.fit import calibrate, normal, refuse_not_finite, solve, whole
from tlmd.calibrate.forcefield import molecule, pair_energies
from tlmd.calibrate.splines import nuclear
from tlmd.calibrate.terms import ANGLE, BOND_A, DEGREE, INTRAMOLECULAR, Terms, intramolecular, molecules_of
from tlmd.evaluate.errors import Errors
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.generate.teachers.calibrated import Calibrated, CalibratedConfig
from tlmd.generate.teachers.lammps_water import LammpsWater
from tlmd.generate.teachers.spcfw import SPCFw, SPCFwConfig
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

BOX = """
seed = 5
[teacher]
name = "spcfw"
[systems.bulk]
kind = "bulk"
molecules = 27
frames = 7
frames_per_item = 1
equilibrate_ps = 0.5
temperature_K = [300, 400]
density_g_cm3 = [0.95, 1.05]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven SPC/Fw frames, atoms shuffled, and calibrate.toml."""
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "box.toml").write_text(BOX)
    frames = read_frames(driver.generate(load_config(GenerateConfig, folder / "box.toml"), folder / "box"))
    rng = np.random.default_rng(1)
    shuffled = []
    for frame in frames:
        order = rng.permutation(len(frame))
        moved = {"numbers": frame.numbers[order], "positions": frame.positions[order], "forces": frame.forces[order]}
        shuffled.append(frame.replace(**moved))
    write_frames(folder / "train.extxyz", shuffled[:6])
    write_frames(folder / "test.extxyz", shuffled[6:])
    (folder / "calibrate.toml").write_text(
        'data = {train = "train.extxyz", test = "test.extxyz", level_of_theory = "SPC/Fw"}\n'
    )
    return folder


@pytest.fixture(scope="module")
def calibrated(folder):
    config = load_config(CalibrateConfig, folder / "calibrate.toml")
    return config, calibrate(config, folder / "run"), folder / "run"


def test_molecules_are_found_across_the_box(folder):
    frame = read_frames(folder / "train.extxyz")[0]
    molecules = molecules_of(frame)
    assert sorted(molecules.atoms) == list(range(len(frame)))
    assert (frame.numbers[molecules.atoms].reshape(-1, 3) == [8, 1, 1]).all()
    bonds = np.linalg.norm(molecules.positions[:, 1:] - molecules.positions[:, :1], axis=-1)
    assert bonds.min() > 0.8 and bonds.max() < 1.3
    moved = (molecules.positions.reshape(-1, 3) - frame.positions[molecules.atoms]) @ np.linalg.inv(frame.cell)
    assert np.abs(moved - np.round(moved)).max() < 1e-9


def test_intramolecular_forces_are_derivatives():
    rng = np.random.default_rng(2)
    water = np.array([[0, 0, 0], [0.95, 0.1, 0], [-0.2, 1.0, 0.1]]) + rng.normal(scale=0.05, size=(2, 3, 3))
    forces = intramolecular(water)[1].reshape(2, 3, 3, INTRAMOLECULAR)
    for at in [(0, 0, 1), (0, 1, 0), (1, 2, 2), (1, 2, 1)]:
        ends = []
        for sign in (1, -1):
            moved = water.copy()
            moved[at] += sign * 1e-5
            ends.append(intramolecular(moved)[0])
        assert forces[at] == pytest.approx(-(ends[0] - ends[1]) / 2e-5, abs=1e-7)


def test_a_harmonic_model_without_cross_terms_is_class2_of_itself():
    coefficients = np.zeros(INTRAMOLECULAR)
    coefficients[:2] = [-0.2, 10.0]  # minimum at +0.01 A
    coefficients[DEGREE : DEGREE + 2] = [0.04, 2.0]  # minimum at -0.01 rad
    bond, angle, bond_bond, bond_angle = molecule(coefficients)
    assert bond == pytest.approx([BOND_A + 0.01, 10.0, 0.0, 0.0])
    assert angle == pytest.approx([np.rad2deg(ANGLE - 0.01), 2.0, 0.0, 0.0])
    assert bond_bond == bond_angle == 0.0
    coefficients[1] = -10.0
    with pytest.raises(InputError, match="a bond without one minimum"):
        molecule(coefficients)


def test_fit_explains_its_own_kind(calibrated):
    _, errors, run = calibrated
    assert errors["train"].n_frames == 6 and errors["test"].n_frames == 1
    assert errors["test"].rmse("forces") < 12  # meV/A of some 1000: SPC/Fw lies nearly inside the terms
    record = json.loads((run / "errors.json").read_text())
    assert record["test"]["force_rmse_mev_per_A"] == pytest.approx(errors["test"].rmse("forces"))


def test_include_gives_what_was_fitted(calibrated, folder):
    config, _, run = calibrated
    terms = Terms(config.terms)
    frames = read_frames(folder / "train.extxyz")
    pairs = [(frame, molecules_of(frame)) for frame in frames]
    designs = [terms.design(molecules, frame.cell) for frame, molecules in pairs]
    equations = [normal(design, pair, terms, config, -1.0) for design, pair in zip(designs, pairs, strict=True)]
    _, coefficients = solve(equations, terms, config.strengths)
    teacher = Calibrated(CalibratedConfig(name="calibrated", include=run / "forcefield.in"))
    energies = []
    for design, (frame, molecules) in zip(designs, pairs, strict=True):
        whole = Frame(np.tile([8, 1, 1], 27), molecules.positions.reshape(-1, 3), frame.cell, frame.pbc)
        label = teacher.label(whole)
        fit = design.fixed_forces + design.forces @ coefficients
        assert np.abs(label.forces.ravel() - fit).max() < 2e-4
        energies.append(label.energy - design.fixed_energy - design.energy @ coefficients)
    assert np.ptp(energies) < 1e-4  # all but one constant
    step, at = 1e-3, (4, 1)
    ends = []
    for sign in (1, -1):
        positions = whole.positions.copy()
        positions[at] += sign * step
        ends.append(teacher.label(whole.replace(positions=positions)).energy)
    assert label.forces[at] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=2e-3)
    teacher.close()


def test_energies_alone_move_the_fit(folder):
    errors = []
    for strength in (1e-3, 1e5):
        settings = ["data.labels=energies", f"strengths=[{strength}]"]
        config = load_config(CalibrateConfig, folder / "calibrate.toml", settings)
        errors.append(calibrate(config, folder / f"energies{strength}")["train"].mae("energy"))
    assert errors[0] < 0.7 * errors[1]


def test_pairs_repel_below_the_data():
    terms = Terms(CalibrateTermsConfig())
    coefficients = terms.prior.copy()
    coefficients[terms.parts[2]] = -0.05
    lengths = np.linspace(0.5, 5.9, 600)
    energies, slopes = pair_energies(terms, coefficients, 1, lengths, 1.5)
    assert np.gradient(energies, lengths)[1:-1] == pytest.approx(slopes[1:-1], rel=2e-2, abs=2e-2)
    beyond = lengths < 1.5
    plain, _ = pair_energies(terms, coefficients, 1, lengths, 0.4)
    assert energies[~beyond] == pytest.approx(plain[~beyond])
    assert energies[0] > 5.0 and (slopes[beyond] <= slopes[~beyond][0]).all()


def test_nuclear_repulsion_of_hydrogen():
    """Two protons 0.0529 A apart: the screening function of the reduced distance 0.2258 gives 0.7936."""
    size = 0.46850 / 2
    x = 0.0529 / size
    screen = 0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x)
    screen += 0.28022 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.20162 * x)
    energy, slope = nuclear(np.array([0.0529, 0.0530]), 1, 1)
    assert energy[0] == pytest.approx(14.399645 / 0.0529 * screen, rel=1e-6)
    assert (energy[1] - energy[0]) / 1e-4 == pytest.approx(slope.mean(), rel=1e-4)


def test_calibrated_teacher_labels_a_file_anew(calibrated, folder):
    _, _, run = calibrated
    (folder / "again.toml").write_text(
        f'[teacher]\nname = "calibrated"\ninclude = "{run / "forcefield.in"}"\n'
        '[systems.same]\nkind = "file"\nfile = "box/frames.extxyz.xz"\nframes = 3\n'
        '[systems.cluster]\nkind = "cluster"\nframes = 2\nequilibrate_ps = 0.05\nspacing_ps = 0.01\n'
    )
    config = load_config(GenerateConfig, folder / "again.toml")
    frames = read_frames(driver.generate(config, folder / "again"))
    old = read_frames(folder / "box" / "frames.extxyz.xz")
    assert [frame.info["kind"] for frame in frames] == ["bulk", "bulk", "bulk", "cluster", "cluster"]
    for frame, before in zip(frames[:3], (old[0], old[3], old[6]), strict=True):
        assert np.array_equal(frame.positions, before.positions)
        rms = np.sqrt(np.mean((frame.forces - before.forces) ** 2))
        assert 0 < rms < 0.02 < np.sqrt(np.mean(before.forces**2))
    config = load_config(GenerateConfig, folder / "again.toml", ["systems.same.frames=9"])
    with pytest.raises(InputError, match="7 frames in .*wanted 9"):
        driver.generate(config, folder / "more")


def test_spcfw_by_the_same_class(folder):
    frame = read_frames(folder / "box" / "frames.extxyz.xz")[0]
    teacher = SPCFw(SPCFwConfig())
    assert isinstance(teacher, LammpsWater)
    assert teacher.label(frame).energy == pytest.approx(frame.energy, abs=1e-6)
    teacher.close()


def test_splines_that_reach_no_pair_give_no_force_field(folder):
    overrides = ["terms.cutoff_A=1.3", "terms.low_A=[0.5,0.5,0.5]"]
    config = load_config(CalibrateConfig, folder / "calibrate.toml", overrides)
    words = r"no O-O and no O-H and no H-H distance of two molecules below terms\.cutoff_A = 1\.3; .*raise terms\.cut"
    with pytest.raises(InputError, match=words):
        calibrate(config, folder / "short")
    assert not list((folder / "short").glob("forcefield*"))


def test_errors_that_are_not_numbers_are_refused():
    errors = Errors(n_frames=1)
    errors.number[0], errors.square[0], errors.absolute[0] = 1.0, float("nan"), 1.0
    with pytest.raises(InputError, match=r"energy_rmse_mev_per_atom = nan on the test frames; wanted a finite number"):
        refuse_not_finite({"train": Errors(n_frames=1), "test": errors})


@pytest.mark.parametrize("name", ["it's $x", 'ünï "q"'])
def test_a_run_folder_of_any_name(calibrated, folder, name, monkeypatch):
    """The whole of tl-calibrate and tl-generate in a folder whose name LAMMPS' input cannot hold."""
    here = folder / name
    here.mkdir()
    for file in ("train.extxyz", "test.extxyz", "calibrate.toml"):
        shutil.copy(folder / file, here)
    (here / "label.toml").write_text(
        '[teacher]\nname = "calibrated"\ninclude = "field ü/forcefield.in"\n'
        '[systems.same]\nkind = "file"\nfile = "train.extxyz"\nframes = 3\n'.replace("train", "ordered")
    )
    ordered = [whole([frame])[0] for frame in read_frames(here / "train.extxyz")]
    write_frames(
        here / "ordered.extxyz",
        (Frame(np.tile([8, 1, 1], 27), m.positions.reshape(-1, 3), f.cell, f.pbc) for f, m in ordered),
    )
    monkeypatch.chdir(here)
    for command, arguments in ((cli.calibrate, ["calibrate.toml", "field ü"]), (cli.generate, ["label.toml", "out"])):
        monkeypatch.setattr(sys, "argv", ["tl", arguments[0], "--out", arguments[1]])
        with pytest.raises(SystemExit) as ended:
            command()
        assert ended.value.code in (0, None)
    assert (here / "field ü" / "forcefield.table").read_bytes() == (calibrated[2] / "forcefield.table").read_bytes()
    assert len(read_frames(here / "out" / "frames.extxyz.xz")) == 3


def test_refusals(folder, monkeypatch, capsys):
    salt = read_frames(folder / "train.extxyz")[0]
    write_frames(folder / "salt.extxyz", [salt.replace(numbers=np.where(salt.numbers == 8, 11, salt.numbers))])
    arguments = ["tl-calibrate", str(folder / "calibrate.toml"), "--out"]
    for number, (override, words) in enumerate(
        (
            ("data.train=salt.extxyz", "a frame that is not periodic H2O"),
            ("n_frames=7", "n_frames = 7"),
            ("terms.spacing=1", "spacing_A'"),
            ("terms.cutoff_A=1.0", "terms"),
            ("terms.cutoff_A=1e6", "terms.cutoff_A"),
            ("terms.ridge=inf", "terms.ridge"),
            ("strengths=[]", "strengths"),
            ("strengths=[inf]", "strengths"),
        )
    ):
        monkeypatch.setattr(sys, "argv", [*arguments, str(folder / f"bad{number}"), "--set", override])
        with pytest.raises(SystemExit) as caught:
            cli.calibrate()
        assert caught.value.code == 1
        assert words in capsys.readouterr().err
    with pytest.raises(InputError, match="no file"):
        Calibrated(CalibratedConfig(name="calibrated", include=folder / "nothing.in"))
