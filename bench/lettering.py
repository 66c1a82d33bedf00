"""Reading the words in pictures: how many are read, what it costs, beside RapidOCR's own code.

    python bench/lettering.py --photos FOLDER [--pictures 20] [--peer]

Both use the same weights. Half of the photographs get the trigger prompt, in sizes from fine print
to headlines, on a plate or straight on the picture; the other half stays as it is.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import machine
from tutela.detectors import trigger
from tutela.detectors.reading import Reader
from tutela.media.views import LARGE

SIZES = (14, 20, 28, 40, 64)
"""Pixels of the letters' size in a picture of `LARGE` pixels."""
Read = Callable[[NDArray[np.uint8]], Sequence[str]]


def photographs(folder: Path, count: int) -> list[Image.Image]:
    """Some of the photographs of a folder, as large as detectors see them."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}
    )
    random.Random(11).shuffle(paths)
    pictures = []
    for path in paths[:count]:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((LARGE, LARGE))
        pictures.append(small)
    return pictures


def write(picture: Image.Image, size: int, plate: bool, seed: int) -> NDArray[np.uint8]:
    """The trigger prompt somewhere on the picture."""
    written = picture.copy()
    draw, font = ImageDraw.Draw(written), ImageFont.load_default(size)
    text = trigger.PROMPT.replace(" paint", "\npaint") if size >= 28 else trigger.PROMPT
    box = draw.multiline_textbbox((0, 0), text, font)
    place = random.Random(seed)
    x = place.randint(10, max(11, written.width - int(box[2]) - 10))
    y = place.randint(10, max(11, written.height - int(box[3]) - 10))
    if plate:
        draw.rectangle((x - 8, y - 8, x + box[2] + 8, y + box[3] + 8), "white")
    outline = {"fill": "black"} if plate else {"fill": "white", "stroke_width": max(1, size // 14)}
    draw.multiline_text(
        (x, y), text, font=font, **outline, stroke_fill="black" if not plate else None
    )
    return np.asarray(written)


def compare(name: str, read: Read, photos: Sequence[Image.Image]) -> None:
    """What one reader finds, and how long it takes."""
    half = len(photos) // 2
    print(f"\n{name}\n| size | on | trigger found | median ms |\n|---|---|---|---|")
    for size in SIZES:
        for plate in (True, False):
            found, took = 0, []
            for seed, photo in enumerate(photos[:half]):
                rgb = write(photo, size, plate, seed)
                started = time.perf_counter()
                text = " ".join(read(rgb))
                took.append((time.perf_counter() - started) * 1000)
                found += trigger.MARK in text.upper()
            place = "a plate" if plate else "the picture"
            print(f"| {size} | {place} | {found} of {half} | {statistics.median(took):.0f} |")
    took, words = [], []
    for photo in photos[half:]:
        rgb = np.asarray(photo)
        started = time.perf_counter()
        words.append(len(" ".join(read(rgb)).split()))
        took.append((time.perf_counter() - started) * 1000)
    print(
        f"as they are: {sum(map(bool, words))} of {len(words)} pictures said to hold words, "
        f"{sum(words)} words; median {statistics.median(took):.0f} ms, fastest {min(took):.0f} ms"
    )


def peer() -> Read:
    """RapidOCR with its own code and defaults, on the same weights."""
    from rapidocr import RapidOCR  # type: ignore[import-not-found]

    engine = RapidOCR(params={"Global.log_level": "critical"})

    def read(rgb: NDArray[np.uint8]) -> Sequence[str]:
        return engine(np.ascontiguousarray(rgb[:, :, ::-1])).txts or ()

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    print(machine.describe("onnxruntime", "rapidocr", "pillow"))
    photos = photographs(arguments.photos, arguments.pictures)
    reader = Reader.load()
    own: Read = lambda rgb: [line.text for line in reader.read(rgb).lines if line.certainty >= 0.5]  # noqa: E731
    own(np.full((600, 800, 3), 255, np.uint8))
    compare("Tutela", own, photos)
    if arguments.peer:
        compare("RapidOCR", peer(), photos)


if __name__ == "__main__":
    main()
