"""Finding: one piece of evidence about content. Detectors and matching return them; none acts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from tutela.errors import StoreError
from tutela.media.types import clock

MATCH: Final = "match"
"""A fingerprint of the content is near an entry of a bank."""
DERIVATIVE: Final = "derivative"
"""The content shows, altered or not, a photo that is under protection."""
TRIGGER: Final = "trigger"
"""The harmless test content that proves an installation works."""
UNEXAMINED: Final = "unexamined"
"""The content, or a part of it, could not be examined; `detail` says why."""
FAILURE: Final = "failure"
"""A detector failed; `source` names it."""
NUDITY: Final = "nudity"
"""A detector, or the caller's own, sees nudity."""
MINOR: Final = "minor"
"""How likely a person shown is under 18 by appearance; where that can't be told, it says so with
a likelihood that counts as a minor."""
PROVENANCE: Final = "provenance"
"""What content says of its own making: `claim`, `state` and `signer`. Silence proves nothing."""
FORENSICS: Final = "forensics"
"""Places in a picture that do not fit the rest of it."""
SYNTHETIC: Final = "synthetic"
"""How likely the content was made or altered by a model, by all that is known of it."""
VOICE: Final = "voice"
"""How likely a voice that is heard was made by a model."""
TEXT: Final = "text"
"""Words that stand in a picture; what they say is never part of it."""
CHILD_SEXUALISATION: Final = "child_sexualisation"
"""A text asks for, or is, the sexualisation of a child."""
NUDIFICATION: Final = "nudification"
"""A text asks to undress a person who is shown, or to show them naked."""
CHILD_EXPLOITATION: Final = "child_exploitation"
"""A text is about grooming, soliciting or trading: the exploitation of a child."""
ADULT_SEXUAL: Final = "adult_sexual"
"""A text is sexual, about adults as far as it says."""
LANGUAGE: Final = "language"
"""A text is in a language, or of a kind, that can't be judged: nothing is known of what it asks."""
EDIT: Final = "edit"
"""How likely a request sexualises a person by the prompt, the pictures and the mask together."""
INTENTS: Final = (NUDIFICATION, CHILD_SEXUALISATION, CHILD_EXPLOITATION, ADULT_SEXUAL)
"""What a text is judged by, as `tutela guard text` lists it."""

CALLER: Final = "caller"
"""The source of a finding that came with the content."""
JUDGE: Final = "judge"
"""The source of a second opinion, by a model that the operator named."""
ADVISERS: Final = frozenset({CALLER, JUDGE})
"""Sources that can make a verdict stricter, never milder."""
NUDE: Final = 0.5
"""Likelihood from which nudity counts as seen."""
SAME: Final = 0.5
"""Share of the area of two photos together that both cover, from which they lie in one place."""
NOT_EXAMINED: Final = frozenset({UNEXAMINED, FAILURE})
"""Kinds that say the examination is incomplete: content with one of them is never allowed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of evidence. Text that does not apply is `""`, a number `None`.

    It never holds the content itself, so it may be stored, logged and shown to operators.
    """

    kind: str
    """`match`, `derivative`, `trigger`, `unexamined`, `failure`, or what a detector looks for."""
    source: str
    """The signal or detector that found it."""
    version: str = ""
    """Version of the source."""
    signal: str = ""
    """Name of the matched signal."""
    bank: str = ""
    owner: str = ""
    """Who answers for the bank."""
    tier: str = ""
    """Trust tier of the bank: `confirmed`, `reviewed`, `reported` or `benign`."""
    category: str = ""
    """Category of the bank or of its entry; an id of `categories.toml`."""
    entry: int | None = None
    """Number of the bank entry."""
    distance: int | None = None
    """Distance to the entry in bits; 0 is identical."""
    variant: str = ""
    """The transformed query that matched: `mirrored`, `rotated 90` …"""
    part: str = ""
    """The part of the content: `frame 3`, `frame 0 on black` …; `""` is the whole."""
    score: float | None = None
    """A detector's raw score, on its own scale."""
    likelihood: float | None = None
    """Calibrated probability, 0–1."""
    detail: str = ""
    """A short text that is safe to show to operators."""
    review: str = ""
    """Of a protected photo: `aside` while it waits for a reviewer, `kept` once one accepted it."""
    overlap: float | None = None
    """Share of the protected photo that lies inside the content, 0–1."""
    changed: float | None = None
    """Share of that overlap which does not survive in the content, 0–1."""
    scale: float | None = None
    """Where the photo lies: its longer side, in shares of the content's longer side, …"""
    dx: float | None = None
    """… its left edge, …"""
    dy: float | None = None
    """… and its top edge, likewise. Of content that matched turned, the content as turned."""
    aspect: float | None = None
    """Width of the photo for a height of 1."""
    mask: str = ""
    """The photo as a grid of letters, rows from the top, divided by `/`: 0 outside the content,
    1 survives, 2 changed, - nothing to tell by."""
    query_share: float | None = None
    """Of a film or a sound: the share of it that matches the entry, 0–1, …"""
    index_share: float | None = None
    """… and the share of the entry that it matches."""
    start: float | None = None
    """Seconds into the content where this begins, …"""
    end: float | None = None
    """… and where it ends."""
    low: float | None = None
    """Of an apparent age: the years that it is at least, …"""
    high: float | None = None
    """… and at most, in nine of ten cases."""
    claim: str = ""
    """Of provenance: `generated`, `edited` (with AI), `captured`, or `""` where nothing is said."""
    state: str = ""
    """How far that may be believed: `trusted`, `valid`, `invalid` of a signature; `unsigned`."""
    signer: str = ""
    """Who signed it, by the certificate."""
    heat: str = ""
    """Where in the picture, as a grid of digits, rows from the top, divided by `/`: 0 as all else
    to 9 most unlike it, - nothing to tell by."""

    def place(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of the protected photo, in shares of the content's longer
        side; None where they are not known."""
        if self.scale is None or self.dx is None or self.dy is None or not self.aspect:
            return None
        width, height = min(1.0, self.aspect), 1.0 / max(1.0, self.aspect)
        return self.dx, self.dy, self.dx + self.scale * width, self.dy + self.scale * height

    def to_json(self) -> dict[str, Any]:
        """What applies, as a JSON object whose keys are in the order of the fields."""
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None and value != ""
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The finding that `to_json` wrote. Raises `StoreError` when it is of another version."""
        known = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name not in known:
                raise StoreError(
                    f"A recorded finding has the unknown field {name!r}; "
                    "read it with the version of Tutela that wrote it."
                )
            if not _fits(value, known[name]):
                raise StoreError(f"A recorded finding's {name!r} should be {known[name]}.")
            values[name] = float(value) if "float" in known[name] else value
        if not values.get("kind") or not values.get("source"):
            raise StoreError("A recorded finding lacks its kind or its source.")
        return cls(**values)

    def describe(self) -> str:
        """One line for people: `pdq match in hotline (confirmed), distance 4, mirrored`."""
        name = self.signal or self.source
        text = f"{name} {self.kind}" if name != self.kind else name
        if self.bank:
            text += f" in {self.bank}"
        if self.tier:
            text += f" ({self.tier})"
        if self.distance is not None:
            text += f", distance {self.distance}"
        if self.likelihood is not None:
            text += f", likelihood {self.likelihood:.2f}"
        if self.overlap is not None:
            text += f", {self.overlap:.0%} of the photo"
        if self.changed is not None:
            text += f", {self.changed:.0%} of that changed"
        if self.query_share is not None and self.index_share is not None:
            text += f", {self.query_share:.0%} of the content, {self.index_share:.0%} of the entry"
        if self.start is not None and self.end is not None:
            text += f", {clock(self.start)} to {clock(self.end)}"
        if self.low is not None and self.high is not None:
            text += f", looks {self.low:.0f} to {self.high:.0f} years old"
        for more in (self.claim, self.state, self.signer):
            text += f", {more}" if more else ""
        if self.review:
            text += ", set aside" if self.review == "aside" else f", {self.review}"
        for more in (self.variant, self.part, self.detail):
            text += f", {more}" if more else ""
        return text


def same_place(one: Finding, other: Finding) -> bool:
    """Whether two derivatives lie in the same place of the same part: as one photo kept twice."""
    here, there = one.place(), other.place()
    if here is None or there is None:
        return False
    if (one.part, one.variant) != (other.part, other.variant):
        return False
    across = min(here[2], there[2]) - max(here[0], there[0])
    down = min(here[3], there[3]) - max(here[1], there[1])
    common = max(0.0, across) * max(0.0, down)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (here, there)]
    return common >= SAME * (sum(areas) - common)


def shows_nudity(findings: Iterable[Finding]) -> bool:
    """Whether a detector or the caller sees nudity."""
    return any(
        finding.kind == NUDITY and finding.likelihood is not None and finding.likelihood >= NUDE
        for finding in findings
    )


def from_caller(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings that come with content, marked as the caller's. Raises `ValueError`.

    They are a detector's: a kind of their own and a likelihood. A match, a failure or a bank they
    can't claim.
    """
    marked = []
    for given in findings:
        if given.kind in {"", MATCH, DERIVATIVE, TRIGGER, *NOT_EXAMINED}:
            raise ValueError(f"a caller's finding can't be of kind {given.kind!r}")
        if given.likelihood is None or not 0 <= given.likelihood <= 1:
            raise ValueError("a caller's finding has a likelihood from 0 to 1")
        if given.bank or given.owner or given.tier or given.signal or given.entry is not None:
            raise ValueError("a caller's finding names no bank, owner, tier, signal or entry")
        marked.append(replace(given, source=CALLER))
    return tuple(marked)


def nudity(likelihood: float) -> Finding:
    """The caller's finding of nudity. Raises `ValueError` unless `likelihood` is from 0 to 1."""
    return from_caller([Finding(NUDITY, CALLER, likelihood=likelihood)])[0]


def _fits(value: object, type_name: str) -> bool:
    if isinstance(value, bool):
        return False
    if "int" in type_name:
        return isinstance(value, int) and -(2**63) <= value < 2**63
    if "float" in type_name:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str)
