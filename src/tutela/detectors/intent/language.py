"""Language: whether a text is in one that a lexicon covers, so that its silence means something.

Every lexicon is tried on every text, whatever its language; the question here is only whether the
text may be one that no lexicon reads: a script that none covers, a language such as Swedish or
Hungarian, or letters in no language at all. Scripts decide by themselves. In those that several
languages share, each three and four letters in a row weigh for or against. The whole of a short
text decides; of a longer one, the passage of `PASSAGE` words or more that speaks most against it:
neither a name nor a misspelling condemns a text, and words in clear don't hide one that isn't.

`tools/make_language.py` makes the weights, `docs/design/text-views.md` says how well they do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tutela.detectors.intent.lexicon import shipped

SIZE: Final = 1 << 15
"""Weights of runs of three letters, and as many of four."""
SCALE: Final = 32.0
"""A weight of 1, as it is stored: one byte each."""
DRIFT: Final = 0.04
"""What each letter counts for a covered language, by itself."""
LIMIT: Final = 5.0
"""Weight of a passage that makes a text unreadable …"""
WIDTH: Final = 1.0
"""… and how fast the likelihood rises around it."""
FEWEST: Final = 4
"""Words below which a text in a shared script is too short to tell."""
PASSAGE: Final = 12
"""Words that a passage of a longer text needs to decide by itself."""
FOREIGN: Final = 8
"""Letters of a script that no lexicon covers that make a text unreadable; fewer, if half are."""

_SCRIPTS: Final = (
    ("ja", re.compile("[\u3040-\u30ff\uff66-\uff9f]")),
    ("ko", re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("bn", re.compile("[\u0980-\u09ff]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")),
    ("ur", re.compile("[\u0679\u0688\u0691\u06ba\u06be\u06c1\u06d2]")),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("ru", re.compile("[\u0400-\u052f]")),
)
"""Languages by a script of theirs, the most telling first."""
_UNCOVERED = re.compile(
    "[\u0370-\u03ff\u0530-\u05ff\u0700-\u074f\u0780-\u08ff\u0a00-\u0dff\u0e80-\u10ff\u1200-\u1dff\u1f00-\u1fff"
    "\u2c00-\u2dff\ua000-\ua95f\ua980-\uabff\U00010000-\U0001cfff\U0001e100-\U0001e95f]"
)
_OWN = re.compile(
    "[\u0980-\u09ff\u0e00-\u0e7f\u1100-\u11ff\u3040-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Letters that only covered languages have. One stands for all, since each speaks for a lexicon."""
_STANDS = "\u01c2"
# Letters that are weighed; all else parts words.
_SHARED = re.compile(
    "[^a-z\u00df-\u024f\u0259\u0300-\u036f\u0400-\u052f\u0620-\u06ff\u0900-\u0963\u1e00-\u1eff]+"
)


@dataclass(frozen=True, slots=True)
class Language:
    """What language a text seems to be in."""

    code: str
    """ISO 639-1 of a covered language, or `und`."""
    likelihood: float
    """How likely the text is in no covered language, 0–1."""
    readable: bool
    """Whether a lexicon covers it, or it is too short or too neutral to tell."""


def identify(text: str) -> Language:
    """The language of a text. Give it the `plain` reading: lower-case, without what is not seen."""
    foreign = 0 if text.isascii() else len(_UNCOVERED.findall(text))
    if foreign and (foreign >= FOREIGN or 2 * foreign >= sum(map(str.isalpha, text))):
        return Language("und", 1.0, False)
    letters = weighed(text)
    words = letters.split()
    likelihood = 0.0
    if len(words) >= FEWEST:
        likelihood = float(1 / (1 + np.exp((LIMIT - against(letters)) / WIDTH)))
    readable = likelihood < 0.5
    return Language(_code(text, words) if readable else "und", likelihood, readable)


def weighed(text: str) -> str:
    """The letters of a text that are weighed, with a space where others part them."""
    if not text.isascii():
        text = _OWN.sub(_STANDS, text)
    return _SHARED.sub(" ", text.lower()).strip()


def against(letters: str) -> float:
    """The weight of the passage that speaks most against every covered language."""
    triples, fours = runs(letters)
    weights = _weights()
    each = weights[0][triples].astype(np.float32)
    each[: len(fours)] += weights[1][fours]
    total = np.concatenate(([0.0], np.cumsum(each / SCALE - DRIFT)))
    ends = [0, *(found.start() + 1 for found in re.finditer(" ", letters)), len(total) - 1]
    at = total[ends]
    words = min(PASSAGE, len(at) - 1)
    return float(np.max(at[words:] - np.minimum.accumulate(at[: len(at) - words])))


def runs(letters: str) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Numbers below `SIZE` of each run of three letters and of four, spaces counted as letters."""
    codes = np.frombuffer(f" {letters} ".encode("utf-32-le", "surrogatepass"), np.uint32)
    triples = codes[:-2] * np.uint32(0x9E3779B1) + codes[1:-1] * np.uint32(0x85EBCA77)
    triples = triples + codes[2:] * np.uint32(0xC2B2AE3D)
    fours = triples[:-1] * np.uint32(0x27D4EB2F) + codes[3:] * np.uint32(0x165667B1)
    shift = np.uint32(32 - SIZE.bit_length() + 1)
    return triples >> shift, fours >> shift


@cache
def _weights() -> NDArray[np.int8]:
    """Of runs of three letters and of four, int8 (2, `SIZE`): above 0 speaks against."""
    data = (resources.files(__package__) / "language.bin").read_bytes()
    return np.frombuffer(data, np.int8).reshape(2, SIZE)


@cache
def _common() -> tuple[tuple[str, frozenset[str]], ...]:
    """Languages and their most frequent words."""
    return tuple((lexicon.language, frozenset(lexicon.common)) for lexicon in shipped())


def _code(text: str, words: Sequence[str]) -> str:
    if not text.isascii():
        for code, letters in _SCRIPTS:
            if letters.search(text):
                return code
    found = set(words)
    counts = {code: len(found & frequent) for code, frequent in _common()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] else "und"
