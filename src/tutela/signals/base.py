"""The one interface that every fingerprint implements, Tutela's own and third-party ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tutela.media.types import Media


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One fingerprint of content, or of a part of it."""

    signal: str
    value: bytes
    quality: int | None = None
    """0–100 where the signal has such a notion; below its `min_quality` it is never searched."""
    part: str = ""
    """Which part of the content, for people: `frame 3`, `frame 0 on black`."""
    variants: tuple[tuple[str, bytes], ...] = ()
    """What the value would be had the content been transformed, by the name of the transform.

    Only a query carries them: a bank keeps the value alone.
    """


@dataclass(frozen=True, slots=True)
class Hit:
    """One row of the index within the radius of one query row."""

    query: int
    """Which query row."""
    entry: int
    """The bank entry whose row it is."""
    distance: int


@dataclass(frozen=True, slots=True)
class Match:
    """A bank entry that a fingerprint matches. `variant` names the transformed query, if any.

    Of what runs in time also: which shares of either match, and where in the content.
    """

    entry: int
    distance: int
    """Bits; of several rows the median."""
    variant: str = ""
    query_share: float | None = None
    """Share of the content that matches the entry, 0–1."""
    index_share: float | None = None
    """Share of the entry that the content matches, 0–1."""
    start: float | None = None
    """Seconds into the content where the match begins, …"""
    end: float | None = None
    """… and where it ends."""


Stored: TypeAlias = Callable[[Sequence[int]], Mapping[int, bytes]]
"""The values of bank entries, by entry; one that is gone is not among them."""


class SignalType(Protocol):
    """A kind of fingerprint. Registered as an entry point in the group `tutela.signals`.

    A signal whose `radius` is None is compared for equality; one with a radius is a set of
    rows of `row_bits` bits that are searched by Hamming distance. The index knows rows and entries
    alone: what a match is, the signal decides in `judge`, so that a picture (one row), a video
    (a row a frame) and local fingerprints (hundreds of rows) share one search.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def radius(self) -> int | None:
        """Largest Hamming distance that matches; None for equality."""

    @property
    def row_bits(self) -> int:
        """Bits of a row, a multiple of 64; 0 for a signal compared for equality."""

    @property
    def min_quality(self) -> int:
        """Fingerprints of a lower quality are neither searched nor accepted into a bank."""

    @property
    def detail(self) -> int:
        """Shorter side of `Frame.luma` that the signal needs, pixels; 0 if it reads no pixels."""

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """Fingerprints of content; `media` is None when it could not be decoded."""

    def parse(self, text: str) -> bytes:
        """The value that `format` wrote, canonical. Raises `InvalidSignal`."""

    def format(self, value: bytes) -> str:
        """The value as text for people and files."""

    def rows(self, value: bytes) -> Sequence[bytes]:
        """The rows that a bank entry of this value puts into the index."""

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        """The rows to search for, by variant: `""` as it is, `mirrored`, `rotated 90` …

        Made from `fingerprint.variants` where they are there, else from the value as well as the
        signal can: a lookup by value alone passes `Fingerprint(name, value)`.
        """

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        """The entries that match, one `Match` each; `hits[i].query` indexes `variants`.

        Where rows that are near make an entry no more than a candidate, as in a film, `stored`
        gives the whole of it to compare with.
        """


def nearest(variants: Sequence[str], hits: Sequence[Hit]) -> list[Match]:
    """The usual `judge`: every entry hit, at its smallest distance, nearest first."""
    best: dict[int, Match] = {}
    for hit in hits:
        held = best.get(hit.entry)
        if held is None or hit.distance < held.distance:
            best[hit.entry] = Match(hit.entry, hit.distance, variants[hit.query])
    return sorted(best.values(), key=lambda match: (match.distance, match.entry))
