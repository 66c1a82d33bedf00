"""Answers of the OpenAI API: how a refusal looks, and what of an answer has to be judged.

Pictures are found wherever they stand: in the fields that are known to hold them, in data URLs,
also within texts, and in any text that is a picture's base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from tutela.guard.upstream import UpstreamFailed

MAX_EVENT: Final = 96 << 20
"""Bytes of one event of a stream."""

REFUSED: Final = (
    "The request was refused by the safety system. If you think that this is wrong, contact "
    "whoever runs this service."
)
"""All that a refusal says: never what led to it."""


class Family(StrEnum):
    """Endpoints that answer in one way."""

    IMAGES = "images"
    CHAT = "chat"
    RESPONSES = "responses"
    MODELS = "models"
    MODERATIONS = "moderations"
    OWN = "own"
    """The gateway's own: how it is."""


class Judged(StrEnum):
    """Which texts that the model writes are judged."""

    NONE = "none"
    WHOLE = "whole"
    """Those that come whole."""
    ALL = "all"
    """Streamed ones too: a stream is then kept back until it is complete."""


def error(
    message: str,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """An error in the one shape of the API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(family: Family) -> dict[str, Any]:
    """What a refused request is answered, with status 400."""
    if family is Family.IMAGES:
        return error(REFUSED, "image_generation_user_error", "moderation_blocked")
    return error(REFUSED, code="invalid_prompt")


# What is in an answer -----------------------------------------------------------------------------

_B64_KEYS = frozenset({"b64_json", "partial_image_b64"})
_URL_WITHIN = frozenset({"image_url", "images"})
_DATA_URL = re.compile(
    r"data:image/[\w.+-]{1,32}(?:;[\w=.-]{1,64}){0,4};base64,([A-Za-z0-9+/]+={0,2})", re.IGNORECASE
)
_BASE64 = re.compile(
    r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|AAAA.[GWm2]Z0eX|SUkq|TU0AK)[A-Za-z0-9+/\r\n]{100,}={0,2}\s*"
)
"""The base64 of a picture, by its beginning: PNG, JPEG, GIF, WebP, AVIF and HEIF, TIFF."""


@dataclass(slots=True)
class Spot:
    """A picture in an answer, and where it stands."""

    holder: Any = field(repr=False)
    key: Any
    start: int
    """Where in the text its base64, or its URL, begins, …"""
    end: int
    """… and where it ends."""
    data: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)

    def put(self, data: bytes, media: str, *, as_url: bool) -> None:
        """Write a picture's bytes in its place. Of several in one text, the last one first."""
        text = base64.b64encode(data).decode()
        if as_url and self.key == "b64_json":
            del self.holder["b64_json"]
            self.holder["url"] = f"data:{media};base64,{text}"
            return
        if self.url:
            text = f"data:{media};base64,{text}"
        value = self.holder[self.key]
        self.holder[self.key] = value[: self.start] + text + value[self.end :]


def pictures(document: Any, family: Family) -> Iterator[Spot]:
    """Every picture in a document; of several in one text the last one first.

    Raises `UpstreamFailed` for one that can't be read.
    """
    waiting: list[tuple[Any, Any, Any, bool]] = [({"": document}, "", document, False)]
    while waiting:
        holder, key, value, shown = waiting.pop()
        if isinstance(value, dict):
            shown = shown or key in _URL_WITHIN or value.get("type") == "image"
            waiting += [(value, name, one, shown) for name, one in value.items()]
        elif isinstance(value, list):
            shown = shown or key in _URL_WITHIN
            waiting += [(value, at, one, shown) for at, one in enumerate(value)]
        elif isinstance(value, str) and value:
            yield from _spots(holder, key, value, shown, family)


def _spots(holder: Any, key: Any, value: str, shown: bool, family: Family) -> Iterator[Spot]:
    called = isinstance(holder, dict) and holder.get("type") == "image_generation_call"
    if key in _B64_KEYS or (key == "result" and called):
        yield Spot(holder, key, 0, len(value), _bytes(value))
    elif value.lower().startswith(("http://", "https://")):
        if key == "image_url" or (key == "url" and (shown or family is Family.IMAGES)):
            yield Spot(holder, key, 0, len(value), url=value)
    elif _BASE64.fullmatch(value):
        yield Spot(holder, key, 0, len(value), _bytes(value))
    elif "base64," in value.lower():
        for one in reversed(list(_DATA_URL.finditer(value))):
            yield Spot(holder, key, one.start(1), one.end(1), _bytes(one[1]))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise UpstreamFailed("a picture that is no base64") from None


def words(text: str) -> str:
    """A text without the pictures that are written into it, which are judged as pictures."""
    return "" if _BASE64.fullmatch(text) else _DATA_URL.sub(" ", text).strip()


def texts(document: Any, family: Family) -> list[str]:
    """What the model wrote, in a whole answer."""
    found: list[str] = []
    if not isinstance(document, dict):
        return found
    if family is Family.CHAT:
        for choice in _list(document.get("choices")):
            _written(choice.get("message") or choice.get("delta"), found)
    elif family is Family.RESPONSES:
        _written(document.get("output"), found)
    elif family is Family.IMAGES:
        _written(document.get("data"), found)
    return found


_WRITTEN = frozenset(
    {"content", "text", "refusal", "arguments", "input", "revised_prompt", "reasoning_content"}
)


def _written(value: Any, found: list[str]) -> None:
    if isinstance(value, dict):
        for name, one in value.items():
            if name in _WRITTEN and isinstance(one, str):
                found.append(one)
            else:
                _written(one, found)
    elif isinstance(value, list):
        for one in value:
            _written(one, found)


def without_texts(document: dict[str, Any], family: Family) -> dict[str, Any]:
    """A whole answer whose texts are refused, as the API says it of its own filter."""
    if family is Family.CHAT:
        message = {"role": "assistant", "content": None, "refusal": REFUSED}
        for choice in _list(document.get("choices")):
            choice.update(message=message, finish_reason="content_filter", logprobs=None)
        return document
    part = {"type": "refusal", "refusal": REFUSED}
    item = {
        "id": "msg_refused",
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": [part],
    }
    return {
        **document,
        "output": [item],
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
    }


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


# Streams ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    name: str
    data: Any = field(repr=False)
    """What its data says, or None for the mark at the end."""

    def written(self) -> bytes:
        """As it stands in the stream."""
        named = f"event: {self.name}\n".encode() if self.name else b""
        data = b"[DONE]" if self.data is None else orjson.dumps(self.data)
        return named + b"data: " + data + b"\n\n"


class Said:
    """What a stream says, put together."""

    def __init__(self) -> None:
        self._parts: dict[tuple[Any, ...], list[str]] = {}

    def add(self, data: Any) -> None:
        """Take in what one event adds."""
        if not isinstance(data, dict):
            return
        delta = data.get("delta")
        if isinstance(delta, str):
            place = (data.get("type"), data.get("item_id"), data.get("content_index"))
            self._parts.setdefault(place, []).append(delta)
        for choice in _list(data.get("choices")):
            self._add((choice.get("index"),), choice.get("delta"))

    def texts(self) -> list[str]:
        """The texts, each whole."""
        return ["".join(parts) for parts in self._parts.values()]

    def _add(self, place: tuple[Any, ...], value: Any) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                if name in _WRITTEN and isinstance(one, str):
                    self._parts.setdefault((*place, name), []).append(one)
                else:
                    self._add((*place, name), one)
        elif isinstance(value, list):
            for one in value:
                number = one.get("index") if isinstance(one, dict) else None
                self._add((*place, number), one)


_NAME = re.compile(r"[a-z0-9_.]{1,128}")
_END = re.compile(rb"\r?\n\r?\n")


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """The events of a stream. Raises `UpstreamFailed` for one that can't be read."""
    held, looked = bytearray(), 0
    async for chunk in chunks:
        held += chunk
        if len(held) > MAX_EVENT:
            raise UpstreamFailed("an event without end")
        while found := _END.search(held, max(0, looked - 3)):
            event = _event(bytes(held[: found.start()]))
            del held[: found.end()]
            looked = 0
            if event is not None:
                yield event
        looked = len(held)
    if held.strip():
        raise UpstreamFailed("a stream that was cut")


def _event(block: bytes) -> Event | None:
    name, data = "", []
    for line in block.splitlines():
        field_name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field_name == b"data":
            data.append(value)
        elif field_name == b"event":
            name = value.decode("latin-1")
    if not data:
        return None
    if name and not _NAME.fullmatch(name):
        raise UpstreamFailed("an event of no known name")
    text = b"\n".join(data)
    if text.strip() == b"[DONE]":
        return Event(name, None)
    try:
        return Event(name, orjson.loads(text))
    except orjson.JSONDecodeError:
        raise UpstreamFailed("an event that is no JSON") from None


def broken_off(family: Family, body: Mapping[str, Any]) -> Event:
    """The event that ends a stream with an error."""
    inner = body["error"]
    if family is Family.CHAT:
        return Event("", dict(body))
    return Event(
        "error", {"type": "error", **{k: inner[k] for k in ("code", "message", "param")}, **body}
    )
