"""The luma plane of an ordinary JPEG at 1/8 scale, several times faster than a full decoder.

Ordinary is what cameras, phones and most software write: Huffman-coded, 8 bits, grey or YCbCr with
luma at full resolution; baseline in one interleaved scan, or progressive. Of a progressive file
only the scans of DC coefficients are decoded, and the others stepped over. For anything else, and
for the least irregularity in what is read, `means` gives None and libjpeg decides: no verdict rests
on this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutela.media import jpeg_kernels as kernels

_RESTARTS = 65_536
"""Restart intervals of one file; more are left to libjpeg."""


_SCANS = 256
"""Scans of one progressive file; more are left to libjpeg."""
_MARKS = 1 << 20
"""Markers, and what looks like them, in one progressive file; more are left to libjpeg."""


class _Unusual(Exception):
    """A file that is left to libjpeg."""


@dataclass(slots=True)
class Header:
    """What the segments before the entropy data say."""

    height: int = 0
    width: int = 0
    components: tuple[tuple[int, int, int, int], ...] = ()
    """Identifier, horizontal and vertical sampling factor, quantisation table of each."""
    quanta: dict[int, int] = field(default_factory=dict)
    """Step of the DC coefficient, by quantisation table."""
    huffman: dict[int, bytes] = field(default_factory=dict)
    """16 counts and the symbols, by class << 4 | number: class 0 is DC, 1 AC."""
    restart: int = 0
    """MCUs to a restart interval; 0 for none."""
    jfif: bool = False
    adobe: int | None = None
    """Colour transform that Adobe's segment names."""
    progressive: bool = False
    scan: bytes = b""
    """The body of the first scan's segment."""
    start: int = 0
    """Where the entropy data of the first scan begin."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of DC coefficients in a progressive file."""

    members: tuple[int, ...]
    """Its components, by their place in the frame."""
    huffman: tuple[bytes, ...]
    """The table of each member; empty where the scan adds one bit to each coefficient."""
    restart: int
    start: int
    stop: int
    """The entropy data; at `stop` is a marker."""


def means(data: bytes) -> kernels.Bytes | None:
    """The mean of each 8 × 8 block of luma, uint8 (⌈height / 8⌉, ⌈width / 8⌉), or None."""
    try:
        found = header(data)
        _check(found)
        return _progressive(data, found) if found.progressive else _baseline(data, found)
    except (_Unusual, IndexError):
        return None


def header(data: bytes) -> Header:
    """Read the segments up to the first scan. Raises `_Unusual` or `IndexError`."""
    found = Header()
    at = 2
    if data[:2] != b"\xff\xd8":
        raise _Unusual
    while True:
        code, body, at = _segment(data, at)
        match code:
            case 0xC0 | 0xC1 | 0xC2:
                found.progressive = code == 0xC2
                _frame(found, body)
            case 0xC4:
                _huffman(found, body)
            case 0xDB:
                _quanta(found, body)
            case 0xDD:
                found.restart = _restart(body)
            case 0xDA:
                found.scan = body
                found.start = at
                return found
            case 0xE0:
                if body[:5] == b"JFIF\0" and len(body) >= 14:
                    found.jfif = True
                    if body[5] != 1:
                        raise _Unusual
            case 0xEE:
                if body[:5] == b"Adobe" and len(body) >= 12:
                    found.adobe = body[11]
            case 0xFE:
                pass
            case _ if 0xE1 <= code <= 0xEF:
                pass
            case _:
                raise _Unusual


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Code and body of the segment at a place, and where it ends."""
    stop = at + 2 + (data[at + 2] << 8 | data[at + 3])
    if data[at] != 0xFF or not at + 4 <= stop <= len(data):
        raise _Unusual
    return data[at + 1], data[at + 4 : stop], stop


def _frame(found: Header, body: bytes) -> None:
    count = body[5]
    if body[0] != 8 or count not in (1, 3) or len(body) != 6 + 3 * count or found.components:
        raise _Unusual
    found.height = body[1] << 8 | body[2]
    found.width = body[3] << 8 | body[4]
    found.components = tuple(
        (body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, len(body), 3)
    )
    if not found.height or not found.width or len({part[0] for part in found.components}) < count:
        raise _Unusual


def _restart(body: bytes) -> int:
    if len(body) != 2:
        raise _Unusual
    return body[0] << 8 | body[1]


def _huffman(found: Header, body: bytes) -> None:
    at = 0
    while at < len(body):
        stop = at + 17 + sum(body[at + 1 : at + 17])
        if stop > len(body) or stop - at > 17 + 256 or body[at] & 0xEF > 3:
            raise _Unusual
        found.huffman[body[at]] = body[at + 1 : stop]
        at = stop


def _quanta(found: Header, body: bytes) -> None:
    at = 0
    while at < len(body):
        wide, number = body[at] >> 4, body[at] & 15
        if wide > 1 or number > 3 or at + 1 + (64 << wide) > len(body):
            raise _Unusual
        # The first step is that of the DC coefficient.
        found.quanta[number] = body[at + 1] << 8 | body[at + 2] if wide else body[at + 1]
        at += 1 + (64 << wide)


def _is_luma(found: Header) -> bool:
    """Whether the first component is luma, by the rules that libjpeg goes by."""
    if len(found.components) == 1 or found.jfif:
        return True
    if found.adobe is not None:
        return found.adobe == 1
    return [part[0] for part in found.components] == [1, 2, 3]


def _check(found: Header) -> None:
    """Raise `_Unusual` unless the first component is luma at full resolution."""
    if not found.components or not _is_luma(found):
        raise _Unusual
    _, wide, high, _ = found.components[0]
    for _, x, y, table in found.components:
        if not 1 <= x <= wide <= 4 or not 1 <= y <= high <= 4 or table not in found.quanta:
            raise _Unusual


def _baseline(data: bytes, found: Header) -> kernels.Bytes:
    body, count = found.scan, len(found.components)
    if body[0] != count or len(body) != 4 + 2 * count or body[-3:] != b"\0\x3f\0":
        raise _Unusual
    if [body[1 + 2 * i] for i in range(count)] != [part[0] for part in found.components]:
        raise _Unusual
    numbers = [body[2 + 2 * i] for i in range(count)]
    across, down, blocks = _geometry(found, range(count))
    # A block takes two bits at the least: a small file that declares more has not got them.
    if across * down * len(blocks) > 4 * len(data):
        raise _Unusual
    try:
        decoder = _decoder(
            tuple(
                (found.huffman[numbers[i] >> 4], found.huffman[16 | numbers[i] & 15], i == 0)
                for i in blocks
            )
        )
    except KeyError:
        raise _Unusual from None
    source = np.frombuffer(data, np.uint8)
    stream, starts, units, end = _stream(source, found.start, across * down, found.restart)
    if data[end : end + 2] != b"\xff\xd9":
        raise _Unusual
    levels = _levels(stream, starts, units * len(blocks), decoder, across * down * blocks.count(0))
    wide, high = _factors(found, blocks)
    return _pixels(found, levels, across, high, wide)


def _progressive(data: bytes, found: Header) -> kernels.Bytes:
    rows, columns = -(-found.height // 8), -(-found.width // 8)
    levels = np.zeros((1, 1), np.int32)
    source = np.frombuffer(data, np.uint8)
    for scan in _dc_scans(data, found):
        if 0 not in scan.members:
            continue
        across, down, blocks = _geometry(found, scan.members)
        # A block takes a bit at the least.
        if across * down * len(blocks) > 8 * (scan.stop - scan.start):
            raise _Unusual
        stream, starts, units, end = _stream(
            source[: scan.stop + 2], scan.start, across * down, scan.restart
        )
        if end != scan.stop:
            raise _Unusual
        luma = blocks.count(0)
        if scan.huffman:
            tables = dict(zip(scan.members, scan.huffman, strict=True))
            decoder = _decoder(tuple((tables[i], b"", i == 0) for i in blocks))
            flat = _levels(stream, starts, units * len(blocks), decoder, across * down * luma)[:-1]
        else:
            bits = _bits(stream, starts, units * len(blocks))
            flat = bits.reshape(across * down, len(blocks))[:, :luma].ravel()
        wide, high = _factors(found, blocks)
        lines = flat.reshape(down, across, high, wide).transpose(0, 2, 1, 3)
        plane = lines.reshape(down * high, across * wide)[:rows, :columns]
        # The first scan gives the upper bits, in two's complement, and each other one bit more.
        levels = levels << 1 | plane
    return _pixels(found, levels.ravel(), columns, 1, 1)


def _dc_scans(data: bytes, found: Header) -> list[Scan]:
    """Walk through a progressive file, and find that it has all bits of all coefficients.

    The headers of all scans, their tables and restart markers are checked; of the data of the
    scans that hold AC coefficients nothing else is.
    """
    source = np.frombuffer(data, np.uint8)
    marked = (source[:-1] == 0xFF) & (source[1:] != 0)
    if np.count_nonzero(marked) > _MARKS:
        raise _Unusual
    marks = np.flatnonzero(marked)
    codes = source[marks + 1]
    ends = np.flatnonzero(codes & 0xF8 != 0xD0)
    names = [part[0] for part in found.components]
    # Bits that are still missing from each coefficient: -1 as long as all are.
    missing = np.full((len(names), 64), -1)
    scans: list[Scan] = []
    body, start, restart = found.scan, found.start, found.restart
    for _ in range(_SCANS):
        count = body[0]
        if not 1 <= count <= len(names) or len(body) != 4 + 2 * count:
            raise _Unusual
        if not set(body[1:-3:2]) <= set(names):
            raise _Unusual
        members = tuple(names.index(name) for name in body[1:-3:2])
        first, last, before, after = body[-3], body[-2], body[-1] >> 4, body[-1] & 15
        if list(members) != sorted(set(members)) or after > 13 or (before and before != after + 1):
            raise _Unusual
        if last if first == 0 else count != 1 or not first <= last <= 63:
            raise _Unusual
        band = missing[list(members), first : last + 1]
        if np.any(band != (before or -1)) or (first and missing[members[0], 0] < 0):
            raise _Unusual
        missing[list(members), first : last + 1] = after

        huffman: tuple[bytes, ...] = ()
        if first or not before:
            numbers = [16 | number & 15 if first else number >> 4 for number in body[2:-3:2]]
            if not found.huffman.keys() >= set(numbers):
                raise _Unusual
            huffman = tuple(found.huffman[number] for number in numbers)
            if not all(_possible(table, dc=first == 0) for table in huffman):
                raise _Unusual

        begin = int(np.searchsorted(marks, start))
        end = int(ends[np.searchsorted(ends, begin)])
        across, down, _blocks = _geometry(found, members)
        restarts = (across * down - 1) // restart if restart else 0
        if end - begin != restarts or np.any(codes[begin:end] != (np.arange(restarts) & 7) + 0xD0):
            raise _Unusual
        at = int(marks[end])
        if first == 0:
            scans.append(Scan(members, huffman, restart, start, at))
        while True:
            if data[at : at + 2] == b"\xff\xd9":
                if np.any(missing):
                    raise _Unusual
                return scans
            code, body, at = _segment(data, at)
            if code == 0xDA:
                break
            if code == 0xC4:
                _huffman(found, body)
            elif code == 0xDD:
                restart = _restart(body)
            else:
                raise _Unusual
        start = at
    raise _Unusual


def _geometry(found: Header, members: Sequence[int]) -> tuple[int, int, list[int]]:
    """MCUs across and down in a scan of some components, and the component of each block of one."""
    _, wide, high, _ = found.components[0]
    if len(members) == 1:
        # A scan of one component has one block to an MCU, and no blocks beyond the picture.
        _, x, y, _ = found.components[members[0]]
        return -(-found.width * x // (8 * wide)), -(-found.height * y // (8 * high)), [members[0]]
    blocks: list[int] = []
    for index in members:
        blocks += [index] * (found.components[index][1] * found.components[index][2])
    if len(blocks) > 10:
        raise _Unusual
    return -(-found.width // (8 * wide)), -(-found.height // (8 * high)), blocks


def _factors(found: Header, blocks: list[int]) -> tuple[int, int]:
    """Blocks of luma across and down in an MCU."""
    return (1, 1) if len(blocks) == 1 else found.components[0][1:3]


def _stream(
    source: kernels.Bytes, start: int, total: int, restart: int
) -> tuple[kernels.Bytes, NDArray[np.int64], NDArray[np.int64], int]:
    """The entropy data of a scan with that many MCUs.

    They come as `kernels.scan` wants them, with the bounds of each restart interval, its MCUs, and
    where the data end.
    """
    interval = restart or total
    segments = -(-total // interval)
    if segments > _RESTARTS:
        raise _Unusual
    stream = np.empty(source.size - start + 64, np.uint8)
    starts = np.zeros(segments + 1, np.int64)
    written, restarts, end = kernels.unstuff(source, start, stream, starts)
    if end < 0 or restarts != segments - 1:
        raise _Unusual
    starts[segments] = written
    stream[written : written + kernels.PAD] = 0
    units = np.full(segments, interval, np.int64)
    units[-1] = total - interval * (segments - 1)
    return stream[: written + kernels.PAD], starts, units, end


def _levels(
    stream: kernels.Bytes,
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    decoder: Any,
    size: int,
) -> NDArray[np.int32]:
    """The coefficients of luma of a scan, and one more that means nothing."""
    tables, plan, limits, offsets, symbols, keep = decoder
    out = np.empty(size + 1, np.int32)
    if not kernels.scan(stream, starts, counts, tables, plan, limits, offsets, symbols, keep, out):
        raise _Unusual
    return out


def _bits(
    stream: kernels.Bytes, starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """So many bits of each restart interval; none may have a byte to spare."""
    if np.any(np.diff(starts) != (counts + 7) // 8):
        raise _Unusual
    shifts = 8 * starts[:-1] - (np.cumsum(counts) - counts)
    places = np.arange(counts.sum()) + np.repeat(shifts, counts)
    bits: NDArray[np.int32] = np.unpackbits(stream)[places].astype(np.int32)
    return bits


def _pixels(
    found: Header, levels: NDArray[np.int32], across: int, high: int, wide: int
) -> kernels.Bytes:
    """DC coefficients to pixels; the arguments are those of `kernels.place`."""
    out = np.empty((-(-found.height // 8), -(-found.width // 8)), np.uint8)
    quantum = found.quanta[found.components[0][3]]
    if not kernels.place(levels, across, high, wide, quantum, out):
        raise _Unusual
    return out


@lru_cache(maxsize=64)
def _possible(huffman: bytes, *, dc: bool) -> bool:
    """Whether a Huffman table is possible; one for DC has sizes of 0 to 11 bits alone."""
    counts = np.frombuffer(huffman[:16], np.uint8)
    if dc and max(huffman[16:], default=0) > 11:
        return False
    return kernels.canonical(counts, np.empty(17, np.int64), np.empty(17, np.int64))


@lru_cache(maxsize=32)
def _decoder(blocks: tuple[tuple[bytes, bytes, bool], ...]) -> Any:
    """What `kernels.scan` wants, for the DC and AC Huffman tables of each block of an MCU.

    Without an AC table the AC part takes no bits, as in the scans of a progressive file.
    Most files carry the tables that the standard prints, so few of these are ever built.
    """
    rows: dict[tuple[bytes, bool, bool], int] = {}
    plan: list[int] = []
    for dc, ac, luma in blocks:
        plan.append(rows.setdefault((dc, True, luma), len(rows)))
        plan.append(rows.setdefault((ac, False, False), len(rows)))
    tables = np.empty((len(rows), kernels.SIZE), np.int32)
    limits = np.empty((len(rows), 17), np.int64)
    offsets = np.zeros((len(rows), 17), np.int64)
    symbols = np.zeros((len(rows), 256), np.uint8)
    keep = np.zeros(len(rows), np.uint8)
    for (huffman, is_dc, luma), row in rows.items():
        if not huffman:
            tables[row], limits[row] = kernels.MOVE, -1
            continue
        counts = np.frombuffer(huffman[:16], np.uint8)
        if not kernels.canonical(counts, limits[row], offsets[row]):
            raise _Unusual
        symbols[row, : len(huffman) - 16] = np.frombuffer(huffman[16:], np.uint8)
        if is_dc:
            if symbols[row].max() > 11:
                raise _Unusual
            kernels.fill_dc(tables[row], counts, symbols[row], luma)
            keep[row] = luma
        else:
            kernels.fill_ac(tables[row], counts, symbols[row])
    return tables, np.array([*plan, plan[0]]), limits, offsets, symbols, keep
