"""ASGI: a middleware that judges requests before the application sees them.

    app.add_middleware(GuardMiddleware, gate=gate, routes=["/generate", "/edit/*"])

It is closed: on a guarded path nothing reaches the application that could not be examined.
docs/guard-asgi.md tells how to use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

import anyio.to_thread
import orjson
import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutela.content import Context
from tutela.errors import OutputRefused, RequestRefused, TutelaError, Unexaminable
from tutela.guard.bodies import Unreadable, read_form, read_json, text_of
from tutela.guard.gate import Gate
from tutela.guard.integrations.payloads import Payload
from tutela.guard.integrations.values import allowed, judge_outputs
from tutela.media.types import MiB

log = structlog.get_logger("tutela.guard")

MAX_BODY: Final = 64 * MiB
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?")
FAILED: Final = "This request can't be judged now; try again."


class GuardMiddleware:
    """Judges what an application is sent, and, if asked to, the pictures that it answers with.

    `routes` are paths; one that ends in `*` stands for all that begin so, and what the star stands
    for is judged as a text. `vouched` names fields that pass unexamined. `max_bytes` bounds a body,
    and an answer, which are held whole. With `outputs`, a picture that is answered, by itself or
    within JSON, is judged before it leaves; any other answer passes as it is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        routes: Iterable[str] = ("*",),
        vouched: Iterable[str] = (),
        outputs: bool = False,
        max_bytes: int = MAX_BODY,
    ) -> None:
        self._app = app
        self._gate = gate
        self._exact = frozenset(route for route in routes if not route.endswith("*"))
        self._begins = tuple(route[:-1] for route in routes if route.endswith("*"))
        self._vouched = frozenset(vouched)
        self._outputs = outputs
        self._max = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass; answer all else."""
        if scope["type"] == "lifespan" or not self._guards(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # What comes over a WebSocket can't be judged before it is sent.
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            body = await self._body(scope, receive)
            if body is None:
                return
            await anyio.to_thread.run_sync(self._judge, scope, body)
        except (Unreadable, TutelaError) as error:
            await refusal(error)(scope, receive, send)
            return
        if not self._outputs:
            await self._app(scope, _again(body, receive), send)
            return
        answer = _Answer(self._max)
        try:
            await self._app(scope, _again(body, receive), answer)
            await anyio.to_thread.run_sync(self._judge_answer, answer)
        except TutelaError as error:
            await refusal(error)(scope, receive, send)
            return
        for message in answer.messages:
            await send(message)

    def _guards(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._begins)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None if the client went away."""
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Unreadable("Send the body without a Content-Encoding.", status=415)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max:
                raise Unreadable(f"A body may have {self._max} bytes.", status=413)
            if not message.get("more_body", False):
                return bytes(body)

    def _read(self, scope: Scope, body: bytes) -> Payload:
        payload = Payload(self._vouched)
        for name, text in _query(scope.get("query_string", b"")):
            payload.read_all({name: _value(text)})
        for begin in self._begins:
            if len(begin) > 1 and scope["path"].startswith(begin):
                payload.read("rest", scope["path"][len(begin) :])
        if not body:
            return payload
        kinds = Headers(scope=scope).getlist("content-type")
        if len(kinds) != 1:
            raise Unreadable("Send one Content-Type.", status=415)
        if kinds[0].lower().startswith("multipart/"):
            for part in read_form(kinds[0], body):
                payload.read(part.name, part.value if part.file else _value(text_of(part)))
        elif kinds[0].lower().startswith("image/"):
            payload.read("image", body)
        else:
            payload.read_all(read_json(kinds[0], body))
        return payload

    def _judge(self, scope: Scope, body: bytes) -> None:
        request = self._read(scope, body).request(Context(surface="asgi"))
        if request.texts or request.unwanted or request.images or request.mask:
            allowed(self._gate.request(request))

    def _judge_answer(self, answer: _Answer) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        payload = Payload(self._vouched)
        try:
            if kind.startswith("image/"):
                payload.read("image", answer.body())
            elif kind == "application/json":
                payload.read("answer", orjson.loads(answer.body()))
        except (Unexaminable, orjson.JSONDecodeError):
            raise OutputRefused from None
        judge_outputs(self._gate, payload.images, Context(surface="asgi"))


def _query(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Unreadable("The query is badly written.") from None


def _value(text: str) -> str | float:
    """The number that a field stands for where it is one."""
    return float(text) if _NUMBER.fullmatch(text) else text


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was judged, then whatever else comes."""
    left = [body]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again


class _Answer:
    """An answer, held until it is judged."""

    def __init__(self, most: int) -> None:
        self.messages: list[Message] = []
        self._room = most

    async def __call__(self, message: Message) -> None:
        self._room -= len(message.get("body", b""))
        if self._room < 0:
            raise OutputRefused
        self.messages.append(message)

    @property
    def headers(self) -> Headers:
        return Headers(raw=self.messages[0]["headers"])

    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def refusal(error: Exception) -> Response:
    """The answer to a request that is refused, in the shape of OpenAI's API."""
    status, kind, code, param = 503, "server_error", "unavailable", ""
    message = FAILED
    if isinstance(error, Unreadable):
        status, kind, code = error.status, "invalid_request_error", "unreadable"
        message, param = error.message, error.param or ""
    elif isinstance(error, Unexaminable):
        param = error.name
        status, kind, code = 400, "invalid_request_error", "unexaminable"
        message = "A part of this request is in a form that can't be examined."
    elif isinstance(error, RequestRefused | OutputRefused):
        status, kind, code = 400, "image_generation_user_error", "moderation_blocked"
        message = str(error)
        log.info("refused", verdict=error.verdict)
    else:
        log.error("a request was not judged", error=type(error).__name__, message=str(error))
    body = {"error": {"message": message, "type": kind, "param": param or None, "code": code}}
    return Response(orjson.dumps(body), status, media_type="application/json")
