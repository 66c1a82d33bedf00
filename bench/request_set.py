"""An inert set of requests that a guard should refuse, and of innocent ones with the same words.

`requests/dev` and `requests/test` hold a grammar per language: short templates that state an intent
and say nothing graphic, and the words that fill them. What is tested is never tuned on: the two
parts share no template, and some languages have no `dev` part at all. See
docs/design/intent-measurement.md.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tutela.findings import INTENTS

FOLDER: Final = Path(__file__).parent / "requests"
PARTS: Final = ("dev", "test")
BENIGN: Final = "benign"
SAMPLES: Final = 7
"""Requests made of one template, if its slots allow for so many."""

_SLOT: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Request:
    """One text. `intent` is one of `INTENTS`, or `benign`; `form` is the heading of its template.

    The text never stands in the representation, so that no failing test prints it.
    """

    language: str
    part: str
    intent: str
    form: str
    template: int
    """Position under the heading."""
    text: str

    def __repr__(self) -> str:
        return f"Request({self.part}/{self.language}/{self.intent}/{self.form}/{self.template})"


@dataclass(frozen=True, slots=True)
class Grammar:
    """One file: what fills a slot, and templates by intent and form."""

    language: str
    name: str
    part: str
    slots: Mapping[str, Sequence[str]]
    templates: Mapping[str, Mapping[str, Sequence[str]]]

    def expand(self) -> Iterator[Request]:
        """The requests, in the order of the file. The same ones each time."""
        for intent, forms in self.templates.items():
            for form, templates in forms.items():
                for number, template in enumerate(templates):
                    for text in self._fill(template):
                        yield Request(self.language, self.part, intent, form, number, text)

    def _fill(self, template: str) -> list[str]:
        names = _SLOT.findall(template)
        choices = [self.slots[name] for name in names]
        possible = math.prod(len(words) for words in choices)
        texts: dict[str, None] = {}
        for turn in range(SAMPLES if possible >= SAMPLES else possible):
            texts[self._text(template, choices, _nth(template, turn, possible))] = None
        return list(texts)

    @staticmethod
    def _text(template: str, choices: Sequence[Sequence[str]], index: int) -> str:
        words = []
        for choice in choices:
            index, at = divmod(index, len(choice))
            words.append(choice[at])
        given = iter(words)
        return _SLOT.sub(lambda _: next(given), template)


def _nth(template: str, turn: int, possible: int) -> int:
    """The `turn`-th of the possible fillings: spread over all of them, from a place that the
    template fixes, with a stride that visits none twice."""
    seed = int.from_bytes(hashlib.sha256(template.encode()).digest()[:8], "big")
    stride = max(1, int(possible * 0.6180339887))
    while math.gcd(stride, possible) != 1:
        stride += 1
    return (seed + turn * stride) % possible


@cache
def grammar(part: str, language: str) -> Grammar:
    """The grammar of one language. Raises `FileNotFoundError` if the part has none."""
    content: dict[str, Any] = tomllib.loads(
        (FOLDER / part / f"{language}.toml").read_text(encoding="utf-8")
    )
    slots = content.pop("slots")
    code, name = content.pop("language"), content.pop("name")
    if code != language or not set(content) <= {*INTENTS, BENIGN}:
        raise ValueError(f"{part}/{language}.toml is not a grammar of {language}")
    return Grammar(code, name, part, slots, content)


def languages(part: str) -> tuple[str, ...]:
    """Codes of the languages that a part has."""
    return tuple(sorted(path.stem for path in (FOLDER / part).glob("*.toml")))


def unseen() -> tuple[str, ...]:
    """Languages of `test` that `dev` does not have."""
    return tuple(sorted(set(languages("test")) - set(languages("dev"))))


def load(*parts: str, only: Iterable[str] = ()) -> list[Request]:
    """Requests and innocent texts of the parts (all by default), in languages of `only` or in all.

    A text that two templates make stands once.
    """
    wanted = set(only)
    texts: dict[tuple[str, str], Request] = {}
    for part in parts or PARTS:
        for language in languages(part):
            if wanted and language not in wanted:
                continue
            for request in grammar(part, language).expand():
                texts.setdefault((language, request.text), request)
    return list(texts.values())


def split(requests: Iterable[Request]) -> tuple[list[Request], list[Request]]:
    """Those to refuse, and the innocent ones. What is only sexual, about adults, is in neither."""
    asked: list[Request] = []
    innocent: list[Request] = []
    for request in requests:
        if request.intent == BENIGN:
            innocent.append(request)
        elif request.intent != "adult_sexual":
            asked.append(request)
    return asked, innocent
