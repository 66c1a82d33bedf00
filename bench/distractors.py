"""The time of a search among many protected photographs, most of them invented.

A hundred thousand photographs are not at hand. Those that are get turned by any angle, mirrored
and cropped, each a few times: the local fingerprint is of upright patches, so these are other
patches with the same uneven bits. An invented photograph takes its patches from several of
such pictures, a sixteenth of the bits changed, and puts them in other places.
`crowding` tells how much more often than even rows two patches of different photographs share
the bits that number a bucket; `bench/derivatives.py --distractors N` prints it for both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from alterations import seeded
from tutela.banks.protect import keyed
from tutela.index.live import Change
from tutela.index.local import LocalIndex
from tutela.signals.derivation import compare
from tutela.signals.local import KEPT, Features, extract, turned
from tutela.store.secret import Secret

SIDE = 1200
"""Long side at which pictures are turned, pixels."""
TURNS = 8
"""Pictures made of each photograph."""
PARTS = 8
"""Pictures that an invented photograph takes its patches from."""


def turns(path: Path) -> list[Features]:
    """The patches of one photograph turned and cropped in several ways."""
    with Image.open(path) as image:
        image.draft("L", (SIDE, SIDE))
        grey = image.convert("L")
    grey.thumbnail((SIDE, SIDE))
    rng = seeded(path.name, "turns")
    made = []
    for number in range(TURNS):
        # One turn in each eighth of the circle; the largest upright square inside, and less.
        angle = (number + rng.uniform()) * 360 / TURNS
        radians = np.radians(angle % 90)
        side = min(grey.size) / (np.sin(radians) + np.cos(radians)) * rng.uniform(0.6, 1.0)
        left, top = (grey.width - side) / 2, (grey.height - side) / 2
        turned_grey = grey.rotate(angle, Image.Resampling.BICUBIC)
        window = turned_grey.crop(tuple(round(v) for v in (left, top, left + side, top + side)))
        if rng.random() < 0.5:
            window = window.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        made.append(extract(np.asarray(window)).first(KEPT))
    return [features for features in made if len(features) >= PARTS]


class Many:
    """What an index reads: these photographs first, then invented ones up to `count`."""

    def __init__(self, real: Sequence[Features], pool: Sequence[Features], count: int) -> None:
        self._real = real
        self._pool = pool
        self._count = max(count, len(real))

    def head(self, signal: str) -> int:
        del signal
        return self._count

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        del signal
        last = min(after + limit, self._count)
        return [
            Change(entry, entry, False, self.features(entry).descriptors.tobytes())
            for entry in range(after + 1, last + 1)
        ]

    def features(self, entry: int) -> Features:
        """The patches of an entry; entries start at 1, the real photographs' first."""
        if entry <= len(self._real):
            return self._real[entry - 1]
        rng = np.random.default_rng(entry)
        parts = [self._pool[i] for i in rng.integers(0, len(self._pool), PARTS)]
        picks = [rng.integers(0, len(part), KEPT // PARTS) for part in parts]
        rows = np.concatenate([p.descriptors[i] for p, i in zip(parts, picks, strict=True)])
        masks = rng.integers(0, 256, (4, *rows.shape), dtype=np.uint8)
        # Elsewhere than in its pictures, so that nothing agrees on where they lie.
        places = rng.permutation(
            np.concatenate([p.places[i] for p, i in zip(parts, picks, strict=True)])
        )
        return replace(
            parts[0], places=places, descriptors=rows ^ np.bitwise_and.reduce(masks, axis=0)
        )


def crowding(some: Sequence[Features], others: Sequence[Features], bits: int = 20) -> float:
    """How many times more pairs of patches of the two share their first bits than even rows do."""
    mask = np.uint32((1 << bits) - 1)
    keys = [
        np.concatenate([f.descriptors[:, :4].copy().view("<u4")[:, 0] & mask for f in side])
        for side in (some, others)
    ]
    counts = [np.bincount(key, minlength=1 << bits).astype(float) for key in keys]
    return float((counts[0] * counts[1]).sum()) * (1 << bits) / (len(keys[0]) * len(keys[1]))


def search_time(
    real: Sequence[Features],
    others: Sequence[Path],
    queries: Sequence[tuple[Features, int]],
    count: int,
    variants: Sequence[str],
    workers: Pool,
) -> dict[str, float]:
    """Milliseconds to look content up among `count` photographs, one thread, and what it finds.

    `queries` are the fingerprints of uploads with the number, in `real`, of the photograph that
    each derives from; `others` are photographs that none of them shows, to invent from. A search
    is what screening does once it has the fingerprint: the secret isometry, candidates from the
    index for each variant, each opened and compared in full. Only reading rows of the database is
    left out.
    """
    secret = Secret(bytes(range(32)))
    pool = [keyed(secret, one) for made in workers.imap(turns, others) for one in made]
    source = Many([keyed(secret, one) for one in real], pool, count)
    start = time.perf_counter()
    index = LocalIndex(source)
    index.refresh()
    built = time.perf_counter() - start
    times, proposals, candidates, proposed, found, wrong = [], [], [], 0, 0, 0
    for features, original in queries:
        # What the database holds, made beforehand.
        sides = [keyed(secret, turned(features, variant)) for variant in variants]
        near = {entry for side in sides for entry in index.search(side.descriptors)}
        sealed = {entry: secret.seal("", source.features(entry).to_bytes()) for entry in near}
        took, looked = [], []
        for _ in range(3):
            start = time.perf_counter()
            sides = [keyed(secret, turned(features, variant)) for variant in variants]
            pairs = [(side, entry) for side in sides for entry in index.search(side.descriptors)]
            looked.append(1e3 * (time.perf_counter() - start))
            opened = {entry: Features.from_bytes(secret.open("", sealed[entry])) for entry in near}
            matched = {entry for side, entry in pairs if compare(side, opened[entry]) is not None}
            took.append(1e3 * (time.perf_counter() - start))
        times.append(statistics.median(took))
        proposals.append(statistics.median(looked))
        candidates.append(len(near))
        proposed += original + 1 in near
        found += original + 1 in matched
        wrong += sum(entry > len(real) for entry in matched)
    status = index.status()
    asked = [keyed(secret, features) for features, _ in queries]
    invented = [
        source.features(entry) for entry in range(len(real) + 1, min(count, len(real) + 200))
    ]
    return {
        "searched_photos": status.entries,
        "searched_rows": status.rows,
        "index_bytes_per_photo": status.nbytes / status.entries,
        "index_seconds": built,
        "candidates_ms_median": statistics.median(proposals),
        "search_ms_median": statistics.median(times),
        "search_ms_p95": float(np.quantile(times, 0.95)),
        "search_ms_most": max(times),
        "candidates_mean": statistics.fmean(candidates),
        "candidates_most": max(candidates),
        "queries": len(queries),
        "originals_proposed": proposed,
        "originals_found": found,
        "invented_matched": wrong,
        "crowding_real": crowding(asked, pool),
        "crowding_invented": crowding(asked, invented) if invented else 0.0,
    }
