"""Gateway: an OpenAI-compatible API that judges every request before the model's API sees it.

A request is read strictly, judged as one, and written anew for the upstream; what the upstream
answers is judged before it leaves, and marked. Whatever is not known here is not passed on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
import orjson
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Incoming
from starlette.responses import Response
from starlette.routing import Route

from tutela._confine import hide
from tutela.errors import AccessDenied, StoreError
from tutela.guard import moderations, openai_requests
from tutela.guard.bodies import Unreadable
from tutela.guard.calls import (
    Budget,
    Call,
    Endpoint,
    Failed,
    Refused,
    Streamed,
    busy,
    failed,
    failure,
    shaped,
)
from tutela.guard.gate import Gate, Operation, Request
from tutela.guard.marking import Marker
from tutela.guard.openai_answers import (
    Family,
    Judged,
    Said,
    Spot,
    broken_off,
    error,
    events,
    pictures,
    refusal,
    texts,
    without_texts,
    words,
)
from tutela.guard.openai_requests import Asked
from tutela.guard.reading import Unexamined, media_of
from tutela.guard.refusals import Refusals
from tutela.guard.upstream import Answer, Upstream, UpstreamFailed
from tutela.media.types import MiB
from tutela.server import metrics
from tutela.server.app import LANES, Beside
from tutela.server.fetch import Fetcher
from tutela.server.fetch import fetcher as fetcher_of
from tutela.server.guard import Bucket
from tutela.server.health import can_screen
from tutela.server.keys import Key, Keys
from tutela.server.keys import Scope as KeyScope
from tutela.server.run import log_as_json
from tutela.settings import Settings
from tutela.store import Store

log = structlog.get_logger("tutela.guard")

T = TypeVar("T")


class Mark(Protocol):
    """Marks an encoded picture as made by a model, or as changed by one."""

    def __call__(self, data: bytes, *, edited: bool = False) -> bytes:
        """The picture, marked. Whatever it raises keeps the picture here."""


MAX_BODY: Final = 128 * MiB
MAX_ANSWER: Final = 256 * MiB
MAX_WAITING: Final = 64
"""Requests that may wait to be judged, a lane; beyond them the answer is to try again."""
TO_SEND: Final = 60.0
"""Seconds that a body may take to come."""
TO_JUDGE: Final = 60.0
"""Seconds after which what was not judged is refused."""
SMALL: Final = 64 << 10
"""Bytes of JSON that are read at once, within the event loop."""
SENT_ONCE: Final = (b"content-type", b"content-length", b"content-encoding", b"authorization")
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose."""

    upstream: str
    key: str = field(default="", repr=False)
    """The upstream's key; without one each caller's own goes on."""
    keys: bool = False
    """Whether callers need a key of Tutela; the upstream's must then be the operator's."""
    allow: frozenset[Unexamined] = frozenset()
    judge: Judged = Judged.WHOLE
    seconds: float = 600.0
    """For which the upstream may be silent."""


ENDPOINTS: Final = {
    (one.method, one.path): one
    for one in (
        Endpoint(Family.IMAGES, "/v1/images/generations", read=openai_requests.generations),
        Endpoint(Family.IMAGES, "/v1/images/edits", read=openai_requests.edits),
        Endpoint(Family.IMAGES, "/v1/images/variations", read=openai_requests.variations),
        Endpoint(Family.CHAT, "/v1/chat/completions", read=openai_requests.chat),
        Endpoint(Family.RESPONSES, "/v1/responses", read=openai_requests.responses),
        Endpoint(Family.MODERATIONS, "/v1/moderations"),
        Endpoint(Family.MODELS, "/v1/models", "GET"),
        Endpoint(Family.OWN, "/health/live", "GET"),
        Endpoint(Family.OWN, "/health/ready", "GET"),
        Endpoint(Family.OWN, "/metrics", "GET"),
    )
}


UNKNOWN: Final = Endpoint(Family.CHAT, "(none)")


class Gateway:
    """The gateway of one process. Made inside its event loop."""

    def __init__(
        self,
        gate: Gate,
        options: Options,
        *,
        mark: Mark | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        store = gate.screener.store
        self._gate = gate
        self._options = options
        self._mark = mark
        self._fetcher = fetcher
        self._upstream = Upstream(options.upstream, key=options.key, seconds=options.seconds)
        self._keys = Keys(store)
        self._buckets: dict[int, Bucket] = {}
        self._refusals = Refusals(store, gate.settings.refusals_per_hour)
        # First come, first served: without it a request may be overtaken again and again.
        self._lanes = anyio.CapacityLimiter(LANES * gate.settings.workers)
        self._budget = Budget()
        self._waiting = 0

    async def close(self) -> None:
        """Close the connections to the upstream."""
        await self._upstream.close()

    async def answer(self, incoming: Incoming) -> Response:
        """The answer to a request, whatever it is."""
        endpoint = ENDPOINTS.get((incoming.method, incoming.scope["path"]), UNKNOWN)
        call = Call(endpoint, self._budget)
        response: Response | None = None
        try:
            try:
                try:
                    response = await self._serve(call, incoming)
                except Refused as refused:
                    await self._count(call, refused.stage)
                    response = shaped(400, refusal(call.family))
                if not isinstance(response, Streamed):
                    await call.durable()
            except Exception as problem:
                response = failure(call, problem)
            response.headers.update({**HEADERS, "x-request-id": call.id})
            call.status = response.status_code
            return response
        finally:
            if not isinstance(response, Streamed):
                await call.close()

    # In ---------------------------------------------------------------------------------------

    async def _serve(self, call: Call, incoming: Incoming) -> Response:
        endpoint = call.endpoint
        if endpoint.family is Family.OWN:
            return await self._own(endpoint, incoming)
        if endpoint is UNKNOWN:
            raise Failed(404, error("This URL is not known here.", code="unknown_url"))
        headers = _headers(incoming)
        most, caller = MAX_BODY, ""
        if self._options.keys:
            key = await self._key(headers, KeyScope.SCREEN)
            most, caller = min(most, key.max_bytes), f"key:{key.name}"
        elif secret := headers.get(b"authorization"):
            caller = f"key:{hashlib.sha256(secret).hexdigest()[:16]}"
        if endpoint.family is Family.MODELS:
            return await self._models(call, headers)
        body = await _body(call, incoming, headers, most)
        kind = headers.get(b"content-type", b"").decode("latin-1")
        if endpoint.read is None:
            return await self._moderations(call, kind, body)
        read = partial(endpoint.read, kind, body, self._options.allow)
        # Much to read is read beside the other requests.
        asked = read() if len(body) < SMALL else await anyio.to_thread.run_sync(read)
        del body
        call.account = asked.account or caller
        call.edits = asked.operation in (Operation.EDIT, Operation.VARIATION)
        await self._complete(call, asked)
        started = time.perf_counter()
        await self._pass(call, asked.request(call.context), "request")
        metrics.GUARD_SECONDS.labels(endpoint.name).observe(time.perf_counter() - started)
        return await self._forward(call, asked, headers)

    async def _own(self, endpoint: Endpoint, incoming: Incoming) -> Response:
        """What is asked about the gateway itself."""
        if endpoint.path == "/metrics":
            await self._key(_headers(incoming), KeyScope.METRICS)
            text = await anyio.to_thread.run_sync(metrics.exposition)
            return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
        if endpoint.path == "/health/live":
            return shaped(200, {"status": "live"})
        fine = await anyio.to_thread.run_sync(can_screen, self._gate.screener)
        return shaped(200 if fine else 503, {"status": "ready" if fine else "not ready"})

    async def _key(self, headers: dict[bytes, bytes], scope: KeyScope) -> Key:
        kind, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        try:
            if kind.lower() != "bearer" or not secret:
                raise AccessDenied("no key")
            key = await anyio.to_thread.run_sync(self._keys.authenticate, secret)
        except AccessDenied:
            body = error("Incorrect API key provided.", code="invalid_api_key")
            raise Failed(401, body) from None
        if scope not in key.scopes:
            raise Failed(403, error(f"This key lacks the scope {scope}.", code="not_in_scope"))
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.per_minute != key.per_minute:
            bucket = self._buckets[key.id] = Bucket(key.per_minute)
        bucket.take()
        return key

    async def _moderations(self, call: Call, kind: str, body: bytes) -> Response:
        results = []
        for asked in moderations.read(kind, body):
            await self._complete(call, asked)
            verdict = await self._run(self._gate.request, asked.request(call.context))
            call.verdicts.append(verdict.id)
            results.append(moderations.result(asked, verdict))
        return shaped(200, moderations.answer(call.id, results))

    async def _complete(self, call: Call, asked: Asked) -> None:
        """Fetch the pictures that are named by their address."""
        for one in asked.pictures:
            if one.url:
                one.data = await self._fetched(call, one.url)

    async def _fetched(self, call: Call, url: str) -> bytes:
        if self._fetcher is None:
            raise Unreadable("Pictures are not fetched here; send their bytes as a data URL.")
        data = (await self._fetcher.fetch(url)).data
        call.take(len(data))
        media_of(data)
        return data

    async def _pass(self, call: Call, request: Request, stage: str) -> None:
        """Judge a request; its verdict is recorded meanwhile. Raises `Refused`."""
        verdict, recorded = await self._run(self._gate.submit, request)
        call.verdicts.append(verdict.id)
        call.recorded.append(asyncio.wrap_future(recorded))
        if verdict.action != "allow":
            raise Refused(stage)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        """Work that judges, in a thread, in its turn. Raises `Failed` and `TimeoutError`."""
        if self._waiting >= MAX_WAITING:
            raise busy()
        self._waiting += 1
        try:
            with anyio.fail_after(TO_JUDGE):
                return await anyio.to_thread.run_sync(
                    work, *args, limiter=self._lanes, abandon_on_cancel=True
                )
        finally:
            self._waiting -= 1

    async def _count(self, call: Call, stage: str) -> None:
        metrics.REFUSALS.labels(call.endpoint.name, stage).inc()
        log.info("refused", id=call.id, endpoint=call.endpoint.name, stage=stage)
        if not call.account:
            return
        try:
            await anyio.to_thread.run_sync(self._refusals.count, call.account)
        except StoreError as problem:
            # The request is refused all the same; that it was is in the log.
            log.error("failed", id=call.id, error="StoreError", message=str(problem))

    # Out --------------------------------------------------------------------------------------

    async def _models(self, call: Call, headers: dict[bytes, bytes]) -> Response:
        ask = self._upstream.ask("GET", call.endpoint.path, headers)
        answer = await call.stack.enter_async_context(ask)
        document = await _document(call, answer)
        return shaped(answer.status, document, answer.headers)

    async def _forward(self, call: Call, asked: Asked, headers: dict[bytes, bytes]) -> Response:
        body, kind = asked.body()
        call.take(len(body))
        ask = self._upstream.ask("POST", call.endpoint.path, headers, body, kind)
        answer = await call.stack.enter_async_context(ask)
        if asked.stream and answer.status < 400:
            if answer.media_type != "text/event-stream":
                raise UpstreamFailed("no stream")
            return Streamed(call, self._stream(call, answer), answer.headers)
        document = await _document(call, answer)
        await self._clear(call, document, as_url=asked.as_url)
        if answer.status < 400 and self._options.judge is not Judged.NONE:
            document = await self._cleared(call, document)
        return shaped(answer.status, document, answer.headers)

    async def _stream(self, call: Call, answer: Answer) -> AsyncIterator[bytes]:
        """The events, each judged before it leaves; or all of them before the first leaves."""
        keep = self._options.judge is Judged.ALL and call.family is not Family.IMAGES
        kept: list[bytes] = []
        said = Said()
        try:
            async for event in events(answer.chunks):
                await self._clear(call, event.data)
                if not keep:
                    await call.durable()
                    yield event.written()
                    continue
                said.add(event.data)
                kept.append(event.written())
                call.take(len(kept[-1]))
            if keep:
                # Also a picture that was spelt out in pieces.
                await self._clear(call, said.texts())
                await self._say(call, said.texts())
                await call.durable()
            for one in kept:
                yield one
        except Refused as refused:
            await self._count(call, refused.stage)
            await call.durable()
            yield broken_off(call.family, refusal(call.family)).written()
        except Exception as problem:
            yield broken_off(call.family, failed(call, problem).body).written()

    async def _clear(self, call: Call, document: Any, *, as_url: bool = False) -> None:
        """Judge and mark every picture of a document, in its place. Raises `Refused`."""
        spots = list(pictures(document, call.family))
        done = await asyncio.gather(*(self._picture(call, spot) for spot in spots))
        for spot, (data, media) in zip(spots, done, strict=True):
            spot.put(data, media, as_url=as_url)

    async def _picture(self, call: Call, spot: Spot) -> tuple[bytes, str]:
        data = spot.data
        if spot.url:
            if self._fetcher is None:
                raise UpstreamFailed("a picture by its address")
            data = (await self._fetcher.fetch(spot.url)).data
            call.take(len(data))
        digest = hashlib.sha256(data).digest()
        if digest not in call.passed:
            verdict = await self._run(self._gate.output, data, call.context)
            call.verdicts.append(verdict.id)
            if verdict.action != "allow":
                raise Refused("picture")
            marked = data
            if self._mark is not None:
                marked = await self._run(partial(self._mark, data, edited=call.edits))
            call.take(len(marked))
            call.passed[digest] = marked, media_of(marked)
        return call.passed[digest]

    async def _cleared(self, call: Call, document: Any) -> Any:
        """The document, or what it is answered instead if its texts may not pass."""
        try:
            await self._say(call, texts(document, call.family))
        except Refused as refused:
            if call.family is Family.IMAGES:
                raise
            await self._count(call, refused.stage)
            return without_texts(document, call.family)
        return document

    async def _say(self, call: Call, written: list[str]) -> None:
        """Judge what the model wrote. Raises `Refused`."""
        said = tuple(filter(None, map(words, written)))
        if not said:
            return
        request = Request(said, operation=Operation.CHAT, context=call.context)
        await self._pass(call, request, "text")


def _headers(incoming: Incoming) -> dict[bytes, bytes]:
    """The headers of a request that is written plainly. Raises `Unreadable`."""
    names = [name for name, _ in incoming.scope["headers"]]
    if any(names.count(name) > 1 for name in SENT_ONCE):
        raise Unreadable("A header is given twice.")
    headers = dict(incoming.scope["headers"])
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Unreadable("Send the body as it is, without a Content-Encoding.", status=415)
    if incoming.scope["query_string"]:
        raise Unreadable("Nothing may stand in the URL's query.")
    if incoming.scope.get("raw_path") not in (None, incoming.scope["path"].encode()):
        raise Unreadable("Write the URL's path plainly.")
    return headers


async def _body(call: Call, incoming: Incoming, headers: dict[bytes, bytes], most: int) -> bytes:
    large = Failed(413, error(f"A request may have {most} bytes."))
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > most:
        raise large
    body = bytearray()
    try:
        with anyio.fail_after(TO_SEND):
            async for chunk in incoming.stream():
                call.take(len(chunk))
                body += chunk
                if len(body) > most:
                    raise large
    except TimeoutError:
        raise Failed(408, error("The request took too long to come.")) from None
    return bytes(body)


async def _document(call: Call, answer: Answer) -> Any:
    """The JSON that the upstream answers."""
    body = bytearray()
    async for chunk in answer.chunks:
        call.take(len(chunk))
        body += chunk
        if len(body) > MAX_ANSWER:
            raise UpstreamFailed("an answer that is too large")
    try:
        if answer.media_type != "application/json":
            raise UpstreamFailed("no JSON")
        if len(body) < SMALL:
            return orjson.loads(body)
        return await anyio.to_thread.run_sync(orjson.loads, body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("no JSON") from None


def create(
    settings: Settings,
    options: Options,
    *,
    gate: Gate | None = None,
    mark: Mark | None = None,
    fetcher: Fetcher | None = None,
) -> Starlette:
    """The application. A gate, what marks and what fetches are made from the settings unless they
    are given. Raises `ConfigurationError` for a certificate that can't sign.
    """
    if mark is None:
        marker = Marker(settings)
        log.info("pictures are marked", by=str(marker))
        mark = marker.mark if marker.marks else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            opened = gate
            if opened is None:
                opened = stack.enter_context(Gate(settings))
                stack.enter_context(Beside(opened.screener))
                opened.warm()
            gateway = Gateway(opened, options, mark=mark, fetcher=fetcher or fetcher_of(settings))
            stack.push_async_callback(gateway.close)
            app.state.gateway = gateway
            yield

    async def answer(incoming: Incoming) -> Response:
        gateway: Gateway = incoming.app.state.gateway
        return await gateway.answer(incoming)

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    return Starlette(routes=[Route("/{path:path}", answer, methods=methods)], lifespan=lifespan)


def run(settings: Settings, options: Options, *, host: str, port: int) -> None:
    """Serve until told to stop. Raises `StoreError` before anything listens if it can't work."""
    hide()
    settings.make_data()
    fetcher_of(settings)
    Upstream(options.upstream)
    Store(settings.database_url).close()
    log_as_json()
    uvicorn.run(
        create(settings, options),
        host=host,
        port=port,
        http="httptools",
        ws="none",
        access_log=False,
        proxy_headers=False,
        log_level="info",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=30,
        limit_concurrency=1_024,
    )
