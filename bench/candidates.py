"""How quickly, and how surely, the photos that content may derive from are proposed.

    python bench/candidates.py [--count N] [--photos DIR --others DIR] [--limit N] [--only NAME ...]

Registers N photos (100,000): those of the first folder and invented ones, whose patches are those
of the other folder's photographs, turned (`distractors.py`). Looks up altered photographs of
the first folder, and photographs of the other one that nothing was invented from, in one thread;
a lookup is two searches, of the content as it is and mirrored. What the search loses is told by
comparing altered photographs with their originals straight away, without it. Without folders, rows
are even bits, and content keeps so many rows of a photo with such a share of their bits flipped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alterations import ALTERATIONS, OTHERS, read, seeded
from distractors import Many, turns
from machine import describe
from photos import photos, spread
from tutela.index.live import Change
from tutela.index.local import LocalIndex, Source
from tutela.media import Limits, decode
from tutela.signals.derivation import compare
from tutela.signals.local import KEPT, LOCAL, PATCHES, Features, turned

VARIANTS = ("", "mirrored")
SIDE = 1600
"""Long side of a photograph before it is altered, pixels."""
UNRELATED = 8
"""One of so many of the other photographs is looked up, and nothing is invented from it."""
EVEN = ((10, 0.08), (20, 0.12), (20, 0.16), (40, 0.16), (40, 0.2), (80, 0.2), (160, 0.24))
"""Rows that invented content keeps, and the share of their bits that is flipped."""


@dataclass(frozen=True, slots=True)
class Query:
    """Content to look up."""

    kind: str
    sides: tuple[np.ndarray, ...]
    """Keyed rows of each variant."""
    entry: int
    """Of the photo that it derives from; 0 if of none."""
    comparable: bool
    """Whether comparing it with its photo tells that it derives from it."""


class Isometry:
    """What the secret of a deployment does to rows: it moves and flips bits."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self._order = rng.permutation(256)
        self._mask = rng.integers(0, 256, 32, np.uint8)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(np.ascontiguousarray(rows), axis=1)
        return np.packbits(bits[:, self._order], axis=1) ^ self._mask


class Keyed:
    """A source whose rows are moved."""

    def __init__(self, source: Many, isometry: Isometry) -> None:
        self._source = source
        self._isometry = isometry

    def head(self, signal: str) -> int:
        return self._source.head(signal)

    def changes(self, signal: str, after: int, limit: int) -> list[Change]:
        found = self._source.changes(signal, after, limit)
        rows = [np.frombuffer(change.rows, np.uint8).reshape(-1, 32) for change in found]
        moved = self._isometry(np.concatenate(rows))
        starts = np.cumsum([0, *map(len, rows)]).tolist()
        return [
            Change(change.seq, change.entry, False, moved[first:last].tobytes())
            for change, first, last in zip(found, starts[:-1], starts[1:], strict=True)
        ]


class Even:
    """A source of photos with rows of even bits."""

    def __init__(self, count: int) -> None:
        self._count = count

    def rows(self, entry: int) -> np.ndarray:
        return np.random.default_rng(entry).integers(0, 256, (KEPT, 32), np.uint8)

    def head(self, signal: str) -> int:
        del signal
        return self._count

    def changes(self, signal: str, after: int, limit: int) -> list[Change]:
        del signal
        entries = range(after + 1, min(after + limit, self._count) + 1)
        return [Change(entry, entry, False, self.rows(entry).tobytes()) for entry in entries]


def fingerprint(data: bytes) -> Features:
    """The local fingerprint of a file, as of a screened upload."""
    (made,) = LOCAL.fingerprint(data, decode(data, Limits(), detail=LOCAL.detail))
    return Features.from_bytes(made.value)


def registered(path: Path) -> Features:
    return fingerprint(path.read_bytes()).first(KEPT)


def altered(job: tuple[Path, list[Path], list[str]]) -> list[tuple[str, Features]]:
    """The fingerprints of a photograph's altered files."""
    path, other_paths, names = job
    picture, others = read(path, SIDE), [read(other, SIDE) for other in other_paths]
    return [
        (one.name, fingerprint(one.encode(picture, path.name, None, others)))
        for one in ALTERATIONS
        if one.name in names
    ]


def from_photographs(options: argparse.Namespace) -> tuple[Source, list[Query]]:
    """The photos to register and the content to look up, made of two folders."""
    paths, others = photos(options.photos), photos(options.others)
    names = [one.name for one in ALTERATIONS if not options.only or one.name in options.only]
    chosen = spread(list(range(len(paths))), options.limit)
    jobs = []
    for number in chosen:
        rest = [other for other in range(len(paths)) if other != number]
        drawn = seeded(paths[number].name, "others").choice(rest, OTHERS, replace=False)
        jobs.append((paths[number], [paths[other] for other in drawn], names))
    isometry = Isometry()

    def sides(features: Features) -> tuple[np.ndarray, ...]:
        return tuple(isometry(turned(features, variant).descriptors) for variant in VARIANTS)

    queries = []
    with multiprocessing.get_context("spawn").Pool(options.cores) as workers:
        held = workers.map(registered, paths, chunksize=4)
        invented = [path for i, path in enumerate(others) if i % UNRELATED]
        pool = [features for made in workers.imap(turns, invented) for features in made]
        for number, made in zip(chosen, workers.imap(altered, jobs), strict=True):
            for name, features in made:
                matches = [compare(turned(features, side), held[number]) for side in VARIANTS]
                queries.append(Query(name, sides(features), number + 1, any(matches)))
        for features in workers.imap(registered, others[::UNRELATED]):
            queries += [Query("unrelated", sides(features), 0, False)]
    return Keyed(Many(held, pool, options.count), isometry), queries


def from_nothing(options: argparse.Namespace) -> tuple[Source, list[Query]]:
    """Photos of even bits, and content that keeps some rows of theirs."""
    source, rng, queries = Even(options.count), np.random.default_rng(0), []
    for kept, flipped in (*EVEN, (0, 0.0)):
        kind = f"{kept} rows, {100 * flipped:.0f} % of bits flipped" if kept else "unrelated"
        for _ in range(options.limit):
            entry = int(rng.integers(1, options.count + 1))
            rows, mirror = rng.integers(0, 256, (2, PATCHES, 32), np.uint8)
            bits = np.unpackbits(source.rows(entry)[:kept], axis=1)
            rows[:kept] = np.packbits(bits ^ (rng.random(bits.shape) < flipped), axis=1)
            queries.append(Query(kind, (rows, mirror), entry if kept else 0, kept > 0))
    return source, queries


def asked(index: LocalIndex, query: Query, repeat: int) -> tuple[set[int], list[float]]:
    """Candidates of content, and the milliseconds of each lookup."""
    times, found = [], set[int]()
    for _ in range(repeat):
        start = time.perf_counter()
        for side in query.sides:
            found.update(index.search(side))
        times.append(1e3 * (time.perf_counter() - start))
    return found, times


def report(index: LocalIndex, queries: Sequence[Query], repeat: int) -> None:
    kinds = list(dict.fromkeys(query.kind for query in queries))
    told = [(query, *asked(index, query, repeat)) for query in queries]
    print(f"\n{'content':<46}{'files':>6}{'found':>7}{'compared':>10}{'lost':>6}{'others':>8}")
    for kind in kinds:
        rows = [(query, found) for query, found, _ in told if query.kind == kind]
        own = sum(query.entry in found for query, found in rows)
        comparable = sum(query.comparable for query, _ in rows)
        lost = sum(query.comparable and query.entry not in found for query, found in rows)
        others = statistics.fmean(len(found - {query.entry}) for query, found in rows)
        print(f"{kind:<46}{len(rows):>6}{own:>7}{comparable:>10}{lost:>6}{others:>8.1f}")
    print(
        "found: the original is a candidate; compared: comparing with it tells so; lost: compared "
        "but not found;\nothers: other candidates, mean"
    )
    times = [took for _, _, each in told for took in each]
    p99 = np.quantile(times, 0.99)
    print(
        f"{len(times):,} lookups: median {statistics.median(times):.1f} ms, p99 {p99:.1f} ms, "
        f"least {min(times):.1f} ms; rows a search: "
        f"{statistics.fmean(len(side) for query in queries for side in query.sides):.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--photos", type=Path, help="registered, and altered")
    parser.add_argument("--others", type=Path, help="to invent photos from; shows none of them")
    parser.add_argument("--limit", type=int, default=40, help="photographs to alter")
    parser.add_argument("--only", nargs="+", help="alterations of these names")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    if (options.photos is None) != (options.others is None):
        parser.error("--photos and --others go together")
    print(describe("numpy", "numba"))
    source, queries = (from_photographs if options.photos else from_nothing)(options)
    start = time.perf_counter()
    index = LocalIndex(source)
    index.refresh()
    built = time.perf_counter() - start
    status = index.status()
    print(
        f"{status.entries:,} photos, {status.rows:,} rows in {status.tables} tables, "
        f"{status.nbytes / status.entries:,.0f} bytes a photo; read and built in {built:.0f} s"
    )
    report(index, queries, options.repeat)


if __name__ == "__main__":
    main()
