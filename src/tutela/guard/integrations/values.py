"""Values: what a function that runs a model is given and gives back, read one by one.

A value is a text or a picture by what it is, by its name only where that does not tell: an array
called `image` is a picture, one called `latents` is nothing that anybody can see. What is neither
known to be harmless nor can be examined is refused, unless the caller vouches for it by name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from numbers import Number
from pathlib import PurePath
from typing import Any, Final

import numpy as np
from PIL import Image

from tutela.content import Context
from tutela.errors import OutputRefused, RequestRefused, Unexaminable
from tutela.guard.gate import Gate, Operation, Request
from tutela.guard.integrations.pictures import (
    Change,
    Unshaped,
    changed,
    covered,
    encoded,
    is_array,
)
from tutela.verdict import Verdict

DEPTH: Final = 8
"""How deep values may lie within each other."""
NUMBERS: Final = 4096
"""Numbers in a row that are no picture: time steps, sigmas, scales."""
AT_ONCE: Final = 4
"""Pictures of one output that are judged side by side."""

_OPAQUE: Final = frozenset(
    {"attention", "codes", "embed", "embeds", "embedding", "embeddings", "features", "grid"}
    | {"hidden", "ids", "latent", "latents", "noise", "pad", "padding", "pooled"}
    | {"projections", "tokens"}
)
"""Words in the names of arrays that hold what a model made of a text or a picture."""
SHOWN: Final = frozenset(
    {"background", "condition", "conditioning", "control", "controls", "depth", "face", "frame"}
    | {"frames", "hint", "image", "images", "keyframes", "layers", "mask", "masks", "picture"}
    | {"pictures", "pose", "reference", "video", "videos"}
)
"""Words in the names of pictures."""
FILED: Final = frozenset(
    {"file", "frame", "frames", "image", "images", "mask", "masks", "path", "url", "video"}
    | {"videos"}
)
"""… of which a text would be where a picture lies."""
_SAID: Final = frozenset(
    {"content", "input", "inputs", "message", "messages", "prompt", "prompts", "text", "texts"}
)
"""Words in the names of texts: numbers in their place are a text that nobody can read."""
_SETTINGS: Final = frozenset({"Generator", "device", "dtype"})
"""Classes of torch that say how to work."""
_MASKS: Final = frozenset({"mask", "masks"})
WORD: Final = re.compile(r"[A-Za-z_]\w{0,63}")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


class Given:
    """Reads what a model is given. `request` is what the gate is to judge of it."""

    arrays_shown = False
    """Whether every array of two dimensions and more is a picture, whatever its name."""

    def __init__(self, vouched: Iterable[str] = (), plain: Iterable[str] = ()) -> None:
        self._vouched = frozenset(vouched)
        self._plain = frozenset(plain)
        """Names of texts that only choose between ways of working."""
        self.texts: list[str] = []
        self.unwanted: list[str] = []
        self.images: list[bytes] = []
        self.mask: bytes | None = None
        """A mask that came encoded; …"""
        self._masks: list[Any] = []
        """… those that came as pixels."""
        self._turned = False

    def read(self, name: str, value: Any) -> None:
        """Read the argument of that name. Raises `Unexaminable`."""
        try:
            self._read(name, value, name, DEPTH)
        except Unshaped as error:
            raise self.unexaminable(name, str(error)) from None

    def request(
        self, context: Context | None = None, operation: Operation | None = None
    ) -> Request:
        """All of it together."""
        # Guidance below 1 turns away from the prompt, to what is said to be unwanted.
        texts = (*self.texts, *self.unwanted) if self._turned else self.texts
        return Request(
            texts=tuple(dict.fromkeys(texts)),
            unwanted="" if self._turned else "\n".join(self.unwanted),
            images=tuple(dict.fromkeys(self.images)),
            mask=self.mask or covered(self._masks),
            operation=operation or (Operation.EDIT if self.images else Operation.GENERATE),
            context=context or Context(),
        )

    def text(self, words: frozenset[str], value: str, top: str) -> None:
        """Read a text whose name has these words."""
        if words & FILED:
            raise self.unexaminable(top, "it names a picture; give the picture itself")
        (self.unwanted if words & {"negative", "neg"} else self.texts).append(value)

    def file(self, words: frozenset[str], data: bytes, top: str) -> None:
        """Read an encoded picture whose name has these words."""
        if not words & _MASKS:
            self.images.append(data)
        elif self.mask is None and not self._masks:
            self.mask = data
        else:
            raise self.unexaminable(top, "it is a second mask")

    def other(self, name: str, value: Any, top: str, depth: int) -> None:
        """Read what is of no kind that is known. Raises `Unexaminable` unless it is harmless."""
        del name, depth
        if not _is_harmless(value):
            raise self.unexaminable(top, f"it is of type {type(value).__name__}")

    def _read(self, name: str, value: Any, top: str, depth: int) -> None:
        words = words_of(name)
        if value is None or isinstance(value, bool | np.bool_) or name in self._vouched:
            return
        if name in self._plain and self.is_plain(value):
            return
        if depth == 0:
            raise self.unexaminable(top, "it lies too deep")
        if isinstance(value, Enum):
            self._read(name, value.value, top, depth - 1)
        elif isinstance(value, str):
            self.text(words, value, top)
        elif isinstance(value, bytes | bytearray | memoryview) and words & SHOWN:
            self.file(words, bytes(value), top)
        elif isinstance(value, Number | np.number):
            self._number(name, [value])
        elif isinstance(value, Image.Image) or is_array(value):
            self._picture(words, name, value, top)
        elif isinstance(value, PurePath):
            raise self.unexaminable(top, "it names a picture; give the picture itself")
        elif isinstance(value, Mapping):
            for key, one in value.items():
                if not isinstance(key, str):
                    raise self.unexaminable(top, "its keys are no names")
                if not WORD.fullmatch(key):
                    self.texts.append(key)
                    key = name
                self._read(key, one, top, depth - 1)
        elif isinstance(value, list | tuple | set | frozenset):
            self._row(words, name, value, top, depth)
        elif _is_record(value):
            for field in dataclasses.fields(value):
                self._read(field.name, getattr(value, field.name), top, depth - 1)
        else:
            self.other(name, value, top, depth)

    def _row(self, words: frozenset[str], name: str, value: Any, top: str, depth: int) -> None:
        row = list(value)
        if row and all(isinstance(one, Number | np.number) for one in row):
            if len(row) > NUMBERS or words & (_OPAQUE | _SAID):
                raise self.unexaminable(top, "its numbers could be anything")
            self._number(name, row)
            return
        for one in row:
            self._read(name, one, top, depth - 1)

    def _number(self, name: str, row: list[Any]) -> None:
        if name.lower().endswith(("guidance_scale", "guidancescale", "cfg_scale", "cfg")):
            self._turned |= any(not isinstance(one, complex) and one < 1 for one in row)

    def _picture(self, words: frozenset[str], name: str, value: Any, top: str) -> None:
        if not isinstance(value, Image.Image):
            if words & _OPAQUE:
                raise self.unexaminable(top, "a model made it, and nobody can see what it shows")
            if value.ndim <= 1:
                self._row(words, name, value.reshape(-1).tolist(), top, 1)
                return
            if not (words & SHOWN or self.arrays_shown):
                raise self.unexaminable(top, "it is an array that may be a picture or not")
        if words & _MASKS:
            if self.mask is not None:
                raise self.unexaminable(top, "it is a second mask")
            covered([value])
            self._masks.append(value)
        else:
            self.images += encoded(value)

    def is_plain(self, value: Any) -> bool:
        """Whether a text, or a list of them, can be but a choice between ways of working."""
        if isinstance(value, list | tuple):
            return all(map(self.is_plain, value))
        return isinstance(value, str) and WORD.fullmatch(value) is not None

    def unexaminable(self, name: str, why: str) -> Unexaminable:
        """The error for what can't be examined."""
        return Unexaminable(
            name,
            f"{name!r} can't be examined: {why}; leave it out, give it in another form, or vouch "
            "for it by name",
        )


def words_of(name: str) -> frozenset[str]:
    """The words in a name: `negative_prompt`, `negativePrompt` and `negative_prompt_2` alike."""
    return frozenset(word.lower() for word in _WORDS.findall(name))


class Made:
    """Reads what a model made; every picture in it is judged, and marked, before it is given."""

    def __init__(
        self,
        gate: Gate,
        vouched: Iterable[str] = (),
        mark: Change | None = None,
        context: Context | None = None,
    ) -> None:
        self._gate = gate
        self._vouched = frozenset(vouched)
        self._mark = mark
        self._context = context

    def passed(self, made: Any) -> Any:
        """What was made, once all of it is allowed. Raises `OutputRefused`."""
        pictures = list(self.pictures("images", made, DEPTH))
        judge_outputs(self._gate, pictures, self._context)
        return self._marked("images", made) if self._mark else made

    def pictures(self, name: str, value: Any, depth: int) -> Iterator[bytes]:
        """Every picture in a value, encoded. Raises `OutputRefused`."""
        words = words_of(name)
        if name in self._vouched or value is None or isinstance(value, bool | Number | np.number):
            return
        if isinstance(value, Image.Image) or is_array(value):
            if not isinstance(value, Image.Image) and (words & _OPAQUE or value.ndim < 2):
                raise self.hidden(name)
            try:
                yield from encoded(value)
            except Unshaped as error:
                raise self.hidden(name) from error
        elif isinstance(value, Mapping) and depth:
            for key, one in value.items():
                yield from self.pictures(str(key), one, depth - 1)
        elif isinstance(value, list | tuple) and depth:
            for one in value:
                yield from self.pictures(name, one, depth - 1)
        else:
            yield from self.other(name, value, depth)

    def opened(self, value: Any) -> Any:
        """The picture that a value stands for, where it is to be marked; else the value."""
        return value

    def other(self, name: str, value: Any, depth: int) -> Iterator[bytes]:
        """The pictures in what is of no kind that is known. Raises `OutputRefused`."""
        del value, depth
        raise self.hidden(name)

    def _marked(self, name: str, value: Any) -> Any:
        assert self._mark is not None
        value = self.opened(value)
        if name in self._vouched:
            return value
        if isinstance(value, Image.Image) or is_array(value):
            return changed(value, self._mark)
        if isinstance(value, Mapping):
            made = {key: self._marked(str(key), one) for key, one in value.items()}
            whole: Any = value
            return dataclasses.replace(whole, **made) if _is_record(whole) else made
        if isinstance(value, list | tuple):
            return type(value)([self._marked(name, one) for one in value])
        return value

    def hidden(self, name: str) -> OutputRefused:
        """The error for what can't be examined."""
        return OutputRefused(
            message=f"What was made has {name!r}, which can't be examined: ask for pictures, or "
            "vouch for it by name"
        )


def allowed(verdict: Verdict) -> None:
    """Nothing if a request may reach the model. Raises `RequestRefused`."""
    if verdict.action != "allow":
        raise RequestRefused(verdict.id)


def judge_outputs(gate: Gate, pictures: list[bytes], context: Context | None = None) -> None:
    """Judge every picture that a model made. Raises `OutputRefused` unless all are allowed."""
    if not pictures:
        return

    def judge(picture: bytes) -> Verdict:
        return gate.output(picture, context)

    with ThreadPoolExecutor(min(AT_ONCE, len(pictures))) as threads:
        for verdict in list(threads.map(judge, pictures)):
            if verdict.action != "allow":
                raise OutputRefused(verdict.id)


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_harmless(value: Any) -> bool:
    """Whether it can carry no text and no picture but those that the program itself holds."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == "torch" and kind.__name__ in _SETTINGS:
        return True
    return callable(value)
