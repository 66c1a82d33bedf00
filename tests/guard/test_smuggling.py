"""Nothing unexamined reaches the upstream, however a request is written.

Hundreds of requests, each written in a way in which two readers may differ, go over a plain socket.
After each, everything that the upstream got must be something that the gate has judged.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fake_openai import FakeOpenAI, b64, picture
from guarded import REFUSED_WORD, Spy

from support import encoded, photo
from tutela.detectors import trigger

HIDDEN = f"please {REFUSED_WORD} the hidden thing"
"""What must not pass: the gate would refuse it."""
PNG = picture("coffee", 24)
HIDDEN_PNG = trigger.picture()
LABEL = re.compile(r"[A-Za-z0-9._:/@+=|~#*-]{0,128}")
DATA_URL = re.compile(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")

Headers = list[tuple[str, str]]
Raw = tuple[Headers, bytes]
Case = tuple[str, str, Raw]
"""Its name, the path, headers and body."""


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(data)}"


# Requests that are fine ---------------------------------------------------------------------------

BASES: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {"model": "m", "prompt": "a blue teapot"},
    "/v1/images/edits": {
        "model": "m",
        "prompt": "a blue teapot",
        "images": [{"image_url": url_of(PNG)}],
    },
    "/v1/chat/completions": {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a blue teapot"},
                    {"type": "image_url", "image_url": {"url": url_of(PNG)}},
                ],
            }
        ],
    },
    "/v1/responses": {
        "model": "m",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a blue teapot"},
                    {"type": "input_image", "image_url": url_of(PNG), "detail": "auto"},
                ],
            }
        ],
    },
}
TEXT_FIELD = {
    "/v1/images/generations": "prompt",
    "/v1/images/edits": "prompt",
    "/v1/chat/completions": "messages",
    "/v1/responses": "input",
}
JSON: Headers = [("Content-Type", "application/json")]


def hidden_value(path: str) -> Any:
    """What stands in the field of the text, hidden."""
    if "images" in path:
        return HIDDEN
    return [{"role": "user", "content": HIDDEN}]


# JSON ---------------------------------------------------------------------------------------------


def json_cases(path: str, base: dict[str, Any]) -> Iterator[tuple[str, Raw]]:
    plain = json.dumps(base)
    name = TEXT_FIELD[path]
    hidden = json.dumps(hidden_value(path))

    def raw(text: str | bytes, headers: Headers = JSON) -> Raw:
        return headers, text.encode() if isinstance(text, str) else text

    def also(fields: str) -> Raw:
        return raw(plain[:-1] + "," + fields + "}")

    # One name twice.
    yield "twice, last hidden", also(f'"{name}": {hidden}')
    yield "twice, first hidden", raw(f'{{"{name}": {hidden}, ' + plain[1:])
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
    yield "twice, escaped", also(f'"{escaped}": {hidden}')
    yield "twice, half escaped", also(f'"\\u{ord(name[0]):04x}{name[1:]}": {hidden}')
    yield "twice, null", raw(f'{{"{name}": {hidden}, "{name}": null, ' + plain[1:])
    yield "twice, model", also('"model": "n"')
    yield "twice, inside", raw(plain.replace('"blue', '"blue').replace("{", '{"a":1,"a":2,', 1))
    # Names that are not known, with a text or a picture.
    for unknown in (
        "image", "init_image", "image_url", "image_urls", "prompt_2", "prompts", "Prompt", "PROMPT",
        "prompt ", " prompt", "prompt\\u0000", "\\ufeffprompt", "рrompt", "__proto__", "extra_body",
        "control_image", "reference_images", "ip_adapter_image", "suffix", "system", "$ref", "",
        "input_image", "file", "data", "Messages", "message", "Input", "template", "lora",
    ):  # fmt: skip
        value = url_of(HIDDEN_PNG) if "image" in unknown or "file" in unknown else HIDDEN
        yield f"unknown {unknown!r}", also(f'"{unknown}": {json.dumps(value)}')
    # Where labels, numbers and flags stand.
    for field in ("model", "user", "stream", "safety_identifier"):
        for kind, value in (("text", HIDDEN), ("list", [HIDDEN]), ("object", {HIDDEN: 1})):
            changed = {**base, field: value}
            yield f"{kind} as {field}", raw(json.dumps(changed))
    yield "metadata", also(f'"metadata": {{"note": {json.dumps(HIDDEN)}}}')
    yield "metadata names", also(f'"metadata": {{{json.dumps(HIDDEN)}: "1"}}')
    # Values of another type.
    for value in ([HIDDEN], {"text": HIDDEN}, {"0": HIDDEN}, [[HIDDEN]], 7, True, None, [None]):
        yield (
            f"{name} is {type(value).__name__} {len(str(value))}",
            raw(json.dumps({**base, name: value})),
        )
    # Numbers that are none.
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 40, "-" + "9" * 5000, "0x10"):
        yield f"number {number[:9]}", also(f'"temperature": {number}, "n": {number}')
    # Texts that can't be written.
    for text in ("\\ud800", "\\udc00\\ud800", "\\u0000", "a\\ud83d"):
        yield f"half of a character {text}", raw(plain.replace("a blue", text))
    for byte in (
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\x00",
        b"\n",
        b"\x1b",
    ):
        yield f"bytes {byte.hex()}", raw(plain.encode().replace(b"a blue", byte))
    # Other encodings of the whole.
    yield "byte order mark", raw(b"\xef\xbb\xbf" + plain.encode())
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "cp037"):
        body = plain.encode(encoding)
        yield f"in {encoding}", raw(body if encoding != "utf-7" else b"+" + body)
        declared = f"application/json; charset={encoding}"
        yield f"declared {encoding}", raw(body, [("Content-Type", declared)])
    # What is no JSON, or more than one.
    hidden_whole = json.dumps({**base, name: hidden_value(path)})
    for kind, text in (
        ("two", plain + hidden_whole),
        ("two lines", plain + "\n" + hidden_whole),
        ("rest", plain + " x"),
        ("comment", plain[:-1] + f"/* {HIDDEN} */}}"),
        ("line comment", "// x\n" + plain),
        ("comma", plain[:-1] + ",}"),
        ("quotes", plain.replace('"', "'")),
        ("array", f"[{plain}]"),
        ("text", json.dumps(plain)),
        ("null", "null"),
        ("nothing", ""),
        ("cut", plain[:-3]),
        ("deep", plain[:-1] + ',"metadata":' + '{"a":' * 90 + "1" + "}" * 91),
        ("deeper", "[" * 100_000),
        ("deep object", '{"a":' * 50_000),
    ):
        yield f"no JSON: {kind}", raw(text)
    # Other types of content.
    for kind in (
        "text/plain", "text/json", "application/x-www-form-urlencoded", "application/xml",
        "application/json; charset=utf-16", "application/json, text/plain", "multipart/form-data",
        "application/json; boundary=x", "application/json;x", "application/ld+json", "*/*", "",
    ):  # fmt: skip
        yield f"as {kind!r}", raw(plain, [("Content-Type", kind)])
    yield "untyped", raw(plain, [])
    yield "typed twice", raw(plain, [*JSON, *JSON])
    # Compressed.
    for coding, body in (
        ("gzip", gzip.compress(hidden_whole.encode())),
        ("deflate", zlib.compress(hidden_whole.encode())),
        ("br", hidden_whole.encode()),
        ("identity, gzip", gzip.compress(hidden_whole.encode())),
        ("zstd", hidden_whole.encode()),
        ("x", plain.encode()),
    ):
        yield f"coded {coding}", raw(body, [*JSON, ("Content-Encoding", coding)])


PICTURE_VALUES: list[tuple[str, Any]] = [
    ("the hidden one", url_of(HIDDEN_PNG)),
    ("capitals", url_of(HIDDEN_PNG).replace("data:image/png;base64", "DATA:IMAGE/PNG;BASE64")),
    ("other type", url_of(HIDDEN_PNG, "image/jpeg")),
    ("charset", url_of(HIDDEN_PNG, "image/png;charset=utf-8")),
    ("parameter", url_of(HIDDEN_PNG, "image/png;x=1")),
    ("no type", url_of(HIDDEN_PNG, "")),
    ("text", url_of(HIDDEN.encode(), "text/plain")),
    ("html", url_of(b"<html>" + HIDDEN.encode(), "text/html")),
    ("svg", url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")),
    ("svg as png", url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    ("pdf", url_of(b"%PDF-1.7\n", "application/pdf")),
    ("pdf as png", url_of(b"%PDF-1.7\n")),
    ("not base64", "data:image/png,%89PNG"),
    ("twice base64", f"data:image/png;base64;base64,{b64(PNG)}"),
    ("blank before", " " + url_of(HIDDEN_PNG)),
    ("line before", "\n" + url_of(HIDDEN_PNG)),
    ("blank within", url_of(HIDDEN_PNG).replace("base64,", "base64, ")),
    ("lines", url_of(HIDDEN_PNG)[:-20] + "\n" + url_of(HIDDEN_PNG)[-20:]),
    ("url-safe", "data:image/png;base64," + base64.urlsafe_b64encode(HIDDEN_PNG).decode()),
    ("no padding", url_of(PNG + b"x").rstrip("=")),
    ("more padding", url_of(PNG).rstrip("=") + "===="),
    ("after padding", url_of(PNG + b"x") + b64(HIDDEN_PNG)),
    ("other last bits", f"data:image/png;base64,{b64(PNG + b'x').rstrip('=')[:-1]}B=="),
    ("percent", url_of(PNG).replace("=", "%3D") + "%00"),
    ("empty", "data:image/png;base64,"),
    ("nothing", ""),
    ("fragment", url_of(PNG) + "#" + HIDDEN),
    ("remote", "https://files.example.org/a.png"),
    ("remote, plain", "http://files.example.org/a.png"),
    ("inner", "http://169.254.169.254/latest"),
    ("here", "http://127.0.0.1:9/"),
    ("file", "file:///etc/hostname"),
    ("ftp", "ftp://files.example.org/a.png"),
    ("blob", "blob:null/1"),
    ("javascript", "javascript:1"),
    ("id", "file-abc123"),
    ("bare", b64(HIDDEN_PNG)),
    ("list", [url_of(HIDDEN_PNG)]),
    ("object", {"url": url_of(HIDDEN_PNG)}),
    ("number", 1),
    ("film", url_of(b"\0\0\0\x18ftypmp42" + bytes(64))),
    ("cut", url_of(PNG[:60])),
    ("broken", url_of(PNG[:40] + bytes(200))),
    ("bmp", url_of(encoded(photo("coffee").resize((9, 9)), "BMP"), "image/bmp")),
    ("tiff", url_of(encoded(photo("coffee").resize((9, 9)), "TIFF"), "image/tiff")),
]


def picture_cases(path: str, base: dict[str, Any]) -> Iterator[tuple[str, Raw]]:
    """The picture of a request, given in another way."""
    text = json.dumps(base)
    given = json.dumps(url_of(PNG))
    if given not in text:
        return
    for name, value in PICTURE_VALUES:
        yield f"picture: {name}", (JSON, text.replace(given, json.dumps(value)).encode())


def part_cases() -> Iterator[Case]:
    """Parts, items and fields of chats that can carry what nobody examined."""
    data = b64(HIDDEN_PNG)
    shown = {"type": "image_url", "image_url": {"url": url_of(HIDDEN_PNG)}}
    parts: list[Any] = [
        {"type": "file", "file": {"file_data": url_of(b"%PDF-", "application/pdf")}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://files.example.org/a.mp4"}},
        {"type": "image", "image": data},
        {"type": "image", "source": {"type": "base64", "data": data}},
        {"type": "image_url", "image_url": url_of(HIDDEN_PNG)},
        {"type": "image_url", "image_url": {"url": url_of(PNG), "alt": HIDDEN}},
        {"type": "image_url", "image_url": {"url": url_of(PNG)}, "text": HIDDEN},
        {"type": "text", "text": "x", "image_url": {"url": url_of(HIDDEN_PNG)}},
        {"type": "text", "text": [HIDDEN]},
        {"type": "text", "text": f"see ![it]({url_of(HIDDEN_PNG)})"},
        {"type": ["text"], "text": HIDDEN},
        {"type": "TEXT", "text": HIDDEN},
        {"text": HIDDEN},
        shown,
        [shown],
        HIDDEN,
        None,
        {},
    ]
    for number, part in enumerate(parts):
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
        yield f"chat part {number}", "/v1/chat/completions", (JSON, json.dumps(body).encode())
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": HIDDEN}}
    unseen = json.dumps({"q": HIDDEN}).replace("z", "\\u007a")
    messages: list[Any] = [
        {"role": "system", "content": HIDDEN},
        {"role": "developer", "content": HIDDEN},
        {"role": "assistant", "content": HIDDEN},
        {"role": "assistant", "content": None, "refusal": HIDDEN},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": None, "function_call": call["function"]},
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "tool", "tool_call_id": "c", "content": HIDDEN},
        {"role": "tool", "tool_call_id": "c", "content": unseen},
        {"role": "tool", "tool_call_id": "c", "content": [shown]},
        {"role": "function", "name": "f", "content": HIDDEN},
        {"role": "user", "name": HIDDEN, "content": "x"},
        {"role": HIDDEN, "content": "x"},
        {"role": "user", "content": "x", "images": [data]},
        {"role": "user", "content": {"text": HIDDEN}},
        {"role": "assistant", "content": "x", "annotations": [{"type": "t", "title": HIDDEN}]},
        HIDDEN,
    ]
    for number, message in enumerate(messages):
        body = {"model": "m", "messages": [message]}
        yield f"message {number}", "/v1/chat/completions", (JSON, json.dumps(body).encode())
    schema = {"type": "object", "properties": {"x": {"type": "string", "enum": HIDDEN.split()}}}
    function = {"name": "f", "description": HIDDEN, "parameters": {}}
    fields: list[dict[str, Any]] = [
        {"tools": [{"type": "function", "function": function}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]},
        {"tools": [{"type": "custom", "custom": {"name": "f", "description": HIDDEN}}]},
        {"tools": [{"type": "retrieval"}]},
        {"functions": [function]},
        {"response_format": {"type": "json_schema", "json_schema": {"description": HIDDEN}}},
        {"prediction": {"type": "content", "content": HIDDEN}},
        {"stop": [HIDDEN]},
        {"stop": HIDDEN},
        {"web_search_options": {}},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy", "format": "wav"}},
        {"logit_bias": {HIDDEN: 1}},
        {"tool_choice": {"type": "function", "function": {"name": HIDDEN}}},
        {"extra": 1},
    ]
    for number, more in enumerate(fields):
        body = {**BASES["/v1/chat/completions"], **more}
        yield f"chat field {number}", "/v1/chat/completions", (JSON, json.dumps(body).encode())
    items: list[Any] = [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": "image_generation_call", "id": "ig_1"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": data},
        {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "!" + data},
        {"type": "image_generation_call", "id": "ig", "result": b64(PNG), "revised_prompt": HIDDEN},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": data},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": HIDDEN}]},
        {"type": "compaction", "encrypted_content": data},
        {"type": "function_call_output", "call_id": "c", "output": HIDDEN},
        {"type": "function_call_output", "call_id": "c", "output": unseen},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_image", "image_url": url_of(HIDDEN_PNG)}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": HIDDEN},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": HIDDEN},
        {"type": "custom_tool_call_output", "call_id": "c", "output": HIDDEN},
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {"type": "computer_screenshot", "image_url": url_of(HIDDEN_PNG)},
        },
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {"type": "computer_screenshot", "file_id": "file-1"},
        },
        {"type": "local_shell_call_output", "id": "c", "output": HIDDEN},
        {"type": "mcp_call", "id": "c", "name": "f", "server_label": "s", "arguments": "{}"},
        {"type": "code_interpreter_call", "id": "c", "code": HIDDEN, "outputs": []},
        {"type": "web_search_call", "id": "c"},
        {"type": "program", "id": "c", "code": HIDDEN},
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"type": "brand_new", "text": HIDDEN},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": data}]},
        {"role": "user", "content": [{"type": "input_file", "file_url": "https://x.example/"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
        {
            "role": "user",
            "content": [{"type": "input_image", "file_id": "file-1", "image_url": url_of(PNG)}],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": HIDDEN}]},
        HIDDEN,
    ]
    for number, item in enumerate(items):
        body = {"model": "m", "input": [item]}
        yield f"item {number}", "/v1/responses", (JSON, json.dumps(body).encode())
    draw = {"type": "image_generation"}
    fields = [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1", "variables": {"x": HIDDEN}}},
        {"instructions": HIDDEN},
        {"background": True},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [{"type": "computer_use_preview"}]},
        {"tools": [{"type": "function", "name": "f", "description": HIDDEN}]},
        {"tools": [{**draw, "input_image_mask": {"image_url": url_of(HIDDEN_PNG)}}]},
        {"tools": [{**draw, "input_image_mask": {"file_id": "file-1"}}]},
        {"tools": [{**draw, "output_format": "svg"}]},
        {"tools": [{**draw, "prompt": HIDDEN}]},
        {"tools": [{**draw, "reference": url_of(HIDDEN_PNG)}]},
        {"reasoning": {"effort": HIDDEN}},
        {"include": [HIDDEN]},
    ]
    for number, more in enumerate(fields):
        body = {**BASES["/v1/responses"], **more}
        yield f"response field {number}", "/v1/responses", (JSON, json.dumps(body).encode())
    edit = BASES["/v1/images/edits"]
    for number, more in enumerate(
        (
            {"images": [{"file_id": "file-1"}]},
            {"images": [{"image_url": url_of(PNG), "file_id": "file-1"}]},
            {"images": [{"image_url": url_of(PNG)}] * 17},
            {"images": [{"image_url": url_of(PNG)}, {"image_url": url_of(HIDDEN_PNG)}]},
            {"mask": {"image_url": url_of(HIDDEN_PNG)}},
            {"mask": {"file_id": "file-1"}},
            {"mask": url_of(HIDDEN_PNG)},
            {"markup": url_of(HIDDEN_PNG)},
            {"output_format": "svg"},
            {"negative_prompt": HIDDEN},
            {"svg": {"model": HIDDEN}},
        )
    ):
        yield f"edit {number}", "/v1/images/edits", (JSON, json.dumps({**edit, **more}).encode())


# Forms --------------------------------------------------------------------------------------------

EDGE = "edge1f7a"
FORM: Headers = [("Content-Type", f"multipart/form-data; boundary={EDGE}")]


def field(name: str, value: str | bytes, more: str = "", headers: str = "") -> bytes:
    """One part, as clients write it."""
    data = value.encode() if isinstance(value, str) else value
    head = f'Content-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + data


def file(name: str, data: bytes, kind: str = "image/png", file_name: str = "a.png") -> bytes:
    return field(name, data, f'; filename="{file_name}"', f"Content-Type: {kind}\r\n")


def form(*parts: bytes) -> bytes:
    return b"".join(b"--edge1f7a\r\n" + part + b"\r\n" for part in parts) + b"--edge1f7a--\r\n"


def form_cases(path: str) -> Iterator[tuple[str, Raw]]:
    usual = [file("image", PNG)]
    if path.endswith("edits"):
        usual = [field("prompt", "a blue teapot"), *usual]
    whole = form(*usual)
    inner = form(field("prompt", HIDDEN), file("image", HIDDEN_PNG)).replace(b"edge1f7a", b"inside")

    def of(*parts: bytes, headers: Headers = FORM) -> Raw:
        return headers, form(*usual, *parts)

    yield "prompt twice", of(field("prompt", HIDDEN), field("prompt", HIDDEN))
    yield "prompt hidden", of(field("prompt", HIDDEN))
    for name in ("image", "image[]", "images", "image[0]", "image[1]", "mask", "mask[]", "Image"):
        yield f"more: {name}", of(file(name, HIDDEN_PNG))
    for name in ("control", "file", "init_image", "style_image", "", "markup", "img", "image "):
        yield f"unknown file {name!r}", of(file(name, HIDDEN_PNG))
    for name in ("text", "prompt[]", "Prompt", "prompt2", "_charset_", "svg[model]", "extra"):
        yield f"unknown text {name!r}", of(field(name, HIDDEN))
    for name in ("model", "user", "n", "size", "stream", "response_format", "quality"):
        yield f"text as {name}", of(field(name, HIDDEN))
        yield f"picture as {name}", of(file(name, HIDDEN_PNG))
    yield "prompt as a file", of(file("prompt", HIDDEN.encode(), "text/plain", "a.txt"))
    yield "picture as a text", (FORM, form(*usual[:-1], field("image", HIDDEN_PNG)))
    yield "picture's address", (FORM, form(*usual[:-1], field("image", url_of(HIDDEN_PNG))))
    yield "hidden picture", (FORM, form(*usual[:-1], file("image", HIDDEN_PNG)))
    for kind in (
        "image/svg+xml; charset=utf-8", "text/html", "multipart/mixed; boundary=inside",
        "message/rfc822", "application/json", "image/png; x=1", "text/plain; charset=utf-16",
    ):  # fmt: skip
        yield f"part of {kind}", (FORM, form(*usual[:-1], file("image", HIDDEN_PNG, kind)))
        yield f"text of {kind}", of(field("user", "x", "", f"Content-Type: {kind}\r\n"))
    yield (
        "within",
        of(field("user", inner, "", "Content-Type: multipart/mixed; boundary=inside\r\n")),
    )
    for coding in ("base64", "quoted-printable", "binary", "8bit", "gzip"):
        header = f"Content-Transfer-Encoding: {coding}\r\n"
        hidden = field("image", b64(HIDDEN_PNG), '; filename="a.png"', header)
        yield f"part in {coding}", (FORM, form(*usual[:-1], hidden))
    for kind, disposition in (
        ("no name", "form-data"),
        ("no value", "form-data; name"),
        ("empty", 'form-data; name=""'),
        ("two names", 'form-data; name="user"; name="prompt"'),
        ("two names, other", 'form-data; name="prompt"; name="user"'),
        ("name*", "form-data; name*=utf-8''prompt"),
        ("both", "form-data; name=\"user\"; name*=utf-8''prompt"),
        ("filename*", "form-data; name=\"image\"; filename*=utf-8''a.png"),
        ("both filenames", 'form-data; name="user"; filename="a"; filename*=utf-8\'\'b'),
        ("attachment", 'attachment; name="prompt"'),
        ("escaped quote", 'form-data; name="user\\"; name=\\"prompt"'),
        ("percent", 'form-data; name="pr%6Fmpt"'),
        ("continued", 'form-data; name*0="pro"; name*1="mpt"'),
        ("blank", 'form-data; name = "prompt"'),
        ("folded", 'form-data;\r\n name="prompt"'),
        ("single quotes", "form-data; name='prompt'"),
        ("upper", 'FORM-DATA; NAME="prompt"'),
        ("dot", 'form-data; name="user."'),
    ):
        head = f"Content-Disposition: {disposition}\r\n\r\n{HIDDEN}"
        yield f"named: {kind}", of(head.encode())
    for kind, head in (
        ("no headers", ""),
        ("twice", 'Content-Disposition: form-data; name="user"\r\n' * 2),
        ("other", 'X-Other: 1\r\nContent-Disposition: form-data; name="user"\r\n'),
        ("length", 'Content-Disposition: form-data; name="user"\r\nContent-Length: 1\r\n'),
        ("no colon", 'Content-Disposition form-data; name="user"\r\n'),
        ("NUL", 'Content-Disposition: form-data; name="us\0er"\r\n'),
        (
            "long",
            'Content-Disposition: form-data; name="user"\r\nContent-Type: ' + "a" * 2000 + "\r\n",
        ),
    ):
        yield f"headers: {kind}", of(f"{head}\r\n{HIDDEN}".encode())
    # The edges.
    yield "before", (FORM, inner + whole)
    yield "after", (FORM, whole + inner)
    yield "after, again", (FORM, whole + form(field("prompt", HIDDEN)))
    yield "blank edge", (FORM, whole.replace(b"edge1f7a\r\n", b"edge1f7a \r\n"))
    yield "lines", (FORM, whole.replace(b"\r\n", b"\n"))
    yield "no end", (FORM, whole[: whole.rindex(b"--edge1f7a")])
    yield "half an end", (FORM, whole[:-4])
    yield "early end", (FORM, form(*usual[:1]) + form(field("prompt", HIDDEN)))
    yield "no parts", (FORM, b"--edge1f7a--\r\n")
    yield "nothing", (FORM, b"")
    yield "many", of(*(field("user", "x") for _ in range(100)))
    yield (
        "longer edge",
        of(b'Content-Disposition: form-data; name="user"\r\n\r\nx\r\n--edge1f7ab\r\n'),
    )
    for kind in (
        "multipart/form-data", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        f"multipart/form-data; boundary={EDGE}; boundary=inside",
        f"multipart/form-data; boundary=inside; boundary={EDGE}",
        f"multipart/form-data; charset=utf-16; boundary={EDGE}",
        f"multipart/mixed; boundary={EDGE}", f"multipart/form-data; boundary*=utf-8''{EDGE}",
        f'multipart/form-data; boundary="{EDGE}', f"multipart/form-data; boundary={EDGE}, inside",
        f"multipart/related; boundary={EDGE}", "application/x-www-form-urlencoded",
        "application/json", "application/octet-stream", "image/png",
    ):  # fmt: skip
        yield f"form as {kind}", ([("Content-Type", kind)], whole)
    yield "typed twice", ([*FORM, ("Content-Type", "multipart/form-data; boundary=inside")], whole)
    yield "compressed", ([*FORM, ("Content-Encoding", "gzip")], gzip.compress(whole))
    for encoding in ("utf-16", "utf-32", "latin-1"):
        text = (HIDDEN + "é").encode(encoding)
        yield f"text in {encoding}", of(field("user", text))
    yield "svg", (FORM, form(*usual[:-1], file("image", b"<svg/>", "image/svg+xml")))
    yield "seventeen", (FORM, form(*usual[:-1], *(file("image[]", PNG) for _ in range(17))))


# On the wire --------------------------------------------------------------------------------------


def wire_cases(path: str) -> Iterator[tuple[str, bytes]]:
    """Whole requests, as they stand on the wire."""
    base = BASES.get(path)
    if base is None or not path.startswith(("/v1/images/generations", "/v1/chat")):
        return
    body = json.dumps(base).encode()
    hidden = json.dumps({**base, TEXT_FIELD[path]: hidden_value(path)}).encode()
    size = len(body)

    def request(
        line: str = f"POST {path} HTTP/1.1",
        headers: str = "",
        content: bytes = body,
        length: str = "",
    ) -> bytes:
        length = length or f"Content-Length: {len(content)}\r\n"
        head = f"{line}\r\nHost: a\r\nContent-Type: application/json\r\n{length}{headers}\r\n"
        return head.encode() + content

    chunked = "Transfer-Encoding: chunked\r\n"
    chunks = f"{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n"
    second = request(content=hidden)
    yield "two lengths", request(length=f"Content-Length: {size}\r\nContent-Length: 1\r\n")
    yield "two equal lengths", request(length=f"Content-Length: {size}\r\n" * 2)
    yield "list of lengths", request(length=f"Content-Length: {size}, {size}\r\n")
    yield "signed length", request(length=f"Content-Length: +{size}\r\n")
    yield "hex length", request(length=f"Content-Length: 0x{size:x}\r\n")
    yield (
        "length and chunks",
        request(headers=chunked, content=chunks, length=f"Content-Length: {size}\r\n"),
    )
    yield "chunks", request(content=chunks, length=chunked)
    yield "chunks twice", request(content=chunks, length=chunked * 2)
    yield (
        "chunked, other",
        request(content=chunks, length="Transfer-Encoding: chunked, identity\r\n"),
    )
    yield "xchunked", request(content=chunks, length="Transfer-Encoding: xchunked\r\n")
    yield "blank chunked", request(content=chunks, length="Transfer-Encoding : chunked\r\n")
    yield "tab chunked", request(content=chunks, length="Transfer-Encoding:\tchunked\r\n")
    yield "folded", request(headers="X: a\r\n b\r\n")
    trailer = chunks.replace(b"0\r\n\r\n", b"0\r\nContent-Type: text/plain\r\n\r\n")
    yield "trailers", request(content=trailer, length=chunked)
    odd = chunks.replace(b"\r\n", b";x=1\r\n", 1)
    yield "chunk extension", request(content=odd, length=chunked)
    yield "bad chunk", request(content=b"zz\r\n" + hidden, length=chunked)
    yield "pipelined", request() + second
    yield (
        "within the body",
        request(content=body + b"\r\n" + second, length=f"Content-Length: {size}\r\n"),
    )
    yield "short", request(content=body[:-4], length=f"Content-Length: {size - 4}\r\n")
    for target in (
        f"{path}?prompt=x", f"{path}?", f"{path}?a=1#b", path.replace("/v1", "//v1"), f"{path}/",
        path.replace("v1", "%76%31"), f"/v1/..{path}", f"/./{path[1:]}", f"{path};x",
        f"{path}%2f", f"http://elsewhere.example{path}", f"{path}%00", path.upper(), f"/v2{path}",
        path.replace("/v1", ""), f"{path}%3Fprompt=x", "*",
    ):  # fmt: skip
        yield f"target {target}", request(f"POST {target} HTTP/1.1", content=hidden)
    for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "post", "POSTX", "TRACE"):
        yield f"method {method}", request(f"{method} {path} HTTP/1.1", content=hidden)
    for header in (
        "X-HTTP-Method-Override: PUT", "Content-Encoding: gzip",
        "Content-Encoding: identity, identity", "Content-Type: text/plain",
        "Authorization: Bearer a\r\nAuthorization: Bearer b",
        "Content-Encoding: identity\r\nContent-Encoding: gzip", "Connection: content-type",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Upgrade: websocket\r\nConnection: Upgrade", "Content-Range: bytes 0-1/2",
        "Forwarded: for=a", "X-Original-URL: /v1/files", "Content_Type: text/plain",
        "Expect: 200-ok", "TE: trailers", "Content-Location: /x", "X-A: " + "a" * 70_000,
    ):  # fmt: skip
        yield f"header {header[:40]!r}", request(headers=header + "\r\n", content=hidden)
    yield "HTTP/0.9", f"POST {path}\r\n\r\n".encode() + hidden
    yield "HTTP/1.0", request(f"POST {path} HTTP/1.0")
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + second
    yield "bare line ends", request(content=hidden).replace(b"\r\n", b"\n")
    yield "NUL", request(headers="X: a\0b\r\n")


OTHER_PATHS = (
    "/v1/files", "/v1/uploads", "/v1/batches", "/v1/completions", "/v1/embeddings",
    "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/videos", "/v1/assistants", "/v1/threads",
    "/v1/realtime", "/v1/responses/resp_1", "/v1/responses/compact", "/v1/responses/input_tokens",
    "/v1/conversations", "/v1/containers", "/v1/vector_stores", "/v1/fine_tuning/jobs",
    "/v1/models/m", "/v1", "/", "/metrics", "/v1/chat/completions/chatcmpl_1", "/v1/images",
    "/v1/images/generations/edits", "/admin",
)  # fmt: skip


SILENCE = 1.0
"""Seconds without an answer after which none will come: the server waits for the rest."""


def on_the_wire(path: str, raw: Raw) -> bytes:
    headers, body = raw
    lines = [f"POST {path} HTTP/1.1", "Host: a", *(f"{name}: {text}" for name, text in headers)]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def cases() -> Iterator[tuple[str, bytes]]:
    for path, base in BASES.items():
        for name, raw in (*json_cases(path, base), *picture_cases(path, base)):
            yield f"{path} {name}", on_the_wire(path, raw)
        for name, whole in wire_cases(path):
            yield f"{path} wire: {name}", whole
    for name, path, raw in part_cases():
        yield name, on_the_wire(path, raw)
    for path in ("/v1/images/edits", "/v1/images/variations"):
        for name, raw in form_cases(path):
            yield f"{path} form: {name}", on_the_wire(path, raw)
    for path in OTHER_PATHS:
        body = json.dumps({"model": "m", "input": HIDDEN, "prompt": HIDDEN}).encode()
        yield f"other {path}", on_the_wire(path, (JSON, body))


CASES = dict(cases())


def answers_of(name: str) -> int:
    """Some are two requests in one."""
    return 2 if name.endswith(("wire: pipelined", "wire: within the body")) else 1


def exchange(address: str, request: bytes, answers: int = 1) -> list[bytes]:
    """So many answers on one connection, or as many as come before it is closed or falls silent."""
    host, _, port = address.removeprefix("http://").partition(":")
    got: list[bytes] = []
    rest = b""
    head_only = request.startswith(b"HEAD")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.settimeout(SILENCE)
        while len(got) < answers:
            head, found, body = rest.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            if found and (not length or head_only or len(body) >= int(length[1])):
                size = int(length[1]) if length else len(body)
                got.append(head + found + body[:size])
                rest = body[size:]
                continue
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                chunk = b""
            if not chunk:
                break
            rest += chunk
    return got


def leaves(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, str | bytes):
        yield value


def unexamined(upstream: FakeOpenAI, gate: Spy) -> list[Any]:
    """Whatever reached the upstream and was not judged."""
    found: list[Any] = []
    for seen in upstream.seen:
        for leaf in leaves(seen.fields):
            if isinstance(leaf, bytes):
                if leaf not in gate.data:
                    found.append(leaf[:40])
                continue
            for one in DATA_URL.findall(leaf):
                found += [one[:40]] if base64.b64decode(one) not in gate.data else []
            rest = DATA_URL.sub(" ", leaf)
            bare = re.fullmatch(r"[A-Za-z0-9+/]{128,}={0,2}", rest)
            if bare and base64.b64decode(rest) in gate.data:
                continue
            judged = any(rest in text for text in gate.texts)
            if rest.strip() and not judged and not LABEL.fullmatch(rest):
                found.append(leaf[:80])
    return found


def test_there_are_many() -> None:
    assert len(CASES) >= 1_000


@pytest.mark.parametrize("path", BASES)
def test_what_is_fine_passes(path: str, address: str, upstream: FakeOpenAI, gate: Spy) -> None:
    """The requests that all others are made from; else the rest would prove nothing."""
    whole = on_the_wire(path, (JSON, json.dumps(BASES[path]).encode()))
    (answer,) = exchange(address, whole)
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(upstream.seen) == 1
    assert unexamined(upstream, gate) == []


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/images/variations"])
def test_a_form_that_is_fine_passes(
    path: str, address: str, upstream: FakeOpenAI, gate: Spy
) -> None:
    parts = [file("image", PNG), *([field("prompt", "a teapot")] if path.endswith("edits") else [])]
    (answer,) = exchange(address, on_the_wire(path, (FORM, form(*parts))))
    assert answer.startswith(b"HTTP/1.1 200")
    assert unexamined(upstream, gate) == []


@pytest.mark.parametrize("name", CASES)
def test_nothing_unexamined_passes(
    name: str, address: str, upstream: FakeOpenAI, gate: Spy
) -> None:
    answers = exchange(address, CASES[name], answers_of(name))
    assert unexamined(upstream, gate) == []
    for seen in upstream.seen:
        assert REFUSED_WORD.encode() not in seen.body
        assert HIDDEN_PNG not in seen.body
        assert b64(HIDDEN_PNG).encode() not in seen.body
    for answer in answers:
        assert REFUSED_WORD.encode() not in answer
        status = int(answer[9:12])
        assert status == 200 or 400 <= status < 500, answer[:300]
        outcomes[name] = status
    if any(answer[9:12] == b"200" for answer in answers):
        assert upstream.seen


outcomes: dict[str, int] = {}

HARMLESS = "strawberry"
"""As long as the made-up word, so that lengths stay right, and nothing to refuse."""
assert len(HARMLESS) == len(REFUSED_WORD)
HARMLESS_CASES = {
    name: request.replace(REFUSED_WORD.encode(), HARMLESS.encode())
    for name, request in CASES.items()
    if REFUSED_WORD.encode() in request
}


@pytest.mark.parametrize("name", HARMLESS_CASES)
def test_what_passes_was_judged(name: str, address: str, upstream: FakeOpenAI, gate: Spy) -> None:
    """The same with a text that is allowed: where it goes on, the gate has seen it."""
    exchange(address, HARMLESS_CASES[name], answers_of(name))
    assert unexamined(upstream, gate) == []
    if any(HARMLESS.encode() in seen.body for seen in upstream.seen):
        went_on.append(name)


went_on: list[str] = []


def test_some_pass_and_most_are_refused() -> None:
    """Else the cases would not try what they are meant to."""
    assert len(went_on) > 30
    refused = [name for name, status in outcomes.items() if status != 200]
    assert len(refused) > 1_000
