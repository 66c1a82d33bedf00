"""The compiled loops of image forensics: each has a naive twin in the tests.

Luma is uint8 (height, width) as it is stored, blocks are 8 × 8 pixels as JPEG has them.
"""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np
from numba import njit

BLOCK = 8
LOW = 4
"""Frequencies 0–3 along each side are worked out, those whose sum is 1–3 are kept."""
KEPT = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0))
"""Which (down, across), by rising frequency."""
CAP = 24
"""Levels that one second difference may add: edges of things are no edges of blocks."""
TINY = 1e-9
MOST, SURE = 0.9, 0.97
"""Share of a picture that an earlier quantisation has to explain, and how sure one size makes."""
BOUND = 3.0
"""Nats that one coefficient may tell."""

_ROOT = math.sqrt(2)
_BLACK, _WHITE = np.uint8(0), np.uint8(255)
_DOWN = np.array([down for down, _ in KEPT])
_ACROSS = np.array([across for _, across in KEPT])
# The first four rows of the orthonormal DCT-II of eight samples, the first half of each: the
# second half mirrors it, with the sign turned for odd frequencies.
_BASIS = np.array(
    [
        [
            math.sqrt((1 if k == 0 else 2) / BLOCK) * math.cos(math.pi * k * (2 * n + 1) / 16)
            for n in range(BLOCK // 2)
        ]
        for k in range(LOW)
    ]
).astype(np.float32)


@njit(nogil=True, cache=True)
def grey(rgb, luma):
    """The luma, BT.601, of sRGB pixels: `rgb` is uint8 (height, 3 · width)."""
    height, width = luma.shape
    for y in range(height):
        line, out = rgb[y], luma[y]
        for x in range(width):
            r, g, b = np.int32(line[3 * x]), np.int32(line[3 * x + 1]), np.int32(line[3 * x + 2])
            total = np.int32(19595) * r + np.int32(38470) * g + np.int32(7471) * b
            out[x] = np.uint8((total + np.int32(32768)) >> np.int32(16))


@njit(nogil=True, cache=True)
def clipped(rgb, top, left, out):
    """Which blocks have a colour at its end; the first starts at (`top`, `left`).

    `rgb` is uint8 (height, 3 · width). `out` (bands, blocks), uint8, gets 1 where one of the three
    values of a pixel is 0 or 255, else 0.
    """
    bands, columns = out.shape
    out[:] = 0
    for y in range(bands * BLOCK):
        line, flags = rgb[top + y], out[y // BLOCK]
        for column in range(columns):
            start = 3 * (left + column * BLOCK)
            ends = np.uint8(0)
            for place in range(3 * BLOCK):
                value = line[start + place]
                ends |= np.uint8((value == _BLACK) | (value == _WHITE))
            flags[column] |= ends


@njit(nogil=True, cache=True)
def crosses(luma, stride, out):
    """Sums of second differences across both directions, by place within 8 × 8 pixels.

    The difference of (y, x) is |p(y, x) − p(y, x+1) − p(y+1, x) + p(y+1, x+1)|, at most `CAP`;
    it is added to `out` (8, 8), int64, at (y mod 8, x mod 8). Of every `stride` bands of eight
    rows the first is read.
    """
    height, width = luma.shape
    out[:] = 0
    sums = np.empty(BLOCK, np.int32)
    for y in range(height - 1):
        if y // BLOCK % stride:
            continue
        upper, lower = luma[y], luma[y + 1]
        sums[:] = 0
        for start in range(0, width - BLOCK, BLOCK):
            for j in range(BLOCK):
                x = start + j
                cross = abs(
                    np.int32(upper[x])
                    - np.int32(upper[x + 1])
                    - np.int32(lower[x])
                    + np.int32(lower[x + 1])
                )
                sums[j] += min(cross, np.int32(CAP))
        for j in range(BLOCK):
            out[y % BLOCK, j] += sums[j]


@njit(nogil=True, cache=True)
def frequencies(luma, top, left, stride, out):
    """Sizes of low DCT coefficients of the blocks of which the first starts at (`top`, `left`).

    `out` is float32 (9, bands, blocks), in the order of `KEPT`, absolute values, orthonormal as
    JPEG has them before it divides. Only the first of every `stride` bands is in it.
    """
    kept, bands, columns = out.shape
    lines = np.empty((BLOCK, LOW), np.float32)
    both = np.empty((LOW, LOW), np.float32)
    for band in range(bands):
        for column in range(columns):
            x = left + column * BLOCK
            for i in range(BLOCK):
                line = luma[top + band * stride * BLOCK + i]
                for k in range(LOW):
                    lines[i, k] = 0
                for n in range(BLOCK // 2):
                    near, far = np.float32(line[x + n]), np.float32(line[x + BLOCK - 1 - n])
                    plus, minus = near + far, near - far
                    lines[i, 0] += _BASIS[0, n] * plus
                    lines[i, 1] += _BASIS[1, n] * minus
                    lines[i, 2] += _BASIS[2, n] * plus
                    lines[i, 3] += _BASIS[3, n] * minus
            for k in range(LOW):
                for m in range(LOW):
                    total = np.float32(0)
                    for n in range(BLOCK // 2):
                        near, far = lines[n, m], lines[BLOCK - 1 - n, m]
                        total += _BASIS[k, n] * (near - far if k & 1 else near + far)
                    both[k, m] = total
            for place in range(kept):
                out[place, band, column] = abs(both[_DOWN[place], _ACROSS[place]])


@njit(nogil=True, cache=True)
def count(sizes, step, skip, seen):
    """Counts of sizes by their multiple of `step`, where `skip` is 0.

    `sizes` float32 and `skip` uint8 are (bands, blocks). `seen` (n + 1,), int64, gets the multiples
    0 … n − 1, and in its last place all others.
    """
    seen[:] = 0
    last = seen.size - 1
    inverse = np.float32(1 / step)
    half = np.float32(0.5)
    bands, columns = sizes.shape
    for band in range(bands):
        for column in range(columns):
            if skip[band, column] == 0:
                seen[min(int(sizes[band, column] * inverse + half), last)] += 1


@njit(nogil=True, cache=True)
def explain(seen, shares, fine, step, noise, earlier, gains, odds):
    """How well an earlier quantisation explains the sizes of one frequency's coefficients.

    `seen` (n,) counts the multiples k = 1 … of `step`; place 0 is not used. `shares` are the
    cumulated shares of sizes that were not quantised before, in bins of `fine`. For each earlier
    step in `earlier`, `gains` gets the mean gain in nats a coefficient over no earlier step. Then
    `odds` (n,) gets, for the step that gains most, how much likelier each size is without it than
    with it, in nats. Rounding moves a coefficient by `noise`, a standard deviation. Returns the
    place of that step.
    """
    n = seen.size
    plain = np.zeros(n)
    total = 0.0
    number = 0.0
    for k in range(1, n):
        plain[k] = _share(shares, (k + 0.5) * step / fine) - _share(shares, (k - 0.5) * step / fine)
        plain[k] += TINY
        total += plain[k]
        number += seen[k]
    for k in range(1, n):
        plain[k] /= total
    made = np.zeros((earlier.size, n))
    best = 0
    for place in range(earlier.size):
        row = made[place]
        _comb(shares, fine, step, noise, earlier[place], row)
        gain = 0.0
        for k in range(1, n):
            if seen[k]:
                gain += seen[k] * math.log((MOST * row[k] + (1 - MOST) * plain[k]) / plain[k])
        gains[place] = gain / max(number, 1.0)
        if gains[place] > gains[best]:
            best = place
    odds[0] = 0.0
    for k in range(1, n):
        mixed = SURE * made[best, k] + (1 - SURE) * plain[k]
        odds[k] = min(max(math.log(plain[k] / mixed), -BOUND), BOUND)
    return best


@njit(nogil=True, cache=True)
def _comb(shares, fine, step, noise, earlier, row):
    """The shares of the multiples of `step` among coefficients that were multiples of `earlier`."""
    n = row.size
    total = 0.0
    u = 0
    while u * earlier - 4 * noise <= (n - 0.5) * step:
        centre = u * earlier
        share = _share(shares, (centre + earlier / 2) / fine)
        share -= _share(shares, (centre - earlier / 2) / fine)
        low = max(1, int((centre - 4 * noise) / step + 0.5))
        high = min(n - 1, int((centre + 4 * noise) / step + 0.5))
        for k in range(low, high + 1):
            row[k] += share * (
                math.erf(((k + 0.5) * step - centre) / (noise * _ROOT))
                - math.erf(((k - 0.5) * step - centre) / (noise * _ROOT))
            )
        u += 1
    for k in range(1, n):
        row[k] += TINY
        total += row[k]
    for k in range(1, n):
        row[k] /= total


@njit(nogil=True, cache=True)
def _share(shares, place):
    """The cumulated share at a place between bins."""
    if place <= 0:
        return shares[0]
    whole = int(place)
    if whole >= shares.size - 1:
        return shares[-1]
    return shares[whole] + (place - whole) * (shares[whole + 1] - shares[whole])


@njit(nogil=True, cache=True)
def gather(sizes, step, skip, odds, least, told, informative):
    """Add what each coefficient tells to its block.

    To `told` (bands, blocks), float32, is added the entry of `odds` (n,) that belongs to the
    multiple of `step`, and 1 to `informative`, uint8; not where `skip` is not 0, nor for multiples
    below `least` or from n on.
    """
    inverse = np.float32(1 / step)
    half = np.float32(0.5)
    bands, columns = sizes.shape
    for band in range(bands):
        for column in range(columns):
            if skip[band, column] == 0:
                k = int(sizes[band, column] * inverse + half)
                if least <= k < odds.size:
                    told[band, column] += odds[k]
                    informative[band, column] += 1
