"""A gateway on a real server before an API that records what reaches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from fake_openai import FakeOpenAI, running
from guarded import MadeUp, Spy, client_of

from tutela.guard.gateway import Options, create
from tutela.settings import load


@pytest.fixture(scope="session")
def shared_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spy]:
    """One gate for all tests."""
    settings = load(
        tmp_path_factory.mktemp("guard"), workers=1, refusals_per_hour=3, mark_watermark=False
    )
    with Spy(settings) as made:
        made.screener.panel.all = (*made.screener.panel.all, MadeUp())
        made.warm()
        yield made


@pytest.fixture
def gate(shared_gate: Spy) -> Spy:
    """The gate, with nothing remembered."""
    shared_gate.reset()
    return shared_gate


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[FakeOpenAI]:
    """One API for all tests."""
    fake = FakeOpenAI()
    with running(fake.app) as url:
        fake.url = url
        yield fake


@pytest.fixture
def upstream(shared_upstream: FakeOpenAI) -> FakeOpenAI:
    """The API, which has seen nothing yet."""
    shared_upstream.reset()
    return shared_upstream


Serve = Callable[..., str]


@pytest.fixture
def serve(gate: Spy, upstream: FakeOpenAI) -> Iterator[Serve]:
    """Starts a gateway with the options given; gives its address."""
    with contextlib.ExitStack() as stack:

        def start(*, mark: Any = None, fetcher: Any = None, **options: Any) -> str:
            chosen = Options(upstream.url, **options)
            app = create(gate.settings, chosen, gate=gate, mark=mark, fetcher=fetcher)
            return stack.enter_context(running(app))

        yield start


@pytest.fixture(scope="session")
def shared_address(shared_gate: Spy, shared_upstream: FakeOpenAI) -> Iterator[str]:
    """A gateway as it is by default."""
    options = Options(shared_upstream.url)
    with running(create(shared_gate.settings, options, gate=shared_gate)) as url:
        yield url


@pytest.fixture
def address(shared_address: str, gate: Spy, upstream: FakeOpenAI) -> str:
    return shared_address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """The official client, before the default gateway."""
    with client_of(address) as made:
        yield made


@pytest.fixture
def async_client(address: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="sk-made-up", max_retries=0)
