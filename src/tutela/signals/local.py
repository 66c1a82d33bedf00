"""Local fingerprints: from an innocent photograph they find its manipulated derivatives.

A photograph keeps hundreds of small patches that have nothing to do with one another, so that those
outside a repainted or covered region, or inside a crop, are found again. Keypoints are extrema of
differences of Gaussians (Lowe, IJCV 2004), spread over the picture; each patch stays upright and is
described by 256 signs of transformed gradient histograms, so that it compares by Hamming distance
and goes into the same multi-index search as every other signal. A derivative is the *same
photograph*: nothing here describes a person (docs/design/local-fingerprints.md).
"""

from __future__ import annotations

import functools
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.errors import InvalidSignal
from tutela.media.types import Frame, Media
from tutela.signals.base import Fingerprint, Hit, Match, Stored, nearest
from tutela.signals.pdq import VARIANTS

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

AREA = 320_000
"""Pixels that a picture is reduced (or enlarged, at most twofold) to."""
LEAST, MOST = 16, 65_535
"""Bounds on a side of the reduced picture, pixels."""
PATCHES = 800
"""Patches of content that is looked up."""
KEPT = 440
"""Patches of a protected photograph that are kept: those that stand out most."""
WIDTH = 13.0
"""Width of a patch, in scales of its keypoint."""
CONTRAST = 0.25
"""Least contrast of a keypoint, in grey levels."""
EDGE = 12.0
"""Largest ratio of a keypoint's principal curvatures."""
SPREAD = 8
"""Cells a side that share out the patches."""
COARSEST = 0.045
"""Largest scale of a keypoint, as a share of the shorter side: coarser ones see mostly edge."""
LEVEL = 1
"""Levels above its keypoint's at which a patch is described: coarser bits survive smoothing."""

HEADER = struct.Struct("<2sHHH")
"""Magic, width and height of the reduced picture, number of patches."""
MAGIC = b"L1"
DESCRIPTOR = 32
"""Bytes of a patch's bits."""
PLACE = 3
"""Bytes of a patch's place: x and y in 256ths of the sides, and its scale."""
OCTAVE = 24.0
"""Steps of the coded scale in an octave."""
FINEST = 11.0
"""Octaves below the longer side at which the coded scale begins."""


@functools.cache
def kernels() -> ModuleType:
    """The compiled loops; loading them (and numba) waits until the first picture."""
    from tutela.signals import local_kernels as loaded

    return loaded


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The patches of one picture, those that stand out most first."""

    width: int
    """Pixels of the reduced picture."""
    height: int
    places: Bytes
    """uint8 (n, 3): x and y in 256ths of the sides, coded scale."""
    descriptors: Bytes
    """uint8 (n, 32)."""

    def __len__(self) -> int:
        return len(self.places)

    def to_bytes(self) -> bytes:
        """The value of a `local` fingerprint."""
        head = HEADER.pack(MAGIC, self.width, self.height, len(self))
        return head + self.places.tobytes() + self.descriptors.tobytes()

    @classmethod
    def from_bytes(cls, value: bytes) -> Features:
        """The patches in a fingerprint's value. Raises `InvalidSignal`."""
        if len(value) >= HEADER.size:
            magic, width, height, count = HEADER.unpack_from(value)
            placed = HEADER.size + PLACE * count
            whole = len(value) == placed + DESCRIPTOR * count
            if magic == MAGIC and whole and width and height and count <= PATCHES:
                places = np.frombuffer(value, np.uint8, PLACE * count, HEADER.size)
                bits = np.frombuffer(value, np.uint8, DESCRIPTOR * count, placed)
                return cls(width, height, places.reshape(-1, PLACE), bits.reshape(-1, DESCRIPTOR))
        raise InvalidSignal("not the value of a local fingerprint")

    def first(self, count: int) -> Features:
        """The `count` patches that stand out most."""
        return Features(self.width, self.height, self.places[:count], self.descriptors[:count])

    def points(self) -> Floats:
        """float32 (n, 3): x, y and scale in pixels of the reduced picture."""
        places = self.places.astype(np.float32)
        scale = np.exp2(places[:, 2] / OCTAVE - FINEST) * max(self.width, self.height)
        x = (places[:, 0] + 0.5) * (self.width / 256)
        y = (places[:, 1] + 0.5) * (self.height / 256)
        return np.stack([x, y, scale], 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Local:
    """Hundreds of 256-bit patches of a photograph, each with its place."""

    name: str = "local"
    version: str = "1"
    radius: None = None
    row_bits: int = 8 * DESCRIPTOR
    min_quality: int = 0
    detail: int = 320

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """One for each frame; none of undecoded content. Quality is patches / 4, to 100."""
        del data
        if media is None:
            return ()
        return tuple(self._frame(media, frame) for frame in media.frames)

    def _frame(self, media: Media, frame: Frame) -> Fingerprint:
        features = extract(frame.luma)
        quality = min(100, len(features) // 4)
        return Fingerprint(self.name, features.to_bytes(), quality, media.part(frame))

    def parse(self, text: str) -> bytes:
        """Hexadecimal digits of a value. Raises `InvalidSignal`."""
        try:
            value = bytes.fromhex(text)
        except ValueError:
            raise InvalidSignal("a local fingerprint is written in hexadecimal digits") from None
        return Features.from_bytes(value).to_bytes()

    def format(self, value: bytes) -> str:
        return value.hex()

    def rows(self, value: bytes) -> Sequence[bytes]:
        """The patches' bits."""
        return [row.tobytes() for row in Features.from_bytes(value).descriptors]

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        """The patches' bits by number, as they are and mirrored."""
        found: dict[str, bytes] = {}
        for variant in ("", "mirrored"):
            rows = turned(Features.from_bytes(fingerprint.value), variant).descriptors
            found |= {f"{i} {variant}".strip(): row.tobytes() for i, row in enumerate(rows)}
        return found

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        """The entries hit at all, nearest patch first; `tutela.signals.derivation` says which."""
        del fingerprint, stored
        return nearest(variants, hits)


def extract(luma: Bytes) -> Features:
    """The patches of a grey picture, uint8 (height, width): up to `PATCHES`.

    A flat picture has few or none.
    """
    picture = _reduced(luma)
    height, width = picture.shape
    points: list[Floats] = []
    levels: list[list[Floats]] = []
    for octave, planes in enumerate(_octaves(picture)):
        levels.append(planes)
        found = np.empty((max(64, planes[0].size // 12), 4), np.float32)
        bands = [after - before for before, after in itertools.pairwise(planes)]
        for level in range(1, kernels().SCALES + 1):
            finer, middle, coarser = bands[level - 1 : level + 2]
            count = kernels().extrema(finer, middle, coarser, CONTRAST, EDGE, found, 0)
            some = found[:count]
            scale = kernels().SIGMA * np.exp2((level + some[:, 2]) / kernels().SCALES)
            where = np.full((count, 2), (octave, level), np.float32)
            points.append(np.column_stack([some[:, :2], scale, some[:, 3], where]))
    every = np.concatenate(points)
    every = every[every[:, 2] * np.exp2(every[:, 4]) <= COARSEST * min(height, width)]
    chosen = every[_chosen(every, height, width)]
    return Features(width, height, _places(chosen, height, width), _described(chosen, levels))


def turned(features: Features, variant: str) -> Features:
    """The patches that the picture would have were it turned so: one of PDQ's `VARIANTS`.

    Exact but for pixels between samples: what turning does to a coefficient is a change of sign or
    of place.
    """
    if not variant:
        return features
    order, flips = _turns()[variant]
    bits = np.unpackbits(features.descriptors, axis=1, bitorder="little")[:, order] ^ flips
    x, y, scale = features.places.T
    across, down = _TURNS[variant](x, y)
    swapped = variant in _SWAPPED
    width, height = features.width, features.height
    return Features(
        height if swapped else width,
        width if swapped else height,
        np.stack([across, down, scale], 1),
        np.packbits(bits, axis=1, bitorder="little"),
    )


def _reduced(luma: Bytes) -> Floats:
    """About `AREA` pixels of a picture, through a triangle filter; never enlarged over twofold."""
    height, width = luma.shape
    factor = min(2.0, math.sqrt(AREA / (height * width)))
    across, down = (min(max(LEAST, round(side * factor)), MOST) for side in (width, height))
    reduced = Image.fromarray(luma).resize((across, down), Image.Resampling.BILINEAR)
    return np.asarray(reduced, np.float32)


def _octaves(picture: Floats) -> list[list[Floats]]:
    """The scale space: for each octave its SCALES + 3 levels."""
    octaves: list[list[Floats]] = []
    first, *sides = _sides()
    base = np.empty_like(picture)
    kernels().blur(picture, first, np.empty_like(picture), base)
    while True:
        planes, between = [base], np.empty_like(base)
        for side in sides:
            planes.append(np.empty_like(base))
            kernels().blur(planes[-2], side, between, planes[-1])
        octaves.append(planes)
        # The level of twice the blur, every other pixel of it: already the next octave's first.
        base = np.ascontiguousarray(planes[kernels().SCALES][::2, ::2])
        if min(base.shape) < kernels().SMALLEST:
            return octaves


def _chosen(points: Floats, height: int, width: int) -> NDArray[np.intp]:
    """Up to `PATCHES` of the points, best first: of every cell its best, then its second best, …

    Points are x, y, scale, contrast, octave, level in pixels of their octave. Contrast counts for
    more at coarser scales, which survive more.
    """
    octave = np.exp2(points[:, 4])
    scale = points[:, 2] * octave
    across = np.minimum((points[:, 0] * octave / width * SPREAD).astype(int), SPREAD - 1)
    down = np.minimum((points[:, 1] * octave / height * SPREAD).astype(int), SPREAD - 1)
    cell = down * SPREAD + across
    merit = points[:, 3] * np.sqrt(scale)
    by_cell = np.lexsort((-merit, cell))
    counts = np.bincount(cell, minlength=SPREAD * SPREAD)
    rank = np.empty(len(points), int)
    rank[by_cell] = np.arange(len(points)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.lexsort((-merit, rank))[:PATCHES]


def _places(points: Floats, height: int, width: int) -> Bytes:
    octave = np.exp2(points[:, 4])
    x = points[:, 0] * octave * (256 / width)
    y = points[:, 1] * octave * (256 / height)
    scale = OCTAVE * (np.log2(points[:, 2] * octave / max(height, width)) + FINEST)
    placed = np.stack([np.floor(x), np.floor(y), np.rint(scale)], 1)
    places: Bytes = np.clip(placed, 0, 255).astype(np.uint8)
    return places


def _described(points: Floats, levels: Sequence[Sequence[Floats]]) -> Bytes:
    out = np.empty((len(points), DESCRIPTOR), np.uint8)
    patch = _patch()
    group = points[:, 4].astype(int) * (kernels().SCALES + 3) + points[:, 5].astype(int) + LEVEL
    for number in np.unique(group):
        octave, level = divmod(int(number), kernels().SCALES + 3)
        here = np.flatnonzero(group == number)
        bits = np.empty((len(here), DESCRIPTOR), np.uint8)
        places = np.ascontiguousarray(points[here, :3])
        kernels().describe(levels[octave][level], places, WIDTH, *patch, bits)
        out[here] = bits
    return out


@functools.cache
def _sides() -> list[Floats]:
    sides: list[Floats] = kernels().increments()
    return sides


@functools.cache
def _patch() -> tuple[Any, ...]:
    """What `describe` needs to know: window, cells, shares, the two transforms, kept bits."""
    samples = (np.arange(kernels().SAMPLES) + 0.5) / kernels().SAMPLES
    window = np.exp(-((2 * samples - 1) ** 2) / (2 * 0.7**2)).astype(np.float32)
    at = samples * kernels().CELLS - 0.5
    cell = np.floor(at).astype(np.int64)
    cells, bins = np.arange(kernels().CELLS), np.arange(kernels().BINS)
    cosines = np.cos(np.pi * cells[:, None] * (2 * cells + 1) / (2 * kernels().CELLS))
    turn = 2 * np.pi * bins / kernels().BINS
    harmonics = [np.cos(k * turn) if even else np.sin(k * turn) for k, even in _HARMONICS]
    return (
        window,
        cell + 1,
        (at - cell).astype(np.float32),
        cosines.astype(np.float32),
        np.array(harmonics, np.float32),
        np.array([_number(*one) for one in _kept()], np.int64),
    )


_HARMONICS = (
    (0, True),
    (1, True),
    (1, False),
    (2, True),
    (2, False),
    (3, True),
    (3, False),
    (4, True),
)
"""Rows of the Fourier transform over directions: harmonic, and whether it is the cosine."""


def _number(u: int, v: int, k: int) -> int:
    cells, bins = kernels().CELLS, kernels().BINS
    return int((u * cells + v) * bins + k)


@functools.cache
def _kept() -> tuple[tuple[int, int, int], ...]:
    """The 256 coefficients (down, across, harmonic) whose signs are kept.

    Left out are those that no turn changes the sign of, so that zero is the fair threshold of all
    others, and a few of the finest. The set is closed under all eight turns.
    """
    last = kernels().CELLS - 1
    out = {(u, v, k) for u in range(0, last, 2) for v in range(0, last, 2) for k in (0, 7)}
    out |= {(last, last, k) for k in range(kernels().BINS)}
    out |= {(last, last - 1, k) for k in (0, 7)} | {(last - 1, last, k) for k in (0, 7)}
    out |= {(last - 1, last - 1, 3), (last - 1, last - 1, 4)}
    every = [
        (u, v, k)
        for u in range(kernels().CELLS)
        for v in range(kernels().CELLS)
        for k in range(kernels().BINS)
    ]
    return tuple(sorted(set(every) - out, key=lambda one: (max(one[:2]), one)))


_SWAPPED = ("transposed", "transversed", "rotated 90", "rotated 270")
"""Turns that make rows of columns."""
_TURNS: Mapping[str, Any] = {
    "mirrored": lambda x, y: (255 - x, y),
    "flipped": lambda x, y: (x, 255 - y),
    "rotated 180": lambda x, y: (255 - x, 255 - y),
    "transposed": lambda x, y: (y, x),
    "rotated 90": lambda x, y: (255 - y, x),
    "rotated 270": lambda x, y: (y, 255 - x),
    "transversed": lambda x, y: (255 - y, 255 - x),
}


@functools.cache
def _turns() -> Mapping[str, tuple[NDArray[np.intp], Bytes]]:
    """For each turn: which bit goes to each place, and which change their value then."""
    kept = _kept()
    where = {one: i for i, one in enumerate(kept)}

    def mirrored(one: tuple[int, int, int]) -> bool:
        _, v, k = one
        return bool(v % 2) ^ (k in (1, 4, 5))

    def flipped(one: tuple[int, int, int]) -> bool:
        u, _, k = one
        return bool(u % 2) ^ (k in (2, 4, 6))

    def transposed(one: tuple[int, int, int]) -> tuple[tuple[int, int, int], bool]:
        u, v, k = one
        return (v, u, {1: 2, 2: 1, 5: 6, 6: 5}.get(k, k)), k in (3, 5, 6)

    turns: dict[str, tuple[NDArray[np.intp], Bytes]] = {}
    for name in VARIANTS[1:]:
        swap = name in _SWAPPED
        left = name in ("mirrored", "rotated 180", "rotated 90", "transversed")
        up = name in ("flipped", "rotated 180", "rotated 270", "transversed")
        order = np.empty(len(kept), np.intp)
        flips = np.empty(len(kept), np.uint8)
        for i, one in enumerate(kept):
            source, flip = transposed(one) if swap else (one, False)
            order[i] = where[source]
            flips[i] = flip ^ (left and mirrored(one)) ^ (up and flipped(one))
        turns[name] = order, flips
    return turns


LOCAL = Local()
