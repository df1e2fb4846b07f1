"""Zip archives without a flaw, as torch writes them: every byte that is read, and those between.

torch and zipfile read the directory at the end of the file and skip what repeats it in front of each entry; here both
are compared, with the CRC-32 of each content and the padding. lammps_plugin/backends/archive.cpp does the same.
"""

from __future__ import annotations

import zlib
from struct import Struct, error

# Records of the zip format (PKWARE's APPNOTE, 4.3). In common: version, flags, method, time, date, crc, packed, size,
# lengths of name and extra field.
COMMON = "5H3I2H"
LOCAL = Struct("<4s" + COMMON)
CENTRAL = Struct("<4sH" + COMMON + "3H2I")  # by whom; in common; comment, disk, attributes (2), offset
DESCRIPTOR = Struct("<4s3I")
END = Struct("<4s4H2IH")
END64 = Struct("<4sQ2H2I4Q")
LOCATOR64 = Struct("<4sIQI")
HAS_DESCRIPTOR = 8  # a flag
BY_ZIPFILE = (788, 0, 0, 0o600 << 16)  # version, and attributes of a file, that zipfile writes into the directory
VERSIONS64 = (798, 45)  # that torch writes
PADDING = b"FB"  # an extra field of Z


def flaw(data: bytes) -> str | None:
    """What is wrong with an archive of less than 4 GiB, in a few words; None if it is sound."""
    try:
        _check(data)
    except _Flaw as found:
        return str(found)
    except (error, IndexError, OverflowError):
        return "cut short"
    return None


class _Flaw(Exception):
    pass


def _expect(right: bool, what: str) -> None:
    if not right:
        raise _Flaw(what)


def _check(data: bytes) -> None:
    begin = len(data) - END.size
    _expect(begin >= 0, "cut short")
    end = END.unpack_from(data, begin)
    count, size, offset = end[3], end[5], end[6]
    _expect(end == (b"PK\5\6", 0, 0, count, count, size, offset, 0), "no directory at its end")
    if data[begin - LOCATOR64.size : begin].startswith(b"PK\6\7"):
        begin -= LOCATOR64.size + END64.size
        large = END64.unpack_from(data, begin)
        _expect(large[:2] + large[4:] == (b"PK\6\6", 44, 0, 0, count, count, size, offset), "damaged end")
        _expect(large[2:4] == VERSIONS64, "damaged end")
        _expect(LOCATOR64.unpack_from(data, begin + END64.size) == (b"PK\6\7", 0, begin, 1), "damaged end")
    _expect(offset + size == begin, "damaged end")
    place, at, makers = 0, offset, []
    for _ in range(count):
        head = CENTRAL.unpack_from(data, at)
        name = data[at + CENTRAL.size :][: head[10]]
        _expect(head[0] == b"PK\1\2" and head[11:13] == (0, 0) and head[16] == place, "damaged directory")
        makers.append((head[1], *head[13:16]))
        at += CENTRAL.size + len(name)
        place = _check_entry(data, place, head[2:10], name)
    alike = set(makers if makers[-1:] != [BY_ZIPFILE] else makers[:-1])  # one program made all, zipfile adds the last
    _expect(at == begin and place == offset and len(alike) < 2, "damaged directory")


def _crc(content: memoryview, method: int, size: int) -> int | None:
    """CRC-32 of an entry's content, stored (method 0) or deflated (8), if it has the stated size."""
    try:
        whole = zlib.decompress(content, -15) if method == 8 else content
    except zlib.error:
        return None
    return zlib.crc32(whole) if len(whole) == size and method in (0, 8) else None


def _check_entry(data: bytes, at: int, stated: tuple[int, ...], name: bytes) -> int:
    """Where the entry at `at` ends, of which the directory states version, flags, method, time, date, crc and sizes."""
    crc, packed = stated[5], stated[6]
    head = LOCAL.unpack_from(data, at)
    _expect(head[0] == b"PK\3\4" and head[9] == len(name), "damaged header")
    at += LOCAL.size
    extra = data[at + len(name) :][: head[10]]
    _expect(data[at : at + len(name)] == name, "damaged name")
    padding = PADDING + max(len(extra) - 4, 0).to_bytes(2, "little") + b"Z" * (len(extra) - 4)
    _expect(extra in (b"", padding), "damaged padding")
    at += len(name) + len(extra)
    content = memoryview(data)[at : at + packed]
    _expect(_crc(content, stated[2], stated[7]) == crc, f"CRC-32 of {name.decode(errors='replace')}")
    at += packed
    found = head[1:9]
    if head[2] & HAS_DESCRIPTOR:
        _expect(found[5:] == (0, 0, 0), "damaged header")
        described = DESCRIPTOR.unpack_from(data, at)
        _expect(described[0] == b"PK\7\x08", "damaged header")
        found, at = (*found[:5], *described[1:]), at + DESCRIPTOR.size
    _expect(found == stated, "two records that differ")
    return at
