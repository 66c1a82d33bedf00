"""The gateway as users of the official client see it."""

from __future__ import annotations

import base64
from typing import Any

import openai
import pytest
from fake_openai import FakeOpenAI, b64, picture
from guarded import REFUSED_WORD, Spy

from tutela.detectors import trigger

PROMPT = "a blue teapot on a table"


def data_of(text: str | None) -> bytes:
    assert text is not None
    return base64.b64decode(text)


def refused(error: openai.APIError, code: str = "moderation_blocked") -> None:
    """It says that it was refused, and nothing of why."""
    assert error.code == code
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    text = str(error.body).lower()
    assert not any(word in text for word in ("trigger", "nud", "child", "sexual", "rule", "likel"))


def test_a_picture_is_generated(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    made = client.images.generate(model="gpt-image-2", prompt=PROMPT, n=2, size="1024x1024")
    assert made.data is not None
    assert [data_of(one.b64_json) for one in made.data] == upstream.pictures[:2]
    (seen,) = upstream.seen
    assert seen.headers["authorization"] == "Bearer sk-made-up"
    assert seen.fields == {"model": "gpt-image-2", "n": 2, "prompt": PROMPT, "size": "1024x1024"}
    assert gate.texts == [PROMPT, ""]
    assert sorted(gate.data) == sorted(upstream.pictures[:2])


@pytest.mark.parametrize("prompt", [trigger.PROMPT, f"please {REFUSED_WORD} this"])
def test_what_is_refused_never_reaches_the_upstream(
    prompt: str, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model="gpt-image-2", prompt=prompt)
    refused(raised.value)
    assert upstream.seen == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_picture_that_must_not_leave_does_not(
    number: int, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    upstream.pictures[number] = trigger.picture()
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model="gpt-image-2", prompt=PROMPT, n=3)
    refused(raised.value)


def events_of(stream: Any) -> tuple[list[bytes], openai.APIError | None]:
    """The pictures of a stream, and the error that it ended with."""
    got: list[bytes] = []
    try:
        got.extend(data_of(event.b64_json) for event in stream)
    except openai.APIError as error:
        return got, error
    return got, None


def test_streamed_pictures(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    stream = client.images.generate(
        model="gpt-image-2", prompt=PROMPT, stream=True, partial_images=2
    )
    assert events_of(stream) == (upstream.pictures, None)
    assert gate.data == upstream.pictures


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stream_ends_before_a_picture_that_must_not_leave(
    number: int, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    upstream.pictures[number] = trigger.picture()
    stream = client.images.generate(
        model="gpt-image-2", prompt=PROMPT, stream=True, partial_images=2
    )
    got, error = events_of(stream)
    assert got == upstream.pictures[:number]
    assert error is not None
    refused(error)


def test_an_edit(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    one, two = picture("coins"), picture("galaxies")
    made = client.images.edit(
        model="gpt-image-2", prompt=PROMPT, image=[one, two], mask=picture("rocket"), n=1
    )
    assert made.data is not None
    assert upstream.seen[0].fields == {
        "model": "gpt-image-2",
        "n": "1",
        "prompt": PROMPT,
        "image[]": [one, two],
        "mask": [picture("rocket")],
    }
    assert gate.requests[0].images == (one, two)
    assert gate.requests[0].mask == picture("rocket")


def test_an_edit_of_one_picture_streamed(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    stream = client.images.edit(
        model="gpt-image-2", prompt=PROMPT, image=picture("coins"), stream=True, partial_images=2
    )
    assert events_of(stream) == (upstream.pictures, None)
    assert upstream.seen[0].fields["image"] == [picture("coins")]


@pytest.mark.parametrize("place", ["image", "second", "mask"])
def test_no_picture_of_an_edit_is_overlooked(
    place: str, client: openai.OpenAI, upstream: FakeOpenAI
) -> None:
    given: dict[str, Any] = {"image": [picture("coins"), picture("cat")]}
    if place == "mask":
        given["mask"] = trigger.picture()
    else:
        given["image"][place == "second"] = trigger.picture()
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.edit(model="gpt-image-2", prompt=PROMPT, **given)
    refused(raised.value)
    assert upstream.seen == []


def test_a_variation(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    client.images.create_variation(image=picture("coins"), size="256x256")
    assert upstream.seen[0].fields == {"size": "256x256", "image": [picture("coins")]}


def shown(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(data)}"}}


def test_a_chat(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What?"}, shown(picture())]},
    ]
    answer = client.chat.completions.create(model="made-up", messages=messages)
    assert answer.choices[0].message.content == upstream.say
    assert upstream.seen[0].fields["messages"] == messages
    assert gate.requests[0].texts == ("Be brief.", "What?")
    assert gate.requests[0].images == (picture(),)
    assert gate.requests[1].texts == (upstream.say,)


def test_a_chat_streamed(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    stream = client.chat.completions.create(
        model="made-up", messages=[{"role": "user", "content": "What?"}], stream=True
    )
    said = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(said) == upstream.say.replace(" ", "")


def test_a_response_with_a_picture(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    answer = client.responses.create(
        model="made-up", input=PROMPT, tools=[{"type": "image_generation", "partial_images": 2}]
    )
    drawn, _ = answer.output
    assert data_of(drawn.result) == upstream.pictures[-1]  # type: ignore[union-attr]
    assert answer.output_text == upstream.say
    assert upstream.pictures[-1] in gate.data


def test_a_response_streamed(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    stream = client.responses.create(
        model="made-up", input=PROMPT, tools=[{"type": "image_generation"}], stream=True
    )
    kinds = [event.type for event in stream]
    assert kinds.count("response.image_generation_call.partial_image") == 2
    assert kinds[-1] == "response.completed"
    assert gate.data == upstream.pictures


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gpt-image-2"]
