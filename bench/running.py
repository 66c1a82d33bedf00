"""What the benchmarks run: the server as a process, and a database to look into."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "tutela")
"""The `tutela` command of this interpreter."""


class Server:
    """One `tutela serve` after the other, on one port, in `folder`.

    `command` starts the `tutela` command, `options` go before its subcommand.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        command: Sequence[str] = COMMAND,
        options: Sequence[str] = (),
        serve: Sequence[str] = (),
    ) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.log = (folder / "server.log").open("ab")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.command = (*command, "--data", str(self.data), "--database", url, *options)
        self._serve = ("serve", "--port", str(self.port), *serve)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self._process is not None
        return self._process.pid

    def key(self, name: str, *scopes: str) -> str:
        """The secret of a new key with these scopes."""
        scopes = tuple(f"--scope={scope}" for scope in scopes)
        made = subprocess.run(
            [*self.command, "key", "create", name, "--json", "--per-minute=100000000", *scopes],
            check=True, capture_output=True,
        )  # fmt: skip
        secret: str = json.loads(made.stdout)["secret"]
        return secret

    def start(self) -> None:
        """Start it; returns when it is ready. Raises `RuntimeError` if it does not get so far."""
        command = [*self.command, *self._serve]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start; see {self.log.name}")
            time.sleep(0.02)

    def kill(self, *, alone: bool) -> None:
        """SIGKILL for the server, and unless `alone` for all its descendants.

        Returns when all are gone: those left over must leave by themselves, else `RuntimeError`.
        """
        assert self._process is not None
        family = descendants(self._process.pid)
        self._process.kill()
        if not alone:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + 30
        while left := [pid for pid in family if is_running(pid)]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes outlive their server: {left}")
            time.sleep(0.01)

    def wait(self, seconds: float) -> int:
        """Wait for its end; returns its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def end(self) -> None:
        """End it in the orderly way, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill(alone=False)

    def stop(self) -> None:
        """End it for good."""
        self.end()
        self.log.close()

    def ready(self) -> bool:
        """Whether it can screen."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            with contextlib.closing(connection):
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == 200
        except OSError:
            return False


def descendants(pid: int) -> list[int]:
    """The processes below a process, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = _stat(int(entry.name))[1]
    below, found = {pid}, []
    while new := [child for child, parent in parents.items() if parent in below]:
        found += new
        below = set(new)
        parents = {child: parent for child, parent in parents.items() if child not in below}
    return found


def _stat(pid: int) -> tuple[str, int]:
    """State and parent; the name, which may hold anything, ends at the last bracket."""
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def is_running(pid: int) -> bool:
    """Whether a process is there, and more than an entry that nobody collected."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


class Database:
    """Plain SQL on either database; `?` marks a parameter."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sqlite = url.startswith("sqlite")

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, on a connection of its own."""
        with self._connected() as connection:
            if not self._sqlite:
                query = query.replace("?", "%s")
            return connection.execute(query, parameters).fetchall()  # type: ignore[no-any-return]

    def run(self, statement: str, *parameters: Any) -> None:
        """Run a statement and commit it."""
        with self._connected() as connection:
            if not self._sqlite:
                statement = statement.replace("?", "%s")
            connection.execute(statement, parameters)
            connection.commit()

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows as fast as the database can, in one transaction."""
        names = ", ".join(columns)
        with self._connected() as connection:
            if self._sqlite:
                marks = ", ".join("?" * len(columns))
                connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
            else:
                with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            connection.commit()

    def check(self) -> None:
        """SQLite looks through its own file; PostgreSQL has no such check in its core."""
        if self._sqlite:
            found = self.rows("PRAGMA integrity_check")
            if found != [("ok",)]:
                raise AssertionError(f"the database file is damaged: {found[:3]}")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        if self._sqlite:
            connection: Any = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=60)
        else:
            import psycopg

            connection = psycopg.connect(plain_url(self._url))
        with contextlib.closing(connection):
            yield connection


def plain_url(url: str) -> str:
    """An SQLAlchemy URL as libpq wants it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextlib.contextmanager
def own_database(url: str) -> Iterator[str]:
    """A database of its own on the PostgreSQL server of a URL, dropped at the end."""
    import psycopg
    from sqlalchemy import make_url

    name = f"tutela_{uuid.uuid4().hex}"
    server = make_url(url)
    server = server.set(database=server.database or "postgres")
    admin = plain_url(server.render_as_string(hide_password=False))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def cluster() -> contextlib.AbstractContextManager[str]:
    """A fresh PostgreSQL server, as the tests start it."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import postgres

    return postgres.cluster()
