"""Work items of tl-generate: each is a part of a system, made by one rank, with a file of frames and a record."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlmd.frames.extxyz import write_frames
from tlmd.frames.frame import Frame
from tlmd.frames.read import read_frames
from tlmd.generate.config import GenerateConfig
from tlmd.generate.interfaces import NotMade, System, Teacher, Unsuited
from tlmd.generate.registry import SYSTEMS, TEACHERS
from tlmd.run.errors import InputError
from tlmd.run.files import sha256, write_text
from tlmd.run.folder import PARTS

NOT_MADE, NOT_LABELLED = "not made", "without a label"


class Item(NamedTuple):
    """Part `index` of the system `name`; its frames go to one file."""

    name: str
    index: int
    system: System

    def path(self, out: Path) -> Path:
        return out / PARTS / f"{self.name}-{self.index:05d}.extxyz.gz"


def new_teacher(config: GenerateConfig) -> Teacher:
    """The teacher of a configuration."""
    return TEACHERS[config.teacher.name](config.teacher)


def items_of(config: GenerateConfig) -> Iterator[Item]:
    """All work items, in the order of their frames."""
    for name, settings in config.systems.items():
        system = SYSTEMS[settings.kind](settings, config.scale)
        for index in range(system.items):
            yield Item(name, index, system)


def make(config: GenerateConfig, item: Item, teacher: Teacher, out: Path) -> None:
    """Sample, label, filter and write one item: first the frames, then the record that says they are complete.

    The record: `kept` frames, `dropped` ones by a word, `reasons` of those not made or without a label, and `sha256`.
    """
    rng = np.random.default_rng([config.seed, zlib.crc32(item.name.encode()), item.index])
    sample, reasons = propose(item, rng, teacher)
    kept, dropped = [], Counter({NOT_MADE: item.system.count(item.index) - len(sample)})
    for sampled in sample:
        try:
            if (reason := teacher.unfit(sampled)) is not None:
                dropped[reason] += 1
                continue
            frame = teacher.label(sampled)
        except Unsuited as error:
            dropped[NOT_LABELLED] += 1
            reasons[NOT_LABELLED, error.why] += 1
            continue
        if not np.abs(frame.forces).max() <= config.max_force:
            dropped["force"] += 1
            continue
        info = {"kind": item.system.config.kind, "source": f"{config.teacher.name} {item.name} {item.index}"}
        kept.append(frame.replace(info=info | frame.info))
    path = item.path(out)
    write_frames(path, kept)
    listed = [[what, why, count] for (what, why), count in reasons.items()]
    record = {"kept": len(kept), "dropped": dropped, "reasons": listed, "sha256": sha256(path)}
    write_text(path.with_suffix(".json"), json.dumps(record))


def propose(item: Item, rng: np.random.Generator, teacher: Teacher) -> tuple[list[Frame], Counter]:
    """The frames of an item without labels, and how many were not made, by (NOT_MADE, why)."""
    frames, reasons = [], Counter()
    try:
        for made in item.system.sample(item.index, rng, teacher):
            if isinstance(made, NotMade):
                reasons[NOT_MADE, made.why] += made.count
            else:
                frames.append(made)
    except Unsuited as error:
        reasons[NOT_MADE, error.why] += item.system.count(item.index) - len(frames) - reasons.total()
    return frames, reasons


def finished(item: Item, out: Path) -> dict | None:
    """The record of an item whose file is complete, otherwise None (and no record is left)."""
    path = item.path(out)
    record = path.with_suffix(".json")
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["sha256"] == sha256(path) and "reasons" in found:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    record.unlink(missing_ok=True)
    return None


def record_of(item: Item, out: Path) -> dict:
    """The record of a finished item. InputError if its file is not the one that was written."""
    record = finished(item, out)
    if record is None:
        raise InputError(f"{item.path(out)}, changed by someone else", "the file as written", "run again")
    return record


def frames_of(item: Item, out: Path) -> list[Frame]:
    """The labelled frames of a finished item."""
    return read_frames(item.path(out), check=False) if record_of(item, out)["kept"] else []


def dropped(items: Iterable[Item], out: Path) -> Counter:
    """How many frames of finished items were dropped, by a word."""
    return sum((Counter(record_of(item, out)["dropped"]) for item in items), Counter())


def reasons(items: Iterable[Item], out: Path) -> Counter:
    """How many frames of finished items were not made or not labelled, by (NOT_MADE or NOT_LABELLED, why)."""
    found: Counter = Counter()
    for item in items:
        for what, why, count in record_of(item, out)["reasons"]:
            found[what, why] += count
    return found
