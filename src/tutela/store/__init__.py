"""Where everything is kept: SQLite by default, PostgreSQL by one URL, through SQLAlchemy.

`Store` is the one door. `read()` and `write()` give a connection inside a transaction and turn
every failure of the database into `StoreError`. A `write()` has been committed, and synced to
disk, when its block ends without an error.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from tutela.errors import StoreError
from tutela.store import tables

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Store", "new_id", "now"]

WAL_ATTEMPTS = 100
CHANGED = "tutela-entries-changed"
REVISION = "0004"
"""The revision of the tables that this version of Tutela reads and writes."""


def now() -> datetime:
    """The time, aware, UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """32 hex digits that sort by time of creation (UUID version 7, RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"


class Store:
    """The database. One a process; safe to share between threads.

    `url` is an SQLAlchemy URL: `sqlite:///path/tutela.db` or `postgresql+psycopg://…`. An empty
    database gets its tables; one of another version raises `StoreError` naming
    `tutela db upgrade`.
    """

    def __init__(self, url: str, *, upgrade: bool = False) -> None:
        self.url = url
        self.engine = _engine(url)
        self._writing = self.engine.execution_options(tutela_write=True)
        self.dialect = self.engine.dialect.name
        self.changes = 0
        """How often this process has changed entries; who follows them need not wait to look."""
        try:
            self._prepare(upgrade)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state and writes nothing."""
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a write transaction, committed and durable at the end of the block."""
        with _translated(), self._writing.begin() as connection:
            connection.info.pop(CHANGED, None)
            yield connection
            changed = connection.info.pop(CHANGED, False)
        if changed:
            self.changes += 1

    def next_seq(self, connection: Connection, count: int = 1) -> int:
        """Take `count` sequence numbers for changes of entries; returns the first.

        The row stays locked until the transaction ends, so numbers become visible in order:
        who has read up to n never meets a smaller one later.
        """
        connection.info[CHANGED] = True
        last: int = connection.execute(
            update(tables.counters)
            .where(tables.counters.c.name == "entries")
            .values(value=tables.counters.c.value + count)
            .returning(tables.counters.c.value)
        ).scalar_one()
        return last - count + 1

    def head(self, connection: Connection) -> int:
        """The newest sequence number of entries that is committed."""
        value: int = connection.execute(
            select(tables.counters.c.value).where(tables.counters.c.name == "entries")
        ).scalar_one()
        return value

    @cached_property
    def identity(self) -> str:
        """A random name that this database got when it was made; what derives from it bears it."""
        with self.read() as connection:
            value = connection.execute(
                select(tables.counters.c.value).where(tables.counters.c.name == "identity")
            ).scalar_one()
        return f"{value:016x}"

    def insert_new(self, table: Any) -> Any:
        """An INSERT that leaves a row alone that is there already."""
        insert = postgresql.insert if self.dialect == "postgresql" else sqlite.insert
        return insert(table).on_conflict_do_nothing()

    def _prepare(self, upgrade: bool) -> None:
        with _translated(), self.engine.connect() as connection:
            found = _revision(connection)
        if found == REVISION:
            return
        if found is not None and not upgrade:
            raise StoreError(
                f"the database is of revision {found}, this version needs {REVISION}; "
                "stop all servers, back it up and run `tutela db upgrade`"
            )
        from alembic import command

        with _translated(), self._writing.begin() as connection:
            if self.dialect == "postgresql":
                # Two processes that start at once must not both make the tables.
                connection.execute(text("SELECT pg_advisory_xact_lock(84683452)"))
            if _revision(connection) != REVISION:
                command.upgrade(_alembic(connection), "head")


def _alembic(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(
            url, json_serializer=_json, json_deserializer=orjson.loads, **_options(url)
        )
    except (SQLAlchemyError, ImportError) as error:
        raise StoreError(
            f"the database URL can't be used: {error}; write sqlite:///FILE, or "
            "postgresql+psycopg://USER@HOST/NAME with `tutela[postgres]` installed"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _configure_postgresql)
    else:
        raise StoreError(f"{engine.dialect.name} is not supported; use sqlite or postgresql")
    return engine


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _options(url: str) -> dict[str, Any]:
    if not url.startswith("sqlite"):
        return {"pool_pre_ping": True, "pool_size": 16, "max_overflow": 16}
    if ":memory:" in url or url in {"sqlite://", "sqlite:///"}:
        raise StoreError("an in-memory database keeps nothing; name a file: sqlite:///FILE")
    return {"connect_args": {"timeout": 30.0, "check_same_thread": False}, "pool_size": 16}


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _begin_sqlite
    for pragma in (
        "busy_timeout=30000",
        "synchronous=FULL",
        "fullfsync=ON",
        "foreign_keys=ON",
        "secure_delete=ON",
        "cache_size=-65536",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # Turning a new file to WAL needs it alone, and does not wait for others by itself.
    for attempt in range(WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if attempt == WAL_ATTEMPTS - 1:
                raise
            time.sleep(0.05)
        else:
            return


def _configure_postgresql(connection: Any, _record: object) -> None:
    # Where commits don't wait for the disk by default, ours still do.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes the lock at once: upgrading later could fail as busy.
    writes = connection.get_execution_options().get("tutela_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(
            f"the database failed: {type(cause).__name__}: {cause}; check that it runs, that the "
            "URL is right and that the disk has room"
        ) from error
