"""The luma plane of an ordinary JPEG at 1/8 scale, several times faster than a full decoder.

Ordinary is what cameras, phones and most software write: baseline, Huffman-coded, 8 bits, grey or
YCbCr in one interleaved scan, luma at full resolution. For anything else, and for data with the
least irregularity, `means` gives None and libjpeg decides: no verdict rests on this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from tutela.media import jpeg_kernels as kernels

_RESTARTS = 65_536
"""Restart intervals of one file; more are left to libjpeg."""


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
    selectors: tuple[tuple[int, int], ...] = ()
    """Component and Huffman table numbers of the scan."""
    start: int = 0
    """Where the entropy data begin."""


def means(data: bytes) -> kernels.Bytes | None:
    """The mean of each 8 × 8 block of luma, uint8 (⌈height / 8⌉, ⌈width / 8⌉), or None."""
    try:
        return _means(data, header(data))
    except (_Unusual, IndexError):
        return None


def header(data: bytes) -> Header:
    """Read the segments up to the first scan. Raises `_Unusual` or `IndexError`."""
    found = Header()
    at = 2
    if data[:2] != b"\xff\xd8":
        raise _Unusual
    while True:
        if data[at] != 0xFF:
            raise _Unusual
        code = data[at + 1]
        stop = at + 2 + (data[at + 2] << 8 | data[at + 3])
        body = data[at + 4 : stop]
        if stop > len(data) or stop < at + 4:
            raise _Unusual
        match code:
            case 0xC0 | 0xC1:
                _frame(found, body)
            case 0xC4:
                _huffman(found, body)
            case 0xDB:
                _quanta(found, body)
            case 0xDD:
                found.restart = body[0] << 8 | body[1]
            case 0xDA:
                found.selectors = _selectors(found, body)
                found.start = stop
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
        at = stop


def _frame(found: Header, body: bytes) -> None:
    count = body[5]
    if body[0] != 8 or count not in (1, 3) or len(body) != 6 + 3 * count or found.components:
        raise _Unusual
    found.height = body[1] << 8 | body[2]
    found.width = body[3] << 8 | body[4]
    found.components = tuple(
        (body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, len(body), 3)
    )
    if not found.height or not found.width:
        raise _Unusual


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


def _selectors(found: Header, body: bytes) -> tuple[tuple[int, int], ...]:
    """DC and AC table of each component, in the order of the frame."""
    count = len(found.components)
    if not count or body[0] != count or len(body) != 4 + 2 * count or body[-3:] != b"\0\x3f\0":
        raise _Unusual
    if [body[1 + 2 * i] for i in range(count)] != [part[0] for part in found.components]:
        raise _Unusual
    return tuple((body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15) for i in range(count))


def _is_luma(found: Header) -> bool:
    """Whether the first component is luma, by the rules that libjpeg goes by."""
    if len(found.components) == 1 or found.jfif:
        return True
    if found.adobe is not None:
        return found.adobe == 1
    return [part[0] for part in found.components] == [1, 2, 3]


def _means(data: bytes, found: Header) -> kernels.Bytes:
    if not _is_luma(found):
        raise _Unusual
    _, wide, high, table = found.components[0]
    blocks: list[tuple[int, int, bool]] = []
    for index, ((_, x, y, _), (dc, ac)) in enumerate(
        zip(found.components, found.selectors, strict=True)
    ):
        if not 1 <= x <= wide or not 1 <= y <= high or wide > 4 or high > 4:
            raise _Unusual
        blocks += [(dc, ac, index == 0)] * (x * y)
    if len(found.components) == 1:
        # A scan of one component has one block to an MCU, whatever its factors say.
        wide = high = 1
        blocks = blocks[:1]
    if len(blocks) > 10 or not found.quanta.keys() >= {part[3] for part in found.components}:
        raise _Unusual
    try:
        tables, plan, limits, offsets, symbols, keep = _decoder(
            tuple((found.huffman[dc], found.huffman[16 | ac], luma) for dc, ac, luma in blocks)
        )
    except KeyError:
        raise _Unusual from None
    across = -(-found.width // (8 * wide))
    down = -(-found.height // (8 * high))

    interval = found.restart or across * down
    segments = -(-(across * down) // interval)
    # A block takes two bits at the least: a small file that declares more has not got them.
    if segments > _RESTARTS or across * down * len(blocks) > 4 * len(data):
        raise _Unusual
    source = np.frombuffer(data, np.uint8)
    stream = np.empty(len(data) - found.start + 64, np.uint8)
    starts = np.zeros(segments + 1, np.int64)
    written, restarts, end = kernels.unstuff(source, found.start, stream, starts)
    if end < 0 or restarts != segments - 1 or data[end : end + 2] != b"\xff\xd9":
        raise _Unusual
    starts[segments] = written
    stream[written : written + kernels.PAD] = 0
    counts = np.full(segments, interval * len(blocks), np.int64)
    counts[-1] = (across * down - interval * (segments - 1)) * len(blocks)

    levels = np.empty(across * down * wide * high + 1, np.int32)
    stream = stream[: written + kernels.PAD]
    if not kernels.scan(
        stream, starts, counts, tables, plan, limits, offsets, symbols, keep, levels
    ):
        raise _Unusual
    out = np.empty((-(-found.height // 8), -(-found.width // 8)), np.uint8)
    if not kernels.place(levels, across, high, wide, found.quanta[table], out):
        raise _Unusual
    return out


@lru_cache(maxsize=32)
def _decoder(blocks: tuple[tuple[bytes, bytes, bool], ...]) -> Any:
    """The tables that `kernels.scan` wants, for the Huffman tables of each block of an MCU.

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
