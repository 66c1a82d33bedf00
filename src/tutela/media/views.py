"""Small colour pictures of content: what models and reviewers see of it. Never recorded.

They are made in the sandbox, upright, on the colour of a page where content is transparent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.media.types import Media

SIDE = 800
"""Pixels of the longer side of a view, at most. Of larger content it has at least half as many:
what a JPEG can be reduced to while it is decoded is taken as it is."""
LARGE = 1600
"""The same, where fine print is to be read."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame as people see it."""

    part: str
    """The part of the content, named as fingerprints name it."""
    rgb: NDArray[np.uint8]
    """sRGB, (height, width, 3)."""
    at: float | None = None
    """Seconds from the start, in a film or an animation."""

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


def views(media: Media, side: int = SIDE) -> tuple[View, ...]:
    """One of each frame that was decoded in colour."""
    return tuple(
        View(media.part(frame), _small(frame.rgb, side), frame.at)
        for frame in media.frames
        if frame.rgb is not None
    )


def _small(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(rgb)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
