"""Content examined: decoded, fingerprinted and shown to the detectors. In process, no state."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tutela import detectors
from tutela.detectors import Subject
from tutela.errors import Reason, Rejected
from tutela.findings import Finding
from tutela.media import Limits, Media, decode
from tutela.media.preview import Preview, previews
from tutela.media.types import MediaFacts
from tutela.signals.base import Fingerprint, SignalType


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
    """Milliseconds by step: `decode`, each signal by its name, `detect`."""
    findings: tuple[Finding, ...] = ()
    """What the detectors found."""
    previews: tuple[Preview, ...] = ()
    """Small pictures of each frame, where they were asked for."""


def examine(
    data: bytes, signals: Sequence[SignalType], limits: Limits, *, look: bool = False
) -> Examination:
    """Decode content, take its fingerprints, detect; with `look`, make small pictures of it.

    Content that is at fault never raises.

    Content is decoded only if a signal reads pixels. A native decoder can crash or hang on
    hostile content: `tutela.sandbox.Sandbox` does the same in processes that may.
    """
    timings: dict[str, float] = {}
    fingerprints: list[Fingerprint] = []
    rejected: Rejected | None = None
    media: Media | None = None
    detail = max((signal.detail for signal in signals), default=0)
    if detail:
        started = time.perf_counter()
        try:
            media = decode(data, limits, detail=detail)
        except Rejected as error:
            # Afresh: what the error holds on to, its causes' frames, holds the pixels.
            rejected = Rejected(error.reason, error.message)
        timings["decode"] = _since(started)
    for signal in signals:
        if signal.detail and media is None:
            continue
        started = time.perf_counter()
        try:
            fingerprints += signal.fingerprint(data, media)
        except MemoryError:
            rejected = Rejected(
                Reason.TOO_MUCH_MEMORY, f"The signal {signal.name} needs too much memory."
            )
        timings[signal.name] = _since(started)
    started = time.perf_counter()
    findings = detectors.examine(Subject(None, media, fingerprints))
    timings["detect"] = _since(started)
    facts = _facts(media, len(data))
    small = previews(media) if look and media is not None else ()
    return Examination(tuple(fingerprints), facts, rejected, timings, tuple(findings), small)


def examine_text(text: str, signals: Sequence[SignalType]) -> Examination:
    """Fingerprint a text by its UTF-8 bytes and show it to the detectors.

    Nothing yet judges what a text says, so it counts as not examined, which holds it.
    """
    data = text.encode("utf-8", "surrogatepass")
    fingerprints = [
        made for kind in signals if not kind.detail for made in kind.fingerprint(data, None)
    ]
    findings = detectors.examine(Subject(text, None, fingerprints))
    unread = Rejected(Reason.UNSUPPORTED, "A text is compared with known ones; none judges it yet.")
    facts = MediaFacts("text", size=len(data))
    return Examination(tuple(fingerprints), facts, unread, findings=tuple(findings))


def read(path: str | Path, limits: Limits) -> bytes:
    """The bytes of a regular file within bounds. Raises `Rejected`.

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
            if facts.st_size > limits.max_bytes:
                raise Rejected(
                    Reason.TOO_MANY_BYTES,
                    f"{facts.st_size} bytes are above the {limits.max_bytes} allowed.",
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
    sampled = len({frame.index for frame in media.frames})
    return MediaFacts(media.format, media.width, media.height, media.frame_count, size, sampled)
