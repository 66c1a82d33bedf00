"""Safe, bounded decoding: bytes in, upright frames and sound out, or a typed rejection."""

from __future__ import annotations

from tutela.media import sniff
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
    # Signals need the types alone, and decoders need signals: an instant of a film is hashed as it
    # goes by. What decodes films comes with an extra, and only who screens them pays for it.
    if sniff.is_film(data):
        from tutela.media import film

        return film.decode(data, limits, detail=detail, colour=bool(colour), sound=True)
    from tutela.media import image

    return image.decode(data, limits, detail=detail, colour=colour)
