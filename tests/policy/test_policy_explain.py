"""`explain`, `replay` and the shipped data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import pytest

from tutela.findings import FAILURE, MATCH, TRIGGER, UNEXAMINED, Finding
from tutela.policy import Context, Policy, Recorded, replay, summarise
from tutela.policy import reference as reference_data

SHIPPED = Policy.load()
GREEDY = Policy.parse(
    """
[policy]
name = "greedy"
default = "allow"

[[rule]]
id = "anything"
when = "findings.size() > 0"
action = "block"
category = "csam"

[[rule]]
id = "tagged"
when = 'context.tags["new"] == "yes"'
action = "hold"
"""
)


def match(tier: str, distance: int, **more: object) -> Finding:
    return replace(Finding(MATCH, "pdq", "1", "pdq", tier, "", tier, "", 7, distance), **more)


CASES: dict[str, tuple[Policy, list[Finding]]] = {
    "nothing": (SHIPPED, []),
    "confirmed": (SHIPPED, [match("confirmed", 2, category="csam"), match("reported", 9)]),
    "reported": (SHIPPED, [match("reported", 0, variant="mirrored", part="frame 3")]),
    "benign": (SHIPPED, [match("reported", 12), match("benign", 4)]),
    "partly-benign": (SHIPPED, [match("reviewed", 12), match("benign", 4), match("confirmed", 0)]),
    "unexamined": (SHIPPED, [Finding(UNEXAMINED, "media", detail="too-slow: over 2 s")]),
    "trigger": (SHIPPED, [Finding(TRIGGER, "trigger"), Finding(FAILURE, "nudity", "2")]),
    "clamped": (GREEDY, [match("reported", 3)]),
    "many": (SHIPPED, [match("reported", n) for n in range(5)]),
}


@pytest.mark.parametrize("name", CASES)
def test_explanations(name: str, golden: Callable[[str, str], None]) -> None:
    policy, findings = CASES[name]
    explained = policy.explain(findings, Context(surface="feed"))
    version = policy.version
    golden(f"explain-{name}.txt", explained.render().replace(version, f"{policy.name}@version"))
    data = json.loads(json.dumps(explained.to_json()))
    assert data["decision"] == json.loads(json.dumps(explained.decision.to_json()))
    assert [row["rule"] for row in data["rules"]] == list(policy.rules)


def _history(read: list[str]) -> Iterator[Recorded]:
    for n, (policy, findings) in enumerate(CASES.values()):
        read.append(str(n))
        context = Context(surface="feed")
        decision = policy.decide(findings, context)
        yield Recorded(str(n), findings, context, None, decision)


def test_replay_is_lazy_and_finds_what_changes() -> None:
    read: list[str] = []
    changes = replay(_history(read), SHIPPED)
    assert read == []
    assert next(changes).id == "0"
    assert read == ["0"]
    changed = [change for change in replay(_history([]), SHIPPED) if change.changed]
    assert [(c.id, c.before.action, c.after.action) for c in changed] == [("7", "hold", "hold")]
    assert (changed[0].before.category, changed[0].after.category) == ("csam", None)


def test_replay_sums_up() -> None:
    same = summarise(replay(_history([]), SHIPPED))
    assert (same.total, same.changed) == (9, 1)
    assert same.moves == {("hold", "hold"): 4, ("block", "block"): 3, ("allow", "allow"): 2}
    greedy = summarise(replay(_history([]), GREEDY))
    assert greedy.moves[("hold", "block")] == 1
    assert greedy.moves[("allow", "hold")] == 2
    assert list(greedy.moves) == sorted(greedy.moves, reverse=True)


def test_categories_are_dated_sourced_and_ordered() -> None:
    rows = list(reference_data.load().categories.values())
    assert [row.severity for row in rows] == sorted({row.severity for row in rows}, reverse=True)
    assert {"csam", "csam-ai-generated", "csam-ai-manipulated", "ibsa", "test", "unexamined"} <= {
        row.id for row in rows
    }
    for row in rows:
        assert row.title
        assert row.note
        assert row.source
        date.fromisoformat(row.date)
        assert re.fullmatch(r"[a-z-]+", row.id)
        assert "porn" not in (row.title + row.note).lower()


def test_jurisdictions_say_what_is_verified() -> None:
    reference = reference_data.load()
    assert set(reference.jurisdictions) == {"US", "UK", "EU", "AU", "IN", "BR"}
    assert len([code for code, row in reference.codes.items() if row == "EU"]) == 28
    for row in reference.jurisdictions.values():
        topics = {duty.topic for duty in row.duties}
        assert topics == {"definition", "removal", "report", "preserve", "private-messages"}
        for duty in row.duties:
            assert duty.status in ("verified", "unverified")
            assert duty.source or duty.status == "unverified"
            assert duty.statement
            date.fromisoformat(duty.date)


@pytest.mark.parametrize(
    ("code", "row"),
    [("us", "US"), ("US-NY", "US"), ("GB", "UK"), ("GB-SCT", "UK"), ("EU", "EU"), ("pl", "EU")],
)
def test_codes_find_their_row(code: str, row: str) -> None:
    assert reference_data.load().jurisdiction(code).code == row


@pytest.mark.parametrize("code", ["", "XX", "USA", "U", "-US"])
def test_unknown_codes_are_not_guessed(code: str) -> None:
    found = reference_data.load().jurisdiction(code)
    assert not found.known
    assert found.removal_hours is None
