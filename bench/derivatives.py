"""Manipulated derivatives, found from the registered photographs: beside PDQ and ORB with RANSAC.

    python bench/derivatives.py --photos DIR [--beside DIR ...] [--same FILE] [--limit N]
                                [--peer-python PYTHON]
                                [--methods local pdq orb sift] [--only NAME ...]
                                [--plot FILE.png] [--json FILE] [--distractors N]

Every photograph of the folders is registered as it is. Those of the first are reduced to a long
side of 1,600 pixels and altered in each way of `alterations.py`, and every method is asked with
the same JPEG files. Recall is the share of altered files that find their original. A false match
is one with another registered photograph; pairs of the same scene (`--same`: two file names a
line) and photographs that the alteration borrowed from are counted apart. `pdq` is PDQ at distance
31 and quality 50, as it is and with its eight turned variants; `orb` and `sift` are OpenCV's
(`peer_features.py`), at 10 inliers, as is usual, and at the least number that gives at most one
false match among the unrelated pairs tried. PYTHON is an interpreter with
opencv-python-headless, if this one lacks it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alterations import ALTERATIONS, OTHERS, read, seeded
from distractors import search_time
from machine import describe
from photos import photos, resized, spread
from tutela.banks.protect import LEAST
from tutela.derivatives import VARIANTS
from tutela.media import Limits, decode
from tutela.signals.base import Fingerprint
from tutela.signals.derivation import compare
from tutela.signals.local import KEPT, LOCAL, Features, turned
from tutela.signals.pdq import PDQ

SIDE = 1600
"""Long side of a photograph before it is altered, pixels: derivatives circulate reduced."""
INLIERS = 10
"""Of ORB and SIFT, in the setting that is usual."""
FEWEST = 3
"""Inliers that say anything: two fit any similarity."""
METHODS = ("local", "pdq", "orb")
TWELVE_MEGAPIXELS = (4000, 3000)


@dataclass(frozen=True, slots=True)
class Altered:
    """An altered file, of the registered photograph `source`."""

    path: Path
    source: int
    alteration: str
    strength: float
    shown: tuple[int, ...]
    """Other registered photographs, parts of which it shows."""
    plotted: bool
    """It serves the plot alone: no unrelated photograph is compared with it."""


@dataclass(slots=True)
class Told:
    """What the methods say of an altered file."""

    altered: Altered
    distance: int = 256
    """PDQ, to the original; 256 where a picture is too flat for PDQ."""
    turned_distance: int = 256
    """The least of its eight variants."""
    pdq_false: int = 0
    turned_false: int = 0
    likelihood: float | None = None
    """Of Tutela's local fingerprints; None if they don't match."""
    score: float | None = None
    inliers: int = 0
    false: list[tuple[int, float, float, int]] = field(default_factory=list)
    """Unrelated photographs that matched: number, likelihood, score, inliers."""
    related: list[tuple[int, float]] = field(default_factory=list)
    """Photographs of the same scene or shown in it that matched: number, likelihood."""
    peers: dict[str, tuple[int, list[int]]] = field(default_factory=dict)
    """By method, inliers with the original and with some unrelated photographs."""


class Scenes:
    """Which photographs of the folder show the same scene."""

    def __init__(self, names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> None:
        self._scene = {name: {number} for number, name in enumerate(names)}
        for a, b in pairs:
            if a in self._scene and b in self._scene:
                joined = self._scene[a] | self._scene[b]
                for number in joined:
                    self._scene[names[number]] = joined
        self._names = names

    def of(self, numbers: Iterable[int]) -> frozenset[int]:
        """These photographs and all others of their scenes."""
        return frozenset().union(*(self._scene[self._names[number]] for number in numbers))

    def apart(self) -> int:
        """Pairs of one scene."""
        return sum(len(scene) - 1 for scene in self._scene.values()) // 2


@dataclass(frozen=True, slots=True)
class Task:
    """One photograph and what to make of it."""

    number: int
    path: Path
    others: tuple[int, ...]
    other_paths: tuple[Path, ...]
    alterations: tuple[str, ...]
    plotted: bool
    folder: Path


def alter(task: Task) -> list[Altered]:
    """Write the altered files of one photograph."""
    picture = read(task.path, SIDE)
    others = [read(path, SIDE) for path in task.other_paths]
    made = []
    for place, alteration in enumerate(ALTERATIONS):
        if alteration.name not in task.alterations:
            continue
        strengths = {alteration.strength, *(alteration.strengths if task.plotted else ())}
        for strength in sorted(strengths):
            path = task.folder / f"{task.number:05}-{place:02}-{strength:g}.jpg"
            path.write_bytes(alteration.encode(picture, task.path.name, strength, others))
            made.append(
                Altered(
                    path,
                    task.number,
                    alteration.name,
                    strength,
                    task.others[: alteration.borrows],
                    strength != alteration.strength,
                )
            )
    return made


# Tutela's fingerprints, in worker processes


@dataclass(frozen=True, slots=True)
class Registered:
    """What is kept of a photograph."""

    pdq: Fingerprint
    local: Features | None
    """None if it has too little detail to be protected: its derivatives count as missed."""


METHODS_ASKED: set[str] = set()
REGISTERED: list[Registered] = []
HASHES: list[np.ndarray] = []


def begin(methods: Iterable[str], registered: list[Registered]) -> None:
    METHODS_ASKED.update(methods)
    REGISTERED.extend(registered)
    if registered:
        HASHES.append(np.array([np.frombuffer(one.pdq.value, np.uint8) for one in registered]))


def fingerprint(data: bytes) -> Features:
    """The local fingerprint of a file, as of a screened upload."""
    (made,) = LOCAL.fingerprint(data, decode(data, Limits(), detail=LOCAL.detail))
    return Features.from_bytes(made.value)


def register(path: Path) -> Registered:
    data = path.read_bytes()
    (pdq,) = PDQ.fingerprint(data, decode(data, Limits(), detail=PDQ.detail))
    kept = fingerprint(data).first(KEPT) if "local" in METHODS_ASKED else None
    return Registered(pdq, kept if kept is not None and len(kept) >= LEAST else None)


def ask(job: tuple[Altered, frozenset[int]]) -> Told:
    """Compare an altered file with its original and, unless for the plot, with all others."""
    altered, related = job
    data = altered.path.read_bytes()
    told = Told(altered)
    others = [] if altered.plotted else range(len(REGISTERED))
    if "pdq" in METHODS_ASKED:
        ask_pdq(told, data, [number for number in others if number not in related])
    if "local" in METHODS_ASKED:
        ask_local(told, data, others, related)
    return told


def ask_pdq(told: Told, data: bytes, unrelated: list[int]) -> None:
    (made,) = PDQ.fingerprint(data, decode(data, Limits(), detail=PDQ.detail))
    if made.quality < PDQ.min_quality:
        return
    values = [made.value, *(value for _, value in made.variants)]
    queries = np.array([np.frombuffer(value, np.uint8) for value in values])
    distances = np.bitwise_count(HASHES[0] ^ queries[:, None]).sum(2, dtype=int)
    flat = [one.pdq.quality < PDQ.min_quality for one in REGISTERED]
    distances[:, flat] = 256
    own = distances[:, told.altered.source]
    told.distance, told.turned_distance = int(own[0]), int(own.min())
    if unrelated:
        told.pdq_false = int((distances[0, unrelated] <= PDQ.radius).sum())
        told.turned_false = int((distances[:, unrelated].min(0) <= PDQ.radius).sum())


def ask_local(told: Told, data: bytes, others: Iterable[int], related: frozenset[int]) -> None:
    source = told.altered.source
    features = fingerprint(data)
    queries = [turned(features, variant) for variant in VARIANTS]
    for number in {source, *others}:
        held = REGISTERED[number].local
        if held is None:
            continue
        matches = [compare(query, held) for query in queries]
        found = max(filter(None, matches), key=lambda match: match.score, default=None)
        if found is None:
            continue
        if number == source:
            told.likelihood, told.score = found.likelihood, found.score
            told.inliers = found.inliers
        elif number in related:
            told.related.append((number, found.likelihood))
        else:
            told.false.append((number, found.likelihood, found.score, found.inliers))


def ask_peers(
    told: list[Told],
    paths: list[Path],
    related: Callable[[Altered], frozenset[int]],
    methods: list[tuple[str, int]],
    options: argparse.Namespace,
    folder: Path,
) -> str:
    """Let OpenCV look at the same files; the version that did."""
    jobs = []
    for one in told:
        altered = one.altered
        unrelated: list[int] = []
        if not altered.plotted:
            pool = sorted(set(range(len(paths))) - related(altered))
            rng = seeded(altered.path.name, "unrelated")
            count = min(len(pool), options.peer_pairs)
            unrelated = [pool[i] for i in rng.choice(len(pool), count, replace=False)]
        jobs.append((str(altered.path), altered.source, unrelated))
    job = folder / "job.json"
    job.write_text(
        json.dumps(
            {
                "registered": [str(path) for path in paths],
                "altered": jobs,
                "methods": methods,
                "side": options.peer_side,
                "cores": options.cores,
            }
        )
    )
    script = Path(__file__).with_name("peer_features.py")
    done = subprocess.run(
        [options.peer_python, str(script), str(job)], stdout=subprocess.PIPE, check=True
    )
    answer = json.loads(done.stdout)
    for one, inliers in zip(told, answer["told"], strict=True):
        for (name, count), (own, unrelated) in zip(methods, inliers, strict=True):
            one.peers[f"{name} {count}"] = (own, unrelated)
    return f"OpenCV {answer['version']}, {answer['seconds']:.0f} s"


# What is printed


@dataclass(frozen=True, slots=True)
class Column:
    """One method at one setting."""

    title: str
    found: Callable[[Told], bool]
    false: int
    pairs: int


def columns(told: list[Told], methods: Sequence[str], pairs: int) -> list[Column]:
    made = []
    rows = [one for one in told if not one.altered.plotted]
    if "local" in methods:
        false = sum(len(one.false) for one in rows)
        made.append(Column("Tutela", lambda one: one.likelihood is not None, false, pairs))
    if "pdq" in methods:
        plain, turned = sum(one.pdq_false for one in rows), sum(one.turned_false for one in rows)
        made += [
            Column("PDQ", lambda one: one.distance <= PDQ.radius, plain, pairs),
            Column("PDQ x 8", lambda one: one.turned_distance <= PDQ.radius, turned, pairs),
        ]
    for name in told[0].peers:
        unrelated = sorted((n for one in rows for n in one.peers[name][1]), reverse=True)
        fair = max(FEWEST, unrelated[1] + 1 if len(unrelated) > 1 else 0)
        for least in (INLIERS, fair):
            false = sum(n >= least for n in unrelated)
            made.append(
                Column(
                    f"{name.upper()}, {least}",
                    lambda one, name=name, least=least: one.peers[name][0] >= least,
                    false,
                    len(unrelated),
                )
            )
    return made


def grouped(told: Iterable[Told]) -> dict[tuple[str, float], list[Told]]:
    groups: dict[tuple[str, float], list[Told]] = defaultdict(list)
    for one in told:
        groups[one.altered.alteration, one.altered.strength].append(one)
    return groups


def share(rows: Sequence[Told], column: Column) -> float:
    return sum(map(column.found, rows)) / len(rows)


def table(told: list[Told], shown: list[Column]) -> None:
    """Recall by alteration, then false matches."""
    groups = grouped(one for one in told if not one.altered.plotted)
    print(f"\n{'recall, %':<46}{'files':>6}{'target':>7}", end="")
    print("".join(f"{column.title:>13}" for column in shown))
    for alteration in ALTERATIONS:
        rows = groups.get((alteration.name, alteration.strength))
        if not rows:
            continue
        target = f"{100 * alteration.target:.0f}" if alteration.target else ""
        print(f"{alteration.name:<46}{len(rows):>6}{target:>7}", end="")
        print("".join(f"{100 * share(rows, column):>13.1f}" for column in shown))
    print(f"{'false matches':<59}" + "".join(f"{column.false:>13,}" for column in shown))
    print(f"{'in unrelated pairs':<59}" + "".join(f"{column.pairs:>13,}" for column in shown))


def missed(told: list[Told], names: Sequence[str]) -> None:
    """The photographs that their local fingerprint does not find, by how often."""
    counts = Counter(
        names[one.altered.source]
        for one in told
        if one.likelihood is None and not one.altered.plotted
    )
    if counts:
        found = ", ".join(f"{name} {count}" for name, count in counts.most_common(20))
        print(f"\nmissed most often: {found}")


def falsehoods(told: list[Told], names: Sequence[str]) -> None:
    """The unrelated pairs that Tutela's local fingerprints match, by name, strongest first."""
    found = [(one, *match) for one in told for match in one.false]
    found.sort(key=lambda row: -row[3])
    if found:
        print(
            f"\nunrelated pairs that matched: largest likelihood {max(row[2] for row in found):.6f}"
        )
    for one, number, likelihood, score, inliers in found[:40]:
        print(
            f"  {names[one.altered.source]}, {one.altered.alteration} ~ {names[number]}: "
            f"likelihood {likelihood:.6f}, score {score:.1f}, {inliers} inliers"
        )
    related = [match for one in told for match in one.related]
    print(f"pairs of one scene, or shown by the alteration, that matched: {len(related):,}")


def costs(paths: list[Path], registered: list[Registered], repeat: int = 5) -> dict[str, float]:
    """Size of what is stored, and the time of a 12-megapixel JPEG, one thread."""
    sizes = [len(one.local.to_bytes()) for one in registered if one.local]
    times = []
    for path in spread(paths, 12):
        data = resized(path, *TWELVE_MEGAPIXELS)
        fingerprint(data)
        for _ in range(repeat):
            start = time.perf_counter()
            fingerprint(data)
            times.append(1e3 * (time.perf_counter() - start))
    return {
        "not_protected": len(registered) - len(sizes),
        "bytes_median": statistics.median(sizes),
        "bytes_most": max(sizes),
        "fingerprint_ms_median": statistics.median(times),
        "fingerprint_ms_least": min(times),
    }


def searched(
    told: list[Told],
    paths: list[Path],
    registered: list[Registered],
    related: Callable[[Altered], frozenset[int]],
    options: argparse.Namespace,
) -> dict[str, float]:
    """Look up altered files that comparing finds, among many; those of a few photographs."""
    found = [one.altered for one in told if one.likelihood is not None and not one.altered.plotted]
    sources = spread(sorted({one.source for one in found}), 15)
    asked = spread([one for one in found if one.source in sources], 200)
    real = [number for number, one in enumerate(registered) if one.local is not None]
    queries = [(fingerprint(one.path.read_bytes()), real.index(one.source)) for one in asked]
    shown = frozenset().union(*(related(one) for one in asked))
    others = [path for number, path in enumerate(paths) if number not in shown]
    held = [registered[number].local for number in real]
    with multiprocessing.get_context("spawn").Pool(options.cores) as workers:
        return search_time(held, others, queries, options.distractors, VARIANTS, workers)


def plot(told: list[Told], shown: list[Column], path: Path) -> None:
    """Recall by strength, one panel an alteration; photographs that have every strength."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    photographs = {one.altered.source for one in told if one.altered.plotted}
    groups = grouped(one for one in told if one.altered.source in photographs)
    panels = [one for one in ALTERATIONS if one.strengths and (one.name, one.strength) in groups]
    across = 4
    down = -(-len(panels) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(3.3 * across, 2.7 * down), sharey=True, squeeze=False
    )
    # Okabe and Ito's colours, with a marker and a dash each, so that no colour alone decides.
    # Markers are open and shrink, so that lines on one another show.
    styles = (("#0072B2", "o", "-", 8), ("#D55E00", "s", "--", 6), ("#009E73", "^", "-.", 4))
    styles += (("#CC79A7", "D", ":", 3),)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, alteration in zip(grid.flat, panels, strict=False):
        places = range(len(alteration.strengths))
        for column, (colour, marker, dash, size) in zip(shown, styles, strict=False):
            recall = [
                100 * share(groups[alteration.name, strength], column)
                for strength in alteration.strengths
            ]
            axis.plot(
                places,
                recall,
                dash,
                color=colour,
                marker=marker,
                markersize=size,
                markerfacecolor="white",
                label=column.title,
            )
        axis.axvline(alteration.strengths.index(alteration.strength), color="#bbbbbb", zorder=0)
        axis.set_title(alteration.name, fontsize=9)
        axis.set_xticks(places, [f"{strength:g}" for strength in alteration.strengths], fontsize=8)
        axis.set_xlabel(alteration.meaning, fontsize=8)
        axis.set_ylim(-4, 104)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    for row in grid:
        row[0].set_ylabel("recall, %", fontsize=8)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.suptitle(" ", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG photographs")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="registered as well")
    parser.add_argument("--limit", type=int, help="alter so many of them; all are registered")
    parser.add_argument("--same", type=Path, help="pairs of one scene: two file names a line")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=[*METHODS, "sift"])
    parser.add_argument("--only", nargs="+", help="alterations of these names")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-pairs", type=int, default=10, help="unrelated, an altered file")
    parser.add_argument("--peer-side", type=int, default=800, help="long side, pixels")
    parser.add_argument("--budget", type=int, default=KEPT, help="ORB's features beside 500")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--plot-photos", type=int, default=60)
    parser.add_argument("--distractors", type=int, help="time a search among so many")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cores", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print(describe("numpy", "pillow", "numba", "simplejpeg"))
    with tempfile.TemporaryDirectory() as scratch:
        run(options, Path(scratch))


def run(options: argparse.Namespace, folder: Path) -> None:
    started = time.perf_counter()
    paths = photos(options.photos)
    own = len(paths)
    for beside in options.beside:
        paths += photos(beside)
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise SystemExit("two photographs have the same file name")
    wanted = tuple(one.name for one in ALTERATIONS if not options.only or one.name in options.only)
    pairs = (
        [line.split()[:2] for line in options.same.read_text().splitlines() if line.strip()]
        if options.same
        else []
    )
    scenes = Scenes(names, [(a, b) for a, b in pairs])

    def related(altered: Altered) -> frozenset[int]:
        return scenes.of((altered.source, *altered.shown))

    numbers = spread(list(range(own)), options.limit or own)
    plotted = set(spread(numbers, options.plot_photos)) if options.plot else set()
    tasks = []
    for number in numbers:
        apart = sorted(set(range(own)) - scenes.of([number]))
        drawn = seeded(names[number], "others").choice(apart, OTHERS, replace=False).tolist()
        tasks.append(
            Task(
                number,
                paths[number],
                tuple(drawn),
                tuple(paths[other] for other in drawn),
                wanted,
                number in plotted,
                folder,
            )
        )
    context = multiprocessing.get_context("spawn")
    methods = list(options.methods)
    with context.Pool(options.cores, begin, (methods, [])) as pool:
        registered = pool.map(register, paths, chunksize=4)
        altered = [one for made in pool.imap(alter, tasks) for one in made]
    print(
        f"{len(paths)} photographs registered, {len(numbers)} altered into {len(altered):,} files, "
        f"{scenes.apart()} pairs of one scene; {time.perf_counter() - started:.0f} s"
    )
    with context.Pool(options.cores, begin, (methods, registered)) as pool:
        jobs = [(one, related(one)) for one in altered]
        told = pool.map(ask, jobs, chunksize=8)
    print(f"asked Tutela and PDQ; {time.perf_counter() - started:.0f} s")
    peers = [("orb", 500), ("orb", options.budget)] if "orb" in methods else []
    peers += [("sift", 1000)] if "sift" in methods else []
    if peers:
        print(f"asked {ask_peers(told, paths, related, peers, options, folder)}")
    compared = sum(
        len(paths) - len(related(one.altered)) for one in told if not one.altered.plotted
    )
    shown = columns(told, methods, compared)
    table(told, shown)
    summary: dict[str, Any] = {"pairs": compared}
    if "local" in methods:
        missed(told, names)
        falsehoods(told, names)
        summary |= costs(paths, registered)
        if options.distractors:
            summary |= searched(told, paths, registered, related, options)
        print()
        for name, value in summary.items():
            print(f"{name:<28}{value:>14,.1f}")
    if options.plot:
        titles = ("Tutela", "PDQ x 8", f"ORB 500, {INLIERS}", f"SIFT 1000, {INLIERS}")
        lines = [one for one in shown if one.title in titles]
        plot(told, lines, options.plot)
    if options.json:
        written = [asdict(one) for one in told]
        report = {"photos": names, "summary": summary, "told": written}
        options.json.write_text(json.dumps(report, default=str))
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
