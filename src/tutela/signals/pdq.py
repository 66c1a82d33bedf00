"""PDQ, the perceptual fingerprint of pictures that the field exchanges.

Bit for bit in the form that other PDQ software writes, within the published tolerance: at most
10 bits from the reference implementation where its quality is 80 or more (docs/design/pdq.md
has the measurement).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from tutela.media.types import Frame, Media
from tutela.signals import pdq_kernels as kernels
from tutela.signals.base import Fingerprint, Hit, Match, Stored, nearest
from tutela.signals.digest import hexadecimal

Taps: TypeAlias = tuple[kernels.Firsts, kernels.Floats]

VARIANTS = (
    "",
    "mirrored",
    "flipped",
    "rotated 180",
    "transposed",
    "rotated 270",
    "rotated 90",
    "transversed",
)
"""What can be done to a picture without changing its pixels: turns are clockwise, `mirrored` is
left to right, `flipped` top to bottom, `transposed` along the main diagonal, `transversed` along
the other."""


@dataclass(frozen=True, slots=True)
class Pdq:
    """A 256-bit fingerprint of a picture's coarse structure, compared by Hamming distance."""

    name: str = "pdq"
    version: str = "1"
    radius: int = 31
    row_bits: int = 256
    min_quality: int = 50
    detail: int = 192
    """Three cells a sample: the error of the reduction stays within the tolerance."""

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """A fingerprint for each frame, its eight variants with it; none of undecoded content."""
        del data
        if media is None:
            return ()
        return tuple(self._frame(media, frame) for frame in media.frames)

    def _frame(self, media: Media, frame: Frame) -> Fingerprint:
        height, width = frame.luma.shape
        down, across = axes(media.height, media.width, height, width)
        values, quality = kernels.hashes(np.ascontiguousarray(frame.luma), down, across)
        text = values.tobytes()
        variants = tuple(
            (name, text[32 * i : 32 * i + 32]) for i, name in enumerate(VARIANTS) if name
        )
        return Fingerprint(self.name, text[:32], quality, media.part(frame), variants)

    def parse(self, text: str) -> bytes:
        """64 hexadecimal digits, either case. Raises `InvalidSignal`."""
        return hexadecimal(self.name, text, 32)

    def format(self, value: bytes) -> str:
        return value.hex()

    def rows(self, value: bytes) -> Sequence[bytes]:
        return (value,)

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        """All eight variants: exact where the picture was at hand, else made from the bits.

        The sign of a coefficient tells what flipping does to it, its bit only whether it is above
        the median: variants made from bits alone are off by 4 to 8 bits, rarely by 20.
        """
        if fingerprint.variants:
            return {"": fingerprint.value, **dict(fingerprint.variants)}
        return turned(fingerprint.value)

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        del fingerprint, stored
        return nearest(variants, hits)


def turned(value: bytes) -> dict[str, bytes]:
    """The eight variants of a hash, as near as its bits alone can tell."""
    # Most significant bit first in the value, coefficient (15, 15) first: turned, (0, 0) is.
    bits = np.unpackbits(np.frombuffer(value, np.uint8))[::-1].reshape(16, 16)
    # Basis function k + 1 is odd about the centre for even k: flipping changes its sign.
    odd = (np.arange(16, dtype=np.uint8) + 1) % 2
    planes = [bits, bits ^ odd, bits ^ odd[:, None], bits ^ odd ^ odd[:, None]]
    planes += [plane.T for plane in planes]
    return {
        name: np.packbits(plane.reshape(-1)[::-1]).tobytes()
        for name, plane in zip(VARIANTS, planes, strict=True)
    }


def axes(height: int, width: int, rows: int, columns: int) -> tuple[Taps, Taps]:
    """The two sides of a picture of `height` × `width` pixels that came as `rows` × `columns`."""
    for eighths in range(8, 0, -1):
        # A decoder that reduces by eighths rounds up: the last cell may reach past the edge.
        if (-(-height * eighths // 8), -(-width * eighths // 8)) == (rows, columns):
            return axis(height, rows, 8 / eighths), axis(width, columns, 8 / eighths)
    return axis(height, rows, height / rows), axis(width, columns, width / columns)


@lru_cache(maxsize=512)
def axis(length: int, cells: int, scale: float) -> Taps:
    """One side of `length` pixels that came as `cells` of `scale` pixels each."""
    return kernels.taps(length, cells, scale)


PDQ = Pdq()
