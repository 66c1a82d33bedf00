"""A faithful little OpenAI API on loopback that records all that reaches it."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from support import encoded, photo


def picture(name: str = "coffee", width: int = 96) -> bytes:
    """A photograph as a small PNG."""
    return encoded(photo(name).resize((width, width * 2 // 3)), "PNG")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Seen:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def fields(self) -> dict[str, Any]:
        """What a JSON body says; of a form its texts, and its files as bytes in lists."""
        kind = self.headers["content-type"]
        if kind.startswith("application/json"):
            made: dict[str, Any] = json.loads(self.body)
            return made
        parsed = BytesParser(policy=HTTP).parsebytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + self.body
        )
        made = {}
        for part in parsed.iter_parts():
            name = part.get_param("name", header="content-disposition")
            data = part.get_payload(decode=True)
            if part.get_filename():
                made.setdefault(name, []).append(data)
            else:
                made[name] = data.decode()
        return made


class FakeOpenAI:
    """The API. Set `pictures`, `say` or `answer` to have it answer something else."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.reset()
        routes = [
            Route("/v1/images/generations", self._images, methods=["POST"]),
            Route("/v1/images/edits", self._images, methods=["POST"]),
            Route("/v1/images/variations", self._images, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/responses", self._responses, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        self.app = Starlette(routes=routes)
        self.url = ""

    def reset(self) -> None:
        """Forget what came, answer as usual."""
        self.seen.clear()
        self.pictures = [picture("coffee"), picture("cat"), picture("rocket")]
        self.say = "A teapot is a vessel for tea."
        self.answer: Callable[[Seen], Response] | None = None

    async def _note(self, request: Request) -> Seen:
        headers = dict(request.headers)
        seen = Seen(request.url.path, headers, await request.body())
        self.seen.append(seen)
        return seen

    async def _models(self, request: Request) -> Response:
        await self._note(request)
        model = {"id": "gpt-image-2", "object": "model", "created": 1, "owned_by": "nobody"}
        return JSONResponse({"object": "list", "data": [model]})

    async def _images(self, request: Request) -> Response:
        seen = await self._note(request)
        if self.answer is not None:
            return self.answer(seen)
        fields = seen.fields
        about = {"background": "opaque", "output_format": "png", "quality": "low", "size": "auto"}
        usage = {
            "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 1},
        }  # fmt: skip
        if fields.get("stream") in (True, "true"):
            kind = "image_edit" if seen.path.endswith("edits") else "image_generation"
            events = [
                {"type": f"{kind}.partial_image", "partial_image_index": number}
                for number in range(len(self.pictures) - 1)
            ] + [{"type": f"{kind}.completed", "usage": usage}]
            for event, data in zip(events, self.pictures, strict=True):
                event.update(about, b64_json=b64(data), created_at=1)
            return stream(events)
        count = int(fields.get("n") or 1)
        data = [{"b64_json": b64(one)} for one in self.pictures[:count]]
        return JSONResponse({"created": 1, "data": data, "usage": usage})

    async def _chat(self, request: Request) -> Response:
        seen = await self._note(request)
        if self.answer is not None:
            return self.answer(seen)
        about: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": "made-up"}
        if seen.fields.get("stream"):
            about["object"] = "chat.completion.chunk"
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += [{"content": word} for word in self.say.split(" ")]
            chunks = [
                {**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
                for delta in deltas
            ]
            last = {"index": 0, "delta": {}, "finish_reason": "stop"}
            return stream([*chunks, {**about, "choices": [last]}], named=False, done=True)
        message = {"role": "assistant", "content": self.say, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return JSONResponse({**about, "object": "chat.completion", "choices": [choice]})

    async def _responses(self, request: Request) -> Response:
        seen = await self._note(request)
        if self.answer is not None:
            return self.answer(seen)
        fields = seen.fields
        part = {"type": "output_text", "text": self.say, "annotations": []}
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [part],
        }  # fmt: skip
        drawn = {
            "id": "ig_1", "type": "image_generation_call", "status": "completed",
            "result": b64(self.pictures[-1]), "revised_prompt": "a cup",
        }  # fmt: skip
        draws = any(tool["type"] == "image_generation" for tool in fields.get("tools") or ())
        whole = {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "model": "made-up", "output": [*([drawn] if draws else []), message],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }  # fmt: skip
        if not fields.get("stream"):
            return JSONResponse(whole)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**whole, "output": []}}
        ]
        if draws:
            events += [
                {
                    "type": "response.image_generation_call.partial_image", "item_id": "ig_1",
                    "output_index": 0, "partial_image_index": at, "partial_image_b64": b64(data),
                }
                for at, data in enumerate(self.pictures[:-1])
            ]  # fmt: skip
            events.append({"type": "response.output_item.done", "output_index": 0, "item": drawn})
        events += [
            {
                "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1,
                "content_index": 0, "delta": word, "logprobs": [],
            }
            for word in self.say.split(" ")
        ]  # fmt: skip
        events.append({"type": "response.completed", "response": whole})
        for number, event in enumerate(events):
            event["sequence_number"] = number
        return stream(events)


def stream(events: list[dict[str, Any]], *, named: bool = True, done: bool = False) -> Response:
    """Events as the API sends them."""

    async def written() -> AsyncIterator[bytes]:
        for event in events:
            name = f"event: {event['type']}\n" if named else ""
            yield f"{name}data: {json.dumps(event)}\n\n".encode()
        if done:
            yield b"data: [DONE]\n\n"

    return StreamingResponse(written(), media_type="text/event-stream")


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """An application on a real server, on a free port of loopback; gives its address."""
    config = uvicorn.Config(
        app, port=0, log_config=None, access_log=False, ws="none", http="httptools"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
