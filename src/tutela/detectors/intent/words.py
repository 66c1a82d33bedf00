"""Words: where the entries of all lexicons stand in a text, found in one pass.

Every word is looked up once; entries of several words are walked in a tree from their first word
on, with gaps bounded in number and length. So the time is linear in the text, whatever it says.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from tutela.detectors.intent.lexicon import HIDING, ROLES, Lexicon, shipped

AGE: Final = "age"
"""Role of an age below 18 years …"""
GROWN: Final = "grown"
"""… and of one from 18 on."""
GRADE: Final = "grade"
"""Role of a school year that means a minor."""
ALL: Final = (*ROLES, AGE, GROWN, GRADE)
NUMBER: Final = {name: number for number, name in enumerate(ALL)}
GAP: Final = 6
"""Words that may stand in the gap of an entry …"""
UNSPACED_GAP: Final = 8
"""… or characters, in a language written without spaces."""
MINORITY: Final = 18
OLDEST: Final = 120
LAST_GRADE: Final = 13
KEPT: Final = 1 << 15
"""Words whose look-up is remembered."""
LONGEST: Final = 40
"""Characters of a word that are looked at; no entry is longer."""
SHORT: Final = 4
"""An entry of one word of so few letters, or fewer, counts only where the text is in its language,
if it was stripped of its accents."""
CHARACTER: Final = 0.5
"""How far a character of a script without spaces moves on, in words."""

HINT: Final = 0.3
"""What an entry tells of the language of a text, against a frequent word."""

_SINGLE = (
    "\u0e00-\u0eff\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06ed\u0900-\u0963\u0971-\u09e5\u09f0-\u0a65\u0a70-\u0ae5\u0af0-\u0b65\u0b70-\u0be5"
    "\u0bf0-\u0c65\u0c70-\u0ce5\u0cf0-\u0d65\u0d70-\u0de5\u1000-\u103f\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u20d0-\u20f0"
)
_WORD = re.compile(
    rf"[{_SINGLE}]|\d+|(?:[{_MARKS}]|(?![{_SINGLE}])[^\W\d_])+"
    r"|[.!?;]+(?=\s|$)|\n+|[。！？；।॥؟۔…]+|[,:،、，：]"
)
_PLAIN = re.compile(r"[a-z]+|\d+|[.!?;]+(?=\s|$)|\n+|[,:]")
_DROPPED = dict.fromkeys(map(ord, "'’‘ʼ`´\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_ELIDED = re.compile(
    r"\b(l|d|j|m|n|s|t|c|qu|lorsqu|puisqu|jusqu|un|all|dell|nell|dall|sull|quell|quest|dov|com)"
    r"['’](?=[^\W\d_]{2})"
)
"""Short words that French and Italian join to the next with an apostrophe."""
_ENDS = frozenset(".!?;\n。！？；।॥؟۔…")
_PAUSES = frozenset(",:،、，：")
_SINGLES = re.compile(f"[{_SINGLE}]")


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that stands in a text: words `start` to `end` (not included)."""

    start: int
    end: int
    language: int
    """Number of the lexicon."""
    gapped: bool = False
    """Whether other words stand between its own."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text in words, and the roles that they play."""

    words: Sequence[str] = field(repr=False)
    places: Sequence[float]
    """How far each word is from the beginning, in words."""
    sentences: Sequence[int]
    """The sentence that each word is in …"""
    clauses: Sequence[int]
    """… and the part of a sentence between commas."""
    roles: Sequence[Sequence[Hit]]
    """Hits of each of `ALL`, by where they begin."""
    languages: tuple[float, ...]
    """How many of its words are common ones of each lexicon."""

    def __getitem__(self, role: str) -> Sequence[Hit]:
        return self.roles[NUMBER[role]]


class _Node:
    """What may follow the words so far."""

    __slots__ = ("ends", "gap", "next")

    def __init__(self) -> None:
        self.next: dict[int, _Node] = {}
        self.gap: _Node | None = None
        self.ends: tuple[tuple[int, int, bool, int], ...] = ()
        """Role, language, whether it counts only in that language, age (-1: the number read)."""

    def follow(self, word: int) -> _Node:
        """What may follow a word behind these; made where nothing did yet."""
        node = self.next.get(word)
        if node is None:
            node = self.next[word] = _Node()
        return node


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a word."""

    ids: tuple[int, ...]
    starts: tuple[_Node, ...]
    """Where entries that begin with it go on."""
    value: int
    """A number in digits, or -1."""
    common: tuple[tuple[int, float], ...]
    """Languages that it is a common word of, and how much that says."""
    everyday: frozenset[int]
    """Languages that it is an ordinary word of: that it is an entry of another language then counts
    only in a text in that other language."""


def fold(word: str) -> str:
    """A word without its accents."""
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFD", word)
    plain = "".join(char for char in parts if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", plain).replace("ı", "i").replace("ł", "l").replace("đ", "d")


def _pieces(word: str) -> list[str]:
    """`split` of a word of an entry: a plain one is its only piece."""
    return [word] if word.isascii() and word.isalpha() and word.islower() else split(word)


def split(text: str) -> list[str]:
    """The words of a text in lower case, numbers and what ends a sentence or a part of one."""
    text = text.lower()
    if "'" in text or "’" in text:
        text = _ELIDED.sub(r"\1 ", text)
    text = text.translate(_DROPPED)
    if text.isascii():
        return _PLAIN.findall(text)
    return _WORD.findall(unicodedata.normalize("NFC", text))


class Words:
    """The entries of lexicons, ready to be found. Safe to share between threads."""

    def __init__(self, lexicons: Sequence[Lexicon]) -> None:
        self.lexicons = tuple(lexicons)
        self._exact: dict[str, int] = {}
        self._begins: dict[str, int] = {}
        self._root = _Node()
        self._common: dict[str, list[int]] = {}
        self._numbers: dict[str, list[tuple[int, int]]] = {}
        self._kept: dict[str, _Known] = {}
        self._affixes = [
            (number, lexicon.prefixes, lexicon.suffixes)
            for number, lexicon in enumerate(self.lexicons)
            if lexicon.prefixes or lexicon.suffixes
        ]
        for number, lexicon in enumerate(self.lexicons):
            for word in lexicon.common:
                for form in {word, fold(word)} if len(word) > 1 else {word}:
                    self._common.setdefault("".join(_pieces(form)), []).append(number)
        everyday: dict[str, set[int]] = {}
        for number, lexicon in enumerate(self.lexicons):
            for word in (*lexicon.everyday, *lexicon.common):
                everyday.setdefault("".join(_pieces(word)), set()).add(number)
            for entries in lexicon.cues.values():
                for entry in entries:
                    if " " not in entry and not entry.endswith("*"):
                        everyday.setdefault("".join(_pieces(entry)), set()).add(number)
        self._everyday = {word: frozenset(numbers) for word, numbers in everyday.items()}
        shared = self._shared()
        for number, lexicon in enumerate(self.lexicons):
            self._add(number, lexicon, shared)
        self.telling = frozenset(
            word for word in (*self._exact, *self._begins) if len(word) > 2 and word.isalpha()
        )
        """The words of all entries: by them disguised spelling is told."""
        self.strict = frozenset(
            number for number, lexicon in enumerate(self.lexicons) if lexicon.strict
        )
        """Languages whose lexicons are strict."""

    def read(self, pieces: Iterable[str]) -> Text:
        """The roles in a text that was split. Linear in its length."""
        words: list[str] = []
        sentences: list[int] = []
        clauses: list[int] = []
        places: list[float] = []
        known: list[_Known] = []
        spoken = [0.0] * len(self.lexicons)
        sentence = clause = 0
        place = 0.0
        kept = self._kept
        for word in pieces:
            first = word[0]
            if first in _ENDS:
                sentence += 1
                clause += 1
                continue
            if first in _PAUSES:
                clause += 1
                continue
            what = kept.get(word) or self._look(word)
            words.append(word)
            known.append(what)
            sentences.append(sentence)
            clauses.append(clause)
            places.append(place)
            place += CHARACTER if len(word) == 1 and not word.isascii() else 1.0
            for language, weight in what.common:
                spoken[language] += weight
        roles = self._walk(known, sentences, clauses, _home(spoken))
        return Text(words, places, sentences, clauses, roles, tuple(spoken))

    def _walk(
        self,
        known: Sequence[_Known],
        sentences: Sequence[int],
        clauses: Sequence[int],
        home: Sequence[bool],
    ) -> list[list[Hit]]:
        found: list[dict[int, Hit]] = [{} for _ in ALL]
        age, grown, grade = NUMBER[AGE], NUMBER[GROWN], NUMBER[GRADE]
        hiding = [NUMBER[name] for name in HIDING]
        count = len(known)
        for start, what in enumerate(known):
            stack = [(node, start + 1, what.value, False) for node in what.starts]
            while stack:
                node, at, value, gapped = stack.pop()
                for role, language, bound, fixed in node.ends:
                    if not home[language] and (
                        bound or (at == start + 1 and what.everyday - {language})
                    ):
                        continue
                    if role in hiding and clauses[start] != clauses[at - 1]:
                        continue
                    if role in (age, grade):
                        years = value if fixed < 0 else fixed
                        if years < 0:
                            continue
                        if role == grade:
                            if years > LAST_GRADE:
                                continue
                        elif years >= MINORITY:
                            if years > OLDEST:
                                continue
                            role = grown
                    mine = found[role]
                    old = mine.get(start)
                    if old is None or old.end < at:
                        mine[start] = Hit(start, at, language, gapped)
                if at >= count:
                    continue
                if node.next:
                    here = known[at]
                    for word in here.ids:
                        follow = node.next.get(word)
                        if follow is not None:
                            read = here.value if here.value >= 0 else value
                            stack.append((follow, at + 1, read, gapped))
                if node.gap is not None:
                    beyond = node.gap.next
                    last = min(count, at + self._gap(known, at))
                    for skip in range(at, last):
                        if sentences[skip] != sentences[start]:
                            break
                        for word in known[skip].ids:
                            follow = beyond.get(word)
                            if follow is not None:
                                stack.append((follow, skip + 1, value, gapped or skip > at))
        return _unhidden(found, count)

    def _gap(self, known: Sequence[_Known], at: int) -> int:
        return 1 + (UNSPACED_GAP if known[at].value == _SINGLE_CHARACTER else GAP)

    def _look(self, word: str) -> _Known:
        """Look a word up, and remember it."""
        whole, word = word, word[:LONGEST]
        value = -1
        if word.isdecimal():
            value = int(word) if len(word) <= 3 else OLDEST + 1
        elif len(word) == 1 and _SINGLES.match(word):
            value = _SINGLE_CHARACTER
        ids = list(self._ids(word))
        if not word.isascii():
            # Entries without accents are found under any: marks are a disguise as often as not.
            bare = fold(word)
            if not ids or (bare.isascii() and len(bare) >= SHORT):
                ids += self._ids(bare)
        if not ids and self._affixes and value == -1:
            ids = self._bare(word)
        if value >= 0:
            ids.append(_DIGITS)
        ids += [_number(language) for language, _ in self._numbers.get(word, ())]
        starts = [self._root.next[one] for one in ids if one in self._root.next]
        everyday = self._everyday.get(word, frozenset()) | _first(starts)
        frequent = self._common.get(word)
        # A word that is no frequent one says a little of its language too.
        hits = {language for node in starts for _, language, bound, _ in node.ends if not bound}
        meant = everyday | frozenset(frequent or ()) or hits
        weight = (1.0 if frequent else HINT) / max(1, len(meant))
        common = tuple((language, weight) for language in sorted(meant))
        numbers = self._numbers.get(word)
        if value == -1 and numbers:
            value = numbers[0][1]
        known = _Known(
            tuple(dict.fromkeys(ids)),
            tuple(starts),
            value,
            common,
            everyday,
        )
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[whole if len(whole) <= LONGEST else word] = known
        return known

    def _ids(self, word: str) -> Iterable[int]:
        found = self._exact.get(word)
        if found is not None:
            yield found
        for length in range(1, min(len(word), LONGEST) + 1):
            found = self._begins.get(word[:length])
            if found is not None:
                yield found

    def _bare(self, word: str) -> list[int]:
        """The word without what its language sticks to it."""
        found: list[int] = []
        for _, prefixes, suffixes in self._affixes:
            stems = {word}
            for _ in range(2):
                stems |= {s.removeprefix(p) for s in stems for p in prefixes if s.startswith(p)}
            for _ in range(2):
                stems |= {s.removesuffix(p) for s in stems for p in suffixes if s.endswith(p)}
            for stem in sorted(stems - {word}):
                if len(stem) >= 2:
                    found += self._ids(stem)
        return found

    def _shared(self) -> frozenset[str]:
        """Entries of one word that mean something else in another language."""
        roles: dict[str, set[tuple[int, str]]] = {}
        for number, lexicon in enumerate(self.lexicons):
            for role, entries in lexicon.cues.items():
                for entry in entries:
                    if " " not in entry:
                        for form in {entry.rstrip("*"), fold(entry.rstrip("*"))}:
                            roles.setdefault(form, set()).add((number, role))
            for word in (*lexicon.common, *lexicon.everyday):
                roles.setdefault(word, set()).add((number, "common"))
        return frozenset(
            word
            for word, uses in roles.items()
            if len(by := {n: {r for m, r in uses if m == n} for n, _ in uses}) > 1
            and len({frozenset(r) for r in by.values()}) > 1
            and not frozenset.intersection(*map(frozenset, by.values()))
        )

    def _add(self, number: int, lexicon: Lexicon, shared: frozenset[str]) -> None:
        for word, value in lexicon.numbers.items():
            for form in {word, fold(word)}:
                parts = split(form)
                if len(parts) == 1:
                    self._numbers.setdefault(parts[0], []).append((number, value))
        several = {w: v for w, v in lexicon.numbers.items() if len(split(w)) > 1}
        for role, entries in lexicon.cues.items():
            for entry in entries:
                self._insert(number, NUMBER[role], entry, lexicon, shared)
        for pattern in lexicon.patterns:
            self._insert(number, NUMBER[AGE], pattern, lexicon, shared)
            for word, value in several.items():
                self._insert(
                    number, NUMBER[AGE], pattern.replace("{n}", f" {word} "), lexicon, shared, value
                )
        for grade in lexicon.grades:
            self._insert(number, NUMBER[GRADE], grade, lexicon, shared, -1 if "{n}" in grade else 1)

    def _insert(
        self,
        number: int,
        role: int,
        entry: str,
        lexicon: Lexicon,
        shared: frozenset[str],
        age: int = -1,
    ) -> None:
        plain = entry.rstrip("*")
        single = " " not in entry and "{n}" not in entry
        bound = single and (
            plain in shared or entry in lexicon.homographs or plain in lexicon.homographs
        )
        self._path(number, role, entry, bound, age)
        # Without its marks a word of Thai or Japanese is a piece of many others.
        folded = entry if lexicon.unspaced else fold(entry)
        if folded != entry:
            short = len(folded.replace(" ", "").rstrip("*")) <= SHORT
            weak = short or (
                single and (folded.rstrip("*") in shared or folded in lexicon.homographs)
            )
            self._path(number, role, folded, bound or weak, age)

    def _path(self, number: int, role: int, entry: str, bound: bool, age: int) -> None:
        nodes = [self._root]
        for part in entry.replace("{n}", " {n} ").split():
            if part == "_":
                for node in nodes:
                    node.gap = node.gap or _Node()
                nodes = [node.gap for node in nodes if node.gap is not None]
                continue
            if part == "{n}":
                nodes = [node.follow(word) for node in nodes for word in (_DIGITS, _number(number))]
                continue
            begins = part.endswith("*")
            plain = part.rstrip("*")
            pieces = _pieces(plain)
            if entry == part and all(piece.isdecimal() for piece in pieces):
                # Of "18+" a number alone is left, which says nothing.
                return
            for index, piece in enumerate(pieces):
                table = self._begins if begins and index == len(pieces) - 1 else self._exact
                word = table.setdefault(piece, len(self._exact) + len(self._begins))
                nodes = [node.follow(word) for node in nodes]
        for node in nodes:
            node.ends += ((role, number, bound, age),)


_DIGITS: Final = -1
"""What stands for any number in digits in an entry."""
_SINGLE_CHARACTER: Final = -2
"""What stands for the value of a character of a script without spaces: it is a word of its own."""


def _first(starts: Sequence[_Node]) -> frozenset[int]:
    """English, the first lexicon, if a word is an entry of it."""
    english = any(language == 0 for node in starts for _, language, _, _ in node.ends)
    return frozenset({0}) if english else frozenset()


def _number(language: int) -> int:
    """What stands for a number in words of a language."""
    return -2 - language


def _home(spoken: Sequence[float]) -> list[bool]:
    """The languages that a text may be in, by its common words: all, if it has none of any."""
    most = max(spoken, default=0.0)
    return [count >= 0.5 * most for count in spoken]


def _unhidden(found: list[dict[int, Hit]], count: int) -> list[list[Hit]]:
    """Hits by role, in order, without what lies within a phrase that hides it."""
    ages, grown = found[NUMBER[AGE]], found[NUMBER[GROWN]]
    for hit in [*ages.values()] if grown else ():
        if any(
            old.start < hit.start < old.end or (old.start == hit.start and old.end > hit.end)
            for old in grown.values()
        ):
            del ages[hit.start]
    hides = [hit for role in HIDING for hit in found[NUMBER[role]].values()]
    if not hides:
        return [
            sorted(role.values(), key=_start) if len(role) > 1 else list(role.values())
            for role in found
        ]
    until = [0] * (count + 1)
    for hit in hides:
        for at in range(hit.start, hit.end):
            until[at] = max(until[at], hit.end)
    return [
        sorted(
            (hit for hit in role.values() if ALL[number] in HIDING or hit.end > until[hit.start]),
            key=_start,
        )
        for number, role in enumerate(found)
    ]


def _start(hit: Hit) -> int:
    return hit.start


@cache
def vocabulary() -> Words:
    """The words of every lexicon of the package."""
    return Words(shipped())
