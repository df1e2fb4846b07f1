"""Sets for training, validation and test: whole trajectories, the same parts when frames are added."""

import numpy as np
import pytest

from tlmd.data.data import data
from tlmd.data.split import SHARES, split
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError


def frames(trajectories: int) -> list[Frame]:
    """Trajectories of 1 to 5 frames."""
    rows = [(k, i) for i in range(5) for k in range(trajectories) if i <= k % 5]
    return [Frame(np.array([1]), np.full((1, 3), k + 0.1 * i), info={"source": f"md {k}"}) for k, i in rows]


def homes(folder) -> dict[str, set[str]]:
    """The trajectories of each set."""
    sets = {name: read_frames(folder / f"{name}.extxyz.xz", check=False) for name in ("train", "valid", "test")}
    return {name: {frame.info["source"] for frame in found} for name, found in sets.items()}


def test_whole_trajectories_by_shares_of_the_frames(tmp_path):
    counts = split(frames(40), tmp_path, "source")
    assert counts == {"train": pytest.approx(84, abs=5), "valid": pytest.approx(12, abs=5), "test": 120 - 84 - 12}
    found = homes(tmp_path)
    assert sum(len(home) for home in found.values()) == 40 == len(set.union(*found.values()))


def test_trajectories_stay_where_they_are_when_frames_are_added(tmp_path):
    split(frames(40), tmp_path, "source")
    before = homes(tmp_path)
    counts = split(frames(200), tmp_path, "source")
    assert all(home <= homes(tmp_path)[name] for name, home in before.items())
    assert counts == {name: pytest.approx(600 * share, abs=5) for name, share in SHARES.items()}


def test_sets_that_have_a_trajectory_in_common_are_refused(tmp_path):
    split(frames(40), tmp_path, "source")
    write_frames(tmp_path / "test.extxyz.xz", read_frames(tmp_path / "train.extxyz.xz", check=False))
    with pytest.raises(InputError, match=r"source md \d+ in train and test; wanted each trajectory in one set"):
        split(frames(40), tmp_path, "source")


def test_frames_that_cannot_be_divided(tmp_path):
    with pytest.raises(InputError, match=r"frame 0 without info key run"):
        split(frames(4), tmp_path / "out", "run")
    with pytest.raises(InputError, match=r"1 trajectories by source, none of them for"):
        split(frames(1), tmp_path / "out", "source")
    assert not (tmp_path / "out").exists()


def test_frames_that_are_read_are_not_written_over(tmp_path):
    file = tmp_path / "train.extxyz.xz"
    write_frames(file, frames(40))
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"train\.extxyz\.xz as output; wanted another file than the inputs"):
        data([file], folder=tmp_path)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
