"""`POST /v1/moderations`, answered here: the categories of the API, and `nudification`.

Only what Tutela judges has a score: `sexual`, `sexual/minors` (of pictures too) and `nudification`.
The other categories are there so that clients find them; they are never flagged, and
`category_applied_input_types` says that nothing was applied for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import tutela
from tutela.findings import (
    ADULT_SEXUAL,
    CHILD_EXPLOITATION,
    CHILD_SEXUALISATION,
    EDIT,
    MATCH,
    MINOR,
    NUDIFICATION,
    NUDITY,
    Finding,
)
from tutela.guard.bodies import Unreadable, read_json
from tutela.guard.gate import PROMPT, Operation
from tutela.guard.openai_requests import Asked
from tutela.guard.reading import Reading, kinds, label, picture, record, text
from tutela.verdict import Verdict

MODEL: Final = f"tutela-{tutela.__version__}"
MAX_INPUTS: Final = 64
FLAGGED: Final = 0.5
"""Score from which a category is flagged."""

SEXUAL: Final = "sexual"
MINORS: Final = "sexual/minors"
NOT_JUDGED: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "violence",
    "violence/graphic",
)
CATEGORIES: Final = (*NOT_JUDGED, SEXUAL, MINORS, NUDIFICATION)

_TIERS: Final = {"confirmed": 1.0, "reviewed": 1.0, "reported": FLAGGED}
"""What a match in a bank says of a picture, whatever the detectors see."""
_BODY = record({"model": label, "input": lambda _reading, value, _where: value}, "input")
_PART = kinds(
    {
        "text": record({"type": label, "text": text}, "text"),
        "image_url": record(
            {"type": label, "image_url": record({"url": picture, "detail": label}, "url")},
            "image_url",
        ),
    }
)


def read(content_type: str, body: bytes) -> list[Asked]:
    """What is to be moderated: each text of a list by itself, parts together. `Unreadable`."""
    given = _BODY(Reading(), read_json(content_type, body), "")["input"]
    if isinstance(given, str):
        return [_asked([given])]
    if not isinstance(given, list) or not given or len(given) > MAX_INPUTS:
        raise Unreadable(f"A text is expected here, or a list of 1 to {MAX_INPUTS}.", "input")
    if all(isinstance(one, str) for one in given):
        return [_asked([one]) for one in given]
    return [_asked(given)]


def answer(number: str, results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer."""
    return {"id": f"modr-{number}", "model": MODEL, "results": list(results)}


def result(asked: Asked, verdict: Verdict) -> dict[str, Any]:
    """What a verdict says of one input."""
    scores = dict.fromkeys(CATEGORIES, 0.0) | _scores(verdict.findings)
    given = [kind for kind, there in (("text", asked.texts), ("image", asked.pictures)) if there]
    categories = {name: score >= FLAGGED for name, score in scores.items()}
    return {
        # What could not be examined is flagged too, though no category says so.
        "flagged": verdict.action != "allow" or any(categories.values()),
        "categories": categories,
        "category_scores": {name: round(score, 6) for name, score in scores.items()},
        "category_applied_input_types": {
            name: [] if name in NOT_JUDGED else given for name in CATEGORIES
        },
    }


def _scores(findings: Iterable[Finding]) -> dict[str, float]:
    likely: dict[tuple[str, str], float] = {}
    banked = 0.0
    for one in findings:
        if one.kind == MATCH:
            banked = max(banked, _TIERS.get(one.tier, 0.0))
        # `image 2, frame 3` is a part of `image 2`.
        place = (one.kind, one.part.partition(",")[0])
        likely[place] = max(likely.get(place, 0.0), one.likelihood or 0.0)

    def most(*kinds_: str) -> float:
        return max((score for (kind, _), score in likely.items() if kind in kinds_), default=0.0)

    shown = max(
        (
            min(score, likely.get((MINOR, part), 0.0))
            for (kind, part), score in likely.items()
            if kind == NUDITY and part != PROMPT
        ),
        default=0.0,
    )
    return {
        SEXUAL: most(ADULT_SEXUAL, NUDITY),
        MINORS: max(most(CHILD_SEXUALISATION, CHILD_EXPLOITATION), shown, banked),
        NUDIFICATION: most(NUDIFICATION, EDIT),
    }


def _asked(given: list[Any]) -> Asked:
    reading = Reading()
    for at, one in enumerate(given):
        if isinstance(one, str):
            reading.text(one, f"input[{at}]")
        else:
            _PART(reading, one, f"input[{at}]")
    return Asked(
        operation=Operation.CHAT,
        texts=tuple(reading.texts),
        unwanted="",
        pictures=tuple(reading.pictures),
        account="",
        stream=False,
        as_url=False,
        tree={},
    )
