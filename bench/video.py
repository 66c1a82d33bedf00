"""Films: speed, recall and false matches, beside a plain script on threatexchange's parts.

    python bench/video.py --photos FOLDER [--peer-python PYTHON] [--quick]

Makes films of the photographs in motion (pans, zooms, cuts), and of them what people make of
films. Every query goes through the same `queries` and `judge` as a screened upload, on rows
searched one by one. The peer decodes a file with OpenCV, hashes with pdqhash one frame a second
(as threatexchange's vpdq extension does by default) or all of them, and compares two films in
nested loops by its rule: PYTHON is an interpreter with threatexchange, pdqhash and opencv-python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import films
import machine
import tutela
from films import Picture
from photos import photos
from tutela.banks.bank import NewEntry
from tutela.media import film as decoding
from tutela.media.types import FILMS, Media, Moment
from tutela.sandbox import Sandbox
from tutela.signals import vpdq_kernels
from tutela.signals.base import Fingerprint, Hit, Match
from tutela.signals.vpdq import VPDQ, pack

PEER = """
import json, sys, time
from importlib.metadata import version
import cv2, pdqhash
from threatexchange.signal_type.pdq.pdq_utils import simple_distance
print(json.dumps({n: version(n) for n in ("threatexchange", "pdqhash")} | {"cv2": cv2.__version__}))
sys.stdout.flush()
def hashed(path, all_frames):
    video = cv2.VideoCapture(path)
    step = 1 if all_frames else round(video.get(cv2.CAP_PROP_FPS))
    made, count = [], 0
    while True:
        got, frame = video.read()
        if not got:
            return made
        if count % step == 0:
            bits, quality = pdqhash.compute(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            made.append((f"{int(''.join(map(str, bits)), 2):064x}", quality))
        count += 1
def near(one, other):
    return sum(any(simple_distance(a, b) <= 31 for b in other) for a in one)
def share(one, other):
    one = list({v for v, q in one if q >= 50})
    other = list({v for v, q in other if q >= 50})
    if not one or not other:
        return 0.0, 0.0
    return near(one, other) / len(one), near(other, one) / len(other)
for line in sys.stdin:
    job = json.loads(line)
    start = time.perf_counter()
    if "path" in job:
        answer = hashed(job["path"], job["all"])
    else:
        answer = share(*job["pair"])
    print(json.dumps([answer, time.perf_counter() - start]))
    sys.stdout.flush()
"""


class Peer:
    """The plain script, in a process of its own, one question at a time."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = json.loads(self._line())

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer did not answer: give --peer-python")
        return line

    def ask(self, job: Mapping[str, Any]) -> tuple[Any, float]:
        """The answer, and the seconds that it took."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer, seconds = json.loads(self._line())
        return answer, seconds


class Source:
    """Photographs, by number, ready to be moved over."""

    def __init__(self, folder: Path) -> None:
        self.paths = photos(folder)

        @lru_cache(maxsize=96)
        def load(number: int, width: int, height: int) -> Picture:
            with Image.open(self.paths[number]) as picture:
                picture.draft("RGB", (2 * width, 2 * height))
                return films.fitted(picture, width, height)

        self.load = load

    def film(
        self, seed: int, seconds: float, width: int = 640, height: int = 360, fps: float = 25,
        numbers: Sequence[int] = (),
    ) -> list[Picture]:  # fmt: skip
        chosen = numbers or range(len(self.paths))
        return list(
            films.film(
                lambda n: self.load(chosen[n % len(chosen)], width, height),
                seed, seconds, width=width, height=height, fps=fps,
            )
        )  # fmt: skip


def ours(data: bytes) -> tuple[Media, Fingerprint]:
    media = decoding.decode(data, FILMS, detail=VPDQ.detail, colour=False, sound=False)
    (made,) = VPDQ.fingerprint(data, media)
    return media, made


class Bank:
    """Entries whose rows are searched one by one."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.values = dict(enumerate(values))
        rows = [(row, n) for n, value in self.values.items() for row in VPDQ.rows(value)]
        self.words = np.frombuffer(b"".join(row for row, _ in rows), np.uint64).reshape(-1, 4)
        self.owners = np.array([n for _, n in rows])

    def match(self, fingerprint: Fingerprint) -> Sequence[Match]:
        if (fingerprint.quality or 0) < VPDQ.min_quality:
            return []
        queries = VPDQ.queries(fingerprint)
        if not queries:
            return []
        words = np.frombuffer(b"".join(queries.values()), np.uint64).reshape(-1, 4)
        near = vpdq_kernels.pairs(words, self.words, VPDQ.radius, 4096)
        hits = [Hit(int(q), int(self.owners[r]), 0) for q, r in near]
        return VPDQ.judge(fingerprint, list(queries), hits, lambda ids: self.stored(ids))

    def stored(self, ids: Sequence[int]) -> dict[int, bytes]:
        return {n: self.values[n] for n in ids}

    def finds(self, fingerprint: Fingerprint, entry: int) -> bool:
        return any(match.entry == entry for match in self.match(fingerprint))


def speed(source: Source, peer: Peer | None, seconds: float, folder: Path) -> None:
    pictures = source.film(1, seconds, 1920, 1080, 30)
    data = films.encode(pictures, fps=30, options={"preset": "veryfast", "crf": "21"})
    path = folder / "1080p.mp4"
    path.write_bytes(data)
    megabits = 8e-6 * len(data) / seconds
    print(f"\nSpeed: 1920×1080, 30 frames a second, {seconds:g} s, H.264 at {megabits:.1f} Mbit/s")
    ours(films.encode(pictures[:30], fps=30))
    times, busy = [], []
    for _ in range(3):
        start, used = time.perf_counter(), time.process_time()
        media, fingerprint = ours(data)
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - used)
    best = min(times)
    moments = len(media.track)
    print(
        f"  ours, one thread, every frame decoded and hashed: {best:.2f} s, "
        f"{seconds / best:.1f} × real time ({min(busy):.2f} s of processor time); "
        f"{moments} instants kept"
    )
    with Sandbox(workers=2) as sandbox:
        sandbox.warm(films=True)
        start = time.perf_counter()
        done = list(sandbox.examine_many(range(4), lambda _: data))
        spent = time.perf_counter() - start
        assert all(found.rejected is None for _, found in done)
    print(f"  ours, sandbox with two workers, all signals: {4 * seconds / spent:.1f} × real time")
    if peer is None:
        return
    for name, everything in (("one frame a second", False), ("every frame", True)):
        hashes, spent = peer.ask({"path": str(path), "all": everything})
        print(
            f"  peer, {name}: {spent:.2f} s, {seconds / spent:.1f} × real time; "
            f"ours is {spent / best:.1f} × as fast"
        )
    _, spent = peer.ask({"pair": [hashes, hashes]})
    bank = Bank([fingerprint.value])
    bank.match(fingerprint)
    start = time.perf_counter()
    assert bank.match(fingerprint)
    mine = time.perf_counter() - start
    print(
        f"  comparing the film with itself: peer {1e3 * spent:.0f} ms ({len(hashes)} frames), ours "
        f"{1e3 * mine:.1f} ms ({moments} instants, with turned and mirrored): {spent / mine:.0f} ×"
    )


ENCODINGS: dict[str, dict[str, Any]] = {
    "H.264, crf 32": {"options": {"preset": "veryfast", "crf": "32"}},
    "H.264, crf 40": {"options": {"preset": "veryfast", "crf": "40"}},
    "H.264, 320×180": {"size": (320, 180)},
    "H.264, 1280×720": {"size": (1280, 720)},
    "H.264, 4:3": {"size": (480, 360)},
    "VP9, 250 kbit/s": {"codec": "libvpx-vp9", "container": "webm", "bits": 250_000},
    "MPEG-4, 400 kbit/s": {"codec": "mpeg4", "container": "avi", "bits": 400_000},
    "MPEG-2, 600 kbit/s": {"codec": "mpeg2video", "container": "mpegts", "bits": 600_000},
    "12.5 frames a second": {"fps": 12.5},
}


def reencoded(source: Source, count: int) -> None:
    print(f"\nRe-encoded: {count} films of 10 s in the bank, whole copies as queries")
    originals = [source.film(100 + n, 10) for n in range(count)]
    bank = Bank([ours(films.encode(pictures))[1].value for pictures in originals])
    total = found = 0
    for name, options in ENCODINGS.items():
        step = 2 if options.get("fps") else 1
        hits = 0
        for n, pictures in enumerate(originals):
            hits += bank.finds(ours(films.encode(pictures[::step], **options))[1], n)
        total, found = total + count, found + hits
        print(f"  {name:24} {hits}/{count}")
    print(f"  all: {found / total:.2%} (≥ 99 % asked)")


def excerpts(source: Source, minutes: float, count: int, peer: Peer | None, folder: Path) -> None:
    seconds = 60 * minutes
    pictures = films.film(
        lambda n: source.load(n % len(source.paths), 480, 270), 7, seconds, width=480, height=270
    )
    rng = np.random.default_rng(3)
    starts = np.sort(rng.uniform(0, seconds - 2, count))
    places = [round(25 * start) for start in starts]
    clips: dict[int, list[Picture]] = {place: [] for place in places}

    def kept() -> Iterator[Picture]:
        for n, picture in enumerate(pictures):
            for place in places:
                if place <= n < place + 50:
                    clips[place].append(picture)
            yield picture

    whole = films.encode(kept())
    media, entry = ours(whole)
    encodings = [
        {"options": {"preset": "veryfast", "crf": "30"}},
        {"size": (320, 180)},
        {"codec": "mpeg4", "container": "avi", "bits": 300_000},
        {"codec": "libvpx-vp9", "container": "webm", "bits": 200_000},
    ]
    bank = Bank([entry.value])
    of_them = in_them = theirs = 0
    peer_whole: Any = None
    if peer is not None:
        (folder / "whole.mp4").write_bytes(whole)
        peer_whole, _ = peer.ask({"path": str(folder / "whole.mp4"), "all": False})
    for n, place in enumerate(places):
        data = films.encode(clips[place], **encodings[n % len(encodings)])
        made = ours(data)[1]
        of_them += bank.finds(made, 0)
        in_them += Bank([made.value]).finds(entry, 0)
        if peer is not None:
            (folder / "clip").write_bytes(data)
            hashes, _ = peer.ask({"path": str(folder / "clip"), "all": False})
            theirs += peer.ask({"pair": [hashes, peer_whole]})[0][0] >= 0.8
    print(
        f"\nExcerpts: {count} of 2 s, cut anywhere from a film of {media.duration:.0f} s "
        f"({len(media.track)} instants) and re-encoded"
    )
    print(f"  the film is in the bank: {of_them}/{count} found (≥ 95 % asked)")
    print(f"  the excerpt is in the bank, the film is screened: {in_them}/{count} found")
    if peer is not None:
        print(f"  peer, one frame a second, the film in the bank: {theirs}/{count} found")


def screened(source: Source, peer: Peer | None, count: int, banked: int, folder: Path) -> None:
    """What one asks for: is this clip in the bank? From the file to the verdict."""
    rng = np.random.default_rng(11)
    seconds = 600
    tracks = [rng.bytes(32 * 4 * seconds) for _ in range(banked)]
    clips = [source.film(700 + n, 10) for n in range(count)]
    data = [films.encode(clip, options={"preset": "veryfast", "crf": "30"}) for clip in clips]
    print(
        f"\nScreened: {count} clips of 10 s against a bank of {banked} films of ten minutes "
        "(made-up hashes) and the first clip"
    )
    with tutela.open(folder / "data", workers=1, evidence="needed") as screener:
        screener.banks.create("known", "reviewed")
        made = [
            Fingerprint("vpdq", pack(track_of(track, seconds / (len(track) // 32))), 100)
            for track in tracks
        ]
        made.append(ours(data[0])[1])
        screener.banks.add("known", [NewEntry(replace(one, variants=())) for one in made])
        screener.warm(films=True)
        screener.screen(data[-1])
        start = time.perf_counter()
        verdicts = [screener.screen(one).action for one in data]
        mine = (time.perf_counter() - start) / count
    assert verdicts == ["block"] + ["allow"] * (count - 1)
    print(
        f"  ours, one worker, from the bytes to the recorded verdict, all signals and detectors: "
        f"{1e3 * mine:.0f} ms a clip"
    )
    if peer is None:
        return
    bank = [[(track[n : n + 32].hex(), 100) for n in range(0, len(track), 128)] for track in tracks]
    theirs = 0.0
    for n, one in enumerate(data[:3]):
        path = folder / f"{n}.mp4"
        path.write_bytes(one)
        hashes, spent = peer.ask({"path": str(path), "all": False})
        theirs += spent + sum(peer.ask({"pair": [hashes, other]})[1] for other in bank)
    theirs /= 3
    print(
        f"  peer, one frame a second, no verdict: {1e3 * theirs:.0f} ms a clip; "
        f"ours is {theirs / mine:.1f} × as fast"
    )


def track_of(track: bytes, step: float) -> list[Moment]:
    """A track of made-up instants."""
    hashes = [track[n : n + 32] for n in range(0, len(track), 32)]
    return [Moment(n * step, made, 100) for n, made in enumerate(hashes)]


Change = Callable[[list[Picture], "Around"], Sequence[Picture]]


class Around:
    """What else a picture may show."""

    def __init__(self, source: Source, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.other = source.film(seed + 5000, 11)
        self.still = self.other[0]

    def moving(self, n: int) -> Picture:
        return self.other[n % len(self.other)]

    def page(self, n: int) -> Picture:
        """A page that a player is in, with a progress bar."""
        page = np.full_like(self.still, 28)
        page[12:40, 20:500] = 90
        page[44:50, 20:300] = 160
        page[-40:-20, 30 : 60 + n % 500] = (200, 40, 40)
        return page


CHANGES: dict[str, Change] = {
    "faster, 1.5 ×": lambda p, _: [p[int(1.5 * n)] for n in range(int(len(p) / 1.5))],
    "slower, 0.67 ×": lambda p, _: [p[int(n / 1.5)] for n in range(int(len(p) * 1.5))],
    "reversed": lambda p, _: p[::-1],
    "mirrored": lambda p, _: [picture[:, ::-1] for picture in p],
    "turned by 90°": lambda p, _: [np.rot90(picture) for picture in p],
    "letterbox": lambda p, _: list(films.letterboxed(p)),
    "pillarbox, white": lambda p, _: list(films.pillarboxed(p, level=255)),
    "brighter, more contrast": lambda p, _: [
        np.clip(picture * 1.25 + 10, 0, 255).astype(np.uint8) for picture in p
    ],
    "recorded off a page": lambda p, a: list(films.inset(p, a.page, 0.7, (0.5, 0.5))),
    "in a still picture, 40 %": lambda p, a: list(
        films.inset(p, lambda _: a.still, 0.4, (0.9, 0.9))
    ),
    "in a moving film, 40 %": lambda p, a: list(films.inset(p, a.moving, 0.4, (0.9, 0.9))),
    "in a moving film, 70 %": lambda p, a: list(films.inset(p, a.moving, 0.7, (0.5, 0.5))),
    "a face cam over it, 25 %": lambda p, a: list(
        films.inset([a.moving(n) for n in range(len(p))], lambda n: p[n], 0.25, (0.95, 0.95))
    ),
    "cropped to 90 %": lambda p, _: [picture[18:342, 32:608] for picture in p],
    "filmed off a screen, still": lambda p, a: list(films.filmed_off(p, a.rng, 0.4)),
    "filmed off a screen, by hand": lambda p, a: list(films.filmed_off(p, a.rng)),
    "2 s of it amid another": lambda p, a: [*a.other[:100], *p[60:110], *a.other[100:200]],
}


def changed(source: Source, count: int) -> None:
    from tutela.signals.derivation import compare, kernels
    from tutela.signals.local import Features, extract

    kernels()

    def features(media: Media) -> list[Features]:
        return [extract(frame.luma) for frame in media.frames]

    print(f"\nChanged: {count} films of 8 s in the bank; found by vpdq, by local on 8 key frames")
    originals = [source.film(300 + n, 8) for n in range(count)]
    decoded = [films.encode(pictures) for pictures in originals]
    bank = Bank([ours(data)[1].value for data in decoded])
    known = [features(local_media(data)) for data in decoded]
    for name, change in CHANGES.items():
        counts = [0, 0, 0]
        for n, pictures in enumerate(originals):
            data = films.encode(change(pictures, Around(source, n)))
            hashed = bank.finds(ours(data)[1], n)
            local = any(
                (found := compare(one, other)) is not None and found.likelihood > 0.9
                for one in features(local_media(data))
                for other in known[n]
            )
            counts = [a + b for a, b in zip(counts, (hashed, local, hashed or local), strict=True)]
        shown = (f"{count}/{len(originals)}" for count in counts)
        print("  {:30} vpdq {:7} local {:7} either {}".format(name, *shown))


def local_media(data: bytes) -> Media:
    from tutela.signals.local import LOCAL

    few = replace(FILMS, max_frames=8)
    return decoding.decode(data, few, detail=LOCAL.detail, colour=False, sound=False)


def unrelated(source: Source, most: int) -> None:
    numbers = list(range(len(source.paths)))[:most]
    values = []
    for number in numbers:
        pictures = source.film(9000 + number, 3, 320, 180, 12, [number])
        values.append(ours(films.encode(pictures, fps=12))[1])
    bank = Bank([made.value for made in values])
    false = []
    for n, made in enumerate(values):
        false += [(n, match.entry) for match in bank.match(made) if match.entry != n]
    pairs = len(values) * (len(values) - 1)
    print(f"\nUnrelated: {len(values)} clips of 3 s, each over a photograph of its own")
    print(f"  false matches: {len(false)} in {pairs:,} ordered pairs (0 in 10⁵ asked)")
    for one, other in false[:10]:
        print(f"    {source.paths[one].name} is taken for {source.paths[other].name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument("--films", type=int, default=10, help="films a row of a table")
    parser.add_argument("--seconds", type=float, default=20, help="of the 1080p film")
    parser.add_argument("--minutes", type=float, default=10, help="of the film with excerpts")
    parser.add_argument("--excerpts", type=int, default=60)
    parser.add_argument("--clips", type=int, default=400, help="unrelated ones, at most")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("speed", "screened", "reencoded", "excerpts", "changed", "unrelated"),
    )
    parser.add_argument("--banked", type=int, default=200, help="films in the bank that is asked")
    options = parser.parse_args()
    source = Source(options.photos)
    peer = Peer(options.peer_python) if options.peer_python else None
    print(machine.describe("av", "numba", "numpy"), peer.versions if peer else "")
    only = options.only or ("speed", "screened", "reencoded", "excerpts", "changed", "unrelated")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in only:
            speed(source, peer, options.seconds, folder)
        if "screened" in only:
            screened(source, peer, options.films, options.banked, folder)
        if "reencoded" in only:
            reencoded(source, options.films)
        if "excerpts" in only:
            excerpts(source, options.minutes, options.excerpts, peer, folder)
        if "changed" in only:
            changed(source, options.films)
        if "unrelated" in only:
            unrelated(source, options.clips)


if __name__ == "__main__":
    main()
