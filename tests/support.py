"""Pictures for the tests."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

PHOTOS = Path(__file__).parents[1] / "src/tutela/cli/data/photos"


def photo(name: str) -> Image.Image:
    """One of the demonstration's photographs: coffee, cat, coins, galaxies or rocket."""
    with Image.open(PHOTOS / f"{name}.jpg") as picture:
        return picture.convert("RGB")


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
