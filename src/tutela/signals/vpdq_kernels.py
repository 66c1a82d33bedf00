"""The comparison of two films' frame hashes, compiled."""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tutela.index.intrinsics import popcount

Words: TypeAlias = NDArray[np.uint64]
Counts: TypeAlias = NDArray[np.int64]
Times: TypeAlias = NDArray[np.float64]

NONE = 257
"""A distance for what has nothing near it: more than there are bits."""

SLOPES = np.array([sign * 2 ** (n / 12) for sign in (1, -1) for n in range(-12, 13)])
"""How fast one film may play against the other: half to double, in steps of 6 %, either way."""


@njit(nogil=True, cache=True)
def nearest(queries: Words, rows: Words, radius: int) -> tuple[Counts, Counts]:
    """The distance of each query to its nearest row, and of each row to its nearest query.

    Both are (n, 4) words of 64 bits; `NONE` where nothing is within `radius`.
    """
    here = np.full(len(queries), NONE, np.int64)
    there = np.full(len(rows), NONE, np.int64)
    for i in range(len(queries)):
        a, b, c, d = queries[i, 0], queries[i, 1], queries[i, 2], queries[i, 3]
        for j in range(len(rows)):
            apart = popcount(a ^ rows[j, 0]) + popcount(b ^ rows[j, 1])
            if apart > radius:
                continue
            apart += popcount(c ^ rows[j, 2]) + popcount(d ^ rows[j, 3])
            if apart <= radius:
                here[i] = min(here[i], apart)
                there[j] = min(there[j], apart)
    return here, there


@njit(nogil=True, cache=True)
def pairs(queries: Words, rows: Words, radius: int, most: int) -> Counts:
    """Query and row of each pair within `radius`, (n, 2), by query; at most `most` a query."""
    found = np.empty((len(queries) * most, 2), np.int64)
    count = 0
    for i in range(len(queries)):
        a, b, c, d = queries[i, 0], queries[i, 1], queries[i, 2], queries[i, 3]
        mine = 0
        for j in range(len(rows)):
            apart = popcount(a ^ rows[j, 0]) + popcount(b ^ rows[j, 1])
            if apart > radius or mine == most:
                continue
            apart += popcount(c ^ rows[j, 2]) + popcount(d ^ rows[j, 3])
            if apart <= radius:
                found[count, 0], found[count, 1] = i, j
                count += 1
                mine += 1
    return found[:count].copy()


@njit(nogil=True, cache=True)
def aligned(
    near: Counts, here: Times, there: Times, slack: float, anchors: int
) -> NDArray[np.bool_]:
    """Which queries are on the best straight line in time, (n,) of the `here` given.

    A line goes through one of the pairs `near`, spread evenly to at most `anchors`, at one of the
    `SLOPES`; a query is on it if it pairs with a row whose time is within `slack` seconds of where
    the line has it. The best line has the most queries.
    """
    best = np.zeros(len(here), np.bool_)
    most = 0
    on = np.empty(len(here), np.bool_)
    count = min(len(near), anchors)
    for n in range(count):
        i0, j0 = near[n * len(near) // count]
        for slope in SLOPES:
            on[:] = False
            total = 0
            for k in range(len(near)):
                i, j = near[k, 0], near[k, 1]
                if not on[i] and abs(there[j] - there[j0] - slope * (here[i] - here[i0])) <= slack:
                    on[i] = True
                    total += 1
            if total > most:
                most = total
                best[:] = on
    return best
