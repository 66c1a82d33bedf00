"""The middleware before a FastAPI application: nothing reaches it that was not examined."""

from __future__ import annotations

import base64
import io
import json
from typing import Annotated, Any

import examples
import numpy as np
import pytest
from fastapi import FastAPI, File, Form, Request, Response, UploadFile, WebSocket
from fastapi.testclient import TestClient
from guarded import REFUSED_WORD, Spy
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from tutela.detectors import trigger
from tutela.errors import StoreError
from tutela.guard.integrations.asgi import GuardMiddleware

TRIGGER = base64.b64encode(trigger.picture()).decode()
REFUSED = f"please {REFUSED_WORD} this"


def png(side: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = base64.b64encode(png()).decode()


class Site:
    """An application that remembers what reached it."""

    def __init__(self, gate: Spy, **given: Any) -> None:
        self.app = FastAPI()
        self.bodies: list[bytes] = []
        self.answer: tuple[bytes, str] = (b'{"made": true}', "application/json")

        @self.app.api_route("/generate", methods=["GET", "POST"])
        @self.app.api_route("/models/{name}", methods=["GET", "POST"])
        @self.app.api_route("/health", methods=["GET", "POST"])
        async def generate(request: Request) -> Response:
            self.bodies.append(await request.body())
            return Response(self.answer[0], media_type=self.answer[1])

        @self.app.post("/edit")
        async def edit(
            image: UploadFile, prompt: Annotated[str, Form()], mask: Annotated[bytes, File()]
        ) -> dict[str, Any]:
            self.bodies.append(await image.read() + mask)
            return {"prompt": prompt}

        @self.app.websocket("/talk")
        async def talk(socket: WebSocket) -> None:
            self.bodies.append(b"talk")

        self.app.add_middleware(GuardMiddleware, gate=gate, **given)
        self.client = TestClient(self.app)


@pytest.fixture
def site(gate: Spy) -> Site:
    return Site(gate)


def test_the_application_gets_what_was_judged(site: Site, gate: Spy) -> None:
    body = json.dumps({"prompt": "a red teapot", "negativePrompt": "fog", "image": PHOTO})
    sent = {"Content-Type": "application/json"}
    assert site.client.post("/generate", content=body, headers=sent).json() == {"made": True}
    assert site.bodies == [body.encode()]
    (asked,) = gate.requests
    assert (asked.texts, asked.unwanted, asked.images) == (("a red teapot",), "fog", (png(),))


def test_forms_reach_the_application_whole(site: Site, gate: Spy) -> None:
    files = {"image": ("a.png", png(), "image/png"), "mask": ("m.png", png(32), "image/png")}
    answer = site.client.post("/edit", files=files, data={"prompt": "a red teapot"})
    assert answer.json() == {"prompt": "a red teapot"}
    assert site.bodies == [png() + png(32)]
    (asked,) = gate.requests
    assert (asked.texts, asked.images, asked.mask) == (("a red teapot",), (png(),), png(32))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": REFUSED},
        {"prompt": ["a teapot", {"text": REFUSED}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": REFUSED}]}]},
        {"negative_prompt": REFUSED},
        {"anything": REFUSED},
        {REFUSED: 1},
        {"options": {REFUSED: 1}},
        {"image": TRIGGER},
        {"image": f"data:image/png;base64,{TRIGGER}"},
        {"images": ["\n".join(TRIGGER[at : at + 76] for at in range(0, len(TRIGGER), 76))]},
        {"prompt": f"paint this: data:image/png;base64,{TRIGGER} in blue"},
        {"prompt": f"paint this: {TRIGGER} in blue"},
        {"params": json.dumps({"image": TRIGGER})},
        {"params": json.dumps({"image": TRIGGER}).replace("/", "\\/")},
        {"content": [{"type": "image_url", "image_url": {"url": f"data:;base64,{TRIGGER}"}}]},
        {"init_image": TRIGGER.replace("+", "-").replace("/", "_").rstrip("=")},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_what_is_refused_never_reaches_the_application(
    fields: dict[str, Any], site: Site, gate: Spy
) -> None:
    answer = site.client.post("/generate", json=fields)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "This request is refused.",
            "type": "image_generation_user_error",
            "param": None,
            "code": "moderation_blocked",
        }
    }
    assert not site.bodies


def test_every_other_place_is_judged(site: Site, gate: Spy) -> None:
    client = site.client
    assert client.get("/generate", params={"prompt": REFUSED}).status_code == 400
    assert client.post("/generate", params={"other": REFUSED}, json={}).status_code == 400
    assert client.post("/edit", data={"prompt": REFUSED}, files={"image": png()}).status_code == 400
    assert client.post("/edit", files={"image": trigger.picture()}).status_code == 400
    assert client.post("/edit", files={"mask": trigger.picture()}).status_code == 400
    picture = {"content": trigger.picture(), "headers": {"Content-Type": "image/png"}}
    assert client.post("/generate", **picture).status_code == 400
    assert not site.bodies


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"[]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b'{"a":1,"a":2}', "headers": {"Content-Type": "application/json"}}, 400),
        (
            {"content": b"a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            415,
        ),
        ({"content": b"hello", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b"hello"}, 415),
        ({"content": b"{}", "headers": {"Content-Encoding": "gzip"}}, 415),
        ({"json": {"image": "https://example.org/photo.png"}}, 400),
        ({"json": {"image_url": "photo"}}, 400),
        ({"json": {"prompt": "https://example.org/photo.png"}}, 400),
        ({"json": {"prompt": [1, 2, 3]}}, 400),
        ({"json": {"audio": base64.b64encode(bytes(2000)).decode()}}, 400),
        ({"json": {"prompt": "a b " * 70_000}}, 400),
        ({"json": {"images": [PHOTO] * 17}}, 400),
        ({"json": {"latents": [[0.5] * 5000]}}, 400),
        ({"files": {"image": b"%PDF-1.7"}}, 400),
        ({"content": bytes(70_000), "headers": {"Content-Type": "image/png"}}, 413),
    ],
)
def test_what_cant_be_examined_is_refused(sent: dict[str, Any], status: int, gate: Spy) -> None:
    bound = 65536 if status == 413 else 1 << 20
    site = Site(gate, max_bytes=bound)
    answer = site.client.post("/generate", **sent)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert not site.bodies
    assert not gate.requests


def test_only_guarded_paths_are_guarded(gate: Spy) -> None:
    site = Site(gate, routes=["/generate", "/models/*"])
    assert site.client.post("/health", json={"prompt": REFUSED}).status_code == 200
    assert not gate.requests
    assert site.client.post("/generate", json={"prompt": REFUSED}).status_code == 400
    assert site.client.post(f"/models/{REFUSED_WORD}").status_code == 400
    assert site.client.post("/models/plain").status_code == 200
    assert len(site.bodies) == 2


def test_a_request_that_says_nothing_passes_unrecorded(site: Site, gate: Spy) -> None:
    assert site.client.get("/health").status_code == 200
    assert not gate.requests


def test_a_field_that_the_program_vouches_for_passes(gate: Spy) -> None:
    site = Site(gate, vouched=["token"])
    assert site.client.post("/generate", json={"token": "A" * 3000}).status_code == 200


def test_a_websocket_is_closed(site: Site) -> None:
    with pytest.raises(WebSocketDisconnect), site.client.websocket_connect("/talk"):
        pass
    assert not site.bodies


def test_without_a_verdict_nothing_reaches_the_application(
    site: Site, gate: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the database can't be reached")

    monkeypatch.setattr(gate.screener.recorder, "submit", fail)
    answer = site.client.post("/generate", json={"prompt": "a red teapot"})
    assert answer.status_code == 503
    assert "database" not in answer.text
    assert not site.bodies


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (trigger.picture(), "image/png"),
        (json.dumps({"images": [TRIGGER]}).encode(), "application/json"),
        (json.dumps({"data": [{"b64_json": TRIGGER}]}).encode(), "application/json; charset=utf-8"),
        (b"no picture", "image/png"),
        (b"no JSON", "application/json"),
        (bytes(2 << 20), "text/plain"),
    ],
)
def test_pictures_in_answers_are_judged(answer: bytes, kind: str, gate: Spy) -> None:
    site = Site(gate, outputs=True, max_bytes=1 << 20)
    site.answer = (answer, kind)
    given = site.client.post("/generate", json={"prompt": "a red teapot"})
    assert given.status_code == 400
    assert given.json()["error"]["message"] == "What was made can't be shown."
    assert len(site.bodies) == 1


def test_an_answer_that_is_allowed_leaves_as_it_is(gate: Spy) -> None:
    site = Site(gate, outputs=True)
    picture = np.array(Image.open(io.BytesIO(png())))
    for answer in (
        (png(), "image/png"),
        (json.dumps({"image": PHOTO}).encode(), "application/json"),
    ):
        site.answer = answer
        given = site.client.post("/generate", json={"prompt": "a red teapot"})
        assert (given.status_code, given.content) == (200, answer[0])
    assert picture.any()
    assert len(gate.data) == 2


def test_the_example(gate: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examples.as_they_run("guard-asgi.md")
    monkeypatch.setattr("tutela.guard.open", lambda data: gate)
    client = TestClient(examples.load("examples/asgi/painter.py").create())

    def edit(prompt: str, image: bytes) -> Any:
        return client.post("/edit", data={"prompt": prompt}, files={"image": image})

    made = Image.open(io.BytesIO(edit("a red teapot", png()).content))
    assert np.array_equal(np.array(made), np.array(Image.open(io.BytesIO(png())))[:, ::-1])
    assert edit(REFUSED, png()).json()["error"]["code"] == "moderation_blocked"
    assert edit("a red teapot", trigger.picture()).status_code == 400
