"""The compiled loops of the index: probing, scanning, building and checking.

A row is `bits` bits in little-endian 64-bit words, already in the order the index chose, and is
thought of as a ring. Chunk `c` starts at bit `chunks[c, START]`; its first `KEY` bits are the
bucket key, and the `TAG_BITS` bits that follow them on the ring are the tag that lies beside
each posting. Every function here releases the GIL and has a naive twin in the tests.
"""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import numba as nb
import numpy as np
from numba import types

from tutela.index.intrinsics import LANES, fetch, lowest, near, popcount
from tutela.index.plan import MAX_FLIPS, PROBE_NS, ROW_NS, TAG_BITS, TAG_NS

START, KEY, OFFSETS, MASKS = 0, 1, 2, 3
"""Columns of `chunks`: first bit, key bits, where its offsets and its flip masks begin."""

VALUE, TAG, RADIUS, BOUND = 0, 1, 2, 3
"""Columns of `asked`: a query's key and tag in each chunk, the chunk's radius, and what key and
tag together may differ by."""

PENDING = 2048
"""Postings that passed their tag test and wait for their rows to arrive."""
GROUP = 32
"""Buckets whose tags are fetched together."""

_WORDS = types.Array(types.uint64, 2, "C", readonly=True)
_WORD_ROW = types.Array(types.uint64, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_CHUNKS = types.Array(types.int64, 2, "C", readonly=True)
_OFFSETS = types.Array(types.uint32, 1, "C", readonly=True)
_TAGS = types.Array(types.uint16, 1, "C", readonly=True)
_POSTINGS = types.Array(types.uint8, 2, "C", readonly=True)
_FOUND = types.int64[:, ::1]

_PRIME = np.uint64(0x9E3779B97F4A7C15)


@nb.njit(types.uint64(_WORD_ROW, types.int64, types.int64), nogil=True, cache=True)
def window(row, start, width):
    """`width` bits (1 to 32) of a row's ring from bit `start` on."""
    word = start >> 6
    shift = start & 63
    value = row[word] >> np.uint64(shift)
    if shift + width > 64:
        following = word + 1
        if following == row.shape[0]:
            following = 0
        value |= row[following] << np.uint64(64 - shift)
    return value & np.uint64((1 << width) - 1)


@nb.njit(types.int64(_WORD_ROW, _WORD_ROW), nogil=True, cache=True)
def apart(a, b):
    """Hamming distance of two rows."""
    total = 0
    for word in range(a.shape[0]):
        total += popcount(a[word] ^ b[word])
    return total


@nb.njit(types.void(_WORDS, _NUMBERS, types.uint64[:, ::1]), nogil=True, cache=True)
def permute(rows, order, out):
    """Bit `i` of `out` is bit `order[i]` of `rows`, for every row."""
    words = rows.shape[1]
    for r in range(rows.shape[0]):
        for word in range(words):
            value = np.uint64(0)
            for bit in range(64):
                source = order[word * 64 + bit]
                one = (rows[r, source >> 6] >> np.uint64(source & 63)) & np.uint64(1)
                value |= one << np.uint64(bit)
            out[r, word] = value


@nb.njit(types.void(_WORDS, _NUMBERS, _NUMBERS, types.uint64[:, ::1]), nogil=True, cache=True)
def gather(rows, picked, order, out):
    """`permute` of the rows `picked`, in that order."""
    for r in range(picked.shape[0]):
        permute(rows[picked[r] : picked[r] + 1], order, out[r : r + 1])


@nb.njit(
    types.void(
        _WORDS, types.int64, types.int64, types.uint32[::1], types.uint16[::1], types.uint8[:, ::1]
    ),
    nogil=True,
    cache=True,
)
def fill(rows, start, key, offsets, tags, postings):
    """Counting sort of the rows into the buckets of one chunk.

    `offsets` is uint32 (2**key + 1,), `tags` uint16 (n,), `postings` uint8 (n, 3 or 4): the row
    numbers, little-endian. Postings of a bucket ascend.
    """
    n = rows.shape[0]
    bits = rows.shape[1] * 64
    after = (start + key) % bits
    width = postings.shape[1]
    for bucket in range(offsets.shape[0]):
        offsets[bucket] = 0
    for r in range(n):
        offsets[np.int64(window(rows[r], start, key)) + 1] += np.uint32(1)
    for bucket in range(offsets.shape[0] - 1):
        offsets[bucket + 1] += offsets[bucket]
    for r in range(n):
        bucket = np.int64(window(rows[r], start, key))
        at = np.int64(offsets[bucket])
        offsets[bucket] = np.uint32(at + 1)
        tags[at] = np.uint16(window(rows[r], after, TAG_BITS))
        for byte in range(width):
            postings[at, byte] = np.uint8((r >> (8 * byte)) & 255)
    for bucket in range(offsets.shape[0] - 1, 0, -1):
        offsets[bucket] = offsets[bucket - 1]
    offsets[0] = 0


@nb.njit(types.int64(_WORDS, _WORD_ROW, types.int64[::1], types.int64), nogil=True, cache=True)
def _distances(rows, query, away, radius):
    """Distances of `away.shape[0]` rows; returns how many are within the radius."""
    within = 0
    words = rows.shape[1]
    for r in range(away.shape[0]):
        total = 0
        for word in range(words):
            total += popcount(rows[r, word] ^ query[word])
        away[r] = total
        within += total <= radius
    return within


@nb.njit(_FOUND(_FOUND, types.int64, types.int64), nogil=True, cache=True)
def _room(found, used, wanted):
    """`found`, or a larger copy with room for `wanted` more hits after the `used` ones."""
    if used + wanted <= found.shape[0]:
        return found
    larger = np.empty((max(2 * found.shape[0], used + wanted), 3), np.int64)
    for i in range(used):  # a slice assignment would compile numba's error text: seconds
        for part in range(3):
            larger[i, part] = found[i, part]
    return larger


@nb.njit(
    types.Tuple((_FOUND, types.int64))(
        _WORDS, _WORDS, types.int64, types.int64, _FOUND, types.int64, types.int64[::1]
    ),
    nogil=True,
    cache=True,
)
def scan(rows, queries, first_query, radius, found, used, stats):
    """Append every row within `radius` of each query by looking at every row.

    Hits are (query, row, distance) in `found`, of which `used` are taken; returns both anew.
    Rows are taken in blocks that stay in cache for all the queries.
    """
    block = 1024
    away = np.empty(block, np.int64)
    for first in range(0, rows.shape[0], block):
        part = rows[first : first + block]
        count = part.shape[0]
        for q in range(queries.shape[0]):
            within = _distances(part, queries[q], away[:count], radius)
            if within == 0:
                continue
            found = _room(found, used, within)
            for r in range(count):
                if away[r] <= radius:
                    found[used, 0] = first_query + q
                    found[used, 1] = first + r
                    found[used, 2] = away[r]
                    used += 1
    stats[3] += rows.shape[0] * queries.shape[0]
    return found, used


@nb.njit(_FOUND(_WORDS, _WORDS, types.int64, types.int64[::1]), nogil=True, cache=True)
def scan_all(rows, queries, radius, stats):
    """`scan` from nothing; returns int64 (hits, 3)."""
    found, used = scan(rows, queries, 0, radius, np.empty((16, 3), np.int64), 0, stats)
    return found[:used]


@nb.njit(
    types.float64(types.int64, types.int64, types.int64, types.int64, types.int64),
    nogil=True,
    cache=True,
)
def _price(key, own, around, n, flips):
    """Time to raise a chunk's radius to `flips`, ns, given the rows in the query's own bucket and
    in those one flip away. It never falls as `flips` grows, or moving units would not end."""
    if flips < 0:
        return 0.0
    if flips > MAX_FLIPS or flips > key:
        return np.inf
    price = PROBE_NS + own * TAG_NS
    buckets = 1.0
    size = around / key
    for i in range(flips):
        buckets = buckets * (key - i) / (i + 1)
        if i == 1:  # an even spread, or what the neighbours suggest where that is more
            size = max(size, n / float(np.int64(1) << key))
        price = max(price, buckets * (PROBE_NS + size * TAG_NS))
    return price


@nb.njit(
    types.boolean(_CHUNKS, _NUMBERS, types.int64, types.int64, _NUMBERS, types.int64[::1]),
    nogil=True,
    cache=True,
)
def allot(sizes, keys, n, radius, planned, radii):
    """Chunk radii for one query: the cheapest that the pigeonhole principle allows.

    `sizes[c]` holds the rows in the query's own bucket of chunk c and in the buckets one flip
    away. From the planned radii on, units go from where they cost most to where they cost least;
    as each costs more than the one before, nothing is cheaper when that ends (GPH's allocation
    with exact counts for radii 0 and 1, and an estimate beyond). False: a scan is cheaper.
    """
    chunks = keys.shape[0]
    last = np.empty(chunks)
    following = np.empty(chunks)
    spare = -1 - radius
    for c in range(chunks):
        radii[c] = planned[c]
        spare += planned[c] + 1
        last[c] = _price(keys[c], sizes[c, 0], sizes[c, 1], n, planned[c])
        following[c] = _price(keys[c], sizes[c, 0], sizes[c, 1], n, planned[c] + 1)
    while True:
        most = 0
        least = 0
        for c in range(1, chunks):
            if last[c] > last[most]:
                most = c
            if following[c] < following[least]:
                least = c
        if spare == 0 and last[most] <= following[least]:
            break
        if spare < 0 and following[least] == np.inf:
            return False
        if spare >= 0:
            radii[most] -= 1
            following[most] = last[most]
            last[most] = _price(keys[most], sizes[most, 0], sizes[most, 1], n, radii[most])
            spare -= 1
        else:
            radii[least] += 1
            last[least] = following[least]
            following[least] = _price(
                keys[least], sizes[least, 0], sizes[least, 1], n, radii[least] + 1
            )
            spare += 1
    total = 0.0
    for c in range(chunks):
        for flips in range(radii[c] + 1):
            total += _price(keys[c], sizes[c, 0], sizes[c, 1], n, flips)
    return total < n * ROW_NS


@nb.njit(
    types.Tuple((_FOUND, types.int64))(
        _WORDS, _POSTINGS, _CHUNKS, _WORD_ROW, types.int64, types.int64, types.int64[:, ::1],
        types.int64[:, ::1], types.int64, _FOUND, types.int64,
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def _settle(rows, postings, chunks, query, q, radius, asked, pending, waiting, found, used):
    """Compare the pending postings' rows in full and append those within the radius."""
    bits = rows.shape[1] * 64
    width = postings.shape[1]
    for i in range(waiting):
        fetch(postings, pending[i, 0])
    for i in range(waiting):
        at = pending[i, 0]
        number = 0
        for byte in range(width):
            number |= np.int64(postings[at, byte]) << (8 * byte)
        pending[i, 0] = number
        fetch(rows, number)
    for i in range(waiting):
        row = rows[pending[i, 0]]
        distance = apart(row, query)
        if distance > radius:
            continue
        # A row that several chunks find is reported by the first of them.
        first = True
        for c in range(pending[i, 1]):
            start, key = chunks[c, START], chunks[c, KEY]
            away = popcount(window(row, start, key) ^ np.uint64(asked[c, VALUE]))
            if away <= asked[c, RADIUS]:
                tag = window(row, (start + key) % bits, TAG_BITS)
                away += popcount(tag ^ np.uint64(asked[c, TAG]))
                first = first and away > asked[c, BOUND]
        if first:
            found = _room(found, used, 1)
            found[used, 0] = q
            found[used, 1] = pending[i, 0]
            found[used, 2] = distance
            used += 1
    return found, used


@nb.njit(
    _FOUND(
        _WORDS, _OFFSETS, _TAGS, _POSTINGS, _CHUNKS, _OFFSETS, _CHUNKS, _NUMBERS, _NUMBERS,
        _WORDS, types.int64, types.int64[::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def search(
    rows, offsets, tags, postings, chunks, masks, counts, planned, order, queries, radius, stats
):
    """Every row within `radius` of each query, each once, by multi-index hashing.

    rows (n, words) uint64 with bits in the index's `order`; offsets uint32, all chunks one after
    the other; tags (m * n + LANES,) uint16; postings (m * n, 3 or 4) uint8; chunks (m, 4) int64;
    masks uint32, the flip masks of each chunk by number of flips; counts (m, MAX_FLIPS + 1) int64,
    masks of up to so many flips; planned (m,) int64, the usual radii; queries (q, words) uint64,
    bits in their own order. Returns int64 (hits, 3): query, row, distance. `stats` (4,) int64
    counts probes, tags compared, rows compared and rows scanned.

    Correct because the chunks' (radius + 1) sum to more than `radius`: going round the ring
    there is then a chunk where every run of chunks from it on stays below its own sum (the cycle
    lemma; Qin and Xiao's pigeonring). The first two such runs are tested: the key alone,
    and the key with the tag, whose bits belong to the same and to the following chunk.
    """
    n = rows.shape[0]
    m = chunks.shape[0]
    bits = rows.shape[1] * 64
    found = np.empty((16, 3), np.int64)
    used = 0
    keys = np.empty(m, np.int64)
    for c in range(m):
        keys[c] = chunks[c, KEY]
    asked = np.empty((m, 4), np.int64)
    radii = np.empty(m, np.int64)
    sizes = np.empty((m, 2), np.int64)
    low = np.zeros(2 * GROUP, np.int64)
    high = np.zeros(2 * GROUP, np.int64)
    pending = np.empty((PENDING + LANES, 2), np.int64)
    turned = np.empty((1, rows.shape[1]), np.uint64)
    query = turned[0]
    for q in range(queries.shape[0]):
        permute(queries[q : q + 1], order, turned)
        for c in range(m):
            start = chunks[c, START]
            value = np.int64(window(query, start, keys[c]))
            asked[c, VALUE] = value
            asked[c, TAG] = np.int64(window(query, (start + keys[c]) % bits, TAG_BITS))
            fetch(offsets, chunks[c, OFFSETS] + value)
            # The flips of the lowest four bits lie in the same cache line, or the next.
            for bit in range(4, keys[c]):
                fetch(offsets, chunks[c, OFFSETS] + (value ^ (1 << bit)))
        for c in range(m):
            base = chunks[c, OFFSETS]
            at = base + asked[c, VALUE]
            sizes[c, 0] = np.int64(offsets[at + 1]) - np.int64(offsets[at])
            around = 0
            for bit in range(keys[c]):
                at = base + (asked[c, VALUE] ^ (1 << bit))
                around += np.int64(offsets[at + 1]) - np.int64(offsets[at])
            sizes[c, 1] = around
        if not allot(sizes, keys, n, radius, planned, radii):
            found, used = scan(rows, turned, q, radius, found, used, stats)
            continue
        for c in range(m):
            asked[c, RADIUS] = radii[c]
            asked[c, BOUND] = radii[c] + radii[(c + 1) % m] + 1
        # Buckets are taken in groups: the next group's tags are on their way while one is compared.
        waiting = 0
        side = 0
        last_count = 0
        last_chunk = 0
        last_mask = 0
        c = 0
        p = 0
        while c < m or last_count:
            # List the next group, if there is one.
            count = 0
            mask = 0
            if c < m and radii[c] >= 0:
                base = chunks[c, OFFSETS]
                value = asked[c, VALUE]
                probes = counts[c, radii[c]]
                mask = chunks[c, MASKS] + p
                count = min(GROUP, probes - p)
                if radii[c] > 1:
                    if p == 0:
                        for i in range(counts[c, 1], count):
                            fetch(offsets, base + (value ^ np.int64(masks[mask + i])))
                    for i in range(GROUP, min(2 * GROUP, probes - p)):
                        fetch(offsets, base + (value ^ np.int64(masks[mask + i])))
                for i in range(count):
                    at = base + (value ^ np.int64(masks[mask + i]))
                    first, last = c * n + np.int64(offsets[at]), c * n + np.int64(offsets[at + 1])
                    low[side + i] = first
                    high[side + i] = last
                    fetch(tags, first)
                    fetch(tags, last)
                stats[0] += count
            # Compare the group before it.
            other = GROUP - side
            tag = np.uint16(asked[last_chunk, TAG])
            bound = asked[last_chunk, BOUND]
            for i in range(last_count):
                at, end = low[other + i], high[other + i]
                limit = bound - popcount(np.uint64(masks[last_mask + i]))
                stats[1] += end - at
                while True:  # nearly always once; comparing an empty bucket is cheaper than a test
                    inside = np.uint32((np.int64(1) << min(end - at, LANES)) - 1)
                    passed = near(tags, at, tag, limit) & inside
                    while passed != 0:
                        pending[waiting, 0] = at + lowest(passed)
                        pending[waiting, 1] = last_chunk
                        waiting += 1
                        passed &= passed - np.uint32(1)
                    if waiting >= PENDING:
                        found, used = _settle(
                            rows, postings, chunks, query, q, radius, asked, pending, waiting,
                            found, used,
                        )  # fmt: skip
                        stats[2] += waiting
                        waiting = 0
                    at += LANES
                    if at >= end:
                        break
            last_count, last_chunk, last_mask = count, c, mask
            side = other
            p += count
            if c < m and (radii[c] < 0 or p == counts[c, radii[c]]):
                c += 1
                p = 0
        found, used = _settle(
            rows, postings, chunks, query, q, radius, asked, pending, waiting, found, used
        )
        stats[2] += waiting
    return found[:used]


@nb.njit(types.uint64(_WORD_ROW), nogil=True, cache=True)
def checksum(words):
    """64-bit sum of a uint64 array. Changing any one word always changes it.

    Eight lanes, each a chain of steps that can be undone, so that a difference never dies out
    by itself; two independent differences meet with chance 2**-64. It is against damage, not
    against an attacker.
    """
    prime = _PRIME
    a0 = np.uint64(1)
    a1 = np.uint64(2)
    a2 = np.uint64(3)
    a3 = np.uint64(4)
    a4 = np.uint64(5)
    a5 = np.uint64(6)
    a6 = np.uint64(7)
    a7 = np.uint64(8)
    left = np.uint64(29)
    right = np.uint64(35)
    even = words.shape[0] // 8 * 8
    for i in range(0, even, 8):
        a0 = (a0 ^ words[i]) * prime
        a1 = (a1 ^ words[i + 1]) * prime
        a2 = (a2 ^ words[i + 2]) * prime
        a3 = (a3 ^ words[i + 3]) * prime
        a4 = (a4 ^ words[i + 4]) * prime
        a5 = (a5 ^ words[i + 5]) * prime
        a6 = (a6 ^ words[i + 6]) * prime
        a7 = (a7 ^ words[i + 7]) * prime
        a0 = a0 << left | a0 >> right
        a1 = a1 << left | a1 >> right
        a2 = a2 << left | a2 >> right
        a3 = a3 << left | a3 >> right
        a4 = a4 << left | a4 >> right
        a5 = a5 << left | a5 >> right
        a6 = a6 << left | a6 >> right
        a7 = a7 << left | a7 >> right
    total = np.uint64(words.shape[0])
    for lane in (a0, a1, a2, a3, a4, a5, a6, a7):
        total = (total ^ lane) * prime
        total = total << left | total >> right
    for i in range(even, words.shape[0]):
        total = (total ^ words[i]) * prime
        total = total << left | total >> right
    return total
