"""Made-up policies and findings, for properties that hold of any."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from tutela.findings import CALLER, MATCH, Finding
from tutela.policy import Context, MediaFacts, Policy

KINDS = frozenset({"match", "derivative", "nudity", "minor", "unexamined", "mine"})
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


_BODIES = st.recursive(_ABOUT_ONE, _joined, max_leaves=4)
_PARTS = st.one_of(
    _BODIES.map("findings.exists(f, {})".format),
    _BODIES.map("findings.exists(f, {})".format),
    _BODIES.map("findings.all(f, {})".format),
    _BODIES.map("findings.exists_one(f, {})".format),
    _BODIES.map("findings.filter(f, {}).size() > 1".format),
    _BODIES.map("findings.map(f, {}, f.likelihood).exists(x, x > 0.5)".format),
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
)
CONDITIONS = st.recursive(_PARTS, _joined, max_leaves=4)
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


@st.composite
def _finding(draw: st.DrawFn, kinds: list[str], callers: bool) -> Finding:
    kind = draw(st.sampled_from(kinds))
    ours = kind in {"match", "derivative", "unexamined"}
    if callers and not ours and draw(st.booleans()):
        return Finding(kind, CALLER, likelihood=draw(st.sampled_from([0.0, 0.5, 1.0])))
    return Finding(
        kind,
        "made",
        tier=draw(st.sampled_from(_TIERS)) if kind in {"match", "derivative"} else "",
        distance=draw(st.sampled_from([0, 2, 30])) if kind == MATCH else None,
        likelihood=draw(st.sampled_from([None, 0.2, 0.7])),
        scale=0.5 if kind == "derivative" else None,
        dx=0.0 if kind == "derivative" else None,
        dy=0.0 if kind == "derivative" else None,
        aspect=1.0 if kind == "derivative" else None,
    )


def findings_of(
    kinds: Iterable[str], most: int, *, callers: bool = True
) -> st.SearchStrategy[list[Finding]]:
    """Up to `most` findings of these kinds, the caller's among them or not."""
    return st.lists(_finding(sorted(kinds), callers), max_size=most)


def contexts() -> st.SearchStrategy[Context]:
    return st.sampled_from([Context(), Context(surface="feed", tags={"age": "new"})])


def facts() -> st.SearchStrategy[MediaFacts]:
    return st.sampled_from([MediaFacts(), MediaFacts("jpeg", 640, 480, 1)])
