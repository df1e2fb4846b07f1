"""The sets of frames of a stage: read, held out, chosen, and checked against each other.

Training, validation and test frames must have labels and no frame in common; otherwise what is learnt or reported
means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from tlmd.frames.checks import SAME_A, same_frames
from tlmd.frames.config import DataConfig
from tlmd.frames.density import undetermined_pressure
from tlmd.frames.frame import Frame
from tlmd.frames.labels import doubtful
from tlmd.frames.read import read_frames
from tlmd.run.errors import InputError


@dataclass
class Sets:
    """Frames of a stage; `valid` and `test` may be empty. notes: what a user should know of them, one line each."""

    train: list[Frame]
    valid: list[Frame]
    test: list[Frame]
    notes: tuple[str, ...] = ()


def read_sets(data: DataConfig, n_frames: int | None, select: str, seed: int) -> Sets:
    """The frames of a stage; where there is no file of validation frames, a part of `train` is held out.

    n_frames, select, seed: which training frames are taken, see `select_frames`. Raises InputError for files that do
    not fit, sets without labels or with a frame in common, and a `split_by` that no test frame has.
    """
    train = read_frames(data.train)
    valid = read_frames(data.valid) if data.valid is not None else None
    test = read_frames(data.test) if data.test is not None else []
    files = {"train": (data.train, train), "valid": (data.valid, valid or []), "test": (data.test, test)}
    for (name, (file, frames)), (other, (second, others)) in combinations(files.items(), 2):
        refuse_common(frames, others, f"data.{name} = {file}", f"data.{other} = {second}")
    if valid is None:
        train, valid = hold_out(train, data.valid_fraction)
    train = select_frames(train, n_frames, select, seed, str(data.train))
    if data.labels == "energies":
        train, valid = ([frame.replace(forces=None, stress=None) for frame in part] for part in (train, valid))
    notes = [note for _, part in files.values() for note in getattr(part, "notes", ())]
    for name, frames in (("train", train), ("valid", valid), ("test", test)):
        if frames:
            all_labels = data.labels == "all" or name == "test"
            notes += check_labels(frames, str(files[name][0] or data.train), all_labels)
    notes += filter(None, [undetermined_pressure(train, str(data.train))])
    if data.split_by and test and not any(data.split_by in frame.info for frame in test):
        keys = ", ".join(sorted({key for frame in test for key in frame.info})) or "none"
        raise InputError(f'data.split_by = "{data.split_by}"', f"an info key of the test frames: {keys}", "correct it")
    return Sets(train, valid, test, tuple(dict.fromkeys(notes)))


def refuse_common(frames: Sequence[Frame], others: Sequence[Frame], name: str, other: str) -> None:
    """InputError if a frame is in both sets."""
    if common := same_frames(frames, others):
        i, j = common[0]
        more = f", and {len(common) - 1} more" if len(common) > 1 else ""
        got = f"frame {i} of {name}, which is frame {j} of {other}{more}"
        raise InputError(got, f"sets without a common frame (positions to {SAME_A:g} A)", "divide the frames anew")


def check_labels(frames: Sequence[Frame], file: str, forces: bool = True) -> list[str]:
    """InputError unless a frame has a label; what a user should know: forces that are not known as such.

    forces: whether they would be taken if there were some.
    """
    unused = list(dict.fromkeys(name for frame in frames for name in (*frame.unused, *frame.info)))
    odd = ", ".join(doubtful(unused))
    columns = f"columns and keys not used: {odd}" if odd else ""
    if not any(frame.labelled for frame in frames):
        got = f"{file} without " + ("labels" if forces else "energies") + (f"; {columns}" if columns else "")
        do = "rename the columns to energy, forces, stress" if odd else "label the frames"
        raise InputError(got, "frames with an energy, forces or a stress", do)
    if forces and odd and not any(frame.forces is not None for frame in frames):
        return [f"{file}: no forces; {columns}"]
    return []


def hold_out(frames: Sequence[Frame], fraction: float) -> tuple[list[Frame], list[Frame]]:
    """Training and validation frames: of each kind of frames (info "kind") whole trajectories (info "source"), evenly
    chosen, or the end of a kind that has too few of them.

    Neighbours in time are nearly equal, so that frames of one trajectory must not be dealt to both.
    """
    kinds: dict[Any, list[int]] = {}
    for index, frame in enumerate(frames):
        kinds.setdefault(frame.info.get("kind"), []).append(index)
    held_out = {index for mine in kinds.values() for index in _held_out(frames, mine, fraction)}
    parts = [[frame for index, frame in enumerate(frames) if (index in held_out) == out] for out in (False, True)]
    return parts[0], parts[1]


def _held_out(frames: Sequence[Frame], mine: list[int], fraction: float) -> list[int]:
    """Which of the frames `mine` of one kind are held out."""
    sources = list(dict.fromkeys(frames[index].info.get("source") for index in mine))
    n = round(fraction * len(sources))
    if n == 0:
        return mine[len(mine) - round(fraction * len(mine)) :]
    chosen = {sources[int((k + 0.5) * len(sources) / n)] for k in range(n)}
    return [index for index in mine if frames[index].info.get("source") in chosen]


def select_frames(frames: Sequence[Frame], n: int | None, how: str, seed: int, name: str) -> list[Frame]:
    """`n` of the frames: the first, or a random choice that follows from the seed, in the order of the file.

    With one seed, a smaller choice is a part of every larger one.
    """
    if n is None:
        return list(frames)
    if n > len(frames):
        raise InputError(f"n_frames = {n}", f"at most {len(frames)}, which {name} offers for training", "ask for fewer")
    chosen = range(n) if how == "first" else np.sort(np.random.default_rng(seed).permutation(len(frames))[:n])
    return [frames[int(i)] for i in chosen]
