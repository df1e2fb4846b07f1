"""Data files are our own: each is in docs/data_files.md, and labelled frames say what labelled them."""

import fnmatch
import re
from pathlib import Path

import pytest

from tlmd.frames.read import read_frames

ROOT = Path(__file__).parents[1]
FOLDERS = ("inputs", "tests/data", "python/tlmd")
TEXT = {".py", ".md", ".toml", ".in", ".mol", ".so", ".pyc", ".pyi", ".typed"}
LABELLED = ("code", "input_sha256")  # what tl-label writes into the info of a frame


def data_files(root: Path) -> list[Path]:
    """Files of numbers below FOLDERS: all that are not text of ours, compiled or hidden."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file()]
    own = [path for path in paths if path.suffix not in TEXT and not path.name.startswith(".")]
    return [path for path in own if "plugin" not in path.parts and "__pycache__" not in path.parts]


def unlabelled(path: Path) -> list[int]:
    """Frames with labels that do not say by which code and input."""
    return [
        number
        for number, frame in enumerate(read_frames(path))
        if (frame.energy is not None or frame.forces is not None) and not all(frame.info.get(key) for key in LABELLED)
    ]


def frames_of(root: Path) -> list[Path]:
    return [path for path in data_files(root) if ".extxyz" in path.suffixes or path.suffix in {".npz", ".db", ".traj"}]


def test_every_data_file_is_in_the_table():
    table = (ROOT / "docs" / "data_files.md").read_text(encoding="utf-8")
    patterns = [name for row in re.findall(r"^\| ([^|]*/[^|]*) \|", table, re.MULTILINE) for name in row.split(", ")]
    names = [path.relative_to(ROOT).as_posix() for path in data_files(ROOT)]
    assert len(names) > 15
    assert not [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    listed = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "results").iterdir()]
    assert not [pattern for pattern in patterns if not fnmatch.filter([*names, *listed], pattern)]


@pytest.mark.parametrize("path", frames_of(ROOT), ids=lambda path: path.name)
def test_labelled_frames_say_what_labelled_them(path):
    if path.suffix == ".npz":
        assert path.name == "format1.npz"  # numbers of a small model of ours
    else:
        assert unlabelled(path) == []


def test_no_frames_in_the_benchmarks():
    assert not [path for path in data_files(ROOT) if "benchmarks" in path.parts]


def test_frames_without_a_code_are_seen(tmp_path):
    frame = '1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 {}pbc="F F F"\nO 0 0 0 0 0 0\n'
    path = tmp_path / "frames.extxyz"
    path.write_text(frame.format('code=CP2K input_sha256="ab1" ') + frame.format("").replace("O 0", "H 0"))
    assert unlabelled(path) == [1]
