"""What decoding gives: bounded, upright frames, sound, and the facts about the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MiB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what decoding one piece of content may cost. Beyond any of them it is rejected."""

    max_bytes: int = 64 * MiB
    """Size of the encoded content, bytes."""
    max_pixels: int = 100_000_000
    """Declared pixels of one frame, before anything is decoded."""
    max_frames: int = 16
    """Frames of an animation that are fingerprinted: the first, the last, the most distinct."""
    max_seconds: float = 2.0
    """Wall-clock time for one piece of content, seconds."""
    max_memory: int = 256 * MiB
    """Memory that decoding may take beyond the idle worker, bytes."""
    max_film_frames: int = 400_000
    """Frames of a film. Every one is decoded and looked at."""
    max_duration: float = 3600.0
    """Seconds of a film, an animation or a sound."""


FILMS = Limits(
    max_bytes=512 * MiB,
    # A decoder holds up to twenty frames.
    max_pixels=4096 * 2304,
    max_frames=32,
    max_seconds=300.0,
    max_memory=1024 * MiB,
)
"""Bounds of the processes that decode films and sounds alone."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, upright (EXIF orientation applied) and grey.

    `luma` is uint8, (height, width), ITU-R BT.601 weights on sRGB. It may be smaller than the
    content: its shorter side is at least the `detail` asked for, or the content's own.
    """

    index: int
    """Position in the animation, from 0."""
    luma: NDArray[np.uint8]
    background: str = ""
    """`white` or `black` when the picture has transparency: it is fingerprinted on both; `opaque`
    for it without any, where clear parts hide something."""
    at: float | None = None
    """Seconds from the start, in a film or an animation."""
    rgb: NDArray[np.uint8] | None = None
    """The same picture in sRGB, uint8 (height, width, 3), upright, where colours were asked for.
    It need not have the size of `luma`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant of a film or an animation that was hashed as it was decoded."""

    at: float
    """Seconds from the start."""
    pdq: bytes
    """32 bytes, as `signals.pdq` makes them."""
    quality: int
    """0–100, as `signals.pdq` gives it."""
    mirrored: bytes = b""
    """The same instant seen in a mirror."""


RATE = 16_000
"""Samples a second of every `Sound`."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of content, mono."""

    samples: NDArray[np.int16]
    """(n,), `RATE` a second, all channels mixed into one."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


ANIMATIONS = frozenset({"avif", "gif", "heif", "png", "tiff", "webp"})
"""Formats of pictures that may have several frames, which are counted, not timed."""


@dataclass(frozen=True, slots=True)
class Media:
    """The decoded, bounded form of content."""

    format: str
    """`jpeg`, `png`, `gif`, `webp`, `avif`, `heif`, `bmp` or `tiff`; a film's or a sound's
    container: `mp4`, `matroska`, `mp3` …"""
    width: int
    """Pixels of the upright content, before any reduction; 0 for sound alone."""
    height: int
    frame_count: int
    """Frames in the file; `frames` holds a bounded sample of them."""
    frames: tuple[Frame, ...]
    track: tuple[Moment, ...] = ()
    """Of a film or an animation, in order of time: its distinct instants."""
    insets: Mapping[str, tuple[Moment, ...]] = field(default_factory=dict)
    """What is inside a still surround, by how it was found: `cropped` leaves out uniform borders,
    `window` all but the part that moves."""
    sound: Sound | None = None
    duration: float = 0.0
    """Seconds, of a film, an animation or a sound; 0 for a still picture."""

    def part(self, frame: Frame) -> str:
        """What people call this frame of the content: `frame 3`, `frame 0 on black`, `""`; in a
        film `0:07.25`, minutes and seconds."""
        if self.format not in ANIMATIONS and frame.at is not None:
            return clock(frame.at)
        whole = len(self.frames) == 1 and self.frame_count == 1
        if frame.background:
            how = "made" if frame.background == "opaque" else "on"
            return f"frame {frame.index} {how} {frame.background}"
        return "" if whole else f"frame {frame.index}"


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of content once its pixels are gone. Empty and 0 where it wasn't decoded."""

    format: str = ""
    width: int = 0
    """Pixels, upright."""
    height: int = 0
    frame_count: int = 0
    size: int = 0
    """Bytes of the encoded content."""
    frames_sampled: int = 0
    """Frames that were fingerprinted; fewer than `frame_count` when there are too many."""
    duration: float = 0.0
    """Seconds of a film, an animation or a sound; 0 for a still picture."""
    sound: float = 0.0
    """Seconds of sound that were decoded."""

    @property
    def film(self) -> bool:
        """Whether it is a film, with pictures that move in it; no animation, no sound alone."""
        return self.duration > 0 and self.width > 0 and self.format not in ANIMATIONS


def clock(seconds: float) -> str:
    """A time for people: `0:07.25`, `12:00.00`."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02}.{rest % 100:02}"
