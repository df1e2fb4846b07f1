"""Frames divided into training, validation and test sets by whole trajectories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.run.errors import InputError

PARTS = {"test": 0.2, "valid": 0.3, "train": 1.0}  # up to which number a trajectory belongs to it


def split(frames: Sequence[Frame], folder: Path, key: str) -> dict[str, int]:
    """Write train, valid and test.extxyz.xz into the folder; the number of frames of each.

    Frames with the same info `key` (the trajectory) stay together. A trajectory's part follows from the hash of its
    name, 70, 10 and 20 % of them on average, and stays the same when frames are added. Raises InputError for a frame
    without the key, and for a part without frames.
    """
    parts: dict[str, list[Frame]] = {name: [] for name in part_files(folder)}
    for index, frame in enumerate(frames):
        if key not in frame.info:
            raise InputError(
                f"frame {index} without info key {key}", "what tells trajectories apart", "give another key"
            )
        parts[part_of(str(frame.info[key]))].append(frame)
    if empty := [name for name, members in parts.items() if not members]:
        different = len({frame.info[key] for frame in frames})
        got = f"{different} trajectories by {key}, none of them for {', '.join(empty)}"
        raise InputError(got, "more trajectories", "add frames, or give a key that tells them apart")
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in part_files(folder).items():
        write_frames(path, parts[name])
    return {name: len(members) for name, members in parts.items()}


def part_files(folder: Path) -> dict[str, Path]:
    """The file of each part in a folder."""
    return {name: folder / f"{name}.extxyz.xz" for name in reversed(PARTS)}


def part_of(trajectory: str) -> str:
    """train, valid or test."""
    number = int.from_bytes(hashlib.sha256(trajectory.encode()).digest()[:8]) / 2**64
    return next(name for name, up_to in PARTS.items() if number < up_to)
