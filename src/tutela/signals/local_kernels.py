"""The compiled loops of local fingerprints: scale space, keypoints, descriptors.

Each has a naive twin in the tests. Arithmetic is single precision; plain JavaScript gives the same
bits but for the few that lie at rounding of a sign.
"""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import math

import numba as nb
import numpy as np
from numba import types

SCALES = 3
"""Scales an octave at which keypoints are looked for."""
SIGMA = 1.6
"""Blur of an octave's first level, pixels of that octave."""
NATIVE_BLUR = 0.6
"""Blur that a reduced picture is taken to have."""
SMALLEST = 20
"""Shorter side of the last octave, pixels."""
MARGIN = 5
"""Pixels of each octave's edge where no keypoint is looked for."""

CELLS = 6
"""Cells a side over which a patch's gradients are gathered."""
BINS = 8
"""Directions of a gradient."""
SAMPLES = 24
"""Samples a side of a patch."""

_PLANE = types.Array(types.float32, 2, "C", readonly=True)
_ROW = types.Array(types.float32, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_PLACES = types.Array(types.float32, 2, "C", readonly=True)
_QUARTER = np.float32(0.3479)


def taps(sigma: float) -> np.ndarray:
    """One side of a Gaussian, its middle first, with zeros up to a multiple of four after it."""
    reach = max(1, math.ceil(3.0 * sigma))
    side = np.exp(-(np.arange(reach + 1) ** 2) / (2 * sigma * sigma))
    side /= side[0] + 2 * side[1:].sum()
    padded = np.zeros(1 + 4 * -(-reach // 4), np.float32)
    padded[: reach + 1] = side
    return padded


def increments() -> list[np.ndarray]:
    """Taps that make each level of an octave of the one before; the first, of the picture."""
    step = 2 ** (1 / SCALES)
    blurs = [math.sqrt(SIGMA**2 - NATIVE_BLUR**2)]
    blurs += [SIGMA * step ** (i - 1) * math.sqrt(step**2 - 1) for i in range(1, SCALES + 3)]
    return [taps(sigma) for sigma in blurs]


@nb.njit(
    types.void(_PLANE, _ROW, types.float32[:, ::1], types.float32[:, ::1]),
    nogil=True, cache=True, fastmath={"contract"},
)  # fmt: skip
def blur(source, side, between, out):
    """Convolve with a symmetric kernel along both axes; beyond the edge the edge goes on.

    `side` is its middle and one side (`taps`), `between` scratch of the picture's shape.
    """
    height, width = source.shape
    reach = side.shape[0] - 1
    for y in range(height):
        middle = source[y]
        target = between[y]
        weight = side[0]
        for x in range(width):
            target[x] = middle[x] * weight
        for k in range(1, reach + 1, 4):
            a0, b0 = source[max(y - k, 0)], source[min(y + k, height - 1)]
            a1, b1 = source[max(y - k - 1, 0)], source[min(y + k + 1, height - 1)]
            a2, b2 = source[max(y - k - 2, 0)], source[min(y + k + 2, height - 1)]
            a3, b3 = source[max(y - k - 3, 0)], source[min(y + k + 3, height - 1)]
            w0, w1, w2, w3 = side[k], side[k + 1], side[k + 2], side[k + 3]
            for x in range(width):
                target[x] += (
                    (a0[x] + b0[x]) * w0
                    + (a1[x] + b1[x]) * w1
                    + (a2[x] + b2[x]) * w2
                    + (a3[x] + b3[x]) * w3
                )
    line = np.empty(width + 2 * reach, np.float32)
    for y in range(height):
        middle = between[y]
        target = out[y]
        for x in range(reach):
            line[x] = middle[0]
            line[reach + width + x] = middle[width - 1]
        for x in range(width):
            line[reach + x] = middle[x]
        weight = side[0]
        for x in range(width):
            target[x] = middle[x] * weight
        for k in range(1, reach + 1, 4):
            w0, w1, w2, w3 = side[k], side[k + 1], side[k + 2], side[k + 3]
            left = line[reach - k - 3 :]
            right = line[reach + k :]
            for x in range(width):
                target[x] += (
                    (left[x + 3] + right[x]) * w0
                    + (left[x + 2] + right[x + 1]) * w1
                    + (left[x + 1] + right[x + 2]) * w2
                    + (left[x] + right[x + 3]) * w3
                )


@nb.njit(types.float32(types.float32, types.float32, types.float32), nogil=True, cache=True)
def _vertex(before, after, curvature):
    if curvature == 0:
        return np.float32(0)
    at = np.float32(0.5) * (before - after) / curvature
    return min(max(at, np.float32(-0.6)), np.float32(0.6))


@nb.njit(
    types.int64(
        _PLANE, _PLANE, _PLANE, types.float32, types.float32, types.float32[:, ::1], types.int64
    ),
    nogil=True,
    cache=True,
)
def extrema(a, b, c, least, edge, found, count):
    """Append the extrema of the middle one of three neighbouring differences of Gaussians.

    `found` takes x, y, offset in scale (levels) and contrast; returns how many it now holds. An
    extremum is `least` or more, no less than its 26 neighbours, and no ridge: the ratio of its
    principal curvatures is below `edge` (Lowe, IJCV 2004). It stops when `found` is full.
    """
    height, width = b.shape
    bound = (edge + 1) * (edge + 1) / edge
    highest = np.empty(width, np.float32)
    lowest = np.empty(width, np.float32)
    for y in range(MARGIN, height - MARGIN):
        a0, a1, a2 = a[y - 1], a[y], a[y + 1]
        b0, b1, b2 = b[y - 1], b[y], b[y + 1]
        c0, c1, c2 = c[y - 1], c[y], c[y + 1]
        for x in range(width):
            high = max(max(max(a0[x], a1[x]), max(a2[x], b0[x])), max(b1[x], b2[x]))
            highest[x] = max(high, max(max(c0[x], c1[x]), c2[x]))
            low = min(min(min(a0[x], a1[x]), min(a2[x], b0[x])), min(b1[x], b2[x]))
            lowest[x] = min(low, min(min(c0[x], c1[x]), c2[x]))
        for x in range(MARGIN, width - MARGIN):
            value = b1[x]
            if value >= least:
                if value < highest[x] or value < highest[x - 1] or value < highest[x + 1]:
                    continue
            elif value <= -least:
                if value > lowest[x] or value > lowest[x - 1] or value > lowest[x + 1]:
                    continue
            else:
                continue
            xx = b1[x - 1] + b1[x + 1] - 2 * value
            yy = b0[x] + b2[x] - 2 * value
            ss = a1[x] + c1[x] - 2 * value
            xy = np.float32(0.25) * (b2[x + 1] - b2[x - 1] - b0[x + 1] + b0[x - 1])
            determinant = xx * yy - xy * xy
            # Also where the curvatures differ in sign: then the determinant is below zero.
            if (xx + yy) * (xx + yy) >= bound * determinant:
                continue
            if count == found.shape[0]:
                return count
            # The vertex of a parabola through three neighbours, along each axis alone.
            found[count, 0] = x + _vertex(b1[x - 1], b1[x + 1], xx)
            found[count, 1] = y + _vertex(b0[x], b2[x], yy)
            found[count, 2] = _vertex(a1[x], c1[x], ss)
            found[count, 3] = abs(value)
            count += 1
    return count


@nb.njit(
    types.void(
        _PLANE, _PLACES, types.float32, _ROW, _NUMBERS, _ROW, _PLANE, _PLANE, _NUMBERS,
        types.uint8[:, ::1],
    ),
    nogil=True, cache=True, fastmath={"contract"},
)  # fmt: skip
def describe(level, places, width, weight, cell, share, cosines, harmonics, kept, out):
    """The 256 bits of each upright patch of one level of the scale space.

    `places` (n, 3) is x, y and scale in pixels of the level; a patch is `width` scales wide. The
    gradients of its SAMPLES² samples, weighted by `weight` (a side's window), are shared between
    the 2 × 2 nearest cells (`cell`, `share`) and two nearest directions, as in SIFT; the fourth
    root of each sum goes through a cosine transform over cells and a Fourier transform over
    directions; bit i is the sign of coefficient `kept[i]`, least significant bit first.
    """
    height, across = level.shape
    gathered = np.empty((CELLS + 2, CELLS + 2, BINS), np.float32)
    sample = np.empty((SAMPLES + 2, SAMPLES + 2), np.float32)
    column = np.empty(SAMPLES + 2, np.int64)
    beside = np.empty(SAMPLES + 2, np.float32)
    first = np.empty((CELLS, CELLS, BINS), np.float32)
    second = np.empty((CELLS, CELLS, BINS), np.float32)
    coefficient = np.empty(CELLS * CELLS * BINS, np.float32)
    half = np.float32(0.5 * (SAMPLES + 1))
    for n in range(places.shape[0]):
        spacing = places[n, 2] * width / np.float32(SAMPLES)
        for i in range(SAMPLES + 2):
            at = places[n, 0] + (i - half) * spacing
            at = min(max(at, np.float32(0)), np.float32(across - 1.001))
            column[i] = np.int64(at)
            beside[i] = at - np.float32(column[i])
        for j in range(SAMPLES + 2):
            at = places[n, 1] + (j - half) * spacing
            at = min(max(at, np.float32(0)), np.float32(height - 1.001))
            row = np.int64(at)
            below = at - np.float32(row)
            upper, lower = level[row], level[row + 1]
            for i in range(SAMPLES + 2):
                x, f = column[i], beside[i]
                p = upper[x] + (upper[x + 1] - upper[x]) * f
                q = lower[x] + (lower[x + 1] - lower[x]) * f
                sample[j, i] = p + (q - p) * below
        gathered[:] = np.float32(0)
        for j in range(SAMPLES):
            for i in range(SAMPLES):
                gx = sample[j + 1, i + 2] - sample[j + 1, i]
                gy = sample[j + 2, i + 1] - sample[j, i + 1]
                strength = math.sqrt(gx * gx + gy * gy)
                if strength == 0:
                    continue
                strength *= weight[j] * weight[i]
                ax, ay = abs(gx), abs(gy)
                # The angle in eighths of a turn: a parabola is within a quarter degree of it.
                if ax >= ay:
                    ratio = ay / ax
                    angle = ratio * (1 + _QUARTER - _QUARTER * ratio)
                else:
                    ratio = ax / ay
                    angle = 2 - ratio * (1 + _QUARTER - _QUARTER * ratio)
                if gx < 0:
                    angle = 4 - angle
                if gy < 0:
                    angle = 8 - angle
                bin_ = np.int64(angle)
                f = np.float32(angle - bin_)
                here, next_ = bin_ & 7, (bin_ + 1) & 7
                cy, cx = cell[j], cell[i]
                lower_share = strength * share[j]
                upper_share = strength - lower_share
                part = upper_share * (1 - share[i])
                gathered[cy, cx, here] += part * (1 - f)
                gathered[cy, cx, next_] += part * f
                part = upper_share * share[i]
                gathered[cy, cx + 1, here] += part * (1 - f)
                gathered[cy, cx + 1, next_] += part * f
                part = lower_share * (1 - share[i])
                gathered[cy + 1, cx, here] += part * (1 - f)
                gathered[cy + 1, cx, next_] += part * f
                part = lower_share * share[i]
                gathered[cy + 1, cx + 1, here] += part * (1 - f)
                gathered[cy + 1, cx + 1, next_] += part * f
        for i in range(CELLS):
            for j in range(CELLS):
                for k in range(BINS):
                    gathered[i + 1, j + 1, k] = math.sqrt(math.sqrt(gathered[i + 1, j + 1, k]))
        for u in range(CELLS):
            for j in range(CELLS):
                for k in range(BINS):
                    total = np.float32(0)
                    for i in range(CELLS):
                        total += cosines[u, i] * gathered[i + 1, j + 1, k]
                    first[u, j, k] = total
        for u in range(CELLS):
            for v in range(CELLS):
                for k in range(BINS):
                    total = np.float32(0)
                    for j in range(CELLS):
                        total += cosines[v, j] * first[u, j, k]
                    second[u, v, k] = total
        for u in range(CELLS):
            for v in range(CELLS):
                for k in range(BINS):
                    total = np.float32(0)
                    for b in range(BINS):
                        total += harmonics[k, b] * second[u, v, b]
                    coefficient[(u * CELLS + v) * BINS + k] = total
        for byte in range(out.shape[1]):
            value = 0
            for bit in range(8):
                if coefficient[kept[8 * byte + bit]] > 0:
                    value |= 1 << bit
            out[n, byte] = value
