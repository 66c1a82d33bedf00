"""What the policy still needs to know: whatever comes of other kinds, the action stays."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_policies import KINDS, contexts, facts, findings_of, policies
from tutela.findings import CALLER, Finding, nudity
from tutela.policy import Context, MediaFacts, Policy
from tutela.policy.expressions import RULE_VARIABLES, Condition, Input
from tutela.policy.needs import ANY, ERROR, FALSE, TRUE, Need, View
from tutela.policy.reference import load

HERE = Context(surface="feed", tags={"age": "new"})
PICTURE = MediaFacts("jpeg", 640, 480, 1)
SHIPPED = Policy.load()
DETECTED = frozenset({"trigger", "nudity", "minor", "provenance", "forensics", "synthetic"})
A, B = (f'findings.exists(f, f.kind == "{kind}")' for kind in "ab")
FAILS = 'findings.exists(f, f.kind == "b" && 1 / f.distance > 0)'


def match(tier: str, distance: int = 4) -> Finding:
    return Finding("match", "pdq", "1", "pdq", bank="b", tier=tier, distance=distance)


def policy(*rules: tuple[str, str], default: str = "allow", more: str = "") -> Policy:
    text = f'[policy]\nname = "test"\ndefault = "{default}"\n{more}\n'
    for n, (when, action) in enumerate(rules):
        text += f"[[rule]]\nid = 'r{n}'\nwhen = '''{when}'''\naction = '{action}'\n"
    return Policy.parse(text)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(policies(), st.integers(0, 2**32))
def test_kinds_that_are_not_needed_change_nothing(chosen: Policy, seed: int) -> None:
    """The naive twin: every subset of what could come, put in anywhere."""
    chance = random.Random(seed)
    for _ in range(10):
        there = findings_of(chance, KINDS, 3)
        context, media = contexts(chance), facts(chance)
        pending = frozenset(chance.sample(sorted(KINDS), chance.randint(1, 3)))
        needed = chosen.open_kinds(there, context, media, pending)
        assert needed <= pending
        assert needed <= chosen.open_kinds(there, context, None, pending)
        if needed == pending:
            continue
        action = chosen.decide(there, context, media).action
        coming = findings_of(chance, pending - needed, 3)
        for size in range(1, len(coming) + 1):
            for some in combinations(coming, size):
                after = list(there)
                for one in some:
                    after.insert(chance.randint(0, len(after)), one)
                assert chosen.decide(after, context, media).action == action


@pytest.mark.parametrize(
    ("there", "pending", "needed"),
    [
        ([], DETECTED, {"trigger", "nudity", "minor"}),
        ([], {"nudity"}, set()),
        ([], {"minor", "provenance", "synthetic", "forensics", "voice", "text"}, set()),
        ([Finding("nudity", "n", likelihood=0.4)], DETECTED - {"nudity"}, {"trigger"}),
        ([Finding("nudity", "n", likelihood=0.9)], DETECTED - {"nudity"}, {"trigger", "minor"}),
        ([nudity(0.9)], DETECTED, {"trigger", "nudity", "minor"}),
        ([match("confirmed")], DETECTED, set()),
        ([match("reported")], DETECTED, {"trigger"}),
        ([match("reported")], DETECTED - {"trigger"}, set()),
        ([Finding("unexamined", "media")], DETECTED - {"trigger"}, set()),
        ([Finding("derivative", "local", tier="reported")], {"nudity"}, {"nudity"}),
        ([Finding("derivative", "local", tier="reviewed")], {"nudity"}, set()),
        ([Finding("derivative", "local", tier="benign")], {"nudity"}, set()),
        ([match("confirmed", 0)], {"match", "derivative", "nudity"}, set()),
        # A harmless match that is nearer could still set it aside.
        ([match("confirmed")], {"match"}, {"match"}),
    ],
)
def test_the_shipped_policy(there: list[Finding], pending: set[str], needed: set[str]) -> None:
    assert SHIPPED.open_kinds(there, HERE, PICTURE, frozenset(pending)) == needed


@pytest.mark.parametrize(
    ("when", "there", "needed"),
    [
        ('findings.exists(f, f.kind == "a")', [], "a"),
        ('findings.exists(f, "a" == f.kind)', [], "a"),
        ('findings.exists(f, f.kind in ["a", "b"])', [], "ab"),
        ('findings.exists(f, f.kind != "a")', [], "bc"),
        ('findings.exists(f, !(f.kind in ["a", "b"]) && f.likelihood > 0.5)', [], "c"),
        ('findings.exists(f, f.kind == "a" ? f.likelihood > 0.5 : f.kind == "b")', [], "ab"),
        ('findings.exists(f, f.kind == "a" && 1 / f.distance > 0)', [], "a"),
        ('findings.exists(f, f.kind == "a")', ["a"], ""),
        ('findings.all(f, f.kind == "a")', [], "bc"),
        ('findings.all(f, f.kind != "a" || f.likelihood < 0.5)', [], "a"),
        ('findings.all(f, f.kind != "a")', ["a"], ""),
        ('!findings.exists(f, f.kind == "a")', [], "a"),
        ('findings.exists(f, f.kind == "a") && findings.exists(f, f.kind == "b")', [], "ab"),
        ('findings.exists(f, f.kind == "a") && findings.exists(f, f.kind == "x")', [], ""),
        ('findings.exists(f, f.kind == "a") && findings.exists(f, f.kind == "b")', ["a"], "b"),
        ('findings.exists(f, f.kind == "a") || findings.exists(f, f.kind == "b")', ["a"], ""),
        ('context.surface == "feed" && findings.exists(f, f.kind == "a")', [], "a"),
        ('context.surface == "mail" && findings.exists(f, f.kind == "a")', [], ""),
        ('context.surface == "mail" ? findings.size() > 1 : findings[0].tier == ""', ["x"], "abc"),
        ('media.width < 9 && findings.exists(f, f.kind == "a")', [], ""),
        ('findings.filter(f, f.kind == "a").size() > 1', [], "a"),
        ('findings.exists_one(f, f.kind == "a")', ["a"], "a"),
        ('findings.map(f, f.kind == "a", f.likelihood).exists(x, x > 0.5)', [], "a"),
        ("findings.size() > 9", [], "abc"),
        ('findings.exists(f, f.kind == "a" && findings.exists(g, g.kind == "b"))', ["a"], "ab"),
        ('findings.exists(f, f.kind.startsWith("a"))', [], "abc"),
        ('["a"].exists(findings, findings == "b")', [], "abc"),
        ('{"a": findings.size()}["a"] > 9', [], "abc"),
    ],
)
def test_kinds_are_read_from_the_condition(when: str, there: list[str], needed: str) -> None:
    findings = [Finding(kind, "probe") for kind in there]
    chosen = policy((when, "hold"))
    assert chosen.open_kinds(findings, HERE, PICTURE, frozenset("abc")) == set(needed)


def test_the_strongest_action_needs_nothing_more() -> None:
    chosen = policy(
        ('findings.exists(f, f.kind == "a")', "block"),
        ('findings.exists(f, f.kind == "b")', "hold"),
    )
    some = frozenset("ab")
    assert chosen.open_kinds([Finding("a", "probe")], HERE, PICTURE, some) == set()
    assert chosen.open_kinds([Finding("b", "probe")], HERE, PICTURE, some) == {"a"}
    assert chosen.open_kinds([], HERE, PICTURE, some) == {"a", "b"}


@pytest.mark.parametrize(
    ("rules", "there", "needed"),
    [
        # It holds, and could block at most if the derivative were something else.
        ([('findings.exists(f, f.kind == "derivative")', "block"), ("true", "hold")], "", ""),
        ([('findings.exists(f, f.kind == "a")', "block"), ("true", "hold")], "", "a"),
        # A narrower rule adds nothing, unless it can fail where the wider one allows.
        ([(A, "hold"), (f"{A} && {B}", "hold")], "", "a"),
        ([(A, "hold"), (f"{B} && {A}", "hold")], "", "a"),
        ([(A, "block"), (f"{A} && {B}", "hold")], "", "a"),
        ([(A, "hold"), (f"{A} && {B}", "block")], "", "ab"),
        ([(f"{A} && {B}", "hold"), (A, "hold")], "", "a"),
        ([(A, "allow"), (f"{A} && {FAILS}", "allow")], "a", "b"),
        ([(f"{A} && {FAILS}", "allow"), (A, "allow")], "a", "b"),
        ([(A, "allow"), (f"{A} && {B}", "hold")], "a", "b"),
    ],
)
def test_rules_together(rules: list[tuple[str, str]], there: str, needed: str) -> None:
    findings = [Finding(kind, "probe") for kind in there]
    pending = frozenset({"a", "b", "derivative"})
    assert policy(*rules).open_kinds(findings, HERE, PICTURE, pending) == set(needed)


def test_a_match_to_come_may_verify_a_block_that_is_held() -> None:
    chosen = policy(('findings.exists(f, f.kind == "match")', "block"))
    assert chosen.decide([match("reported")], HERE).action == "hold"
    assert chosen.open_kinds([match("reported")], HERE, PICTURE, frozenset({"match"})) == {"match"}


def test_what_may_be_set_aside_is_not_counted_on() -> None:
    aside = "[[suppress]]\nid = 's'\nwhen = 'benign.tier == \"benign\"'"
    failing = "[[suppress]]\nid = 's'\nwhen = '1 / benign.distance > 0'"
    shown = ('findings.exists(f, f.kind == "match")', "hold")
    derivative, some = frozenset({"derivative"}), match("reported")
    assert policy(shown).open_kinds([some], HERE, PICTURE, derivative) == set()
    assert policy(shown, more=aside).open_kinds([some], HERE, PICTURE, derivative) == derivative
    assert policy(shown, more=aside).open_kinds([some], HERE, PICTURE, frozenset("a")) == set()
    blocking = policy(("true", "hold"), (shown[0], "block"), more=aside)
    assert blocking.open_kinds([match("confirmed")], HERE, PICTURE, derivative) == derivative
    assert policy(more=failing).open_kinds([some], HERE, PICTURE, derivative) == derivative
    assert policy(more=failing).open_kinds([some], HERE, PICTURE, frozenset("a")) == set()


def test_what_the_caller_found_is_weighed_with_and_without() -> None:
    chosen = policy(('findings.all(f, f.kind != "a")', "hold"))
    assert chosen.decide([Finding("a", CALLER, likelihood=1.0)], HERE).action == "hold"
    there = [Finding("a", CALLER, likelihood=1.0)]
    assert chosen.open_kinds(there, HERE, PICTURE, frozenset("a")) == {"a"}
    assert chosen.open_kinds([Finding("a", "own")], HERE, PICTURE, frozenset("a")) == set()


def test_an_incomplete_examination_is_waited_for_only_where_it_may_come() -> None:
    chosen = policy(("false", "block"))
    assert chosen.open_kinds([], HERE, PICTURE, frozenset({"unexamined"})) == {"unexamined"}
    assert chosen.open_kinds([], HERE, PICTURE, frozenset({"nudity"})) == set()
    # Held for it in any case, whatever else would hold.
    there = [Finding("unexamined", "media")]
    assert policy((A, "hold")).open_kinds(there, HERE, PICTURE, frozenset("a")) == set()


def test_unknown_media_leaves_open_what_depends_on_it() -> None:
    chosen = policy(('media.width < 9 && findings.exists(f, f.kind == "a")', "hold"))
    assert chosen.open_kinds([], HERE, None, frozenset("ab")) == {"a"}
    assert chosen.open_kinds([], HERE, PICTURE, frozenset("ab")) == set()
    # What is worth preparing before anything is known of the content.
    every = DETECTED | {"match", "derivative"}
    needed = {"match", "derivative", "trigger", "nudity", "minor"}
    assert SHIPPED.open_kinds([], HERE, None, every) == needed


def test_a_condition_that_may_fail_may_hold() -> None:
    allowing = policy(('findings.exists(f, f.kind == "a" && 1 / f.distance > 0)', "allow"))
    assert allowing.open_kinds([], HERE, PICTURE, frozenset("a")) == {"a"}
    total = policy(('findings.exists(f, f.kind == "a" && f.distance > 0)', "allow"))
    assert total.open_kinds([], HERE, PICTURE, frozenset("a")) == set()


def test_a_condition_too_deep_to_take_apart_needs_every_kind() -> None:
    condition = Condition('findings.exists(f, f.kind == "a")', RULE_VARIABLES)
    seen = Input([], [], HERE, PICTURE, load().jurisdiction("FR"))
    view = View(seen.rules(()), frozenset("ab"), True)
    assert Need(condition).outlook(view) == (TRUE | FALSE, frozenset("a"))

    class Unreadable(Condition):
        @property
        def tree(self) -> bytes:
            return b"\xff"

    unread = Need(Unreadable(condition.text, RULE_VARIABLES))
    assert unread.outlook(view) == (ANY, frozenset("ab"))
    assert ANY == TRUE | FALSE | ERROR
