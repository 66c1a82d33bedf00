"""Made-up policies and findings, for properties that hold of any."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hypothesis import strategies as st

from tutela.findings import CALLER, DERIVATIVE, MATCH, UNEXAMINED, Finding
from tutela.policy import Context, MediaFacts, Policy

KINDS = frozenset({"match", "derivative", "nudity", "mine", "unexamined"})
_TIERS = ("confirmed", "reviewed", "reported", "benign")
_NAMES = st.sampled_from([*sorted(KINDS), "other"])

_ABOUT_ONE = st.one_of(
    _NAMES.map('f.kind == "{}"'.format),
    _NAMES.map('"{}" == f.kind'.format),
    _NAMES.map('f.kind != "{}"'.format),
    st.lists(_NAMES, max_size=3).map(
        lambda names: f"f.kind in [{', '.join(map(repr, names))}]".replace("'", '"')
    ),
    st.sampled_from(_TIERS).map('f.tier == "{}"'.format),
    st.sampled_from(
        [
            "f.likelihood >= 0.5",
            "has(f.likelihood)",
            "4 / f.distance > 1",
            'f.kind.startsWith("m")',
            'context.surface == "feed"',
            'context.tags["age"] == "new"',
            'findings.exists(g, g.kind == "mine")',
            "media.width > 99",
            "true",
        ]
    ),
)


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} && {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} || {two[1]})"),
        inner.map("!({})".format),
        st.tuples(inner, inner, inner).map(lambda it: f"({it[0]} ? {it[1]} : {it[2]})"),
    )


def _parts(bodies: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        bodies.map("findings.exists(f, {})".format),
        bodies.map("!findings.exists(f, {})".format),
        bodies.map("findings.all(f, {})".format),
        st.one_of(
            bodies.map("findings.exists_one(f, {})".format),
            bodies.map("findings.filter(f, {}).size() > 1".format),
            bodies.map("findings.map(f, {}, f.likelihood).exists(x, x > 0.5)".format),
            st.sampled_from(
                [
                    "findings.size() > 2",
                    'findings[0].kind == "nudity"',
                    'context.surface == "feed"',
                    'context.tags["age"] == "new"',
                    "media.width > 99",
                    "640 / media.width > 1",
                    "true",
                    "false",
                ]
            ),
        ),
    )


_PLAIN = _parts(_ABOUT_ONE)
_NESTED = st.recursive(
    _parts(st.recursive(_ABOUT_ONE, _joined, max_leaves=4)), _joined, max_leaves=4
)
CONDITIONS = st.one_of(_PLAIN, st.tuples(_PLAIN, _PLAIN).map(" && ".join), _NESTED)
_SETTING_ASIDE = st.sampled_from(
    ["benign.distance <= finding.distance", "4 / benign.distance > 0", "media.width > 99"]
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy of up to four rules, some asking for more than the one before, and a suppression
    or none."""
    text = f'[policy]\nname = "made"\ndefault = "{draw(st.sampled_from(["allow", "hold"]))}"\n'
    rules = st.tuples(CONDITIONS, st.sampled_from(["allow", "hold", "block"]), st.booleans())
    when = "true"
    for n, (own, action, narrower) in enumerate(draw(st.lists(rules, max_size=4))):
        when = f"{when} && {own}" if narrower else own
        text += f"[[rule]]\nid = 'r{n}'\nwhen = '''{when}'''\naction = '{action}'\n"
    for when in draw(st.lists(_SETTING_ASIDE, max_size=1)):
        text += f"[[suppress]]\nid = 's'\nwhen = '''{when}'''\n"
    return Policy.parse(text)


def findings_of(
    chance: Random, kinds: Iterable[str], most: int, *, callers: bool = True
) -> list[Finding]:
    """Up to `most` findings of these kinds, the caller's among them or not."""
    several = sorted(kinds)
    return [
        _finding(chance, chance.choice(several), callers) for _ in range(chance.randint(0, most))
    ]


def _finding(chance: Random, kind: str, callers: bool) -> Finding:
    likelihood = chance.choice([None, 0.2, 0.7])
    if kind not in {MATCH, DERIVATIVE}:
        theirs = callers and kind != UNEXAMINED and chance.random() < 0.4
        return Finding(kind, CALLER if theirs else "made", likelihood=likelihood)
    tier = chance.choice(_TIERS)
    if kind == MATCH:
        return Finding(kind, "made", tier=tier, distance=chance.choice([0, 2, 30]))
    return Finding(kind, "made", tier=tier, scale=0.5, dx=0.0, dy=0.0, aspect=1.0)


def contexts(chance: Random) -> Context:
    return chance.choice([Context(), Context(surface="feed", tags={"age": "new"})])


def facts(chance: Random) -> MediaFacts:
    return chance.choice([MediaFacts(), MediaFacts("jpeg", 640, 480, 1)])
