"""The teacher of any ASE calculator: labels, surfaces and files by tl-generate, and what it refuses."""

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc111
from ase.calculators.emt import EMT

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import Unsuited
from tlmd.generate.teachers.ase import ASECalculator, ASEConfig
from tlmd.run.config import load_config
from tlmd.run.errors import InputError

TOML = """
seed = 2
[teacher]
name = "ase"
calculator = "ase.calculators.emt:EMT"
[systems.displaced]
kind = "displaced"
file = "slab.extxyz"
adsorbate = ["O"]
frames = 3
lift_A = [0.0, 0.5]
transferred = 0.0
[systems.thermal]
kind = "trajectory"
file = "slab.extxyz"
frames = 3
temperature_K = [300.0, 300.0]
equilibrate_ps = 0.02
spacing_ps = 0.005
"""


@pytest.fixture(scope="module")
def slab():
    """O on Cu(111) in a periodic box."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0, orthogonal=True)
    add_adsorbate(atoms, "O", 1.3, "fcc")
    atoms.pbc = True
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


@pytest.fixture
def toml(slab, tmp_path):
    write_frames(tmp_path / "slab.extxyz", [slab])
    (tmp_path / "ase.toml").write_text(TOML)
    return tmp_path / "ase.toml"


def test_labels_are_those_of_the_calculator(toml):
    frames = read_frames(driver.generate(load_config(GenerateConfig, toml), toml.parent / "out"))
    kinds = [frame.info["kind"] for frame in frames]
    assert kinds == ["displaced"] * 3 + ["trajectory"] * 3
    for frame in frames:
        atoms = frame.atoms()
        atoms.calc = EMT()
        assert frame.energy == pytest.approx(atoms.calc.get_potential_energy(atoms, force_consistent=True), abs=1e-7)
        assert frame.forces == pytest.approx(atoms.get_forces(), abs=1e-6)
        assert frame.stress == pytest.approx(atoms.get_stress(voigt=False), abs=1e-9)


def test_a_trajectory_moves_and_is_that_of_its_seed(slab):
    teacher = ASECalculator(ASEConfig(name="ase", calculator="ase.calculators.emt:EMT"))
    runs = [[*teacher.trajectory(slab, 300.0, 0.01, 0.005, 2, seed)] for seed in (1, 1, 2)]
    assert [len(run) for run in runs] == [2, 2, 2]
    np.testing.assert_array_equal(runs[0][1].positions, runs[1][1].positions)
    assert np.abs(runs[0][1].positions - runs[2][1].positions).max() > 1e-3
    assert 1e-3 < np.abs(runs[0][0].positions - runs[0][1].positions).max() < 0.5


def test_the_calculator_of_a_file(toml):
    (toml.parent / "own.py").write_text(
        "from ase.calculators.lj import LennardJones\ndef argon(**units):\n    return LennardJones(rc=7.0, **units)\n"
    )
    write_frames(toml.parent / "argon.extxyz", [Frame(np.array([18, 18]), np.array([[0, 0, 0], [0, 0, 3.4]]))])
    toml.write_text(
        '[teacher]\nname = "ase"\ncalculator = "own.py:argon"\narguments = {sigma = 3.4, epsilon = 0.01}\n'
        '[systems.pair]\nkind = "file"\nfile = "argon.extxyz"\nframes = 1\n'
    )
    (frame,) = read_frames(driver.generate(load_config(GenerateConfig, toml), toml.parent / "out"))
    assert frame.forces[1, 2] == pytest.approx(24 * 0.01 / 3.4, abs=1e-8)  # at sigma
    assert frame.energy == pytest.approx(4 * 0.01 * ((3.4 / 7) ** 6 - (3.4 / 7) ** 12), abs=1e-8)  # shifted at rc


def test_xtb_by_its_calculator_is_the_teacher_xtb():
    pytest.importorskip("tblite.ase")
    pytest.importorskip("rdkit")
    from tlmd.generate.teachers.xtb import XTB, XTBConfig

    arguments = {"method": "GFN1-xTB", "verbosity": 0}
    one = ASECalculator(ASEConfig(name="ase", calculator="tblite.ase:TBLite", arguments=arguments))
    two = XTB(XTBConfig(name="xtb"))
    start = one.energy_of("CO").molecule.conformers(1, 1)[0]
    for relaxed in (teacher.energy_of("CO").relax(start) for teacher in (one, two)):
        energies, forces = zip(*(teacher.energy_of("CO").evaluate(relaxed) for teacher in (one, two)), strict=True)
        assert energies[0] == pytest.approx(energies[1], abs=1e-5)
        assert forces[0] == pytest.approx(forces[1], abs=2e-4) and np.abs(forces).max() < 0.02
    torn = Frame(np.array([8, 1, 1]), 6 * np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    with pytest.raises(Unsuited, match=r"tblite\.ase:TBLite of H2O"):
        one.label(torn)


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        (
            "no_such_package:Model",
            r"teacher\.calculator = no_such_package:Model: ModuleNotFoundError: No module named.*; install or correct",
        ),
        ("ase.calculators.emt:EMTT", r"has no attribute 'EMTT'"),
        ("missing.py:argon", r"teacher\.calculator = .*missing\.py, no file"),
        ("broken.py:argon", r"broken\.py:argon: ZeroDivisionError: division by zero"),
        ("ase.build:bulk", r"bulk\(\) missing 1 required"),
        ("builtins:dict", r"which returns dict; wanted an ASE calculator"),
        ("ase.calculators.emt.EMT", r"wanted package\.module:function or file\.py:function; correct it"),
    ],
)
def test_what_makes_no_calculator_is_refused(toml, calculator, message):
    (toml.parent / "broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match=message):
        driver.generate(load_config(GenerateConfig, toml, [f'teacher.calculator="{calculator}"']), toml.parent / "out")
    assert not (toml.parent / "out" / driver.FRAMES).exists()


def test_foreign_elements_and_systems_are_refused(toml):
    teacher = ASECalculator(ASEConfig(name="ase", calculator="ase.calculators.emt:EMT"))
    with pytest.raises(InputError, match=r"EMT of Zn: NotImplementedError.*; wanted energy and forces"):
        teacher.label(Frame(np.array([30]), np.zeros((1, 3))))
    bulk = '\n[systems.bulk]\nkind = "bulk"\nframes = 2\n'
    toml.write_text(TOML + bulk)
    with pytest.raises(InputError, match="smiles of bulk: the teacher ase brings no molecules of its own"):
        load_config(GenerateConfig, toml)
