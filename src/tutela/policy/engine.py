"""Policy: the rules applied to findings. Pure and deterministic; it never reads a clock or a file
after it is loaded.

Some things hold whatever the rules say. A match that nobody verified gives no block: a block
stands only if its rule still holds when every match of a tier other than `confirmed` and
`reviewed` is taken away. Nor does a derivative of any tier: it shows the same photograph, not what
was made of it. Content that was not fully examined is never allowed. And what the caller found, or
a model that was asked for a second opinion, never makes a verdict milder. Where the engine
overrides a rule it says so, under an id that starts with `always:`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import product
from pathlib import Path

from tutela.errors import PolicyError
from tutela.findings import ADVISERS, DERIVATIVE, MATCH, NOT_EXAMINED, Finding, same_place
from tutela.media.types import MediaFacts
from tutela.policy import reference as reference_data
from tutela.policy.decision import (
    Action,
    Context,
    Decision,
    Explanation,
    RuleOutcome,
    Suppression,
    numbers,
    stronger,
)
from tutela.policy.expressions import Condition, Failed, Input
from tutela.policy.needs import ERROR, FALSE, NONE, TRUE, Need, View
from tutela.policy.rules import Document, Rule, read
from tutela.policy.source import Source

UNVERIFIED = "always:unverified-never-blocks"
DERIVATIVE_HOLDS = "always:derivative-never-blocks"
NEVER_MILDER = "always:advice-never-milder"
NOT_ALLOWED = "always:unexamined-never-allowed"
FAILED = "always:failed-condition-holds"

VERIFIED_TIERS = frozenset({"confirmed", "reviewed"})
SHOWN = 3
"""A reason describes at most this many findings."""

MAX_TRIES = 20_000
"""Pairs of a match and a benign one that suppressions are tried on; beyond, the content holds."""

_CLAMPS = {
    UNVERIFIED: "A match that nobody verified gives no block",
    DERIVATIVE_HOLDS: "A derivative of a protected photo gives no block: a person decides",
}
_NO_MEDIA = MediaFacts()
_SUPPRESSED = frozenset({MATCH, DERIVATIVE})
"""Kinds of findings that set aside, and that are set aside."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What all the rules made of one piece of content."""

    outcomes: tuple[RuleOutcome, ...]
    suppressed: tuple[Suppression, ...]
    broken: tuple[str, ...]
    """Suppressions whose condition failed, as reasons."""


@dataclass(frozen=True, slots=True)
class _Giver:
    """What a rule may still come to give."""

    gives: frozenset[int]
    """Actions by `stronger`; `_NOTHING` where it does not hold."""
    kinds: frozenset[str]
    """Kinds of findings that could make the difference."""


_NOTHING = -1


class Policy:
    """Rules as data. `load` one, then `decide`; threads may share it."""

    def __init__(self, document: Document, version: str) -> None:
        self.name = document.name
        self.version = version
        self._rules = document.rules
        self._deciding = _deciding(document.rules)
        self._suppressions = document.suppressions
        self._default: Action = document.default
        conditions = (rule.condition.text for rule in self._suppressions)
        self._entries_matter = any(re.search(r"\bentry\b", text) for text in conditions)
        self._reference = reference_data.load()

    @classmethod
    def load(cls, path: Path | str | None = None) -> Policy:
        """The policy in this file, or the one that Tutela ships.

        Raises `PolicyError`, with the line of the first problem, if it can't be used.
        """
        return cls.parse(read_text(path), source_name(path))

    @classmethod
    def parse(cls, text: str, source: str = "policy") -> Policy:
        """The policy in this TOML text. Raises `PolicyError`."""
        reference = reference_data.load()
        document = read(Source(text, source), reference)
        for problem in document.problems:
            more = f" (and {len(document.problems) - 1} more)" if len(document.problems) > 1 else ""
            rule = f"rule '{problem.rule}': " if problem.rule else ""
            raise PolicyError(f"{rule}{problem.message}{more}", source=source, line=problem.line)
        digest = hashlib.sha256()
        for part in (text, *reference.texts):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return cls(document, f"{document.name}@{digest.hexdigest()[:12]}")

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules, in order."""
        return tuple(rule.id for rule in self._rules)

    def decide(
        self,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None = None,
    ) -> Decision:
        """The strongest action that any rule gives; the policy's default when none holds."""
        decision = self._decision(findings, self._run(findings, context, media))
        return self._no_milder(decision, findings, context, media)

    def explain(
        self,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None = None,
    ) -> Explanation:
        """The same decision with every rule's part in it, and what would change it."""
        run = self._run(findings, context, media)
        decision = self._no_milder(self._decision(findings, run), findings, context, media)
        return Explanation(
            decision=decision,
            findings=tuple(finding.describe() for finding in findings),
            outcomes=run.outcomes,
            suppressed=run.suppressed,
            why=self._why(decision),
            needed=self._needed(decision, run, findings, context, media),
        )

    def open_kinds(
        self,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None,
        pending: frozenset[str],
    ) -> frozenset[str]:
        """Which of the `pending` kinds of findings could still change the action of `decide`.

        None of them: whatever findings of these kinds come besides, the action stays. Where it
        can't be told, a kind counts as one that could. `media` is None as long as nothing is
        known of it: the answer then holds for any. That a detector may fail, which is a finding
        of kind `failure`, is no kind to wait for unless it is in `pending`.
        """
        own = [finding for finding in findings if finding.source not in ADVISERS]
        views = [findings] if len(own) == len(findings) else [findings, own]
        outlooks = [self._outlook(view, context, media, pending) for view in views]
        # The stricter of both is given, as in `_no_milder`.
        if len({max(pair) for pair in product(*(actions for actions, _ in outlooks))}) == 1:
            return NONE
        return frozenset().union(*(kinds for _, kinds in outlooks))

    def _outlook(
        self,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None,
        pending: frozenset[str],
    ) -> tuple[frozenset[int], frozenset[str]]:
        """The actions that may yet be given, and the kinds of findings that could tell which."""
        # Benign matches still to come may set others aside, and be what a suppression fails on.
        shifting = pending & _SUPPRESSED
        unsure = bool(self._suppressions) and (bool(shifting) or media is None)
        if unsure:
            findings = [one for one in findings if not _may_be_suppressed(one)]
        seen = self._input(findings, context, media)
        suppressed, broken = ([], []) if unsure else self._suppress(findings, seen)
        aside = {item.finding for item in suppressed}
        live = tuple(n for n in range(len(findings)) if n not in aside)
        verified = tuple(n for n in live if _may_block(findings[n]))
        coming = pending | _SUPPRESSED if unsure else pending
        view = View(seen.rules(live), coming, media is not None)
        sure = View(seen.rules(verified), coming - {DERIVATIVE}, media is not None)
        hold = stronger("hold")
        givers: list[_Giver] = []
        if broken or unsure:
            givers.append(_Giver(frozenset({hold} if broken else {_NOTHING, hold}), _SUPPRESSED))
        floor = hold if broken else _NOTHING
        for asked, need in self._deciding:
            # The strongest come first, and one that fails holds.
            if floor >= max(stronger(asked), hold):
                break
            givers.append(_giver(asked, need, view, sure))
            floor = max(floor, min(givers[-1].gives))
        strongest = {floor}.union(*(giver.gives for giver in givers))
        strongest = {given for given in strongest if given >= floor}
        unseen = any(finding.kind in NOT_EXAMINED for finding in findings)

        def action(given: int) -> int:
            given = stronger(self._default) if given == _NOTHING else given
            return max(given, hold) if unseen else given

        actions = {action(given) for given in strongest}
        kinds: frozenset[str] = NONE
        for giver in givers:
            # Whatever the other rules come to.
            if len(giver.gives) > 1 and any(
                len({action(max(given, others)) for given in giver.gives}) > 1
                for others in strongest
            ):
                kinds |= giver.kinds
        if stronger("allow") in actions and pending & NOT_EXAMINED:
            actions.add(hold)
            kinds |= NOT_EXAMINED
        kinds = kinds | shifting if kinds & _SUPPRESSED else kinds
        return frozenset(actions), kinds & pending

    def _no_milder(
        self,
        decision: Decision,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None,
    ) -> Decision:
        """The decision without what advisers found where that is the stricter one."""
        own = [n for n, finding in enumerate(findings) if finding.source not in ADVISERS]
        if len(own) == len(findings):
            return decision
        rest = [findings[n] for n in own]
        without = self._decision(rest, self._run(rest, context, media))
        if stronger(without.action) <= stronger(decision.action):
            return decision
        text = "What the caller or the judge says would make the verdict milder: it does not count"
        return replace(
            without,
            rules=(*without.rules, NEVER_MILDER),
            reasons=(*without.reasons, text),
            rests_on=tuple(own[n] for n in without.rests_on),
            clamped=(*without.clamped, text),
        )

    def _run(self, findings: Sequence[Finding], context: Context, media: MediaFacts | None) -> _Run:
        seen = self._input(findings, context, media)
        suppressed, broken = self._suppress(findings, seen)
        aside = {item.finding for item in suppressed}
        live = tuple(n for n in range(len(findings)) if n not in aside)
        verified = tuple(n for n in live if _may_block(findings[n]))
        outcomes = [self._apply(rule, findings, seen, live, verified) for rule in self._rules]
        return _Run(tuple(outcomes), tuple(suppressed), tuple(dict.fromkeys(broken)))

    def _input(
        self, findings: Sequence[Finding], context: Context, media: MediaFacts | None
    ) -> Input:
        severities = [self._reference.severity(finding.category) for finding in findings]
        jurisdiction = self._reference.jurisdiction(context.jurisdiction)
        return Input(findings, severities, context, media or _NO_MEDIA, jurisdiction)

    def _apply(
        self,
        rule: Rule,
        findings: Sequence[Finding],
        seen: Input,
        live: tuple[int, ...],
        verified: tuple[int, ...],
    ) -> RuleOutcome:
        """What one rule makes of the live findings; a block needs no more than the verified."""
        try:
            held = rule.condition.holds(seen.rules(live))
        except Failed as failure:
            return _failed(rule, str(failure))
        if not held:
            return _outcome(rule, None, (), None, "")
        stands = rule.action != "block" or _true(rule.condition, seen.rules(verified))
        basis = verified if rule.action == "block" and stands else live
        named = _rests_on(basis, rule.condition, seen)
        category = rule.category or self._worst(findings[n].category for n in named)
        reason = _reason(rule.reason or f"Rule {rule.id} holds", findings, named)
        outcome = _outcome(rule, rule.action, named, category or None, reason)
        if stands:
            return outcome
        vouched = tuple(n for n in live if n in verified or findings[n].tier in VERIFIED_TIERS)
        return _clamp(
            outcome,
            DERIVATIVE_HOLDS if _true(rule.condition, seen.rules(vouched)) else UNVERIFIED,
        )

    def _suppress(
        self, findings: Sequence[Finding], seen: Input
    ) -> tuple[list[Suppression], list[str]]:
        """Each pair is tried once, however many entries of a bank match alike."""
        suppressed: list[Suppression] = []
        broken: list[str] = []
        benign: dict[Finding, int] = {}
        matches: dict[Finding, list[int]] = {}
        for n, finding in enumerate(findings):
            if _is_benign(finding):
                benign.setdefault(self._alike(finding), n)
            elif _may_be_suppressed(finding):
                matches.setdefault(self._alike(finding), []).append(n)
        tries = len(matches) * len(benign) * len(self._suppressions)
        if tries > MAX_TRIES:
            return [], [f"{tries} pairs of matches are too many to set any aside"]
        for alike in matches.values():
            for rule, other in product(self._suppressions, benign.values()):
                if findings[other].kind == DERIVATIVE and not same_place(
                    findings[other], findings[alike[0]]
                ):
                    # That a harmless photo is in it says nothing about what else is.
                    continue
                try:
                    if rule.condition.holds(seen.suppress(alike[0], other)):
                        suppressed += [Suppression(rule.id, n, other) for n in alike]
                        break
                except Failed as failure:
                    broken.append(f"Rule {rule.id} could not be evaluated: {failure}")
        return sorted(suppressed, key=lambda item: item.finding), broken

    def _alike(self, finding: Finding) -> Finding:
        """The finding less what no suppression asks for: the number of the entry, as a rule."""
        return finding if self._entries_matter else replace(finding, entry=None)

    def _decision(self, findings: Sequence[Finding], run: _Run) -> Decision:
        given = [(outcome, outcome.given) for outcome in run.outcomes if outcome.given]
        actions = [action for _, action in given] + (["hold"] if run.broken else [])
        action: Action = max(actions, key=stronger, default=self._default)
        winners = [outcome for outcome, gave in given if gave == action]
        rules = [outcome.rule for outcome in winners]
        reasons = [outcome.reason for outcome in winners]
        clamped = [outcome.clamped for outcome in run.outcomes if outcome.clamped]
        category = self._worst(outcome.category or "" for outcome in winners)
        rests_on = {n for outcome in winners for n in outcome.findings}
        for clamp in dict.fromkeys(outcome.clamp for outcome in winners if outcome.clamp):
            rules.append(clamp)
            reasons.append(_CLAMPS[clamp])
        if action == "hold" and (run.broken or any(outcome.error for outcome in winners)):
            rules.append(FAILED)
            reasons += run.broken or ["A rule that can't be evaluated holds the content"]
        if action == "allow":
            unseen = tuple(n for n, one in enumerate(findings) if one.kind in NOT_EXAMINED)
            if unseen:
                action = "hold"
                rules, rests_on, category = [NOT_ALLOWED], set(unseen), "unexamined"
                reasons = [_reason("Could not be fully examined", findings, unseen)]
                clamped.append("Content that was not fully examined is held, never allowed")
        if not rules:
            reasons.append(f"No rule holds; the policy's default is {action}")
        return Decision(
            action=action,
            category=category or None,
            rules=tuple(rules),
            reasons=tuple(reasons + _set_aside(findings, run.suppressed)),
            policy=self.version,
            rests_on=tuple(sorted(rests_on)),
            clamped=tuple(clamped),
        )

    def _worst(self, categories: Iterable[str]) -> str:
        """The most severe of these; a listed one before one that is not, `""` when none."""
        named = [category for category in categories if category]
        return max(named, key=lambda name: (self._reference.severity(name), name), default="")

    def _why(self, decision: Decision) -> str:
        if not decision.rules:
            return decision.reasons[0]
        rules = ", ".join(decision.rules)
        return f"{decision.action} is the strongest action given, by {rules}"

    def _needed(
        self,
        decision: Decision,
        run: _Run,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts | None,
    ) -> tuple[str, ...]:
        needed = []
        clamped = {outcome.rule for outcome in run.outcomes if outcome.clamped}
        if decision.rests_on:
            rest = [one for n, one in enumerate(findings) if n not in decision.rests_on]
            without = self._decision(rest, self._run(rest, context, media)).action
            if without != decision.action:
                needed.append(f"{without}: without {numbers(decision.rests_on)}")
        for rule in self._rules:
            if stronger(rule.action) > stronger(decision.action):
                condition = " ".join(rule.condition.text.split())
                basis = " without the unverified matches" if rule.id in clamped else ""
                needed.append(f"{rule.action}: if rule {rule.id} held{basis}: {condition}")
        return tuple(needed)


def read_text(path: Path | str | None) -> str:
    """The policy file's text; the shipped one's for None. Raises `PolicyError`."""
    if path is None:
        return (resources.files("tutela.policy") / "data" / "default.toml").read_text("utf-8")
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("is not UTF-8 text; save it as UTF-8.", source=str(path)) from None
    except OSError as error:
        why = error.strerror or "unreadable"
        raise PolicyError(f"can't be read: {why}.", source=str(path)) from None


def shipped(name: str) -> Path:
    """The file of a policy that Tutela ships: `default`, or `guard` for requests to a model."""
    return Path(str(resources.files("tutela.policy") / "data" / f"{name}.toml"))


def source_name(path: Path | str | None) -> str:
    """How messages name the file."""
    return "default.toml" if path is None else str(path)


def _may_block(finding: Finding) -> bool:
    """Whether a block may rest on it: no derivative, nor a match or claim of an unverified tier."""
    if finding.kind == DERIVATIVE:
        return False
    return finding.tier in VERIFIED_TIERS or (finding.kind != MATCH and not finding.tier)


def _is_benign(finding: Finding) -> bool:
    if finding.tier != "benign":
        return False
    return finding.kind == DERIVATIVE or (finding.kind == MATCH and finding.distance is not None)


def _may_be_suppressed(finding: Finding) -> bool:
    """Never a confirmed exact match, and never anything but a match or a derivative."""
    if finding.kind == DERIVATIVE:
        return finding.tier != "benign"
    exact = finding.distance is None or finding.distance == 0
    return (
        finding.kind == MATCH
        and finding.tier != "benign"
        and not (finding.tier == "confirmed" and exact)
    )


def _deciding(rules: Sequence[Rule]) -> tuple[tuple[Action, Need], ...]:
    """What the rules need that the action depends on.

    A rule that asks for more than another which holds or blocks, for no stronger an action, names
    a category at most.
    """
    needs = [(rule.action, Need(rule.condition)) for rule in rules]
    kept: list[tuple[Action, Need]] = []
    for action, need in sorted(needs, key=lambda one: -stronger(one[0])):
        rest = [one for one in kept if not (need.implies(one[1]) and one[0] == action != "allow")]
        if not any(other != "allow" and wider.implies(need) for other, wider in rest):
            kept = [*rest, (action, need)]
    return tuple(kept)


def _giver(action: Action, need: Need, view: View, sure: View) -> _Giver:
    """What a rule may give, as `_apply` gives it; `sure` is the view on the verified findings."""
    values, kinds = need.outlook(view)
    hold = stronger("hold")
    gives = {_NOTHING} if values & FALSE else set()
    if values & ERROR:
        gives.add(hold)
    if values & TRUE and action != "block":
        gives.add(stronger(action))
    elif values & TRUE:
        stands, more = need.outlook(sure)
        kinds |= more
        if stands & TRUE:
            gives.add(stronger(action))
        if stands & ~TRUE:
            gives.add(hold)
    return _Giver(frozenset(gives), kinds)


def _true(condition: Condition, activation: object) -> bool:
    try:
        return condition.holds(activation)
    except Failed:
        return False


def _rests_on(live: tuple[int, ...], condition: Condition, seen: Input) -> tuple[int, ...]:
    """The findings that a rule which holds on `live` names.

    None if it holds without any; else each that suffices alone; else a smallest set: one from
    which no run of findings can be taken away.
    """

    def holds(positions: tuple[int, ...]) -> bool:
        return _true(condition, seen.rules(positions))

    if not live or holds(()):
        return ()
    alone = tuple(n for n in live if holds((n,)))
    if alone:
        return alone
    kept = live
    size = len(live) // 2
    while size:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if holds(rest):
                kept = rest
            else:
                start += size
        size //= 2
    return kept


def _outcome(
    rule: Rule, given: Action | None, named: tuple[int, ...], category: str | None, reason: str
) -> RuleOutcome:
    return RuleOutcome(rule.id, rule.condition.text, rule.action, given, named, category, reason)


def _failed(rule: Rule, error: str) -> RuleOutcome:
    reason = f"Rule {rule.id} could not be evaluated: {error}"
    outcome = _outcome(rule, "hold", (), rule.category or None, reason)
    return replace(outcome, error=error)


def _clamp(outcome: RuleOutcome, clamp: str) -> RuleOutcome:
    what = "a match that nobody verified" if clamp == UNVERIFIED else "a derivative"
    text = f"Rule {outcome.rule} asks to block on {what}: it holds"
    return replace(outcome, given="hold", clamped=text, clamp=clamp)


def _reason(text: str, findings: Sequence[Finding], named: Sequence[int]) -> str:
    described = [findings[n].describe() for n in named[:SHOWN]]
    if len(named) > SHOWN:
        described.append(f"{len(named) - SHOWN} more")
    return f"{text}: {'; '.join(described)}" if described else text


def _set_aside(findings: Sequence[Finding], suppressed: Sequence[Suppression]) -> list[str]:
    lines = [
        f"Set aside by {item.rule}: {findings[item.finding].describe()}, "
        f"for {findings[item.benign].describe()}"
        for item in suppressed[:SHOWN]
    ]
    if len(suppressed) > SHOWN:
        lines.append(f"Set aside: {len(suppressed) - SHOWN} more")
    return lines
