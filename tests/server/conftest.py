"""The application as clients see it, and keys for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from tutela.server.app import create
from tutela.server.keys import Keys, Scope
from tutela.settings import load
from tutela.store import Store

MakeKey = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One server for all tests; each makes banks of its own name."""
    settings = load(tmp_path_factory.mktemp("server"), workers=1)
    with TestClient(create(settings), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="session")
def make_key(client: TestClient) -> MakeKey:
    """Makes a key with the scopes given; gives the header that carries it."""
    store: Store = client.app.state.screener.store  # type: ignore[attr-defined]
    count = iter(range(10_000))

    def make(*scopes: Scope, **limits: int) -> dict[str, str]:
        _, secret = Keys(store).create(f"k{next(count)}", scopes, **limits)
        return {"Authorization": f"Bearer {secret}"}

    return make


@pytest.fixture(scope="session")
def auth(make_key: MakeKey) -> dict[str, str]:
    """A key with every scope."""
    return make_key(*Scope)
