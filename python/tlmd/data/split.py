"""Frames divided into training, validation and test sets by whole trajectories."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of the frames


def split(frames: Sequence[Frame], folder: Path, key: str) -> dict[str, int]:
    """Write train, valid and test.extxyz.xz into the folder; the number of frames of each.

    Frames with the same info `key` (the trajectory) stay together. A trajectory of a set that the folder has already
    stays in it. The others, in the order of the hash of their names, go one by one where most frames are wanting for
    70, 10 and 20 % of all. Raises InputError for a frame without the key, sets of the folder that have a trajectory in
    common, and for a part without frames.
    """
    names = [name_of(frame, index, key) for index, frame in enumerate(frames)]
    part_of = divide(Counter(names), earlier(folder, key))
    parts: dict[str, list[Frame]] = {part: [] for part in SHARES}
    for name, frame in zip(names, frames, strict=True):
        parts[part_of[name]].append(frame)
    if empty := [part for part, members in parts.items() if not members]:
        got = f"{len(set(names))} trajectories by {key}, none of them for {', '.join(empty)}"
        raise InputError(got, "more trajectories", "add frames, or give a key that tells them apart")
    folder.mkdir(parents=True, exist_ok=True)
    for part, path in part_files(folder).items():
        write_frames(path, parts[part])
    return {part: len(members) for part, members in parts.items()}


def divide(sizes: Counter[str], kept: dict[str, str]) -> dict[str, str]:
    """The part of each trajectory, from the number of its frames and the parts that are settled."""
    part_of = {name: kept[name] for name in sizes if name in kept}
    wanting = {part: share * sizes.total() for part, share in SHARES.items()}
    for name, part in part_of.items():
        wanting[part] -= sizes[name]
    for name in sorted(sizes.keys() - part_of.keys(), key=lambda name: hashlib.sha256(name.encode()).digest()):
        part_of[name] = max(wanting, key=wanting.__getitem__)
        wanting[part_of[name]] -= sizes[name]
    return part_of


def earlier(folder: Path, key: str) -> dict[str, str]:
    """The part of each trajectory in the sets that a folder has."""
    kept: dict[str, str] = {}
    for part, path in part_files(folder).items():
        for index, frame in enumerate(read_frames(path, check=False) if path.exists() else []):
            name = name_of(frame, index, key, path)
            if kept.setdefault(name, part) != part:
                got = f"{folder}: {key} {name} in {kept[name]} and {part}"
                raise InputError(got, "each trajectory in one set", "remove the files, or give another folder or key")
    return kept


def name_of(frame: Frame, index: int, key: str, path: Path | None = None) -> str:
    """The name of a frame's trajectory."""
    if key not in frame.info:
        got = f"{f'{path}: ' if path else ''}frame {index} without info key {key}"
        raise InputError(got, "what tells trajectories apart", "give another key")
    return str(frame.info[key])


def part_files(folder: Path) -> dict[str, Path]:
    """The file of each part in a folder."""
    return {part: folder / f"{part}.extxyz.xz" for part in SHARES}
