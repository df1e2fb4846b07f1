"""What holds of every registered teacher: a new one is tested by being there, on the matter that it can label."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from tlmd.calibrate.config import CalibrateTermsConfig
from tlmd.calibrate.forcefield import write_forcefield
from tlmd.calibrate.terms import Terms
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate import driver
from tlmd.generate.config import GenerateConfig
from tlmd.generate.registry import SYSTEMS, TEACHERS, config_of

from ..surfaces import formate_on_copper

WATER = Path(__file__).parents[2] / "inputs" / "water" / "oracle"
KEYS = {  # of the table [teacher], where the defaults are not enough or not precise enough
    "ase": {"calculator": "ase.calculators.emt:EMT"},
    "comb3": {"charge_precision": 1e-7},
    "spcfw": {"accuracy": 1e-7, "cutoff_A": 6.0},
    "calibrated": {"accuracy": 1e-7, "cutoff_A": 6.0},
    "lammps": {
        "data": WATER / "water1.data",
        "include": WATER / "spcfw.in",
        "variables": {"accuracy": 1e-8},
    },
}
each_teacher = pytest.mark.parametrize("labelling", sorted(TEACHERS), indirect=True)
STEP_A = 1e-3


def water(places, edge=None, seed=1):
    """Molecules O H H at places (A), slightly out of shape; in a box with an edge."""
    molecule = np.array([[0.0, 0.0, 0.0], [0.97, 0.05, 0.0], [-0.26, 0.92, 0.1]])
    positions = (np.array(places)[:, None] + molecule).reshape(-1, 3)
    positions += np.random.default_rng(seed).normal(scale=0.03, size=positions.shape)
    box = () if edge is None else (np.array([[edge, 0, 0], [0.3, edge, 0], [0, 0.2, edge]]), np.ones(3, bool))
    return Frame(np.tile([8, 1, 1], len(places)), positions, *box)


def ethanol():
    graph = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(graph, randomSeed=1)
    numbers = np.array([atom.GetAtomicNum() for atom in graph.GetAtoms()])
    return Frame(numbers, graph.GetConformer().GetPositions(), info={"smiles": "CCO"})


PLACES = [[0.0, 0, 0], [3.0, 0.2, 0.1], [0.1, 3.1, 0], [0.2, 0.1, 2.9]]
FRAMES = {
    "liquid": [water(PLACES, 6.4), water(PLACES[:2])],
    "molecules": [ethanol()],
    "material": [water(PLACES, 6.4, 2)],
}

SURFACE = formate_on_copper()
WITHOUT = np.isin(SURFACE.numbers, [1, 29])  # O, whose forces by COMB3 are not exact
HYDROGEN = SURFACE.replace(numbers=SURFACE.numbers[WITHOUT], positions=SURFACE.positions[WITHOUT])
FRAMES_OF = {"comb3": [HYDROGEN]}  # its forces of water are not exact


@pytest.fixture(scope="module")
def labelling(request, tmp_path_factory):
    """A teacher's configuration, the teacher, and frames that it can label."""
    keys = dict(KEYS.get(request.param, {}))
    if request.param == "calibrated":
        terms, folder = Terms(CalibrateTermsConfig()), tmp_path_factory.mktemp("field")
        keys["include"] = write_forcefield(folder, terms, terms.prior, np.array([2.4, 1.5, 1.9]), "none", 1, "none")
    config = config_of(TEACHERS[request.param]).model_validate({"name": request.param, **keys})
    teacher = TEACHERS[request.param](config)
    frames = [frame for matter in config.matter for frame in FRAMES[matter]]
    yield config, teacher, FRAMES_OF.get(request.param, frames)
    teacher.close()


def test_every_matter_of_a_system_has_frames_and_a_teacher():
    matters = {config_of(system).matter for system in SYSTEMS.values()} - {"any"}
    assert matters == set(FRAMES) == {matter for cls in TEACHERS.values() for matter in config_of(cls).matter}


@each_teacher
def test_labels_are_whole_and_forces_and_stress_are_derivatives(labelling):
    _, teacher, frames = labelling
    assert frames
    for frame in frames:
        label = teacher.label(frame)
        assert np.isfinite(label.energy) and label.forces.shape == (len(frame), 3)
        assert np.array_equal(label.positions, frame.positions) and label.info == frame.info
        assert label.forces.sum(0) == pytest.approx(0, abs=1e-3)
        assert teacher.unfit(frame) is None
        for atom, axis in ((0, 0), (1, 2), (len(frame) - 1, 1)):
            move = np.zeros_like(frame.positions)
            move[atom, axis] = STEP_A
            up, down = (teacher.label(frame.replace(positions=frame.positions + s * move)).energy for s in (1, -1))
            assert label.forces[atom, axis] == pytest.approx((down - up) / (2 * STEP_A), abs=0.01)
        assert (label.stress is None) or frame.pbc.all()
        if label.stress is not None:
            up, down = (
                teacher.label(frame.replace(positions=frame.positions @ strain, cell=frame.cell @ strain)).energy
                for strain in (np.diag([1, 1 + s * STEP_A, 1]) for s in (1, -1))
            )
            assert label.stress[1, 1] * np.linalg.det(frame.cell) == pytest.approx((up - down) / (2 * STEP_A), abs=0.05)


@each_teacher
def test_labels_depend_on_the_frame_only(labelling):
    config, teacher, frames = labelling
    for frame in frames:
        first = teacher.label(frame)
        teacher.label(frame.replace(positions=frame.positions * 1.02))
        other = TEACHERS[config.name](config)
        for again in (teacher.label(frame), other.label(frame)):
            assert again.energy == pytest.approx(first.energy, abs=1e-7)
            assert again.forces == pytest.approx(first.forces, abs=1e-6)
        other.close()


@each_teacher
def test_space_has_no_place_and_no_direction(labelling):
    _, teacher, frames = labelling
    for frame in frames:
        label = teacher.label(frame)
        moved = teacher.label(frame.replace(positions=frame.positions + np.array([0.3, -0.2, 0.1])))
        assert moved.energy == pytest.approx(label.energy, abs=1e-3)
        assert moved.forces == pytest.approx(label.forces, abs=2e-3)
        if not frame.pbc.any():
            turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
            turned = teacher.label(frame.replace(positions=frame.positions @ turn.T))
            assert turned.energy == pytest.approx(label.energy, abs=1e-5)
            assert turned.forces == pytest.approx(label.forces @ turn.T, abs=1e-3)


@each_teacher
def test_labels_are_confirmed_from_the_written_file(labelling, tmp_path):
    config, _, frames = labelling
    write_frames(tmp_path / "frames.extxyz", frames)
    system = {"kind": "file", "file": tmp_path / "frames.extxyz", "frames": len(frames)}
    settings = GenerateConfig(teacher=config, systems={"again": system}, max_force=1e3)
    labelled = read_frames(driver.generate(settings, tmp_path / "out"), max_force=1e3)
    assert len(labelled) == len(frames)
    assert all(frame.energy is not None and frame.forces is not None for frame in labelled)
