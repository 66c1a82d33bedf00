"""Loops over maps of text: connected spots, their sums and their extents."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def spots(marked: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the 8-connected spots of a mask (height, width), from 0 in reading order of their
    first pixels; -1 is outside. Also how many there are."""
    height, width = marked.shape
    labels = np.full((height, width), -1, np.int32)
    stack = np.empty(height * width, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            if not marked[y, x] or labels[y, x] >= 0:
                continue
            labels[y, x] = count
            stack[0] = y * width + x
            depth = 1
            while depth > 0:
                depth -= 1
                row, column = stack[depth] // width, stack[depth] % width
                for ny in range(max(0, row - 1), min(height, row + 2)):
                    for nx in range(max(0, column - 1), min(width, column + 2)):
                        if marked[ny, nx] and labels[ny, nx] < 0:
                            labels[ny, nx] = count
                            stack[depth] = ny * width + nx
                            depth += 1
            count += 1
    return labels, count


@njit(nogil=True, cache=True)
def moments(
    labels: NDArray[np.int32], chances: NDArray[np.float32], count: int
) -> NDArray[np.float64]:
    """Of each spot: pixels, and the sums of x, y, x², y², xy and of the likelihoods, (count, 7)."""
    sums = np.zeros((count, 7))
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            spot = labels[y, x]
            if spot >= 0:
                sums[spot, 0] += 1
                sums[spot, 1] += x
                sums[spot, 2] += y
                sums[spot, 3] += x * x
                sums[spot, 4] += y * y
                sums[spot, 5] += x * y
                sums[spot, 6] += chances[y, x]
    return sums


@njit(nogil=True, cache=True)
def extents(labels: NDArray[np.int32], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each spot: least and most of its pixels along its angle and across it, (count, 4)."""
    found = np.empty((len(angles), 4))
    found[:, 0::2] = np.inf
    found[:, 1::2] = -np.inf
    cosines, sines = np.cos(angles), np.sin(angles)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            spot = labels[y, x]
            if spot >= 0:
                along = x * cosines[spot] + y * sines[spot]
                across = y * cosines[spot] - x * sines[spot]
                found[spot, 0] = min(found[spot, 0], along)
                found[spot, 1] = max(found[spot, 1], along)
                found[spot, 2] = min(found[spot, 2], across)
                found[spot, 3] = max(found[spot, 3], across)
    return found
