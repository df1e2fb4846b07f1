"""xTB labels by tblite: energies, forces, stress, systems of molecules, and tl-generate on a file."""

import numpy as np
import pytest

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.xtb import XTB, XTBConfig
from tlmd.run.config import load_config
from tlmd.units import EV_PER_HARTREE

TOML = """
seed = 5
[teacher]
name = "xtb"
[systems.conformers]
kind = "conformers"
smiles = ["CCO", "O"]
frames = 4
[systems.modes]
kind = "normal_modes"
smiles = ["O"]
frames = 3
[systems.langevin]
kind = "langevin"
smiles = ["C"]
frames = 3
equilibrate_ps = 0.005
spacing_ps = 0.002
"""


@pytest.fixture(scope="module", params=["GFN1-xTB", "GFN2-xTB"])
def teacher(request):
    return XTB(XTBConfig(name="xtb", method=request.param))


@pytest.fixture(scope="module")
def ice():
    """Four waters in a crowded cell, without symmetry."""
    rng = np.random.default_rng(3)
    water = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    places = np.array([[0, 0, 0], [2.3, 2.1, 0.2], [2.2, 0.1, 2.4], [0.1, 2.3, 2.2]])
    positions = (places[:, None] + water).reshape(-1, 3) + rng.normal(scale=0.05, size=(12, 3))
    cell = np.array([[4.6, 0, 0], [0.3, 4.7, 0], [0, 0.2, 4.8]])
    return Frame(np.tile([8, 1, 1], 4), positions, cell=cell, pbc=np.ones(3, bool))


def test_water_is_the_published_one():
    """GFN2-xTB: E = -5.0705 Eh, r_OH = 0.959 A, angle 107.2 degrees (the programs' documentation)."""
    energy = XTB(XTBConfig(name="xtb", method="GFN2-xTB")).energy_of("O")
    relaxed = energy.relax(energy.molecule.conformers(1, 1)[0])
    one, two = relaxed[1:] - relaxed[0]
    lengths = np.linalg.norm([one, two], axis=1)
    assert energy.evaluate(relaxed)[0] / EV_PER_HARTREE == pytest.approx(-5.0705, abs=1e-4)
    assert lengths == pytest.approx(0.959, abs=2e-3)
    assert np.degrees(np.arccos(one @ two / lengths.prod())) == pytest.approx(107.2, abs=0.5)


def test_labels_are_derivatives(teacher, ice):
    labelled = teacher.label(ice)
    for atom, axis in ((0, 0), (4, 1), (11, 2)):
        move = np.zeros_like(ice.positions)
        move[atom, axis] = 1e-3
        up, down = (teacher.label(ice.replace(positions=ice.positions + s * move)).energy for s in (1, -1))
        assert labelled.forces[atom, axis] == pytest.approx((down - up) / 2e-3, abs=2e-3)
    for i, j in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = 1e-3 if i == j else 5e-4
        up, down = (
            teacher.label(ice.replace(positions=ice.positions @ e, cell=ice.cell @ e)).energy
            for e in (np.eye(3) + strain, np.eye(3) - strain)
        )
        assert labelled.stress[i, j] * np.linalg.det(ice.cell) == pytest.approx((up - down) / 2e-3, abs=5e-3)


def test_stress_of_fully_periodic_frames_only(ice):
    half = ice.replace(cell=np.diag([5.0, 5.0, 0.0]), pbc=np.array([True, True, False]))
    try:
        label = XTB(XTBConfig(name="xtb")).label(half)
    except Unsuited:
        return
    assert label.stress is None and np.isfinite(label.forces).all()


def test_charge_and_spin_count():
    anion = Frame(np.array([8, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0]]))
    charged, radical = (
        XTB(XTBConfig(name="xtb", **settings)).label(anion)
        for settings in ({"charge": -1.0}, {"unpaired_electrons": 1})
    )
    assert charged.energy < radical.energy - 1  # an electron affinity, overestimated by every minimal basis


def test_frames_without_convergence_and_contacts_are_dropped(tmp_path):
    water = Frame(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    torn, contact = water.replace(positions=water.positions * 6), water.replace(positions=water.positions * 0.4)
    with pytest.raises(Unsuited, match="GFN1-xTB of 3 atoms"):
        XTB(XTBConfig(name="xtb")).label(torn)
    write_frames(tmp_path / "water.extxyz", [water, torn, contact])
    text = '[teacher]\nname = "xtb"\n[systems.again]\nkind = "file"\nfile = "water.extxyz"\nframes = 3\n'
    (tmp_path / "xtb.toml").write_text(text)
    (kept,) = read_frames(driver.generate(load_config(GenerateConfig, tmp_path / "xtb.toml"), tmp_path / "out"))
    assert kept.positions == pytest.approx(water.positions)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "1 contact, 1 without a label" in log


def test_generate_and_relabel(tmp_path, monkeypatch):
    (tmp_path / "xtb.toml").write_text(TOML)
    first = driver.generate(load_config(GenerateConfig, tmp_path / "xtb.toml"), tmp_path / "first")
    frames = read_frames(first)
    assert [frame.info["kind"] for frame in frames] == ["conformers"] * 4 + ["normal_modes"] * 3 + ["langevin"] * 3
    stripped = tmp_path / "stripped.extxyz"
    write_frames(stripped, (Frame(frame.numbers, frame.positions) for frame in frames))
    evaluated, evaluate = [], XTB.evaluate
    monkeypatch.setattr(XTB, "evaluate", lambda self, *frame: evaluated.append(frame) or evaluate(self, *frame))
    text = '[teacher]\nname = "xtb"\n[systems.again]\nkind = "file"\nfile = "stripped.extxyz"\nframes = 10\n'
    (tmp_path / "again.toml").write_text("recheck = 0.3\n" + text)
    again = read_frames(driver.generate(load_config(GenerateConfig, tmp_path / "again.toml"), tmp_path / "again"))
    for one, two in zip(frames, again, strict=True):
        assert one.energy == pytest.approx(two.energy, abs=1e-5)
        assert one.forces == pytest.approx(two.forces, abs=5e-5)
    assert len(evaluated) == 10 + 3
