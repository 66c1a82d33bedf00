"""The compiled loops of the candidate search: casting votes, and merging tables.

A row is 256 bits in four little-endian words. Chunk `c` is its bits `c * SPAN` up to
`(c + 1) * SPAN`: the first `key` of them number a bucket, the `TAG_BITS` after them are the tag
that lies beside each posting, and a posting is the slot of a photo, three bytes. Every function
here releases the GIL and has a naive twin in the tests.
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

CHUNKS = 7
SPAN = 36
"""Bits of a chunk: seven use 252 of the 256."""
SLOT = 3
"""Bytes of a posting."""
SCORE, ROW, ASKED = 0, 1, 2
"""Columns of `votes`: a photo's score, what the latest query row gave it, which row that is."""
PENDING = 512
"""Postings that passed their tag test and wait to arrive."""

_WORDS = types.Array(types.uint64, 2, "C", readonly=True)
_OFFSETS = types.Array(types.uint32, 1, "C", readonly=True)
_TAGS = types.Array(types.uint16, 1, "C", readonly=True)
_POSTINGS = types.Array(types.uint8, 2, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_WEIGHTS = types.Array(types.int32, 2, "C", readonly=True)


@nb.njit(types.int64(_POSTINGS, types.int64), nogil=True, cache=True)
def slot_at(postings, at):
    """The slot in one posting."""
    return (
        np.int64(postings[at, 0]) | np.int64(postings[at, 1]) << 8 | np.int64(postings[at, 2]) << 16
    )


@nb.njit(
    types.void(
        _POSTINGS, types.int64[:, ::1], types.int64, _WEIGHTS, types.int64, types.int32[:, ::1]
    ),
    nogil=True,
    cache=True,
)
def _settle(postings, pending, waiting, weights, most, votes):
    """Count the pending votes; one query row gives one photo at most `most`."""
    for i in range(waiting):
        slot = slot_at(postings, pending[i, 0])
        if votes[slot, ASKED] != pending[i, 1]:
            votes[slot, ASKED] = np.int32(pending[i, 1])
            votes[slot, ROW] = 0
        before = np.int64(votes[slot, ROW])
        after = min(most, before + np.int64(weights[pending[i, 2], pending[i, 3]]))
        votes[slot, ROW] = np.int32(after)
        votes[slot, SCORE] += np.int32(after - before)


@nb.njit(
    types.int64[::1](
        _OFFSETS, _TAGS, _POSTINGS, types.int64, types.int64, _WORDS, _WEIGHTS, _NUMBERS,
        types.int64, types.int64, types.int32[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def vote(offsets, tags, postings, n, key, queries, weights, limits, full, most, votes):
    """Add to each photo's score what the query rows' near postings are worth.

    offsets (CHUNKS * (2**key + 1),) uint32; tags (CHUNKS * n + LANES,) uint16; postings
    (CHUNKS * n, SLOT) uint8; queries (q, 4) uint64; weights (2, TAG_BITS + 1) int32 by flips of the
    key and distance of the tag; limits (2,): greatest distance of a tag, by flips of the key; of
    a bucket the first `full` postings are looked at. votes (slots, 3) int32, zeros but for
    ASKED, which is -1. Returns (2,): tags compared and votes cast.

    Three query rows are on their way at once: of one the offsets are fetched, of the one before
    it the tags, and those of the one before that are compared.
    """
    buckets = (np.int64(1) << key) + 1
    probes = key + 1
    low = np.zeros(2 * CHUNKS * probes, np.int64)
    high = np.zeros(2 * CHUNKS * probes, np.int64)
    asked = np.zeros((2, CHUNKS), np.int64)
    pending = np.empty((PENDING + LANES, 4), np.int64)
    stats = np.zeros(2, np.int64)
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
                            pending[waiting, 2] = flips
                            pending[waiting, 3] = popcount(np.uint64(tags[one] ^ tag))
                            waiting += 1
                            passed &= passed - np.uint32(1)
                        if waiting >= PENDING:
                            _settle(postings, pending, waiting, weights, most, votes)
                            stats[1] += waiting
                            waiting = 0
                        at += LANES
    _settle(postings, pending, waiting, weights, most, votes)
    stats[1] += waiting
    return stats


@nb.njit(types.void(_OFFSETS, _POSTINGS, _NUMBERS, types.uint32[::1]), nogil=True, cache=True)
def tally(offsets, postings, renumber, counts):
    """Add how many postings each bucket of one chunk has whose slot is kept.

    `renumber[slot]` is the slot's new number, -1 if it goes; `counts` is uint32 (buckets,).
    """
    for bucket in range(counts.shape[0]):
        kept = 0
        for at in range(offsets[bucket], offsets[bucket + 1]):
            kept += renumber[slot_at(postings, at)] >= 0
        counts[bucket] += np.uint32(kept)


@nb.njit(
    types.void(
        _OFFSETS, _TAGS, _POSTINGS, _NUMBERS, types.uint32[::1], types.uint16[::1],
        types.uint8[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def pour(offsets, tags, postings, renumber, cursors, into_tags, into_postings):
    """Copy the kept postings of one chunk behind those that are there, and move the cursors."""
    for bucket in range(cursors.shape[0]):
        to = np.int64(cursors[bucket])
        for at in range(offsets[bucket], offsets[bucket + 1]):
            slot = renumber[slot_at(postings, at)]
            if slot >= 0:
                into_tags[to] = tags[at]
                into_postings[to, 0] = np.uint8(slot & 255)
                into_postings[to, 1] = np.uint8(slot >> 8 & 255)
                into_postings[to, 2] = np.uint8(slot >> 16)
                to += 1
        cursors[bucket] = np.uint32(to)
