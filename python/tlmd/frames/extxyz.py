"""Frames in extended XYZ, plain or compressed (.gz, .xz).

ASE's own reader takes minutes for a compressed set of liquid frames; this one reads the same set in seconds.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.io.extxyz import key_val_str_to_dict

from tlmd.frames.frame import Frame
from tlmd.frames.labels import Keys
from tlmd.run.errors import InputError
from tlmd.run.files import write_atomic

_OPEN = {".gz": gzip.open, ".xz": lzma.open}
_DAMAGED = (lzma.LZMAError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)
_COLUMNS = "species:S:1:pos:R:3"  # those of a plain XYZ file


def read_extxyz(path: Path, keys: Keys | None = None) -> list[Frame]:
    """All frames of a file; keys: as for tlmd.frames.read.read_frames. InputError names the file and the frame."""
    return list(iterate_extxyz(path, keys))


def iterate_extxyz(path: Path, keys: Keys | None = None) -> Iterator[Frame]:
    """The frames of a file one after the other, as `read_extxyz`; memory: that of one."""
    number = 0
    try:
        with _OPEN.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    yield _frame(line, file, keys)
                except (ValueError, KeyError, IndexError, OverflowError) as error:
                    if isinstance(error, UnicodeDecodeError | InputError):
                        raise
                    got = f"{path}, frame {number}: {_words(error)}"
                    raise InputError(got, "an extxyz frame", "correct or cut it") from None
                number += 1
    except _DAMAGED as error:
        raise InputError(f"{path}: {error}", "a complete extxyz file", "copy or write it again") from None


def _frame(line: str, file: TextIO, keys: Keys | None) -> Frame:
    """The frame whose first line is `line`."""
    count = _count(line)
    comment, *rows = [row.rstrip("\r\n") for row in islice(file, count + 1)] or [""]
    if len(rows) < count:
        raise ValueError(f"{len(rows)} of {count} atoms")
    return _parse(comment, rows, keys)


def _words(error: Exception) -> str:
    """What an error says in one line of bearable length."""
    text = " ".join((f"no {error}" if isinstance(error, KeyError) else str(error)).split())
    return text if len(text) <= 200 else text[:200] + " ..."


def _count(line: str) -> int:
    """Number of atoms from the first line of a frame."""
    text = line.strip()
    if not (text.isdecimal() and text.isascii() and 0 < len(text) < 10 and int(text)):
        raise ValueError(f"'{text[:40]}' where the number of atoms should be")
    return int(text)


def _parse(comment: str, rows: list[str], keys: Keys | None) -> Frame:
    """One frame from its comment line and the lines of its atoms."""
    info = key_val_str_to_dict(comment)
    cell = _cell(info.pop("Lattice", None))
    pbc = _flags(info.pop("pbc", bool(cell.any())))
    arrays = _columns(str(info.pop("Properties", _COLUMNS)), rows)
    if "pos" not in arrays or arrays["pos"].shape[1] != 3:
        raise ValueError("Properties without pos:R:3")
    return Frame.from_columns(_numbers(arrays), arrays.pop("pos"), cell, pbc, info, arrays, keys)


def _cell(lattice: Any) -> np.ndarray:
    """(3, 3) A, rows are vectors; ASE's parser gives the vectors as columns."""
    if lattice is None:
        return np.zeros((3, 3))
    lattice = np.asarray(lattice)
    if lattice.shape != (3, 3) or lattice.dtype.kind not in "fiu":
        raise ValueError("a Lattice that is not 9 numbers")
    return lattice.astype(float).T


def _flags(pbc: Any) -> np.ndarray:
    pbc = np.asarray(pbc)
    if pbc.dtype.kind not in "biu" or pbc.size not in (1, 3):
        raise ValueError("pbc that is not T or F, once or for each direction")
    return np.broadcast_to(pbc.astype(bool).ravel(), 3).copy()


def _columns(properties: str, rows: list[str]) -> dict[str, np.ndarray]:
    """The columns by name, (N, k): numbers, or text for the kinds S and L."""
    table = [row.split() for row in rows]
    width = len(table[0])
    if odd := next((index for index, row in enumerate(table) if len(row) != width), None):
        raise ValueError(f"atom {odd} with {len(table[odd])} columns, {width} before")
    table = np.array(table)
    parts = properties.split(":")
    if len(parts) % 3:
        raise ValueError(f"Properties={properties}, not name:kind:count for each")
    arrays, at = {}, 0
    for name, kind, count in zip(parts[::3], parts[1::3], map(int, parts[2::3]), strict=True):
        columns = table[:, at : at + count]
        if count < 1 or columns.shape[1] < count:
            raise ValueError(f"{width} columns, too few for Properties")
        if name in arrays:
            raise ValueError(f"Properties with {name} twice")
        arrays[name] = columns.astype(float) if kind in "RI" else columns
        at += count
    if at < width:
        arrays[f"{width - at} columns without a name"] = table[:, at:]
    return arrays


def _numbers(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N,) atomic numbers from the column species or Z, which is taken out."""
    if "species" in arrays:
        symbols = arrays.pop("species")[:, 0]
        if unknown := next((s for s in symbols if not atomic_numbers.get(s)), None):
            raise ValueError(f"element {unknown}")
        return np.array([atomic_numbers[symbol] for symbol in symbols])
    if "Z" not in arrays:
        raise ValueError("Properties without species or Z")
    numbers = arrays.pop("Z")[:, 0].astype(float)
    if (odd := (numbers % 1 != 0) | ~(numbers >= 1) | (numbers >= len(chemical_symbols))).any():
        raise ValueError(f"atomic number {numbers[odd][0]:g}")
    return numbers.astype(int)


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write extxyz, compressed by the suffix (.gz, .xz), under a temporary name that is renamed when complete.

    Positions and forces are written to 1e-9, energies to 1e-9 eV, stresses to 12 digits.
    """

    def write(temporary: Path) -> None:
        with _OPEN.get(Path(path).suffix, open)(temporary, "wt", encoding="utf-8") as file:
            for frame in frames:
                file.write(_text(frame))

    write_atomic(path, write)


def _text(frame: Frame) -> str:
    """The frame as extxyz."""
    columns = [frame.positions] + ([] if frame.forces is None else [frame.forces])
    head = {"Properties": _COLUMNS + ("" if frame.forces is None else ":forces:R:3")}
    if frame.pbc.any() or frame.cell.any():
        head["Lattice"] = " ".join(f"{x:.10g}" for x in frame.cell.ravel())
    head["pbc"] = " ".join("FT"[int(periodic)] for periodic in frame.pbc)
    if frame.energy is not None:
        head["energy"] = f"{frame.energy:.9f}"
    if frame.stress is not None:
        head["stress"] = " ".join(f"{x:.12g}" for x in frame.stress.ravel())
    head |= {key: _value(value) for key, value in frame.info.items()}
    comment = " ".join(f"{key}={_quoted(value)}" for key, value in head.items())
    rows = StringIO()
    width = 3 * len(columns)
    for number, row in zip(frame.numbers, np.concatenate(columns, axis=1), strict=True):
        rows.write(("%-2s" + " %.9f" * width + "\n") % (chemical_symbols[number], *row))
    return f"{len(frame)}\n{comment}\n{rows.getvalue()}"


def _quoted(value: str) -> str:
    """As ASE reads it: a backslash stands before a backslash."""
    if value and not set(' []{}\\="') & set(value):
        return value
    return '"' + value.replace("\\", "\\\\") + '"'


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple):
        return " ".join(_value(item) for item in np.ravel(value))
    if isinstance(value, bool | np.bool_):
        return "FT"[int(value)]
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    return str(value).replace('"', "'").replace("\n", " ")
