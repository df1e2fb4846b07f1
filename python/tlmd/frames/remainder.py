"""Frames whose labels are less a baseline: what a network learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlmd.baseline.interfaces import Baseline
from tlmd.baseline.kinds import open_baseline
from tlmd.frames.frame import Frame
from tlmd.frames.split import Sets
from tlmd.run.errors import InputError
from tlmd.run.folder import RunFolder


def less_baseline(
    frames: Sequence[Frame], baseline: Baseline, name: str, advance: Callable[[], None] = lambda: None
) -> list[Frame]:
    """The frames with their labels less the baseline's values; `total` is the frame as it was. advance(): after each.

    Raises InputError that names the frame (of `name`) where the baseline has no finite values.
    """
    found = []
    for index, frame in enumerate(frames):
        try:
            if frame.stress is not None and not frame.pbc.all():
                raise InputError("stress without a periodic box", "a volume", "remove the stress or set pbc")
            values = baseline.values(frame.numbers, frame.positions, frame.cell, frame.pbc)
            if not (np.isfinite(values.energy) and np.isfinite(values.forces).all()):
                got = f"the baseline {baseline.name} of nan or inf"
                raise InputError(got, "finite values", "remove the frame, or correct the baseline")
        except InputError as error:
            raise error.at(f"{name}, frame {index}") from None
        labels = {key: getattr(frame, key) for key in values._fields}
        left = {key: label - getattr(values, key) for key, label in labels.items() if label is not None}
        found.append(frame.replace(**left, total=frame))
        advance()
    return found


def remainders(sets: Sets, described: dict[str, Any] | None, run: RunFolder) -> Sets:
    """The sets of a stage with labels less the baseline that a card describes; as they are without one."""
    if described is None:
        return sets
    parts, start = {"train": sets.train, "valid": sets.valid, "test": sets.test}, time.monotonic()
    baseline = open_baseline(described)
    try:
        with run.progress(sum(map(len, parts.values()))) as bar:
            for name, frames in parts.items():
                step = lambda: bar.advance(bar.task_ids[0])  # noqa: E731
                parts[name] = less_baseline(frames, baseline, f"the {name} frames", step)
    finally:
        baseline.close()
    seconds = time.monotonic() - start
    run.say(f"baseline {baseline.name}: taken off {sum(map(len, parts.values()))} frames in {seconds:.1f} s")
    return replace(sets, **parts)
