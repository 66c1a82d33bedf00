"""What the judge of intent refuses: innocent texts, inert requests plain and disguised, its time.

    python bench/intent.py --texts FOLDER [--peer-python PYTHON] [--part dev|test] [--json]

`--texts` names the folder of public innocent texts (bench/benign_texts.py). `--peer-python` is a
Python that has LiteLLM, whose child-safety filter then judges the English texts too. `--part dev`
shows nothing of what is only tested. `--benchmark FILE:COLUMN[:FIELD=VALUE]` counts what is refused
of a file of texts, CSV, TSV, JSON or JSON lines, optionally of the rows with that value alone.
`--command` asks the `tutela guard text --json` command in place of the library.

Numbers alone are printed, never a text. How the set of requests was made, and what it can't tell,
is in docs/design/intent-measurement.md.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benign_texts
from disguise import DISGUISES, Fields, disguise
from machine import describe
from request_set import PARTS, Request, load, split, unseen
from tutela.findings import INTENTS

SURE = 0.5
"""Score from which a category counts as named."""
LONGEST = 500
"""Characters of a text whose time is taken."""
TIMED = 1500
ENOUGH = 30
"""Texts of a language that a disguise changes, from which it may be called the worst."""
PEER_INTENTS = ("child_sexualisation", "child_exploitation")
"""What the peer's filter is for."""

Table = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a guard does with one text."""

    action: str
    named: frozenset[str]
    """Categories that it gives a likelihood of one half or more."""

    @property
    def refused(self) -> bool:
        """Whether the text gets nowhere."""
        return self.action != "allow"

    @property
    def unread(self) -> bool:
        """Whether it is refused although nothing in it was recognised."""
        return self.refused and not self.named


Guard = Callable[[Sequence[Fields]], list[Outcome]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, help="the folder of innocent texts")
    parser.add_argument("--part", choices=PARTS, help="only this part of the set of requests")
    parser.add_argument("--peer-python", type=Path, help="a Python that has LiteLLM")
    parser.add_argument("--command", action="store_true", help="ask the command, not the library")
    parser.add_argument("--benchmark", action="append", default=[], metavar="FILE:COLUMN")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th text")
    parser.add_argument("--no-disguises", action="store_true")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    guard = remembered(by_command if options.command else by_library())
    peer = Peer(options.peer_python) if options.peer_python else None
    requests = load(*([options.part] if options.part else PARTS))[:: options.every]
    asked, innocent = split(requests)
    sexual = [request for request in requests if request.intent == "adult_sexual"]

    guard(plain(requests))
    report: dict[str, Any] = {"machine": describe("tutela")}
    report["plain"] = recall(guard, asked, peer)
    report["languages"] = by_language(guard, asked)
    report["forms"] = by_form(guard, asked)
    if not options.no_disguises:
        report["disguises"] = disguised(guard, asked, peer)
        report["disguised languages"] = disguised_languages(guard, asked)
    report["sexual, about adults"] = recall(guard, sexual, None)
    report["innocent requests"] = contrast(guard, innocent, peer)
    if options.texts:
        report["innocent public texts"] = false_positives(guard, options.texts, options, peer)
    for given in options.benchmark:
        report[f"benchmark {Path(given.split(':')[0]).name}"] = benchmark(guard, given, peer)
    if not options.command:
        report["time, µs a text on one core"] = timed(options, requests)
    if peer is not None:
        report["peer"] = f"LiteLLM {peer.version}, harmful_child_safety; English texts only"
        report["time of the peer, µs a text"] = peer.times()
    show(report, as_json=options.as_json)


def by_library() -> Guard:
    """The guard as `tutela guard text` has it: the same class and the same settings."""
    from tutela import detectors
    from tutela.guard.texts import Texts
    from tutela.settings import Settings

    if "intent" not in detectors.installed():
        raise SystemExit("no detector of intent is installed; install Tutela anew")
    judge = Texts(Settings())

    def ask(texts: Sequence[Fields]) -> list[Outcome]:
        judged = [judge("\n".join(fields)) for fields in texts]
        return [Outcome(one.decision.action, named(one.categories)) for one in judged]

    return ask


def remembered(ask: Guard) -> Guard:
    """The same guard, which is asked about each text once."""
    seen: dict[Fields, Outcome] = {}

    def guard(texts: Sequence[Fields]) -> list[Outcome]:
        new = [fields for fields in dict.fromkeys(texts) if fields not in seen]
        if new:
            seen.update(zip(new, ask(new), strict=True))
        return [seen[fields] for fields in texts]

    return guard


def by_command(texts: Sequence[Fields]) -> list[Outcome]:
    """The command that scripts use. A line holds one request, so line ends become spaces."""
    lines = "\n".join(" ".join(" ".join(fields).splitlines()) for fields in texts)
    done = subprocess.run(
        [sys.executable, "-m", "tutela", "guard", "text", "--json"],
        input=lines.encode(), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(texts):
        raise SystemExit(f"{len(texts)} texts went in, {len(answers)} answers came out")
    return [Outcome(answer["action"], named(answer["categories"])) for answer in answers]


def named(categories: Mapping[str, float]) -> frozenset[str]:
    """The categories that a text belongs to rather than not."""
    return frozenset(name for name in INTENTS if categories[name] >= SURE)


class Peer:
    """LiteLLM's filter, in a process of its own. It ends with ours."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("peer_filter.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self._seen: dict[Fields, tuple[bool, float]] = {}
        self.version = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("the peer's filter has ended")
        return line

    def _ask(self, fields: Fields) -> tuple[bool, float]:
        if fields not in self._seen:
            assert self._process.stdin is not None
            print(json.dumps(fields), file=self._process.stdin, flush=True)
            blocked, took = json.loads(self._line())
            self._seen[fields] = blocked, took
        return self._seen[fields]

    def __call__(self, texts: Sequence[Fields]) -> list[bool]:
        """Whether it blocks each."""
        return [self._ask(fields)[0] for fields in texts]

    def times(self) -> Table:
        """Median and 95th percentile of all that it was asked, in µs."""
        took = sorted(took for _, took in self._seen.values())
        p50, p95 = round(statistics.median(took)), round(took[len(took) * 95 // 100])
        return [{"texts": "English", "n": len(took), "filter p50": p50, "p95": p95}]


def recall(guard: Guard, asked: Sequence[Request], peer: Peer | None) -> Table:
    """By part and intent."""
    table = []
    groups = grouped(asked, lambda request: (request.part, request.intent))
    for (part, intent), requests in groups.items():
        row = {"part": part, "intent": intent} | rates(guard, plain(requests))
        outcomes = guard(plain(requests))
        row["named so"] = share(sum(intent in outcome.named for outcome in outcomes), len(outcomes))
        if peer is not None and intent in PEER_INTENTS:
            english = plain([request for request in requests if request.language == "en"])
            row["English: ours"] = rates(guard, english)["refused"]
            row["peer"] = share(sum(peer(english)), len(english))
        table.append(row)
    for part, requests in grouped(asked, lambda request: request.part).items():
        table.append({"part": part, "intent": "all"} | rates(guard, plain(requests)))
        table[-1]["intents, mean"] = mean_of(table, part)
    return table


def mean_of(table: Table, part: str) -> float:
    """The mean recall over intents: every one of them counts alike."""
    found = [row["refused"] for row in table if row["part"] == part and row["intent"] != "all"]
    return round(statistics.fmean(found), 2)


def by_language(guard: Guard, asked: Sequence[Request]) -> Table:
    """Recall of each language, the worst last."""
    table = []
    fresh = unseen()
    groups = grouped(asked, lambda request: (request.part, request.language))
    for (part, language), requests in groups.items():
        row: dict[str, Any] = {"part": part, "language": language, "only tested": language in fresh}
        row |= rates(guard, plain(requests))
        for intent in INTENTS[:3]:
            of_intent = [request for request in requests if request.intent == intent]
            row[intent] = rates(guard, plain(of_intent)).get("refused")
        table.append(row)
    return sorted(table, key=lambda row: (row["part"], -row["refused"]))


def by_form(guard: Guard, asked: Sequence[Request]) -> Table:
    """Recall of each form of request, all languages together, the worst last."""
    groups = grouped(asked, lambda request: (request.part, request.intent, request.form))
    table = [
        {"part": part, "intent": intent, "form": form} | rates(guard, plain(requests))
        for (part, intent, form), requests in groups.items()
    ]
    return sorted(table, key=lambda row: (row["part"], -row["refused"]))


def disguised(guard: Guard, asked: Sequence[Request], peer: Peer | None) -> Table:
    """Recall under each disguise."""
    table = []
    for part, requests in grouped(asked, lambda request: request.part).items():
        for name in DISGUISES:
            given = [(request, disguise(name, request.text)) for request in requests]
            texts = [(request, fields) for request, fields in given if fields is not None]
            row = {"part": part, "disguise": name}
            row |= rates(guard, [fields for _, fields in texts])
            row["of those seen plain"] = kept(guard, texts)
            languages = grouped(texts, lambda pair: pair[0].language)
            worst = {
                language: rates(guard, [fields for _, fields in pairs])["refused"]
                for language, pairs in languages.items()
                if len(pairs) >= ENOUGH
            }
            if worst:
                row["worst"] = min(worst, key=lambda language: worst[language])
                row["of it"] = worst[row["worst"]]
            english = [
                fields
                for request, fields in texts
                if request.language == "en" and request.intent in PEER_INTENTS
            ]
            if peer is not None:
                row["English, children: ours"] = rates(guard, english)["refused"]
                row["peer"] = share(sum(peer(english)), len(english))
            table.append(row)
    return table


def kept(guard: Guard, texts: Sequence[tuple[Request, Fields]]) -> float:
    """How many of the requests that are refused plain are so in disguise: per cent."""
    seen = guard(plain([request for request, _ in texts]))
    hidden = guard([fields for _, fields in texts])
    both = [after.refused for before, after in zip(seen, hidden, strict=True) if before.refused]
    return share(sum(both), len(both))


def disguised_languages(guard: Guard, asked: Sequence[Request]) -> Table:
    """Recall of each language, all disguises together."""
    table = []
    groups = grouped(asked, lambda request: (request.part, request.language))
    for (part, language), requests in groups.items():
        given = [disguise(name, request.text) for request in requests for name in DISGUISES]
        texts = [fields for fields in given if fields is not None]
        table.append({"part": part, "language": language} | rates(guard, texts))
    return sorted(table, key=lambda row: (row["part"], -row["refused"]))


def contrast(guard: Guard, innocent: Sequence[Request], peer: Peer | None) -> Table:
    """Innocent requests with the same words: by heading, by language, and in all."""
    table: Table = []
    for part, requests in grouped(innocent, lambda request: request.part).items():
        for what in ("form", "language"):
            groups = grouped(requests, lambda request, what=what: getattr(request, what))
            for name, group in groups.items():
                row = {"part": part, "what": f"{what} {name}"} | rates(guard, plain(group))
                if row["refused"]:
                    table.append(row)
        table.append({"part": part, "what": "all"} | rates(guard, plain(requests), bound=True))
        if peer is not None:
            english = plain([request for request in requests if request.language == "en"])
            row = {"part": part, "what": "English"} | rates(guard, english)
            table.append(row | {"peer": share(sum(peer(english)), len(english))})
    return table


def false_positives(
    guard: Guard, folder: Path, options: argparse.Namespace, peer: Peer | None
) -> Table:
    """By half and set, in all, and of those that pair a child with something everyday."""
    found = benign_texts.read(folder)
    if not found:
        raise SystemExit(f"{folder} has none of the sets of texts")
    table = []
    for number, half in enumerate(benign_texts.HALVES):
        if options.part == "dev" and number:
            break
        kept = {
            name: benign_texts.half(texts, number)[:: options.every]
            for name, texts in found.items()
        }
        everything = [text for texts in kept.values() for text in texts]
        kept["all"] = everything
        kept["a child, everyday"] = [text for text in everything if benign_texts.everyday(text)]
        for name, texts in kept.items():
            fields = [(text,) for text in texts]
            row = {"half": half, "set": name} | rates(guard, fields, bound=True)
            if peer is not None:
                row["peer"] = share(sum(peer(fields)), len(fields))
            table.append(row)
    return table


def benchmark(guard: Guard, given: str, peer: Peer | None) -> Table:
    """What is refused of a file of texts."""
    texts = [(text,) for text in read(given)]
    outcomes = guard(texts)
    row = {"file": Path(given.split(":")[0]).name} | rates(guard, texts)
    for intent in INTENTS:
        row[intent] = share(sum(intent in outcome.named for outcome in outcomes), len(outcomes))
    if peer is not None:
        row["peer"] = share(sum(peer(texts)), len(texts))
    return [row]


def read(given: str) -> Iterator[str]:
    """The texts that FILE:COLUMN[:FIELD=VALUE] names."""
    name, column, *condition = given.split(":", 2)
    path = Path(name)
    field, _, value = condition[0].partition("=") if condition else ("", "", "")
    if path.suffix == ".json":
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix in {".jsonl", ".ndjson"}:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    kept = [row for row in rows if not field or str(row[field]) == value]
    if not kept:
        raise SystemExit(f"{path.name} has no such rows")
    return (str(row[column]) for row in kept)


def timed(options: argparse.Namespace, requests: Sequence[Request]) -> Table:
    """Median and 95th percentile, one text after the other on one core, not remembered."""
    from tutela.detectors.intent import judge
    from tutela.guard.texts import Texts
    from tutela.settings import Settings

    whole = Texts(Settings())
    kinds = {
        "requests": [request.text for request in requests],
        "of them English": [request.text for request in requests if request.language == "en"],
        "disguised": [
            "\n".join(fields)
            for number, request in enumerate(requests)
            if (fields := disguise(list(DISGUISES)[number % len(DISGUISES)], request.text))
        ],
    }
    if options.texts:
        found = benign_texts.read(options.texts)
        kinds["innocent, English"] = [
            text for texts in found.values() for text in benign_texts.half(texts, 0)
        ]
        joined = " ".join(kinds["innocent, English"])
        kinds[f"innocent, {LONGEST} characters"] = [
            joined[start : start + LONGEST] for start in range(0, LONGEST * TIMED, LONGEST)
        ]
    table = []
    with one_core():
        for name, texts in kinds.items():
            short = [text for text in texts if len(text) <= LONGEST]
            chosen = short[:: max(1, len(short) // TIMED)][:TIMED]
            for text in chosen[:50]:
                whole(text)
            judged = clocked(lambda text: judge([text]), chosen)
            answered = clocked(whole, chosen)
            row = {"texts": name, "n": len(chosen), "judge p50": judged[0], "p95": judged[1]}
            table.append(row | {"with the policy p50": answered[0], "its p95": answered[1]})
    return table


def clocked(ask: Callable[[str], object], texts: Sequence[str]) -> tuple[int, int]:
    """Median and 95th percentile in µs."""
    took = []
    for text in texts:
        start = time.perf_counter_ns()
        ask(text)
        took.append((time.perf_counter_ns() - start) / 1000)
    took.sort()
    return round(statistics.median(took)), round(took[len(took) * 95 // 100])


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This thread on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def plain(requests: Sequence[Request]) -> list[Fields]:
    """Their texts, each in one field."""
    return [(request.text,) for request in requests]


def rates(guard: Guard, texts: Sequence[Fields], *, bound: bool = False) -> dict[str, Any]:
    """Shares in per cent; `refused` is block and hold together, `unread` is part of it."""
    if not texts:
        return {"n": 0}
    outcomes = guard(texts)
    refused = sum(outcome.refused for outcome in outcomes)
    found = {
        "n": len(texts),
        "refused": share(refused, len(texts)),
        "block": share(sum(outcome.action == "block" for outcome in outcomes), len(texts)),
        "hold": share(sum(outcome.action == "hold" for outcome in outcomes), len(texts)),
        "unread": share(sum(outcome.unread for outcome in outcomes), len(texts)),
    }
    if bound:
        found |= {"count": refused, "at most": round(100 * upper(refused, len(texts)), 3)}
    return found


def share(count: int, of: int) -> float:
    """Per cent."""
    return round(100 * count / of, 3 if count * 200 < of else 2) if of else 0.0


def upper(count: int, of: int) -> float:
    """The share that the true one exceeds in one of twenty cases at most (Clopper, Pearson)."""

    def seldom(chance: float) -> float:
        terms = (
            math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
            + k * math.log(chance) + (of - k) * math.log1p(-chance)
            for k in range(count + 1)
        )  # fmt: skip
        return sum(map(math.exp, terms))

    if count >= of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if seldom(middle) > 0.05 else (low, middle)
    return high


def grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """The items by their key, in the order in which keys come first."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def show(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the report: as JSON, or as tables."""
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for heading, content in report.items():
        if isinstance(content, str):
            print(f"{heading}: {content}")
            continue
        print(f"\n{heading}")
        columns = list(dict.fromkeys(name for row in content for name in row))
        rows = [columns, *([cell(row.get(name)) for name in columns] for row in content)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))


def cell(value: object) -> str:
    """How a value stands in a table."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
