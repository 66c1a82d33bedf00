"""Disguised spellings that recall is measured under.

Each is a pure function of a text: the same text is always disguised in the same way. All of them
are in wide use and described in public; a guard that reads plain text alone misses every one.
"""

from __future__ import annotations

import base64
import codecs
import random
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

_LOOKALIKES: Final = {
    "a": "аɑα", "b": "ЬƄ", "c": "сϲ", "d": "ԁ", "e": "еҽ", "g": "ɡց", "h": "һհ", "i": "іı",
    "j": "јϳ", "k": "κк", "l": "ӏⅼ", "m": "мⅿ", "n": "ոп", "o": "оοօ", "p": "рρ", "q": "ԛզ",
    "r": "гᴦ", "s": "ѕꜱ", "t": "тτ", "u": "υս", "v": "ѵν", "w": "ԝա", "x": "хχ", "y": "уγ",
    "z": "ᴢ", "а": "aα", "е": "eε", "о": "oο", "р": "pρ", "с": "cϲ", "у": "yγ", "х": "xχ",
    "к": "kκ", "в": "ʙ", "н": "ʜ", "т": "tτ", "м": "mᴍ", "і": "iι",
}  # fmt: skip
"""Letters by what looks like them: of Latin ones, then of Cyrillic ones."""
_LEET: Final = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7", "g": "9", "b": "8"}
_ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff"
_EMOJI: Final = "🔥✨💫🌸⭐🎀"
_MARKS: Final = "".join(
    map(chr, [*range(0x300, 0x30F), *range(0x316, 0x31A), *range(0x323, 0x327)])
)
_MATH: Final = (0x1D400, 0x1D434, 0x1D468, 0x1D4D0, 0x1D5A0, 0x1D5D4, 0x1D63C, 0x1D670)
"""Capital A in the mathematical alphabets without gaps; the small a comes 26 later."""
_JOINERS: Final = frozenset("\u094d\u09cd\u200d")
"""What binds the next letter to the one before."""

Random = random.Random
Fields = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disguise:
    """One disguise; `scripts` names those that it changes, none if any."""

    apply: Callable[[str, Random], str | Fields]
    scripts: frozenset[str] = frozenset()


def disguise(name: str, text: str) -> Fields | None:
    """The fields of a request that carry the disguised text: one, but for `split`.

    None if the disguise does nothing to texts of this script. Raises `KeyError` for another name.
    """
    chosen = DISGUISES[name]
    if chosen.scripts and script(text) not in chosen.scripts:
        return None
    made = chosen.apply(text, random.Random(f"{name}:{text}"))
    fields = (made,) if isinstance(made, str) else made
    return None if fields == (text,) else fields


def script(text: str) -> str:
    """The script of most of the letters, in small letters: `latin`, `cyrillic`, `cjk` …"""
    counts: dict[str, int] = {}
    for letter in text:
        if letter.isalpha():
            name = unicodedata.name(letter, "other").split()[0].lower()
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name], default="")


def letters(text: str) -> list[str]:
    """What a reader takes for one letter: with the marks on it, and with what is bound to it."""
    found: list[str] = []
    for character in text:
        joined = bool(found) and (
            unicodedata.category(character).startswith("M")
            or character in _JOINERS
            or (found[-1][-1] in _JOINERS and character.isalpha())
        )
        if joined:
            found[-1] += character
        else:
            found.append(character)
    return found


def _each(text: str, change: Callable[[str], str]) -> str:
    return "".join(map(change, text))


def _between(word: str, what: Callable[[], str]) -> str:
    first, *others = letters(word)
    return first + "".join(what() + letter for letter in others)


def _within(text: str, what: Callable[[], str], space: str = " ") -> str:
    return space.join(_between(word, what) for word in text.split())


def _homoglyphs(text: str, rng: Random) -> str:
    table = _LOOKALIKES
    return _each(
        text.lower(), lambda letter: rng.choice(table[letter]) if letter in table else letter
    )


def _leet(text: str, rng: Random) -> str:
    return _each(
        text,
        lambda letter: rng.choice(_LEET[letter.lower()]) if letter.lower() in _LEET else letter,
    )


def _zero_width(text: str, rng: Random) -> str:
    return _within(text, lambda: rng.choice(_ZERO_WIDTH))


def _spacing(text: str, _: Random) -> str:
    return _within(text, lambda: " ", "   ")


def _dotted(text: str, rng: Random) -> str:
    mark = rng.choice(".-_*·")
    return _within(text, lambda: mark)


def _emoji(text: str, rng: Random) -> str:
    return _within(text, lambda: rng.choice(_EMOJI))


def _full_width(text: str, _: Random) -> str:
    return _each(text, lambda letter: chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter)


def _styled(letter: str, alphabet: int) -> str:
    if letter.isascii() and letter.isalpha():
        start = ord("a") - 26 if letter.islower() else ord("A")
        return chr(alphabet + ord(letter) - start)
    return letter


def _math(text: str, rng: Random) -> str:
    alphabet = rng.choice(_MATH)
    return _each(text, lambda letter: _styled(letter, alphabet))


def _tags(text: str, _: Random) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(chr(0xE0000 + ord(letter)) for letter in plain)


def _mixed(text: str, rng: Random) -> str:
    def change(letter: str) -> str:
        choices = [letter, *_LOOKALIKES.get(letter, "")]
        if letter.isascii() and letter.isalpha():
            choices += [chr(ord(letter) + 0xFEE0), _styled(letter, rng.choice(_MATH))]
        return rng.choice(choices)

    return _each(text.lower(), change)


def _base64(text: str, _: Random) -> str:
    return base64.b64encode(text.encode()).decode()


def _rot13(text: str, _: Random) -> str:
    return codecs.encode(text, "rot13")


def _reversed(text: str, _: Random) -> str:
    return "".join(reversed(letters(text)))


def _split(text: str, rng: Random) -> Fields:
    pieces, joint = (text.split(), " ") if " " in text.strip() else (letters(text), "")
    count = min(len(pieces), rng.choice((2, 3)))
    cuts = sorted(rng.sample(range(1, len(pieces)), count - 1)) if count > 1 else []
    return tuple(
        joint.join(pieces[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(pieces)], strict=True)
    )


def _repeated(text: str, rng: Random) -> str:
    def stretch(word: str) -> str:
        at = [place for place, letter in enumerate(word) if letter.isalpha()]
        if len(at) < 3:
            return word
        place = rng.choice(at)
        return word[:place] + word[place] * rng.randint(3, 5) + word[place + 1 :]

    return " ".join(map(stretch, text.split()))


def _combining(text: str, rng: Random) -> str:
    def pile(letter: str) -> str:
        return letter + "".join(rng.choices(_MARKS, k=rng.randint(1, 3)))

    return _each(text, lambda letter: pile(letter) if letter.isalpha() else letter)


def _entities(text: str, rng: Random) -> str:
    form = rng.choice(("&#{};", "&#x{:x};"))
    return _each(text, lambda letter: letter if letter == " " else form.format(ord(letter)))


def _percent(text: str, _: Random) -> str:
    if text.isascii():
        return "".join(f"%{byte:02X}" for byte in text.encode())
    return quote(text, safe="")


_LATIN: Final = frozenset({"latin"})
_ALPHABETS: Final = _LATIN | {"cyrillic"}

DISGUISES: Final[Mapping[str, Disguise]] = MappingProxyType(
    {
        "homoglyphs": Disguise(_homoglyphs, _ALPHABETS),
        "leet": Disguise(_leet, _LATIN),
        "zero-width": Disguise(_zero_width),
        "spacing": Disguise(_spacing),
        "dotted": Disguise(_dotted),
        "full-width": Disguise(_full_width, _LATIN),
        "math letters": Disguise(_math, _LATIN),
        "tag characters": Disguise(_tags, _LATIN),
        "emoji": Disguise(_emoji),
        "base64": Disguise(_base64),
        "rot13": Disguise(_rot13, _LATIN),
        "mixed script": Disguise(_mixed, _ALPHABETS),
        "split": Disguise(_split),
        "repeated letters": Disguise(_repeated, _ALPHABETS | {"arabic"}),
        "reversed": Disguise(_reversed),
        "combining marks": Disguise(_combining, _ALPHABETS),
        "entities": Disguise(_entities),
        "percent": Disguise(_percent),
    }
)
"""Every disguise by its name."""
