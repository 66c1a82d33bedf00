"""Safe, bounded decoding: bytes in, upright frames and sound out, or a typed rejection."""

from __future__ import annotations

from tutela.media import image, sniff
from tutela.media.types import Frame, Limits, Media

__all__ = ["Frame", "Limits", "Media", "decode"]


def decode(
    data: bytes,
    limits: Limits = Limits(),  # noqa: B008
    *,
    detail: int = 512,
    colour: int = 0,
) -> Media:
    """Decode a picture, a film or a sound, as `image.decode` and `film.decode` say."""
    is_film = getattr(sniff, "is_film", lambda _: False)
    if not is_film(data[:4096]):
        return image.decode(data, limits, detail=detail, colour=colour)
    # What it needs comes with an extra, and only who screens films pays for loading it.
    from tutela.media import film

    return film.decode(data, limits, detail=detail, colour=bool(colour), sound=True)
