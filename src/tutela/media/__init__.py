"""Safe, bounded decoding: bytes in, upright grey frames out, or a typed rejection."""

from __future__ import annotations

from tutela.media.image import decode
from tutela.media.types import Frame, Limits, Media

__all__ = ["Frame", "Limits", "Media", "decode"]
