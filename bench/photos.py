"""A folder of photographs for benchmarks, and JPEGs of given sizes made of them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg"})


def photos(folder: Path) -> list[Path]:
    """The JPEG files in a folder and below, in a fixed order."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"no .jpg file in {folder}")
    return found


def spread(paths: list[Path], count: int) -> list[Path]:
    """So many of the paths, evenly spread."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def resized(path: Path, width: int, height: int, quality: int = 90) -> bytes:
    """The photograph as a baseline JPEG of that size, turned to landscape or portrait to fit."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    if (picture.width < picture.height) != (width < height):
        width, height = height, width
    out = io.BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(out, "JPEG", quality=quality)
    return out.getvalue()
