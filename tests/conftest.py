"""Fixtures: photographs, stores on both databases, screeners."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text

from postgres import cluster
from tutela.screening import Screener
from tutela.settings import load
from tutela.store import Store

# Reading takes longer than all else together: the tests about it ask for it.
os.environ["TUTELA_WITHOUT"] = '["lettering"]'

settings.register_profile("tutela", derandomize=True, deadline=None)
settings.load_profile("tutela")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real server, without a database name."""
    with cluster() as url:
        yield url


def _create_database(postgres_url: str, template: str) -> str:
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(f"{postgres_url}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return f"{postgres_url}/{name}"


@pytest.fixture
def new_database(postgres_url: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database; gives its URL."""
    return lambda: _create_database(postgres_url, "template0")


@pytest.fixture(scope="session")
def prepared_database(postgres_url: str) -> str:
    """The name of a database with its tables, to be copied."""
    url = _create_database(postgres_url, "template0")
    Store(url).close()
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{(tmp_path / 'tutela.db').as_posix()}"
    make: Callable[[], str] = request.getfixturevalue("new_database")
    return make()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with its tables, on both databases."""
    if request.param == "sqlite":
        url = f"sqlite:///{(tmp_path / 'tutela.db').as_posix()}"
    else:
        template = request.getfixturevalue("prepared_database")
        url = _create_database(request.getfixturevalue("postgres_url"), template)
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def shared_screener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screener]:
    """A screener that tests share when they don't care what else is in its banks."""
    with Screener(load(tmp_path_factory.mktemp("shared"), workers=2)) as screener:
        yield screener


@pytest.fixture
def screener(tmp_path: Path, shared_screener: Screener) -> Iterator[Screener]:
    """A screener of its own on SQLite; its workers are the shared ones, which hold no state."""
    made = Screener(load(tmp_path / "data", workers=2))
    made.sandbox.close()
    made.sandbox = shared_screener.sandbox
    yield made
    made.recorder.close()
    made.store.close()
