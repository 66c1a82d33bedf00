"""How many words of disguised texts each way of normalising brings back, and what it costs.

    python bench/text_views.py [--texts FILE]

Words count as recovered if they stand in the result; a way that gives several readings may use
any. Peers are measured where they are installed: anyascii, decancer-py, confusable-homoglyphs,
ftfy.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "media"))

from test_text import DISGUISES, LAYERS, PROSE

from tutela.media.text import readings

TEXTS = (
    "the red bicycle and the teapot",
    "a green teapot beside two little boats",
    "the old lighthouse stands above the harbour",
)
KNOWN = frozenset(word for text in TEXTS for word in text.split() if len(word) > 3) | {"red"}
Way = Callable[[str], Iterable[str]]


def ways() -> dict[str, Way]:
    """Every way of normalising that is installed, by name."""
    found: dict[str, Way] = {"NFKC": lambda t: [unicodedata.normalize("NFKC", t).lower()]}

    def add(module: str, make: Callable[[Any], Way]) -> None:
        try:
            found[module] = make(importlib.import_module(module))
        except ImportError:
            print(f"{module} is not installed", file=sys.stderr)

    add("ftfy", lambda m: lambda t: [m.fix_text(unicodedata.normalize("NFKC", t)).lower()])
    add("anyascii", lambda m: lambda t: [m.anyascii(t).lower()])
    add("decancer_py", lambda m: lambda t: [str(m.parse(t))])
    add("confusable_homoglyphs.confusables", lambda m: lambda t: [_skeleton(m, t)])
    found["readings, no words"] = lambda t: [reading.text for reading in readings(t)]
    found["readings"] = lambda t: [reading.text for reading in readings(t, KNOWN)]
    return found


def _skeleton(module: Any, text: str) -> str:
    out = text
    for char in set(text):
        if not char.isascii():
            hits = module.is_confusable(char, greedy=True, preferred_aliases=[])
            latin = [h["c"] for hit in hits or [] for h in hit["homoglyphs"] if h["c"].isascii()]
            out = out.replace(char, latin[0] if latin else char)
    return out.lower()


def recovered(way: Way, disguise: Callable[[str], str]) -> float:
    """Share of the words of all texts, of three letters or more."""
    had = total = 0
    for text in TEXTS:
        said = {word for result in way(disguise(text)) for word in result.split()}
        words = [word for word in text.split() if len(word) > 2]
        had += sum(word in said for word in words)
        total += len(words)
    return had / total


def survives(way: Way, text: str) -> bool:
    """Whether every word of genuine text is in the result."""
    words = unicodedata.normalize("NFKC", text).lower().split()
    return all(any(word in result.split() for result in way(text)) for word in words)


def cost(way: Way, text: str) -> float:
    """Median time of a text, µs."""
    times = []
    for _ in range(200):
        start = time.perf_counter_ns()
        way(text)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, help="a file of benign texts, one a line")
    given = parser.parse_args()
    print(machine.describe())
    found = ways()
    layers = {
        name: (lambda t, a=a, b=b: DISGUISES[b](DISGUISES[a](t))) for name, (a, b) in LAYERS.items()
    }
    print("| disguise |", " | ".join(found), "|")
    print("|---|" + "---|" * len(found))
    for name, disguise in {**DISGUISES, **layers}.items():
        row = (f"{recovered(way, disguise):.2f}" for way in found.values())
        print(f"| {name} |", " | ".join(row), "|")
    kept = (sum(survives(w, t) for t in PROSE.values()) for w in found.values())
    print(f"| genuine texts unharmed, of {len(PROSE)} |", " | ".join(map(str, kept)), "|")
    prose = (" ".join([TEXTS[2] + "."] * 12))[:500]
    print(
        "| µs for 500 characters |",
        " | ".join(f"{cost(w, prose):.0f}" for w in found.values()),
        "|",
    )
    if given.texts:
        lines = given.texts.read_text("utf-8").splitlines()[1::2]
        more = sum(len(readings(line, KNOWN)) > 2 for line in lines)
        print(f"{more} of {len(lines)} benign texts have more than two readings")


if __name__ == "__main__":
    main()
