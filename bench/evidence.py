"""What all the evidence on a photo costs, and what the cascade leaves of that.

    python bench/evidence.py --photos DIR [--photos DIR …] [--batch 16] [--mix 400]

Photographs are made into JPEGs of 2 megapixels. Three figures:

- full evidence, one photo after the other: every detector runs (`evidence = "full"`);
- full evidence in batches;
- the cascade on a realistic mix (`evidence = "held"`, the default): 95 % plain photographs, 4 %
  benign ones near the limits (the ones that the nudity model likes least), 1 % that are in a bank.

Each from the bytes to the verdict, recorded durably; models and workers are warm. The peer is what
an engineer would write first: decode with Pillow, PDQ by `pdqhash` if it is installed, and the same
nudity model with onnxruntime, one picture at a time, without a verdict or a record.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import tutela
from machine import describe
from photos import photos, resized, spread
from tutela import models
from tutela.banks.bank import NewEntry
from tutela.content import Content
from tutela.findings import NUDITY
from tutela.screening import Screener

SIZE = 1632, 1224


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=48, help="distinct photographs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--mix", type=int, default=400, help="pictures of the mix")
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    print(describe("tutela", "numba", "numpy", "simplejpeg", "onnxruntime"))
    found = [path for folder in given.photos for path in photos(folder)]
    pictures = [resized(path, *SIZE) for path in spread(found, given.count)]
    print(f"{len(pictures)} photographs of {SIZE[0]} x {SIZE[1]} as JPEG")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with tutela.open(base / "full", evidence="full") as screener:
            screener.warm()
            scores = nudity(screener, pictures)
            report("full evidence, one by one", one_by_one(screener, pictures, given.repeats))
            steps(screener, pictures[0])
            batches(screener, pictures, given.batch, given.repeats)
        order = sorted(range(len(pictures)), key=lambda n: scores[n])
        near = [pictures[n] for n in order[-max(1, len(order) // 12) :]]
        known = [pictures[n] for n in order[: max(1, len(order) // 24)]]
        plain = [pictures[n] for n in order[len(known) : -len(near)]]
        with tutela.open(base / "mix") as screener:
            screener.warm()
            screener.banks.create("known", "confirmed")
            for data in known:
                screener.banks.add("known", [NewEntry(made) for made in pdq(screener, data)])
            # The index takes the new entries in once.
            screener.screen(known[0])
            mix = [choose(n, plain, near, known) for n in range(given.mix)]
            times = one_by_one(screener, mix, 1)
            report("the cascade on the mix", times)
            print(f"  mean {statistics.mean(times):.1f} ms")
    peer = baseline()
    report("a straightforward script", [timed(peer, data) for data in pictures])


def choose(n: int, plain: list[bytes], near: list[bytes], known: list[bytes]) -> bytes:
    """The n-th of the mix: of a hundred one is known and four are near the limits."""
    place = n % 100
    if place == 50:
        return known[n // 100 % len(known)]
    if place in (10, 35, 60, 85):
        return near[n // 20 % len(near)]
    return plain[n % len(plain)]


def one_by_one(screener: Screener, pictures: list[bytes], repeats: int) -> list[float]:
    """Milliseconds of each."""
    return [timed(screener.screen, data) for _ in range(repeats) for data in pictures]


def batches(screener: Screener, pictures: list[bytes], size: int, repeats: int) -> None:
    """Print the milliseconds a picture in batches."""
    made = []
    for start in range(0, len(pictures) - size + 1, size):
        for _ in range(repeats):
            contents = [Content(data=data) for data in pictures[start : start + size]]
            spent = timed(lambda batch: list(screener.screen_many(batch)), contents)
            made.append(spent / size)
    report(f"full evidence, {size} at a time, a picture", made)


def nudity(screener: Screener, pictures: list[bytes]) -> list[float]:
    """The score of each photograph: benign ones, so what it says is how near to the limit."""
    scores = []
    for data in pictures:
        found = [one for one in screener.screen(data).findings if one.kind == NUDITY]
        scores.append(max((one.likelihood or 0.0 for one in found), default=0.0))
    return scores


def steps(screener: Screener, data: bytes) -> None:
    """Print where the time goes, by detector and signal."""
    spent: dict[str, list[float]] = {}
    for _ in range(5):
        for name, ms in screener.screen(data).timings.items():
            spent.setdefault(name, []).append(ms)
    shown = ", ".join(f"{name} {statistics.median(ms):.1f}" for name, ms in spent.items())
    print(f"  steps, ms: {shown}")


def pdq(screener: Screener, data: bytes) -> list[tutela.Finding]:
    """The PDQ fingerprints of a photograph."""
    made = screener.examine(Content(data=data)).fingerprints
    return [one for one in made if one.signal == "pdq"]  # type: ignore[misc]


def baseline() -> Callable[[bytes], object]:
    """The script of an engineer in a hurry."""
    model = models.load("open_nsfw")
    try:
        import pdqhash
    except ImportError:
        pdqhash = None
        print("pdqhash is not installed: the script takes no PDQ")

    def look(data: bytes) -> object:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        made = None if pdqhash is None else pdqhash.compute(np.asarray(picture))
        small = np.asarray(picture.resize((256, 256), Image.Resampling.BILINEAR), np.float32)
        row = small[16:240, 16:240, ::-1] - np.array([104, 117, 123], np.float32)
        return made, model.run(row[None])

    return look


def timed(action: Callable[[bytes], object], data: object) -> float:
    started = time.perf_counter()
    action(data)  # type: ignore[arg-type]
    return (time.perf_counter() - started) * 1e3


def report(name: str, spent: list[float]) -> None:
    """One line: median, 95th percentile, most."""
    ordered = sorted(spent)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(
        f"{name}: p50 {statistics.median(ordered):.1f}, p95 {high:.1f}, "
        f"most {ordered[-1]:.1f} ms ({len(ordered)})"
    )


if __name__ == "__main__":
    main()
