"""The teacher COMB3 by real LAMMPS, and the systems that start from frames of a molecule on a surface."""

from pathlib import Path

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame, shortest
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.generate.systems.surfaces import Displaced, DisplacedConfig
from tlmd.generate.teachers.comb3 import COMB3, COMB3Config
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

from ..surfaces import formate_on_copper

INPUTS = Path(__file__).parents[2] / "inputs" / "benchmarks" / "cu_formate"
TOML = """
seed = 3
[teacher]
name = "comb3"
[systems.thermal]
kind = "trajectory"
file = "surface.extxyz"
frames = 2
equilibrate_ps = 0.01
spacing_ps = 0.01
displacement_A = [0.0, 0.05]
[systems.displaced]
kind = "displaced"
file = "surface.extxyz"
adsorbate = ["C", "O", "H"]
frames = 4
[systems.again]
kind = "file"
file = "surface.extxyz"
frames = 2
"""


@pytest.fixture(scope="module")
def teacher():
    teacher = COMB3(COMB3Config(name="comb3", charge_precision=1e-6))
    yield teacher
    teacher.close()


@pytest.fixture(scope="module")
def frame():
    return formate_on_copper()


@pytest.fixture(scope="module")
def file(toml):
    """The frames that the systems of TOML start from."""
    path = toml.parent / "surface.extxyz"
    write_frames(path, [formate_on_copper(seed).replace(info={"frame": seed}) for seed in range(1, 5)])
    return path


@pytest.fixture(scope="module")
def finished(toml, file):
    config = load_config(GenerateConfig, toml)
    return config, read_frames(driver.generate(config, toml.parent / "whole"))


def test_label_depends_on_the_frame_only(teacher, frame):
    first = teacher.label(frame)
    moves = np.random.default_rng(1).normal(scale=0.05, size=frame.positions.shape)
    rattled = frame.replace(positions=frame.positions + moves)
    assert abs(teacher.label(rattled).energy - first.energy) > 0.1
    other = COMB3(COMB3Config(name="comb3", charge_precision=1e-6))
    for again in (teacher.label(frame), other.label(frame)):
        assert again.energy == pytest.approx(first.energy, abs=1e-9)
        np.testing.assert_allclose(again.forces, first.forces, atol=1e-8)
        np.testing.assert_allclose(again.stress, first.stress, atol=1e-10)
    other.close()
    np.testing.assert_allclose(first.forces.sum(0), 0.0, atol=1e-8)


def test_the_order_of_the_atoms_and_whole_cells_do_not_matter(teacher, frame):
    order = np.random.default_rng(2).permutation(len(frame))
    moved = frame.positions + np.random.default_rng(3).integers(-1, 2, (len(frame), 3)) @ frame.cell
    other = teacher.label(Frame(frame.numbers[order], moved[order], frame.cell, frame.pbc))
    wanted = teacher.label(frame)
    assert other.energy == pytest.approx(wanted.energy, abs=1e-5)
    np.testing.assert_allclose(other.forces, wanted.forces[order], atol=1e-4)


def test_charges_are_equilibrated(teacher, frame):
    """At q = 0 the energy is higher by more than an electronvolt, and the forces of a label belong to its charges."""
    equilibrated = teacher.label(frame).energy
    assert teacher._serial.lammps.get_thermo("step") == 0
    charges = np.array(teacher._serial.lammps.gather_atoms("q", 1, 1))
    assert charges.sum() == pytest.approx(0.0, abs=1e-9)
    assert (charges[frame.numbers == 8] < -0.2).all() and charges[frame.numbers == 6] > 0.1
    teacher._setup(frame, 1, 1e-6)
    assert teacher._labelled(frame).energy > equilibrated + 0.5


def test_forces_and_stress_are_derivatives(teacher, frame):
    wanted, step = teacher.label(frame), 1e-3
    for atom, axis in ((0, 0), (1, 2), (10, 2), (27, 1)):
        energies = []
        for sign in (1, -1):
            positions = frame.positions.copy()
            positions[atom, axis] += sign * step
            energies.append(teacher.label(frame.replace(positions=positions)).energy)
        assert wanted.forces[atom, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=0.01)
    energies = []
    for sign in (1, -1):
        strain = np.diag([1 + sign * step, 1.0, 1.0])
        strained = frame.replace(positions=frame.positions @ strain, cell=frame.cell @ strain)
        energies.append(teacher.label(strained).energy)
    slope = (energies[0] - energies[1]) / (2 * step) / np.linalg.det(frame.cell)
    assert wanted.stress[0, 0] == pytest.approx(slope, rel=0.02)


def test_what_comb3_cannot_label_is_refused(teacher, frame):
    numbers = frame.numbers.copy()
    numbers[10:12] = 79, 47
    with pytest.raises(InputError, match=r"atoms of Ag, Au; wanted elements of COMB3: H, C, N, O, Ti, Cu, Zn, Zr"):
        teacher.label(frame.replace(numbers=numbers))
    open_frame = frame.replace(pbc=np.zeros(3, bool), cell=np.zeros((3, 3)))
    for refuse in (teacher.label, teacher.unfit):
        with pytest.raises(InputError, match="all directions periodic"):
            refuse(open_frame)
    with pytest.raises(InputError, match="a lower-triangular cell"):
        teacher.label(frame.replace(cell=frame.cell[[1, 0, 2]]))
    positions = frame.positions.copy()
    positions[3] = positions[0] + [0.5, 0, 0]
    assert teacher.unfit(frame) is None and teacher.unfit(frame.replace(positions=positions)) == "contact"
    for distance, reason in ((2.58, None), (2.66, "C-Cu"), (2.74, None)):
        positions = np.array([[0, 0, frame.cell[2, 2] - 1.0], [0, 0, distance - 1.0]])
        pair = Frame(np.array([6, 29]), positions, frame.cell, frame.pbc)
        assert teacher.unfit(pair) == reason


def test_missing_potentials_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMMPS_POTENTIALS", str(tmp_path))
    with pytest.raises(InputError, match=r"ffield\.comb3.*set LAMMPS_POTENTIALS"):
        COMB3(COMB3Config(name="comb3"))


def test_small_set(finished):
    config, frames = finished
    kinds = [frame.info["kind"] for frame in frames]
    assert kinds.count("trajectory") == 2 and 1 <= kinds.count("displaced") <= 4 and kinds.count("file") == 2
    assert all(frame.stress is not None and frame.info["frame"] in range(1, 5) for frame in frames)
    assert max(np.abs(frame.forces).max() for frame in frames) <= config.max_force


def test_moves(frame, file):
    settings = DisplacedConfig(
        kind="displaced", file=file, frames=60, adsorbate=["C", "O", "H"],
        displacement_A=(0.0, 0.0), moved=1.0, transferred=0.0, stretch=(1.0, 1.0), lift_A=(2.0, 2.0), shift_A=0.0,
    )  # fmt: skip
    system, rng = Displaced(settings), np.random.default_rng(1)
    moved = system.moved(frame, rng)
    copper = frame.numbers == 29
    np.testing.assert_array_equal(moved.positions[copper], frame.positions[copper])
    lifted = moved.positions[~copper] - frame.positions[~copper]
    assert np.linalg.norm(lifted, axis=1).min() > 0.5
    settings = settings.model_copy(update={"moved": 0.0, "transferred": 1.0})
    carried = Displaced(settings).moved(frame, rng)
    assert (np.flatnonzero((carried.positions != frame.positions).any(1)) == np.flatnonzero(frame.numbers == 1)).all()
    frames = list(Displaced(settings).spread(0))  # more than the file has: repeated
    assert len(frames) == system.count(0) and frames[0].energy is None
    assert 0.5 < shortest(frame) < 1.4


def test_an_adsorbate_that_is_not_there_is_refused(frame, file):
    settings = DisplacedConfig(kind="displaced", file=file, frames=1, adsorbate=["N"])
    with pytest.raises(InputError, match="frames without N in"):
        Displaced(settings).moved(frame, np.random.default_rng(1))


def test_committed_configuration():
    config = load_config(GenerateConfig, INPUTS / "classical.toml")
    assert config.teacher.name == "comb3" and sum(system.frames for system in config.systems.values()) >= 1500
