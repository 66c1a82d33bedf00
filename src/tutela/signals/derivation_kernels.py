"""The compiled loops that compare two pictures' patches; each has a naive twin in the tests."""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import math

import numba as nb
import numpy as np
from numba import types

from tutela.index.intrinsics import popcount

_WORDS = types.Array(types.uint64, 2, "C", readonly=True)
_POINTS = types.Array(types.float32, 2, "C", readonly=True)
_PAIRS = types.Array(types.int32, 2, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_REALS = types.Array(types.float64, 1, "C", readonly=True)


@nb.njit(
    types.int64(_WORDS, _WORDS, types.int64, types.int64, types.int32[:, ::1]),
    nogil=True,
    cache=True,
)
def nearest(asked, held, radius, most, pairs):
    """For each row of `asked` its up to `most` nearest rows of `held` within `radius`.

    Rows are 4 words. Writes (asked, held, distance) into `pairs` ((len(asked) * most), 3), those
    of one asked row side by side, the earlier ones of equal distance; returns how many.
    """
    count = 0
    for i in range(asked.shape[0]):
        start = count
        a, b, c, d = asked[i, 0], asked[i, 1], asked[i, 2], asked[i, 3]
        for j in range(held.shape[0]):
            away = np.int64(
                popcount(a ^ held[j, 0])
                + popcount(b ^ held[j, 1])
                + popcount(c ^ held[j, 2])
                + popcount(d ^ held[j, 3])
            )
            if away > radius:
                continue
            if count - start < most:
                at = count
                count += 1
            else:
                at = start
                for k in range(start + 1, count):
                    if pairs[k, 2] >= pairs[at, 2]:
                        at = k
                if away >= pairs[at, 2]:
                    continue
                # Keep the order of finding: the farthest leaves, the others close up.
                for k in range(at, count - 1):
                    pairs[k, 0], pairs[k, 1], pairs[k, 2] = (
                        pairs[k + 1, 0], pairs[k + 1, 1], pairs[k + 1, 2],
                    )  # fmt: skip
                at = count - 1
            pairs[at, 0] = i
            pairs[at, 1] = j
            pairs[at, 2] = away
    return count


@nb.njit(
    types.int64(
        _PAIRS, _NUMBERS, _POINTS, _POINTS, _REALS, types.float64, types.float64,
        types.float64, types.int64[::1],
    ),
    nogil=True, cache=True,
)  # fmt: skip
def agreeing(pairs, order, asked, held, move, loose, drift, stretch, chosen):
    """The pairs that one scaling and shift explains; their numbers go into `chosen`.

    `move` (5,) is a size, a shift across and down, and the point of the asked picture where the
    shift is known best. Points are x, y, scale. A pair agrees when its held point, moved, is within
    2 pixels, `loose` scales and `drift` of the way from that best point, and its scales' ratio is
    within `stretch` (a logarithm) of the size. Pairs are tried in `order`; one whose patch was
    taken, or within three scales of a pair taken, adds nothing that the other doesn't say.
    """
    count = 0
    lead = math.log(move[0])
    for n in range(order.shape[0]):
        p = order[n]
        i, j = pairs[p, 0], pairs[p, 1]
        x, y, scale = asked[i, 0], asked[i, 1], asked[i, 2]
        if abs(math.log(scale / held[j, 2]) - lead) > stretch:
            continue
        dx = held[j, 0] * move[0] + move[1] - x
        dy = held[j, 1] * move[0] + move[2] - y
        reach = 2.0 + loose * scale + drift * math.hypot(x - move[3], y - move[4])
        if dx * dx + dy * dy > reach * reach:
            continue
        new = True
        for k in range(count):
            q = chosen[k]
            if pairs[q, 0] == i or pairs[q, 1] == j:
                new = False
                break
            ox, oy, other = asked[pairs[q, 0], 0], asked[pairs[q, 0], 1], asked[pairs[q, 0], 2]
            apart = 3.0 * min(scale, other)
            if (ox - x) * (ox - x) + (oy - y) * (oy - y) < apart * apart:
                new = False
                break
        if new:
            chosen[count] = p
            count += 1
    return count


@nb.njit(
    types.int64(
        _PAIRS, _NUMBERS, _POINTS, _POINTS, _REALS, types.int64, types.int64, types.float64,
        types.float64, types.float64, types.int64[::1],
    ),
    nogil=True, cache=True,
)  # fmt: skip
def elect(pairs, order, asked, held, worth, tries, enough, loose, drift, stretch, chosen):
    """Of the moves that each of the first `tries` pairs proposes by itself, the best one's pairs.

    A pair of upright patches proposes a size and a shift. The best move is the one whose agreeing
    pairs' `worth`, by distance, sums to most; none is looked for beyond one of `enough` pairs.
    Writes their numbers; returns how many.
    """
    best = 0.0
    count = 0
    move = np.empty(5)
    tried = np.empty_like(chosen)
    for n in range(min(tries, order.shape[0])):
        i, j = pairs[order[n], 0], pairs[order[n], 1]
        move[0] = asked[i, 2] / held[j, 2]
        move[1] = asked[i, 0] - move[0] * held[j, 0]
        move[2] = asked[i, 1] - move[0] * held[j, 1]
        move[3], move[4] = asked[i, 0], asked[i, 1]
        agreed = agreeing(pairs, order, asked, held, move, loose, drift, stretch, tried)
        total = 0.0
        for k in range(agreed):
            total += worth[pairs[tried[k], 2]]
        if total > best:
            best = total
            count = agreed
            chosen[:agreed] = tried[:agreed]
            if agreed >= enough:
                break
    return count


@nb.njit(
    types.Array(types.boolean, 1, "C")(
        _WORDS, _WORDS, _POINTS, _POINTS, types.Array(types.float32, 1, "C", readonly=True),
        types.float64, types.float64, types.int64,
    ),
    nogil=True, cache=True,
)  # fmt: skip
def surviving(asked, held, points, moved, scales, loose, stretch, radius):
    """Which held patches have one alike, within `radius` bits, where they should be.

    `moved` (n, 2) and `scales` (n,) are the held patches' places in the content; near is within 3
    pixels and `loose` scales, and of a size within `stretch`.
    """
    found = np.zeros(held.shape[0], np.bool_)
    for j in range(held.shape[0]):
        x, y, scale = moved[j, 0], moved[j, 1], scales[j]
        reach = 3.0 + loose * scale
        for i in range(asked.shape[0]):
            dx, dy = points[i, 0] - x, points[i, 1] - y
            if dx * dx + dy * dy > reach * reach:
                continue
            if abs(math.log(points[i, 2] / scale)) > stretch:
                continue
            away = np.int64(0)
            for word in range(4):
                away += np.int64(popcount(asked[i, word] ^ held[j, word]))
            if away <= radius:
                found[j] = True
                break
    return found
