"""How an index of so many rows is laid out, and what a search of it should cost.

A row's bits form a ring that is cut into chunks. The exact search gives chunk `c` a radius `t[c]`
with `sum(t[c] + 1) = radius + 1`, so that a row within `radius` of the query is within `t[c]` of
it in some chunk (the generalised pigeonhole principle: Qin et al., "GPH", ICDE 2018; multi-index
hashing: Norouzi et al., CVPR 2012). The first `keys[c]` bits of a chunk number its buckets; the
`TAG_BITS` bits after them lie beside each posting and reject nearly all candidates before
their rows are touched (the first two links of Qin and Xiao's pigeonring, VLDB 2018).
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TAG_BITS = 16
"""Bits of a row that lie beside each posting, straight after its bucket's key."""
MAX_FLIPS = 4
"""Largest radius of one chunk; beyond it a scan of all rows is cheaper anyway."""
SCAN_ROWS = 4096
"""Indexes up to this size have no tables: a scan is as quick, and costs nothing to keep."""
MAX_BYTES = 120.0
"""Bytes a row that a plan may take, everything included, if any plan stays below."""

PROBE_NS = 15.0
"""Time to look into one bucket, ns. These four fit searches of 1 M rows in several layouts."""
TAG_NS = 0.55
"""Time to compare one tag, ns."""
CANDIDATE_NS = 40.0
"""Time to compare one candidate's row in full, ns."""
NEAR_BYTES = 20e6
"""Bytes of an index up to which these times hold."""
FAR_COST = 0.5
"""What each tenfold of bytes beyond adds, as a share: ever more lies outside caches and TLBs."""
ROW_NS = 1.6
"""Time to compare one row in a scan, ns."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks of an index and the expected cost of one search of evenly spread rows.

    An index without chunks (`widths` empty) is scanned.
    """

    bits: int
    radius: int
    widths: tuple[int, ...]
    """Bits of each chunk; they sum to `bits`."""
    keys: tuple[int, ...]
    """Bits of each chunk that number its buckets."""
    radii: tuple[int, ...]
    """Radius of each chunk when its buckets are of average size; each query chooses its own."""
    predicted_probes: float
    predicted_candidates: float
    """Rows compared in full, a query."""
    predicted_ms: float
    """Milliseconds a query, one thread, in a batch."""
    bytes_per_entry: float
    """Row, entry number, tags, postings and bucket offsets, for one row."""


def posting_bytes(n: int) -> int:
    """Bytes of a row number among `n` rows."""
    return 3 if n <= 1 << 24 else 4


def scan_plan(n: int, bits: int, radius: int) -> Plan:
    """The plan without tables."""
    return Plan(bits, radius, (), (), (), 0.0, 0.0, n * ROW_NS * bits / 256 / 1e6, bits / 8 + 4)


@functools.lru_cache(maxsize=256)
def plan(n: int, bits: int, radius: int) -> Plan:
    """The cheapest layout for `n` rows searched at `radius`, among those of at most `MAX_BYTES`.

    `bits` is a multiple of 64. Tries every number of chunks and radii that differ by at most one,
    every split of widths between the two kinds of chunk, and every key length.
    """
    best = scan_plan(n, bits, radius)
    if n <= SCAN_ROWS:
        return best
    units = radius + 1
    for chunks in range(2, min(units, bits // 8) + 1):
        low, wide = divmod(units, chunks)
        low -= 1
        if low + (wide > 0) > MAX_FLIPS:
            continue
        for split in _splits(chunks, wide, bits):
            for key in range(8, 25):
                tried = _price(n, bits, radius, chunks, split, low, wide, key)
                if tried is None or tried.predicted_ms >= best.predicted_ms:
                    continue
                fixed = best.widths and best.bytes_per_entry <= MAX_BYTES
                if tried.bytes_per_entry <= MAX_BYTES or (n < 1 << 20 and not fixed):
                    best = tried
    return best


def _splits(chunks: int, wide: int, bits: int) -> list[tuple[int, int]]:
    """(bits of the narrow chunks, bits of the wide ones), totals, for a few useful ratios."""
    if wide == 0:
        return [(bits, 0)]
    narrow = chunks - wide
    splits = []
    for width in range(6, 33):
        rest = bits - narrow * width
        if wide * width <= rest <= wide * 32:
            splits.append((narrow * width, rest))
    return splits


def _shares(total: int, parts: int) -> list[int]:
    """`total` in `parts` nearly equal whole numbers."""
    return [total // parts + (i < total % parts) for i in range(parts)] if parts else []


def _price(
    n: int,
    bits: int,
    radius: int,
    count: int,
    split: tuple[int, int],
    low: int,
    wide: int,
    key: int,
) -> Plan | None:
    """The plan of these choices: `count` chunks of radius `low`, of which `wide` have one more."""
    narrow, broad = _shares(split[0], count - wide), _shares(split[1], wide)
    # The wide chunks are spread evenly round the ring.
    widths, radii, taken = [], [], 0
    for i in range(count):
        if (i + 1) * wide // count > taken:
            widths.append(broad[taken])
            radii.append(low + 1)
            taken += 1
        else:
            widths.append(narrow[i - taken])
            radii.append(low)
    if max(widths) > 32 or min(widths) < 1:
        return None
    keys = [min(width, key + 2 * (t > low)) for width, t in zip(widths, radii, strict=True)]
    for c in range(count):
        # The tag may not reach beyond the chunk that follows.
        if widths[c] - keys[c] + widths[(c + 1) % count] < min(TAG_BITS, bits):
            return None
    probes = tags = candidates = 0.0
    for c in range(count):
        bound = radii[c] + radii[(c + 1) % count] + 1
        size = n / 2.0 ** keys[c]
        for flips in range(min(radii[c], keys[c]) + 1):
            buckets = math.comb(keys[c], flips)
            probes += buckets
            tags += buckets * size
            candidates += buckets * size * _tag_passes(bound - flips)
    nanoseconds = probes * PROBE_NS + tags * TAG_NS + candidates * CANDIDATE_NS
    table = sum(2**k + 1 for k in keys) * 4
    held = bits / 8 + 4 + count * (TAG_BITS / 8 + posting_bytes(n)) + table / n
    nanoseconds *= 1 + FAR_COST * max(0.0, math.log10(held * n / NEAR_BYTES))
    return Plan(
        bits, radius, tuple(widths), tuple(keys), tuple(radii),
        probes, candidates, nanoseconds / 1e6, held,
    )  # fmt: skip


@functools.cache
def _tag_passes(bound: int) -> float:
    """Chance that two random tags differ in at most `bound` bits."""
    return sum(math.comb(TAG_BITS, i) for i in range(min(bound, TAG_BITS) + 1)) / 2.0**TAG_BITS


@functools.cache
def flip_masks(key: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Masks of up to `MAX_FLIPS` of `key` bits, fewest first; how many have up to 0, 1, … bits."""
    masks: list[int] = []
    counts: list[int] = []
    for flips in range(MAX_FLIPS + 1):
        chosen = itertools.combinations(range(key), flips)
        masks += sorted(sum(1 << bit for bit in picked) for picked in chosen)
        counts.append(len(masks))
    return np.array(masks, np.uint32), np.array(counts, np.int64)
