"""Reading: a request, value by value, so that all in it that could be examined is.

A shape is made of readers: `record({"prompt": text}, "prompt")` reads an object with one field.
Each reader gives the value that goes on to the upstream, and tells the `Reading` of every text and
picture on its way. What no reader takes is refused: it could carry what nobody examined.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from tutela.errors import Rejected
from tutela.guard.bodies import Unreadable
from tutela.media.sniff import sniff

MAX_TEXT: Final = 256 << 10
"""Characters of all the texts of a request together."""
MAX_PICTURES: Final = 16

MEDIA: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
"""What is passed on, by what its bytes say that it is."""

_LABEL = re.compile(r"[A-Za-z0-9._:/@+=|~#*-]{1,128}")
_DATA = re.compile(r"data:image/(?:png|jpe?g|webp|gif);base64,", re.IGNORECASE)
_WITHIN = re.compile(
    r"data:image/[\w.+-]{1,32}(?:;[\w=.-]{1,64}){0,4};base64,([A-Za-z0-9+/]{32,}={0,2})",
    re.IGNORECASE,
)
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")

# Words of JSON Schema and of tools, which say nothing by themselves.
_SCHEMA = """
$defs $ref additionalProperties allOf anyOf array boolean const default definitions description
enum format function integer items json_object json_schema maxItems maxLength maximum minItems
minLength minimum name null number object oneOf parameters pattern properties required schema
strict string title text type uniqueItems verbosity
"""
_GRAMMAR: Final = frozenset(_SCHEMA.split())


class Unexamined(StrEnum):
    """What can't be examined here, and is refused unless the operator lets it pass."""

    STORED = "stored"
    """References to what the upstream keeps: earlier responses, conversations, prompts, items."""
    FILES = "files"
    """Files by their id, and documents."""
    AUDIO = "audio"
    """Sound, in and out."""
    TOOLS = "tools"
    """Tools that the upstream runs, which bring in what nobody here has seen."""
    OPAQUE = "opaque"
    """Items that only the upstream can read: encrypted reasoning, compacted conversations."""


_SAID = {
    Unexamined.STORED: "A reference to stored content",
    Unexamined.FILES: "A file",
    Unexamined.AUDIO: "Sound",
    Unexamined.TOOLS: "A tool that runs elsewhere",
    Unexamined.OPAQUE: "Encrypted content",
}


@dataclass(slots=True)
class Picture:
    """A picture of a request: its bytes, or where they are to be fetched from."""

    data: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)
    bare: bool = False
    """Whether it is written as base64 alone, and not as a data URL."""
    mask: bool = False

    def written(self) -> str:
        """The picture's bytes as they go into JSON."""
        text = base64.b64encode(self.data).decode()
        return text if self.bare else f"data:{media_of(self.data)};base64,{text}"


def media_of(data: bytes) -> str:
    """The media type that a picture's bytes say. Raises `Unreadable`."""
    try:
        return MEDIA[sniff(data)]
    except (Rejected, KeyError):
        raise Unreadable("A picture is not PNG, JPEG, WebP or GIF.") from None


class Reading:
    """A request while it is read: what there is to judge in it."""

    def __init__(self, allow: frozenset[Unexamined] = frozenset()) -> None:
        self.allow = allow
        self.texts: list[str] = []
        self.unwanted: list[str] = []
        self.pictures: list[Picture] = []
        self._size = 0

    def text(self, value: Any, where: str, into: list[str] | None = None) -> str:
        """A text, which is to be judged."""
        if not isinstance(value, str):
            raise Unreadable("A text is expected here.", where)
        self._size += len(value)
        if self._size > MAX_TEXT:
            raise Unreadable(f"A request may have {MAX_TEXT} characters of text.", where, 413)
        texts = self.texts if into is None else into
        judged = _WITHIN.sub(self._within, value) if "base64," in value.lower() else value
        texts.append(judged)
        if "\\u" in judged:
            # As in JSON that a tool gave: a model reads through the escapes.
            texts.append(_ESCAPES.sub(_unescaped, judged))
        return value

    def picture(self, value: Any, where: str, *, bare: bool = False, mask: bool = False) -> Picture:
        """A picture, which is to be judged."""
        if not isinstance(value, str):
            raise Unreadable("A picture is expected here.", where)
        found = _DATA.match(value)
        if bare or found:
            data = _decoded(value[found.end() if found and not bare else 0 :], where)
            media_of(data)
            return self.add(Picture(data, bare=bare, mask=mask))
        if not value.lower().startswith(("https://", "http://")):
            raise Unreadable(
                "A picture is a data URL of base64 without parameters, or an https URL.", where
            )
        return self.add(Picture(url=value, mask=mask))

    def add(self, picture: Picture) -> Picture:
        """Take a picture in."""
        self.pictures.append(picture)
        if len(self.pictures) > MAX_PICTURES:
            raise Unreadable(f"A request may have {MAX_PICTURES} pictures.")
        if sum(one.mask for one in self.pictures) > 1:
            raise Unreadable("A request may have one mask.")
        return picture

    def _within(self, found: re.Match[str]) -> str:
        """A picture that is written into a text is judged as the picture that it is."""
        try:
            data = base64.b64decode(found[1], validate=True)
            media_of(data)
        except (binascii.Error, Unreadable):
            return found[0]
        self.add(Picture(data))
        return " "


# What a field may be ------------------------------------------------------------------------------

Read = Callable[[Reading, Any, str], Any]
"""Reads a value that stands somewhere; gives what goes on. Raises `Unreadable`."""
LEFT_OUT: Final = object()


def text(reading: Reading, value: Any, where: str) -> str:
    """A text that the model reads."""
    return reading.text(value, where)


def unwanted(reading: Reading, value: Any, where: str) -> str:
    """A text that says what is not to be shown."""
    return reading.text(value, where, reading.unwanted)


def label(reading: Reading, value: Any, where: str) -> str:  # noqa: ARG001
    """A name, an id or one of a few words: too short and too plain to ask for anything."""
    if not isinstance(value, str) or (value and not _LABEL.fullmatch(value)):
        raise Unreadable("A name or an id in plain ASCII without spaces is expected here.", where)
    return value


def plain(reading: Reading, value: Any, where: str) -> Any:
    """Numbers, yes or no, labels, and lists and objects of them."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return [plain(reading, one, where) for one in value]
    if isinstance(value, dict):
        return {
            label(reading, name, where): plain(reading, one, where) for name, one in value.items()
        }
    return label(reading, value, where)


def prose(reading: Reading, value: Any, where: str) -> Any:
    """Anything: every name and every text in it is judged, in their order, as one text."""
    found: list[str] = []
    _gather(value, found)
    if found:
        reading.text(" ".join(found), where)
    return value


def notes(reading: Reading, value: Any, where: str) -> Any:
    """Metadata: labels as they are, anything longer is judged."""
    if not isinstance(value, dict):
        raise Unreadable("An object is expected here.", where)
    for name, one in value.items():
        label(reading, name, where)
        if not isinstance(one, str) or not _LABEL.fullmatch(one):
            prose(reading, one, where)
    return value


def picture(reading: Reading, value: Any, where: str) -> Picture:
    """A picture by its data URL, or by a URL that it is fetched from."""
    return reading.picture(value, where)


def mask(reading: Reading, value: Any, where: str) -> Picture:
    """The same, and it is the mask."""
    return reading.picture(value, where, mask=True)


def bare_picture(reading: Reading, value: Any, where: str) -> Picture:
    """A picture as base64."""
    return reading.picture(value, where, bare=True)


def off(reading: Reading, value: Any, where: str) -> bool:  # noqa: ARG001
    """What may only be false."""
    if value is not False:
        raise Unreadable("This is not offered here.", where)
    return False


def drawn(reading: Reading, value: Any, where: str) -> str:
    """The format of pictures that are made: one that can be examined."""
    if label(reading, value, where).lower() == "svg":
        raise Unreadable("This format can't be examined, so it is not offered here.", where)
    return str(value)


def as_it_is(reading: Reading, value: Any, where: str) -> Any:  # noqa: ARG001
    """What is not looked into. Only within `needs`."""
    return value


def leave_out(reading: Reading, value: Any, where: str) -> object:  # noqa: ARG001
    """What the upstream does not need."""
    return LEFT_OUT


def needs(what: Unexamined, read: Read) -> Read:
    """A field that passes only where the operator lets such content pass unexamined."""

    def checked(reading: Reading, value: Any, where: str) -> Any:
        if what not in reading.allow:
            raise Unreadable(
                f"{_SAID[what]} can't be examined, so it is not passed on; "
                "send the content itself as text or as a picture.",
                where,
            )
        return read(reading, value, where)

    return checked


def record(fields: Mapping[str, Read], *required: str) -> Read:
    """An object with these fields and no others. A field that is null stays so."""

    def read(reading: Reading, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unreadable("An object is expected here.", where or None)
        if not value.keys() <= fields.keys():
            raise Unreadable("A field is not known here, so it is not passed on.", where or None)
        if any(value.get(name) is None for name in required):
            raise Unreadable(f"The field {required[0]} is missing.", where or None)
        made = {}
        for name, reader in fields.items():
            if name in value:
                one = value[name]
                inner = f"{where}.{name}" if where else name
                done = None if one is None else reader(reading, one, inner)
                if done is not LEFT_OUT:
                    made[name] = done
        return made

    return read


def drawing(fields: Mapping[str, Read]) -> Read:
    """A picture that the model made earlier: with its bytes, else it refers to a stored one."""
    whole, stored = record(fields, "result"), needs(Unexamined.STORED, record(fields))

    def read(reading: Reading, value: Any, where: str) -> Any:
        given = isinstance(value, dict) and value.get("result")
        return (whole if given else stored)(reading, value, where)

    return read


def many(read: Read) -> Read:
    """A list."""

    def each(reading: Reading, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise Unreadable("A list is expected here.", where)
        return [read(reading, one, f"{where}[{at}]") for at, one in enumerate(value)]

    return each


def either(one: Read, other: Read) -> Read:
    """A text, or something else."""

    def read(reading: Reading, value: Any, where: str) -> Any:
        return (one if isinstance(value, str) else other)(reading, value, where)

    return read


def kinds(known: Mapping[str, Read], usual: str = "") -> Read:
    """An object that says by its `type` which it is."""

    def read(reading: Reading, value: Any, where: str) -> Any:
        found = value.get("type", usual) if isinstance(value, dict) else ""
        if not isinstance(found, str) or found not in known:
            raise Unreadable("This is of a type that is not known here.", where)
        return known[found](reading, value, where)

    return read


def tools_that_draw(tools: Any) -> bool:
    """Whether one of a request's tools makes pictures."""
    return any(tool["type"] == "image_generation" for tool in tools or ())


def _gather(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        if value not in _GRAMMAR:
            found.append(value)
    elif isinstance(value, dict):
        for name, one in value.items():
            _gather(name, found)
            _gather(one, found)
    elif isinstance(value, list):
        for one in value:
            _gather(one, found)


def _decoded(text: str, where: str) -> bytes:
    """The bytes that a base64 text stands for, if it is the one way to write them."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or base64.b64encode(data) != text.encode("utf-8"):
        raise Unreadable("A picture's base64 is badly written.", where)
    return data


def _unescaped(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("\\u", "")).decode("utf-16-be", "replace")
