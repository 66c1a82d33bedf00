"""The application: the guard, the routes, and what runs beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

import tutela
from tutela.errors import TutelaError
from tutela.screening import Screener
from tutela.server import banking, errors, health, metrics, screening
from tutela.server.errors import Refused
from tutela.server.fetch import Fetcher
from tutela.server.fetch import fetcher as from_settings
from tutela.server.guard import Guard
from tutela.server.keys import Keys
from tutela.settings import Settings, load
from tutela.store.answers import forget_old

log = structlog.get_logger("tutela.server")

FOLLOW = 0.2
"""Seconds between looks for changes in the banks."""

LANES = 4
"""Requests a decoding process that are screened at once: some decode, some wait for the disk."""

DESCRIPTION = """Screen content before it is published.

Every call needs a key in `Authorization: Bearer …`, but for the two health checks. A verdict has
been recorded durably when you receive it. Anything but a 200 means: no verdict, treat the content
as held."""


def create(settings: Settings, *, fetcher: Fetcher | None = None) -> FastAPI:
    """The application for these settings. A fetcher is made from them unless one is given."""

    made = from_settings(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with Screener(settings) as screener, Beside(screener):
            screener.warm(texts=True)
            app.state.screener = screener
            # First come, first served: without it a request may be overtaken again and again.
            app.state.lanes = anyio.CapacityLimiter(LANES * settings.workers)
            app.state.film_lanes = anyio.CapacityLimiter(settings.workers)
            app.state.keys = Keys(screener.store)
            app.state.fetcher = fetcher or made
            yield

    app = FastAPI(
        title="Tutela",
        version=tutela.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # A page of documentation would load scripts from elsewhere; the description is enough.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    for router in (screening.router, banking.router, health.router):
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(TutelaError, _ours)
    app.add_exception_handler(Refused, _ours)
    app.add_middleware(Guard, keys=lambda: app.state.keys)
    return app


def from_environment() -> FastAPI:
    """The application for the settings in the environment, for servers that start by name."""
    return create(load(os.environ.get("TUTELA_DATA")))


class Beside:
    """What runs beside the requests: the index follows the store, old answers are forgotten."""

    def __init__(self, screener: Screener) -> None:
        self._screener = screener
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, every), name=name, daemon=True)
            for name, work, every in (
                ("follow", self._follow, FOLLOW),
                ("compact", screener.matcher.compact, 5.0),
                ("waiting", self._count_waiting, 5.0),
                ("forget", partial(forget_old, screener.store), 3600.0),
            )
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _follow(self) -> None:
        matcher = self._screener.matcher
        matcher.refresh()
        metrics.INDEX_AGE.set(matcher.age)
        for name, status in matcher.status().items():
            metrics.INDEX_ENTRIES.labels(name).set(status.entries)

    def _count_waiting(self) -> None:
        metrics.WAITING.set(len(self._screener.protection.waiting()))

    def _run(self, work: Callable[[], None], every: float) -> None:
        while not self._stop.wait(every):
            try:
                work()
            except TutelaError as error:
                # Screening asks for itself and fails there, so nothing passes; here it is said.
                log.error("background", error=type(error).__name__, message=str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where and what, never the value: it may be content.
    problems = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()[:5]
    )
    return await _ours(request, Refused(422, "invalid-request", problems))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed"}
    kind = kinds.get(error.status_code, "bad-request")
    return await _ours(request, Refused(error.status_code, kind, str(error.detail), error.headers))


async def _ours(request: Request, error: Exception) -> Response:
    return errors.answer(error, request.state.request)
