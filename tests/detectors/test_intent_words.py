"""Lexicons that are not well written are refused; words are found as a naive search finds them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.detectors.intent.lexicon import NEEDED, Lexicon, LexiconError, shipped
from tutela.detectors.intent.words import ALL, GAP, Words, split

HEAD = 'language = "xx"\nname = "Test"\nscript = "latin"\n'
OTHERS = {role: [f"zz{role}"] for role in NEEDED}


def toml(**cues: list[str]) -> str:
    lines = [f"{role} = {entries!r}" for role, entries in (OTHERS | cues).items()]
    return HEAD + "[cues]\n" + "\n".join(lines) + '\n[ages]\npatterns = ["{n} years"]\n'


ENTRIES = {
    "child": ["kid*", "small one"],
    "remove": ["take _ off", "rid of"],
    "clothes": ["dress", "dress coat"],
    "undress": ["bare"],
    "nature": ["bare tree*"],
}
WORDS = Words([Lexicon.parse(toml(**ENTRIES), "test")])
ALPHABET = ["kid", "kids", "small", "one", "take", "off", "rid", "of", "dress", "coat", "bare"]
ALPHABET += ["tree", "trees", "her", "9", "40", "years", ".", ","]


def naive(entry: str, words: list[str], at: int) -> int | None:
    """Where the entry that begins at a word ends, tried by hand; the longest."""
    ends = {at}
    for part in entry.split():
        if part == "_":
            ends = {end + skip for end in ends for skip in range(GAP + 1)}
            continue
        pattern = re.escape(part.rstrip("*")) + (".*" if part.endswith("*") else "")
        ends = {e + 1 for e in ends if e < len(words) and re.fullmatch(pattern, words[e])}
    return max(ends, default=None)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(st.sampled_from([w for w in ALPHABET if w not in ".,"]), max_size=14))
def test_entries_are_found_as_a_naive_search_finds_them(words: list[str]) -> None:
    read = WORDS.read(split(" ".join(words)))
    hidden = [
        (at, end) for at in range(len(words)) if (end := naive("bare tree*", words, at)) is not None
    ]
    for role, entries in ENTRIES.items():
        expected = {}
        for at in range(len(words)):
            ends = [end for entry in entries if (end := naive(entry, words, at)) is not None]
            if not ends:
                continue
            covered = any(start <= at and max(ends) <= end for start, end in hidden)
            if role == "nature" or not covered:
                expected[at] = max(ends)
        assert {hit.start: hit.end for hit in read[role]} == expected, role
    ages = {
        at: int(words[at])
        for at in range(len(words) - 1)
        if words[at].isdigit() and words[at + 1] == "years"
    }
    assert {hit.start for hit in read["age"]} == {at for at, n in ages.items() if n < 18}
    assert {hit.start for hit in read["grown"]} == {at for at, n in ages.items() if n >= 18}


def test_a_gap_ends_with_its_sentence() -> None:
    assert WORDS.read(split("take it off"))["remove"]
    assert not WORDS.read(split("take it. off"))["remove"]


def test_a_phrase_that_hides_never_reaches_over_a_comma() -> None:
    assert not WORDS.read(split("bare tree"))["undress"]
    assert WORDS.read(split("bare, tree"))["undress"]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    read = WORDS.read(split(text))
    assert len(read.words) == len(read.places) == len(read.sentences) == len(read.clauses)
    assert len(read.roles) == len(ALL)
    assert list(read.places) == sorted(read.places)


def test_hyphens_apostrophes_and_digits_need_no_care() -> None:
    assert split("Don't! 13-year-old, 13yo") == ["dont", "!", "13", "year", "old", ",", "13", "yo"]
    assert split("裸の12歳") == ["裸", "の", "12", "歳"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("language = ", "test"),
        ("language = 3\nname = 'T'\nscript = 's'", "language should be a text"),
        (toml().replace('script = "latin"', 'script = "latin"\ncolour = 1'), "unknown colour"),
        (toml(colour=["red"]), "unknown colour"),
        (toml(child=[]), "no words for child"),
        (toml(child=["Kid"]), "lower-case"),
        (toml(child=["k*d"]), "ends a word"),
        (toml(child=["_ off"]), "a gap has words around it"),
        (toml(child=[3]), "list of texts"),  # type: ignore[list-item]
        (toml().replace('["{n} years"]', '["years"]'), "one {n}"),
        (toml() + "[ages.numbers]\none = 1.5\n", "whole numbers"),
    ],
)
def test_a_lexicon_that_is_not_well_written_is_refused(text: str, said: str) -> None:
    with pytest.raises(LexiconError, match=re.escape(said)):
        Lexicon.parse(text, "test")


@pytest.mark.parametrize("lexicon", shipped(), ids=lambda lexicon: lexicon.language)
def test_every_shipped_lexicon_can_tell_an_age(lexicon: Lexicon) -> None:
    assert lexicon.patterns
    assert len(lexicon.common) >= 20


def test_english_is_first() -> None:
    assert shipped()[0].language == "en"
    assert len({lexicon.language for lexicon in shipped()}) == len(shipped())
