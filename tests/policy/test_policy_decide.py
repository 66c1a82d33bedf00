"""Decisions: what the shipped policy says, and what no policy can change."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.errors import StoreError
from tutela.findings import FAILURE, MATCH, TRIGGER, UNEXAMINED, Finding
from tutela.policy import Context, Decision, MediaFacts, Policy
from tutela.policy.decision import ACTIONS

HERE = Context(surface="feed", account="a1", jurisdiction="FR", tags={"trusted": "no"})
SHIPPED = Policy.load()


def match(tier: str, distance: int | None = 0, signal: str = "pdq", **more: object) -> Finding:
    found = Finding(MATCH, signal, "1", signal, bank=f"{tier} bank", tier=tier, distance=distance)
    return replace(found, **more)


def policy(*tables: str, default: str = "allow") -> Policy:
    return Policy.parse(f'[policy]\nname = "test"\ndefault = "{default}"\n' + "\n".join(tables))


def rule(identifier: str, when: str, action: str, more: str = "") -> str:
    return f"[[rule]]\nid = '{identifier}'\nwhen = '''{when}'''\naction = '{action}'\n{more}"


ANY = "findings.size() > 0"


@pytest.mark.parametrize(
    ("findings", "action", "rules", "category"),
    [
        ([], "allow", (), None),
        ([match("confirmed", 12)], "block", ("confirmed-match",), None),
        ([match("reviewed", 12, category="ibsa")], "block", ("reviewed-match",), "ibsa"),
        ([match("reported", 0)], "hold", ("reported-match",), None),
        ([match("benign", 0)], "allow", (), None),
        ([Finding(TRIGGER, "trigger")], "block", ("trigger",), "test"),
        ([Finding(UNEXAMINED, "media")], "hold", ("not-examined",), "unexamined"),
        ([Finding(FAILURE, "nudity")], "hold", ("not-examined",), "unexamined"),
        (
            [match("confirmed", category="csam"), match("reviewed", category="ibsa")],
            "block",
            ("confirmed-match", "reviewed-match"),
            "csam",
        ),
        ([match("reported"), Finding(UNEXAMINED, "m")], "hold", None, "unexamined"),
        ([Finding("synthetic", "detector", likelihood=0.99)], "allow", (), None),
    ],
)
def test_the_shipped_policy(
    findings: list[Finding], action: str, rules: tuple[str, ...] | None, category: str | None
) -> None:
    decision = SHIPPED.decide(findings, HERE)
    assert (decision.action, decision.category) == (action, category)
    assert rules is None or decision.rules == rules
    assert decision.reasons
    assert decision.clamped == ()
    assert decision.policy == SHIPPED.version


@pytest.mark.parametrize(
    ("finding", "benign", "aside"),
    [
        (match("reported", 12), match("benign", 4), True),
        (match("reported", 4), match("benign", 4), True),
        (match("reported", 3), match("benign", 4), False),
        (match("reported", 31), match("benign", 11), False),
        (match("reported", 12, part="frame 3"), match("benign", 4), False),
        (match("reported", 12, part="frame 3"), match("benign", 4, part="frame 3"), True),
        (match("reported", 12, "local"), match("benign", 4), False),
        (match("reported", 12, part="frame 3"), match("benign", 0, "sha256"), True),
        (match("reported", 12), match("benign", 0, "md5"), False),
        (match("reported", 12), match("benign", None), False),
        (match("reviewed", 20), match("benign", 2), True),
        (match("confirmed", 20), match("benign", 2), True),
        (match("confirmed", 0), match("benign", 0), False),
        (match("confirmed", 0, "sha256"), match("benign", 0, "sha256"), False),
        (match("confirmed", None), match("benign", 0), False),
        (Finding(UNEXAMINED, "media"), match("benign", 0, "sha256"), False),
        (Finding(TRIGGER, "trigger"), match("benign", 0, "sha256"), False),
    ],
)
def test_benign_matches_set_others_aside(finding: Finding, benign: Finding, aside: bool) -> None:
    for findings in ([finding, benign], [benign, finding]):
        explained = SHIPPED.explain(findings, HERE)
        assert bool(explained.suppressed) == aside
        assert (explained.decision.action == "allow") == aside
        assert any("known-false-match" in why for why in explained.decision.reasons) == aside


def test_no_suppression_touches_a_confirmed_exact_match() -> None:
    greedy = policy(
        "[[suppress]]\nid = 'all'\nwhen = 'true'\n",
        rule("confirmed", 'findings.exists(f, f.tier == "confirmed")', "block"),
    )
    assert greedy.decide([match("confirmed", 0), match("benign", 0)], HERE).action == "block"
    assert greedy.decide([match("confirmed", 1), match("benign", 0)], HERE).action == "allow"
    assert greedy.decide([Finding(UNEXAMINED, "m"), match("benign", 0)], HERE).action == "hold"


def test_the_strongest_action_wins_and_names_its_rules() -> None:
    many = policy(
        rule("a", "true", "allow"),
        rule("b", ANY, "hold", "category = 'csam'"),
        rule("c", 'findings.exists(f, f.kind == "x")', "block", "category = 'test'"),
        rule("d", 'context.surface == "feed" && findings.size() == 1', "block"),
        default="hold",
    )
    assert many.decide([], HERE).rules == ("a",)
    decision = many.decide([Finding("x", "d", category="ibsa")], HERE)
    assert (decision.action, decision.rules) == ("block", ("c", "d"))
    assert decision.category == "ibsa"
    assert decision.rests_on == (0,)
    assert many.decide([Finding("y", "d"), Finding("y", "d")], HERE).rules == ("b",)


def test_the_default_when_no_rule_holds() -> None:
    assert policy(rule("a", ANY, "block"), default="hold").decide([], HERE).action == "hold"
    assert policy(rule("a", ANY, "block")).decide([], HERE).action == "allow"


@pytest.mark.parametrize(
    "when",
    [
        'findings.exists(f, f.tier == "reported")',
        ANY,
        "findings.size() >= 3",
        'findings.filter(f, f.kind == "match").size() > 1',
        'findings.exists(f, f.bank == "reported bank") && context.surface == "feed"',
        'findings.exists(f, f.tier != "confirmed")',
        "findings[0].distance >= 0",
    ],
)
@pytest.mark.parametrize("tier", ["reported", "benign", "", "madeup"])
def test_unverified_matches_never_block(when: str, tier: str) -> None:
    greedy = policy(rule("greedy", when, "block"))
    findings = [match("reported"), *(match(tier, 5) for _ in range(4))]
    decision = greedy.decide(findings, HERE)
    assert decision.action == "hold"
    assert decision.rules == ("greedy", "always:unverified-never-blocks")
    assert len(decision.clamped) == 1
    proof = match("confirmed", bank="reported bank")
    decision = greedy.decide([proof, proof, proof, *findings], HERE)
    if "f.tier" in when:
        assert decision.action == "hold"
    else:
        assert decision.action == "block"
        assert set(decision.rests_on) <= {0, 1, 2}


def test_a_block_that_needs_no_finding_stands() -> None:
    strict = policy(rule("closed", 'context.surface == "feed"', "block"))
    decision = strict.decide([match("reported")], HERE)
    assert (decision.action, decision.rules, decision.rests_on) == ("block", ("closed",), ())


@pytest.mark.parametrize("kind", [UNEXAMINED, FAILURE])
@pytest.mark.parametrize(
    "tables", [[], [rule("a", "true", "allow")], [rule("a", "context.locale == 'x'", "block")]]
)
def test_unexamined_content_is_never_allowed(kind: str, tables: list[str]) -> None:
    decision = policy(*tables).decide([Finding(kind, "video", detail="too slow")], HERE)
    assert decision.action == "hold"
    assert decision.rules == ("always:unexamined-never-allowed",)
    assert decision.category == "unexamined"
    assert "too slow" in decision.reasons[0]
    assert decision.clamped


def test_a_failing_condition_holds_and_names_its_rule() -> None:
    broken = policy(
        rule("fine", "true", "allow"),
        rule("broken", 'context.tags["absent"] == "x"', "allow"),
    )
    decision = broken.decide([], HERE)
    assert decision.action == "hold"
    assert decision.rules == ("broken", "always:failed-condition-holds")
    assert "absent" in decision.reasons[0]
    assert broken.decide([], replace(HERE, tags={"absent": "y"})).action == "allow"


def test_a_failing_suppression_holds() -> None:
    broken = policy("[[suppress]]\nid = 's'\nwhen = 'finding.entry / 0 == 1'\n")
    decision = broken.decide([match("reported"), match("benign")], HERE)
    assert decision.action == "hold"
    assert decision.rules == ("always:failed-condition-holds",)
    assert decision.reasons[0].startswith("Rule s could not be evaluated")


def test_alike_matches_are_set_aside_together() -> None:
    many = [match("reported", 12, entry=n) for n in range(3000)]
    benign = [match("benign", 4, entry=n) for n in range(3000)]
    explained = SHIPPED.explain([*many, *benign], HERE)
    assert explained.decision.action == "allow"
    assert [item.finding for item in explained.suppressed] == list(range(3000))
    assert explained.decision.reasons[-1] == "Set aside: 2997 more"
    one = policy("[[suppress]]\nid = 's'\nwhen = 'finding.entry == 1 && benign.entry == 9'\n")
    explained = one.explain([match("reported", entry=n) for n in (1, 2)] + benign[8:11], HERE)
    assert [(item.finding, item.benign) for item in explained.suppressed] == [(0, 3)]


def test_too_many_pairs_hold() -> None:
    frames = [f"frame {n}" for n in range(200)]
    flood = [match(tier, 4, part=part) for part in frames for tier in ("reported", "benign")]
    decision = SHIPPED.decide(flood, HERE)
    assert decision.action == "hold"
    assert decision.rules == ("reported-match", "always:failed-condition-holds")
    assert "40000 pairs" in decision.reasons[1]


def test_a_rule_names_the_findings_it_rests_on() -> None:
    both = policy(
        rule(
            "both",
            'findings.exists(f, f.kind == "minor") && findings.exists(f, f.kind == "nudity")',
            "hold",
        ),
        rule("either", 'findings.exists(f, f.kind == "minor" && f.likelihood > 0.5)', "allow"),
    )
    noise = [Finding("noise", "d", likelihood=0.1)] * 30
    findings = [*noise, Finding("minor", "d", likelihood=0.9), *noise, Finding("nudity", "d")]
    explained = both.explain([*findings, Finding("minor", "d", likelihood=0.8)], HERE)
    named = explained.outcomes[0].findings
    assert len(named) == 2
    assert {([*findings, findings[30]])[n].kind for n in named} == {"minor", "nudity"}
    assert explained.outcomes[1].findings == (30, 62)


def test_conditions_read_the_media_and_the_jurisdiction() -> None:
    held = policy(
        rule("large", "media.width * media.height > 1000000 && media.format == 'gif'", "hold"),
        rule("slow", "has(jurisdiction.removal_hours) && jurisdiction.removal_hours < 3", "hold"),
        rule("private", "jurisdiction.private_messages_excluded", "hold"),
        rule("unknown", "context.jurisdiction != '' && !jurisdiction.known", "hold"),
        rule("severe", "findings.exists(f, f.severity >= 90)", "hold"),
    )
    nowhere = Context()
    assert held.decide([], nowhere, MediaFacts("gif", 2000, 2000, 3, 10)).rules == ("large",)
    assert held.decide([], nowhere, MediaFacts("png", 2000, 2000, 3, 10)).rules == ()
    assert held.decide([], Context(jurisdiction="in")).rules == ("slow",)
    assert held.decide([], Context(jurisdiction="US-CA")).rules == ()
    assert held.decide([], Context(jurisdiction="DE")).rules == ("private",)
    assert held.decide([], Context(jurisdiction="XX")).rules == ("unknown",)
    assert held.decide([Finding("x", "d", category="csam")], nowhere).rules == ("severe",)
    assert held.decide([Finding("x", "d", category="unlisted")], nowhere).rules == ()


def test_text_that_is_no_unicode_is_decided_all_the_same() -> None:
    odd = Context(surface="\ud800", tags={"\udfff": "é"})
    assert SHIPPED.decide([Finding(TRIGGER, "t", detail="\ud800")], odd).action == "block"


def test_the_version_follows_the_text() -> None:
    one, two = policy(rule("a", "true", "hold")), policy(rule("a", "true", "hold") + " ")
    assert one.version.startswith("test@")
    assert one.version != two.version
    assert one.version == policy(rule("a", "true", "hold")).version


def test_threads_share_a_policy() -> None:
    cases = [
        [match("confirmed", 3)],
        [match("reported", 3)],
        [],
        [match("reported", 9), match("benign", 2)],
    ]
    expected = [SHIPPED.decide(case, HERE) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: SHIPPED.decide(cases[n % 4], HERE), range(2000)))
    assert got == expected * 500


FINDINGS = st.lists(
    st.builds(
        match,
        st.sampled_from(["confirmed", "reviewed", "reported", "benign"]),
        st.sampled_from([0, 4, 10, 11, 31]),
        st.sampled_from(["pdq", "sha256"]),
        part=st.sampled_from(["", "frame 1"]),
        category=st.sampled_from(["", "csam", "ibsa"]),
    )
    | st.sampled_from(
        [Finding(UNEXAMINED, "m"), Finding(FAILURE, "d"), Finding(TRIGGER, "t"), Finding("x", "d")]
    ),
    max_size=6,
)


def naive(findings: list[Finding]) -> str:
    """The shipped policy, written out."""
    benign = [f for f in findings if f.tier == "benign"]

    def aside(f: Finding) -> bool:
        if f.kind != MATCH or f.tier == "benign" or (f.tier == "confirmed" and f.distance == 0):
            return False
        return any(
            b.signal == "sha256"
            or ((b.signal, b.part) == (f.signal, f.part) and b.distance <= min(10, f.distance))
            for b in benign
        )

    live = [f for f in findings if not aside(f)]
    if any(f.tier in ("confirmed", "reviewed") or f.kind == TRIGGER for f in live):
        return "block"
    if any(f.tier == "reported" or f.kind in (UNEXAMINED, FAILURE) for f in live):
        return "hold"
    return "allow"


@settings(max_examples=300, derandomize=True, deadline=None)
@given(FINDINGS)
def test_the_shipped_policy_is_what_it_says(findings: list[Finding]) -> None:
    decision = SHIPPED.decide(findings, HERE)
    assert decision.action == naive(findings)
    assert decision == SHIPPED.explain(findings, HERE).decision
    assert decision.clamped == ()


CONDITIONS = [
    "true",
    ANY,
    'findings.exists(f, f.tier == "reported")',
    "findings.exists(f, f.distance < 5)",
    'findings.all(f, f.tier != "confirmed")',
    'findings.exists(f, f.kind == "x") && findings.exists(f, f.kind == "match")',
    'context.tags["absent"] == "x"',
    "findings[1].distance > 2",
]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    FINDINGS,
    st.lists(
        st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(ACTIONS)), min_size=1, max_size=4
    ),
    st.sampled_from(["allow", "hold"]),
    st.booleans(),
)
def test_what_holds_under_any_policy(
    findings: list[Finding], rows: list[tuple[str, str]], default: str, greedy: bool
) -> None:
    tables = [rule(f"r{n}", when, action) for n, (when, action) in enumerate(rows)]
    if greedy:
        tables.append("[[suppress]]\nid = 's'\nwhen = 'true'\n")
    anything = policy(*tables, default=default)
    decision = anything.decide(findings, HERE)
    if any(f.kind in (UNEXAMINED, FAILURE) for f in findings):
        assert decision.action != "allow"
    if decision.action == "block":
        verified = [f for f in findings if f.tier in ("confirmed", "reviewed", "")]
        assert any(
            anything.decide(list(some), HERE).action == "block"
            for size in (len(verified), 0)
            for some in itertools.combinations(verified, size)
        )
    if any("absent" in when for when, _ in rows):
        assert decision.action != "allow"
    assert decision.rules or decision.action == default
    assert len(decision.reasons) >= len(decision.rules)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(FINDINGS, st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(findings: list[Finding], random: object) -> None:
    shuffled = list(findings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = SHIPPED.decide(findings, HERE), SHIPPED.decide(shuffled, HERE)
    assert (one.action, one.category, one.rules) == (two.action, two.category, two.rules)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(FINDINGS)
def test_findings_survive_json(findings: list[Finding]) -> None:
    for finding in findings:
        assert Finding.from_json(finding.to_json()) == finding


def test_findings_as_json() -> None:
    found = match("reported", 4, entry=7, variant="mirrored", part="frame 3", likelihood=1.0)
    assert list(found.to_json().items()) == [
        ("kind", "match"),
        ("source", "pdq"),
        ("version", "1"),
        ("signal", "pdq"),
        ("bank", "reported bank"),
        ("tier", "reported"),
        ("entry", 7),
        ("distance", 4),
        ("variant", "mirrored"),
        ("part", "frame 3"),
        ("likelihood", 1.0),
    ]
    assert Finding("x", "y", distance=0).to_json() == {"kind": "x", "source": "y", "distance": 0}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "match"},
        {"kind": "match", "source": "pdq", "colour": "red"},
        {"kind": "match", "source": "pdq", "distance": "4"},
        {"kind": "match", "source": "pdq", "distance": True},
        {"kind": "match", "source": "pdq", "entry": 2**63},
        {"kind": "match", "source": "pdq", "score": float("nan")},
        {"kind": "match", "source": 3},
    ],
)
def test_findings_of_another_version(data: dict[str, object]) -> None:
    with pytest.raises(StoreError):
        Finding.from_json(data)


def test_a_decision_as_json() -> None:
    decision = SHIPPED.decide([match("reported", 4)], HERE)
    assert Decision.from_json(decision.to_json()) == decision
    assert decision.to_json() == {
        "action": "hold",
        "category": None,
        "rules": ["reported-match"],
        "reasons": [
            "Matches something reported that nobody has reviewed yet: "
            "pdq match in reported bank (reported), distance 4"
        ],
        "policy": SHIPPED.version,
        "rests_on": [0],
        "clamped": [],
    }
