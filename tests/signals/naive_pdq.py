"""PDQ as its paper describes it, step by step and slowly, in double precision; and pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def box(values: Array, window: int) -> Array:
    """The mean of each value and its neighbours along the first axis, fewer at the ends."""
    out = np.empty_like(values)
    for i in range(len(values)):
        low, high = i - (window - 1) // 2, i + window // 2 + 1
        out[i] = values[max(low, 0) : high].mean(axis=0)
    return out


def samples(luma: Array) -> Array:
    """The picture blurred by two passes of a box filter and sampled at 64 × 64 points."""
    for _ in range(2):
        for _ in range(2):
            luma = box(luma, (len(luma) + 127) // 128).T
    points = [((np.arange(64) + 0.5) * side / 64).astype(int) for side in luma.shape]
    return luma[np.ix_(*points)]


def quality(grid: Array) -> int:
    total = 0
    for axis in (0, 1):
        total += int(np.abs(np.trunc(np.diff(grid, axis=axis) * 100 / 255)).sum())
    return min(total // 90, 100)


def coefficients(grid: Array) -> Array:
    k, x = np.arange(1, 17)[:, None], np.arange(64)[None, :]
    basis = np.sqrt(2 / 64) * np.cos(np.pi / 128 * k * (2 * x + 1))
    return basis @ grid @ basis.T


def pdq(luma: NDArray[np.uint8] | Array) -> tuple[bytes, int]:
    """Hash and quality of a full-size grey picture."""
    grid = samples(luma.astype(np.float64))
    values = coefficients(grid)
    above = (values > np.sort(values, axis=None)[127]).ravel()
    number = sum(1 << k for k in range(256) if above[k])
    return number.to_bytes(32, "big"), quality(grid)


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def picture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A grey picture with the statistics of a photograph: detail falls with frequency, and
    things with edges stand before it."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    noise = np.fft.rfft2(random.standard_normal((height, width)))
    scene = np.fft.irfft2(noise / np.maximum(np.hypot(x, y), 1 / 512) ** 1.4, (height, width))
    scene = 128 + 48 * (scene - scene.mean()) / scene.std()
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(6):
        cx, cy = random.uniform(0, width), random.uniform(0, height)
        rx, ry = random.uniform(0.03, 0.2, 2) * (width, height)
        inside = ((columns - cx) / rx) ** 2 + ((rows - cy) / ry) ** 2 < 1
        scene[inside] = scene[inside] * 0.4 + random.uniform(0, 150)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)
