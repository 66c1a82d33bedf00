"""What goes into the policy besides findings, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tutela.media.types import MediaFacts as MediaFacts

Action = Literal["allow", "hold", "block"]

ACTIONS: tuple[Action, ...] = ("allow", "hold", "block")
"""Weakest first."""


def stronger(action: Action) -> int:
    """Sort key: a stronger action sorts after a weaker one."""
    return ACTIONS.index(action)


@dataclass(frozen=True, slots=True)
class Context:
    """Where content came from. Conditions read it as `context`."""

    surface: str = ""
    """Where it would appear: `avatar`, `feed`, `message` … in the platform's own words."""
    account: str = ""
    """The platform's opaque reference to the account."""
    jurisdiction: str = ""
    """ISO 3166 code (`US`, `US-CA`, `FR`) or `EU`."""
    locale: str = ""
    """BCP 47 tag, such as `pt-BR`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Anything else that the policy of this platform reads."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says about content, and what that rests on."""

    action: Action
    category: str | None
    """The most severe category among the rules that gave the action."""
    rules: tuple[str, ...]
    """The rules that gave the action; `always:…` are the engine's own, which no policy changes."""
    reasons: tuple[str, ...]
    """One sentence for each of `rules`, for operators; one that says so when no rule held."""
    policy: str
    """Name and fingerprint of the policy and its data: `default@1f0c5a9e2b7d`."""
    rests_on: tuple[int, ...] = ()
    """Positions of the findings that the rules name."""
    clamped: tuple[str, ...] = ()
    """Where the engine kept a rule from doing what must never happen."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object with every field, in their order."""
        return {
            "action": self.action,
            "category": self.category,
            "rules": list(self.rules),
            "reasons": list(self.reasons),
            "policy": self.policy,
            "rests_on": list(self.rests_on),
            "clamped": list(self.clamped),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        """The decision that `to_json` wrote."""
        lists = ("rules", "reasons", "rests_on", "clamped")
        return cls(**{**data, **{name: tuple(data[name]) for name in lists}})


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What one rule of the policy made of the findings."""

    rule: str
    condition: str
    action: Action
    """What the rule asks for."""
    given: Action | None
    """What it gave: None when its condition did not hold."""
    findings: tuple[int, ...]
    """Positions of the findings it names: each that suffices alone, else a smallest set."""
    category: str | None
    reason: str
    error: str = ""
    """Why the condition could not be evaluated; it then gives at least `hold`."""
    clamped: str = ""
    """Where the engine kept it from blocking, …"""
    clamp: str = ""
    """… and the id of the engine's own rule that did."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """A finding that a benign match set aside: no rule sees it."""

    rule: str
    finding: int
    benign: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every rule in order, and why the decision is what it is."""

    decision: Decision
    findings: tuple[str, ...]
    """The findings described, in the order given."""
    outcomes: tuple[RuleOutcome, ...]
    suppressed: tuple[Suppression, ...]
    why: str
    """Why this action won."""
    needed: tuple[str, ...]
    """What would have to differ for another action."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "decision": self.decision.to_json(),
            "why": self.why,
            "needed": list(self.needed),
            "findings": list(self.findings),
            "rules": [
                {
                    "rule": outcome.rule,
                    "condition": outcome.condition,
                    "action": outcome.action,
                    "given": outcome.given,
                    "findings": list(outcome.findings),
                    "category": outcome.category,
                    "error": outcome.error,
                    "clamped": outcome.clamped,
                }
                for outcome in self.outcomes
            ],
            "suppressed": [
                {"rule": item.rule, "finding": item.finding, "benign": item.benign}
                for item in self.suppressed
            ],
        }

    def render(self) -> str:
        """As text for a terminal; findings are numbered from 1."""
        decision = self.decision
        lines = [f"{decision.action} by {decision.policy}", f"  {self.why}"]
        if decision.category:
            lines.append(f"  category: {decision.category}")
        lines.append("findings")
        lines += [f"  {n}. {text}" for n, text in enumerate(self.findings, 1)] or ["  none"]
        for item in self.suppressed:
            lines.append(
                f"  {item.finding + 1} is set aside by {item.benign + 1} (rule {item.rule})"
            )
        lines.append("rules")
        for outcome in self.outcomes:
            named = f" on {numbers(outcome.findings)}" if outcome.findings else ""
            if outcome.error:
                lines.append(f"  failed  {outcome.rule} -> {outcome.given}: {outcome.error}")
            elif outcome.given is None:
                lines.append(f"  no      {outcome.rule}")
            else:
                lines.append(f"  yes     {outcome.rule} -> {outcome.given}{named}")
            if outcome.clamped:
                lines.append(f"          {outcome.clamped}")
        if self.needed:
            lines.append("for another verdict")
            lines += [f"  {text}" for text in self.needed]
        return "\n".join(lines) + "\n"


def numbers(positions: tuple[int, ...]) -> str:
    """Positions as people count: `finding 1`, `findings 1, 3`."""
    listed = ", ".join(str(position + 1) for position in positions)
    return f"finding{'s' if len(positions) > 1 else ''} {listed}"
