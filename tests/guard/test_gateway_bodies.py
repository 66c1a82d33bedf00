"""What goes on is what was read, whatever was sent: properties over made-up bodies."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from fake_openai import b64, picture
from hypothesis import given
from hypothesis import strategies as st

from tutela.content import Context
from tutela.guard import openai_requests
from tutela.guard.bodies import Field, Unreadable, read_form, read_json, write_form
from tutela.guard.reading import Unexamined

PNG = picture("coffee", 24)
URL = f"data:image/png;base64,{b64(PNG)}"
LABEL = re.compile(r"[A-Za-z0-9._:/@+=|~#*-]{0,128}")
NONE: frozenset[Unexamined] = frozenset()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=8), values))
def test_json_is_read_as_it_is_written(tree: dict[str, Any]) -> None:
    try:
        read = read_json("application/json", json.dumps(tree).encode())
    except Unreadable:
        # What is refused holds what JSON can't say for sure.
        assert "\0" in repr(tree) or "\\x00" in repr(tree) or "\\ud" in repr(tree)
        return
    assert read == tree
    assert json.loads(orjson.dumps(read)) == tree


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_whatever_is_no_json_is_refused(body: bytes) -> None:
    try:
        read = read_json("application/json", body)
    except Unreadable:
        return
    assert read == json.loads(body)


names = st.from_regex(r"[A-Za-z_]{1,20}(\[\])?", fullmatch=True)


@given(st.lists(st.tuples(names, st.binary(max_size=60), st.booleans()), min_size=1, max_size=8))
def test_forms_are_read_as_they_are_written(parts: list[tuple[str, bytes, bool]]) -> None:
    body, kind = write_form(
        (name, "a.png" if file else "", value, "image/png" if file else "")
        for name, value, file in parts
    )
    assert read_form(kind, body) == [Field(name, value, file) for name, value, file in parts]


@given(st.data())
def test_a_form_with_a_byte_changed_is_refused_or_read_whole(data: st.DataObject) -> None:
    """No byte of a value is lost."""
    body, kind = write_form([("prompt", "", b"a teapot", ""), ("image", "a.png", PNG, "image/png")])
    at = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = body[:at] + bytes([byte]) + body[at + 1 :]
    try:
        read = read_form(kind, changed)
    except Unreadable:
        return
    # A boundary that is none any more leaves one longer value, which is judged as that.
    assert len(b"a teapot" + PNG) <= sum(len(one.value) for one in read) < len(changed)


NAMES = """
model prompt negative_prompt messages input instructions images image mask tools tool_choice text
type role content image_url url detail file_id output arguments name call_id metadata stream n size
user stop result id previous_response_id prediction summary function
"""
TYPES = """
text image_url input_text input_image output_text function message function_call reasoning
function_call_output image_generation_call image_generation custom refusal
"""
FIELDS, KINDS = NAMES.split(), TYPES.split()
leaves = (
    st.sampled_from([URL, URL.upper(), b64(PNG), "https://a.example/x.png", "m", "", "user"])
    | st.sampled_from(KINDS)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
    | st.sampled_from([f"see {URL} there", "make \\u0069t", "two words", 1, True, None, 0.5])
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
        | st.builds(lambda kind, more: {**more, "type": kind}, st.sampled_from(KINDS),
                    st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4))
    ),
    max_leaves=14,
)  # fmt: skip
bases: dict[str, dict[str, Any]] = {
    "generations": {"prompt": "a teapot"},
    "edits": {"prompt": "a teapot", "images": [{"image_url": URL}]},
    "chat": {"messages": [{"role": "user", "content": "What?"}]},
    "responses": {"input": "What?"},
}


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("endpoint", bases)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), trees, max_size=3))
def test_what_goes_on_was_to_be_judged(endpoint: str, changes: dict[str, Any]) -> None:
    body = json.dumps({**bases[endpoint], **changes}).encode()
    try:
        asked = getattr(openai_requests, endpoint)("application/json", body, NONE)
    except Unreadable:
        return
    for one in asked.pictures:
        one.data = one.data or PNG  # as if it had been fetched
    request = asked.request(Context())
    pictures = {*request.images, *([request.mask] if request.mask else [])}
    judged = [*request.texts, request.unwanted]
    for text in strings(json.loads(asked.body()[0])):
        rest = text
        for found in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text):
            assert base64.b64decode(found) in pictures
            rest = rest.replace(f"data:image/png;base64,{found}", " ")
        if rest == b64(PNG) and PNG in pictures:
            continue
        assert LABEL.fullmatch(rest) or not rest.strip() or any(rest in one for one in judged)
        assert (
            "https://a.example" not in text
            or any(text in one for one in judged)
            or (LABEL.fullmatch(text))
        )
