"""The distinct instants of a film, hashed as its frames go by.

A frame joins a track when it differs enough from the one that joined before. So the track is
dense where the picture changes and sparse where it rests, and each frame of the film is near one
of the track, wherever a copy of it begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tutela.media import film_kernels
from tutela.media.types import Moment
from tutela.signals import pdq_kernels
from tutela.signals.pdq import axes

FAR = 20
"""Bits from the last instant at which a frame joins the track at once. A frame of a copy is nearer
than that to one of the track, and the rest of PDQ's radius is left to what copying does."""
NEAR = 6
"""Bits from which on it joins after a second."""
SECOND = 1.0
FLAT = 50
"""PDQ's least quality: below it a hash is mostly noise, and frames join once a second."""
CELLS = 192
"""Cells along the shorter side of what is hashed, at least, and less than twice that: as many as
`Pdq.detail` asks for."""
MOST = 4096
"""Instants of a track. Beyond, the distance at which frames join grows."""

_SAMPLES = 64
"""Frames looked at for a surround before what is inside is hashed …"""
_WAITING = 16 << 20
"""… unless they take so many bytes."""
_APART = 0.25
"""Seconds between them."""
_UNIFORM = 28
"""Levels within which all of a border stays, all the time."""
_MOVE = 10
"""Levels by which a pixel changes from one sample to the next that moves."""
_LEAST = 0.03
"""Share of the picture that a window covers at least, and below which nothing moved."""


@dataclass(slots=True)
class Line:
    """One track being made."""

    most: int = MOST
    moments: list[Moment] = field(default_factory=list)
    _far: int = FAR
    _last: Moment | None = None

    def see(self, luma: NDArray[np.uint8], height: int, width: int, at: float) -> bool:
        """Hash the picture of `height` × `width` pixels that `luma` is; True if it joins."""
        down, across = axes(height, width, *luma.shape)
        values, quality = pdq_kernels.hashes(luma, down, across)
        moment = Moment(at, values[0].tobytes(), quality, values[1].tobytes())
        self._last = moment
        if not self._joins(moment):
            return False
        self.moments.append(moment)
        if len(self.moments) > self.most:
            self._thin()
        return True

    def _joins(self, moment: Moment) -> bool:
        if not self.moments:
            return True
        held = self.moments[-1]
        apart = distance(moment.pdq, held.pdq)
        if apart >= NEAR and moment.at - held.at >= SECOND:
            return True
        return apart >= self._far and max(moment.quality, held.quality) >= FLAT

    def _thin(self) -> None:
        """Make room: ask for more distance, of those that have joined as well."""
        while len(self.moments) > self.most * 3 // 4:
            self._far += 4
            thinned = self.moments[:1]
            for moment in self.moments[1:]:
                if distance(moment.pdq, thinned[-1].pdq) >= self._far:
                    thinned.append(moment)
            self.moments = thinned

    def track(self) -> tuple[Moment, ...]:
        """The instants; the last frame is among them, so that the end of the film is."""
        if self._last is not None and self._last.at - self.moments[-1].at >= SECOND:
            return (*self.moments, self._last)
        return tuple(self.moments)


Box = tuple[int, int, int, int]
"""Top, bottom, left, right, in cells of the reduced picture; the ends are beyond."""


class Surround:
    """Finds what is inside uniform borders, and what moves inside a still picture."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._low = np.full(shape, 255, np.uint8)
        self._high = np.zeros(shape, np.uint8)
        self._moves = np.zeros(shape, np.uint16)
        self._before: NDArray[np.uint8] | None = None
        self._steps = 0

    def see(self, luma: NDArray[np.uint8]) -> None:
        np.minimum(self._low, luma, out=self._low)
        np.maximum(self._high, luma, out=self._high)
        if self._before is not None:
            moved = film_kernels.differ(self._before, luma, _MOVE, self._moves)
            self._steps += moved >= _LEAST * luma.size
        self._before = luma

    def cropped(self) -> Box | None:
        """The picture without uniform borders, if there are any."""
        rows = self._low.min(axis=1), self._high.max(axis=1)
        columns = self._low.min(axis=0), self._high.max(axis=0)
        top, bottom = _inside(rows[1].astype(int) - rows[0] > _UNIFORM)
        left, right = _inside(columns[1].astype(int) - columns[0] > _UNIFORM)
        return self._worth((top, bottom, left, right))

    def window(self) -> Box | None:
        """The rectangle that moves, if it is not the whole picture."""
        if self._steps < 2:
            return None
        active = self._moves >= max(2, self._steps // 10)
        height, width = active.shape
        top, bottom, left, right = 0, height, 0, width
        for share in (0.15, 0.3, 0.3):
            top, bottom = _longest(active[:, left:right].mean(axis=1) >= share)
            if top == bottom:
                return None
            left, right = _longest(active[top:bottom].mean(axis=0) >= share)
            if left == right:
                return None
        return self._worth((top, bottom, left, right))

    def _worth(self, box: Box) -> Box | None:
        height, width = self._low.shape
        down, across = box[1] - box[0], box[3] - box[2]
        if down * across < _LEAST * height * width or min(down, across) < 24:
            return None
        # A row or two are what a decoder's filter or a codec's rounding does at an edge.
        if down >= 0.98 * height and across >= 0.98 * width:
            return None
        return box


def _inside(busy: NDArray[np.bool_]) -> tuple[int, int]:
    """From the first to beyond the last that is set."""
    places = np.flatnonzero(busy)
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)


def _longest(busy: NDArray[np.bool_]) -> tuple[int, int]:
    """The longest run of what is set, gaps of a twentieth of the side allowed."""
    places = np.flatnonzero(busy)
    if not places.size:
        return 0, 0
    breaks = np.flatnonzero(np.diff(places) > max(2, busy.size // 20))
    starts = places[np.concatenate([[0], breaks + 1])]
    ends = places[np.concatenate([breaks, [places.size - 1]])] + 1
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best])


class Track:
    """The tracks of a film: of the whole picture, and of what is inside a surround."""

    def __init__(self) -> None:
        self._whole = Line()
        self._insets: dict[str, Line] = {}
        self._boxes: dict[str, Box] = {}
        self._surround: Surround | None = None
        self._shape = (0, 0)
        self._waiting: list[tuple[float, NDArray[np.uint8]]] = []
        self._seen = 0
        self._settled = False
        self._next = 0.0

    def see(self, luma: NDArray[np.uint8], height: int, width: int, at: float) -> bool:
        """Take in a picture of `height` × `width` pixels, of which `luma` may be a reduced copy.

        True if it is a new instant.
        """
        factor = min(luma.shape) // CELLS
        if factor > 1:
            whole, luma = luma, np.empty((luma.shape[0] // factor, luma.shape[1] // factor), "u1")
            height = height * luma.shape[0] * factor // whole.shape[0]
            width = width * luma.shape[1] * factor // whole.shape[1]
            film_kernels.shrink(whole, factor, 0.0, 1.0, luma)
        joined = self._whole.see(luma, height, width, at)
        if self._surround is None or luma.shape != self._shape:
            # A film may change its size; what was found of its surround then holds no more.
            self._settle()
            self._surround, self._shape = Surround(luma.shape), luma.shape
            self._boxes, self._seen, self._next, self._settled = {}, 0, at, False
        if at >= self._next:
            self._next = at + _APART
            self._surround.see(luma)
            self._seen += 1
            if not self._settled:
                self._waiting.append((at, luma))
            if self._seen % _SAMPLES == 0 or len(self._waiting) * luma.nbytes > _WAITING:
                self._settle()
                self._settled = True
                return joined
        if self._settled:
            self._inset(luma, at)
        return joined

    def _settle(self) -> None:
        """Look where the surround ends, and hash what waited for that."""
        if self._surround is None:
            return
        found = {"cropped": self._surround.cropped(), "window": self._surround.window()}
        if found["window"] == found["cropped"]:
            found["window"] = None
        self._boxes = {name: box for name, box in found.items() if box is not None}
        for at, luma in self._waiting:
            self._inset(luma, at)
        self._waiting.clear()

    def _inset(self, luma: NDArray[np.uint8], at: float) -> None:
        for name, (top, bottom, left, right) in self._boxes.items():
            inner = np.ascontiguousarray(luma[top:bottom, left:right])
            self._insets.setdefault(name, Line()).see(inner, bottom - top, right - left, at)

    def whole(self) -> tuple[Moment, ...]:
        return self._whole.track() if self._whole.moments else ()

    def insets(self) -> dict[str, tuple[Moment, ...]]:
        """The tracks of what is inside a surround. Called once, at the end."""
        if self._waiting:
            self._settle()
        return {name: line.track() for name, line in self._insets.items()}


def distance(a: bytes, b: bytes) -> int:
    """Bits in which two hashes differ."""
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()
