"""tl-generate with real LAMMPS: labels, resuming, ranks, refusals."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tlmd import cli
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.composition import nearest_contact
from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.items import finished as finished_item
from tlmd.generate.items import items_of, make
from tlmd.generate.teachers.lammps_water import water
from tlmd.generate.teachers.spcfw import ANGLE_DEG, BOND_A, SPCFw, SPCFwConfig
from tlmd.run.config import load_config
from tlmd.run.errors import InputError
from tlmd.run.folder import PARTS, RunFolder
from tlmd.units import EV_PER_KCAL_MOL

COMMITTED = Path(__file__).parents[2] / "inputs" / "water" / "classical.toml"
TOML = """
seed = 3
[teacher]
name = "spcfw"
cutoff_A = 5.0
[systems.bulk]
kind = "bulk"
molecules = 8
frames = 4
frames_per_item = 2
equilibrate_ps = 0.03
spacing_ps = 0.01
[systems.rattled]
kind = "rattled"
molecules = 8
frames = 2
equilibrate_ps = 0.03
spacing_ps = 0.01
displacement_A = [0.01, 0.03]
[systems.stretched]
kind = "stretched"
molecules = 8
frames = 2
equilibrate_ps = 0.03
spacing_ps = 0.01
[systems.cluster]
kind = "cluster"
frames = 3
frames_per_item = 1
equilibrate_ps = 0.03
spacing_ps = 0.01
[systems.turned]
kind = "turned"
molecules = 8
frames = 2
equilibrate_ps = 0.03
spacing_ps = 0.01
fraction = 1.0
[systems.dimer]
kind = "dimer"
frames = 6
[systems.contact]
kind = "contact"
frames = 6
[systems.monomer]
kind = "monomer"
frames = 5
"""


@pytest.fixture(scope="module")
def teacher():
    teacher = SPCFw(SPCFwConfig(accuracy=1e-7))
    yield teacher
    teacher.close()


def test_set_and_run_folder(finished, toml):
    config, frames = finished
    kinds = [frame.info["kind"] for frame in frames]
    wanted = {name: system.frames for name, system in config.systems.items()}
    dropped = sum(wanted.values()) - len(frames)
    assert set(kinds) == set(wanted) and 0 <= dropped <= 4
    assert all((frame.stress is not None) == frame.pbc.all() for frame in frames)
    assert all(nearest_contact(frame, water(len(frame) // 3)) >= config.teacher.min_contact_A for frame in frames)
    assert max(np.abs(frame.forces).max() for frame in frames) <= config.max_force
    folder = toml.parent / "whole"
    assert {path.name for path in folder.iterdir()} == {
        "frames.extxyz.xz",
        "config.toml",
        "run.json",
        "log.txt",
        ".lock",
    }
    assert tomllib.loads((folder / "config.toml").read_text())["seed"] == 3
    assert "monomer" in (folder / "log.txt").read_text()


def test_monomer_energy_is_the_formula(finished):
    frames = [frame for frame in finished[1] if frame.info["kind"] == "monomer"]
    assert frames
    for frame in frames:
        bonds = frame.positions[1:] - frame.positions[0]
        length = np.linalg.norm(bonds, axis=1)
        angle = np.arccos(bonds[0] @ bonds[1] / length.prod())
        energy = 529.581 * ((length - BOND_A) ** 2).sum() + 37.95 * (angle - np.deg2rad(ANGLE_DEG)) ** 2
        assert frame.energy == pytest.approx(energy * EV_PER_KCAL_MOL, abs=1e-7)


def test_dimer_energy_is_the_formula(finished):
    frames = [frame for frame in finished[1] if frame.info["kind"] == "dimer"]
    assert frames
    charge = np.array([-0.82, 0.41, 0.41])
    for frame in frames:
        a, b = frame.positions.reshape(2, 3, 3)
        distance = np.linalg.norm(a[:, None] - b, axis=-1)
        six = (3.165492 / distance[0, 0]) ** 6
        energy = 332.06371 * (charge[:, None] * charge / distance).sum() + 4 * 0.1554253 * (six**2 - six)
        for molecule in (a, b):
            bonds = molecule[1:] - molecule[0]
            length = np.linalg.norm(bonds, axis=1)
            angle = np.arccos(bonds[0] @ bonds[1] / length.prod())
            energy += 529.581 * ((length - BOND_A) ** 2).sum() + 37.95 * (angle - np.deg2rad(ANGLE_DEG)) ** 2
        assert frame.energy == pytest.approx(energy * EV_PER_KCAL_MOL, abs=1e-6)


def test_contacts_are_as_near_as_asked(finished):
    frames = [frame for frame in finished[1] if frame.info["kind"] == "contact"]
    assert len(frames) == 6
    ranges = np.array([finished[0].systems["contact"].model_dump()[key] for key in ("oo_A", "oh_A", "hh_A")])
    for number, frame in enumerate(frames):
        a, b = frame.positions.reshape(2, 3, 3)
        distance = np.linalg.norm(a[:, None] - b, axis=-1)
        shortest = np.array([distance[0, 0], min(distance[0, 1:].min(), distance[1:, 0].min()), distance[1:, 1:].min()])
        along = (number + 0.5) / len(frames)
        low, high = ranges[number % 3]
        assert shortest[number % 3] == pytest.approx(low + along * (high - low), abs=1e-6)
        assert (shortest >= ranges[:, 0] - 1e-6).all()


def test_turned_molecules_keep_their_shape_and_distance(finished):
    frames = [frame for frame in finished[1] if frame.info["kind"] == "turned"]
    assert frames
    for frame in frames:
        vectors = frame.positions[:, None] - frame.positions
        fractions = vectors @ np.linalg.inv(frame.cell)
        distance = np.linalg.norm((fractions - np.round(fractions)) @ frame.cell, axis=-1).reshape(8, 3, 8, 3)
        inside = np.arange(8)
        assert np.all((0.8 < distance[inside, 0, inside, 1:]) & (distance[inside, 0, inside, 1:] < 1.2))
        distance[inside, :, inside, :] = np.inf
        assert distance[:, 0, :, 1:].min() > 1.25 and distance[:, 1:, :, 1:].min() > 0.65


@pytest.mark.parametrize("kind", ["rattled", "cluster"])
def test_forces_and_stress_are_derivatives(finished, teacher, kind):
    frame = teacher.label(next(frame for frame in finished[1] if frame.info["kind"] == kind))
    step = 1e-4  # small, since every pair that crosses the cutoff shows
    for atom, axis in ((0, 0), (4, 1), (5, 2)):
        energies = []
        for sign in (1, -1):
            positions = frame.positions.copy()
            positions[atom, axis] += sign * step
            energies.append(teacher.label(frame.replace(positions=positions)).energy)
        assert frame.forces[atom, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=2e-3)
    for i, j in ((0, 0), (2, 2), (1, 0)) if frame.pbc.all() else ():
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * 1e-5
            energies.append(
                teacher.label(frame.replace(positions=frame.positions @ strain, cell=frame.cell @ strain)).energy
            )
        volume = np.linalg.det(frame.cell)
        assert frame.stress[i, j] == pytest.approx((energies[0] - energies[1]) / 2e-5 / volume, abs=2e-4)


def test_resumed_run_gives_the_same_set(finished, toml):
    config, frames = finished
    out = toml.parent / "killed"
    settings = config.model_copy(update={"out": out})
    RunFolder(out, "generate", settings).close()
    (out / PARTS).mkdir()
    items = list(items_of(settings))
    teacher = SPCFw(settings.teacher)
    for item in items[:4]:
        make(settings, item, teacher, out)
    teacher.close()
    kept, cut, unrecorded = (item.path(out) for item in items[:3])
    cut.write_bytes(cut.read_bytes()[:100])  # killed while copying
    unrecorded.with_suffix(".json").unlink()  # killed between the frames and their record
    before = kept.stat().st_mtime_ns
    assert [finished_item(item, out) is not None for item in items[:4]] == [True, False, False, True]
    assert kept.stat().st_mtime_ns == before
    again = read_frames(driver.generate(settings))
    assert len(again) == len(frames)
    for a, b in zip(frames, again, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.forces, b.forces)
        assert (a.energy, a.info) == (b.energy, b.info)


def test_finished_folder_is_kept_and_another_configuration_refused(finished, toml):
    path = toml.parent / "whole" / "frames.extxyz.xz"
    before = path.stat().st_mtime_ns
    driver.generate(finished[0], path.parent)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"got seed = 4; wanted 3, as in the run that .*choose another --out"):
        driver.generate(load_config(GenerateConfig, toml, ["seed=4"]), path.parent)


def test_two_ranks_give_the_same_set(finished, toml):
    code = f"import sys; sys.argv[1:] = [{str(toml)!r}, '--out', {str(toml.parent / 'two')!r}]\n"
    code += "from tlmd.cli import generate; generate()"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "MPI", "HYDRA"))}
    subprocess.run(["mpirun", "-n", "2", sys.executable, "-c", code], check=True, timeout=120, env=environment)
    again = read_frames(toml.parent / "two" / "frames.extxyz.xz")
    assert len(again) == len(finished[1])
    for a, b in zip(finished[1], again, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-8)
        assert a.info == b.info


def test_wrong_label_is_refused(finished, toml):
    config, frames = finished
    settings = config.model_copy(update={"out": toml.parent / "wrong"})
    run = RunFolder(settings.out, "generate", settings)
    path = settings.out / driver.UNCHECKED
    write_frames(path, frames)
    driver.check(settings, run)
    forces = frames[2].forces.copy()
    forces[0, 0] += 1e-3
    write_frames(path, [*frames[:2], frames[2].replace(forces=forces)])
    with pytest.raises(InputError, match=r"frame 2: labels that differ by"):
        driver.check(settings, run)
    run.close()


def test_frames_with_large_forces_are_dropped_and_counted(toml):
    overrides = ["max_force=15.0", "systems.monomer.frames=40"]
    config = load_config(GenerateConfig, toml, overrides)
    config = config.model_copy(update={"out": toml.parent / "d", "systems": {"m": config.systems["monomer"]}})
    frames = read_frames(driver.generate(config))
    assert 0 < len(frames) < 40
    assert max(np.abs(frame.forces).max() for frame in frames) <= 15.0
    assert f"{40 - len(frames)} force" in (config.out / "log.txt").read_text()


def test_a_set_with_nothing_left_is_refused(toml):
    config = load_config(GenerateConfig, toml, ["max_force=1e-6"])
    config = config.model_copy(update={"out": toml.parent / "e", "systems": {"m": config.systems["monomer"]}})
    with pytest.raises(InputError, match=r"every frame was dropped \(5 force\)"):
        driver.generate(config)


def test_other_atom_orders_and_cells_are_refused(teacher):
    water = np.array([[0, 0, 0], [1, 0, 0], [0, 1.0, 0]])
    with pytest.raises(InputError, match="wanted water as O H H"):
        teacher.label(Frame(np.array([1, 1, 8]), water))
    turned = np.array([[9.0, 1, 0], [0, 9, 0], [0, 0, 9]])
    with pytest.raises(InputError, match="a lower-triangular cell"):
        teacher.label(Frame(np.array([8, 1, 1]), water, turned, np.ones(3, bool)))
    with pytest.raises(InputError, match="all directions periodic or none"):
        teacher.label(Frame(np.array([8, 1, 1]), water, np.eye(3) * 9, np.array([True, True, False])))
    for refuse in (teacher.unfit, teacher.label):
        with pytest.raises(InputError, match="got 2 atoms in another order; wanted water as O H H"):
            refuse(Frame(np.array([8, 1]), water[:2]))
    with pytest.raises(Unsuited, match=r"a cell of 3000 A; wanted edges of at most 200 A"):
        teacher.label(Frame(np.array([8, 1, 1]), water, np.eye(3) * 3000.0, np.ones(3, bool)))


def test_bad_key_ends_in_one_line(toml, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tl-generate", str(toml), "--set", "systems.dimer.frame=3"])
    with pytest.raises(SystemExit) as caught:
        cli.generate()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: got unknown key 'systems.dimer.frame'")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("scale=1e300", r"scale = 1e\+300 .*1000000"),
        ("scale=inf", "scale = "),
        ("scale=nan", "scale = "),
        ("scale=1e6", "at most 10000000 frames in all, times scale"),
        ("systems.dimer.frames=1000000000000000000", r"systems\.dimer\.frames = 1000000000000000000"),
        ("systems.bulk.molecules=100000000", r"systems\.bulk\.molecules"),
        ("systems.bulk.temperature_K=[1.0,inf]", r"systems\.bulk\.temperature_K"),
        ("systems.bulk.spacing_ps=nan", r"systems\.bulk\.spacing_ps"),
        ("systems.rattled.displacement_A=[0.0,1e9]", r"systems\.rattled\.displacement_A"),
        ("systems.cluster.molecules=[9,2]", r"systems\.cluster\.molecules .*the low end first"),
        ("teacher.cutoff_A=1e9", r"teacher\.cutoff_A"),
        ("max_force=-1", "max_force"),
    ],
)
def test_absurd_sizes_are_refused_at_once(toml, override, words):
    with pytest.raises(InputError, match=words):
        load_config(GenerateConfig, toml, [override])


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "x" * 51, "a\nb"])
def test_names_of_systems_stay_in_the_run_folder(name):
    with pytest.raises(ValueError, match="systems named by up to 50 letters"):
        GenerateConfig(systems={name: {"kind": "monomer", "frames": 1}})
    GenerateConfig(systems={"größte Boxen 2.0": {"kind": "monomer", "frames": 1}})


def test_a_frame_that_lammps_cannot_evaluate_costs_no_other(teacher):
    torn = Frame(np.array([8, 1, 1]), np.array([[0, 0, np.nan], [1, 0, 0], [0, 1.0, 0]]))
    with pytest.raises(Unsuited, match="LAMMPS: Unknown identifier in data file"):
        teacher.label(torn)
    assert np.isfinite(teacher.label(torn.replace(positions=np.nan_to_num(torn.positions))).energy)


def test_trajectories_that_explode_are_counted(toml):
    overrides = ["teacher.timestep_fs=50.0", "systems.bulk.equilibrate_ps=1.0"]
    config = load_config(GenerateConfig, toml, overrides)
    kept = {name: config.systems[name] for name in ("bulk", "monomer")}
    config = config.model_copy(update={"out": toml.parent / "exploded", "systems": kept})
    assert len(read_frames(driver.generate(config))) == 5
    assert "bulk: 4 not made: LAMMPS: Lost atoms" in (config.out / "log.txt").read_text()


def test_what_a_killed_run_left_goes_from_a_finished_folder_too(finished, toml):
    left = toml.parent / "whole" / ".unchecked.extxyz.xz.123.tmp"
    left.write_bytes(b"half")
    driver.generate(finished[0], left.parent)
    assert not left.exists()


def test_committed_configuration_is_a_large_mixture():
    config = load_config(GenerateConfig, COMMITTED)
    frames = {name: system.frames for name, system in config.systems.items()}
    assert sum(frames.values()) >= 2500
    assert {system.kind for system in config.systems.values()} == {
        "bulk", "rattled", "stretched", "turned", "cluster", "dimer", "contact", "monomer"
    }  # fmt: skip
