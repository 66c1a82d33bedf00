"""Checks a policy file without running it on content: mistakes, and rules that ask for too much.

Whether a rule could ever break what must always hold can't be decided in general, so each one is
tried on made-up findings shaped by the names and numbers in its own condition. The engine
holds the line at run time in any case; the warning tells the author beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

from tutela.errors import PolicyError
from tutela.findings import DERIVATIVE, FAILURE, MATCH, NUDITY, UNEXAMINED, Finding
from tutela.media.types import MediaFacts
from tutela.policy import reference as reference_data
from tutela.policy.decision import Context
from tutela.policy.engine import (
    DERIVATIVE_HOLDS,
    NOT_ALLOWED,
    UNVERIFIED,
    Policy,
    read_text,
    source_name,
)
from tutela.policy.rules import Document, Problem, Rule, read
from tutela.policy.source import Source

MAX_PROBES = 400
"""Made-up inputs that one rule is tried on."""

_STRING = re.compile(r"\"([^\"\\\n]*)\"|'([^'\\\n]*)'")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
_MISSING = re.compile(r"Key not found in map : (\".*\")")
_CLAMPED = {
    UNVERIFIED: "a match that nobody verified",
    DERIVATIVE_HOLDS: "a derivative of a protected photo",
}
_TEXTS = (
    *("bank", "signal", "category", "source", "owner", "part", "variant", "detail"),
    *("claim", "state", "signer"),
)
_PLACES = ("surface", "account", "jurisdiction", "locale")


def check(path: Path | str | None) -> list[Problem]:
    """Every problem of the policy file, in order of its lines; the shipped one's for None.

    Raises `PolicyError` only when the file can't be read.
    """
    return check_text(read_text(path), source_name(path))


def check_text(text: str, name: str = "policy") -> list[Problem]:
    """Every problem of this policy text, in order of its lines."""
    try:
        source = Source(text, name)
    except PolicyError as error:
        return [Problem(error.line, 1, "", error.message)]
    document = read(source, reference_data.load())
    if document.problems:
        return list(document.problems)
    return sorted(_overreaching(source, document, Policy.parse(text, name)))


def _overreaching(source: Source, document: Document, policy: Policy) -> Iterator[Problem]:
    for rule in document.rules:
        place = source.place("rule", rule.position, "when")
        for problem in _try(rule, document):
            yield Problem(place.line, place.column, rule.id, problem, "warning")
    for kind in (UNEXAMINED, FAILURE):
        explanation = policy.explain([Finding(kind, "probe")], Context())
        if NOT_ALLOWED not in explanation.decision.rules:
            continue
        place = source.place("policy", "default")
        allowing = ""
        for rule, outcome in zip(document.rules, explanation.outcomes, strict=True):
            if outcome.given == "allow":
                place, allowing = source.place("rule", rule.position, "action"), rule.id
        text = f"lets content with a finding of kind '{kind}' through; it will be held instead"
        yield Problem(place.line, place.column, allowing, text, "warning")


def _try(rule: Rule, document: Document) -> Iterator[str]:
    """What this rule does on made-up input that its author should know."""
    alone = replace(document, rules=(rule,), suppressions=(), problems=())
    policy = Policy(alone, "probe")
    failed = False
    clamped: set[str] = set()
    for findings, context in islice(_probes(rule.condition.text), MAX_PROBES):
        outcome = policy.explain(findings, context, MediaFacts()).outcomes[0]
        if outcome.error and not failed:
            failed = True
            cure = _cure(outcome.error)
            yield f"fails on some content, which is then held: {outcome.error}{cure}"
        if outcome.clamp and outcome.clamp not in clamped:
            clamped.add(outcome.clamp)
            yield f"asks to block on {_CLAMPED[outcome.clamp]}; it will hold instead"


def _cure(error: str) -> str:
    key = _MISSING.search(error)
    return f"; ask '{key[1]} in context.tags &&' first" if key else ""


def _probes(condition: str) -> Iterator[tuple[list[Finding], Context]]:
    """Unverified matches, and derivatives if it asks for them, in contexts.

    Their values are taken from the condition's own literals.
    """
    words = list(dict.fromkeys(a or b for a, b in _STRING.findall(condition)))
    figures = [float(figure) for figure in _NUMBER.findall(condition)]
    most = max([0.0, *figures]) + 1.0
    near = sorted({0, 1, *(int(figure) + step for figure in figures for step in (0, 1))})
    fields = [name for name in _TEXTS if f".{name}" in condition]
    places = [name for name in _PLACES if f".{name}" in condition]
    tags: list[dict[str, str]] = [{}]
    if ".tags" in condition:
        tags += [dict.fromkeys(words, word) for word in words]
    yield [], Context()
    choices = product(
        *([*words, ""] for _ in fields),
        *([*words, ""] for _ in places),
        tags,
        near,
        (1, 5),
    )
    for rest in choices:
        texts, rest = rest[: len(fields)], rest[len(fields) :]
        where, (labels, distance, count) = rest[: len(places)], rest[len(places) :]
        finding = Finding(
            MATCH,
            "probe",
            tier="reported",
            distance=distance,
            entry=0,
            score=most,
            likelihood=1.0,
            query_share=1.0,
            index_share=1.0,
            end=most,
        )
        finding = replace(finding, **dict(zip(fields, texts, strict=True)))
        context = Context(tags=labels, **dict(zip(places, where, strict=True)))
        yield [finding] * count, context
        if DERIVATIVE in words:
            nude = Finding(NUDITY, "probe", likelihood=1.0)
            for tier in ("reviewed", "confirmed"):
                shown = replace(finding, kind=DERIVATIVE, tier=tier, distance=None)
                yield [shown], context
                yield [shown, nude], context
