"""Lexicon: the words of each language by the role that they play, and where they stand in a text.

A lexicon is a TOML file in `lexicons/`, one a language; its first lines say how entries are
written. All languages are looked for at once, in one pass over the words of a text: each word is
looked up once, entries of several words are walked in a tree from their first word on.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

ROLES: Final = (
    "child", "infant", "marked", "own", "young", "adult", "person", "known", "picture", "undress",
    "bare", "nudify", "clothes", "garment", "remove", "lacking", "doing", "spot", "lying", "sexual",
    "suggestive", "make", "tool", "fake", "seek", "groom", "coax", "contact", "secret", "unseen",
    "romance", "abuse", "send", "place", "justify", "self", "code", "drawn", "exploit", "negation",
    "swim", "bath", "medical", "parenting", "art", "dance", "daily", "nature", "idiom", "protect",
    "ask", "told", "plea", "carer",
)  # fmt: skip
"""Every role that a lexicon may list words for."""
NEEDED: Final = (
    "child", "young", "adult", "person", "picture", "undress", "clothes", "remove", "sexual",
    "make", "seek", "groom", "exploit", "negation",
)  # fmt: skip
"""Roles that a lexicon can't do without."""
HIDING: Final = frozenset({"nature", "idiom"})
"""Roles whose entries hide every other role of the words that they cover."""


class LexiconError(ValueError):
    """A lexicon is not written as it should be. The message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of one language."""

    language: str
    """ISO 639-1."""
    name: str
    script: str
    cues: Mapping[str, tuple[str, ...]] = field(repr=False)
    patterns: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict, repr=False)
    grades: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    """Its most frequent words."""
    unspaced: bool = False
    strict: bool = False
    """Whether `person` alone is nobody in particular, and `known` lists who is; and whether what is
    `told` counts as told only beside a `plea`."""
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    homographs: frozenset[str] = frozenset()
    """Entries that are everyday words elsewhere …"""
    everyday: frozenset[str] = frozenset()
    """… and everyday words here that are entries elsewhere."""

    @classmethod
    def parse(cls, text: str, name: str) -> Lexicon:
        """The lexicon that a TOML file holds. Raises `LexiconError`."""
        try:
            given = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise LexiconError(f"{name}: {error}") from error
        known = {
            "language",
            "name",
            "script",
            "unspaced",
            "prefixes",
            "suffixes",
            "homographs",
            "strict",
        }
        _only(given, known | {"everyday", "cues", "ages"}, name)
        for key in ("language", "name", "script"):
            if not isinstance(given.get(key), str) or not given[key]:
                raise LexiconError(f"{name}: {key} should be a text")
        cues = given.get("cues", {})
        ages = given.get("ages", {})
        if not isinstance(cues, dict) or not isinstance(ages, dict):
            raise LexiconError(f"{name}: cues and ages should be tables")
        _only(cues, {*ROLES, "common"}, f"{name}: cues")
        _only(ages, {"patterns", "numbers", "grades"}, f"{name}: ages")
        words = {role: _entries(cues.get(role, []), f"{name}: {role}") for role in ROLES}
        if missing := [role for role in NEEDED if not words[role]]:
            raise LexiconError(f"{name}: no words for {', '.join(missing)}")
        patterns = _entries(ages.get("patterns", []), f"{name}: patterns")
        if any(pattern.count("{n}") != 1 for pattern in patterns):
            raise LexiconError(f"{name}: a pattern of an age has one {{n}}")
        numbers = ages.get("numbers", {})
        if not isinstance(numbers, dict) or not all(
            isinstance(number, int) and 0 <= number <= 120 for number in numbers.values()
        ):
            raise LexiconError(f"{name}: numbers should be words for whole numbers")
        return cls(
            given["language"],
            given["name"],
            given["script"],
            words,
            patterns,
            {word.lower(): number for word, number in numbers.items()},
            _entries(ages.get("grades", []), f"{name}: grades"),
            _entries(cues.get("common", []), f"{name}: common"),
            given.get("unspaced", False) is True,
            given.get("strict", False) is True,
            _entries(given.get("prefixes", []), f"{name}: prefixes"),
            _entries(given.get("suffixes", []), f"{name}: suffixes"),
            frozenset(_entries(given.get("homographs", []), f"{name}: homographs")),
            frozenset(_entries(given.get("everyday", []), f"{name}: everyday")),
        )


def _only(given: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise LexiconError(f"{place}: unknown {', '.join(unknown)}")


def _entries(given: object, place: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(entry, str) for entry in given):
        raise LexiconError(f"{place} should be a list of texts")
    for entry in given:
        words = entry.replace("*", " ").replace("_", " ").replace("{n}", " ").strip()
        if not words or entry != unicodedata.normalize("NFC", entry).lower().strip():
            raise LexiconError(f"{place}: {entry!r} should be lower-case words")
        if "*" in entry.replace("* ", "  ").rstrip("*") or entry.split()[0] in {"_", "*"}:
            raise LexiconError(f"{place}: {entry!r}: * ends a word, and a gap has words around it")
    return tuple(dict.fromkeys(given))


@cache
def shipped() -> tuple[Lexicon, ...]:
    """Every lexicon of the package, English first."""
    folder = resources.files(__package__) / "lexicons"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")),
        key=lambda file: (file.name != "en.toml", file.name),
    )
    return tuple(Lexicon.parse(file.read_text("utf-8"), file.name) for file in files)
