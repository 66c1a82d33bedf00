"""Look-alikes: what kind each character of a text is, and which Latin letter it looks like.

`lookalikes.tsv` holds the letters: `tools/make_lookalikes.py` makes it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

INVISIBLE: Final = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u0640\u06dd\u070f\u115f"
    "\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffc\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
STACKED: Final = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
# Scripts whose letters are folded only in words that give cause to.
_NEAR = (
    "\u0370-\u058f\u10a0-\u10ff\u13a0-\u13ff\u1c80-\u1cbf\u2c80-\u2d2f\ua4d0-\ua4ff\ua640-\ua69f"
    "\uab70-\uabbf"
)
_FAR = (
    "\u0590-\u109f\u1100-\u13ff\u1780-\u18af\u3005-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7ff"
    "\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc\uff66-\uffdc\U00020000-\U0003ffff"
)
MARKS: Final = "".join(
    chr(code)
    for first, last in ((0x590, 0x1CFF), (0x302A, 0x309A), (0xA800, 0xABFF))
    for code in range(first, last)
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
"""Marks that a letter of its script goes on with, though they are no word characters."""
EMOJI: Final = "\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
# Letters of living Latin alphabets that are no plain letter with a mark.
_NATIVE: Final = frozenset("ıŁłĐđØøßÆæŒœÞþÐðĦħŊŋƏəƐɛƆɔƁɓƊɗƘƙÑñÇç©®¥£§×†¡")
_SIGNS = frozenset("@$!|€£+(<^#¡*")
_KINDS: Final = (
    (re.compile(f"[{INVISIBLE}]"), "i"),
    (re.compile(f"[{STACKED}]"), "m"),
)


@cache
def _fold() -> dict[int, str]:
    """Characters that look like Latin letters, by the letter."""
    return {ord(char): letter for letter, chars in _rows() for char in "".join(chars)}


@cache
def _rows() -> tuple[tuple[str, list[str]], ...]:
    file = resources.files(__package__) / "lookalikes.tsv"
    lines = [line.split("\t") for line in file.read_text("utf-8").splitlines()]
    return tuple((line[0], line[1:]) for line in lines)


class _Shapes(dict[int, str]):
    """Of each character its kind, a letter:

    a, A Latin letter; 0 digit; $ sign used as a letter; space; newline; . other; i invisible;
    m stacked mark; h letter of a near script that surely looks Latin; f other letter of one;
    c letter of another script; k mark that goes on with one; e emoji; s stylised Latin letter.
    """

    def __missing__(self, code: int) -> str:
        kind = self[code] = self._kind(chr(code))
        return kind

    def _kind(self, char: str) -> str:
        for pattern, kind in _KINDS:
            if pattern.match(char):
                return kind
        if "a" <= char <= "z" or "A" <= char <= "Z":
            return "a" if char >= "a" else "A"
        if char.isspace():
            return "\n" if char == "\n" else " "
        if re.match(f"[{_NEAR}]", char):
            sure = any(char in chars[0] for _, chars in _rows())
            return "h" if sure else "f" if char.isalpha() else "."
        if char.isdecimal():
            return "0"
        if re.match(f"[{_FAR}]", char):
            return "k" if char in MARKS else "c"
        if ord(char) in _fold() and char not in _NATIVE:
            return "s"
        if char in _SIGNS:
            return "$"
        if re.match(f"[{EMOJI}]", char):
            return "e"
        if char.isalpha():
            return "a" if char.islower() else "A"
        return "."


_SHAPES: Final = _Shapes()


def shape_of(text: str) -> str:
    """The kind of each character, as `_Shapes` names them; as long as the text."""
    return text.translate(_SHAPES)


_WORD = re.compile(r"\S+")
_AS_CYRILLIC: Final = str.maketrans("aAeEoOpPcCxXyYkKMTBHm3064@", "аАеЕоОрРсСхХуУкКМТВНтзобча")


def folded(text: str, shape: str) -> str:
    """Look-alikes as Latin letters, in words that mix scripts or hold nothing else."""
    fold = _fold()
    latin = "a" in shape or "A" in shape
    if not latin and "s" not in shape:
        # Of one near script alone: disguised if every letter is a look-alike.
        return text.translate(fold) if "h" in shape and not has(shape, "fc") else text
    mixed = any(_is_mixed(shape[m.start() : m.end()]) for m in _WORD.finditer(text))
    every = mixed or 2 * (shape.count("a") + shape.count("A")) > len(shape)

    def turn(match: re.Match[str]) -> str:
        word = match[0]
        if word.isascii():
            return word
        kinds = shape[match.start() : match.end()]
        alike = every and "h" in kinds and not has(kinds, "fc")
        return word.translate(fold) if alike or _is_mixed(kinds) else word

    return _WORD.sub(turn, text)


def has(shape: str, kinds: str) -> bool:
    """Whether a shape has one of several kinds."""
    return any(kind in shape for kind in kinds)


def _is_mixed(kinds: str) -> bool:
    """Whether a word has letters of several scripts, or stylised ones."""
    near, far = "h" in kinds or "f" in kinds, "c" in kinds
    return "s" in kinds or ((near or far) and has(kinds, "aA")) or (near and far)


def as_cyrillic(text: str, shape: str) -> str:
    """Latin letters and digits inside Cyrillic words as Cyrillic ones."""

    def turn(match: re.Match[str]) -> str:
        kinds = shape[match.start() : match.end()]
        return match[0].translate(_AS_CYRILLIC) if "f" in kinds else match[0]

    return _WORD.sub(turn, text)
