"""What goes wrong, and who may not pass: nothing unexamined leaves, and nothing is told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import structlog
from fake_openai import FakeOpenAI, picture, stream
from guarded import REFUSED_WORD, Spy
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from tls import Server, certify
from tutela.detectors import trigger
from tutela.errors import ConfigurationError, StoreError
from tutela.guard import calls, gateway
from tutela.guard.openai_answers import Judged
from tutela.guard.reading import Unexamined
from tutela.guard.refusals import Refusals
from tutela.guard.upstream import Upstream, UpstreamFailed
from tutela.media.types import MiB
from tutela.server import metrics
from tutela.server.keys import Keys, Scope

Serve = Callable[..., str]
MARK = "quixotic-marker-word"
"""Stands in every prompt here: it may turn up nowhere."""
BODY = {"model": "m", "prompt": f"a teapot {MARK}"}


def post(address: str, body: Any = BODY, path: str = "images/generations", **more: Any) -> Any:
    return httpx.post(f"{address}/v1/{path}", json=body, timeout=30, **more)


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """It is an error in the one shape, and quotes nothing."""
    assert answer.status_code == status, answer.text
    assert MARK not in answer.text
    inner: dict[str, Any] = answer.json()["error"]
    assert set(inner) == {"message", "type", "param", "code"}
    return inner


# The upstream -------------------------------------------------------------------------------------


def raw(body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> Any:
    return lambda _: Response(body, status, headers, kind)


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"<html>", "text/html"),
        raw(b"{"),
        raw(b'{"a": NaN}'),
        raw(b"{}", "text/plain"),
        raw(b"{}", **{"Content-Encoding": "gzip"}),
        raw(b"x", "image/png"),
        raw(b'{"data": [{"b64_json": "!"}]}'),
        raw(b"<html>", "text/html", 500),
        lambda _: RedirectResponse("http://127.0.0.1:9/", 307),
        lambda _: stream([{"type": "x"}]),
    ],
)
def test_answers_that_cannot_be_read(answer: Any, address: str, upstream: FakeOpenAI) -> None:
    upstream.answer = answer
    assert error_of(post(address), 502)["type"] == "server_error"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_the_upstream_s_own_errors(status: int, address: str, upstream: FakeOpenAI) -> None:
    told = {"error": {"message": "No.", "type": "t", "param": None, "code": "c"}}
    headers = {"Retry-After": "7", "X-Other": "1", "Set-Cookie": "a=b"}
    upstream.answer = lambda _: JSONResponse(told, status, headers)
    answer = post(address)
    assert answer.json() == told
    assert error_of(answer, status)["code"] == "c"
    assert answer.headers["retry-after"] == "7"
    assert not {"x-other", "set-cookie"} & set(answer.headers)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: {\n\n"],
        [b"data: nothing\n\n"],
        [b'event: Not A Name\ndata: {"a": 1}\n\n'],
        [b'data: {"a": 1}'],
        [b'data: {"b64_json": "!"}\n\n'],
    ],
)
def test_streams_that_cannot_be_read(
    chunks: list[bytes], client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    async def sent() -> Any:
        for chunk in chunks:
            yield chunk

    upstream.answer = lambda _: StreamingResponse(sent(), media_type="text/event-stream")
    with pytest.raises(openai.APIError):
        list(client.images.generate(prompt="a teapot", stream=True))


def test_a_stream_in_pieces(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    """Lines end as they may, and events are cut anywhere."""
    whole = b': hello\r\n\r\ndata: {"type": "a",\r\ndata: "n": 1}\r\n\r\nid: 7\ndata: {"n": 2}\n\n'

    async def sent() -> Any:
        for at in range(len(whole)):
            yield whole[at : at + 1]

    upstream.answer = lambda _: StreamingResponse(sent(), media_type="text/event-stream")
    got = [event.to_dict() for event in client.images.generate(prompt="a teapot", stream=True)]
    assert got == [{"type": "a", "n": 1}, {"n": 2}]


def test_an_upstream_that_is_not_there(serve: Serve, upstream: FakeOpenAI) -> None:
    there, upstream.url = upstream.url, "http://127.0.0.1:9"
    try:
        address = serve()
    finally:
        upstream.url = there
    error_of(post(address), 502)


def test_an_upstream_that_is_silent(serve: Serve, upstream: FakeOpenAI) -> None:
    def slow(_: Any) -> Response:
        time.sleep(1.0)
        return JSONResponse({})

    upstream.answer = slow
    error_of(post(serve(seconds=0.2)), 504)
    time.sleep(1.0)


@pytest.mark.parametrize(
    "url", ["", "api.openai.com", "ftp://a.b", "https://a b", "https://u:p@a.b", "https://a.b?x=1"]
)
def test_what_is_no_upstream(url: str) -> None:
    with pytest.raises(ConfigurationError, match="upstream"):
        Upstream(url)


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    """What is sent is sent to nobody else, whatever the environment says."""
    certify(tmp_path / "own.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "own.pem")
    server = Server(tls)
    try:

        async def ask(trusted: ssl.SSLContext | None) -> int:
            upstream = Upstream(f"https://localhost:{server.port}", tls=trusted)
            try:
                # Without a body: the server reads none, and closes.
                async with upstream.ask("GET", "/v1/x", {}) as answer:
                    return answer.status
            finally:
                await upstream.close()

        with pytest.raises(UpstreamFailed):
            asyncio.run(ask(None))
        assert server.requests == []
        server.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "own.pem"))
        assert asyncio.run(ask(trusted)) == 200
    finally:
        server.close()


def test_headers(address: str, upstream: FakeOpenAI) -> None:
    """A few go on; what is between two machines alone does not, nor what may carry anything."""
    sent = {
        "Authorization": "Bearer sk-1",
        "OpenAI-Organization": "org",
        "Connection": "keep-alive, x-drop",
        "X-Drop": "1",
        "Cookie": "a=b",
        "X-Prompt": MARK,
        "Accept-Encoding": "gzip",
        "TE": "trailers",
    }
    assert post(address, headers=sent).status_code == 200
    (seen,) = upstream.seen
    assert seen.headers["authorization"] == "Bearer sk-1"
    assert seen.headers["openai-organization"] == "org"
    assert seen.headers["accept-encoding"] == "identity"
    assert set(seen.headers) == {
        "host", "accept-encoding", "authorization", "openai-organization", "content-type",
        "content-length",
    }  # fmt: skip


def test_the_operator_s_key(serve: Serve, upstream: FakeOpenAI) -> None:
    assert post(serve(key="sk-operator"), headers={"Authorization": "Bearer x"}).status_code == 200
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-operator"


# Who may call -------------------------------------------------------------------------------------


def test_keys(serve: Serve, upstream: FakeOpenAI, gate: Spy) -> None:
    keys = Keys(gate.screener.store)
    _, good = keys.create("good", [Scope.SCREEN])
    _, other = keys.create("other", [Scope.METRICS])
    _, slow = keys.create("slow", [Scope.SCREEN], per_minute=1)
    _, small = keys.create("small", [Scope.SCREEN], max_bytes=10)
    address = serve(keys=True, key="sk-operator")

    def ask(secret: str | None) -> Any:
        return post(address, headers={"Authorization": f"Bearer {secret}"} if secret else {})

    assert ask(good).status_code == 200
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-operator"
    for wrong in (None, "x", "tutela_x"):
        assert error_of(ask(wrong), 401)["code"] == "invalid_api_key"
    error_of(ask(other), 403)
    error_of(ask(small), 413)
    assert ask(slow).status_code == 200
    answer = ask(slow)
    error_of(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    for path in ("models", "moderations"):
        assert httpx.get(f"{address}/v1/{path}").status_code in (401, 404)
    assert len(upstream.seen) == 2


# Too much, too slow, and failures of ours ---------------------------------------------------------


def test_too_large(serve: Serve, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "MAX_BODY", 10_000)
    address = serve()
    error_of(post(address, {**BODY, "user": "a" * 20_000}), 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1_000

    kind = {"Content-Type": "application/json"}
    path = f"{address}/v1/images/generations"
    error_of(httpx.post(path, content=chunks(), headers=kind), 413)
    assert upstream.seen == []


def test_too_much_text(address: str, upstream: FakeOpenAI) -> None:
    error_of(post(address, {"prompt": "teapot " * 40_000}), 413)
    assert upstream.seen == []


@pytest.mark.parametrize("value", ["{},", "[],", "0,"])
def test_too_many_values(value: str, address: str, upstream: FakeOpenAI) -> None:
    """A body within its bound may not grow into a hundred times as much memory."""
    body = '{"prompt": "a", "metadata": [' + value * 600_000 + "0]}"
    kind = {"Content-Type": "application/json"}
    error_of(httpx.post(f"{address}/v1/images/generations", content=body, headers=kind), 413)
    assert upstream.seen == []


def test_a_body_that_does_not_come(
    serve: Serve, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TO_SEND", 0.2)
    host, _, port = serve().removeprefix("http://").partition(":")
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head + b"Content-Type: application/json\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_too_much_at_once(
    serve: Serve, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_HELD", 1 * MiB)
    address = serve()
    error_of(post(address, {**BODY, "user": "a" * (2 * MiB)}), 503)
    assert post(address).status_code == 200
    upstream.answer = raw(b'{"a": "' + b"x" * (2 * MiB) + b'"}')
    error_of(post(address), 503)
    upstream.answer = None
    # What was held is given back: else this would fill up.
    for _ in range(30):
        assert post(address).status_code == 200


def test_too_many_wait(
    serve: Serve, gate: Spy, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "MAX_WAITING", 2)
    go = threading.Event()
    judge = gate.judge

    def slow(request: Any) -> Any:
        go.wait(20)
        return judge(request)

    monkeypatch.setattr(gate, "judge", slow)
    address = serve()
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(post, address) for _ in range(6)]
        deadline = time.monotonic() + 10
        while sum(one.done() for one in asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        go.set()
    codes = sorted(one.result().status_code for one in asked)
    assert codes == [200, 200, 503, 503, 503, 503]
    assert len(upstream.seen) == 2


def test_too_slow(
    serve: Serve, gate: Spy, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "TO_JUDGE", 0.1)
    judge = gate.judge

    def slow(request: Any) -> Any:
        time.sleep(0.5)
        return judge(request)

    monkeypatch.setattr(gate, "judge", slow)
    error_of(post(serve()), 503)
    time.sleep(0.6)
    assert upstream.seen == []


@pytest.mark.parametrize("error", [ValueError(MARK), StoreError(f"disk {'full'}"), MemoryError()])
def test_a_gate_that_fails(
    error: Exception, address: str, gate: Spy, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise error

    monkeypatch.setattr(gate, "judge", fail)
    error_of(post(address), 503)
    assert upstream.seen == []


@pytest.mark.parametrize("streamed", [False, True])
def test_no_answer_without_a_record(
    streamed: bool,
    address: str,
    gate: Spy,
    upstream: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The upstream may be asked meanwhile, but nothing that it answers leaves."""

    def fail(_: Any) -> Any:
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        threading.Timer(0.3, done.set_exception, [StoreError("disk full")]).start()
        return done

    monkeypatch.setattr(gate.screener.recorder, "submit", fail)
    body = {"model": "m", "messages": [{"role": "user", "content": "What?"}], "stream": streamed}
    answer = post(address, body, "chat/completions")
    assert "teapot" not in answer.text.lower()
    assert len(upstream.seen) == 1
    if streamed:
        assert answer.text.startswith('data: {"error"')
    else:
        error_of(answer, 503)


def test_nothing_leaves_before_the_record(
    address: str, gate: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[float] = []
    submit = gate.screener.recorder.submit

    def late(rows: Any) -> Any:
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def write() -> None:
            submit(rows).result()
            recorded.append(time.monotonic())
            done.set_result(None)

        threading.Timer(0.4, write).start()
        return done

    monkeypatch.setattr(gate.screener.recorder, "submit", late)
    body = {"model": "m", "messages": [{"role": "user", "content": "What?"}]}
    assert post(address, body, "chat/completions").status_code == 200
    assert time.monotonic() >= max(recorded)
    assert len(recorded) == 2
    with httpx.stream(
        "POST", f"{address}/v1/chat/completions", json={**body, "stream": True}
    ) as answer:
        next(answer.iter_lines())
        assert len(recorded) == 3
    error_of(post(address, {"prompt": trigger.PROMPT}), 400)
    assert len(recorded) == 4


def test_a_caller_who_leaves(address: str, gate: Spy, upstream: FakeOpenAI) -> None:
    """What was begun is given up or ended; the gateway goes on, and so does the recorder."""
    body = {"model": "m", "messages": [{"role": "user", "content": "What?"}], "stream": True}
    for _ in range(5):
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{address}/v1/images/generations", json=BODY, timeout=0.001)
    assert post(address).status_code == 200
    assert gate.screener.recorder.submit([]).result() is None


# What the operator lets pass ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "more"),
    [
        (Unexamined.STORED, {"previous_response_id": "resp_1"}),
        (Unexamined.TOOLS, {"tools": [{"type": "web_search"}]}),
        (Unexamined.OPAQUE, {"input": [{"type": "compaction", "encrypted_content": "abc"}]}),
        (
            Unexamined.FILES,
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        ),
    ],
)
def test_what_the_operator_allows(
    what: Unexamined, more: dict[str, Any], serve: Serve, upstream: FakeOpenAI
) -> None:
    body = {"model": "m", "input": "What?", **more}
    others = frozenset(Unexamined) - {what}
    error_of(post(serve(allow=others), body, "responses"), 400)
    assert upstream.seen == []
    assert post(serve(allow=frozenset({what})), body, "responses").status_code == 200
    assert upstream.seen[0].fields == body


# Refusals by account ------------------------------------------------------------------------------


def test_an_account_that_is_refused_again_and_again(address: str, gate: Spy) -> None:
    store = gate.screener.store
    refusals = Refusals(store, gate.settings.refusals_per_hour)
    counted = metrics.CASE_SIGNALS._value.get()
    for number in range(4):
        body = {"prompt": trigger.PROMPT, "safety_identifier": "a1", "user": "ignored"}
        error_of(post(address, body), 400)
        found = {one.account: one for one in refusals.signals()}
        assert ("a1" in found) == (number >= 2)
    assert found["a1"].refusals == 4
    assert found["a1"].in_window == 3
    assert metrics.CASE_SIGNALS._value.get() == counted + 1
    post(address, {"prompt": trigger.PROMPT, "user": "a2"})
    post(address, {"prompt": trigger.PROMPT}, headers={"Authorization": "Bearer sk-secret"})
    post(address, {"prompt": trigger.PROMPT})
    accounts = {one.account for one in refusals.signals(every=True)}
    assert {"a1", "a2"} <= accounts
    assert "ignored" not in accounts
    assert any(one.startswith("key:") for one in accounts)
    assert not any("sk-secret" in one for one in accounts)


# Nothing is told ----------------------------------------------------------------------------------


def test_nothing_of_a_prompt_is_kept(
    serve: Serve,
    gate: Spy,
    upstream: FakeOpenAI,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.say = f"There: {MARK}"
    prompts = [MARK, f"{MARK} {REFUSED_WORD}", f"{MARK} {trigger.PROMPT}"]
    with structlog.testing.capture_logs() as logs:
        address = serve(judge=Judged.ALL)
        for prompt in prompts:
            post(address, {"prompt": prompt, "user": "u"})
            post(address, {"prompt": prompt, "unknown": prompt})
            post(address, {"prompt": prompt, "model": prompt})
            chat = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            for streamed in (False, True):
                post(address, {**chat, "stream": streamed}, "chat/completions")
            post(address, {"model": "m", "input": prompt}, "responses")
            post(address, {"input": prompt}, "moderations")
            httpx.post(f"{address}/v1/{MARK}?{MARK}", content=prompt)
            files = {"image": picture()}
            httpx.post(
                f"{address}/v1/images/edits", data={"prompt": prompt, MARK: "x"}, files=files
            )
            httpx.post(f"{address}/v1/images/edits", data={"prompt": prompt}, files=files)
        upstream.answer = raw(json.dumps({"error": MARK}).encode(), "text/html", 500)
        post(address, {"prompt": MARK})
    assert len(logs) > 25
    # The client of this test logs what it asks for.
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    written = json.dumps([logs, ours], default=str) + "".join(capfd.readouterr())
    assert MARK not in written
    assert REFUSED_WORD not in written
    assert MARK.encode() not in metrics.exposition()
    gate.screener.recorder.record([])
    folder = Path(gate.settings.data)
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "tutela.db" for path in kept)
    for path in kept:
        assert MARK.encode() not in path.read_bytes(), path
        assert REFUSED_WORD.encode() not in path.read_bytes(), path


def test_how_the_gateway_is(serve: Serve, gate: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    address = serve()
    assert httpx.get(f"{address}/health/live").json() == {"status": "live"}
    assert httpx.get(f"{address}/health/ready").json() == {"status": "ready"}
    monkeypatch.setattr(type(gate.screener.matcher), "complete", False)
    assert httpx.get(f"{address}/health/ready").status_code == 503
    error_of(httpx.get(f"{address}/metrics"), 401)
    _, secret = Keys(gate.screener.store).create("counts", [Scope.METRICS])
    counted = httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {secret}"})
    assert "tutela_guard_requests_total" in counted.text


def test_other_paths(address: str) -> None:
    for path in ("/", "/v1/files", "/openapi.json", "/docs", "/health"):
        assert error_of(httpx.get(address + path), 404)["code"] == "unknown_url"
