"""Replay: what another policy would have said about content that was decided before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.policy.decision import Action, Context, Decision
from tutela.policy.engine import Policy


@dataclass(frozen=True, slots=True)
class Recorded:
    """One past decision and all that it was made from."""

    id: str
    findings: Sequence[Finding]
    context: Context
    media: MediaFacts | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Change:
    """A past decision beside the one that the policy gives now."""

    id: str
    before: Decision
    after: Decision

    @property
    def changed(self) -> bool:
        """Whether the action or the category differs."""
        return (self.before.action, self.before.category) != (
            self.after.action,
            self.after.category,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """How many decisions went from which action to which."""

    total: int
    changed: int
    moves: dict[tuple[Action, Action], int]
    """Every pair that occurred, unchanged ones too, strongest former action first."""


def replay(recorded: Iterable[Recorded], policy: Policy) -> Iterator[Change]:
    """Each record decided again, lazily and in order. Nothing is stored or acted on."""
    for record in recorded:
        after = policy.decide(record.findings, record.context, record.media)
        yield Change(record.id, record.decision, after)


def summarise(changes: Iterable[Change]) -> Summary:
    """Counts the changes; it keeps none of them."""
    total = changed = 0
    moves: Counter[tuple[Action, Action]] = Counter()
    for change in changes:
        total += 1
        changed += change.changed
        moves[change.before.action, change.after.action] += 1
    return Summary(total, changed, dict(sorted(moves.items(), reverse=True)))
