"""Sets for training, validation and test: whole trajectories, the same parts when frames are added."""

import numpy as np
import pytest

from tlmd.data.data import data
from tlmd.data.split import split
from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError


def frames(trajectories: int) -> list[Frame]:
    rows = [(k, i) for i in range(3) for k in range(trajectories)]
    return [Frame(np.array([1]), np.full((1, 3), k + 0.1 * i), info={"source": f"md {k}"}) for k, i in rows]


def test_whole_trajectories_that_stay_where_they_are(tmp_path):
    counts = split(frames(40), tmp_path / "few", "source")
    assert sum(counts.values()) == 120 and counts["train"] > counts["test"] > 0 < counts["valid"]
    parts = {name: read_frames(tmp_path / "few" / f"{name}.extxyz.xz", check=False) for name in counts}
    homes = {name: {frame.info["source"] for frame in found} for name, found in parts.items()}
    assert sum(len(home) for home in homes.values()) == 40 == len(set.union(*homes.values()))
    more = split(frames(200), tmp_path / "more", "source")
    for name, home in homes.items():
        again = read_frames(tmp_path / "more" / f"{name}.extxyz.xz", check=False)
        assert home <= {frame.info["source"] for frame in again}
        assert more[name] / 600 == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}[name], abs=0.08)


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
