"""What a policy may make of a derivative, and what the caller's word is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutela.findings import DERIVATIVE, FAILURE, MATCH, Finding, nudity, same_place
from tutela.policy import Context, Policy
from tutela.policy.checks import check_text
from tutela.policy.decision import stronger

HERE = Context(surface="feed")
SHIPPED = Policy.load()
HEAD = '[policy]\nname = "test"\ndefault = "allow"\n'
TIERS = ("confirmed", "reviewed", "reported", "benign")


def derivative(tier: str = "reported", **more: object) -> Finding:
    found = Finding(
        DERIVATIVE,
        "local",
        "1",
        "local",
        bank=f"{tier} bank",
        tier=tier,
        likelihood=0.99,
        overlap=1.0,
        changed=0.3,
        scale=1.0,
        dx=0.0,
        dy=0.0,
        aspect=1.5,
    )
    return replace(found, **more)  # type: ignore[arg-type]


def rule(identifier: str, when: str, action: str) -> str:
    return f"[[rule]]\nid = '{identifier}'\nwhen = '''{when}'''\naction = '{action}'\n"


NUDE = nudity(0.9)


@pytest.mark.parametrize(
    ("findings", "action", "rules"),
    [
        ([derivative()], "allow", ()),
        ([derivative(), NUDE], "hold", ("derivative-with-nudity",)),
        ([derivative(), nudity(0.49)], "allow", ()),
        ([derivative(), replace(NUDE, source="detector")], "hold", ("derivative-with-nudity",)),
        ([derivative(review="aside"), NUDE], "hold", ("derivative-with-nudity",)),
        ([derivative(review="kept")], "hold", ("derivative-of-reviewed",)),
        ([derivative("reviewed")], "hold", ("derivative-of-reviewed",)),
        ([derivative("confirmed")], "hold", ("derivative-of-reviewed",)),
        ([derivative("reviewed", review="aside")], "allow", ()),
        ([derivative("benign"), NUDE], "allow", ()),
        ([derivative("benign", review="kept")], "allow", ()),
        ([NUDE], "allow", ()),
        ([derivative(), Finding(FAILURE, "local")], "hold", ("not-examined",)),
    ],
)
def test_the_shipped_policy(findings: list[Finding], action: str, rules: tuple[str, ...]) -> None:
    decision = SHIPPED.decide(findings, HERE)
    assert (decision.action, decision.rules) == (action, rules)


GREEDY = (
    "findings.size() > 0",
    'findings.exists(f, f.kind == "derivative")',
    'findings.exists(f, f.tier == "confirmed")',
    'findings.all(f, f.kind != "match")',
    "findings.exists(f, has(f.likelihood) && f.likelihood > 0.9)",
    'findings.exists(f, f.kind == "derivative") && findings.exists(f, f.kind == "nudity")',
)
derivatives = st.builds(
    derivative,
    st.sampled_from(TIERS),
    review=st.sampled_from(["", "aside", "kept"]),
    part=st.sampled_from(["", "frame 1"]),
    dx=st.sampled_from([0.0, 0.4]),
)


@given(st.lists(derivatives, min_size=1, max_size=4), st.sampled_from(GREEDY))
def test_no_policy_blocks_on_derivatives(findings: list[Finding], when: str) -> None:
    policy = Policy.parse(HEAD + rule("greedy", when, "block"))
    for given_too in ([], [nudity(0.5)]):
        found = [*findings, *given_too]
        held_by_nudity = policy.decide(given_too, HERE).action == "block"
        decision = policy.decide(found, HERE)
        assert decision.action != "block" or held_by_nudity
        if decision.action == "hold":
            assert decision.rules[1] in (
                "always:derivative-never-blocks",
                "always:unverified-never-blocks",
            )


def test_a_block_by_a_match_stands_beside_a_derivative() -> None:
    match = Finding(MATCH, "pdq", signal="pdq", tier="confirmed", distance=4)
    decision = SHIPPED.decide([derivative("confirmed"), match, NUDE], HERE)
    assert (decision.action, decision.rules) == ("block", ("confirmed-match",))
    assert decision.rests_on == (1,)


def test_the_engine_says_which_line_it_held() -> None:
    policy = Policy.parse(HEAD + rule("greedy", "findings.size() > 0", "block"))
    assert policy.decide([derivative("reviewed")], HERE).rules == (
        "greedy",
        "always:derivative-never-blocks",
    )
    assert policy.decide([derivative("reported")], HERE).rules == (
        "greedy",
        "always:unverified-never-blocks",
    )


def test_a_benign_photo_sets_aside_only_what_lies_in_its_place() -> None:
    benign = derivative("benign")
    near = derivative(dx=0.05, scale=0.95)
    assert SHIPPED.decide([near, benign, NUDE], HERE).action == "allow"
    for other in (
        derivative(scale=0.3, dx=0.6),
        derivative(part="frame 2"),
        derivative(variant="mirrored"),
        derivative(scale=None),
    ):
        assert SHIPPED.decide([other, benign, NUDE], HERE).action == "hold"
    reported = Finding(MATCH, "local", signal="local", tier="reported", distance=0)
    assert SHIPPED.decide([reported, benign], HERE).action == "hold"


boxes = st.tuples(st.floats(0.01, 3), st.floats(-1, 1), st.floats(-1, 1), st.floats(0.2, 5))


@given(boxes, boxes)
def test_the_same_place_is_half_of_the_area_together(
    one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    first, second = (
        derivative(scale=scale, dx=dx, dy=dy, aspect=aspect)
        for scale, dx, dy, aspect in (one, other)
    )
    assert same_place(first, first)
    assert same_place(first, second) == same_place(second, first)
    here, there = first.place(), second.place()
    assert here is not None
    assert there is not None
    sides = [max(0.0, min(here[n + 2], there[n + 2]) - max(here[n], there[n])) for n in (0, 1)]
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (here, there)]
    common = sides[0] * sides[1]
    share = common / (sum(areas) - common)
    if abs(share - 0.5) > 1e-9:
        assert same_place(first, second) == (share > 0.5)


conditions = st.sampled_from(
    [
        ("nude", 'findings.exists(f, f.kind == "nudity" && f.likelihood > 0.5)'),
        ("clean", 'findings.exists(f, f.kind == "nudity" && f.likelihood < 0.5)'),
        ("none", '!findings.exists(f, f.kind == "nudity")'),
        ("many", "findings.size() > 1"),
        ("few", "findings.size() < 2"),
    ]
)
policies = st.lists(st.tuples(conditions, st.sampled_from(["allow", "hold", "block"])), max_size=4)


@given(policies, st.floats(0, 1), st.booleans(), st.sampled_from(["allow", "hold"]))
def test_the_callers_word_never_makes_a_verdict_milder(
    rules: list[tuple[tuple[str, str], str]], likelihood: float, shown: bool, default: str
) -> None:
    text = HEAD.replace("allow", default) + "".join(
        rule(f"{name}-{n}", when, action) for n, ((name, when), action) in enumerate(rules)
    )
    policy = Policy.parse(text)
    own = [derivative("reviewed")] if shown else []
    without = policy.decide(own, HERE)
    decision = policy.decide([nudity(likelihood), *own], HERE)
    assert stronger(decision.action) >= stronger(without.action)
    explained = policy.explain([nudity(likelihood), *own], HERE)
    assert explained.decision == decision
    assert all(position <= len(own) for position in decision.rests_on)


def test_a_rule_that_blocks_on_a_derivative_is_told(golden: Callable[[str, str], None]) -> None:
    text = HEAD + "".join(
        (
            rule("unexamined", 'findings.exists(f, f.kind in ["unexamined", "failure"])', "hold"),
            rule(
                "vouched",
                'findings.exists(f, f.kind == "derivative" && f.tier != "reported")',
                "block",
            ),
            rule("nude", GREEDY[-1], "block"),
            rule("held", 'findings.exists(f, f.kind == "derivative")', "hold"),
        )
    )
    problems = "".join(f"{problem.render('policy.toml')}\n" for problem in check_text(text))
    golden("check-derivative-blocks.txt", problems)
    assert check_text(HEAD + text.split('"allow"\n')[1].split("[[rule]]\nid = 'vouched'")[0]) == []
