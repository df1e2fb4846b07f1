"""Frames from a file of any format that is known, checked as they are read."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tlmd.frames.checks import check_frame, check_frames
from tlmd.frames.extxyz import iterate_extxyz, read_extxyz
from tlmd.frames.frame import Frame
from tlmd.frames.imports.formats import KNOWN, Format, format_of, is_database
from tlmd.frames.labels import KEYS, Keys
from tlmd.run.errors import InputError


class Frames(list[Frame]):
    """The frames of a file; notes: what a user should know of how they were read, one line each."""

    notes: tuple[str, ...] = ()


def read_frames(path: str | Path, keys: Keys | None = None, max_force: float = 100.0, check: bool = True) -> Frames:
    """All frames of a file: extxyz (.extxyz or .xyz, also .gz, .xz), an ASE database (.db), or one of the formats in
    tlmd.frames.imports (outputs of programs, a folder of deepmd-kit), whose units and signs are converted.

    keys gives the name(s) of a label in extxyz or a database where it is not a usual one, e.g. {"energy":
    "pbe_energy"}; the virial is converted to stress, and units must be eV, A. With `check` (see
    `tlmd.frames.checks.check_frames`), absurd values, duplicates and mixed units are refused. Raises InputError naming
    the file and the frame (the first is 0).
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no file {path}", f"frames: {KNOWN}", "check the path")
    unknown = set(keys or ()) - set(KEYS)
    if unknown:
        raise InputError(f"keys for {', '.join(sorted(unknown))}", f"keys for {', '.join(KEYS)}", "correct the names")
    frames = _read(path, keys)
    if not frames:
        raise InputError(f"no frames in {path}", "at least one frame", "check how the file was written")
    for label in keys or ():
        if all(getattr(frame, "stress" if label == "virial" else label) is None for frame in frames):
            raise InputError(f"no {label} under the key {keys[label]} in {path}", "a key of the file", "check its name")
    if check:
        check_frames(frames, path, max_force)
    return frames


def each_frame(path: Path, max_force: float = 100.0) -> Iterator[Frame]:
    """The frames of a file one after the other, each checked alone; of extxyz one is in memory at a time."""
    path = Path(path)
    whole = not path.exists() or is_foreign(path)
    for index, frame in enumerate(read_frames(path, check=False) if whole else iterate_extxyz(path)):
        check_frame(frame, f"{path}, frame {index}", max_force)
        yield frame


def is_foreign(path: Path) -> bool:
    """Whether a file is anything else than extxyz."""
    return format_of(path) is not None or is_database(path)


def read_once(path: Path, check: bool = True) -> Frames:
    """As read_frames; asked for again, the last file that has not changed since is not read again. A folder is."""
    return _read_once(path, check, path.stat().st_mtime_ns) if path.is_file() else read_frames(path, check=check)


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, check: bool, _changed: int) -> Frames:
    return read_frames(path, check=check)


def _missing(path: Path, format_: Format, frames: list[Frame]) -> str | None:
    """A line on which labels the frames of an imported file lack; None if none."""
    counts = {label: sum(getattr(frame, label) is None for frame in frames) for label in ("energy", "forces", "stress")}
    missing = [
        label if count == len(frames) else f"{label} in {count} of {len(frames)} frames"
        for label, count in counts.items()
        if count and not (label == "stress" and not any(frame.pbc.all() for frame in frames))
    ]
    return f"{path} ({format_.what}): no {', no '.join(missing)}" if missing else None


def _read(path: Path, keys: Keys | None) -> Frames:
    """The frames as the file has them."""
    format_ = format_of(path)
    if format_ is None:
        return Frames(_read_database(path, keys) if is_database(path) else read_extxyz(path, keys))
    if keys:
        raise InputError(f"keys for {path}, {format_.what}", "keys for extxyz or a database alone", "leave them out")
    found, notes = format_.read(path)
    frames = Frames(found)
    frames.notes = tuple(f"{path}: {note}" for note in notes) + tuple(filter(None, [_missing(path, format_, found)]))
    return frames


def _read_database(path: Path, keys: Keys | None) -> list[Frame]:
    from ase.db import connect

    frames = []
    try:
        for row in connect(path, type="db").select():
            atoms = row.toatoms()
            atoms.info |= {**row.key_value_pairs, **row.data}
            frames.append(Frame.from_atoms(atoms, keys))
    except (sqlite3.Error, ValueError, KeyError, TypeError, IndexError, AttributeError, UnicodeDecodeError) as error:
        got = f"{path}, frame {len(frames)}: {' '.join(str(error).split())[:200]}"
        raise InputError(got, "an ASE database that is whole", "copy or write it again") from None
    return frames
