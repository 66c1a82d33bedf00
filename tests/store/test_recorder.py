"""A row is there when `record` returns; neighbours don't suffer for each other."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event, select

from tutela.errors import StoreError
from tutela.store import Store, now
from tutela.store.recorder import Recorder
from tutela.store.tables import banks


def _row(name: str) -> tuple[object, dict[str, object]]:
    return banks, {"name": name, "tier": "reviewed", "created_at": now()}


def _names(store: Store) -> set[str]:
    with store.read() as connection:
        return set(connection.scalars(select(banks.c.name)))


def test_what_was_acknowledged_is_committed(store: Store) -> None:
    recorder = Recorder(store)
    failures: list[str] = []

    def write(number: int) -> None:
        for turn in range(10):
            name = f"b{number}-{turn}"
            recorder.record([_row(name)])
            if name not in _names(store):
                failures.append(name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    assert failures == []
    assert len(_names(store)) == 80


def test_waiting_rows_share_a_commit(store: Store) -> None:
    recorder = Recorder(store)
    commits = []
    event.listen(store.engine, "commit", lambda _: commits.append(1))
    with store.write():  # the writer has to wait here while others queue up
        futures = [recorder.submit([_row(f"q{number}")]) for number in range(50)]
    for future in futures:
        future.result(timeout=30)
    recorder.close()
    assert len(_names(store)) == 50
    assert len(commits) < 10


def test_a_row_that_can_not_be_written_fails_alone(store: Store) -> None:
    recorder = Recorder(store)
    recorder.record([_row("there")])
    with store.write():
        good = [recorder.submit([_row(f"good{number}")]) for number in range(5)]
        bad = recorder.submit([_row("new"), _row("there")])
        more = recorder.submit([_row("last")])
    for future in (*good, more):
        future.result(timeout=30)
    with pytest.raises(StoreError):
        bad.result(timeout=30)
    recorder.close()
    assert _names(store) == {"there", "last", *(f"good{number}" for number in range(5))}


def test_close_writes_what_waits_and_refuses_more(store: Store) -> None:
    recorder = Recorder(store)
    futures = [recorder.submit([_row(f"w{number}")]) for number in range(20)]
    recorder.close()
    assert all(future.done() for future in futures)
    assert len(_names(store)) == 20
    with pytest.raises(StoreError, match="closed"):
        recorder.record([_row("late")])
