"""Fields of EXIF and TIFF directories that programs write their names and settings into."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

MAX_ENTRIES: Final = 512
"""Entries of one directory that are looked at."""

NAMES: Final = {
    0x010E: "imagedescription",
    0x010F: "make",
    0x0110: "model",
    0x0131: "software",
    0x013B: "artist",
    0x02BC: "xmp",
    0x83BB: "iptc",
    0x8649: "photoshop",
    0x9286: "usercomment",
    0x927C: "makernote",
    0x9C9C: "xpcomment",
    0xCD41: "c2pa",
}
"""Tags that are read. EXIF 2.32; the XP tags are Microsoft's, 0xCD41 is C2PA's for TIFF."""
_EXIF_DIRECTORY = 0x8769
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 13: 4}


def fields(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """Names and values, at most `most` bytes each, of the first directory and EXIF's own.

    `data` begins with the TIFF header. Whatever is out of form ends the reading.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    waiting = [first]
    for place in waiting:
        if not 8 <= place <= len(data) - 2:
            continue
        (count,) = struct.unpack_from(f"{order}H", data, place)
        for at in range(place + 2, place + 2 + 12 * min(count, MAX_ENTRIES), 12):
            if at + 12 > len(data):
                break
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
            if tag == _EXIF_DIRECTORY and len(waiting) < 2:
                waiting += struct.unpack_from(f"{order}I", data, at + 8)
            if tag not in NAMES or kind not in _SIZES:
                continue
            size = number * _SIZES[kind]
            start = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
            yield NAMES[tag], data[start : start + min(size, most)]


def text(name: str, value: bytes) -> str:
    """The text of a field: ASCII or UTF-8, UTF-16 where EXIF or the bytes say so."""
    if name.startswith("xp"):
        return _trim(value.decode("utf-16-le", "replace"))
    if name == "usercomment":
        code, rest = value[:8], value[8:]
        if code == b"UNICODE\0":
            # EXIF means the order of the file; programs write either. Latin letters decide.
            big = rest[::2].count(0) >= rest[1::2].count(0)
            return _trim(rest.decode("utf-16-be" if big else "utf-16-le", "replace"))
        if code in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8)):
            value = rest
    return _trim(value.decode("utf-8", "replace"))


def _trim(value: str) -> str:
    return value.strip("\0 \t\r\n\ufeff")
