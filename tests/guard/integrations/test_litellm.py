"""LiteLLM's own classes, before a model's API that records what reaches it."""

from __future__ import annotations

import gc
import io
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import examples
import httpx
import pytest
import yaml
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fake_openai import FakeOpenAI, b64, picture, running
from guarded import REFUSED_WORD, Spy

from tutela.detectors import trigger
from tutela.errors import StoreError
from tutela.guard.gate import Operation
from tutela.guard.integrations import litellm_http

# Read while the package is imported, which would else ask the network for prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

litellm = pytest.importorskip("litellm")

from litellm.exceptions import GuardrailRaisedException  # noqa: E402
from litellm.integrations.custom_guardrail import CustomGuardrail  # noqa: E402
from litellm.proxy.guardrails.guardrail_hooks.generic_guardrail_api import (  # noqa: E402
    GenericGuardrailAPI,
)
from litellm.types.guardrails import GuardrailEventHooks  # noqa: E402
from litellm.types.utils import ImageResponse, ModelResponse, ModelResponseStream  # noqa: E402

from tutela.guard.integrations.litellm import TutelaGuardrail  # noqa: E402

pytestmark = [
    # Left open by the package's own clients when a loop ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

WISH = "a red teapot"
REFUSED = f"please {REFUSED_WORD} this"
TRIGGER = trigger.picture()
KEY = "a key"


class Caller:
    """What the proxy knows of who asks."""

    end_user_id = None
    user_id = "user 7"
    api_key = "hash"


def url(data: bytes) -> str:
    return f"data:image/png;base64,{b64(data)}"


def said(*parts: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Messages of a chat."""
    return [{"role": "user", "content": list(parts) if isinstance(parts[0], dict) else parts[0]}]


def shown(address: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address}}


_portals: list[BlockingPortal] = []


@pytest.fixture(scope="module", autouse=True)
def _one_loop() -> Iterator[None]:
    """The package keeps clients for as long as a loop runs, and here they are closed."""
    with start_blocking_portal() as portal:
        _portals.append(portal)
        yield
        portal.call(litellm.close_litellm_async_clients)
        _portals.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        litellm.in_memory_llm_clients_cache.flush_cache()
        gc.collect()


def done(call: Callable[[], Awaitable[Any]]) -> Any:
    """What comes of it, on the loop of all tests."""
    return _portals[0].call(call)


# The endpoint ---------------------------------------------------------------------------------


@pytest.fixture
def ask(gate: Spy) -> Any:
    """LiteLLM's own client of such endpoints, pointed at ours."""
    with running(litellm_http.app(gate, key=KEY)) as address:

        def asked(inputs: dict[str, Any], kind: str = "request", key: str = KEY) -> Any:
            client = GenericGuardrailAPI(
                api_base=address,
                api_key=key,
                guardrail_name="tutela",
                event_hook="pre_call",
                default_on=True,
            )
            about = {"metadata": {"user_api_key_user_id": "user 7"}}
            return done(lambda: client.apply_guardrail(inputs, about, kind))

        yield asked


def test_the_endpoint_lets_pass_what_is_allowed(ask: Any, gate: Spy) -> None:
    inputs = {"texts": [WISH], "images": [url(picture())], "structured_messages": said(WISH)}
    assert ask(inputs)["texts"] == [WISH]
    (asked,) = gate.requests
    assert asked.texts == (WISH,)
    assert asked.images == (picture(),)
    assert asked.operation is Operation.EDIT
    assert asked.context.account == "user 7"


@pytest.mark.parametrize(
    "inputs",
    [
        {"texts": [WISH, REFUSED]},
        {"texts": [WISH], "images": [url(TRIGGER)]},
        {"texts": [WISH], "images": [b64(TRIGGER)]},
        {"texts": [], "structured_messages": said(REFUSED)},
        {"texts": [], "structured_messages": said({"type": "text", "text": REFUSED})},
        {"texts": [], "structured_messages": said(shown(url(TRIGGER)))},
        {"texts": [], "tools": [{"type": "function", "function": {"description": REFUSED}}]},
    ],
)
@pytest.mark.parametrize("kind", ["request", "response"])
def test_the_endpoint_blocks_what_is_refused(inputs: dict[str, Any], kind: str, ask: Any) -> None:
    with pytest.raises(GuardrailRaisedException) as raised:
        ask(inputs, kind)
    refusals = {"request": "This request is refused.", "response": "What was made can't be shown."}
    assert raised.value.message == refusals[kind]
    assert REFUSED_WORD not in str(raised.value)


@pytest.mark.parametrize(
    "inputs",
    [
        {"texts": [WISH], "images": ["https://example.org/photo.png"]},
        {
            "texts": [WISH],
            "images": [b64(b"%PDF-1.7 and more, so that it is long enough to be it")],
        },
        {"texts": ["a b " * 70_000]},
        {"texts": ["half a character: \ud800"]},
    ],
)
def test_the_endpoint_blocks_what_it_cant_examine(
    inputs: dict[str, Any], ask: Any, gate: Spy
) -> None:
    with pytest.raises(Exception, match=r"can't be|surrogates"):
        ask(inputs)
    assert not gate.requests


def test_the_endpoint_blocks_when_judging_fails(
    ask: Any, gate: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the database can't be reached")

    monkeypatch.setattr(gate, "submit", fail)
    # It would let the request pass on an error.
    with pytest.raises(GuardrailRaisedException) as raised:
        ask({"texts": [WISH]})
    assert raised.value.message == "This request can't be judged."


def test_the_endpoint_wants_its_key(ask: Any, gate: Spy) -> None:
    with pytest.raises(Exception, match="401"):
        ask({"texts": [WISH]}, key="another")
    assert not gate.requests


def test_the_endpoint_answers_blocked_to_what_is_no_request(gate: Spy) -> None:
    with running(litellm_http.app(gate)) as address:
        for body in (b"", b"[]", b'{"texts": ["a"], "texts": ["b"]}'):
            answer = httpx.post(
                f"{address}{litellm_http.PATH}",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            assert answer.json()["action"] == "BLOCKED"
    assert not gate.requests


# The class ------------------------------------------------------------------------------------


@pytest.fixture
def guardrail(gate: Spy) -> TutelaGuardrail:
    return TutelaGuardrail(gate, guardrail_name="tutela", default_on=True)


def before(guardrail: TutelaGuardrail, data: dict[str, Any], kind: str = "aimage_edit") -> Any:
    return done(lambda: guardrail.async_pre_call_hook(Caller(), None, data, kind))


def opened(data: bytes) -> io.BytesIO:
    """As the proxy gives files."""
    made = io.BytesIO(data)
    made.name = "photo.png"
    return made


def test_photo_mask_and_prompt_are_judged_as_one(guardrail: TutelaGuardrail, gate: Spy) -> None:
    data = {
        "model": "painter",
        "prompt": WISH,
        "image": [opened(picture()), opened(picture("rocket"))],
        "mask": [opened(picture(width=48))],
        "n": 1,
        "metadata": {"user_api_key": "hash", "headers": {"anything": REFUSED}},
        "proxy_server_request": {"url": "http://localhost/", "body": {}},
        "litellm_logging_obj": object(),
    }
    assert before(guardrail, data) is data
    (asked,) = gate.requests
    assert asked.texts == (WISH,)
    assert asked.images == (picture(), picture("rocket"))
    assert asked.mask == picture(width=48)
    assert asked.operation is Operation.EDIT
    assert asked.context.account == "user 7"
    assert all(one.tell() == 0 for one in (*data["image"], *data["mask"]))


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": REFUSED, "image": [opened(picture())]},
        {"prompt": WISH, "image": [opened(picture()), opened(TRIGGER)]},
        {"prompt": WISH, "image[]": [opened(TRIGGER)]},
        {"prompt": WISH, "image": [opened(picture())], "mask": [opened(TRIGGER)]},
        {"prompt": WISH, "extra_body": {"negative_prompt": REFUSED}},
        {"messages": said(REFUSED)},
        {"messages": said(shown(url(TRIGGER)))},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": REFUSED}]}]},
        {"input": REFUSED},
        {"prompt": [REFUSED]},
        {"messages": said(WISH), "system": REFUSED},
        {"messages": said(WISH), "fallbacks": [{"model": "talker", "messages": said(REFUSED)}]},
    ],
)
def test_what_is_refused_is_raised_before_the_call(
    data: dict[str, Any], guardrail: TutelaGuardrail
) -> None:
    with pytest.raises(GuardrailRaisedException) as raised:
        before(guardrail, {"model": "painter", **data})
    assert (raised.value.message, raised.value.status_code) == ("This request is refused.", 400)


@pytest.mark.parametrize(
    "data",
    [
        {"messages": said(shown("https://example.org/photo.png"))},
        {"prompt": [1, 2, 3]},
        {"prompt": WISH, "image": [opened(b"%PDF-1.7")]},
        {"prompt": WISH, "anything": object()},
        {"prompt": WISH, "image": ["photo.png"]},
    ],
)
def test_what_cant_be_examined_is_raised(data: dict[str, Any], guardrail: TutelaGuardrail) -> None:
    with pytest.raises(GuardrailRaisedException, match="can't be examined"):
        before(guardrail, data)


def test_without_a_verdict_the_call_is_refused(
    guardrail: TutelaGuardrail, gate: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the database can't be reached")

    monkeypatch.setattr(gate, "submit", fail)
    with pytest.raises(GuardrailRaisedException) as raised:
        before(guardrail, {"prompt": WISH})
    assert (raised.value.message, raised.value.status_code) == (
        "This request can't be judged.",
        503,
    )


def answered(text: str) -> ModelResponse:
    return ModelResponse(choices=[{"message": {"role": "assistant", "content": text}}])


def test_answers_are_judged(guardrail: TutelaGuardrail, gate: Spy) -> None:
    def after(response: Any) -> Any:
        return done(lambda: guardrail.async_post_call_success_hook({}, Caller(), response))

    for allowed in (answered(WISH), ImageResponse(data=[{"b64_json": b64(picture())}])):
        assert after(allowed) is allowed
    assert gate.data == [picture()]
    for refused in (answered(REFUSED), ImageResponse(data=[{"b64_json": b64(TRIGGER)}])):
        with pytest.raises(GuardrailRaisedException, match="can't be shown"):
            after(refused)
    with pytest.raises(GuardrailRaisedException, match="can't be examined"):
        after(ImageResponse(data=[{"url": "https://example.org/photo.png"}]))


def test_an_answer_that_streams_is_held_until_it_is_whole(
    guardrail: TutelaGuardrail, gate: Spy
) -> None:
    def streamed(*words: str) -> list[str]:
        """What comes out before the end, or the refusal."""
        out: list[str] = []

        async def pieces() -> AsyncIterator[Any]:
            for word in words:
                yield ModelResponseStream(choices=[{"index": 0, "delta": {"content": word}}])

        async def run() -> None:
            hook = guardrail.async_post_call_streaming_iterator_hook(Caller(), pieces(), {})
            out.extend([piece.choices[0].delta.content async for piece in hook])

        try:
            done(run)
        except GuardrailRaisedException as error:
            assert not out
            return [error.message]
        return out

    assert streamed("a ", "red ", "teapot") == ["a ", "red ", "teapot"]
    assert gate.texts[0] == "a red teapot"
    # No piece by itself says it.
    half = len(REFUSED_WORD) // 2
    assert streamed(REFUSED_WORD[:half], REFUSED_WORD[half:]) == ["What was made can't be shown."]


def test_there_is_no_hook_beside_the_call(gate: Spy) -> None:
    assert issubclass(TutelaGuardrail, CustomGuardrail)
    with pytest.raises(ValueError, match="during_call"):
        TutelaGuardrail(gate, guardrail_name="tutela", event_hook=GuardrailEventHooks.during_call)


def test_a_router_calls_no_model_for_what_is_refused(
    guardrail: TutelaGuardrail, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "callbacks", [guardrail])
    model = {"model": "openai/gpt-4o", "api_base": f"{upstream.url}/v1", "api_key": "sk-made-up"}

    def talk(text: str) -> Any:
        async def call() -> Any:
            router = litellm.Router([{"model_name": "talker", "litellm_params": model}])
            given = {"guardrails": ["tutela"], "num_retries": 0}
            return await router.acompletion(model="talker", messages=said(text), **given)

        return done(call)

    assert talk(WISH).choices[0].message.content
    assert len(upstream.seen) == 1
    with pytest.raises(Exception, match="This request is refused"):
        talk(REFUSED)
    assert len(upstream.seen) == 1


def test_the_examples(gate: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examples.as_they_run("guard-litellm.md")
    text = (examples.ROOT / "examples/litellm/config.yaml").read_text("utf-8")
    (named,) = yaml.safe_load(text)["guardrails"]
    given = named["litellm_params"]
    module, kind = given.pop("guardrail").split(".")
    guard = getattr(examples.load(f"examples/litellm/{module}.py"), kind)
    made = guard(
        gate, guardrail_name="tutela", event_hook=given["mode"], default_on=given["default_on"]
    )
    for hook in (GuardrailEventHooks.pre_call, GuardrailEventHooks.post_call):
        assert made.should_run_guardrail({}, hook)
    monkeypatch.setattr("tutela.guard.open", lambda data: gate)
    monkeypatch.setenv("TUTELA_GUARDRAIL_KEY", KEY)
    (route,) = examples.load("examples/litellm/endpoint.py").create().routes
    assert route.path == "/beta/litellm_basic_guardrail_api"
    text = (examples.ROOT / "examples/litellm/config-http.yaml").read_text("utf-8")
    (named,) = yaml.safe_load(text)["guardrails"]
    assert named["litellm_params"].pop("guardrail") == "generic_guardrail_api"
    asked = {**named["litellm_params"], "event_hook": named["litellm_params"].pop("mode")}
    asked.pop("mode")
    assert GenericGuardrailAPI(guardrail_name="tutela", **asked).fail_on_error
