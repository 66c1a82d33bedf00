"""One behaviour on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from tutela.errors import StoreError
from tutela.store import REVISION, Store, new_id, now
from tutela.store.tables import banks, metadata


def _bank(name: str) -> dict[str, object]:
    return {"name": name, "tier": "reviewed", "created_at": now()}


def test_an_empty_database_gets_the_tables_of_this_version(store: Store) -> None:
    with store.engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    assert found == REVISION


def test_a_database_of_another_version_is_refused_with_the_cure(database_url: str) -> None:
    first = Store(database_url)
    with first.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    first.close()
    with pytest.raises(StoreError, match="tutela db upgrade"):
        Store(database_url)


def test_processes_that_start_at_once_make_the_tables_once(database_url: str) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            Store(database_url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_a_failed_block_wrote_is_gone(store: Store) -> None:
    class Halt(Exception):
        pass

    def fail() -> None:
        with store.write() as connection:
            connection.execute(insert(banks), [_bank("half")])
            raise Halt

    with pytest.raises(Halt):
        fail()
    with store.read() as connection:
        assert connection.execute(select(banks)).all() == []


def test_a_failure_of_the_database_is_a_store_error(store: Store) -> None:
    with store.write() as connection:
        connection.execute(insert(banks), [_bank("same")])
    with pytest.raises(StoreError, match="database failed"), store.write() as connection:
        connection.execute(insert(banks), [_bank("same")])


def test_times_come_back_aware_and_equal(store: Store) -> None:
    given = datetime(2026, 7, 1, 12, 30, 15, 123456, timezone(timedelta(hours=5)))
    with store.write() as connection:
        connection.execute(insert(banks), [{**_bank("timed"), "disabled_until": given}])
    with store.read() as connection:
        found = connection.scalar(select(banks.c.disabled_until))
    assert found == given
    assert found.tzinfo is UTC


def test_sequence_numbers_become_visible_in_order(store: Store) -> None:
    """Who has read up to n never meets a smaller number later, whoever commits first."""
    seen: list[int] = []
    order: list[int] = []
    lock = threading.Lock()

    def take() -> None:
        for _ in range(20):
            with store.write() as connection:
                first = store.next_seq(connection, 3)
                with lock:
                    order.append(first)
            with store.read() as connection:
                seen.append(store.head(connection) - first)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == sorted(order) == list(range(1, 241, 3))
    assert min(seen) >= 2


def test_commits_wait_for_the_disk(store: Store) -> None:
    with store.read() as connection:
        if store.dialect == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        else:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
            assert connection.execute(text("SHOW fsync")).scalar() == "on"


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "nonsense", "oracle://x"],
)
def test_urls_that_keep_nothing_or_are_not_supported_are_refused(url: str) -> None:
    with pytest.raises(StoreError):
        Store(url)


def test_a_server_that_is_not_there_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="check that it runs"):
        Store("postgresql+psycopg://tutela@127.0.0.1:9/none")


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError):
        Store(f"sqlite:///{tmp_path / 'x.db'}")


def test_ids_are_unique_and_sort_by_time() -> None:
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(one) == 32 and one[12] == "7" and one[16] in "89ab" for one in made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)


def test_the_tables_can_be_taken_down_again(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    from alembic import command

    from tutela.store import _alembic

    for url in (new_database(), f"sqlite:///{tmp_path / 'down.db'}"):
        store = Store(url)
        with store.write() as connection:
            connection.execute(insert(banks), [_bank("loaded")])
        with store._writing.begin() as connection:
            command.downgrade(_alembic(connection), "base")
        store.close()
        again = Store(url)
        with again.read() as connection:
            assert connection.execute(select(banks)).all() == []
        again.close()
