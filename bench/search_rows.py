"""Rows for `bench/search.py`: even ones, and ones as uneven as PDQ hashes of photographs.

Ten million photographs are not at hand, so the uneven rows come from a model: PDQ's 16 x 16 cosine
coefficients of many random crops of photographs are measured, and rows are drawn from a mixture of
normal distributions centred on the crops (mirrored at random), with the crops' own covariance,
then thresholded at their median as PDQ does, so that exactly 128 bits are set. `sampler` says how
crowded 16-bit chunks are in the drawn rows and in the crops' own hashes, where pairs from the same
picture are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
DCT = np.sqrt(2 / SIDE) * np.cos(
    np.pi / (2 * SIDE) * np.arange(1, 17)[:, None] * (2 * np.arange(SIDE)[None] + 1)
)
"""PDQ's transform: 16 frequencies, the constant one left out."""


def coefficients(luma: NDArray[np.floating]) -> NDArray[np.floating]:
    """(n, 64, 64) luma to (n, 256) coefficients."""
    return (DCT @ luma @ DCT.T).reshape(len(luma), 256)


def hashes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(n, 256) coefficients to rows: a bit is set where its coefficient is above the median."""
    median = np.partition(values, 127, axis=1)[:, 127:128]
    return np.packbits(values > median, axis=1, bitorder="little")


def photographs(folder: Path | None) -> tuple[list[Image.Image], str]:
    """Pictures to crop, and what they are, for people."""
    if folder is not None:
        paths = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"}
        )
        return [Image.open(p).convert("L") for p in paths], f"{len(paths)} photographs"
    try:
        from skimage import data
    except ImportError:
        return _noise(), "120 pictures of generated 1/f noise"
    names = ["astronaut", "camera", "cat", "chelsea", "coffee", "rocket", "moon", "brick", "grass",
             "gravel", "hubble_deep_field", "immunohistochemistry", "page", "retina"]  # fmt: skip
    held = []
    for name in names:
        try:
            held.append(Image.fromarray(getattr(data, name)()).convert("L"))
        except (AttributeError, ModuleNotFoundError, OSError):
            continue  # not shipped with this version, only downloadable
    return held, f"{len(held)} pictures shipped with scikit-image"


def _noise() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pictures = []
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None])
    frequency[0, 0] = 1
    for _ in range(120):
        spectrum = np.fft.fft2(rng.standard_normal((512, 512))) / frequency ** rng.uniform(1, 1.6)
        spectrum[0, 0] = 0
        field = np.fft.ifft2(spectrum).real
        grey = np.clip(128 + 50 * field / field.std(), 0, 255).astype(np.uint8)
        pictures.append(Image.fromarray(grey))
    return pictures


def crops(pictures: list[Image.Image], each: int, seed: int) -> NDArray[np.float64]:
    """(pictures, each, 256) coefficients of random crops, half of them mirrored."""
    rng = np.random.default_rng(seed)
    out = np.empty((len(pictures), each, 256))
    for p, picture in enumerate(pictures):
        width, height = picture.size
        luma = np.empty((each, SIDE, SIDE))
        for i in range(each):
            w, h = (rng.uniform(0.25, 1.0, 2) * (width, height)).astype(int)
            x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            box = (int(x), int(y), int(x + w), int(y + h))
            small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, box=box), float)
            luma[i] = small[:, ::-1] if rng.random() < 0.5 else small
        luma += rng.normal(0, 0.3, luma.shape)  # grain, so that a flat crop has a hash at all
        out[p] = coefficients(luma)
    return out


BLEND = 0.4
"""Share of the noise in a drawn row's amplitude: 0 repeats the crops, 1 forgets them."""


def sampler(folder: Path | None) -> tuple[Callable[[int, int], NDArray[np.uint8]], str]:
    """A function of (n, seed) that draws rows, and how like the crops' own hashes they are."""
    pictures, what = photographs(folder)
    measured = crops(pictures, 150, 0)
    own = hashes(measured.reshape(-1, 256))
    values = measured.reshape(-1, 256)
    values = (values / np.sqrt((values**2).mean(axis=1, keepdims=True))).astype(np.float32)
    variance, vectors = np.linalg.eigh(np.cov(values.T))
    root = (vectors * np.sqrt(np.maximum(variance, 0))).T.astype(np.float32)
    row, column = np.divmod(np.arange(256), 16)

    def draw(n: int, seed: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        out = np.empty((n, 32), np.uint8)
        for first in range(0, n, 20_000):
            count = min(20_000, n - first)
            mixed = values[rng.integers(0, len(values), count)] * np.sqrt(1 - BLEND**2)
            mixed += BLEND * (rng.standard_normal((count, 256), dtype=np.float32) @ root)
            # Mirror images: odd frequencies change sign.
            mixed *= np.where(rng.integers(0, 2, (count, 1)) & (column % 2 == 0), -1, 1)
            mixed *= np.where(rng.integers(0, 2, (count, 1)) & (row % 2 == 0), -1, 1)
            out[first : first + count] = hashes(mixed)
        return out

    groups = np.repeat(np.arange(len(pictures)), 150)
    said = (
        f"photo rows: drawn round {len(values):,} crops of {what}; pairs sharing a 16-bit chunk, "
        f"against even rows: crops of different pictures {crowding(own, groups).mean():.2f}, "
        f"drawn rows {crowding(draw(200_000, 0)).mean():.2f}"
    )
    return draw, said


def crowding(
    rows: NDArray[np.uint8], groups: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """For each 16-bit chunk, how many times more pairs share a key than in even rows.

    With groups, pairs of one group are left out.
    """
    keys = np.ascontiguousarray(rows).view("<u2")
    n = len(rows)
    out = np.empty(keys.shape[1])
    for c in range(keys.shape[1]):
        counts = np.bincount(keys[:, c], minlength=65536).astype(float)
        pairs, possible = (counts**2).sum() - n, n * (n - 1.0)
        if groups is not None:
            for g in range(int(groups.max()) + 1):
                own = np.unique(keys[groups == g, c], return_counts=True)[1].astype(float)
                size = own.sum()
                pairs -= (own**2).sum() - size
                possible -= size * (size - 1)
        out[c] = pairs / possible * 65536
    return out
