"""Public texts that nobody should refuse, from a folder of data sets that comes by itself.

The folder is what `--texts` names: COCO captions, PartiPrompts, MagicBrush and Action-Genome edits,
I2EBench, GenEval and the safe half of XSTest, each in a folder of its own. Of each set, a text
that comes twice counts once; those at even places may be tuned on, the others are only measured.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

HALVES: Final = ("tuned on", "other half")

_CHILD: Final = re.compile(
    r"\b(child(ren)?|kids?|boys?|girls?|bab(y|ies)|toddlers?|infants?|newborns?|sons?|daughters?"
    r"|preschoolers?|schoolgirls?|schoolboys?|teens?|teenagers?|\w+ years? old)\b",
    re.IGNORECASE,
)
_EVERYDAY: Final = re.compile(
    r"\b(swim\w*|bath\w*|bare\w*|naked|nude|shirtless|topless|doctors?|nurses?|danc\w+|ballet"
    r"|beach\w*|pools?|surf\w*|napp(y|ies)|diapers?|underwear|bikinis?|shower\w*|breast\w*|tub"
    r"|nursing|potty|toilet|undress\w*|pajamas?|kiss\w*|legs?|wet|wading|lake|ocean|gymnast\w*"
    r"|costumes?|sleep\w*|clothes|dressed|hugg\w+|cuddl\w+|in bed|on (a|the) bed)\b",
    re.IGNORECASE,
)


def read(folder: Path) -> dict[str, list[str]]:
    """The distinct texts of each set, in the order of its files. A set that lacks is left out."""
    found = {
        "COCO captions": _distinct(_column(folder, "coco-captions/*.csv", "prompt")),
        "PartiPrompts": _distinct(_column(folder, "partiprompts/*.tsv", "Prompt")),
        "MagicBrush, Action-Genome": _distinct(_instructions(folder)),
        "I2EBench": _distinct(_i2ebench(folder)),
        "GenEval": _distinct(_lines(folder)),
        "XSTest safe": _distinct(_xstest(folder)),
    }
    return {name: texts for name, texts in found.items() if texts}


def half(texts: Sequence[str], number: int) -> Sequence[str]:
    """Those that may be tuned on (0), or the others (1)."""
    return texts[number::2]


def everyday(text: str) -> bool:
    """Whether it pairs a child with bathing, swimming, a doctor, dance, a bed and the like."""
    return bool(_CHILD.search(text)) and bool(_EVERYDAY.search(text))


def _distinct(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))


def _rows(folder: Path, pattern: str) -> Iterator[Mapping[str, str]]:
    for path in sorted(folder.glob(pattern)):
        with path.open(encoding="utf-8", newline="") as file:
            tabs = path.suffix == ".tsv"
            yield from csv.DictReader(file, delimiter="\t" if tabs else ",")


def _column(folder: Path, pattern: str, column: str) -> Iterator[str]:
    return (row[column] for row in _rows(folder, pattern))


def _instructions(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("edit-magicbrush-ag/*.json")):
        for item in json.loads(path.read_text(encoding="utf-8")):
            yield item["instruction"]


def _i2ebench(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("edit-i2ebench/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                bundled = json.loads(line)
                if not bundled["path"].endswith(".json"):
                    continue
                for item in json.loads(bundled["text"]).values():
                    yield from (item[key] for key in ("ori_exp", "div_exp") if item.get(key))


def _lines(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("geneval/*.txt")):
        yield from path.read_text(encoding="utf-8").splitlines()


def _xstest(folder: Path) -> Iterator[str]:
    rows = _rows(folder, "xstest/*.csv")
    return (row["prompt"] for row in rows if row["label"] == "safe")
