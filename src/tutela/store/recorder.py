"""Verdicts are recorded before they are acknowledged, many of them in one commit.

A commit waits for the disk. Under load the requests that wait meanwhile are written together in
the next one (group commit), so that durability costs a wait and not a rate.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Table, insert

from tutela.errors import StoreError
from tutela.store import Store

Rows = Sequence[tuple[Table, Mapping[str, Any]]]
LARGEST = 512


class Recorder:
    """Writes rows durably. One a process; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: SimpleQueue[tuple[Rows, Future[None]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, rows: Rows) -> Future[None]:
        """Queue rows that belong together; the future is done once they are committed.

        It raises `StoreError` if they could not be: then none of them was written.
        """
        done: Future[None] = Future()
        # Whoever waits may give up; the rows are written all the same.
        done.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise StoreError("the recorder is closed; open the store again")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                self._thread.start()
            self._waiting.put((rows, done))
        return done

    def record(self, rows: Rows) -> None:
        """Write rows that belong together; returns once they are committed."""
        self.submit(rows).result()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            last = False
            while not self._waiting.empty() and len(batch) < LARGEST:
                item = self._waiting.get()
                if item is None:
                    last = True
                    break
                batch.append(item)
            self._write(batch)
            if last:
                return

    def _write(self, batch: list[tuple[Rows, Future[None]]]) -> None:
        try:
            self._insert([rows for rows, _ in batch])
        except StoreError as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            # One bad row must not fail its neighbours.
            for item in batch:
                self._write([item])
            return
        for _, done in batch:
            done.set_result(None)

    def _insert(self, batch: list[Rows]) -> None:
        by_table: dict[str, tuple[Table, list[Mapping[str, Any]]]] = {}
        for rows in batch:
            for table, row in rows:
                by_table.setdefault(table.name, (table, []))[1].append(row)
        with self._store.write() as connection:
            for table, together in by_table.values():
                statement = insert(table)
                if table.info.get("again") == "leave":
                    statement = self._store.insert_new(table)
                    # In one order everywhere: else two that insert the same wait for each other.
                    together.sort(key=lambda row: [row[key.name] for key in table.primary_key])
                connection.execute(statement, together)
