"""The door: who may pass, how often, with how much. It stands before anything reads a body."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutela.errors import AccessDenied
from tutela.media.types import MiB
from tutela.server import errors, metrics
from tutela.server.errors import Refused
from tutela.server.keys import Key, Keys
from tutela.store import new_id

log = structlog.get_logger("tutela.server")

PUBLIC = frozenset({"/health/live", "/health/ready"})
"""The only paths that need no key."""
KNOWN_FOR = 1.0
"""Seconds for which a key is not looked up again; a revoked one lives no longer."""
MAX_IN_FLIGHT = 512 * MiB
"""Bytes of request bodies held at once; beyond them the answer is to try again."""

HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware: key, rate, size, the error shape, the access log and the metrics."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Keys]) -> None:
        self._app = app
        self._keys = keys
        self._known: dict[str, tuple[float, Key]] = {}
        self._buckets: dict[int, Bucket] = {}
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["state"]["request"] = new_id()
        sent: dict[str, Any] = {"status": 0}

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        held = 0
        try:
            headers = dict(scope["headers"])
            if scope["path"] not in PUBLIC:
                key = await self._key(headers)
                scope["state"]["key"] = key
                self._bucket(key).take()
                receive, held = self._bounded(headers, key, receive)
            await self._app(scope, receive, watched)
        except Exception as error:
            if sent["status"]:
                raise  # half an answer can't be taken back: the connection is closed
            await errors.answer(error, scope["state"]["request"])(scope, receive, watched)
        finally:
            self._in_flight -= held
            self._note(scope, sent["status"], time.perf_counter() - started)

    async def _key(self, headers: Mapping[bytes, bytes]) -> Key:
        kind, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise Refused(
                401,
                "access-denied",
                "Send a key: Authorization: Bearer tutela_…",
                {"WWW-Authenticate": "Bearer"},
            )
        known = self._known.get(secret)
        if known and time.monotonic() - known[0] < KNOWN_FOR:
            return known[1]
        try:
            key = await anyio.to_thread.run_sync(self._keys().authenticate, secret)
        except AccessDenied:
            self._known.pop(secret, None)
            raise Refused(
                401,
                "access-denied",
                "The key is unknown or revoked.",
                {"WWW-Authenticate": "Bearer"},
            ) from None
        self._known[secret] = (time.monotonic(), key)
        return key

    def _bucket(self, key: Key) -> Bucket:
        bucket = self._buckets.get(key.id)
        if bucket is None or bucket.per_minute != key.per_minute:
            bucket = self._buckets[key.id] = Bucket(key.per_minute)
        return bucket

    def _bounded(
        self, headers: Mapping[bytes, bytes], key: Key, receive: Receive
    ) -> tuple[Receive, int]:
        """A `receive` that stops at the key's limit, and the bytes reserved for the body."""
        too_large = Refused(413, "too-large", f"A request may have {key.max_bytes} bytes.")
        try:
            length = int(headers.get(b"content-length", b"-1"))
        except ValueError:
            raise Refused(400, "bad-request", "Content-Length is no number.") from None
        if length > key.max_bytes:
            raise too_large
        # Without a length, as much as the key may send is set aside.
        chunked = length < 0 and b"transfer-encoding" in headers
        reserved = key.max_bytes if chunked else max(length, 0)
        if self._in_flight + reserved > MAX_IN_FLIGHT and self._in_flight:
            raise Refused(
                503, "overloaded", "Too much is being screened; try again.", {"Retry-After": "1"}
            )
        self._in_flight += reserved
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > key.max_bytes:
                    raise too_large
            return message

        return counted, reserved

    @staticmethod
    def _note(scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        # The route, not the path: paths hold names and numbers, and a stranger's can be anything.
        path = getattr(route, "path", "(none)")
        metrics.REQUESTS.labels(scope["method"], path, str(status or 499)).inc()
        metrics.SECONDS.labels(path).observe(seconds)
        state = scope["state"]
        log.info(
            "request",
            id=state["request"],
            method=scope["method"],
            path=path,
            status=status,
            ms=round(seconds * 1e3, 1),
            key=getattr(state.get("key"), "name", None),
            **state.get("note", {}),
        )


class Bucket:
    """A token bucket that holds a minute's worth and refills evenly."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._tokens = float(per_minute)
        self._filled = time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> None:
        with self._lock:
            moment = time.monotonic()
            refill = (moment - self._filled) * self.per_minute / 60
            self._tokens = min(self.per_minute, self._tokens + refill)
            self._filled = moment
            if self._tokens < 1:
                wait = (1 - self._tokens) * 60 / self.per_minute
                raise Refused(
                    429,
                    "too-many-requests",
                    f"This key may send {self.per_minute} requests a minute.",
                    {"Retry-After": str(int(wait) + 1)},
                )
            self._tokens -= 1
