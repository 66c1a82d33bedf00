"""Rows, their entry numbers and their chunk tables: the immutable unit of searching."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tutela.index.plan import MAX_FLIPS, Plan, flip_masks, posting_bytes, scan_plan

Rows = NDArray[np.uint8]
"""(n, bits // 8), C-ordered."""
Words = NDArray[np.uint64]
"""The same rows as (n, bits // 64) little-endian words."""
Entries = NDArray[np.int64]
Hits = NDArray[np.int64]
"""(hits, 3): query, row, distance."""

PADDING = 64
"""Tags beyond the last one, so that a comparison of many at once may read past a bucket."""

T = TypeVar("T", bound=np.generic)


@functools.cache
def kernels() -> ModuleType:
    """The compiled loops; loading them (and numba) waits until the first search or build."""
    from tutela.index import kernels as loaded

    return loaded


def as_words(rows: Rows, bits: int) -> Words:
    """Rows of bytes as rows of words. Raises `ValueError` if they are not (n, bits // 8) uint8."""
    if rows.ndim != 2 or rows.shape[1] * 8 != bits or rows.dtype != np.uint8:
        raise ValueError(f"rows are {rows.dtype} {rows.shape}, not uint8 (n, {bits // 8})")
    return np.ascontiguousarray(rows).view("<u8")


def frozen(array: NDArray[T]) -> NDArray[T]:
    """The array, which can no longer be written to through this view."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True)
class Cost:
    """What searches did."""

    probes: int
    """Buckets looked into."""
    tags: int
    candidates: int
    """Rows compared in full."""
    scanned: int
    """Rows read by scans."""


class Table:
    """Rows that can be searched. Arrays are read-only and may be shared between processes.

    `entries` are ascending in a table with chunks, and relative to `base`.
    """

    __slots__ = ("_counts", "_masks", "_radii", "arrays", "base", "chunks", "plan")

    def __init__(self, plan: Plan, base: int, arrays: dict[str, NDArray[Any]]) -> None:
        self.plan = plan
        self.base = base
        self.arrays = arrays
        for array in arrays.values():
            frozen(array)
        self.chunks, self._masks, self._counts = _layout(plan)
        self._radii = frozen(np.array(plan.radii, np.int64))

    @property
    def rows(self) -> Words:
        return self.arrays["rows"]

    @property
    def entries(self) -> NDArray[np.integer[Any]]:
        return self.arrays["entries"]

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def find(self, queries: Words, radius: int) -> tuple[Hits, Cost]:
        """Every row within `radius` of each query, each once: (query, row, distance)."""
        queries = frozen(queries.view())  # the one type that the loops are compiled for
        stats = np.zeros(4, np.int64)
        if not len(self):
            hits = np.empty((0, 3), np.int64)
        elif not self.plan.widths:
            hits = kernels().scan_all(self.rows, queries, radius, stats)
        else:
            a = self.arrays
            hits = kernels().search(
                a["rows"], a["offsets"], a["tags"], a["postings"], self.chunks, self._masks,
                self._counts, self._radii, bit_order(self.plan.bits), queries, radius, stats,
            )  # fmt: skip
        return hits, Cost(*stats.tolist())

    def entry_of(self, rows: NDArray[np.int64]) -> Entries:
        """Entry numbers of rows."""
        return self.entries[rows].astype(np.int64) + self.base

    def rows_of(self, entries: Entries) -> NDArray[np.int64]:
        """Rows of any of `entries` (ascending, each once), for a table whose entries ascend."""
        held = self.entries
        if not held.size:
            return np.empty(0, np.int64)
        wanted = entries - self.base
        wanted = wanted[(wanted >= int(held[0])) & (wanted <= int(held[-1]))].astype(held.dtype)
        first = np.searchsorted(held, wanted, "left")
        count = np.searchsorted(held, wanted, "right") - first
        before = np.cumsum(count) - count
        return np.repeat(first - before, count) + np.arange(int(count.sum()))

    def original_rows(self) -> Words:
        """The rows with their bits as they were given."""
        if not self.plan.widths:
            return self.rows
        out = np.empty_like(self.rows)
        kernels().permute(self.rows, _bits_back(self.plan.bits), out)
        return out


def scanned(rows: Rows, entries: Entries, bits: int) -> Table:
    """A table without chunks, for few rows. Entries may come in any order."""
    words = as_words(rows, bits)
    arrays = {"rows": words.view(), "entries": entries.astype(np.int64)}
    return Table(scan_plan(len(words), bits, 0), 0, arrays)


@functools.lru_cache(maxsize=64)
def _layout(plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Where each chunk begins on the ring, in the offsets and in the flip masks."""
    chunks = np.zeros((len(plan.widths), 4), np.int64)
    counts = np.zeros((len(plan.widths), MAX_FLIPS + 1), np.int64)
    masks: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    start = offset = mask = 0
    for c, (width, key) in enumerate(zip(plan.widths, plan.keys, strict=True)):
        chunks[c] = start, key, offset, mask
        flips, counts[c] = flip_masks(key)
        masks.append(flips)
        start += width
        offset += (1 << key) + 1
        mask += len(flips)
    joined = np.concatenate(masks)
    return frozen(chunks), frozen(joined), frozen(counts)


def sections(plan: Plan, n: int, entry_type: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array of a table."""
    m = len(plan.widths)
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "rows": ((n, plan.bits // 64), "<u8"),
        "entries": ((n,), entry_type),
    }
    if m:
        shapes["offsets"] = (sum((1 << key) + 1 for key in plan.keys),), "<u4"
        shapes["tags"] = (m * n + PADDING,), "<u2"
        shapes["postings"] = (m * n, posting_bytes(n)), "|u1"
    return shapes


def entry_storage(entries: Entries) -> tuple[int, str]:
    """(base, dtype) in which entry numbers are stored: four bytes each if their range allows."""
    if not entries.size:
        return 0, "<u4"
    low, high = int(entries.min()), int(entries.max())
    return (low, "<u4") if high - low < 1 << 32 else (0, "<i8")


def fill(
    plan: Plan, words: Words, entries: Entries, arrays: dict[str, NDArray[Any]], base: int
) -> None:
    """Write a table's arrays (shaped as `sections` says) from rows in any order."""
    by_entry = (
        np.arange(len(entries))
        if np.all(entries[1:] >= entries[:-1])
        else np.argsort(entries, kind="stable")
    )
    np.subtract(entries[by_entry], base, out=arrays["entries"], casting="unsafe")
    rows = arrays["rows"]
    if not plan.widths:
        np.take(words, by_entry, axis=0, out=rows)
        return
    kernels().gather(words, by_entry, bit_order(plan.bits), rows)
    n = len(rows)
    for c, (start, key, offset, _) in enumerate(_layout(plan)[0].tolist()):
        held = slice(c * n, (c + 1) * n)
        kernels().fill(
            rows, start, key, arrays["offsets"][offset : offset + (1 << key) + 1],
            arrays["tags"][held], arrays["postings"][held],
        )  # fmt: skip


@functools.cache
def bit_order(bits: int) -> NDArray[np.int64]:
    """Which bit of a row goes to each place of the ring.

    Neighbouring bits of a perceptual hash are correlated, which fills some buckets and empties
    others. Stepping through the row by its golden section puts far bits side by side: on PDQ
    hashes of photographs it leaves 16-bit keys within 5 % of evenly spread.
    """
    step = round(bits * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, bits) > 1:
        step += 1
    return frozen(np.arange(bits) * step % bits)


@functools.cache
def _bits_back(bits: int) -> NDArray[np.int64]:
    return frozen(np.argsort(bit_order(bits)))


def built(plan: Plan, rows: Rows, entries: Entries) -> Table:
    """A table in memory."""
    words = as_words(rows, plan.bits)
    base, entry_type = entry_storage(entries)
    arrays: dict[str, NDArray[Any]] = {
        name: np.zeros(shape, dtype)
        for name, (shape, dtype) in sections(plan, len(words), entry_type).items()
    }
    fill(plan, words, entries, arrays, base)
    return Table(plan, base, arrays)
