"""Bodies of requests, read so strictly that no second reader could see anything else in them.

Whatever can be read in two ways is refused, never repaired: the request is later written anew from
what was read here, and nothing else of it goes on.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
"""How deep JSON may be nested."""
MAX_VALUES: Final = 500_000
"""Values that JSON may have, counted by the signs between them: each takes memory."""
MAX_PARTS: Final = 64
"""Parts that a form may have."""
MAX_HEADER: Final = 1_024
"""Bytes of the headers of a part."""

_BOUNDARY = re.compile(
    r"""multipart/form-data;[ ]?boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1""", re.IGNORECASE
)
_JSON = re.compile(r'application/json(?:;[ ]?charset="?utf-8"?)?', re.IGNORECASE)
_DISPOSITION = re.compile(
    r"""form-data;[ ]?name=("?)([A-Za-z_][A-Za-z0-9_]{0,63}(?:\[\])?)\1"""
    r"""(?:;[ ]?filename=("?)([^"\\\x00-\x1f;]{0,255})\3)?"""
)
_TEXT = re.compile(r'text/plain(?:;[ ]?charset="?utf-8"?)?', re.IGNORECASE)
_FILE = re.compile(r"(?:image/[a-z.+-]{1,32}|application/octet-stream)", re.IGNORECASE)


class Unreadable(Exception):
    """A request that is refused for how it is written. The message never quotes it."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status


@dataclass(frozen=True, slots=True)
class Field:
    """One part of a form: a text, or a file where `file` is set."""

    name: str
    value: bytes = field(repr=False)
    file: bool = False


def read_json(content_type: str, data: bytes) -> dict[str, Any]:
    """The object that the body is. Raises `Unreadable`.

    Refused besides what is no JSON: a name given twice, NaN and infinities, numbers beyond what 64
    bits hold, half surrogate pairs, the character NUL, a byte order mark, anything but UTF-8.
    """
    if not _JSON.fullmatch(content_type):
        raise Unreadable("Send application/json.", status=415)
    if sum(data.count(sign) for sign in (b",", b"{", b"[")) > MAX_VALUES:
        raise Unreadable("The body has too many values.", status=413)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_float,
        )
    except Unreadable:
        raise
    except (ValueError, RecursionError):
        raise Unreadable("The body is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise Unreadable("The body is no JSON object.")
    _check(value)
    return value


def read_form(content_type: str, data: bytes) -> list[Field]:
    """The parts of a form, in their order. Raises `Unreadable`.

    Refused: whatever stands before, between or after the parts; headers but `Content-Disposition`
    with a name and at most a file name, and `Content-Type`; encodings; parts within parts.
    """
    found = _BOUNDARY.fullmatch(content_type)
    if not found:
        raise Unreadable("Send multipart/form-data with one plain boundary.", status=415)
    mark = b"--" + found[2].encode()
    if not data.startswith(mark):
        raise Unreadable("The form does not begin with its boundary.")
    *pieces, last = data[len(mark) :].split(b"\r\n" + mark, MAX_PARTS)
    if last not in (b"--", b"--\r\n") or not pieces:
        raise Unreadable(f"The form does not end with its boundary, or has over {MAX_PARTS} parts.")
    return [_part(piece) for piece in pieces]


def write_form(fields: Iterable[tuple[str, str, bytes, str]]) -> tuple[bytes, str]:
    """The body and content type of a form made of (name, file name or "", value, media type)."""
    parts = list(fields)
    boundary = secrets.token_hex(16)
    while any(boundary.encode() in value for _, _, value, _ in parts):
        boundary = secrets.token_hex(16)
    body = bytearray()
    for name, file, value, media in parts:
        named = f'; filename="{file}"' if file else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'.encode()
        if media:
            body += f"Content-Type: {media}\r\n".encode()
        body += b"\r\n" + value + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"


def text_of(part: Field) -> str:
    """The text that a part of a form is. Raises `Unreadable`."""
    try:
        text = part.value.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("A text of the form is not UTF-8.") from None
    if part.file or "\0" in text or text.startswith("\ufeff"):
        raise Unreadable("A text of the form is given as a file, or holds what no text has.")
    return text


def _part(piece: bytes) -> Field:
    head, found, value = piece.partition(b"\r\n\r\n")
    if not found or not head.startswith(b"\r\n") or len(head) > MAX_HEADER:
        raise Unreadable("A part of the form is badly written.")
    headers: dict[str, str] = {}
    for line in head[2:].split(b"\r\n"):
        try:
            name, colon, text = line.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise Unreadable("A header in the form is not UTF-8.") from None
        name = name.lower()
        if not colon or name in headers or "\r" in text or "\n" in text:
            raise Unreadable("A header in the form is badly written, or given twice.")
        headers[name] = text.strip(" ")
    disposition = _DISPOSITION.fullmatch(headers.pop("content-disposition", ""))
    media = headers.pop("content-type", "")
    length = headers.pop("content-length", "")
    if disposition is None or headers or (length and length != str(len(value))):
        raise Unreadable(
            "A part of the form has other headers than a Content-Disposition with a plain name "
            "and a Content-Type."
        )
    file = disposition[4] is not None
    if media and not (_FILE if file else _TEXT).fullmatch(media):
        raise Unreadable("A part of the form has a Content-Type that can't be examined.")
    return Field(disposition[2], value, file)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Unreadable("A name is given twice in one JSON object.")
    return made


def _no_number(_: str) -> NoReturn:
    raise Unreadable("NaN and infinities are no JSON.")


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise Unreadable("A number is too large.")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= 64 else math.inf
    if not math.isfinite(value):
        raise Unreadable("A number is too large.")
    return value


def _check(value: Any) -> None:
    """Raises `Unreadable` for nesting without end and for text that can't be written."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.keys()
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and not _writable(one):
                raise Unreadable("A text holds half a character, or the character NUL.")
        if not inner:
            return
        level = inner
    raise Unreadable(f"JSON may be nested {MAX_DEPTH} deep.")


def _writable(text: str) -> bool:
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
