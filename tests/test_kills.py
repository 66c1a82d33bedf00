"""The server is killed, for real; bench/kills.py does the same hundreds of times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tutela.store import Store

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import kills

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes under /proc")


def passed(result: kills.Result, planned: int) -> None:
    assert result.problems == []
    assert result.fired == planned
    assert result.with_requests > planned // 2
    assert 0 < result.alone < planned
    assert result.damaged == result.rebuilt == 1
    assert result.acknowledged > planned * kills.CLIENTS
    assert result.replays > 0
    assert result.changes > 0
    assert result.compared > 0


@linux
def test_nothing_acknowledged_is_lost_on_sqlite(tmp_path: Path) -> None:
    passed(kills.trial("sqlite", kills=5, entries=2_000, keep=tmp_path), 5)


@linux
def test_nothing_acknowledged_is_lost_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    passed(kills.trial(postgres_url, kills=3, seed=2, entries=2_000, keep=tmp_path), 3)


@linux
def test_a_recorder_that_acknowledges_early_is_caught(tmp_path: Path) -> None:
    result = kills.trial("sqlite", kills=2, control=True, entries=2_000, keep=tmp_path)
    assert result.fired == 2
    assert result.lost > 0
    assert any("acknowledged and is lost" in problem for problem in result.problems)


def test_a_commit_waits_for_the_disk(store: Store) -> None:
    with store.read() as connection:
        if store.dialect == "sqlite":
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
            assert connection.scalar(text("PRAGMA fullfsync")) == 1
        else:
            assert connection.scalar(text("SHOW fsync")) == "on"
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"


def test_a_commit_waits_where_the_server_would_not(postgres_url: str) -> None:
    with kills.own_database(postgres_url) as url:
        store = Store(url)
        name = store.engine.url.database
        with store.write() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        store.close()
        store = Store(url)
        with store.write() as connection:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        store.close()
