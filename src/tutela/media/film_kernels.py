"""The arithmetic on every frame of a film, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def shrink(
    plane: NDArray[np.uint8], factor: int, black: float, gain: float, out: NDArray[np.uint8]
) -> None:
    """Reduce a luma plane by a whole factor: each cell of `out` is the mean of its pixels.

    `plane` is (≥ rows · factor, ≥ columns · factor) for `out` (rows, columns). `black` is the level
    that means black, and `gain` brings white to 255.
    """
    rows, columns = out.shape
    line = np.empty(columns * factor, np.uint32)
    scale = np.float32(gain / (factor * factor))
    offset = np.float32(0.5 - black * gain)
    for row in range(rows):
        first = plane[row * factor]
        for x in range(line.size):
            line[x] = first[x]
        for k in range(1, factor):
            source = plane[row * factor + k]
            for x in range(line.size):
                line[x] += source[x]
        cells = out[row]
        for column in range(columns):
            total = np.uint32(0)
            for k in range(factor):
                total += line[column * factor + k]
            value = np.float32(total) * scale + offset
            cells[column] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


@njit(nogil=True, cache=True)
def differ(
    before: NDArray[np.uint8], now: NDArray[np.uint8], least: int, moves: NDArray[np.uint16]
) -> int:
    """Add one to `moves` where a pixel differs by more than `least`; gives how many did."""
    count: Any = 0
    for row in range(now.shape[0]):
        old, new, tally = before[row], now[row], moves[row]
        for column in range(now.shape[1]):
            apart = abs(np.int32(new[column]) - np.int32(old[column])) > least
            tally[column] += np.uint16(apart)
            count += apart
    found: int = count
    return found
