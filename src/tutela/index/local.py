"""Which protected photos content may derive from: candidates by votes, to be compared in full.

A photo is hundreds of 256-bit rows, of which a derivative keeps some, with a tenth to a quarter of
their bits changed. Four chunks of each row are looked up, exactly and with one bit flipped
(multi-index hashing: Norouzi et al., CVPR 2012); a tag beside each posting rejects most rows, and a
sketch of 96 further bits says how near the others are. A photo's score sums, over the query's rows,
how much likelier so near a row is of a derivative than of a stranger. Rows live in memory alone.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError
from tutela.index.live import Change
from tutela.index.plan import TAG_BITS
from tutela.index.table import PADDING, Entries, Rows, Words, as_words, frozen
from tutela.index.table import kernels as table_kernels

BITS = 256
CANDIDATES = 32
"""Entries that a search returns at most."""
BUCKET, ALONE = 12, 84
"""Rows in an average bucket of a table of fewer photos than `BLOCK`: beside a larger table, and
without one, when there is time to find more."""
KEY = 20
"""Bits of a bucket's number, in a table of `BLOCK` photos or more."""
LEAST_KEY = 4
FULL = 336
"""Postings of a bucket that a search looks at: so many, or eight times the average if more."""
BLOCK = 8192
"""Photos from which on a table holds no rows as they are: it is merged, never cut anew."""
BATCH = 1024
"""Changes taken from the source at once."""
MERGED, POURED = 16, 4
"""A table is merged with those before it that have at most so many times its photos: the first
while rows are at hand, the second for those of `BLOCK` photos and more."""

LIMITS = frozen(np.array([5, 3]))
"""Greatest distance of a tag, by flips of the key, at which a row's sketch is looked at."""
UNIT = 1000
"""What a decade counts in scores."""
SHARE = 0.02
"""Share of a derivative's rows that are found again in the photo, where they are few."""
CHANGED = (0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 0.28)
"""Shares of the bits of such a row that are changed, each as likely."""
ALIKE = 0.0023
"""Correlation of two strangers' bits: their distance varies by 10 bits of 256, not by 8."""
TYPICAL = 440
"""Rows of a photo."""
WORTH = 0.3
"""Decades below which a near row is not counted."""
MOST = 8.0
"""Decades that one query row can add to a photo's score."""
SURE = 0.0
"""A stranger becomes a candidate once in 10 to this many searches, were all rows independent."""


class Source(Protocol):
    """Where photos live. Sequence numbers start at 1."""

    def head(self, signal: str) -> int:
        """The newest sequence number."""

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        """The latest state of entries changed after `after`: the first `limit`, by `seq`."""


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """What the index holds, for people and metrics."""

    entries: int
    rows: int
    head: int
    tables: int
    nbytes: int


@functools.cache
def kernels() -> ModuleType:
    """The compiled loops; loading them (and numba) waits until the first search or build."""
    from tutela.index import local_kernels as loaded

    return loaded


@dataclass(frozen=True, slots=True)
class Table:
    """Photos by slot, and where their rows' chunks are. Arrays are never written once built."""

    key: int
    entries: Entries
    """Entry of each slot."""
    starts: NDArray[np.int64]
    """First row of each slot, and the number of rows."""
    alive: NDArray[np.bool_]
    """Slots that count."""
    offsets: NDArray[np.uint32]
    tags: NDArray[np.uint16]
    postings: NDArray[np.uint32]
    sketches: NDArray[np.uint32]
    """Of each row, in the order of slots."""
    rows: Words | None
    """All rows, in the order of slots; None from `BLOCK` photos on."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each slot."""
        return np.diff(self.starts)

    @property
    def photos(self) -> int:
        return int(self.alive.sum())

    @property
    def nbytes(self) -> int:
        held = (self.entries, self.starts, self.alive, self.offsets, self.tags, self.postings)
        rows = self.rows.nbytes if self.rows is not None else 0
        return sum(array.nbytes for array in held) + self.sketches.nbytes + rows

    def without(self, entries: Entries) -> Table:
        """This table with these entries struck out."""
        struck = np.isin(self.entries, entries) & self.alive
        return replace(self, alive=self.alive & ~struck) if struck.any() else self

    def living(self) -> tuple[Words, Entries, NDArray[np.int64]]:
        """Rows, entries and lengths of the slots that count, for a table that holds its rows."""
        if self.rows is None:
            raise ValueError("this table does not hold its rows")
        return (
            self.rows[np.repeat(self.alive, self.lengths)],
            self.entries[self.alive],
            self.lengths[self.alive],
        )

    def scores(self, queries: Words) -> NDArray[np.int32]:
        """The score of each slot, in `UNIT` to the decade."""
        loops = kernels()
        votes = np.zeros((len(self.entries), 3), np.int32)
        votes[:, loops.ASKED] = -1
        full = max(FULL, 8 * len(self.sketches) >> self.key)
        loops.vote(
            self.offsets, self.tags, self.postings, self.sketches, self.starts, self.key, queries,
            _weights(self.key)[0], LIMITS, full, votes,
        )  # fmt: skip
        return votes[:, loops.SCORE]


def cut(rows: Words, entries: Entries, lengths: NDArray[np.int64], bucket: int = BUCKET) -> Table:
    """A table of photos: their rows one after the other, their entries, how many rows each has."""
    loops = kernels()
    n = len(rows)
    large = len(entries) >= BLOCK
    fitting = round(math.log2(max(n, 1) / bucket))
    key = KEY if large else max(LEAST_KEY, min(KEY, fitting))
    buckets = (1 << key) + 1
    offsets = np.empty(loops.CHUNKS * buckets, np.uint32)
    tags = np.zeros(loops.CHUNKS * n + PADDING, np.uint16)
    postings = np.empty(loops.CHUNKS * n, "<u4")
    sketches = np.empty((n, loops.SKETCH), np.uint32)
    words = frozen(rows.view())
    loops.sketch(words, sketches)
    for c in range(loops.CHUNKS):
        held = slice(c * n, (c + 1) * n)
        at = offsets[c * buckets : (c + 1) * buckets]
        numbers = postings[held].view(np.uint8).reshape(-1, 4)
        table_kernels().fill(words, c * loops.SPAN, key, at, tags[held], numbers)
    return Table(
        key,
        entries,
        _starts(lengths),
        np.ones(len(entries), np.bool_),
        frozen(offsets),
        frozen(tags),
        frozen(postings),
        frozen(sketches),
        None if large else words,
    )


def poured(tables: Sequence[Table]) -> Table:
    """One table, without its rows, of what counts in several of the same key."""
    loops = kernels()
    key = tables[0].key
    buckets = 1 << key
    kept = [np.repeat(table.alive, table.lengths) for table in tables]
    firsts = np.cumsum([0, *(int(rows.sum()) for rows in kept)]).tolist()
    n = firsts.pop()
    renumbers = [
        frozen(np.where(rows, np.cumsum(rows) + (first - 1), -1))
        for rows, first in zip(kept, firsts, strict=True)
    ]
    offsets = np.zeros(loops.CHUNKS * (buckets + 1), np.uint32)
    tags = np.zeros(loops.CHUNKS * n + PADDING, np.uint16)
    postings = np.empty(loops.CHUNKS * n, np.uint32)
    for c in range(loops.CHUNKS):
        pieces = [_chunk(table, c) for table in tables]
        at = offsets[c * (buckets + 1) : (c + 1) * (buckets + 1)]
        counts = np.zeros(buckets, np.uint32)
        for piece, renumber in zip(pieces, renumbers, strict=True):
            loops.tally(piece[0], piece[2], renumber, counts)
        np.cumsum(counts, out=at[1:])
        cursors = at[:-1].copy()
        held = slice(c * n, (c + 1) * n)
        for piece, renumber in zip(pieces, renumbers, strict=True):
            loops.pour(*piece, renumber, cursors, tags[held], postings[held])
    entries = np.concatenate([table.entries[table.alive] for table in tables])
    return Table(
        key,
        entries,
        _starts(np.concatenate([table.lengths[table.alive] for table in tables])),
        np.ones(len(entries), np.bool_),
        frozen(offsets),
        frozen(tags),
        frozen(postings),
        frozen(
            np.concatenate([table.sketches[of] for table, of in zip(tables, kept, strict=True)])
        ),
        None,
    )


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return frozen(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]))


def _chunk(
    table: Table, c: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint32]]:
    """Offsets, tags and postings of one chunk."""
    buckets, n = (1 << table.key) + 1, len(table.sketches)
    held = slice(c * n, (c + 1) * n)
    at = slice(c * buckets, (c + 1) * buckets)
    return table.offsets[at], table.tags[held], table.postings[held]


@functools.cache
def _weights(key: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """What a near row is worth by its distance in key, tag and sketch; and its chance.

    The chance is how many rows of a stranger's are found at that distance from one query row. The
    worth is in decades: how much likelier such a row is in a photo that the content derives from.
    """
    strangers = 0.5 + math.sqrt(0.25 * ALIKE) * np.linspace(-4, 4, 81)
    likely = np.exp(-(np.linspace(-4, 4, 81) ** 2) / 2)
    chance = TYPICAL * _found(key, strangers, likely / likely.sum())
    changed = np.array(CHANGED)
    alike = _found(key, changed, np.full(len(changed), 1 / len(changed)))
    worth = np.minimum(np.log10(1 + SHARE * alike / np.maximum(chance, 1e-300)), MOST)
    last = int(np.flatnonzero(worth >= WORTH)[-1]) + 1
    weights = np.rint(worth[:last] * UNIT).astype(np.int32)
    return frozen(weights), chance[:last]


def _found(
    key: int, changed: NDArray[np.float64], likely: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many chunks find a row, by its distance, if shares `changed` of the bits are `likely`."""
    loops = kernels()
    sketch = 32 * loops.SKETCH
    found = np.zeros(key + TAG_BITS + sketch + 1)

    def binomial(n: int, k: int) -> NDArray[np.float64]:
        return math.comb(n, k) * changed**k * (1 - changed) ** (n - k)

    for flips in (0, 1):
        for tag in range(int(LIMITS[flips]) + 1):
            near = likely * binomial(key, flips) * binomial(TAG_BITS, tag)
            for rest in range(sketch + 1):
                found[flips + tag + rest] += float((near * binomial(sketch, rest)).sum())
    return loops.CHUNKS * found  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=4096)
def _least(key: int, queries: int, photos: int) -> int:
    """The score that one of so many strangers reaches once in 10**SURE searches, at most.

    Near rows of strangers come as a Poisson process for each distance; this is Chernoff's bound
    on the tail of their worth's sum.
    """
    weights, chance = _weights(key)
    worth, rate = weights / UNIT, queries * chance
    tilts = np.geomspace(0.05, 20.0, 60)[:, None]
    wanted = math.log(max(photos * 10**SURE, 2.0))
    bounds = (wanted + (rate * np.expm1(np.minimum(tilts * worth, 600.0))).sum(1)) / tilts[:, 0]
    return math.ceil(float(bounds.min()) * UNIT)


@dataclass(frozen=True, slots=True)
class _State:
    """What searches read; never altered."""

    tables: tuple[Table, ...] = ()
    """Large ones first."""
    head: int = 0


class LocalIndex:
    """Candidates among protected photos. Any number of threads may search while one refreshes.

    It starts empty: `refresh` reads all there is. Nothing is ever written to disk.
    """

    def __init__(self, source: Source, signal: str = "local") -> None:
        self._source = source
        self._signal = signal
        self._refreshing = threading.Lock()
        self._state = _State()

    def search(self, rows: Rows) -> list[int]:
        """Entries that it pays to compare with content of these rows, best first, at most 32.

        `rows` is uint8 (n, 32); rows that are equal count once.
        """
        tables = self._state.tables
        photos = sum(table.photos for table in tables)
        if not photos or not len(rows):
            return []
        queries = frozen(_distinct(as_words(rows, BITS)))
        entries, scores = [], []
        for table in tables:
            found = table.scores(queries)
            least = _least(table.key, len(queries), photos)
            near = np.flatnonzero((found >= least) & table.alive)
            entries.append(table.entries[near])
            scores.append(found[near] - least)
        every, score = np.concatenate(entries), np.concatenate(scores)
        best = np.lexsort((every, -score))[:CANDIDATES]
        return [int(entry) for entry in every[best]]

    def status(self) -> LocalStatus:
        """What the index holds now."""
        state = self._state
        return LocalStatus(
            entries=sum(table.photos for table in state.tables),
            rows=sum(int(table.lengths[table.alive].sum()) for table in state.tables),
            head=state.head,
            tables=len(state.tables),
            nbytes=sum(table.nbytes for table in state.tables),
        )

    def refresh(self) -> int:
        """Bring in what changed; returns the sequence number that searches reflect.

        Cheap when nothing did. Raises what the source raises; what was taken in until then stays.
        """
        with self._refreshing:
            head = self._source.head(self._signal)
            if head < self._state.head:  # a backup was restored
                self._state = _State()
            while self._state.head < head:
                self._state = self._taken(self._state, head)
            self._state = replace(self._state, tables=_merged(self._state.tables))
            return self._state.head

    def _taken(self, state: _State, head: int) -> _State:
        """The state after the next changes, at most `BLOCK` of them."""
        latest: dict[int, Change] = {}
        after = state.head
        while after < head and len(latest) < BLOCK:
            changes = self._source.changes(self._signal, after, BATCH)
            after = changes[-1].seq if changes else head
            latest.update((change.entry, change) for change in changes)
        struck = np.array(sorted(latest), np.int64)
        tables = [table.without(struck) for table in state.tables]
        rows, entries, lengths = _added(latest)
        # While rows are at hand, tables of like size are cut anew as one.
        while tables and tables[-1].rows is not None:
            if entries.size and tables[-1].photos > MERGED * entries.size:
                break
            if not entries.size and tables[-1].photos:
                break
            held_rows, held_entries, held_lengths = tables.pop().living()
            rows = np.concatenate([held_rows, rows])
            entries = np.concatenate([held_entries, entries])
            lengths = np.concatenate([held_lengths, lengths])
        if entries.size:
            tables.append(cut(rows, entries, lengths, BUCKET if tables else ALONE))
        return _State(tuple(tables), after)


def _added(latest: dict[int, Change]) -> tuple[Words, Entries, NDArray[np.int64]]:
    """Rows, entries and lengths of the photos among these changes."""
    added = [change for change in latest.values() if not change.deleted and change.rows]
    for change in added:
        if len(change.rows) % (BITS // 8):
            raise ConfigurationError(
                f"entry {change.entry} has {len(change.rows)} bytes, not a multiple of {BITS // 8}"
            )
    rows = np.frombuffer(b"".join(change.rows for change in added), np.uint8)
    return (
        as_words(rows.reshape(-1, BITS // 8), BITS),
        np.array([change.entry for change in added], np.int64),
        np.array([len(change.rows) // (BITS // 8) for change in added], np.int64),
    )


def _merged(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """The same photos with large tables of like size made one."""
    large = [table for table in tables if table.rows is None]
    small = [table for table in tables if table.rows is not None]
    large = [table for table in large if table.photos]
    first = len(large)
    photos = 0
    while first and (not photos or large[first - 1].photos <= POURED * photos):
        first -= 1
        photos += large[first].photos
    last = large[first:]
    if len(last) > 1 or any(2 * table.photos < len(table.entries) for table in last):
        last = [poured(last)]
    return (*large[:first], *last, *small)


def _distinct(queries: Words) -> Words:
    """The queries without repetitions."""
    whole = np.ascontiguousarray(queries).view(np.dtype((np.void, BITS // 8))).ravel()
    return queries[np.sort(np.unique(whole, return_index=True)[1])]
