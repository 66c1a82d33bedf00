"""Encoded text put in clear: escapes, base64 and its kin, codes of letters, ciphers.

Only what comes out as text counts: a name or a number that happens to be valid base64 stays.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

_ESCAPED = re.compile(
    r"\\u\{?([0-9a-fA-F]{4,6})\}?|\\[xX]([0-9a-fA-F]{2})|\b[uU]\+([0-9a-fA-F]{4,6})"
)
_QUOTED = re.compile(r"(?:=[0-9A-F]{2}){2,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_WRAPPED = re.compile(r"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{40,}\n){1,}[A-Za-z0-9+/]+={0,2}")
_BASE32 = re.compile(
    r"(?<![A-Za-z2-7])(?:[A-Z2-7]{8,}={1,6}|[A-Z2-7]{16,}(?![a-z])|[a-z2-7]{8,}={1,6})"
)
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{2}(?:[\s:,-]?(?:0x)?[0-9a-fA-F]{2}){3,}")
_BITS = re.compile(r"[01]{7,8}(?:[\s,]*[01]{7,8}){2,}")
_CODES = re.compile(r"\d{2,3}(?:[\s,;]+\d{2,3}){3,}")
_DASHES = re.compile(r"(?<![^\s/|])[.\-]{1,5}(?:(?: ?[/|] ?| +)[.\-]{1,5}){3,}(?![^\s/|])")
_UNEVEN = re.compile(r"[a-z][A-Z0-9+/]|[0-9+/][A-Za-z]|[A-Z][A-Z0-9][a-z]|=$")
_TAGS = re.compile(r"(?<=[^\W_])(?:<[a-zA-Z/!][^<>]{0,200}>){1,8}(?=[^\W_])")
_HIDDEN = re.compile("[\U000e0020-\U000e007e]+")
_SELECTED = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_BACKWARDS = re.compile("[\u202e\u2067]([^\u202c\u202d\u2069\n]*)[\u202c\u2069\u202d]?")
Cipher = Callable[[str], str]
_ABC: Final = "abcdefghijklmnopqrstuvwxyz"
_MORSE: Final = """
    .- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .--
    -..- -.-- --..
"""
_MORSE_LETTERS: Final = dict(zip(_MORSE.split(), _ABC, strict=True))
_FIGURES: Final = frozenset("0123456789")
SAID: Final = 0.7
"""Share of letters, digits and spaces that decoded bytes need to pass for text."""


def revealed(text: str) -> str:
    """A text with what invisible characters hide or turn around: tags, selectors, direction."""
    if text.isascii():
        return text
    text = _HIDDEN.sub(lambda m: "".join(chr(ord(c) - 0xE0000) for c in m[0]), text)
    text = _SELECTED.sub(_selected, text)
    return _BACKWARDS.sub(lambda m: m[1][::-1], text)


def decoded(text: str) -> str:
    """A text with each encoded part of it in clear, one encoding deep."""
    if "%" in text:
        text = unquote(text)
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if "\\" in text or "+" in text:
        text = _ESCAPED.sub(_escape, text)
    if "=" in text:
        text = _QUOTED.sub(lambda m: unquote(m[0].replace("=", "%")), text)
    if "<" in text:
        text = _TAGS.sub("", text)
    figures = not _FIGURES.isdisjoint(text)
    if figures:
        for pattern, turn in ((_BITS, _bits), (_HEX, _hex), (_CODES, _codes)):
            text = pattern.sub(turn, text)
    if like_base64(text):
        if "\n" in text:
            text = _WRAPPED.sub(lambda m: m[0].replace("\n", ""), text)
        text = _BASE64.sub(_base64, text)
    if figures or "=" in text or text.isupper():
        text = _BASE32.sub(_base32, text)
    if ". " in text or "- " in text:
        text = _DASHES.sub(_morse, text)
    return text


def like_base64(text: str) -> bool:
    """Whether a text has longer words with digits or capitals in them."""
    return any(len(word) > 7 and not word[1:].islower() and word.isascii() for word in text.split())


def _said(data: bytes) -> str | None:
    """Bytes as text, if they are mostly letters of one."""
    for encoding in ("utf-8", "utf-16"):
        if encoding == "utf-16" and 3 * data.count(0) < len(data):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Invisible characters inside a longer text are no reason to look away.
        if len(text) < 8 and not (len(text) > 2 and text.isprintable()):
            continue
        share = SAID / 2 if len(text) > 11 and text.isascii() else SAID
        letters = sum(char == " " or unicodedata.category(char)[0] in "LMN" for char in text)
        if letters >= share * len(text):
            return text
    return None


def _put(said: str | None, match: re.Match[str]) -> str:
    return match[0] if said is None else f" {said} "


def _base64(match: re.Match[str]) -> str:
    if not _UNEVEN.search(match[0]):
        return match[0]
    bare = match[0].rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) % 4 == 1:
        return match[0]
    return _put(_said(base64.b64decode(bare + "=" * (-len(bare) % 4))), match)


def _base32(match: re.Match[str]) -> str:
    bare = match[0].rstrip("=").upper()
    try:
        return _put(_said(base64.b32decode(bare + "=" * (-len(bare) % 8))), match)
    except binascii.Error:
        # Some lengths encode no whole number of bytes.
        return match[0]


def _hex(match: re.Match[str]) -> str:
    digits = re.sub(r"0x|[\s:,-]", "", match[0])
    return _put(_said(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None, match)


def _bits(match: re.Match[str]) -> str:
    groups = re.findall(r"[01]{8}|[01]{7}", match[0])
    return _put(_said(bytes(int(group, 2) for group in groups)), match)


def _codes(match: re.Match[str]) -> str:
    codes = [int(code) for code in re.findall(r"\d+", match[0])]
    return _put(_said(bytes(codes)) if max(codes) < 128 else None, match)


def _morse(match: re.Match[str]) -> str:
    words = re.split(r" *[/|] *| {2,}", match[0])
    signs = [[_MORSE_LETTERS.get(sign) for sign in word.split()] for word in words]
    if any(letter is None for word in signs for letter in word):
        return match[0]
    return " ".join("".join(letter or "" for letter in word) for word in signs)


def _escape(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3], 16)
    return chr(code) if code <= sys.maxunicode else match[0]


def _selected(match: re.Match[str]) -> str:
    codes = (ord(char) for char in match[0])
    return _put(_said(bytes(c - 0xFE00 if c < 0xFF00 else c - 0xE0100 + 16 for c in codes)), match)


def _table(turned: str) -> dict[int, int]:
    return str.maketrans(_ABC + _ABC.upper(), turned + turned.upper())


def _cipher(turned: str) -> Cipher:
    table = _table(turned)
    return lambda text: text.translate(table)


_ROT47: Final = {code: chr(33 + (code - 33 + 47) % 94) for code in range(33, 127)}
_TURNED: Final = str.maketrans(
    "ɐɔǝɟƃɓɥᴉıɾʞlꞁɯɹʇʌʍʎbqdpnu" + "∀ƆƎℲ⅁⅂Ԁᴚ⊥∩Λ⅄MW",
    "acefgghiijkllmrtvwyqbpdun" + "acefglprtuvywm",
)
_UPSIDE_DOWN: Final = frozenset("ɐɔǝɟƃɥɾʞɯɹʇʌʍʎ")

EASY: Final[tuple[tuple[str, Cipher], ...]] = (
    ("rot13", _cipher(_ABC[13:] + _ABC[:13])),
    ("backwards", lambda text: text[::-1]),
    ("atbash", _cipher(_ABC[::-1])),
)
"""Ciphers that are tried on every text."""
SHIFTS: Final[tuple[tuple[str, Cipher], ...]] = (
    ("rot13 backwards", lambda text: text.translate(_table(_ABC[13:] + _ABC[:13]))[::-1]),
    *((f"shift {by}", _cipher(_ABC[by:] + _ABC[:by])) for by in range(1, 26) if by != 13),
)
"""Ciphers that are tried on a text of no known word."""


def rot47(text: str) -> str:
    return text.translate(_ROT47)


def upright(text: str) -> str:
    """Upside-down letters turned, and read from the end."""
    if _UPSIDE_DOWN.isdisjoint(text) or sum(char in _UPSIDE_DOWN for char in text) < 2:
        return text
    return text.translate(_TURNED)[::-1]
