"""vPDQ, the fingerprint of films that the field exchanges: PDQ of frames, with their times.

Text and measures are those of python-threatexchange's `vpdq` extension: quality 50, radius 31, 80 %
of the query's frames. Which frames are hashed is not the same: it hashes one a second, Tutela the
distinct instants (`tutela.media.film_track`). Each finds the other's (docs/design/video.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tutela.errors import InvalidSignal
from tutela.media.types import Media, Moment
from tutela.signals import vpdq_kernels as kernels
from tutela.signals.base import Fingerprint, Hit, Match, Stored
from tutela.signals.digest import hexadecimal
from tutela.signals.pdq import VARIANTS as TURNS
from tutela.signals.pdq import turned

SHARE = 0.8
"""Share of the distinct frames of either film from which on they match."""
RUN = 1.5
"""Seconds of one stretch that both show in step, from which on they match as well."""
STEPS = 4
"""Distinct frames of such a stretch, at least …"""
DENSE = 0.6
"""… and their share of the frames there."""
MOST = 16_384
"""Frames of one value."""

LOOSE = 56
"""Bits within which the frames of a stretch are alike: what a logo, a subtitle or a slight crop
does. Frames of other films are beyond 80; that so many are nearer, and in step, is no chance."""

_SLACK = 0.35
"""Seconds by which a frame may be out of step."""
_GAP = 2.0
"""Seconds without a match that end a stretch."""
_WORK = 2_000_000
"""Pairs of frames that are looked at for each speed, in search of the best line."""
_CANDIDATES = 64
"""Entries that are compared frame by frame: those that most frames of the content are near to."""
_TURNED = 32
"""Frames that are looked up turned, evenly spread: a film that was turned was turned throughout."""
_SPREAD = ("rotated 90", "rotated 180", "rotated 270")

_PACKED = np.dtype([("ms", ">u4"), ("hash", "u1", 32), ("quality", "u1")])


@dataclass(frozen=True, slots=True)
class Vpdq:
    """Frame hashes of a film or an animation, packed, in order of time."""

    name: str = "vpdq"
    version: str = "1"
    radius: int = 31
    row_bits: int = 256
    min_quality: int = 50
    """Of frames: others are kept, and neither searched nor counted."""
    detail: int = 192

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """One for a film or an animation that has a frame to tell it by; none for other content."""
        del data
        if media is None or not media.track:
            return ()
        quality = max(moment.quality for moment in media.track)
        variants = [("mirrored", pack(media.track, mirrored=True))]
        for name, track in media.insets.items():
            variants.append((name, pack(track)))
            variants.append((f"{name} mirrored", pack(track, mirrored=True)))
        for _, value in variants[1:]:
            # What is inside borders may be the only thing that is not flat.
            quality = max(quality, int(unpack(value)["quality"].max()))
        return (Fingerprint(self.name, pack(media.track), quality, variants=tuple(variants)),)

    def parse(self, text: str) -> bytes:
        """A JSON list of `hash,quality,seconds`, or the older object by frame number.

        Raises `InvalidSignal`.
        """
        try:
            frames = json.loads(text)
            if isinstance(frames, dict):
                listed = [
                    (row["hash"], int(row["quality"]), float(row["timestamp"]))
                    for row in frames.values()
                ]
            else:
                listed = [
                    (value, int(quality), float(seconds))
                    for value, quality, seconds in (row.split(",") for row in frames)
                ]
            if not 0 < len(listed) <= MOST:
                raise InvalidSignal(f"a vpdq fingerprint has 1 to {MOST} frames")
            made = np.empty(len(listed), _PACKED)
            for place, (value, quality, seconds) in enumerate(listed):
                if not (0 <= quality <= 100 and 0 <= seconds < 4_000_000):
                    raise InvalidSignal("a frame of a vpdq fingerprint has no such quality or time")
                row = np.frombuffer(hexadecimal("pdq", value.lower(), 32), np.uint8)
                made[place] = (round(1000 * seconds), row, quality)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidSignal(
                "a vpdq fingerprint is a JSON list of texts hash,quality,seconds"
            ) from error
        return made[np.argsort(made["ms"], kind="stable")].tobytes()

    def format(self, value: bytes) -> str:
        """A JSON list of `hash,quality,seconds`."""
        return json.dumps(
            [
                f"{row['hash'].tobytes().hex()},{row['quality']},{row['ms'] / 1000:.3f}"
                for row in unpack(value)
            ]
        )

    def rows(self, value: bytes) -> Sequence[bytes]:
        """The distinct hashes of sufficient quality."""
        return list(dict.fromkeys(row.tobytes() for row in _good(value)["hash"]))

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        """The rows of the film and its variants, named `variant:number`; some also turned."""
        found: dict[str, bytes] = {}
        for variant, value in _variants(fingerprint):
            rows = self.rows(value)
            found |= {f"{variant}:{n}": row for n, row in enumerate(rows)}
        rows = self.rows(fingerprint.value)
        for n in sorted({k * len(rows) // _TURNED for k in range(_TURNED)} if rows else ()):
            sides = turned(rows[n])
            found |= {f"{name}:{n}": sides[name] for name in _SPREAD}
        return found

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        """Entries of which enough is in the content, or in which enough of the content is."""
        named = [name.rpartition(":")[0] for name in variants]
        votes: dict[tuple[int, str], set[int]] = {}
        for hit in hits:
            votes.setdefault((hit.entry, named[hit.query]), set()).add(hit.query)
        ranked = sorted(votes, key=lambda key: (-len(votes[key]), key))
        entries = list(dict.fromkeys(entry for entry, _ in ranked))[:_CANDIDATES]
        values = stored(entries)
        tracks = {name: Frames.of(value) for name, value in _variants(fingerprint)}
        best: dict[int, Match] = {}
        for entry, variant in ranked:
            value = values.get(entry)
            if value is None:
                continue
            if variant not in tracks:
                tracks[variant] = Frames.of(_turn(fingerprint.value, variant))
            found = compare(tracks[variant], Frames.of(value), self.radius)
            if found is None:
                continue
            match = Match(
                entry, found.distance, variant, found.query_share, found.index_share,
                found.start, found.end,
            )  # fmt: skip
            best[entry] = min(best.get(entry, match), match, key=_order)
        return sorted(best.values(), key=lambda match: (*_order(match), match.entry))


def _order(match: Match) -> tuple[float, int]:
    return -max(match.query_share or 0.0, match.index_share or 0.0), match.distance


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a film that can be compared."""

    words: kernels.Words
    """(n, 4): the hashes, 64 bits a word."""
    times: kernels.Times
    """(n,) seconds."""

    @classmethod
    def of(cls, value: bytes) -> Frames:
        """Of a packed value, in order of time: of each hash the first frame."""
        good = _good(value)
        _, first = np.unique(good["hash"], axis=0, return_index=True)
        good = good[np.sort(first)]
        hashes = np.ascontiguousarray(good["hash"])
        return cls(hashes.view(np.uint64), good["ms"] / 1000.0)


@dataclass(frozen=True, slots=True)
class Shared:
    """What two films have in common."""

    query_share: float
    index_share: float
    distance: int
    """Median of the nearest, bits."""
    start: float
    """Seconds into the query."""
    end: float


def compare(query: Frames, entry: Frames, radius: int) -> Shared | None:
    """What two films share, if that makes them match."""
    if not len(query.words) or not len(entry.words):
        return None
    here, there = kernels.nearest(query.words, entry.words, LOOSE)
    near = here <= radius
    if not near.any():
        return None
    query_share, index_share = float(near.mean()), float((there <= radius).mean())
    if max(query_share, index_share) < SHARE:
        if (here <= LOOSE).sum() < STEPS or (there <= LOOSE).sum() < STEPS:
            return None
        shared = _in_step(query, entry)
        if shared is None:
            return None
        near = shared
    start, end = max(_stretches(query.times, near), key=lambda span: span[1] - span[0])
    distance = int(np.median(here[near]))
    return Shared(query_share, index_share, distance, start, end)


def _in_step(query: Frames, entry: Frames) -> NDArray[np.bool_] | None:
    """The frames of a stretch that both films show in step, if it is long enough."""
    paired = kernels.pairs(query.words, entry.words, LOOSE, 32)
    anchors = min(max(_WORK // len(paired), 8), 128)
    on = kernels.aligned(paired, query.times, entry.times, _SLACK, anchors)
    for start, end in _stretches(query.times, on):
        within = (query.times >= start) & (query.times <= end)
        count = int((on & within).sum())
        if end - start >= RUN and count >= STEPS and count >= DENSE * within.sum():
            return on & within
    return None


def _stretches(times: kernels.Times, on: NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    """From the first to the last of the frames that are on, wherever no long gap is between."""
    marked = times[on].tolist()
    start = marked[0]
    for before, after in pairwise(marked):
        if after - before > _GAP:
            yield start, before
            start = after
    yield start, marked[-1]


def pack(track: Sequence[Moment], *, mirrored: bool = False) -> bytes:
    """The value of a track, in order of time."""
    made = np.empty(len(track), _PACKED)
    for place, moment in enumerate(track):
        value = moment.pdq
        if mirrored:
            value = moment.mirrored or turned(moment.pdq)["mirrored"]
        milliseconds = min(math.floor(1000 * moment.at), 0xFFFFFFFF)
        made[place] = (milliseconds, np.frombuffer(value, np.uint8), moment.quality)
    return made.tobytes()


def unpack(value: bytes) -> NDArray[np.void]:
    """Frames of a value: `ms`, `hash` (32 bytes), `quality`."""
    return np.frombuffer(value, _PACKED)


def _good(value: bytes) -> NDArray[np.void]:
    frames = unpack(value)
    return frames[frames["quality"] >= VPDQ.min_quality]


def _variants(fingerprint: Fingerprint) -> list[tuple[str, bytes]]:
    """The film as it is and as it would be had it been transformed, by name."""
    if fingerprint.variants:
        return [("", fingerprint.value), *fingerprint.variants]
    return [("", fingerprint.value), ("mirrored", _turn(fingerprint.value, "mirrored"))]


def _turn(value: bytes, variant: str) -> bytes:
    """The value with every frame turned, as near as bits alone can tell."""
    assert variant in TURNS
    made = unpack(value).copy()
    for row in made:
        row["hash"] = np.frombuffer(turned(row["hash"].tobytes())[variant], np.uint8)
    return made.tobytes()


VPDQ = Vpdq()
