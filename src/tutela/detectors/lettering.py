"""Reads the words in pictures, and has them judged as a text is judged.

What is read goes to every installed detector that looks at text, and nowhere else: a finding says
how many words were read and how surely, never which. The extra `tutela[ocr]` brings the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from tutela import detectors, models
from tutela.detectors import Options, Sight, Subject
from tutela.detectors.reading import DETECTION, RECOGNITION, Line, Reader
from tutela.findings import TEXT, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.models import State

PICTURES: Final = 4
"""Pictures of one content that are read, spread evenly: a film shows the same caption for long."""
SURE: Final = 0.5
"""Mean certainty of a line's letters from which it counts as read."""
PART: Final = "text in the picture"


@dataclass
class Lettering:
    """Finds text in pictures, and what detectors of text find in it."""

    name: str = "lettering"
    version: str = "1"
    looks_at: frozenset[Sight] = frozenset({Sight.LARGE})
    cost: float = 300.0
    _reader: Reader | None = field(default=None, repr=False)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Text, and whatever a detector of text may find in it."""
        return frozenset({TEXT}).union(*(reader.kinds for reader in self._judges()))

    def prepare(self, options: Options) -> None:
        """Load the weights, where they are installed. Raises `ConfigurationError` if damaged."""
        cards = [models.find(name) for name in (DETECTION, RECOGNITION)]
        if any(models.state(card, options.models) is State.MISSING for card in cards):
            self._reader = None
            return
        self._reader = Reader.load(options.models)

    def applies(self, facts: MediaFacts) -> bool:
        """Pictures and films, where the weights are installed."""
        return self._reader is not None and facts.width > 0

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """How much was read in each picture that holds text, and what that text is found to be."""
        if self._reader is None:
            return ()
        found: list[Finding] = []
        seen: set[str] = set()
        for view in _spread(subject.views):
            page = self._reader.read(view.rgb)
            lines = [line for line in page.lines if line.certainty >= SURE]
            text = "\n".join(line.text for line in lines)
            if text.strip() and text not in seen:
                seen.add(text)
                found += self._told(view, lines, text, page.unread)
        return found

    def _told(self, view: View, lines: Sequence[Line], text: str, unread: int) -> list[Finding]:
        words = len(text.split())
        certainty = sum(line.certainty for line in lines) / len(lines)
        part = f"{PART}, {view.part}" if view.part else PART
        detail = f"{_count(words, 'word')} in {_count(len(lines), 'line')}"
        if unread:
            detail += f"; {_count(unread, 'smaller line')} not read, as there are too many"
        read = Finding(
            TEXT,
            self.name,
            self.version,
            part=part,
            score=round(certainty, 3),
            start=view.at,
            detail=detail,
        )
        # A line break may part what belongs together, and may join what does not: both are judged.
        subjects = [Subject(text=text), Subject(text=" ".join(text.split()))]
        judged: list[Finding] = []
        for judge in self._judges():
            for subject in subjects if len(lines) > 1 else subjects[:1]:
                for finding in detectors.examine(judge, subject):
                    placed = replace(finding, part=part, start=view.at)
                    if placed not in judged:
                        judged.append(placed)
        return [read, *judged]

    def _judges(self) -> list[detectors.Detector]:
        """Every installed detector of text but this one."""
        return [
            detector
            for name, detector in detectors.installed().items()
            if name != self.name
            and Sight.TEXT in detector.looks_at
            and detector.applies(MediaFacts())
        ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _spread(views: Sequence[View]) -> list[View]:
    """At most `PICTURES` of them, from the first to the last."""
    if len(views) <= PICTURES:
        return list(views)
    return [views[round(place * (len(views) - 1) / (PICTURES - 1))] for place in range(PICTURES)]


LETTERING = Lettering()
