"""A searchable index that follows the store: one snapshot and what changed since.

Like a log-structured merge tree. Changed entries are struck out of the parts that hold them
and their rows join a small tail that is scanned; a full tail becomes a table in memory; tables of
like size are merged; `compact` writes everything into a new snapshot, which other processes
notice when they refresh. A search reads one immutable state, so it never waits and never sees
half a change.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError, IndexDamaged
from tutela.index import snapshot as snapshots
from tutela.index import table as tables
from tutela.index.filelock import locked
from tutela.index.plan import plan
from tutela.index.snapshot import FORMAT, Found, Snapshot
from tutela.index.table import Entries, Rows, Table, as_words

log = logging.getLogger("tutela.index")

TAIL_ROWS = 8192
"""Rows that are scanned before they become a table."""
BATCH = 8192
"""Changes taken from the source at once."""
REPLAY = 100_000
"""A store with more changes than this and no snapshot is read whole instead."""


@dataclass(frozen=True, slots=True)
class Change:
    """The latest state of one entry that changed."""

    seq: int
    entry: int
    deleted: bool
    rows: bytes = b""
    """All rows of the entry, one after the other; ignored when deleted."""


class Source(Protocol):
    """Where entries live; the store implements it. Sequence numbers start at 1."""

    def head(self, signal: str) -> int:
        """The newest sequence number; 0 for a store that never held anything."""

    def floor(self, signal: str) -> int:
        """Changes at or below this number may have been forgotten; 0 if none."""

    def remember(self, name: str) -> None:
        """Keep the name of a snapshot that is being made of this store."""

    def knows(self, name: str) -> bool:
        """Whether a snapshot was made of this store as it has been since.

        False after the restore of a backup from before the snapshot: the store then gave its
        numbers to other changes.
        """

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        """The latest state of entries changed after `after`: the first `limit`, by `seq`."""

    def live_rows(self, signal: str) -> tuple[int, Iterator[tuple[Entries, Rows]]]:
        """Every row there is, in pieces, and the head they stand for.

        The pieces may hold newer states too, as long as `changes` after that head tells of them.
        """


@dataclass(frozen=True, slots=True)
class Status:
    """What an index holds, for people and metrics."""

    entries: int
    """Live entries that have rows."""
    rows: int
    head: int
    """The store's sequence number that searches reflect."""
    snapshot_head: int
    snapshot_rows: int
    delta_rows: int
    """Rows added since the snapshot."""
    dead_rows: int
    """Rows struck out of the snapshot and the tables."""
    segments: int
    """Tables in memory."""
    bytes_per_row: float
    rebuilt: str
    """Why the snapshot was last rebuilt from the store; empty if it was not."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A table and the rows of it that no longer count (a bit each), None if all do."""

    table: Table
    dead: NDArray[np.uint8] | None = None
    dead_rows: int = 0

    @property
    def alive(self) -> int:
        return len(self.table) - self.dead_rows

    def strike(self, entries: Entries) -> tuple[_Part, int]:
        """This part without the rows of `entries` (ascending), and how many entries it had."""
        rows = self.table.rows_of(entries)
        rows = rows[self.lives(rows)]
        if not rows.size:
            return self, 0
        dead = np.zeros(-(-len(self.table) // 8), np.uint8)
        if self.dead is not None:
            dead[:] = self.dead
        np.bitwise_or.at(dead, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
        struck = len(np.unique(self.table.entry_of(rows)))
        return replace(self, dead=dead, dead_rows=self.dead_rows + len(rows)), struck

    def lives(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.dead is None:
            return np.ones(len(rows), np.bool_)
        struck: NDArray[np.bool_] = (self.dead[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1
        return ~struck

    def living(self) -> tuple[Rows, Entries]:
        """The rows that count, with their bits as they were given, and their entries."""
        words = self.table.original_rows()
        alive = np.arange(len(self.table))
        if self.dead is not None:
            alive = alive[self.lives(alive)]
            words = words[alive]
        return words.view(np.uint8), self.table.entry_of(alive)


@dataclass(frozen=True, slots=True)
class _State:
    """What searches read; never altered."""

    base: Snapshot | None
    parts: tuple[_Part, ...]
    """The snapshot's table first if there is one, then those in memory, oldest first."""
    tail_rows: Rows
    tail_entries: Entries
    tail: _Part
    head: int
    entries: int

    @property
    def memory(self) -> tuple[_Part, ...]:
        return self.parts[1:] if self.base is not None else self.parts


class LiveIndex:
    """The index of one signal. Any number of threads may search while one refreshes.

    `directory` is made if need be. Opening reads the newest good snapshot and the changes since;
    a snapshot that is missing, damaged or older than the store's memory is rebuilt from `source`,
    with a logged warning or error. Raises `ConfigurationError` if the directory can't be used.
    """

    def __init__(
        self, directory: Path, signal: str, bits: int, radius: int, source: Source
    ) -> None:
        if bits <= 0 or bits % 64 or not 0 <= radius <= bits:
            raise ConfigurationError(
                f"signal {signal}: rows of {bits} bits at radius {radius} can't be indexed"
            )
        self.directory = directory
        self.signal = signal
        self.bits = bits
        self.radius = radius
        self._source = source
        self._refreshing = threading.RLock()
        self._rebuilt = ""
        self._damaged: set[Path] = set()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{directory} can't hold an index: {error}") from error
        self._state = self._opened()
        self.refresh()

    # Searching

    def search(self, queries: Rows, radius: int | None = None) -> Found:
        """Rows within `radius` (the index's own if None) of each of `queries`, each row once.

        `queries` is uint8 (q, bits // 8). Returns query (int32), entry (int64) and distance
        (uint16), in no particular order. A radius above the index's own is exact too, but slower.
        """
        state = self._state
        words = as_words(queries, self.bits)
        reach = self.radius if radius is None else radius
        query, entry, distance = [], [], []
        for part in (*state.parts, state.tail):
            hits, _ = part.table.find(words, reach)
            if not len(hits):
                continue
            if part.dead is not None:
                hits = hits[part.lives(hits[:, 1])]
            query.append(hits[:, 0])
            entry.append(part.table.entry_of(hits[:, 1]))
            distance.append(hits[:, 2])
        if not query:
            return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint16)
        return (
            np.concatenate(query).astype(np.int32),
            np.concatenate(entry),
            np.concatenate(distance).astype(np.uint16),
        )

    def status(self) -> Status:
        """What the index holds now."""
        state = self._state
        delta = sum(part.alive for part in state.memory) + len(state.tail_entries)
        rows = sum(part.alive for part in state.parts) + len(state.tail_entries)
        held = sum(part.table.nbytes for part in (*state.parts, state.tail))
        return Status(
            entries=state.entries,
            rows=rows,
            head=state.head,
            snapshot_head=state.base.head if state.base is not None else 0,
            snapshot_rows=len(state.base) if state.base is not None else 0,
            delta_rows=delta,
            dead_rows=sum(part.dead_rows for part in state.parts),
            segments=len(state.memory),
            bytes_per_row=held / rows if rows else 0.0,
            rebuilt=self._rebuilt,
        )

    @property
    def needs_compaction(self) -> bool:
        """Whether so much changed since the snapshot that a new one pays."""
        status = self.status()
        return status.delta_rows + status.dead_rows > max(65_536, status.snapshot_rows // 8)

    # Following the store

    def refresh(self) -> int:
        """Bring in what changed in the store; returns the sequence number that searches reflect.

        Cheap when nothing did. Also moves to a newer snapshot that another process wrote.
        """
        with self._refreshing:
            newest = self._newest()
            head = self._source.head(self.signal)
            base = self._state.base
            if head < self._state.head:
                self._state = self._rebuild(f"the store went back to {head}", logging.ERROR)
            elif (
                newest and newest[0] > (base.head if base is not None else 0) and newest[0] <= head
            ):
                self._state = self._opened()
            while self._state.head < head:
                changes = self._source.changes(self.signal, self._state.head, BATCH)
                if not changes:
                    self._state = replace(self._state, head=head)
                    break
                self._state = self._changed(self._state, changes)
                self._state = self._settled(self._state)
            return self._state.head

    def _changed(self, state: _State, changes: Sequence[Change]) -> _State:
        """The state after these changes."""
        latest = {change.entry: change for change in changes}
        struck = np.array(sorted(latest), np.int64)
        kept = ~np.isin(state.tail_entries, struck)
        gone = len(np.unique(state.tail_entries[~kept]))
        parts = []
        for part in state.parts:
            part, count = part.strike(struck)
            parts.append(part)
            gone += count
        added = [change for change in latest.values() if not change.deleted and change.rows]
        row_bytes = self.bits // 8
        for change in added:
            if len(change.rows) % row_bytes:
                raise ConfigurationError(
                    f"entry {change.entry} of {self.signal} has {len(change.rows)} bytes, "
                    f"not a multiple of {row_bytes}"
                )
        rows = np.frombuffer(b"".join(change.rows for change in added), np.uint8)
        entries = np.repeat(
            np.array([change.entry for change in added], np.int64),
            [len(change.rows) // row_bytes for change in added],
        )
        tail_rows = np.concatenate([state.tail_rows[kept], rows.reshape(-1, row_bytes)])
        tail_entries = np.concatenate([state.tail_entries[kept], entries])
        return replace(
            state,
            parts=tuple(parts),
            tail_rows=tail_rows,
            tail_entries=tail_entries,
            tail=_Part(tables.scanned(tail_rows, tail_entries, self.bits)),
            head=changes[-1].seq,
            entries=state.entries - gone + len(added),
        )

    def _settled(self, state: _State) -> _State:
        """The same rows with a full tail made into a table, merged with tables no larger."""
        if len(state.tail_entries) < TAIL_ROWS:
            return state
        memory = list(state.memory)
        rows, entries = [state.tail_rows], [state.tail_entries]
        count = len(state.tail_entries)
        while memory and memory[-1].alive <= count:
            part = memory.pop()
            more_rows, more_entries = part.living()
            rows.insert(0, more_rows)
            entries.insert(0, more_entries)
            count += part.alive
        merged = tables.built(
            plan(count, self.bits, self.radius), np.concatenate(rows), np.concatenate(entries)
        )
        kept = (*state.parts[: len(state.parts) - len(state.memory)], *memory, _Part(merged))
        return replace(self._empty(state.base), parts=kept, head=state.head, entries=state.entries)

    # Snapshots

    def compact(self) -> bool:
        """Write all that is live into a new snapshot and move to it; False if another is at it.

        Searches and refreshes go on meanwhile.
        """
        self.refresh()
        with locked(self._lock_path, wait=False) as held:
            state = self._state
            newest = self._newest()
            if not held or (newest and newest[0] > state.head):
                return False
            if state.base is not None and state.base.head == state.head:
                return True
            pieces = [part.living() for part in (*state.parts, state.tail)]
            self._write(
                np.concatenate([rows for rows, _ in pieces]),
                np.concatenate([entries for _, entries in pieces]),
                state.head,
            )
        with self._refreshing:
            self._state = self._opened()
            self.refresh()
        self._sweep()
        return True

    @property
    def _lock_path(self) -> Path:
        return self.directory / f"{self.signal}.lock"

    def _snapshots(self) -> list[tuple[int, Path]]:
        """Snapshots of this format, newest first."""
        paths = set(self.directory.glob(f"{self.signal}.*.v{FORMAT}")) - self._damaged
        return sorted(((int(path.name.split(".")[-3], 16), path) for path in paths), reverse=True)

    def _newest(self) -> tuple[int, Path] | None:
        return next(iter(self._snapshots()), None)

    def _empty(self, base: Snapshot | None = None) -> _State:
        rows = np.empty((0, self.bits // 8), np.uint8)
        entries = np.empty(0, np.int64)
        return _State(
            base=base,
            parts=(_Part(base.table),) if base is not None else (),
            tail_rows=rows,
            tail_entries=entries,
            tail=_Part(tables.scanned(rows, entries, self.bits)),
            head=base.head if base is not None else 0,
            entries=base.entry_count if base is not None else 0,
        )

    def _opened(self) -> _State:
        """The state of the newest snapshot that is good and that the store can continue."""
        head, floor = self._source.head(self.signal), self._source.floor(self.signal)
        reason, level = "", logging.WARNING
        for at, path in self._snapshots():
            if at > head:
                reason, level = f"{path.name} is ahead of the store", logging.ERROR
                continue
            if not self._source.knows(path.name):
                reason = f"{path.name} is not of this store's history"
                level = logging.ERROR
                self._damaged.add(path)
                continue
            if at < floor:
                reason = f"{path.name} is older than the store remembers"
                break
            try:
                opened = Snapshot.open(path)
            except FileNotFoundError:
                continue  # another process replaced it
            except IndexDamaged as error:
                reason, level = str(error), logging.ERROR
                log.error("%s: %s", self.signal, error)
                self._damaged.add(path)
                continue
            if opened.plan.bits == self.bits:
                return self._empty(opened)
            reason = f"{path.name} has rows of {opened.plan.bits} bits"
        if not reason and not floor and head <= REPLAY:
            return self._empty()
        return self._rebuild(reason or "there is no snapshot", level)

    def _rebuild(self, reason: str, level: int) -> _State:
        """A snapshot made from all rows of the store, by this process or by one that is at it."""
        log.log(level, "%s: rebuilding the index from the store: %s", self.signal, reason)
        before = {path for _, path in self._snapshots()}
        with locked(self._lock_path, wait=True):
            for at, path in self._snapshots():
                if path not in before and at <= self._source.head(self.signal):
                    return self._empty(Snapshot.open(path))
            head, pieces = self._source.live_rows(self.signal)
            rows = [np.empty((0, self.bits // 8), np.uint8)]
            entries = [np.empty(0, np.int64)]
            for piece_entries, piece_rows in pieces:
                entries.append(piece_entries)
                rows.append(piece_rows)
            for path in before | self._damaged:
                self._remove(path)
            path = self._write(np.concatenate(rows), np.concatenate(entries), head)
        self._rebuilt = reason
        log.warning("%s: the index is rebuilt", self.signal)
        return self._empty(Snapshot.open(path))

    def _write(self, rows: Rows, entries: Entries, head: int) -> Path:
        """A new snapshot. The lock is held, so that unfinished files are those of the dead."""
        for left in self.directory.glob(f"{self.signal}.*.partial"):
            self._remove(left)
        name = f"{self.signal}.{head:016x}.{secrets.token_hex(4)}.v{FORMAT}"
        path = self.directory / name
        self._source.remember(name)
        snapshots.build(rows, entries, path, head=head, bits=self.bits, radius=self.radius)
        return path

    def _sweep(self) -> None:
        """Remove snapshots that are no longer current; those still mapped on Windows wait."""
        base = self._state.base
        for at, path in self._snapshots():
            if base is not None and path != base.path and at <= base.head:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
