"""Small grey pictures of content, for a reviewer's eyes: made in the sandbox, never recorded."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from tutela.media.types import Frame, Media

SIDE = 480
"""Pixels of the longer side, at most."""


@dataclass(frozen=True, slots=True)
class Preview:
    """One frame, upright, grey, 8 bits a pixel."""

    part: str
    """The part of the content, named as fingerprints name it."""
    width: int
    height: int
    luma: bytes


def previews(media: Media) -> tuple[Preview, ...]:
    """One of each frame that was decoded."""
    return tuple(_preview(media, frame) for frame in media.frames)


def _preview(media: Media, frame: Frame) -> Preview:
    height, width = frame.luma.shape
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(frame.luma).resize(size, Image.Resampling.BOX)
    return Preview(media.part(frame), *size, small.tobytes())
