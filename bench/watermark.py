"""What the watermark outlasts, how little it changes, and how often it is seen where it is not.

    python bench/watermark.py --photos FOLDER [--unmarked FOLDER …] [--peer FOLDER …]

`--photos` holds pictures to mark; each is reduced to `--side` pixels on its shorter side.
`--unmarked` pictures are only read. `--peer` are folders of packages in which `invisible-watermark`
and what it needs are installed; they are looked into last. Its three ways mark the same pictures,
and count as seen at the same bound on a false alarm, for the bits that they carry.
Ends with status 1 where a goal is missed: 99 % after JPEG 50, half the size, 80 % of each side
and 20 % of the area, 38 dB, and no false alarm.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

import machine
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance
from tutela.errors import Rejected
from tutela.guard import watermark
from tutela.media import Limits, decode

Pixels = NDArray[np.uint8]
Change = Callable[[Image.Image, np.random.Generator], Image.Image]
LANCZOS = Image.Resampling.LANCZOS
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
GOALS = ("JPEG 50", "half the size", "80 % of each side", "20 % of the area")
GOAL, DECIBELS = 0.99, 38.0
COMPARED = (
    *("nothing", "JPEG 75", *GOALS, "half the size, JPEG 50", "at most 1080, JPEG 75", "mirrored"),
)
"""What the peers' marks are put through too: a look of theirs takes a second."""


def stored(kind: str, quality: int) -> Change:
    """Stored and opened again."""

    def change(image: Image.Image, _: np.random.Generator) -> Image.Image:
        file = io.BytesIO()
        image.save(file, kind, quality=quality)
        return Image.open(file).convert("RGB")

    return change


def scaled(factor: float, aspect: float = 1.0) -> Change:
    return lambda image, _: image.resize(
        (round(image.width * factor * aspect), round(image.height * factor)), LANCZOS
    )


def cropped(kept: float) -> Change:
    """A part at any place, so much of each side."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = round(image.width * kept), round(image.height * kept)
        left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
        return image.crop((left, top, left + width, top + height))

    return change


def turned(degrees: float) -> Change:
    """Turned, and cut to what is left inside."""

    def change(image: Image.Image, _: np.random.Generator) -> Image.Image:
        whole = image.rotate(degrees, Image.Resampling.BICUBIC)
        lost = math.sin(math.radians(abs(degrees))) * max(image.size) / 2
        first = math.ceil(lost)
        return whole.crop((first, first, int(image.width - lost), int(image.height - lost)))

    return change


def noisy(levels: float) -> Change:
    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image) + rng.normal(0, levels, (image.height, image.width, 3))
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))

    return change


def framed(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """As in a screenshot: reduced, on a page with margins and bars."""
    small = image.resize((round(image.width * 0.7), round(image.height * 0.7)), LANCZOS)
    page = Image.new("RGB", (round(small.width * 1.1), round(small.height * 1.25)), "white")
    page.paste(small, (round(small.width * 0.05), round(small.height * 0.15)))
    return page


def on_a_phone(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """As wide as a phone's upright screen, black above and below."""
    page = Image.new("RGB", (image.width, max(image.height, round(image.width * 2.1))))
    page.paste(image, (0, (page.height - image.height) // 2))
    return page


def then(*changes: Change) -> Change:
    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for one in changes:
            image = one(image, rng)
        return image

    return change


def shared(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As sites store uploads: at most 1080 pixels, JPEG 75."""
    factor = min(1.0, 1080 / max(image.size))
    return then(scaled(factor), stored("JPEG", 75))(image, rng)


CHANGES: dict[str, Change] = {
    "nothing": lambda image, _: image,
    "JPEG 75": stored("JPEG", 75),
    "JPEG 50": stored("JPEG", 50),
    "JPEG 30": stored("JPEG", 30),
    "WebP 50": stored("WEBP", 50),
    "half the size": scaled(0.5),
    "0.7 of the size": scaled(0.7),
    "a third of the size": scaled(1 / 3),
    "twice the size": scaled(2),
    "80 % of each side": cropped(0.8),
    "20 % of the area": cropped(math.sqrt(0.2)),
    "half the size, JPEG 50": then(scaled(0.5), stored("JPEG", 50)),
    "80 % of each side, half, JPEG 50": then(cropped(0.8), scaled(0.5), stored("JPEG", 50)),
    "20 % of the area, JPEG 50": then(cropped(math.sqrt(0.2)), stored("JPEG", 50)),
    "10 % of the area": cropped(math.sqrt(0.1)),
    "at most 1080, JPEG 75": shared,
    "twice as sites store it": then(shared, shared),
    "in a screenshot, JPEG 75": then(framed, stored("JPEG", 75)),
    "on a phone's screen, JPEG 75": then(on_a_phone, stored("JPEG", 75)),
    "mirrored": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "brighter by a third": lambda image, _: ImageEnhance.Brightness(image).enhance(1.33),
    "darker by a third": lambda image, _: ImageEnhance.Brightness(image).enhance(0.67),
    "half the contrast": lambda image, _: ImageEnhance.Contrast(image).enhance(0.5),
    "sharpened": lambda image, _: image.filter(ImageFilter.UnsharpMask(2, 120, 2)),
    "blurred, 1 pixel": lambda image, _: image.filter(ImageFilter.GaussianBlur(1)),
    "blurred, 2 pixels": lambda image, _: image.filter(ImageFilter.GaussianBlur(2)),
    "median of 3 × 3": lambda image, _: image.filter(ImageFilter.MedianFilter(3)),
    "noise, 10 levels": noisy(10),
    "noise, 20 levels": noisy(20),
    "turned by 0.3°": turned(0.3),
    "turned by 1°": turned(1),
    "turned by 3°": turned(3),
    "turned by 90°": lambda image, _: image.transpose(Image.Transpose.ROTATE_90),
    "stretched by 1 %": scaled(1, 1.01),
    "stretched by 5 %": scaled(1, 1.05),
}


@dataclass
class Way:
    """One way to mark pictures, and what became of its marks."""

    name: str
    embed: Callable[[Pixels], Pixels]
    seen: Callable[[Pixels], bool]
    decibels: list[float] = field(default_factory=list)
    hits: dict[str, list[bool]] = field(default_factory=dict)
    embedding: list[float] = field(default_factory=list)
    reading: list[float] = field(default_factory=list)

    def share(self, change: str) -> float:
        return float(np.mean(self.hits[change]))


def peers(folders: Sequence[Path]) -> Iterator[Way]:
    """The three ways of invisible-watermark, where it can be imported.

    A message counts as seen from so many right bits that chance gives them once in 10⁹ at most.
    """
    sys.path += [str(folder) for folder in folders]
    try:
        import cv2
        from imwatermark import WatermarkDecoder, WatermarkEncoder
    except ImportError as error:
        print(f"invisible-watermark is not there: {error}")
        return

    for method, length in (("dwtDct", 64), ("dwtDctSvd", 64), ("rivaGan", 32)):
        rng = np.random.default_rng(9)
        message = rng.integers(0, 2, length).tolist()
        least = next(
            right
            for right in range(length + 1)
            if sum(math.comb(length, k) for k in range(right, length + 1)) / 2**length
            <= watermark.CHANCE
        )
        encoder, decoder = WatermarkEncoder(), WatermarkDecoder("bits", length)
        encoder.set_watermark("bits", message)
        if method == "rivaGan":
            WatermarkEncoder.loadModel()
            WatermarkDecoder.loadModel()

        def embed(pixels: Pixels, encoder: Any = encoder, method: str = method) -> Pixels:
            made = encoder.encode(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), method)
            whole = np.clip(made, 0, 255).astype(np.uint8)
            return np.asarray(cv2.cvtColor(whole, cv2.COLOR_BGR2RGB))

        def seen(
            pixels: Pixels,
            decoder: Any = decoder,
            method: str = method,
            message: list[int] = message,
            least: int = least,
        ) -> bool:
            if pixels.shape[0] * pixels.shape[1] < 256 * 256:
                return False  # it refuses to look
            bits = decoder.decode(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), method)
            return sum(int(bool(a) == bool(b)) for a, b in zip(bits, message, strict=True)) >= least

        yield Way(f"{method} ({least} of {length} bits)", embed, seen)


def pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise SystemExit(f"no picture in {folder}")
    return found


def reduced(path: Path, side: int) -> Image.Image:
    """The picture with a shorter side of `side` pixels."""
    with Image.open(path) as image:
        image.draft("RGB", (side * 2, side * 2))
        whole = image.convert("RGB")
    factor = side / min(whole.size)
    return whole.resize((round(whole.width * factor), round(whole.height * factor)), LANCZOS)


def survival(
    paths: Sequence[Path], side: int, ways: Sequence[Way], crops: int, changes: Sequence[str]
) -> None:
    """Mark every picture in every way, change it, look for the mark."""
    for number, path in enumerate(paths):
        plain = np.asarray(reduced(path, side))
        for way in ways:
            started = time.perf_counter()
            marked = way.embed(plain)
            way.embedding.append(time.perf_counter() - started)
            noise = float(np.mean(np.square(marked.astype(np.float64) - plain)))
            way.decibels.append(10 * math.log10(255**2 / max(noise, 1e-9)))
            for name in changes:
                # A part may be taken anywhere: several are.
                for turn in range(crops if "area" in name or "each side" in name else 1):
                    rng = np.random.default_rng((number, turn))
                    changed = np.asarray(CHANGES[name](Image.fromarray(marked), rng))
                    started = time.perf_counter()
                    way.hits.setdefault(name, []).append(way.seen(changed))
                    way.reading.append(time.perf_counter() - started)


def show(side: int, count: int, ways: Sequence[Way]) -> None:
    print(f"\n{count} pictures, {side} pixels on the shorter side: share of marks that are seen")
    wide = max(len(way.name) for way in ways) + 2
    print(" " * 34 + "".join(f"{way.name:>{wide}}" for way in ways))
    rows: list[tuple[str, Callable[[Way], str]]] = [
        ("dB, least", lambda way: f"{min(way.decibels):.1f}"),
        ("dB, median", lambda way: f"{np.median(way.decibels):.1f}"),
        ("ms to mark, median", lambda way: f"{1000 * np.median(way.embedding):.0f}"),
        ("ms to look, median", lambda way: f"{1000 * np.median(way.reading):.1f}"),
    ]
    for name, value in rows:
        print(f"{name:34}" + "".join(f"{value(way):>{wide}}" for way in ways))
    for change in ways[0].hits:
        mark = "*" if change in GOALS else " "
        print(f"{mark} {change:32}" + "".join(f"{way.share(change):>{wide}.1%}" for way in ways))


def unmarked(folders: Sequence[Path], most: int) -> int:
    """False alarms: every picture, decoded as an upload is, and two parts of it."""
    tried = alarms = 0
    nearest = 1.0
    for folder in folders:
        paths = pictures(folder)
        paths = [
            paths[i * len(paths) // min(most, len(paths))] for i in range(min(most, len(paths)))
        ]
        with ThreadPoolExecutor(2) as pool:
            for chances in pool.map(_chances, paths):
                tried += len(chances)
                alarms += sum(chance <= watermark.CHANCE for chance in chances)
                nearest = min([nearest, *chances])
        print(
            f"  with {folder.name}: {tried} looks, {alarms} false alarms, nearest {nearest:.2g}",
            flush=True,
        )
    return alarms


def _chances(path: Path) -> list[float]:
    try:
        luma = decode(path.read_bytes(), Limits(), detail=watermark.SIDE).frames[0].luma
    except Rejected:
        return []
    height, width = luma.shape
    parts = [luma, luma[: height * 7 // 10, : width * 7 // 10], luma[height // 2 :, width // 2 :]]
    found = []
    for part in parts:
        if min(part.shape) >= watermark.SMALLEST:
            mark = watermark.nearest(np.ascontiguousarray(part))
            found.append(1.0 if mark is None else mark.chance)
    return found


def other_keys(paths: Sequence[Path], side: int, each: int) -> None:
    """Whether the bound holds: marked pictures, read with keys that they were not marked with."""
    counts = dict.fromkeys((0.1, 0.01, 0.001), 0)
    tried = 0
    for number, path in enumerate(paths):
        marked = watermark.embed(np.asarray(reduced(path, side)))
        for key in range(each):
            mark = watermark.nearest(marked, (b"other key %d %d" % (number, key),))
            tried += 1
            for bound in counts:
                counts[bound] += mark is not None and mark.chance <= bound
    print(f"\nkeys that no picture was marked with: {tried} looks")
    for bound, count in counts.items():
        print(f"  bound {bound}: at most {bound * tried:.0f} expected, {count} counted")


def costs(paths: Sequence[Path], runs: int) -> None:
    """What looking costs an upload of 2 megapixels that says nothing of its making."""
    detector = Provenance()
    detector.prepare(Options())
    print("\nms of the processor for an unmarked picture of 2 megapixels, median")
    for kind, options in (("JPEG", {"quality": 85}), ("PNG", {"compress_level": 6})):
        files = []
        for path in paths:
            image = reduced(path, 1080).crop((0, 0, 1920, 1080))
            into = io.BytesIO()
            image.save(into, kind, **options)
            files.append(into.getvalue())
        media = [decode(data, Limits(), detail=watermark.SIDE) for data in files]
        lumas = [one.frames[0].luma for one in media]
        looks = [_time(lambda one=one: watermark.detect(one), runs) for one in lumas]
        whole = [
            _time(lambda pair=pair: detector.examine(Subject(data=pair[0], media=pair[1])), runs)
            for pair in zip(files, media, strict=True)
        ]
        alone = [
            _time(lambda data=data: detector.examine(Subject(data=data)), runs) for data in files
        ]
        print(
            f"  {kind}: the watermark {np.median(looks):.1f}; the provenance detector "
            f"{np.median(whole):.1f}, {np.median(alone):.1f} where it has to decode too"
        )


def _time(call: Callable[[], object], runs: int) -> float:
    best = math.inf
    for _ in range(runs):
        started = time.process_time()
        call()
        best = min(best, time.process_time() - started)
    return 1000 * best


def main() -> int:
    """Run what the options name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--unmarked", type=Path, nargs="*", default=[])
    parser.add_argument("--peer", type=Path, nargs="*", default=[])
    parser.add_argument("--side", type=int, nargs="*", default=[512])
    parser.add_argument("--count", type=int, default=1000, help="pictures to mark, at most")
    parser.add_argument("--crops", type=int, default=4, help="parts of a picture, each at random")
    parser.add_argument("--compared", type=int, default=12, help="pictures that peers mark")
    parser.add_argument("--most", type=int, default=100_000, help="unmarked ones of a folder")
    parser.add_argument("--keys", type=int, default=20, help="other keys for each of 50 pictures")
    options = parser.parse_args()
    print(machine.describe("numpy", "pillow"))
    paths = pictures(options.photos)[: options.count]
    wrong = 0
    for side in options.side:
        own = Way("Tutela", watermark.embed, lambda x: watermark.detect(x) is not None)
        survival(paths, side, [own], options.crops, tuple(CHANGES))
        show(side, len(paths), [own])
        wrong += min(own.decibels) < DECIBELS
        wrong += sum(own.share(change) < GOAL for change in GOALS)
    if options.peer:
        own = Way("Tutela", watermark.embed, lambda x: watermark.detect(x) is not None)
        ways = [own, *peers(options.peer)]
        some = paths[:: max(1, len(paths) // options.compared)][: options.compared]
        survival(some, 512, ways, 1, COMPARED)
        show(512, len(some), ways)
    if options.unmarked:
        print(f"\nunmarked pictures, each whole and in parts; bound {watermark.CHANCE:g} a look")
        wrong += unmarked(options.unmarked, options.most)
    if options.keys:
        other_keys(paths[:50], 512, options.keys)
    costs(paths[:10], 5)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
