"""Files that are whole or absent, and their fingerprints."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlmd.run.errors import InputError


def write_atomic(path: Path | str, write: Callable[[Path], Any]) -> None:
    """Call write(temporary path beside `path`), then rename: `path` is whole or untouched, also when the disk is full.

    A link is followed: the file that it names is replaced, not the link. Raises InputError if `path` is something else
    than a file (a folder, a device, a pipe), which a rename would destroy; OSError that names `path`.
    """
    given, path = path, target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, os.fspath(temporary), temporary):
            raise type(error)(error.errno, error.strerror, os.fspath(given)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """`write_atomic` of a text, UTF-8."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path | str, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()) -> None:
    """`write_atomic` of a table of `columns`, and the other keys of all rows in the order in which they come."""
    text = io.StringIO()
    names = dict.fromkeys([*columns, *(key for row in rows for key in row)])
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def target(path: Path | str) -> Path:
    """The file that writing to `path` replaces or makes; InputError if something else than a file is there."""
    given = Path(path)
    if given.exists() and not given.is_file():
        kind = "a folder" if given.is_dir() else "a device or a pipe"
        raise InputError(f"{given}, {kind}", "a file, or a name that is free", "choose another output file")
    return Path(os.path.realpath(given))


def refuse_input(out: Path | str | None, inputs: Iterable[Path | str | None]) -> None:
    """InputError if the output file `out` is one of the files that the command reads, by whatever name."""
    if out is None or not os.path.exists(out):
        return
    for file in inputs:
        if isinstance(file, str | os.PathLike) and os.path.exists(file) and os.path.samefile(out, file):
            raise InputError(f"{out} as output", "another file than the inputs", f"it is {file}, which is read")


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
