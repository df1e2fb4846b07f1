"""tl-calibrate with `field`: a known force field is recovered from labels by it, in boxes and free; refusals."""

import json
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tlmd import cli
from tlmd.calibrate.bonded import Angle, Bond
from tlmd.calibrate.config import CalibrateConfig
from tlmd.calibrate.fit import calibrate
from tlmd.calibrate.least_squares import Normal, products, solved
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.generate.teachers.lammps import Lammps, LammpsFilesConfig
from tlmd.run.config import load_config

# Methanol and water, of tests/data/liquid: types C, O, H of methyl, H of hydroxyl, O and H of water.
BONDED = """
bond_coeff 1 280.0 1.43
bond_coeff 4 500.0 0.99
angle_coeff 2 41.0 107.0
angle_coeff 3 49.0 111.5
angle_coeff 4 42.0 109.0
set type 1 charge 0.100
set type 2 charge -0.600
set type 3 charge 0.035
set type 4 charge 0.395
set type 5 charge -0.76
set type 6 charge 0.38
"""
PAIRS = "pair_coeff 2 2 0.25 3.00\npair_coeff 3 3 0.05 2.40\npair_coeff 5 5 0.20 3.10\n"
CONFIG = """
strengths = [1e-6]
[data]
train = "train.extxyz"
test = "test.extxyz"
level_of_theory = "a known force field"
[terms]
cutoff_A = 5.0
spacing_A = 0.3
[field]
data = "mixture.data"
include = "opls.in"
variables = {accuracy = 1e-6}
"""


def row(teacher, kinds, seed, edge=None, spacing=4.3):
    """Molecules on a lattice in random orientations, atoms displaced."""
    rng, places, n = np.random.default_rng(seed), [], int(np.ceil(np.cbrt(len(kinds))))
    for k, kind in enumerate(kinds):
        turned = Rotation.random(random_state=rng).apply(teacher.species[kind].shape(rng))
        places.append(turned + spacing * np.array([k % n, k // n % n, k // n**2]))
    positions = np.concatenate(places)
    numbers = np.concatenate([teacher.species[kind].numbers for kind in kinds])
    box = () if edge is None else (np.eye(3) * edge, np.ones(3, bool))
    return Frame(numbers, positions + rng.normal(scale=0.05, size=positions.shape), *box)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """The force field, calibrate.toml, and frames with labels by two others: boxes, clusters and single molecules."""
    folder, data = tmp_path_factory.mktemp("field"), request.config.rootpath / "tests" / "data" / "liquid"
    given = (data / "opls.in").read_text()
    for name, text in (("opls.in", given), ("bonded.in", given + BONDED), ("pairs.in", given + PAIRS + BONDED)):
        (folder / name).write_text(text)
    (folder / "mixture.data").write_text((data / "mixture.data").read_text())
    (folder / "calibrate.toml").write_text(CONFIG)
    for name in ("bonded", "pairs"):
        keys = {"data": folder / "mixture.data", "variables": {"accuracy": 1e-6}}
        teacher = Lammps(LammpsFilesConfig(name="lammps", include=folder / f"{name}.in", **keys))
        frames = [row(teacher, [0, 1, 0, 0, 1, 0, 1, 0], seed, 8.6) for seed in range(9)]
        frames += [row(teacher, [0, 1, 1], 10, spacing=3.6), row(teacher, [0], 11), row(teacher, [1], 12)]
        labelled = [teacher.label(frame) for frame in frames]
        write_frames(folder / f"{name}.extxyz", labelled[1:])
        write_frames(
            folder / f"{name}-test.extxyz", [*labelled[:1], teacher.label(row(teacher, [1, 0], 13, spacing=3.6))]
        )
        teacher.close()
    return folder


def calibrated(folder, name, *overrides):
    overrides = [f"data.train={name}.extxyz", f"data.test={name}-test.extxyz", *overrides]
    config = load_config(CalibrateConfig, folder / "calibrate.toml", overrides)
    return calibrate(config, folder / f"run-{name}")


def test_bonds_angles_and_charges_are_recovered(folder):
    """These lie within the terms: harmonic bonds become class2, and angles keep their cross terms."""
    errors = calibrated(folder, "bonded", 'field.correct=["bonds","angles","charges"]')
    assert errors["test before"].rmse("forces") > 200  # meV/A
    assert errors["test"].rmse("forces") < 1.0 and errors["test"].rmse("energy") < 0.1
    assert errors["test"].rmse("pressure") < 30  # bar
    text = (folder / "run-bonded" / "forcefield.in").read_text()
    assert "table" not in text and not (folder / "run-bonded" / "forcefield.table").exists()
    lines = {
        tuple(line.split()[:3]): line.split()[3:] for line in text.splitlines() if line.startswith(("set", "bond_c"))
    }
    assert float(lines["set", "type", "2"][1]) == pytest.approx(-0.600, abs=2e-3)
    last = [line.split() for line in text.splitlines() if line.startswith("bond_coeff 4")][-1]
    assert [float(word) for word in last[2:4]] == pytest.approx([0.99, 500.0], rel=2e-3)
    record = json.loads((folder / "run-bonded" / "errors.json").read_text())
    assert record["test before"]["force_rmse_mev_per_A"] > 100 * record["test"]["force_rmse_mev_per_A"]


def test_other_radii_are_taken_up_by_splines(folder):
    errors = calibrated(folder, "pairs")
    assert errors["test"].rmse("forces") < 0.1 * errors["test before"].rmse("forces")
    field = {"data": folder / "mixture.data", "variables": {"accuracy": 1e-6}}
    teacher = Lammps(LammpsFilesConfig(name="lammps", include=folder / "run-pairs" / "forcefield.in", **field))
    frame, step = row(teacher, [0, 1], 14, spacing=3.6), 1e-3
    label = teacher.label(frame)
    ends = [
        teacher.label(frame.replace(positions=frame.positions + s * step * np.eye(9, 3, -1))).energy for s in (1, -1)
    ]
    assert (label.forces * np.eye(9, 3, -1)).sum() == pytest.approx((ends[1] - ends[0]) / (2 * step), abs=5e-3)
    assert teacher.trajectory(frame, 300.0, 0.01, 0.005, 1, 1).__next__().positions.shape == (9, 3)
    teacher.close()


class Water:
    """What terms ask of a geometry: one water molecule at positions (3, 3)."""

    bonds, angles = {"1": np.array([[0, 1], [0, 2]])}, {"1": np.array([[1, 0, 2]])}

    def __init__(self, positions):
        self.positions = positions

    def __len__(self):
        return 3


@pytest.mark.parametrize("alike", [True, False])
def test_columns_are_derivatives(alike):
    at = np.array([[0, 0, 0], [0.95, 0.1, 0], [-0.2, 1.0, 0.1]])
    numbers = {"": [104.0, 2.0, -1.0, 0.5], "bb": [0.1, 1.0, 0.9], "ba": [0.2, 0.3, 1.0, 0.9]}
    for term in (Angle("1", numbers, 1.0, np.array([0.9, 1.0]), alike), Bond("1", {"": [20.0, 0.95]}, 1.0)):
        found, turn = term.columns(Water(at)), np.random.default_rng(1).normal(size=(3, 3))
        for move, derivative in (
            (turn, -np.einsum("nap,na->p", found.forces, turn)),
            (at @ turn, np.einsum("abp,ba->p", found.strain, turn)),
        ):
            up, down = (term.columns(Water(at + s * 1e-5 * move)).energy for s in (1, -1))
            assert (up - down) / 2e-5 == pytest.approx(derivative, abs=1e-7)


def test_what_an_equilibrium_angle_moves():
    """The energy of class2 with the coefficients written is that of the terms, and a constant."""
    given = {"": [104.0, 2.0, -1.0, 0.5], "bb": [0.1, 1.0, 0.9], "ba": [0.2, 0.3, 1.0, 0.9]}
    term, change = Angle("1", given, 1.0, np.ones(2), False), np.array([0.1, -0.2, 0.1, 0.05, 0.07, -0.05, 0.1])
    rng, rest = np.random.default_rng(2), []

    def class2(numbers, x, y, angle):
        t = angle - np.deg2rad(numbers[""][0])
        (m, r1, r2), (n1, n2, s1, s2) = numbers["bb"], numbers["ba"]
        energy = sum(k * t**p for p, k in enumerate(numbers[""][1:], 2))
        return energy + m * (x - r1) * (y - r2) + n1 * (x - s1) * t + n2 * (y - s2) * t

    factors, slopes = term.moved(change)
    for _ in range(5):
        at = np.array([[0, 0, 0], [0.95, 0.1, 0], [-0.2, 1.0, 0.1]]) + rng.normal(scale=0.1, size=(3, 3))
        arms = at[1:] - at[0]
        x, y = np.linalg.norm(arms, axis=1)
        angle = np.arccos(arms[0] @ arms[1] / (x * y))
        terms = term.columns(Water(at)).energy @ np.concatenate([change, factors])
        rest.append(class2(term.written(change), x, y, angle) - class2(given, x, y, angle) - terms)
    assert np.ptp(rest) < 1e-9
    for k in range(term.size):
        step = 1e-6 * np.eye(term.size)[k]
        by_step = (term.moved(change + step)[0] - term.moved(change - step)[0]) / 2e-6
        assert slopes[:, k] == pytest.approx(by_step, abs=1e-6)


def test_coefficients_that_enter_squared():
    rng = np.random.default_rng(3)
    rows, c = rng.normal(size=(30, 3 + 3)), np.array([0.5, -0.3, 0.8])

    def curve(change):
        values, slopes = products(change[1:])
        return np.concatenate([change, values]), np.concatenate([np.eye(3), np.pad(slopes, ((0, 0), (1, 0)))])

    total = Normal.of(rows, rows @ curve(c)[0])
    found, about = solved(total, np.zeros((3, 3)), curve)
    assert found == pytest.approx(c, abs=1e-6)
    assert total.linear(*about).residual(found) == pytest.approx(0.0, abs=1e-9)


def test_refusals(folder, monkeypatch, capsys):
    given = (folder / "opls.in").read_text()
    morse = given.replace("bond_style harmonic", "bond_style morse")
    for kind in "1234":
        morse = morse.replace(f"\nbond_coeff {kind} ", f"\nbond_coeff {kind} 100.0 2.0 1.0 # ")
    (folder / "morse.in").write_text(morse)
    box = Frame(np.array([8, 1, 1, 6]), np.arange(12.0).reshape(4, 3), np.eye(3) * 15, np.ones(3, bool), 1.0)
    write_frames(folder / "other.extxyz", [box])
    for number, (override, words) in enumerate(
        (
            (
                "data.train=other.extxyz",
                "frame 0 of data.train with atoms C from atom 4 of 4 on; wanted molecules of mix",
            ),
            (
                "field.include=morse.in",
                "bond_style morse; wanted bond types of the styles harmonic or class2; take bonds",
            ),
            ("n_frames=1", "coefficients; wanted no fewer labels; give more frames"),
            ("field.include=opls.inn", "no file"),
            ("field.variables={precision=1}", "precision"),
            ("field.correct=[]", "field.correct"),
            ("field.corect=[]", "corect"),
        )
    ):
        arguments = ["tl-calibrate", str(folder / "calibrate.toml"), "--out", str(folder / f"bad{number}")]
        settings = ["data.train=bonded.extxyz", "data.test=bonded-test.extxyz", override]
        monkeypatch.setattr(sys, "argv", [*arguments, *(word for each in settings for word in ("--set", each))])
        with pytest.raises(SystemExit) as caught:
            cli.calibrate()
        error = capsys.readouterr().err
        assert caught.value.code == 1 and words in error.replace("\n", " "), error
