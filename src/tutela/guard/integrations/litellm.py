"""LiteLLM: a guardrail that runs inside its proxy, and sees photos and masks too.

    # guardrail.py, beside the proxy's config.yaml, which names it: guardrail.Guard
    from tutela.guard.integrations.litellm import TutelaGuardrail as Guard

docs/guard-litellm.md tells how to use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import anyio.to_thread
from litellm.exceptions import GuardrailRaisedException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from tutela.content import Context
from tutela.errors import OutputRefused, RequestRefused, TutelaError
from tutela.guard.gate import Gate, Operation
from tutela.guard.integrations.litellm_http import LABELS, UNJUDGED, account_of, judge_made
from tutela.guard.integrations.payloads import Payload
from tutela.guard.integrations.values import allowed
from tutela.settings import load

HOOKS: Final = [GuardrailEventHooks.pre_call, GuardrailEventHooks.post_call]
"""Before the model is called, and before its answer leaves. Beside the call is too late."""
ABOUT: Final = frozenset(
    {"api_base", "api_key", "guardrail_to_apply", "guardrails", "litellm_call_id"}
    | {"litellm_logging_obj", "litellm_metadata", "litellm_trace_id", "metadata"}
    | {"proxy_server_request", "secret_fields", "user_api_key_dict"}
)
"""What LiteLLM keeps with a request and no model reads."""


class TutelaGuardrail(CustomGuardrail):
    """Judges what LiteLLM is asked before any model is called, and what comes back.

    It has no hook beside the call: a request that is refused has then reached the model. Every
    field of a request is judged, whatever the kind of call; `vouched` names fields that pass
    unexamined. An answer that streams is held until it is whole. Without a `gate`, one is opened as
    `tutela.toml` and the environment say.
    """

    def __init__(self, gate: Gate | None = None, vouched: Iterable[str] = (), **given: Any) -> None:
        given.setdefault("supported_event_hooks", HOOKS)
        given.setdefault("event_hook", HOOKS)
        super().__init__(**given)
        self._gate = gate or Gate(load())
        self._vouched = frozenset(vouched)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Runs before the model is called. Raises `GuardrailRaisedException`, status 400."""
        del cache, call_type
        await self._raised(self._request, data, user_api_key_dict)
        return data

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Runs before an answer leaves."""
        del data
        await self._raised(self._answer, [response], user_api_key_dict)
        return response

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Runs around an answer that streams."""
        del request_data
        pieces = [piece async for piece in response]
        await self._raised(self._answer, pieces, user_api_key_dict)
        for piece in pieces:
            yield piece

    async def _raised(self, judge: Any, what: Any, caller: Any) -> None:
        try:
            await anyio.to_thread.run_sync(judge, what, _context(caller))
        except (RequestRefused, OutputRefused) as error:
            raise self._error(str(error), 400) from None
        except TutelaError as error:
            raise self._error(UNJUDGED, 503) from error

    def _error(self, message: str, status: int) -> Exception:
        raised: Exception = GuardrailRaisedException(
            guardrail_name=self.guardrail_name,
            message=message,
            should_wrap_with_default_message=False,
            status_code=status,
        )
        return raised

    def _request(self, data: Mapping[str, Any], context: Context) -> None:
        payload = Payload(self._vouched, LABELS)
        payload.read_all({name: one for name, one in data.items() if name not in ABOUT})
        operation = Operation.EDIT if payload.images else Operation.GENERATE
        request = payload.request(context, operation)
        if request.texts or request.unwanted or request.images or request.mask:
            allowed(self._gate.request(request))

    def _answer(self, pieces: Iterable[Any], context: Context) -> None:
        payload = Payload(self._vouched, LABELS)
        said: list[str] = []
        for piece in pieces:
            fields = piece.model_dump() if hasattr(piece, "model_dump") else piece
            for choice in (fields.get("choices") or ()) if isinstance(fields, Mapping) else ():
                delta = choice.get("delta") or {}
                said.append(delta.pop("content", None) or "")
            payload.read_all({"answer": fields})
        payload.read("said", "".join(said))
        judge_made(self._gate, payload, context)


def _context(caller: Any) -> Context:
    about = {
        "user_api_key_end_user_id": getattr(caller, "end_user_id", None),
        "user_api_key_user_id": getattr(caller, "user_id", None),
        "user_api_key_hash": getattr(caller, "api_key", None),
    }
    return Context(surface="litellm", account=account_of(about))
