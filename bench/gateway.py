"""What the gateway adds to a request: the same calls to one local API, directly and through it.

    python bench/gateway.py [--calls 400] [--pictures 40] [--rounds 4] [--clients 1,8]
                            [--think 0,20]

A little API answers on loopback, at once and after 20 ms: while it thinks, the verdict on the
request is recorded. `tutela guard serve` is a process of its own before it. One client keeps its
connection and calls one after the other: the official `openai` client, and a plain one for which
HTTP costs less. Directly and through the gateway take turns, so that a noisy machine is noisy for
both. Each call is a text of its own: nothing is answered from memory. What is printed is the time
to the answer, and the difference of the medians: what the gateway adds, judging the request (and
the answer, in a chat that comes whole) and recording the verdicts durably included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai

from machine import describe

PLACES = ("table", "shelf", "boat", "roof", "meadow", "bench", "windowsill", "beach", "bridge")
THINGS = ("teapot", "lamp", "violin", "bicycle", "lighthouse", "basket", "clock", "kite", "ladder")


def prompts() -> Iterator[str]:
    """Harmless texts of some length, no two the same."""
    number = 0
    while True:
        thing, place = THINGS[number % 9], PLACES[number // 9 % 9]
        yield (
            f"A watercolour of a {thing} on a {place} in the evening light, number {number}, "
            "soft colours, wide view, mist over the hills behind it and a few birds in the sky"
        )
        number += 1


def api(ready: multiprocessing.connection.Connection, think: float) -> None:  # type: ignore[name-defined]
    """An API that answers after so many milliseconds: a process of its own."""
    import uvicorn

    answers = {
        "/v1/images/generations": {"created": 1, "data": [{"b64_json": PICTURE}]},
        "/v1/chat/completions": {
            "id": "c", "created": 1, "model": "m", "object": "chat.completion",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "There it is, as you asked."},
            }],
        },
    }  # fmt: skip
    bodies = {path: json.dumps(answer).encode() for path, answer in answers.items()}

    chunk = {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    chunk["choices"] = [{"index": 0, "delta": {"content": "There it is."}, "finish_reason": "stop"}]
    stream = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            return
        got = b""
        while True:
            message = await receive()
            got += message.get("body", b"")
            if not message.get("more_body"):
                break
        if think:
            await asyncio.sleep(think / 1e3)
        streamed = b'"stream":true' in got.replace(b": ", b":")
        body = stream if streamed else bodies[scope["path"]]
        kind = b"text/event-stream" if streamed else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    ready.send(listening.getsockname()[1])
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=600)
    uvicorn.Server(config).run([listening])


def _picture() -> str:
    import base64
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE = _picture()


@contextlib.contextmanager
def served(upstream: str) -> Iterator[int]:
    """`tutela guard serve` before an API; gives its port."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "tutela", "--data", folder, "guard", "serve"]
        log = (Path(folder) / "log").open("wb")
        process = subprocess.Popen(
            [*command, "--upstream", upstream, "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no gateway: {(Path(folder) / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(60)
            log.close()


Ask = Callable[[str], None]


def official(port: int) -> dict[str, Ask]:
    """Calls by the official client."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-x", max_retries=0)

    def chat(prompt: str) -> None:
        messages = [{"role": "user", "content": prompt}]
        client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]

    return {"chat": chat}


def plain(port: int) -> dict[str, Ask]:
    """Calls by a plain client of the standard library."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-x"}

    def post(path: str, body: dict[str, object]) -> None:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")

    def chat(prompt: str) -> None:
        messages = [{"role": "user", "content": prompt}]
        post("/v1/chat/completions", {"model": "m", "messages": messages})

    def generate(prompt: str) -> None:
        post("/v1/images/generations", {"model": "m", "prompt": prompt})

    def stream(prompt: str) -> None:
        messages = [{"role": "user", "content": prompt}]
        post("/v1/chat/completions", {"model": "m", "messages": messages, "stream": True})

    return {
        "chat": chat,
        "chat, streamed": stream,
        "one picture of 256×256 back": generate,
    }


def timed(ask: Ask, texts: Iterator[str], calls: int) -> list[float]:
    """Milliseconds of each call."""
    spent = []
    for _ in range(calls):
        prompt = next(texts)
        started = time.perf_counter()
        ask(prompt)
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def line(name: str, spent: list[float]) -> str:
    ordered = sorted(spent)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"{name:46s} p50 {statistics.median(spent):6.2f} ms   p99 {p99:6.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--think", default="0,20")
    options = parser.parse_args()
    print(describe("tutela", "openai", "uvicorn", "httpcore", "starlette"))
    for think in map(float, options.think.split(",")):
        print(f"the API answers after {think:g} ms")
        measure(think, options)
    print(f"{os.cpu_count()} cores for the clients, the API and the gateway together")


def measure(think: float, options: argparse.Namespace) -> None:
    """Print what calls take, directly and through the gateway."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    upstream = context.Process(target=api, args=(theirs, think), daemon=True)
    upstream.start()
    direct = ours.recv()
    texts = prompts()
    with served(f"http://127.0.0.1:{direct}") as port:
        for name, make in (("plain client", plain), ("openai client", official)):
            asks = {where: make(at) for where, at in (("direct", direct), ("gateway", port))}
            for what in asks["direct"]:
                spent: dict[str, list[float]] = {where: [] for where in asks}
                # A picture that comes back is decoded and looked at: fewer of them say enough.
                calls = options.calls if "picture" not in what else options.pictures
                for where in asks:
                    timed(asks[where][what], texts, min(40, calls))
                for _ in range(options.rounds):
                    for where in asks:
                        spent[where] += timed(asks[where][what], texts, calls // options.rounds)
                for where, times in spent.items():
                    print(line(f"{name}, {what}, {where}", times))
                added = statistics.median(spent["gateway"]) - statistics.median(spent["direct"])
                print(f"{'':46s} the gateway adds {added:.2f} ms")
        for count in map(int, options.clients.split(",")):
            times, seconds = together(port, count, options.calls)
            rate = len(times) / seconds
            print(f"{line(f'chat, {count} clients at once', times)}   {rate:6.0f} requests/s")
    upstream.terminate()


def together(port: int, clients: int, calls: int) -> tuple[list[float], float]:
    """Milliseconds of calls by several clients at once, and how many seconds all took."""
    spent: list[list[float]] = [[] for _ in range(clients)]

    def run(number: int) -> None:
        texts = (f"{text} for {number}" for text in prompts())
        spent[number] = timed(plain(port)["chat"], texts, calls // clients)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for part in spent for one in part], time.perf_counter() - started


if __name__ == "__main__":
    main()
