"""Payloads: what an API is sent and answers, read without knowing the API.

Every text is judged as a text, every picture as a picture, wherever it stands: as a file, as
base64, as a data URL, within a text. Addresses of pictures are refused: they could give other bytes
to the model than to the guard.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tutela.errors import Rejected
from tutela.guard.integrations.values import FILED, WORD, Given, words_of
from tutela.media.sniff import sniff

MAX_TEXT: Final = 256 << 10
"""Characters of all texts together."""
MAX_PICTURES: Final = 16
PLAIN: Final = frozenset(
    {"aspect_ratio", "created", "encoding_format", "finish_reason", "id", "input_fidelity", "model"}
    | {"moderation", "n", "output_format", "response_format", "safety_identifier", "sampler"}
    | {"sampler_index", "sampler_name", "scheduler", "seed", "service_tier", "size"}
    | {"system_fingerprint", "tool_call_id", "user"}
)
"""Names of fields that choose between ways of working, where they hold a label."""

_LABEL = re.compile(r"(?!.*://)[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,127}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")
_DATA = re.compile(
    r"data:[\w.+/-]{0,64}(?:;[\w=.-]{1,64}){0,4};base64,([A-Za-z0-9+/_-]+={0,2})", re.IGNORECASE
)
_RUN = re.compile(r"[A-Za-z0-9+/_-]{256,}={0,2}")
_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]{1,15}:)?//\S+\s*", re.IGNORECASE)
_PICTURE = re.compile(r"\.(?:avif|bmp|gif|heic|jpe?g|jxl|mp4|png|tiff?|webm|webp)\b", re.IGNORECASE)
_PLACES: Final = FILED | {"href", "link", "src", "uri", "urls"}
LONG: Final = 1024
"""Characters of one word above which it is no text."""


class Payload(Given):
    """Reads the fields of a request or an answer. Raises `Unexaminable`."""

    def __init__(self, vouched: Iterable[str] = (), plain: Iterable[str] = PLAIN) -> None:
        super().__init__(vouched, plain)
        self._size = 0

    def read_all(self, fields: Mapping[str, Any]) -> None:
        """Read every field, and the names that are no names."""
        for name, value in fields.items():
            if WORD.fullmatch(name.removesuffix("[]")):
                self.read(name, value)
            else:
                self.read("field", {name: value})

    def text(self, words: frozenset[str], value: str, top: str) -> None:
        """Read a text, or the picture that is written as one."""
        rest = _DATA.sub(lambda found: self._picture_in(words, found[1], top), value)
        if "\\/" in rest:
            # So JSON may write a slash.
            rest = rest.replace("\\/", "/")
        rest = _RUN.sub(lambda found: self._picture_in(words, found[0], top), rest)
        if (word := _compact(rest)) and _decoded(word) is not None:
            rest = self._picture_in(words, word, top)
        if not rest.strip():
            return
        self._size += len(rest)
        if self._size > MAX_TEXT:
            raise self.unexaminable(top, f"there are more than {MAX_TEXT} characters of text")
        if words & _PLACES:
            raise self.unexaminable(top, "it is no picture, and may stand for one")
        if _ADDRESS.fullmatch(rest) and _PICTURE.search(rest):
            raise self.unexaminable(top, "it is the address of a picture; send the picture")
        (self.unwanted if words & {"negative", "neg"} else self.texts).append(rest)

    def file(self, words: frozenset[str], data: bytes, top: str) -> None:
        """Read a file."""
        try:
            sniff(data)
        except Rejected:
            raise self.unexaminable(top, "it is no picture that can be examined") from None
        super().file(words, data, top)
        if len(self.images) > MAX_PICTURES:
            raise self.unexaminable(top, f"there are more than {MAX_PICTURES} pictures")

    def other(self, name: str, value: Any, top: str, depth: int) -> None:
        """Read a file that is open."""
        opened = getattr(value, "file", value)
        if isinstance(opened, io.IOBase):
            at = opened.tell()
            opened.seek(0)
            value = opened.read()
            opened.seek(at)
        if isinstance(value, bytes | bytearray | memoryview):
            self.file(words_of(name), bytes(value), top)
        else:
            super().other(name, value, top, depth)

    def is_plain(self, value: Any) -> bool:
        """Whether it is a label, or several."""
        if isinstance(value, list):
            return all(map(self.is_plain, value))
        return isinstance(value, str) and _LABEL.fullmatch(value) is not None

    def _picture_in(self, words: frozenset[str], text: str, top: str) -> str:
        """Read the picture that base64 within a text stands for; gives what is left: a space."""
        data = _decoded(text)
        if data is not None:
            self.file(words, data, top)
        elif len(text) >= LONG:
            raise self.unexaminable(top, "it holds a file that is no picture")
        else:
            # Short enough to be read as a text.
            return text
        return " "


def _compact(value: str) -> str:
    """A text without its line breaks if it may be base64, else `""`."""
    if len(value) < 64:
        return ""
    # Words differ in length, lines of base64 do not.
    first, *more = value.split() or [""]
    if len(first) < 32 or any(len(line) != len(first) for line in more[:-1]):
        return ""
    word = "".join((first, *more))
    return word if _BASE64.fullmatch(word) else ""


def _decoded(word: str) -> bytes | None:
    """The picture that a word of base64 stands for."""
    plain = word.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        sniff(data)
    except (binascii.Error, ValueError, Rejected):
        return None
    return data
