"""The compiled loops of the candidate search: casting votes, and merging tables.

A row is 256 bits in four little-endian words. Chunk `c` is its bits `c * SPAN` up to
`(c + 1) * SPAN`: the first `key` of them number a bucket, the `TAG_BITS` after them are the tag
that lies beside each posting, and a posting is the number of a row. The last bits of a row that no
chunk has are its sketch. Every function here releases the GIL and has a naive twin in the tests.
"""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import numba as nb
import numpy as np
from numba import types

from tutela.index.intrinsics import LANES, fetch, lowest, near, popcount
from tutela.index.kernels import window
from tutela.index.plan import TAG_BITS

CHUNKS = 4
SPAN = 36
"""Bits of a chunk."""
SKETCH = 3
"""Words of 32 bits of a sketch; it begins where the last chunk ends."""
SCORE, ROW, ASKED = 0, 1, 2
"""Columns of `votes`: a photo's score, what the latest query row gave it, which row that is."""
PENDING = 2048
"""Postings that passed their tag test and wait for their sketches to arrive."""

_WORDS = types.Array(types.uint64, 2, "C", readonly=True)
_OFFSETS = types.Array(types.uint32, 1, "C", readonly=True)
_TAGS = types.Array(types.uint16, 1, "C", readonly=True)
_POSTINGS = types.Array(types.uint32, 1, "C", readonly=True)
_SKETCHES = types.Array(types.uint32, 2, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_WEIGHTS = types.Array(types.int32, 1, "C", readonly=True)


@nb.njit(types.void(_WORDS, types.uint32[:, ::1]), nogil=True, cache=True)
def sketch(rows, out):
    """The sketch of each row, uint32 (n, SKETCH)."""
    for r in range(rows.shape[0]):
        for word in range(SKETCH):
            out[r, word] = np.uint32(window(rows[r], CHUNKS * SPAN + 32 * word, 32))


@nb.njit(types.int64(_NUMBERS, types.int64), nogil=True, cache=True)
def slot_of(starts, row):
    """The slot that a row belongs to; `starts` (slots + 1,) has the first row of each."""
    low = 0
    high = starts.shape[0] - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@nb.njit(
    types.int64(
        _POSTINGS, _SKETCHES, _NUMBERS, types.uint32[:, ::1], types.int64[:, ::1], types.int64,
        _WEIGHTS, types.int32[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def _settle(postings, sketches, starts, asked, pending, waiting, weights, votes):
    """Count the pending postings by all the bits that are known; returns how many counted.

    One query row gives one photo what its nearest row is worth.
    """
    counted = 0
    for i in range(waiting):
        row = np.int64(postings[pending[i, 0]])
        pending[i, 0] = row
        fetch(sketches, row)
        fetch(sketches, row + 1)  # it may reach into the next cache line
    for i in range(waiting):
        row = pending[i, 0]
        query = pending[i, 1]
        away = pending[i, 2]
        for word in range(SKETCH):
            away += popcount(np.uint64(sketches[row, word] ^ asked[query, word]))
        if away >= weights.shape[0]:
            continue
        counted += 1
        slot = slot_of(starts, row)
        if votes[slot, ASKED] != query:
            votes[slot, ASKED] = np.int32(query)
            votes[slot, ROW] = 0
        more = weights[away] - votes[slot, ROW]
        if more > 0:
            votes[slot, ROW] += more
            votes[slot, SCORE] += more
    return counted


@nb.njit(
    types.int64[::1](
        _OFFSETS, _TAGS, _POSTINGS, _SKETCHES, _NUMBERS, types.int64, _WORDS, _WEIGHTS, _NUMBERS,
        types.int64, types.int32[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def vote(offsets, tags, postings, sketches, starts, key, queries, weights, limits, full, votes):
    """Add to each photo's score what the query rows' near rows are worth.

    offsets (CHUNKS * (2**key + 1),) uint32; tags (CHUNKS * n + LANES,) uint16; postings
    (CHUNKS * n,) and sketches (n, SKETCH) uint32; starts (slots + 1,) int64, the first row of each
    slot; queries (q, 4) uint64; weights int32 by the distance of key, tag and sketch, 0 beyond;
    limits (2,): greatest distance of a tag, by flips of the key; of a bucket the first
    `full` postings are looked at. votes (slots, 3) int32, zeros but for ASKED, which is -1.
    Returns (3,): tags compared, sketches compared, votes.

    Three query rows are on their way at once: of one the offsets are fetched, of the one before
    it the tags, and those of the one before that are compared.
    """
    n = sketches.shape[0]
    asked_for = np.empty((queries.shape[0], SKETCH), np.uint32)
    sketch(queries, asked_for)
    buckets = (np.int64(1) << key) + 1
    probes = key + 1
    low = np.zeros(2 * CHUNKS * probes, np.int64)
    high = np.zeros(2 * CHUNKS * probes, np.int64)
    asked = np.zeros((2, CHUNKS), np.int64)
    pending = np.empty((PENDING + LANES, 3), np.int64)
    stats = np.zeros(3, np.int64)
    waiting = 0
    count = queries.shape[0]
    for step in range(-1, count + 1):
        if step + 1 < count:
            for c in range(CHUNKS):
                value = np.int64(window(queries[step + 1], c * SPAN, key))
                base = c * buckets
                fetch(offsets, base + value)
                # The flips of the lowest four bits lie in the same cache line, or the next.
                for bit in range(4, key):
                    fetch(offsets, base + (value ^ (1 << bit)))
        if 0 <= step < count:
            side = step & 1
            for c in range(CHUNKS):
                value = np.int64(window(queries[step], c * SPAN, key))
                asked[side, c] = np.int64(window(queries[step], c * SPAN + key, TAG_BITS))
                place = (side * CHUNKS + c) * probes
                for p in range(probes):
                    bucket = value if p == 0 else value ^ (np.int64(1) << (p - 1))
                    at = c * buckets + bucket
                    first = np.int64(offsets[at])
                    size = min(np.int64(offsets[at + 1]) - first, full)
                    first += c * n
                    low[place + p] = first
                    high[place + p] = first + size
                    for ahead in range(0, size, LANES):
                        fetch(tags, first + ahead)
                    fetch(tags, first + size)
        if step >= 1:
            side = (step - 1) & 1
            for c in range(CHUNKS):
                tag = np.uint16(asked[side, c])
                place = (side * CHUNKS + c) * probes
                for p in range(probes):
                    flips = min(p, 1)
                    limit = limits[flips]
                    at = low[place + p]
                    end = high[place + p]
                    stats[0] += end - at
                    while at < end:
                        inside = np.uint32((np.int64(1) << min(end - at, LANES)) - 1)
                        passed = near(tags, at, tag, limit) & inside
                        while passed != 0:
                            one = at + lowest(passed)
                            fetch(postings, one)
                            pending[waiting, 0] = one
                            pending[waiting, 1] = step - 1
                            pending[waiting, 2] = flips + popcount(np.uint64(tags[one] ^ tag))
                            waiting += 1
                            passed &= passed - np.uint32(1)
                        if waiting >= PENDING:
                            stats[1] += waiting
                            stats[2] += _settle(
                                postings, sketches, starts, asked_for, pending, waiting, weights,
                                votes,
                            )  # fmt: skip
                            waiting = 0
                        at += LANES
    stats[1] += waiting
    stats[2] += _settle(postings, sketches, starts, asked_for, pending, waiting, weights, votes)
    return stats


@nb.njit(types.void(_OFFSETS, _POSTINGS, _NUMBERS, types.uint32[::1]), nogil=True, cache=True)
def tally(offsets, postings, renumber, counts):
    """Add how many postings each bucket of one chunk has whose row is kept.

    `renumber[row]` is the row's new number, -1 if it goes; `counts` is uint32 (buckets,).
    """
    for bucket in range(counts.shape[0]):
        kept = 0
        for at in range(offsets[bucket], offsets[bucket + 1]):
            kept += renumber[postings[at]] >= 0
        counts[bucket] += np.uint32(kept)


@nb.njit(
    types.void(
        _OFFSETS, _TAGS, _POSTINGS, _NUMBERS, types.uint32[::1], types.uint16[::1],
        types.uint32[::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def pour(offsets, tags, postings, renumber, cursors, into_tags, into_postings):
    """Copy the kept postings of one chunk behind those that are there, and move the cursors."""
    for bucket in range(cursors.shape[0]):
        to = np.int64(cursors[bucket])
        for at in range(offsets[bucket], offsets[bucket + 1]):
            row = renumber[postings[at]]
            if row >= 0:
                into_tags[to] = tags[at]
                into_postings[to] = np.uint32(row)
                to += 1
        cursors[bucket] = np.uint32(to)
