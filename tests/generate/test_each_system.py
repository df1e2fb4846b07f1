"""What holds of every registered kind of system: a new one is tested by being there, with a teacher for its matter."""

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc111

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.generate.interfaces import NotMade
from tlmd.generate.registry import SYSTEMS, TEACHERS, config_of

EMT = {"name": "ase", "calculator": "ase.calculators.emt:EMT"}
LABELS = {"liquid": {"name": "spcfw"}, "molecules": {"name": "mmff94"}, "material": EMT, "any": EMT}
SMALL = {"molecules": 8, "equilibrate_ps": 0.02, "spacing_ps": 0.005, "smiles": ["CCO", "O"], "adsorbate": ["O"]}
each_system = pytest.mark.parametrize("kind", sorted(SYSTEMS))


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    """A file with six frames of O on Cu(111)."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0, orthogonal=True)
    add_adsorbate(atoms, "O", 1.3, "fcc")
    path, rng = tmp_path_factory.mktemp("slab") / "slab.extxyz", np.random.default_rng(1)
    moved = (atoms.positions + rng.normal(scale=0.02, size=atoms.positions.shape) for _ in range(6))
    write_frames(path, (Frame(atoms.numbers, x, atoms.cell.array, np.ones(3, bool)) for x in moved))
    return path


@pytest.fixture
def system(kind, slab):
    config = config_of(SYSTEMS[kind])
    own = ("smiles",) if config.matter == "liquid" else ()  # the teacher of liquids has its molecules
    keys = {key: value for key, value in SMALL.items() if key in config.model_fields and key not in own}
    if "file" in config.model_fields and config.model_fields["file"].is_required():
        keys["file"] = slab
    if kind == "cluster":
        keys["molecules"] = (2, 4)
    return SYSTEMS[kind](config.model_validate({"kind": kind, "frames": 5, "frames_per_item": 2, **keys}))


@pytest.fixture
def teacher(system):
    keys = LABELS[system.config.matter]
    teacher = TEACHERS[keys["name"]](config_of(TEACHERS[keys["name"]]).model_validate(keys))
    yield teacher
    teacher.close()


def sample(system, teacher, seed=1):
    """What each item yields."""
    return [list(system.sample(item, np.random.default_rng([seed, item]), teacher)) for item in range(system.items)]


@each_system
def test_every_frame_that_is_asked_for_is_there_or_accounted_for(system, teacher):
    assert system.frames == 5 and system.items == 3
    assert sum(system.count(item) for item in range(system.items)) == 5
    for item, found in enumerate(sample(system, teacher)):
        frames = [frame for frame in found if isinstance(frame, Frame)]
        lost = [made for made in found if isinstance(made, NotMade)]
        assert len(frames) + sum(made.count for made in lost) == system.count(item)
        assert all(made.why for made in lost)
        for frame in frames:
            assert np.isfinite(frame.positions).all() and frame.positions.shape == (len(frame), 3)
            assert frame.energy is None and frame.forces is None and frame.stress is None


@each_system
def test_the_same_seed_gives_the_same_frames(system, teacher):
    one, two, other = (sample(system, teacher, seed) for seed in (1, 1, 2))
    places = [[frame.positions for items in found for frame in items] for found in (one, two, other)]
    assert len(places[0]) == len(places[1]) == 5
    for a, b in zip(*places[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    differ = any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(places[0], places[2], strict=True))
    assert differ == (system.config.kind != "file")  # a file has its frames already


@each_system
def test_items_do_not_depend_on_each_other(system, teacher):
    whole = sample(system, teacher)
    alone = list(system.sample(1, np.random.default_rng([1, 1]), teacher))
    for a, b in zip(whole[1], alone, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)


@each_system
def test_frames_carry_labels_of_the_teacher(system, teacher):
    frames = [frame for items in sample(system, teacher) for frame in items if teacher.unfit(frame) is None]
    assert frames
    for frame in frames:
        label = teacher.label(frame)
        assert np.isfinite(label.energy) and np.isfinite(label.forces).all()


@each_system
def test_a_factor_on_the_number_of_frames(kind, system):
    assert SYSTEMS[kind](system.config, 3.0).frames == 15
    assert SYSTEMS[kind](system.config, 1e-9).frames == 1
