"""Which frames of an animation are kept: bounded, and never blind to one that differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.media.types import Frame

BACKGROUNDS = 3
"""On which a frame may be seen, at most."""
_SIDE = 16
_STEP = 4
"""Mean difference of thumbnails, in levels, that counts as one step of novelty."""


@dataclass(slots=True)
class _Kept:
    index: int
    thumb: NDArray[np.int16]
    make: Callable[[], tuple[Frame, ...]] | None
    frames: tuple[Frame, ...] = ()

    def made(self) -> tuple[Frame, ...]:
        if self.make is not None:
            self.frames, self.make = self.make(), None
        return self.frames


class Sampler:
    """Keeps at most `bound` frames of a stream: the first, the last, and the most distinct.

    Every frame is looked at. When there is one too many, the inner frame that is nearest to
    another kept one goes; among equally near ones the one whose neighbours in time are closest.
    So an animation that moves little gives an even spread, and a single frame that differs from
    all the others is kept wherever it stands.
    """

    def __init__(self, bound: int) -> None:
        self.bound = max(1, bound)
        self._kept: list[_Kept] = []

    def add(self, frames: tuple[Frame, ...]) -> None:
        """Offer the next frame (on each of its backgrounds)."""
        thumb = np.concatenate([_thumb(frame.luma) for frame in frames])
        # As many for each, however many backgrounds it has.
        thumb = np.resize(thumb, BACKGROUNDS * _SIDE * _SIDE)
        self._add(_Kept(frames[0].index, thumb, None, frames))

    def offer(
        self, index: int, luma: NDArray[np.uint8], make: Callable[[], tuple[Frame, ...]]
    ) -> None:
        """Offer the next frame, of which `luma` is a small copy; `make` gives it if it is kept.

        It is called at the next offer or at the end: whatever it holds is held until then.
        """
        self._add(_Kept(index, np.tile(_thumb(luma), BACKGROUNDS), make))

    def _add(self, kept: _Kept) -> None:
        self._kept.append(kept)
        if len(self._kept) > self.bound:
            del self._kept[self._victim()]
        for inner in self._kept[:-1]:
            inner.made()

    def _victim(self) -> int:
        if self.bound == 1:
            return 1
        thumbs = np.stack([kept.thumb for kept in self._kept])
        apart = np.abs(thumbs[:, None] - thumbs[None]).mean(axis=2)
        np.fill_diagonal(apart, np.inf)
        steps = np.floor(apart.min(axis=1) / _STEP)
        at = [kept.index for kept in self._kept]
        inner = range(1, len(at) - 1)
        return min(inner, key=lambda n: (steps[n], at[n + 1] - at[n - 1], n))

    def frames(self) -> tuple[Frame, ...]:
        return tuple(frame for kept in self._kept for frame in kept.made())

    @property
    def nbytes(self) -> int:
        """Memory of the kept frames, bytes."""
        return sum(frame.luma.nbytes for kept in self._kept for frame in kept.frames)


def _thumb(luma: NDArray[np.uint8]) -> NDArray[np.int16]:
    small = Image.fromarray(luma).resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small, np.int16).ravel()
