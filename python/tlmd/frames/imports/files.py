"""Files as they lie on disk: plain or compressed (.gz, .xz), and the error for one that is not whole."""

from __future__ import annotations

import gzip
import lzma
import zlib
from pathlib import Path

from tlmd.run.errors import InputError

OPEN = {".gz": gzip.open, ".xz": lzma.open}
DAMAGED = (lzma.LZMAError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)


def content(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file, unpacked; all of them by default. InputError for a damaged archive."""
    try:
        with OPEN.get(path.suffix, open)(path, "rb") as file:
            return file.read(size)
    except DAMAGED as error:
        raise InputError(f"{path}: {error}", "a complete file", "copy or write it again") from None


def text(path: Path) -> str:
    """All of a text file, unpacked; bytes that are not UTF-8 (names, comments) are replaced."""
    return content(path).decode("utf-8", errors="replace")


def conversion(path: Path, index: str = ":", format_: str = "") -> str:
    """What to do, in one line: convert by ASE the frames `index` of a file."""
    how = f", format='{format_}'" if format_ else ""
    code = f"from ase.io import read, write; write('frames.extxyz', read('{path}', '{index}'{how}))"
    return f'python -c "{code}"'


def words(error: BaseException) -> str:
    """What an error says, in one line of bearable length."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 200 else said[:200] + " ..."
