"""A film that is still being written, screened piece by piece within seconds of its bytes.

What is watched is one growing file, a pipe, or a folder into which segments are written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tutela.content import Content, Context
from tutela.errors import ConfigurationError, Reason, Rejected
from tutela.media.live import ENOUGH, Cutter, cutter
from tutela.screening import Screener
from tutela.verdict import Verdict

CHUNK = 1 << 20
PIECE = 16 << 20
"""Bytes of a piece where a film comes faster than it plays."""
TICK = 0.2
SETTLED = 1.0
"""Seconds without a change after which a segment counts as complete."""
HEADERS = ("init.mp4", "init.m4s", "header.m4s")
"""What the header of a folder of MP4 segments is called."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a film that can be decoded alone."""

    data: bytes
    name: str
    arrived: float
    """When its last byte was there, by `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdict on a piece."""

    verdict: Verdict
    behind: float
    """Seconds from the last byte of the piece to its verdict."""


def watch(
    screener: Screener,
    pieces: Iterator[Piece],
    *,
    context: Context | None = None,
) -> Iterator[Seen]:
    """Screen each piece as it comes; the verdicts have been recorded when they are yielded."""
    for piece in pieces:
        verdict = screener.screen(
            Content(data=piece.data, context=context or Context(), name=piece.name)
        )
        yield Seen(verdict, time.monotonic() - piece.arrived)


def file(
    path: Path, *, every: float = 4.0, idle: float = 30.0, stop: Callable[[], bool] = lambda: False
) -> Iterator[Piece]:
    """The pieces of a file that grows, about `every` seconds of it each.

    It has ended when it did not grow for `idle` seconds. Raises `ConfigurationError` for a path
    that can't be read, and `Rejected` for a film that can't be cut while it grows.
    """
    try:
        with path.open("rb") as source:
            yield from _cut(str(path), lambda: source.read(CHUNK), every, idle, stop)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error


def pipe(source: BinaryIO, *, every: float = 4.0) -> Iterator[Piece]:
    """The pieces of what comes through a pipe, until it ends."""
    handle = source.fileno()
    ended = False

    def take() -> bytes:
        nonlocal ended
        # Waits for the first byte alone, whatever the pipe's buffer could hold.
        data = os.read(handle, CHUNK)
        ended = not data
        return data

    yield from _cut("-", take, every, float("inf"), lambda: ended)


def folder(
    path: Path,
    *,
    idle: float = 30.0,
    stop: Callable[[], bool] = lambda: False,
    most: int,
) -> Iterator[Piece]:
    """The segments that are written into a folder, in the order of their names.

    Each is taken once it has stopped growing, at most `most` bytes of it. A header of MP4 segments
    (`init.mp4`) goes ahead of them.
    """
    if not path.is_dir():
        raise ConfigurationError(f"{path} is not a folder; name the folder of segments")
    done: set[str] = set()
    sizes: dict[str, tuple[int, float]] = {}
    changed = time.monotonic()
    while True:
        now, waiting = time.monotonic(), False
        header = next((path / name for name in HEADERS if (path / name).is_file()), None)
        for segment in sorted(path.iterdir()):
            if segment.name in done or segment.name in HEADERS or not _is_segment(segment):
                continue
            size = segment.stat().st_size
            before, since = sizes.get(segment.name, (-1, now))
            if size != before:
                since = changed = now
            sizes[segment.name] = size, since
            if now - since < SETTLED:
                waiting = True
                continue
            done.add(segment.name)
            yield Piece(_segment(segment, header, most), segment.name, since)
        if stop() or (not waiting and now - changed > idle):
            return
        time.sleep(TICK)


def _is_segment(path: Path) -> bool:
    # Playlists are text about segments, and unfinished ones are often named so.
    return path.is_file() and path.suffix not in {".m3u8", ".mpd", ".tmp", ".part"}


def _segment(path: Path, header: Path | None, most: int) -> bytes:
    with path.open("rb") as source:
        data = source.read(most + 1)
    if header is not None and data[4:8] in (b"styp", b"moof", b"sidx"):
        with header.open("rb") as source:
            data = source.read(most + 1) + data
    return data


def _cut(
    name: str,
    take: Callable[[], bytes],
    every: float,
    idle: float,
    stop: Callable[[], bool],
) -> Iterator[Piece]:
    head = b""
    cuts: Cutter | None = None
    number, cut, grown = 0, time.monotonic(), time.monotonic()

    def piece(data: bytes) -> Piece:
        nonlocal number, cut
        number, cut = number + 1, time.monotonic()
        return Piece(data, f"{name} #{number}", cut)

    while True:
        data = take()
        now = time.monotonic()
        if data:
            grown = now
            if cuts is None:
                head += data
                if len(head) < ENOUGH:
                    continue
                cuts, data = cutter(head), head
            cuts.least = 0 if now - cut >= every else PIECE
            yield from map(piece, cuts.feed(data))
            continue
        if stop() or now - grown > idle:
            break
        time.sleep(TICK)
    if cuts is None:
        if not head:
            raise Rejected(Reason.EMPTY, "Nothing came.")
        cuts = cutter(head)
        yield from map(piece, cuts.feed(head))
    if rest := cuts.rest():
        yield replace(piece(rest), arrived=grown)
