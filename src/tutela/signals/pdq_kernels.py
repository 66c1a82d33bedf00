"""The arithmetic of PDQ, compiled.

PDQ blurs a picture with two passes of a box filter, samples the result at 64 × 64 points, takes
a 16 × 16 corner of its DCT and compares each coefficient with their median ("The TMK+PDQF
video-hashing algorithm and the PDQ image-hashing algorithm", Facebook, 2019). Blur, sampling and
DCT are linear and separable, so for a given size the whole of it is two small matrices:
with luma X (height × width), samples = R X Cᵀ and coefficients = (D R) X (D C)ᵀ. R and C have
few entries that aren't zero, and are worked out once for each size (`axis`).

A reduced picture needs no filter of its own: a cell of it stands for the pixels that it covers,
so its weight is the sum of theirs.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Firsts: TypeAlias = NDArray[np.int64]

GRID = 64
"""Samples along each side of the blurred picture."""
SIDE = 16
"""DCT coefficients along each side that make the hash."""

# Row k is the DCT-II basis function k + 1: PDQ leaves the constant one out.
DCT = (
    np.sqrt(2 / GRID)
    * np.cos(np.pi / (2 * GRID) * np.outer(np.arange(1, SIDE + 1), 2 * np.arange(GRID) + 1))
).astype(np.float32)


@njit(nogil=True, cache=True)
def taps(length: int, cells: int, scale: float) -> tuple[Firsts, Floats]:
    """Weights of each cell in each of the 64 samples along one side of a picture.

    `length` is the side in pixels, of which each of the `cells` covers `scale`. Gives the first
    cell of each sample, (2, 64), and the weights of the cells from there, (2, 64, width): first
    of the picture as it is, then of the picture read from its far end. first + width never
    passes `cells`.
    """
    window = (length + 2 * GRID - 1) // (2 * GRID)
    behind, ahead = (window - 1) // 2, window // 2
    # The pixels of a sample, one cell more where they are not aligned, one more on either side.
    width = min(cells, int(np.ceil((2 * window - 1) / scale)) + 4)
    first = np.zeros((2, GRID), np.int64)
    weights = np.zeros((2, GRID, width), np.float32)
    steps = np.zeros(2 * window + 1)
    for sample in range(GRID):
        # The sample is the mean of the second pass over low..high-1, and each of those is
        # the mean of the first pass over its own window: a sum of boxes, kept as its steps.
        centre = int((sample + 0.5) * length / GRID)
        low, high = max(centre - behind, 0), min(centre + ahead + 1, length)
        start = max(low - behind, 0)
        stop = min(high + ahead, length)
        steps[:] = 0.0
        for middle in range(low, high):
            left, right = max(middle - behind, 0), min(middle + ahead + 1, length)
            share = 1.0 / ((high - low) * (right - left))
            steps[left - start] += share
            steps[right - start] -= share
        for mirrored in range(2):
            nearest = length - stop if mirrored else start
            begin = max(min(int(nearest / scale) - 1, cells - width), 0)
            first[mirrored, sample] = begin
            row = weights[mirrored, sample]
            weight = 0.0
            for pixel in range(start, stop):
                weight += steps[pixel - start]
                place = ((length - 1 - pixel if mirrored else pixel) + 0.5) / scale
                cell = min(int(place), cells - 1)
                before, after = max(cell - 1, 0), min(cell + 1, cells - 1)
                # The parabola through the means of the cell and its neighbours, at this pixel.
                offset = place - (cell + 0.5)
                slope = offset / 2
                bend = (offset * offset - (1.0 - 1.0 / (scale * scale)) / 12) / 2
                row[before - begin] += weight * (bend - slope)
                row[cell - begin] += weight * (1.0 - 2 * bend)
                row[after - begin] += weight * (bend + slope)
    return first, weights


@njit(nogil=True, cache=True)
def samples_down(luma: NDArray[np.uint8], first: Firsts, weights: Floats, out: Floats) -> None:
    """Blur the picture and sample it along its height: `out` is (64, width)."""
    out[:] = 0.0
    for sample in range(GRID):
        row = out[sample]
        for tap in range(weights.shape[1]):
            weight = weights[sample, tap]
            if weight != 0:
                line = luma[first[sample] + tap]
                for x in range(row.size):
                    row[x] += weight * np.float32(line[x])


@njit(nogil=True, cache=True)
def transform_down(down: Floats, out: Floats) -> None:
    """The 16 DCT coefficients of each column of 64 samples, as row of `out` (width, 16)."""
    width = down.shape[1]
    lines = np.empty((4, width), np.float32)
    total = np.zeros((SIDE, width), np.float32)
    for parity in range(2):
        for first in range(0, GRID // 2, 4):
            # Basis function k + 1 is odd about the middle for even k, even for odd k: the halves
            # of a column are folded onto each other. Four rows at a time save memory traffic.
            for i in range(4):
                near, far = down[first + i], down[GRID - 1 - first - i]
                line = lines[i]
                if parity:
                    for x in range(width):
                        line[x] = near[x] + far[x]
                else:
                    for x in range(width):
                        line[x] = near[x] - far[x]
            for k in range(parity, SIDE, 2):
                row = total[k]
                a, b, c, d = (
                    DCT[k, first],
                    DCT[k, first + 1],
                    DCT[k, first + 2],
                    DCT[k, first + 3],
                )
                for x in range(width):
                    row[x] += (
                        a * lines[0, x] + b * lines[1, x] + (c * lines[2, x] + d * lines[3, x])
                    )
    for x in range(width):
        for k in range(SIDE):
            out[x, k] = total[k, x]


@njit(nogil=True, cache=True)
def transform_across(columns: Floats, first: Firsts, weights: Floats) -> Floats:
    """Sample columns of coefficients (width, n) along the width, and take the DCT: (16, n)."""
    size = columns.shape[1]
    out = np.zeros((SIDE, size), np.float32)
    line = np.empty(size, np.float32)
    for sample in range(GRID):
        line[:] = 0.0
        for tap in range(weights.shape[1]):
            weight = weights[sample, tap]
            source = columns[first[sample] + tap]
            for i in range(size):
                line[i] += weight * source[i]
        for k in range(SIDE):
            weight = DCT[k, sample]
            row = out[k]
            for i in range(size):
                row[i] += weight * line[i]
    return out


@njit(nogil=True, cache=True)
def gradient_quality(down: Floats, first: Firsts, weights: Floats) -> int:
    """PDQ's quality, 0–100: how much neighbouring samples differ, in hundredths of white."""
    above = np.empty(GRID, np.float32)
    row = np.empty(GRID, np.float32)
    total: Any = 0
    for i in range(GRID):
        source = down[i]
        for j in range(GRID):
            value = np.float32(0.0)
            for tap in range(weights.shape[1]):
                value += weights[j, tap] * source[first[j] + tap]
            row[j] = value
        # Each difference is cut to a whole number before it is added, as the reference does.
        for j in range(GRID - 1):
            total += np.int64(abs(row[j + 1] - row[j]) * np.float32(100) / np.float32(255))
        if i > 0:
            for j in range(GRID):
                total += np.int64(abs(row[j] - above[j]) * np.float32(100) / np.float32(255))
        row, above = above, row
    quality: int = min(total // 90, 100)
    return quality


@njit(nogil=True, cache=True)
def lower_median(values: Floats) -> np.float32:
    """The 128th smallest of 256 values: Hoare's selection, on a copy."""
    work = values.copy().reshape(SIDE * SIDE)
    wanted = work.size // 2 - 1
    low, high = 0, work.size - 1
    while low < high:
        pivot = work[wanted]
        i, j = low, high
        while i <= j:
            while work[i] < pivot:
                i += 1
            while pivot < work[j]:
                j -= 1
            if i <= j:
                work[i], work[j] = work[j], work[i]
                i += 1
                j -= 1
        if j < wanted:
            low = i
        if wanted < i:
            high = j
    median: np.float32 = work[wanted]
    return median


@njit(nogil=True, cache=True)
def pack(values: Floats, out: NDArray[np.uint8], transposed: NDArray[np.uint8]) -> None:
    """The hash of coefficients and that of their transpose, 32 bytes each.

    Bit 16 i + j, counted from the end of the value, tells that coefficient (i, j) is above the
    median.
    """
    median = lower_median(values)
    out[:] = 0
    transposed[:] = 0
    for i in range(SIDE):
        for j in range(SIDE):
            if values[i, j] > median:
                out[31 - (2 * i + (j >> 3))] |= np.uint8(1 << (j & 7))
                transposed[31 - (2 * j + (i >> 3))] |= np.uint8(1 << (i & 7))


@njit(nogil=True, cache=True)
def hashes(
    luma: NDArray[np.uint8], down: tuple[Firsts, Floats], across: tuple[Firsts, Floats]
) -> tuple[NDArray[np.uint8], int]:
    """The eight hashes of a picture, (8, 32), in the order of `pdq.VARIANTS`, and its quality.

    `down` and `across` are the `taps` of its height and width. The flipped hashes are those that
    PDQ gives the flipped picture, sampling points included, not the sign changes of one set of
    coefficients: at small sizes that differs by several bits.
    """
    width = luma.shape[1]
    rows = np.empty((2, GRID, width), np.float32)
    columns = np.empty((width, 2 * SIDE), np.float32)
    for flipped in range(2):
        samples_down(luma, down[0][flipped], down[1][flipped], rows[flipped])
        transform_down(rows[flipped], columns[:, flipped * SIDE : (flipped + 1) * SIDE])
    out = np.empty((8, 32), np.uint8)
    for mirrored in range(2):
        # These come transposed: their first index runs along the width.
        values = transform_across(columns, across[0][mirrored], across[1][mirrored])
        for flipped in range(2):
            place = 2 * flipped + mirrored
            pack(values[:, flipped * SIDE : (flipped + 1) * SIDE], out[4 + place], out[place])
    return out, gradient_quality(rows[0], across[0][0], across[1][0])
