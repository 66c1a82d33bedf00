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

from tutela.index.intrinsics import LANES, fetch, lowest, near, popcount
from tutela.index.plan import MAX_FLIPS, PROBE_NS, ROW_NS, TAG_BITS, TAG_NS

START, KEY, OFFSETS, MASKS = 0, 1, 2, 3
"""Columns of `chunks`: first bit, key bits, where its offsets and its flip masks begin."""

PENDING = 2048
"""Postings that passed their tag test and wait for their rows to arrive."""
AHEAD = 12
"""How many buckets ahead tags are fetched."""

_PRIME = np.uint64(0x9E3779B97F4A7C15)


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def apart(a, b):
    """Hamming distance of two rows."""
    total = 0
    for word in range(a.shape[0]):
        total += popcount(a[word] ^ b[word])
    return total


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def gather(rows, picked, order, out):
    """`permute` of the rows `picked`, in that order."""
    for r in range(picked.shape[0]):
        permute(rows[picked[r] : picked[r] + 1], order, out[r : r + 1])


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def _room(found, used, wanted):
    """`found`, or a larger copy with room for `wanted` more hits after the `used` ones."""
    if used + wanted <= found.shape[0]:
        return found
    larger = np.empty((max(2 * found.shape[0], used + wanted), 3), np.int64)
    for i in range(used):  # a slice assignment would compile numba's error text: seconds
        for part in range(3):
            larger[i, part] = found[i, part]
    return larger


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def scan_all(rows, queries, radius, stats):
    """`scan` from nothing; returns int64 (hits, 3)."""
    found, used = scan(rows, queries, 0, radius, np.empty((16, 3), np.int64), 0, stats)
    return found[:used]


@nb.njit(nogil=True, cache=True)
def allot(near_sizes, keys, n, radius, radii):
    """Chunk radii for one query: the cheapest that the pigeonhole principle allows.

    `near_sizes[c]` holds the rows in the query's own bucket of chunk c and in the buckets one
    flip away. Cost is convex in a chunk's radius, so giving out the `radius + 1` units one by one,
    each where it costs least, is optimal for the costs assumed (GPH's allocation with
    exact counts for radii 0 and 1, and an even spread beyond). False: a scan is cheaper.
    """
    chunks = keys.shape[0]
    price = np.empty(chunks)
    total = 0.0
    for c in range(chunks):
        radii[c] = -1
        price[c] = PROBE_NS + near_sizes[c, 0] * TAG_NS
    for _ in range(radius + 1):
        best = 0
        for c in range(1, chunks):
            if price[c] < price[best]:
                best = c
        total += price[best]
        radii[best] += 1
        key = keys[best]
        flips = radii[best] + 1
        if flips > MAX_FLIPS or flips > key:
            price[best] = np.inf
        elif flips == 1:
            price[best] = key * PROBE_NS + near_sizes[best, 1] * TAG_NS
        else:
            buckets = 1.0
            for i in range(flips):
                buckets = buckets * (key - i) / (i + 1)
            # An even spread, or what the neighbours suggest where that is more.
            size = max(n / 2.0**key, near_sizes[best, 1] / key)
            price[best] = buckets * (PROBE_NS + size * TAG_NS)
    return total < n * ROW_NS


@nb.njit(nogil=True, cache=True)
def search(rows, offsets, tags, postings, chunks, masks, counts, order, queries, radius, stats):
    """Every row within `radius` of each query, each once, by multi-index hashing.

    rows (n, words) uint64 with bits in the index's `order`; offsets uint32, all chunks one after
    the other; tags (m * n + LANES,) uint16; postings (m * n, 3 or 4) uint8; chunks (m, 4) int64;
    masks uint32, the flip masks of each chunk by number of flips; counts (m, MAX_FLIPS + 1) int64,
    masks of up to so many flips; queries (q, words) uint64, bits in their own order. Returns
    int64 (hits, 3): query, row, distance. `stats` (4,) int64 counts probes, tags compared, rows
    compared and rows scanned.

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
    keys = chunks[:, KEY]
    key = np.empty(m, np.int64)
    tag = np.empty(m, np.uint16)
    radii = np.empty(m, np.int64)
    bound = np.empty(m, np.int64)
    sizes = np.empty((m, 2), np.int64)
    most = 0
    for c in range(m):
        most = max(most, counts[c, MAX_FLIPS])
    low = np.empty(most + AHEAD, np.int64)
    high = np.empty(most + AHEAD, np.int64)
    pending = np.empty(PENDING + LANES, np.int64)
    owner = np.empty(PENDING + LANES, np.int64)
    turned = np.empty((1, rows.shape[1]), np.uint64)
    for q in range(queries.shape[0]):
        permute(queries[q : q + 1], order, turned)
        query = turned[0]
        for c in range(m):
            start = chunks[c, START]
            key[c] = np.int64(window(query, start, keys[c]))
            tag[c] = np.uint16(window(query, (start + keys[c]) % bits, TAG_BITS))
            fetch(offsets, chunks[c, OFFSETS] + key[c])
            # The flips of the lowest four bits lie in the same cache line, or the next.
            for bit in range(4, keys[c]):
                fetch(offsets, chunks[c, OFFSETS] + (key[c] ^ (1 << bit)))
        for c in range(m):
            base = chunks[c, OFFSETS]
            at = base + key[c]
            sizes[c, 0] = np.int64(offsets[at + 1]) - np.int64(offsets[at])
            around = 0
            for bit in range(keys[c]):
                at = base + (key[c] ^ (1 << bit))
                around += np.int64(offsets[at + 1]) - np.int64(offsets[at])
            sizes[c, 1] = around
        if not allot(sizes, keys, n, radius, radii):
            found, used = scan(rows, turned, q, radius, found, used, stats)
            continue
        for c in range(m):
            bound[c] = radii[c] + radii[(c + 1) % m] + 1
        waiting = 0
        for c in range(m):
            if radii[c] < 0:
                continue
            base = chunks[c, OFFSETS]
            first_mask = chunks[c, MASKS]
            probes = counts[c, radii[c]]
            stats[0] += probes
            for p in range(counts[c, 1], probes):
                fetch(offsets, base + (key[c] ^ np.int64(masks[first_mask + p])))
            for p in range(probes):
                at = base + (key[c] ^ np.int64(masks[first_mask + p]))
                low[p] = c * n + np.int64(offsets[at])
                high[p] = c * n + np.int64(offsets[at + 1])
                if p < AHEAD:
                    fetch(tags, low[p])
            for p in range(probes, probes + AHEAD):
                low[p] = low[0]
            for p in range(probes):
                fetch(tags, low[p + AHEAD])
                flips = popcount(np.uint64(masks[first_mask + p]))
                last = high[p]
                stats[1] += last - low[p]
                for at in range(low[p], last, LANES):
                    passed = near(tags, at, tag[c], bound[c] - flips)
                    if last - at < LANES:
                        passed &= np.uint32((np.int64(1) << (last - at)) - 1)
                    while passed != 0:
                        pending[waiting] = at + lowest(passed)
                        owner[waiting] = c
                        waiting += 1
                        passed &= passed - np.uint32(1)
                    if waiting >= PENDING:
                        found, used = _settle(
                            rows, postings, chunks, query, q, radius, key, tag, radii, bound,
                            pending, owner, waiting, found, used,
                        )  # fmt: skip
                        stats[2] += waiting
                        waiting = 0
        found, used = _settle(
            rows, postings, chunks, query, q, radius, key, tag, radii, bound,
            pending, owner, waiting, found, used,
        )  # fmt: skip
        stats[2] += waiting
    return found[:used]


@nb.njit(nogil=True, cache=True)
def _settle(
    rows, postings, chunks, query, q, radius, key, tag, radii, bound,
    pending, owner, waiting, found, used,
):  # fmt: skip
    """Compare the pending postings' rows in full and append those within the radius."""
    bits = rows.shape[1] * 64
    width = postings.shape[1]
    for i in range(waiting):
        fetch(postings, pending[i])
    for i in range(waiting):
        at = pending[i]
        number = 0
        for byte in range(width):
            number |= np.int64(postings[at, byte]) << (8 * byte)
        pending[i] = number
        fetch(rows, number)
    for i in range(waiting):
        row = rows[pending[i]]
        distance = apart(row, query)
        if distance > radius:
            continue
        # A row that several chunks find is reported by the first of them.
        first = True
        for c in range(owner[i]):
            start = chunks[c, START]
            away = popcount(window(row, start, chunks[c, KEY]) ^ np.uint64(key[c]))
            if away <= radii[c]:
                after = (start + chunks[c, KEY]) % bits
                away += popcount(window(row, after, TAG_BITS) ^ np.uint64(tag[c]))
                first = first and away > bound[c]
        if first:
            found = _room(found, used, 1)
            found[used, 0] = q
            found[used, 1] = pending[i]
            found[used, 2] = distance
            used += 1
    return found, used


@nb.njit(nogil=True, cache=True)
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
