"""What the index does, done plainly, and a store that remembers changes in a dictionary."""

from collections.abc import Iterator, Sequence

import numpy as np

from tutela.index.live import Change

Hit = tuple[int, int, int]


def search(rows: np.ndarray, entries: np.ndarray, queries: np.ndarray, radius: int) -> list[Hit]:
    """(query, entry, distance) of every row within the radius, sorted."""
    hits = []
    for q, query in enumerate(queries):
        distances = np.bitwise_count(rows ^ query).sum(axis=1, dtype=np.int64)
        within = np.flatnonzero(distances <= radius)
        hits += [(q, int(entries[r]), int(distances[r])) for r in within]
    return sorted(hits)


def listed(found: Sequence[np.ndarray]) -> list[Hit]:
    """What a search returned, sorted."""
    return sorted(zip(*(column.tolist() for column in found), strict=True))


def bits_of(row: np.ndarray) -> list[int]:
    """The bits of a row of words, lowest first."""
    return [int(word) >> bit & 1 for word in row for bit in range(64)]


def from_bits(bits: Sequence[int]) -> int:
    return sum(bit << place for place, bit in enumerate(bits))


def random_rows(rng: np.random.Generator, n: int, bits: int = 256) -> np.ndarray:
    return rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)


def altered(rng: np.random.Generator, row: np.ndarray, flips: int) -> np.ndarray:
    """The row with exactly so many bits flipped."""
    out = np.unpackbits(row)
    out[rng.choice(out.size, flips, replace=False)] ^= 1
    return np.packbits(out)


class Memory:
    """A source: the latest change of every entry."""

    def __init__(self, bits: int = 256) -> None:
        self.bits = bits
        self.latest: dict[int, Change] = {}
        self.seq = 0
        self.forgotten = 0
        self.calls = 0
        self.snapshots: set[str] = set()

    def put(self, entry: int, rows: np.ndarray) -> None:
        self.seq += 1
        self.latest[entry] = Change(self.seq, entry, False, rows.tobytes())

    def delete(self, entry: int) -> None:
        self.seq += 1
        self.latest[entry] = Change(self.seq, entry, True)

    def head(self, signal: str) -> int:
        return self.seq

    def floor(self, signal: str) -> int:
        return self.forgotten

    def knows(self, name: str) -> bool:
        return name in self.snapshots

    def remember(self, name: str) -> None:
        self.snapshots.add(name)

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        assert after >= self.forgotten
        self.calls += 1
        later = [change for change in self.latest.values() if change.seq > after]
        return sorted(later, key=lambda change: change.seq)[:limit]

    def live_rows(self, signal: str) -> tuple[int, Iterator[tuple[np.ndarray, np.ndarray]]]:
        return self.seq, iter([self.living()])

    def living(self) -> tuple[np.ndarray, np.ndarray]:
        """(entries, rows) as they should be found."""
        entries, rows = [], [np.empty((0, self.bits // 8), np.uint8)]
        for change in self.latest.values():
            if not change.deleted:
                held = np.frombuffer(change.rows, np.uint8).reshape(-1, self.bits // 8)
                rows.append(held)
                entries += [change.entry] * len(held)
        return np.array(entries, np.int64), np.concatenate(rows)
