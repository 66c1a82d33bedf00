"""Calls: requests on their way through the gateway, what they hold, and how they end in errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import anyio
import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tutela.content import Context
from tutela.errors import FetchRefused, TutelaError
from tutela.guard.bodies import Unreadable
from tutela.guard.openai_answers import Family, error
from tutela.guard.openai_requests import Asked
from tutela.guard.reading import Unexamined
from tutela.guard.upstream import UpstreamFailed
from tutela.media.types import MiB
from tutela.server import metrics
from tutela.server.errors import Refused as NotServed
from tutela.store import new_id

log = structlog.get_logger("tutela.guard")

MAX_HELD: Final = 1024 * MiB
"""Bytes of requests and answers that are held at once."""
SURFACE: Final = "guard"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of the API."""

    family: Family
    path: str
    method: str = "POST"
    read: Callable[[str, bytes, frozenset[Unexamined]], Asked] | None = None

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        return self.path.removeprefix("/v1/").removeprefix("/")


class Refused(Exception):
    """A request, or an answer, that may not pass."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


class Failed(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


def busy() -> Failed:
    """The answer when there is too much at once."""
    body = error("Too much is being judged; try again.", "server_error", "overloaded")
    return Failed(503, body, {"Retry-After": "1"})


class Budget:
    """The bytes that all requests and their answers hold together."""

    def __init__(self) -> None:
        self.held = 0


class Call:
    """A request on its way."""

    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        self.endpoint = endpoint
        self.family = endpoint.family
        self.id = new_id()
        self.account = ""
        self.status = 500
        self.edits = False
        """Whether pictures that come back are made of pictures that went in."""
        self.verdicts: list[str] = []
        self.passed: dict[bytes, tuple[bytes, str]] = {}
        """Pictures of the answer that may pass, as they pass, by their digest."""
        self.recorded: list[asyncio.Future[None]] = []
        """Done once the verdicts are recorded. What came of them leaves only then."""
        self.stack = AsyncExitStack()
        self.started = time.perf_counter()
        self._budget = budget
        self._taken = 0

    @property
    def context(self) -> Context:
        """Where its content comes from, for the policy."""
        return Context(surface=SURFACE, account=self.account)

    def take(self, count: int) -> None:
        """Hold so many bytes more. Raises `Failed`."""
        if self._budget.held + count > MAX_HELD:
            raise busy()
        self._budget.held += count
        self._taken += count

    async def durable(self) -> None:
        """Returns once every verdict so far is recorded. Raises `StoreError`."""
        while self.recorded:
            await self.recorded.pop()

    async def close(self) -> None:
        """Let go of the upstream and of the bytes, and say what happened."""
        for future in self.recorded:
            future.cancel()
        self._budget.held -= self._taken
        self._taken = 0
        with anyio.CancelScope(shield=True):
            await self.stack.aclose()
        metrics.GUARDED.labels(self.endpoint.name, str(self.status)).inc()
        log.info(
            "guarded",
            id=self.id,
            endpoint=self.endpoint.name,
            status=self.status,
            ms=round((time.perf_counter() - self.started) * 1e3, 1),
            verdicts=self.verdicts,
        )


class Streamed(StreamingResponse):
    """A stream that closes its call, however it ends."""

    def __init__(self, call: Call, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(chunks, 200, headers, "text/event-stream")
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._call.close()


def shaped(status: int, document: Any, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON."""
    return Response(orjson.dumps(document), status, headers, "application/json")


def failure(call: Call, problem: Exception) -> Response:
    """The answer to a call that went wrong."""
    told = failed(call, problem)
    return shaped(told.status, told.body, told.headers)


def failed(call: Call, problem: Exception) -> Failed:
    """What a caller is told of anything that went wrong: nothing passes, nothing is quoted."""
    match problem:
        case Failed():
            return problem
        case Unreadable():
            return Failed(problem.status, error(problem.message, param=problem.param))
        case NotServed():
            return Failed(problem.status, error(problem.message), problem.headers)
        case FetchRefused():
            log.info("refused", id=call.id, stage="fetch", notes=getattr(problem, "__notes__", []))
            return Failed(400, error(f"A picture was not fetched: {problem}."))
        case UpstreamFailed():
            log.error("upstream", id=call.id, reason=str(problem))
            told = "The model's API gave no answer that can be passed on."
            return Failed(504 if problem.late else 502, error(told, "server_error"))
        case ClientDisconnect():
            return Failed(400, error("The request was cut off."))
    # A stranger's message may quote content: its type and place are what the log gets.
    place = problem.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
    ours = str(problem) if isinstance(problem, TutelaError) else ""
    log.error("failed", id=call.id, error=type(problem).__name__, where=where, message=ours)
    told = "Something failed here, so nothing was passed on; try again."
    return Failed(503, error(told, "server_error"), {"Retry-After": "1"})
