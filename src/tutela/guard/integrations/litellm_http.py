"""LiteLLM over HTTP: the endpoint that its generic guardrail asks.

`route` is for any Starlette application; `app` is one with nothing else in it.
docs/guard-litellm.md tells how to use it, and when the class in `litellm` sees more.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

import anyio.to_thread
import structlog
from starlette.applications import Starlette
from starlette.requests import Request as Incoming
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tutela.content import Context
from tutela.errors import OutputRefused, RequestRefused, TutelaError
from tutela.guard.bodies import Unreadable, read_json
from tutela.guard.gate import Gate, Operation
from tutela.guard.integrations.payloads import PLAIN, Payload
from tutela.guard.integrations.values import allowed, judge_outputs
from tutela.media.types import MiB

log = structlog.get_logger("tutela.guard")

PATH: Final = "/beta/litellm_basic_guardrail_api"
MAX_BODY: Final = 128 * MiB
ABOUT: Final = frozenset(
    {"additional_provider_specific_params", "input_type", "litellm_call_id", "litellm_trace_id"}
    | {"litellm_version", "model", "request_data", "request_headers"}
)
"""Fields that no model reads."""
LABELS: Final = PLAIN | {"detail", "object", "role", "type"}
"""Names of fields that hold a label; in these shapes some more do."""
ACCOUNTS: Final = ("user_api_key_end_user_id", "user_api_key_user_id", "user_api_key_hash")
"""Where the caller's reference stands; the first that is there counts."""
UNJUDGED: Final = "This request can't be judged."


def route(gate: Gate, *, key: str = "", vouched: Iterable[str] = ()) -> Route:
    """The endpoint. With a `key`, callers must send it as `x-api-key`.

    What can't be examined or judged is answered with BLOCKED, never with an error: LiteLLM may be
    set to let a request pass when its guardrail fails. `vouched` names fields that pass unexamined.
    """
    named = frozenset(vouched)

    async def ask(request: Incoming) -> Response:
        if key and not hmac.compare_digest(request.headers.get("x-api-key", ""), key):
            return JSONResponse({"error": "unknown key"}, 401)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY:
                return _blocked(UNJUDGED)
        try:
            kind = request.headers.get("content-type", "")
            await anyio.to_thread.run_sync(_judge, gate, kind, bytes(body), named)
        except (RequestRefused, OutputRefused) as error:
            return _blocked(str(error))
        except (Unreadable, TutelaError) as error:
            log.error("a request was not judged", error=type(error).__name__)
            return _blocked(UNJUDGED)
        return JSONResponse({"action": "NONE"})

    return Route(PATH, ask, methods=["POST"])


def app(gate: Gate, *, key: str = "", vouched: Iterable[str] = ()) -> Starlette:
    """An application with the endpoint alone."""
    return Starlette(routes=[route(gate, key=key, vouched=vouched)])


def account_of(about: Any) -> str:
    """Whom a request is for, by what LiteLLM says of its key."""
    if not isinstance(about, Mapping):
        return ""
    return next((str(about[name]) for name in ACCOUNTS if about.get(name)), "")


def judge_made(gate: Gate, payload: Payload, context: Context) -> None:
    """Judge what a model answered: its texts as texts, its pictures as outputs.

    Raises `OutputRefused`.
    """
    pictures, payload.images = payload.images, []
    request = payload.request(context, Operation.CHAT)
    if request.texts:
        try:
            allowed(gate.request(request))
        except RequestRefused as error:
            raise OutputRefused(error.verdict) from None
    judge_outputs(gate, pictures, context)


def _judge(gate: Gate, kind: str, body: bytes, vouched: frozenset[str]) -> None:
    fields = read_json(kind, body)
    context = Context(surface="litellm", account=account_of(fields.get("request_data")))
    payload = Payload(vouched, LABELS)
    payload.read_all({name: one for name, one in fields.items() if name not in ABOUT})
    if fields.get("input_type") == "response":
        judge_made(gate, payload, context)
        return
    operation = Operation.EDIT if payload.images else Operation.GENERATE
    request = payload.request(context, operation)
    if request.texts or request.images or request.mask:
        allowed(gate.request(request))


def _blocked(reason: str) -> Response:
    return JSONResponse({"action": "BLOCKED", "blocked_reason": reason})
