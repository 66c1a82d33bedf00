"""Readings of a text: what it says as written, and once disguised spelling is undone.

A text is read as it stands, and again with look-alike letters folded, letters that stand apart
joined, digits and signs taken for letters, and encoded parts decoded, each only where the text
gives cause to. Folding harms genuine words of other scripts, so no reading replaces another: scan
them all. `docs/design/text-views.md` says what was measured and rejected.

How the work is bounded: every step is one pass over the text, there are at most `MOST` readings,
and encodings are undone at most `DEPTH` deep.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Final
from urllib.parse import unquote

MOST: Final = 8
"""Readings of one text, at most."""
DEPTH: Final = 2
"""Encodings within encodings that are undone."""

COMMON: Final = frozenset(
    "the and of to in is it you that he was for on are with as his they at be this have from or "
    "had by not but what all were we when your can said there use an each which she do how their "
    "if will up about out many then them these so some her would make like him into time has look "
    "two more see no way could people my than been who its now find long down day did get come "
    "made may part over new take only little work know place year live me back give most very "
    "after our just name good man think say great where help through much before line right too "
    "old any same tell boy girl want show photo picture image woman child una los las del que con "
    "por para der die und ein eine mit von les des une dans est pour sur avec bir ve dan yang na "
    "ya wa het een van jest nie".split()  # noqa: SIM905
)
"""Frequent words: by default, a text is deciphered only where some of them come out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way of reading a text. `how` names the steps, never words of the text."""

    text: str
    how: str


# --- What is seen as nothing ---------------------------------------------------------------

_ODD = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u0640\u06dd\u070f\u115f"
    "\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffc\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_INVISIBLE = re.compile(f"[{_ODD}]+")
_STACKED = re.compile(f"[{_MARKS}]+")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINES = re.compile(r"\s*\n\s*")


@cache
def _combining() -> re.Pattern[str]:
    """Runs of marks that composition would sort: long ones take quadratic time."""
    marks = "".join(chr(c) for c in range(0x300, 0x1E950) if unicodedata.combining(chr(c)))
    return re.compile(f"([{marks}]{{4}})[{marks}]+")


def _clean(text: str) -> str:
    """NFKC without what is not seen; case and spacing stay."""
    if text.isascii():
        return _INVISIBLE.sub("", text)
    text = _INVISIBLE.sub("", text)
    text = unicodedata.normalize("NFKC", _combining().sub(r"\1", text))
    return _STACKED.sub("", _INVISIBLE.sub("", text)).replace("\u2800", " ")


def _even(text: str) -> str:
    """Lower-case, with one space or one line break between words."""
    text = text.lower()
    if not text.isascii():
        # Capital dotted I gives a mark of its own.
        text = unicodedata.normalize("NFKC", text.replace("i\u0307", "i"))
    if "\n" in text:
        text = _LINES.sub("\n", text)
    return _SPACES.sub(" ", text).strip()


def plain(text: str) -> str:
    """The form that every reading but the first one has; for entries that are to match it.

    Lower-case NFKC without invisible characters, stacked marks and needless spaces.
    """
    return _even(_clean(text))


# --- Look-alike letters --------------------------------------------------------------------


@cache
def _tables() -> tuple[dict[int, str], frozenset[str], dict[int, str]]:
    """All look-alikes; those of living scripts that are sure; Latin letters as Cyrillic ones."""
    file = resources.files(__package__) / "lookalikes.tsv"
    fold: dict[int, str] = {}
    sure: set[str] = set()
    for line in file.read_text("utf-8").splitlines():
        letter, alike, style = line.split("\t")
        fold |= {ord(char): letter for char in alike + style}
        sure |= {char for char in alike if _FOREIGN.match(char)}
    latin = dict(zip(map(ord, "aAeEoOpPcCxXyYiIkKMTBH3"), "аАеЕоОрРсСхХуУіІкКМТВНз", strict=True))
    return fold, frozenset(sure), latin


_FOREIGN = re.compile(
    r"[\u0370-\u058f\u10a0-\u10ff\u13a0-\u13ff\u2c80-\u2cff\ua4d0-\ua4ff\uab70-\uabbf]"
)
_OTHER = re.compile(r"[^\s\x00-\x7f]")
_TOKEN = re.compile(r"\S*[^\s\x00-\x7f]\S*")
_EAST = re.compile(
    r"[\u0590-\u0dff\u0e00-\u0fff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)


def _folded(text: str) -> str:
    """Look-alikes as Latin letters, in words that mix scripts or hold nothing else."""
    fold, sure, _ = _tables()
    if not any(ord(char) in fold for char in set(text)):
        return text
    words = _TOKEN.findall(text)
    foreign = [word for word in words if not _mixed(word)]
    alike = [word for word in foreign if all(c in sure for c in word if c.isalpha())]
    letters = sum("a" <= char <= "z" for char in text.lower())
    every = len(foreign) < len(words) or len(alike) == len(foreign) or 2 * letters > len(text)

    def turn(match: re.Match[str]) -> str:
        word = match[0]
        if _mixed(word):
            east = [char for char in word if _EAST.match(char)]
            if all(ord(char) in fold for char in east):
                return word.translate(fold)
            return word
        if every and all(c in sure for c in word if c.isalpha()):
            return word.translate(fold)
        return word

    return _TOKEN.sub(turn, text)


def _mixed(word: str) -> bool:
    """Whether a word has characters of more than one living script, or signs used as letters."""
    kinds = set()
    for char in word:
        if "a" <= char.lower() <= "z":
            kinds.add("latin")
        elif char > "\x7f":
            if _EAST.match(char):
                kinds.add("east")
            elif _FOREIGN.match(char):
                kinds.add(unicodedata.name(char, " ").split(" ", 1)[0])
            elif ord(char) in _tables()[0]:
                return True
    return len(kinds) > 1


def _cyrillic(text: str) -> str:
    """Latin letters inside Cyrillic words as Cyrillic ones."""
    latin = _tables()[2]

    def turn(match: re.Match[str]) -> str:
        word = match[0]
        own = sum("\u0400" <= char <= "\u04ff" and char not in _tables()[1] for char in word)
        return word.translate(latin) if own else word

    return _TOKEN.sub(turn, text)


# --- Letters that stand apart --------------------------------------------------------------

_GAP = (
    r"[ \t\n\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\xa0-\xbf\xd7\xf7\u2000-\u2bff\u2e00-\u2e7f"
    r"\u3000-\u303f\U0001f000-\U0001faff]"
)
# In these scripts a letter goes on with marks that aren't word characters.
_GOES_ON = r"\u0300-\u036f\u0590-\u05ff\u0610-\u06ff\u0900-\u0dff\u0e00-\u109f\u1780-\u17ff"
_ONE = rf"(?:[^\W_](?![^\W_])(?![{_GOES_ON}])|[@$€£!|](?!\w))"
_APART = re.compile(rf"(?<![^\W_])(?<![{_GOES_ON}]){_ONE}(?:{_GAP}{{1,3}}?{_ONE}){{2,}}")
_STEP = re.compile(rf"({_GAP}{{1,3}}?)({_ONE})")


def _joined(text: str, words: Set[str]) -> str:
    """Runs of three or more single letters as words; wider gaps part them."""

    def turn(match: re.Match[str]) -> str:
        run = match[0]
        steps = [(len(gap) - len("".join(gap.split())), one) for gap, one in _STEP.findall(run, 1)]
        if sum(char.isalpha() for char in (run[0], *(one for _, one in steps))) < 2:
            return run
        widths = [width for width, _ in steps]
        usual = min(set(widths), key=lambda width: (-widths.count(width), width))
        parts = [run[0]]
        for width, one in steps:
            if width > usual:
                parts.append(one)
            else:
                parts[-1] += one
        return " ".join(_parted(part.lower(), words) if len(part) > 3 else part for part in parts)

    return _APART.sub(turn, text)


def _parted(letters: str, words: Set[str], longest: int = 20) -> str:
    """Letters written without word borders, parted where known words cover most of them."""
    if letters in words or not words:
        return letters
    # Cost of the best parting of the letters so far; an unknown letter costs more than a word.
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(letters) + 1):
        cost, start = best[end - 1][0] + 4, end - 1
        for first in range(max(0, end - longest), end):
            if letters[first:end] in words or letters[first:end].isdecimal():
                known = best[first][0] + (1 if end - first > 2 else 3)
                if known < cost:
                    cost, start = known, first
        best.append((cost, start))
    if best[-1][0] > 2 * len(letters):
        return letters
    parts, end = [], len(letters)
    while end:
        start = best[end][1]
        parts.append((letters[start:end], end - start > 1 or letters[start:end] in words))
        end = start
    out = ""
    known_before = True
    for part, known in reversed(parts):
        out += (" " if out and (known or known_before) else "") + part
        known_before = known
    return out


# --- Digits and signs as letters, letters repeated -----------------------------------------

_SIGNS: Final = {
    "0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b",
    "9": "g", "@": "a", "$": "s", "!": "il", "|": "il", "€": "e", "£": "l", "+": "t", "(": "c",
    "<": "c", "^": "a", "#": "h", "¡": "i",
}  # fmt: skip
_DRAWN: Final = (
    ("/\\/\\", "m"), ("|\\/|", "m"), ("\\/\\/", "w"), ("|\\|", "n"), ("/\\", "a"), ("\\/", "v"),
    ("|_|", "u"), ("(_)", "u"), ("|-|", "h"), ("}{", "h"), ("|<", "k"), ("|)", "d"), ("|>", "p"),
    ("|3", "b"), ("|=", "f"), ("|2", "r"), ("()", "o"), ("[]", "o"), ("><", "x"),
)  # fmt: skip
_CAUSE = re.compile(r"[^\W\d_][0-9@$!|€£+(<^#¡]+[^\W_]|[0-9@$|€£(<¡!]+[^\W\d_]|[^\W\d_][0-9$@]")
_CHUNK = re.compile(r"[^\s,;:\"?._/\u2010-\u2015-]+")
_AMOUNT = re.compile(
    r"\d+(?:k|p|d|x|mm|cm|m|km|mp|px|st|nd|rd|th|s|yo|y|yr|yrs|years?|girls?|boys?|others?|fps|hz"
    r"|khz|mhz|ghz|gb|mb|kb|tb|bit|h|hr|hrs|min|mins|sec|am|pm|kg|g|lb|lbs|ft|in|inch|pcs?|ml|l|w"
    r"|v|mah|b|t|f|c|a|e|r|n|er|ers|week|weeks|month|months|day|days)s?|\d+x\d+(?:px)?"
    r"|[a-z]\d+|[a-z]+\d{3,}|[a-z]?\d+[a-z]?\d*"
)
_AGAIN = re.compile(r"([^\W\d_])\1{2,}")


def _unsigned(text: str, words: Set[str], other: bool) -> str:
    """Digits and signs inside words as letters. `other`: the second choice where two fit."""
    if not _CAUSE.search(text):
        return text
    for drawn, letter in _DRAWN:
        if drawn in text:
            text = re.sub(rf"(?<=\w){re.escape(drawn)}|{re.escape(drawn)}(?=\w)", letter, text)
    closed = ")" in text or ">" in text

    def turn(match: re.Match[str]) -> str:
        token = match[0]
        if token.isalpha() or _AMOUNT.fullmatch(token):
            return token
        head = "" if token[0] not in "(<+^#" or (token[0] in "(<" and not closed) else token[0]
        body = token[len(head) :].rstrip("!|+(<^#)>")
        tail = token[len(head) + len(body) :]
        if not any(char.isalpha() for char in body) or all(c.isalpha() for c in body):
            return token
        return head + _spelt(body, words, other) + tail

    return _CHUNK.sub(turn, text)


def _spelt(token: str, words: Set[str], other: bool) -> str:
    """The likeliest letters of a word with signs: a known word, or vowels between consonants."""
    choices = [_SIGNS.get(char, char) for char in token]
    if words and len(token) <= 24:
        count = 1
        for choice in choices:
            count *= len(choice)
        if 1 < count <= 64:
            for letters in product(*choices):
                if "".join(letters) in words:
                    return "".join(letters)
    out = ""
    for at, choice in enumerate(choices):
        if len(choice) == 1:
            out += choice
        elif other:
            out += choice[1]
        elif choice == "il":
            beside = (out[-1:], choices[at + 1][:1] if at + 1 < len(choices) else "")
            out += "l" if any(char and char in "aeiou" for char in beside) else "i"
        else:
            out += choice[0]
    return out


def _single(text: str, words: Set[str], other: bool) -> str:
    """Letters written three times or more once, or twice."""
    if not _AGAIN.search(text):
        return text

    def turn(match: re.Match[str]) -> str:
        token = match[0]
        once, twice = _AGAIN.sub(r"\1", token), _AGAIN.sub(r"\1\1", token)
        if once in words:
            return once
        return twice if twice in words or other else once

    return re.sub(r"\w*([^\W\d_])\1{2}\w*", turn, text)


def _letters(text: str, words: Set[str]) -> tuple[str, str]:
    """Every step on the letters of a text, with the first and the second choice."""
    joined = _joined(_folded(text), words).lower()
    first, second = (
        _even(_single(_unsigned(joined, words, other), words, other)) for other in (False, True)
    )
    return first, second


# --- Encodings -----------------------------------------------------------------------------

_ESCAPED = re.compile(
    r"\\u\{?([0-9a-fA-F]{4,6})\}?|\\[xX]([0-9a-fA-F]{2})|[uU]\+([0-9a-fA-F]{4,6})"
)
_QUOTED = re.compile(r"(?:=[0-9A-F]{2}){2,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_BASE32 = re.compile(r"[A-Z2-7]{8,}={1,6}|[A-Z2-7]{16,}|[a-z2-7]{8,}={1,6}")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{2}(?:[\s:,-]?(?:0x)?[0-9a-fA-F]{2}){3,}")
_BITS = re.compile(r"[01]{7,8}(?:[\s,]*[01]{7,8}){2,}")
_CODES = re.compile(r"\d{2,3}(?:[\s,;]+\d{2,3}){3,}")
_MORSE = re.compile(r"[.\-]{1,5}(?:[ /|]+[.\-]{1,5}){3,}")
_UNEVEN = re.compile(r"[a-z][A-Z0-9+/]|[0-9+/][A-Za-z]|[A-Z][A-Z0-9]+[a-z]|=$")
_TAGS = re.compile(r"(?<=\w)<[a-zA-Z/!][^<>]{0,200}>(?=\w)")
_HIDDEN = re.compile(r"[\U000e0020-\U000e007e]+")
_SELECTED = re.compile(r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_BACKWARDS = re.compile("[\u202e\u2067]([^\u202c\u202d\u2069\n]*)[\u202c\u2069\u202d]?")
_MORSE_LETTERS = dict(
    zip(
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- "
        ".-- -..- -.-- --..".split(),  # noqa: SIM905
        "abcdefghijklmnopqrstuvwxyz",
        strict=True,
    )
)


def _said(data: bytes) -> str | None:
    """Bytes as text, if they are mostly letters of one."""
    for encoding in ("utf-8", "utf-16"):
        if encoding == "utf-16" and (len(data) < 4 or b"\0" not in data):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        seen = sum(char.isprintable() or char in "\n\t" for char in text)
        letters = sum(char.isalnum() or char == " " for char in text)
        if len(text) > 2 and seen == len(text) and letters >= 0.7 * len(text):
            return text
    return None


def _base64(match: re.Match[str]) -> str:
    token = match[0]
    if not _UNEVEN.search(token):
        return token
    bare = token.rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) % 4 == 1:
        return token
    try:
        said = _said(base64.b64decode(bare + "=" * (-len(bare) % 4)))
    except (binascii.Error, ValueError):
        return token
    return token if said is None else f" {said} "


def _base32(match: re.Match[str]) -> str:
    bare = match[0].rstrip("=").upper()
    try:
        said = _said(base64.b32decode(bare + "=" * (-len(bare) % 8)))
    except (binascii.Error, ValueError):
        return match[0]
    return match[0] if said is None else f" {said} "


def _hex(match: re.Match[str]) -> str:
    digits = re.sub(r"0x|[\s:,-]", "", match[0])
    said = _said(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None
    return match[0] if said is None else f" {said} "


def _bits(match: re.Match[str]) -> str:
    groups = re.findall(r"[01]{7,8}", match[0])
    said = _said(bytes(int(group, 2) for group in groups))
    return match[0] if said is None else f" {said} "


def _codes(match: re.Match[str]) -> str:
    codes = [int(code) for code in re.findall(r"\d+", match[0])]
    said = _said(bytes(codes)) if max(codes) < 128 else None
    return match[0] if said is None else f" {said} "


def _morse(match: re.Match[str]) -> str:
    said = "".join(_MORSE_LETTERS.get(sign, " ") for sign in re.split("[ |]|/", match[0]))
    return f" {said} "


def _escape(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3], 16)
    return chr(code) if code <= sys.maxunicode else match[0]


def _decoded(text: str) -> str:
    """A text with each encoded part put in clear."""
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
    if not text.isascii():
        if _HIDDEN.search(text):
            text = _HIDDEN.sub(lambda m: "".join(chr(ord(c) - 0xE0000) for c in m[0]), text)
        if _SELECTED.search(text):
            text = _SELECTED.sub(_selected, text)
        if "\u202e" in text or "\u2067" in text:
            text = _BACKWARDS.sub(lambda m: m[1][::-1], text)
    if _UNEVEN.search(text):
        text = _BASE64.sub(_base64, text)
    text = _BASE32.sub(_base32, text)
    if any(char.isdigit() for char in text):
        for pattern, turn in ((_BITS, _bits), (_HEX, _hex), (_CODES, _codes)):
            text = pattern.sub(turn, text)
    if "." in text or "-" in text:
        text = _MORSE.sub(_morse, text)
    return text


def _selected(match: re.Match[str]) -> str:
    codes = (ord(char) for char in match[0])
    said = _said(bytes(c - 0xFE00 if c < 0xFF00 else c - 0xE0100 + 16 for c in codes))
    return match[0] if said is None else f" {said} "


# --- Ciphers -------------------------------------------------------------------------------

_ABC = "abcdefghijklmnopqrstuvwxyz"
_ROT13 = str.maketrans(_ABC + _ABC.upper(), _ABC[13:] + _ABC[:13] + (_ABC[13:] + _ABC[:13]).upper())
_ATBASH = str.maketrans(_ABC + _ABC.upper(), _ABC[::-1] + _ABC[::-1].upper())
_ROT47 = {code: chr(33 + (code - 33 + 47) % 94) for code in range(33, 127)}
_TURNED = str.maketrans(
    "ɐɔǝɟƃɓɥᴉıɾʞlꞁɯɹʇʌʍʎbqdpnu" + "∀ƆƎℲ⅁⅂Ԁᴚ⊥∩Λ⅄MW",
    "acefgghiijkllmrtvwyqbpdun" + "acefglprtuvywm",
)
_CIPHERS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("rot13", lambda text: text.translate(_ROT13)),
    ("backwards", lambda text: text[::-1]),
    ("atbash", lambda text: text.translate(_ATBASH)),
)
_LATIN_WORD = re.compile(r"[^\W\d_]{3,}")


def _turned(text: str) -> str:
    """Upside-down letters, read from the end."""
    marks = sum(char in "ɐɔǝɟƃɥɾʞɯɹʇʌʍʎ" for char in text)
    return text.translate(_TURNED)[::-1] if marks > 1 else text


def _tells(text: str, words: Set[str]) -> bool:
    """Whether deciphering gave words: two known ones, or one that is no accident."""
    found = {word for word in _LATIN_WORD.findall(text) if word in words}
    return len(found) > 1 or any(len(word) > 5 for word in found)


# --- Emoji ---------------------------------------------------------------------------------

_EMOJI = re.compile("[\u2600-\u27bf\u2b50-\u2b55\U0001f300-\U0001faff]")
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")


def _named(text: str) -> str:
    """Emoji as their names."""
    return _EMOJI.sub(lambda m: f" {unicodedata.name(m[0], '').lower()} ", _SKIN.sub("", text))


# --- All together --------------------------------------------------------------------------


def _candidates(text: str, words: Set[str]) -> Iterator[Reading]:
    clean = _clean(text)
    yield Reading(_even(clean), "plain")
    known = words | COMMON if words else COMMON
    todo = [(text, clean, "", 0)]
    while todo:
        raw, seen, how, depth = todo.pop(0)
        first, second = _letters(seen, words)
        yield Reading(first, how + "letters")
        yield Reading(second, how + "other letters")
        if not seen.isascii():
            yield Reading(_even(_cyrillic(seen)), how + "Cyrillic")
            yield Reading(_letters(_turned(seen), words)[0], how + "upside down")
            yield Reading(_even(_named(seen)), how + "emoji")
        if depth == DEPTH:
            continue
        decoded = _decoded(raw)
        if decoded != raw:
            inner = _clean(decoded)
            yield Reading(_even(inner), how + "decoded")
            todo.append((decoded, inner, how + "decoded, ", depth + 1))
        for name, turn in _CIPHERS:
            turned = _letters(turn(seen), words)[0]
            if _tells(turned, known):
                yield Reading(turned, how + name)
                if name == "backwards":
                    yield Reading(" ".join(reversed(turned.split())), how + "words backwards")


def readings(text: str, words: Set[str] = frozenset()) -> tuple[Reading, ...]:
    """The readings of a text: as written first, then every other that differs, `MOST` at most.

    All but the first are as `plain` gives them. `words` are the lower-case words that matter to
    the caller: where signs, missing word borders or a cipher leave a choice, they decide.
    """
    found = {text: Reading(text, "as written")}
    for reading in _candidates(text, words):
        if reading.text and reading.text not in found:
            found[reading.text] = reading
            if len(found) == MOST:
                break
    return tuple(found.values())
