"""Content examined: decoded, fingerprinted, shown to detectors. In process, no state."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tutela import detectors as detecting
from tutela.detectors import Detector, Sight, Subject
from tutela.errors import Reason, Rejected
from tutela.findings import Finding
from tutela.media import Limits, Media, decode
from tutela.media.types import MediaFacts, Sound
from tutela.media.views import LARGE, SIDE, View, views
from tutela.signals.base import Fingerprint, SignalType

HEAD = 4096
"""Bytes by which a format is told."""
BESIDE = 128 << 10
"""Bytes of content from which its digests are taken while it is decoded."""
DETAIL = 192
"""Shorter side of frames, pixels, where no signal asks for any."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of content."""

    signals: frozenset[str] = frozenset()
    detectors: frozenset[str] = frozenset()
    """Of those that run in the sandbox."""
    sights: frozenset[Sight] = frozenset()
    """`VIEWS`, `LARGE` (views too, larger) and `SOUND`, for what runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What came of one piece of content.

    `rejected` says why it could not be decoded: the verdict then holds it. Digests are there
    nevertheless, unless the bytes themselves could not be had.
    """

    fingerprints: tuple[Fingerprint, ...] = ()
    media: MediaFacts = field(default_factory=MediaFacts)
    rejected: Rejected | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by step: `decode`, `views`, each signal and detector by its name."""
    findings: tuple[Finding, ...] = ()
    """What detectors found beside the decoder."""
    views: tuple[View, ...] = ()
    """Small pictures of each frame, where they were asked for."""
    sound: Sound | None = None
    """The sound, where it was asked for and there is any."""

    @property
    def nbytes(self) -> int:
        """Memory of the pictures and the sound, bytes."""
        sound = 0 if self.sound is None else self.sound.samples.nbytes
        return sound + sum(view.rgb.nbytes for view in self.views)


def examine(
    data: bytes,
    signals: Sequence[SignalType],
    limits: Limits,
    *,
    detectors: Sequence[Detector] = (),
    sights: frozenset[Sight] = frozenset(),
) -> Examination:
    """Decode content, take its fingerprints, show it to detectors, make views of it.

    Content that is at fault never raises.

    Content is decoded only if something needs that. A native decoder can crash or hang on
    hostile content: `tutela.sandbox.Sandbox` does the same in processes that may.
    """
    timings: dict[str, float] = {}
    fingerprints: list[Fingerprint] = []
    rejected: Rejected | None = None
    media: Media | None = None
    detail = max((signal.detail for signal in signals), default=0)
    colour = bool(sights & {Sight.VIEWS, Sight.LARGE})
    side = (LARGE if Sight.LARGE in sights else SIDE) if colour else 0
    least = side if Sight.LARGE in sights else side // 2
    digests = [signal for signal in signals if signal.radius is None and not signal.detail]
    beside: Future[dict[str, Taken]] | None = None
    if detail or sights or any(Sight.MEDIA in detector.looks_at for detector in detectors):
        if len(data) >= BESIDE:
            beside = helper().submit(_take, digests, data, None)
        started = time.perf_counter()
        try:
            media = decode(data, limits, detail=detail or DETAIL, colour=least)
        except Rejected as error:
            # Afresh: what the error holds on to, its causes' frames, holds the pixels.
            rejected = Rejected(error.reason, error.message)
        timings["decode"] = _since(started)
    taken = _take([signal for signal in signals if signal not in digests], data, media)
    taken |= _take(digests, data, None) if beside is None else beside.result()
    for signal in signals:
        made, timings[signal.name] = taken[signal.name]
        if isinstance(made, Rejected):
            rejected = made
        else:
            fingerprints += made
    facts = _facts(media, len(data))
    findings: list[Finding] = []
    for detector in detectors:
        if detector.applies(facts) and (media is not None or Sight.MEDIA not in detector.looks_at):
            started = time.perf_counter()
            subject = Subject(data=data, media=media, facts=facts, fingerprints=fingerprints)
            findings += detecting.examine(detector, subject)
            timings[detector.name] = _since(started)
    seen: tuple[View, ...] = ()
    if side and media is not None:
        started = time.perf_counter()
        seen = views(media, side)
        timings["views"] = _since(started)
    sound = media.sound if media is not None and Sight.SOUND in sights else None
    return Examination(tuple(fingerprints), facts, rejected, timings, tuple(findings), seen, sound)


Taken = tuple[Sequence[Fingerprint] | Rejected, float]
"""The fingerprints of one signal, or why there are none, and the milliseconds that it took."""


def _take(signals: Sequence[SignalType], data: bytes, media: Media | None) -> dict[str, Taken]:
    """What each signal makes of content; nothing where it needs pixels and there are none."""
    taken: dict[str, Taken] = {}
    for signal in signals:
        started = time.perf_counter()
        made: Sequence[Fingerprint] | Rejected = ()
        try:
            if media is not None or not signal.detail:
                made = signal.fingerprint(data, media)
        except MemoryError:
            made = Rejected(
                Reason.TOO_MUCH_MEMORY, f"The signal {signal.name} needs too much memory."
            )
        taken[signal.name] = made, _since(started)
    return taken


@cache
def helper() -> ThreadPoolExecutor:
    """The thread that takes digests of large content while it is decoded."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="tutela-digest")
    # It starts with the first task: before a worker is confined, that is.
    pool.submit(int).result()
    return pool


def examine_text(text: str, signals: Sequence[SignalType]) -> Examination:
    """Fingerprint a text by its UTF-8 bytes. What it says is for detectors to judge."""
    data = text.encode("utf-8", "surrogatepass")
    fingerprints = [
        made for kind in signals if not kind.detail for made in kind.fingerprint(data, None)
    ]
    return Examination(tuple(fingerprints), MediaFacts("text", size=len(data)))


def head(path: str | Path) -> bytes:
    """The first bytes of a regular file, by which its format is told. Raises `Rejected`."""
    return read(path, 0, first=HEAD)


def read(path: str | Path, max_bytes: int, *, first: int = 0) -> bytes:
    """The bytes of a regular file, at most so many, or its `first`. Raises `Rejected`.

    Pipes, devices and folders are refused without being opened: a read from them may never end.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Rejected(Reason.UNREADABLE_FILE, "Not a regular file.")
        # Between the two calls it may have become a pipe: opening one must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with open(handle, "rb", buffering=0) as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise Rejected(Reason.UNREADABLE_FILE, "Not a regular file.")
            if first:
                return file.read(first)
            if facts.st_size > max_bytes:
                raise Rejected(
                    Reason.TOO_MANY_BYTES,
                    f"{facts.st_size} bytes are above the {max_bytes} allowed.",
                )
            data = file.read(facts.st_size)
            # One read gives all of a regular file, save where it was cut meanwhile.
            if len(data) != facts.st_size:
                raise Rejected(Reason.UNREADABLE_FILE, "The file changed while it was read.")
            return data
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise Rejected(Reason.UNREADABLE_FILE, f"The file can't be read: {what}.") from error
    except ValueError as error:
        raise Rejected(Reason.UNREADABLE_FILE, "The path is not one.") from error


_BINARY: int = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _facts(media: Media | None, size: int) -> MediaFacts:
    if media is None:
        return MediaFacts(size=size)
    return MediaFacts(
        media.format,
        media.width,
        media.height,
        media.frame_count,
        size,
        frames_sampled=len({frame.index for frame in media.frames}),
        duration=round(media.duration, 3),
        sound=0.0 if media.sound is None else round(media.sound.seconds, 3),
    )
