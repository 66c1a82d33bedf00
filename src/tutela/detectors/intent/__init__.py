"""Intent: what a text asks for, as calibrated likelihoods.

Every reading of a text is judged, as it is written and with disguised spelling undone, and the
highest likelihood counts. Texts of several fields are judged one by one and joined. What is said of
why names roles and readings, never words of the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final

from tutela.detectors import Options, Sight, Subject
from tutela.detectors.intent.compose import CORE, MET, Found, combinations
from tutela.detectors.intent.language import identify
from tutela.detectors.intent.scene import WINDOW, Scene
from tutela.detectors.intent.words import split, vocabulary
from tutela.findings import INTENTS, LANGUAGE, Finding
from tutela.media.text import Reading, plain, readings
from tutela.media.types import MediaFacts

__all__ = ["INTENT", "Assessment", "Intent", "judge"]

LEAST: Final = 0.05
"""A likelihood below this is not worth a finding."""
MOST: Final = 0.99
FIELDS: Final = 16
"""Texts that are judged one by one; of more, the joined text alone."""

NAMED: Final = re.compile(
    r"\b((?i:nudes?|photos?|photographs?|pictures?|pics?|images?|portraits?|selfies?|videos?)"
    r" of) [A-Z][^\W\d_]+(?:[-' ’][A-Z][^\W\d_]+){1,3}\b"
)
"""A picture of somebody whose first and last name it gives: as good as somebody known."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a text asks for."""

    scores: Mapping[str, float]
    """Likelihood of each of `INTENTS`, 0 to 1."""
    language: str = "und"
    """ISO 639-1; `und` where it can't be told."""
    unread: float = 0.0
    """How likely it is that the text says something that can't be judged."""
    why: tuple[str, ...] = ()
    """Names of the combinations and readings that it rests on; never words of the text."""


@dataclass(frozen=True, slots=True)
class Model:
    """Weights of the combinations, by kind; that of `""` is the constant."""

    weights: Mapping[str, Mapping[str, float]] = field(repr=False)

    def score(self, kind: str, found: Mapping[str, float]) -> float:
        """The likelihood of a kind. A core combination that is met has its floor."""
        weights = self.weights[kind]
        total = weights[""] + sum(weights.get(name, 0.0) * near for name, near in found.items())
        floor = max((CORE.get(name, 0.0) for name, near in found.items() if near >= MET), default=0)
        return min(MOST, max(floor, 1 / (1 + math.exp(-total))))


@cache
def model() -> Model:
    """The weights that come with the package: `bench/train_intent.py` makes them."""
    return Model(json.loads((resources.files(__package__) / "weights.json").read_text("utf-8")))


def judge(texts: Sequence[str], unwanted: str = "") -> Assessment:
    """What texts that belong together ask for; `unwanted` is a negative prompt.

    Time is linear in their length.
    """
    weights = model()
    bare = bool(unwanted) and bool(vocabulary().read(split(unwanted))["clothes"])
    scores = dict.fromkeys(INTENTS, 0.0)
    why: dict[str, None] = {}
    seen: set[tuple[str, ...]] = set()
    for text in _together(texts):
        named = NAMED.sub(r"\1 this person", text)
        given = readings(text, vocabulary().telling)
        if named != text:
            given += (Reading(named, "somebody named"),)
        for reading in given:
            pieces = tuple(split(reading.text))
            if pieces in seen:
                continue
            seen.add(pieces)
            for found in scenes(pieces, bare):
                for kind, names in found.items():
                    likely = weights.score(kind, names)
                    scores[kind] = max(scores[kind], likely)
                    if likely >= LEAST:
                        why |= dict.fromkeys(names)
                        why[f"reading: {reading.how}"] = None
    said = identify(plain("\n".join(texts)))
    return Assessment(
        {kind: round(likely, 4) for kind, likely in scores.items()},
        said.code,
        round(said.likelihood, 4),
        tuple(why),
    )


def scenes(pieces: Iterable[str], unwanted: bool = False) -> Iterator[Found]:
    """The combinations in every stretch of a text that was split."""
    known = vocabulary()
    read = known.read(pieces)
    count = len(read.words)
    step = WINDOW // 2
    for start in range(0, max(1, count - step), step):
        scene = Scene(read, start, min(count, start + WINDOW))
        yield combinations(scene, known.strict, unwanted)


def _together(texts: Sequence[str]) -> Iterator[str]:
    """Each text, and all of them joined by a space and by nothing."""
    given = [text for text in texts if text.strip()]
    if 1 < len(given) <= FIELDS:
        yield from given
        yield "".join(given)
    if given:
        yield " ".join(given)


class Intent:
    """The detector."""

    name: Final = "intent"
    version: Final = "1"
    kinds: Final = frozenset({*INTENTS, LANGUAGE})
    looks_at: Final = frozenset({Sight.TEXT})
    cost: Final = 0.5

    def prepare(self, options: Options) -> None:
        """Nothing yet: words and weights are loaded with the first text, as many processes see
        none."""

    def applies(self, facts: MediaFacts) -> bool:  # noqa: ARG002
        return True

    def examine(self, subject: Subject) -> Sequence[Finding]:
        if not subject.text:
            return ()
        lines = subject.text.split("\n")
        made = judge(lines if len(lines) <= FIELDS else [subject.text], subject.unwanted)
        detail = ", ".join(made.why)
        found = [
            Finding(kind, self.name, self.version, likelihood=likely, detail=detail)
            for kind, likely in made.scores.items()
            if likely >= LEAST
        ]
        if made.unread >= LEAST:
            found.append(Finding(LANGUAGE, self.name, self.version, likelihood=made.unread))
        return found


INTENT: Final = Intent()
