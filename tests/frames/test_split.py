"""Sets of frames: labels there must be, frames in common there must not be."""

from itertools import pairwise

import numpy as np
import pytest

from tlmd.frames.config import DataConfig
from tlmd.frames.extxyz import write_frames
from tlmd.frames.split import check_labels, read_sets, select_frames
from tlmd.run.errors import InputError


@pytest.fixture
def files(tmp_path, frames):
    """train (8 frames), valid (4), test (4) and a function that reads them as a stage does."""
    for name, part in (("train", frames[:8]), ("valid", frames[8:12]), ("test", frames[12:])):
        write_frames(tmp_path / f"{name}.extxyz", part)

    def read(n_frames=None, **changes):
        names = {name: tmp_path / f"{name}.extxyz" for name in ("train", "valid", "test")}
        return read_sets(DataConfig(**(names | changes)), n_frames, "random", 1)

    return tmp_path, read


def test_sets_as_they_are(files):
    _, read = files
    sets = read(5)
    assert [len(part) for part in (sets.train, sets.valid, sets.test)] == [5, 4, 4] and sets.notes == ()
    assert len(read(valid=None, valid_fraction=0.25).valid) == 2


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_sets_without_labels(files, frames, name):
    folder, read = files
    bare = [frame.replace(energy=None, forces=None, stress=None) for frame in frames[:4]]
    write_frames(folder / "bare.extxyz", [f.replace(positions=f.positions + 1) for f in bare])
    with pytest.raises(InputError, match=r"bare\.extxyz without labels; wanted frames with an energy, forces or a str"):
        read(**{name: folder / "bare.extxyz"})


def test_labels_under_unknown_names(files):
    folder, read = files
    text = (folder / "train.extxyz").read_text()
    (folder / "other.extxyz").write_text(text.replace("forces:R:3", "f_xtb:R:3"))
    notes = read(train=folder / "other.extxyz").notes
    assert notes == (f"{folder}/other.extxyz: no forces; columns and keys not used: f_xtb",)
    assert read(train=folder / "other.extxyz", labels="energies").notes == ()
    nothing = text.replace("forces:R:3", "f_xtb:R:3").replace(" energy=", " xtb_energy=").replace("stress=", "sigma=")
    (folder / "other.extxyz").write_text(nothing)
    with pytest.raises(InputError, match=r"without labels; columns and keys not used: f_xtb, xtb_energy; .*rename"):
        read(train=folder / "other.extxyz")
    (folder / "other.extxyz").write_text(text.replace("forces:R:3", "Forces:R:3"))
    sets = read(train=folder / "other.extxyz")
    assert sets.notes == () and all(frame.forces is not None for frame in sets.train)


def test_energies_alone_where_there_are_none(files, frames):
    folder, read = files
    write_frames(folder / "forces.extxyz", [frame.replace(energy=None) for frame in frames[:8]])
    with pytest.raises(InputError, match=r"forces\.extxyz without energies"):
        read(train=folder / "forces.extxyz", labels="energies")


@pytest.mark.parametrize(("one", "other"), [("valid", "train"), ("test", "train"), ("test", "valid")])
def test_a_frame_in_two_sets(files, frames, one, other):
    folder, read = files
    places = {"train": frames[:8], "valid": frames[8:12], "test": frames[12:]}
    copy = places[other][2].replace(positions=places[other][2].positions.round(4))
    write_frames(folder / "more.extxyz", [*places[one], copy])
    words = rf"frame 2 of data\.{other} = .*, which is frame 4 of data\.{one} = .*more\.extxyz; wanted sets without"
    with pytest.raises(InputError, match=words):
        read(**{one: folder / "more.extxyz"})
    with pytest.raises(InputError, match=r"which is frame 0 of .*, and \d more; wanted sets without a common frame"):
        read(**{one: folder / f"{other}.extxyz"})


def test_split_by_is_checked_before_anything_is_trained(files):
    _, read = files
    with pytest.raises(InputError, match=r'data\.split_by = "kind"; wanted an info key of the test frames: none'):
        read(split_by="kind")


def test_too_many_frames(files):
    _, read = files
    with pytest.raises(InputError, match=r"n_frames = 9; wanted at most 8, which .*train\.extxyz offers"):
        read(9)


def test_labels_of_some_frames_are_enough(frames):
    some = [frames[0], *(frame.replace(energy=None, forces=None, stress=None) for frame in frames[1:])]
    assert check_labels(some, "a file") == []
    assert np.isfinite(frames[0].energy)


def test_smaller_choices_are_parts_of_larger_ones(frames):
    for seed in range(5):
        names = [{id(f) for f in select_frames(frames, n, "random", seed, "x")} for n in (1, 2, 5, 11, 16)]
        assert all(a < b for a, b in pairwise(names)) and len(names[0]) == 1
    assert {id(f) for f in select_frames(frames, 5, "random", 1, "x")} != {
        id(f) for f in select_frames(frames, 5, "random", 2, "x")
    }
