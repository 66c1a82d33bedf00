"""The banks' entries as the index sees them: rows, and a log of their changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select

from tutela import signals
from tutela.banks.bank import State
from tutela.index.live import Change
from tutela.store import Store, now
from tutela.store.tables import entries, snapshots

BLOCK = 1 << 17


class BankRows:
    """Implements `tutela.index.live.Source` on the table of entries.

    An entry's `seq` is renewed whenever its state changes, so `seq > n` is the log of what
    happened since n, without a second table to write or prune.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self, signal: str) -> int:  # noqa: ARG002 - one sequence for all signals
        """The newest sequence number that is committed."""
        with self._store.read() as connection:
            return self._store.head(connection)

    def floor(self, signal: str) -> int:  # noqa: ARG002
        """Nothing is pruned: every change since the beginning can be read."""
        return 0

    def remember(self, name: str) -> None:
        """Keep the name of a snapshot that is being made of this store."""
        with self._store.write() as connection:
            connection.execute(insert(snapshots), [{"name": name, "created_at": now()}])

    def knows(self, name: str) -> bool:
        """Whether the snapshot was made of this store; a restored older backup doesn't know it."""
        with self._store.read() as connection:
            return (
                connection.scalar(select(snapshots.c.name).where(snapshots.c.name == name)) == name
            )

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        """The latest state of every entry that changed after `after`, by sequence number."""
        kind = signals.find(signal)
        query = (
            select(entries.c.seq, entries.c.id, entries.c.state, entries.c.value)
            .where(entries.c.signal == signal, entries.c.seq > after)
            .order_by(entries.c.seq)
            .limit(limit)
        )
        with self._store.read() as connection:
            return [
                Change(seq, entry, state != State.LIVE, b"".join(kind.rows(bytes(value))))
                for seq, entry, state, value in connection.execute(query)
            ]

    def live_rows(
        self, signal: str
    ) -> tuple[int, Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]]:
        """The head, and every live row that stands for it, in blocks of one transaction."""
        return self.head(signal), self._blocks(signal)

    def _blocks(self, signal: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        kind = signals.find(signal)
        width = kind.row_bits // 8
        query = (
            select(entries.c.id, entries.c.value)
            .where(entries.c.signal == signal, entries.c.state == State.LIVE)
            .order_by(entries.c.id)
            .execution_options(yield_per=BLOCK)
        )
        with self._store.read() as connection:
            for block in connection.execute(query).partitions(BLOCK):
                rows = [kind.rows(bytes(value)) for _, value in block]
                ids = np.array([entry for entry, _ in block], np.int64)
                owners = np.repeat(ids, [len(found) for found in rows])
                joined = b"".join(row for found in rows for row in found)
                yield owners, np.frombuffer(joined, np.uint8).reshape(-1, width)
