"""Photographs in which a region was exchanged, and their untouched twins, for `synthetic.py`.

A photograph is reduced, which wipes out its own past, and saved as a JPEG: the first save. Then a
region of it is exchanged, or not, and it is saved again in one of several ways. All choices come
from a generator that is seeded by the photograph's name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from alterations import Picture, Rng, captioned, filtered, jpeg, read, reduced, seeded, stickers

SIDES = (800, 1200, 1600)
SHARES = (0.04, 0.3)
"""Of the picture's area that is exchanged, about."""
FIRST = (60, 95)
"""JPEG quality of the first save."""


@dataclass(frozen=True, slots=True)
class Made:
    """One file."""

    way: str
    edit: str
    """How the region was exchanged; `""` where none was."""
    kind: str
    data: bytes


def pasted(picture: Picture, other: Picture, box: tuple[int, int, int, int], rng: Rng) -> Picture:
    """Part of another photograph, itself saved once, at its own size or reduced a little."""
    other = opened(jpeg(other, int(rng.integers(70, 96))))
    return _covering(picture, other, box)


def painted(picture: Picture, other: Picture, box: tuple[int, int, int, int], rng: Rng) -> Picture:
    """Other content, never saved, slightly soft: as an image model paints it."""
    del rng
    return _covering(picture, other.filter(ImageFilter.GaussianBlur(0.7)), box)


def blurred(picture: Picture, other: Picture, box: tuple[int, int, int, int], rng: Rng) -> Picture:
    """The same content, blurred: as retouching does."""
    del other, box, rng
    return picture.filter(ImageFilter.GaussianBlur(2.5))


EDITS: dict[str, Callable[[Picture, Picture, tuple[int, int, int, int], Rng], Picture]] = {
    "pasted": pasted,
    "painted": painted,
    "blurred": blurred,
}


def finer(picture: Picture, first: int, rng: Rng) -> tuple[str, bytes]:
    return "jpeg", jpeg(picture, int(rng.integers(min(first + 3, 96), 98)))


def coarser(picture: Picture, first: int, rng: Rng) -> tuple[str, bytes]:
    return "jpeg", jpeg(picture, int(rng.integers(55, first + 1)))


def cropped(picture: Picture, first: int, rng: Rng) -> tuple[str, bytes]:
    x, y = (int(rng.integers(1, 40)) for _ in range(2))
    return finer(picture.crop((x, y, *picture.size)), max(first, 85), rng)


def lossless(picture: Picture, first: int, rng: Rng) -> tuple[str, bytes]:
    del first, rng
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return "png", out.getvalue()


def smaller(picture: Picture, first: int, rng: Rng) -> tuple[str, bytes]:
    return finer(reduced(picture, 0.7 * max(picture.size)), first, rng)


WAYS: dict[str, Callable[[Picture, int, Rng], tuple[str, bytes]]] = {
    "saved finer": finer,
    "saved coarser": coarser,
    "cropped, saved finer": cropped,
    "saved as PNG": lossless,
    "reduced, saved finer": smaller,
}
ONCE = "saved once"
"""No first save: what is exchanged shares the past of the rest, which is none."""
HARMLESS = {
    "text": (captioned, 0.12),
    "stickers": (stickers, 0.22),
    "filtered": (filtered, 1.0),
}
"""What people do to photographs between two saves that deceives nobody."""


def files(path: Path, others: Sequence[Path]) -> Iterator[Made]:
    """Of one photograph: each way, without and with a region exchanged; then what is harmless."""
    rng = seeded(path.name, "spliced")
    picture = read(path, int(rng.choice(SIDES)))
    other = read(others[int(rng.integers(len(others)))], 1400)
    first = int(rng.integers(*FIRST))
    saved = opened(jpeg(picture, first))
    name = list(EDITS)[int(rng.integers(len(EDITS)))]
    edited = exchanged(saved, other, name, rng)
    for way, save in WAYS.items():
        for edit, shown in (("", saved), (name, edited)):
            yield Made(way, edit, *save(shown, first, seeded(path.name, way)))
    for kind, (make, strength) in HARMLESS.items():
        touched = make(saved, seeded(path.name, kind), strength, ())
        yield Made(kind, "", *finer(touched, first, seeded(path.name, kind, "save")))
    for edit, shown in (("", picture), (name, exchanged(picture, other, name, rng))):
        yield Made(ONCE, edit, *coarser(shown, 96, seeded(path.name, ONCE)))


def exchanged(picture: Picture, other: Picture, edit: str, rng: Rng) -> Picture:
    """The picture with the content of an ellipse exchanged, its rim feathered."""
    width, height = picture.size
    area = rng.uniform(*SHARES) * width * height * 4 / np.pi
    across = int(min(0.9 * width, np.sqrt(area * rng.uniform(0.6, 1.6))))
    down = int(min(0.9 * height, area / across))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    box = (left, top, left + across, top + down)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(max(1.0, width / 300)))
    return Image.composite(EDITS[edit](picture, other, box, rng), picture, mask)


def opened(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _covering(picture: Picture, other: Picture, box: tuple[int, int, int, int]) -> Picture:
    across, down = box[2] - box[0], box[3] - box[1]
    scale = max(across / other.width, down / other.height)
    if scale > 1:
        size = (max(across, round(other.width * scale)), max(down, round(other.height * scale)))
        other = other.resize(size, Image.Resampling.LANCZOS)
    shown = picture.copy()
    shown.paste(other.crop((0, 0, across, down)), box)
    return shown
