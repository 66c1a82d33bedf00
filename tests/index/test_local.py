"""The candidate search: it votes as a plain count would, finds derivatives, follows its source."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_search import Memory, random_rows

from tutela.errors import ConfigurationError, StoreError
from tutela.index import local
from tutela.index.local import CANDIDATES, LocalIndex
from tutela.index.local_kernels import CHUNKS, SKETCH, SPAN
from tutela.index.plan import TAG_BITS

seeds = st.integers(0, 2**32 - 1)
ROWS = 440


def photos(rng: np.random.Generator, count: int, rows: int = ROWS) -> list[np.ndarray]:
    return [random_rows(rng, rows) for _ in range(count)]


def filled(pictures: list[np.ndarray]) -> Memory:
    source = Memory()
    for number, rows in enumerate(pictures, 1):
        source.put(number, rows)
    return source


def opened(source: Memory) -> LocalIndex:
    index = LocalIndex(source)
    index.refresh()
    return index


def derived(
    rng: np.random.Generator, rows: np.ndarray, kept: int, changed: float, asked: int = 800
) -> np.ndarray:
    """Rows of content that shows `kept` of a photo's rows, a share of their bits changed."""
    bits = np.unpackbits(rows[rng.choice(len(rows), kept, replace=False)], axis=1)
    bits ^= rng.random(bits.shape) < changed
    content = np.concatenate([np.packbits(bits, axis=1), random_rows(rng, asked - kept)])
    return rng.permutation(content)


def chunk(row: np.ndarray, c: int, key: int) -> tuple[int, int]:
    """Bucket and tag of a row's chunk."""
    ring = int.from_bytes(row.tobytes(), "little") >> (c * SPAN)
    return ring & ((1 << key) - 1), (ring >> key) & ((1 << TAG_BITS) - 1)


def naive_sketch(row: np.ndarray) -> int:
    """The bits of a row that say how near it is, once a chunk is near."""
    return int.from_bytes(row.tobytes(), "little") >> (CHUNKS * SPAN) & ((1 << 32 * SKETCH) - 1)


def naive_scores(pictures: list[np.ndarray], queries: np.ndarray, key: int) -> list[int]:
    """Each photo's score by comparing every query with every row."""
    weights, _ = local._weights(key)
    scores = []
    for rows in pictures:
        score = 0
        for query in queries:
            worth = [0]
            for row in rows:
                rest = naive_sketch(query) ^ naive_sketch(row)
                for c in range(CHUNKS):
                    asked, held = chunk(query, c, key), chunk(row, c, key)
                    flips = (asked[0] ^ held[0]).bit_count()
                    tag = (asked[1] ^ held[1]).bit_count()
                    away = flips + tag + rest.bit_count()
                    if flips <= 1 and tag <= local.LIMITS[flips] and away < len(weights):
                        worth.append(int(weights[away]))
            score += max(worth)
        scores.append(score)
    return scores


@given(seed=seeds, changed=st.sampled_from([0.0, 0.1, 0.3]))
@settings(max_examples=15)
def test_scores_are_those_of_a_plain_count(seed: int, changed: float) -> None:
    rng = np.random.default_rng(seed)
    pictures = photos(rng, int(rng.integers(1, 7)), 6)
    queries = np.concatenate([derived(rng, rows, 3, changed, 3) for rows in pictures])
    (table,) = opened(filled(pictures))._state.tables
    scores = table.scores(local.frozen(local.as_words(queries, 256)))
    assert scores.tolist() == naive_scores(pictures, queries, table.key)


@given(seed=seeds)
@settings(max_examples=10)
def test_pouring_is_cutting_anew(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = []
    living: list[tuple[int, np.ndarray]] = []
    for _ in range(int(rng.integers(1, 4))):
        pictures = photos(rng, int(rng.integers(0, 5)), 3)
        entries = rng.integers(1, 1000, len(pictures))
        words = np.concatenate([np.empty((0, 32), np.uint8), *pictures]).view("<u8")
        table = local.cut(words, entries, np.full(len(pictures), 3))
        struck = entries[rng.random(len(entries)) < 0.3]
        tables.append(table.without(struck))
        living += [
            (int(entry), rows)
            for entry, rows in zip(entries, pictures, strict=True)
            if entry not in struck
        ]
    merged = local.poured(tables)
    rows = np.concatenate([np.empty((0, 32), np.uint8), *(rows for _, rows in living)])
    entries = np.array([entry for entry, _ in living], np.int64)
    anew = local.cut(rows.view("<u8"), entries, np.full(len(living), 3))
    assert merged.key == anew.key
    for name in ("entries", "starts", "offsets", "tags", "postings", "sketches"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(anew, name), name)


def test_an_empty_index_finds_nothing() -> None:
    index = opened(Memory())
    assert index.search(random_rows(np.random.default_rng(0), 800)) == []
    assert index.search(np.empty((0, 32), np.uint8)) == []
    assert index.status().entries == 0


def test_rows_of_another_width_are_refused() -> None:
    index = opened(filled(photos(np.random.default_rng(0), 1)))
    with pytest.raises(ValueError, match="uint8"):
        index.search(np.zeros((3, 16), np.uint8))
    source = Memory()
    source.put(1, np.zeros((1, 31), np.uint8))
    with pytest.raises(ConfigurationError, match="multiple of 32"):
        opened(source)


@pytest.mark.parametrize("count", [1, 2, 40, 300])
def test_a_photo_is_found_from_part_of_its_rows(count: int) -> None:
    rng = np.random.default_rng(count)
    pictures = photos(rng, count)
    index = opened(filled(pictures))
    for number in rng.choice(count, min(count, 10), replace=False):
        found = index.search(derived(rng, pictures[number], 40, 0.15))
        assert found[0] == number + 1
        assert len(found) <= 2


def test_strangers_are_seldom_candidates() -> None:
    rng = np.random.default_rng(5)
    index = opened(filled(photos(rng, 300)))
    returned = [len(index.search(random_rows(rng, 800))) for _ in range(40)]
    assert sum(returned) <= 8


def test_every_copy_of_a_photo_is_found_up_to_the_limit() -> None:
    rng = np.random.default_rng(6)
    pictures = photos(rng, 60)
    source = filled(pictures)
    for copy in range(20):
        source.put(1000 + copy, pictures[7])
    found = opened(source).search(derived(rng, pictures[7], 60, 0.1))
    assert set(found) == {8, *range(1000, 1020)}
    for copy in range(2000):
        source.put(2000 + copy, pictures[7][:100])
    found = opened(source).search(derived(rng, pictures[9], 60, 0.1))
    assert found[0] == 10
    found = opened(source).search(derived(rng, pictures[7], 60, 0.1))
    assert len(found) == CANDIDATES
    assert all(entry == 8 or entry >= 1000 for entry in found)


def test_rows_that_are_all_equal() -> None:
    rng = np.random.default_rng(7)
    flat = np.zeros((ROWS, 32), np.uint8)
    pictures = [flat] * 50 + photos(rng, 3)
    index = opened(filled(pictures))
    # Equal rows of content count once: they say what one of them does.
    assert index.search(np.zeros((800, 32), np.uint8)) == index.search(flat[:1])
    assert index.search(derived(rng, pictures[51], 60, 0.1))[0] == 52


def test_changes_count_at_the_next_refresh() -> None:
    rng = np.random.default_rng(8)
    pictures = photos(rng, 30)
    source = Memory()
    index = opened(source)
    for number, rows in enumerate(pictures, 1):
        source.put(number, rows)
        assert index.search(derived(rng, rows, 80, 0.1)) == []
        assert index.refresh() == source.seq
        assert index.search(derived(rng, rows, 80, 0.1)) == [number]
    source.delete(4)
    source.put(5, pictures[3])
    index.refresh()
    assert index.search(derived(rng, pictures[3], 80, 0.1)) == [5]
    assert index.search(derived(rng, pictures[4], 80, 0.1)) == []
    assert index.status().entries == 29
    calls = source.calls
    index.refresh()
    assert source.calls == calls


def test_tables_stay_few_and_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "BLOCK", 12)
    monkeypatch.setattr(local, "BATCH", 5)
    rng = np.random.default_rng(9)
    source, index, living = Memory(), None, {}
    index = opened(source)
    for step in range(40):
        for _ in range(int(rng.integers(1, 16))):
            entry = int(rng.integers(1, 300))
            if rng.random() < 0.2:
                source.delete(entry)
                living.pop(entry, None)
            else:
                living[entry] = random_rows(rng, 100)
                source.put(entry, living[entry])
        index.refresh()
        status = index.status()
        assert status.entries == len(living)
        assert status.rows == 100 * len(living)
        assert status.tables <= 8
        if step % 8 == 7:
            for entry in list(living)[:5]:
                assert index.search(derived(rng, living[entry], 60, 0.05, 100)) == [entry]
    for entry in list(living):
        source.delete(entry)
    index.refresh()
    assert index.status().entries == 0


def test_a_source_that_went_back_is_read_anew() -> None:
    rng = np.random.default_rng(10)
    pictures = photos(rng, 4)
    source = filled(pictures)
    index = opened(source)
    source.latest.pop(4)
    source.seq = 3
    assert index.refresh() == 3
    assert index.search(derived(rng, pictures[3], 80, 0.1)) == []
    assert index.search(derived(rng, pictures[2], 80, 0.1)) == [3]


class Failing(Memory):
    """A source that raises from its third read on."""

    failing = True

    def changes(self, signal: str, after: int, limit: int):  # type: ignore[no-untyped-def]
        found = super().changes(signal, after, limit)
        if self.failing and self.calls > 2:
            raise StoreError("the database is gone")
        return found


def test_a_refresh_raises_what_the_source_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "BLOCK", 2)
    monkeypatch.setattr(local, "BATCH", 2)
    rng = np.random.default_rng(11)
    pictures = photos(rng, 8)
    source = Failing()
    for number, rows in enumerate(pictures, 1):
        source.put(number, rows)
    index = LocalIndex(source)
    with pytest.raises(StoreError, match="gone"):
        index.refresh()
    assert index.search(derived(rng, pictures[3], 80, 0.1)) == [4]
    assert index.search(derived(rng, pictures[7], 80, 0.1)) == []
    source.failing = False
    index.refresh()
    assert index.search(derived(rng, pictures[7], 80, 0.1)) == [8]


def test_searches_go_on_while_photos_come_and_go() -> None:
    rng = np.random.default_rng(12)
    pictures = photos(rng, 40)
    source = filled(pictures[:20])
    index = opened(source)
    asked = derived(rng, pictures[0], 80, 0.1)
    wrong: list[list[int]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found = index.search(asked)
            if found != [1]:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20, 40):
        source.put(number + 1, pictures[number])
        source.delete(number - 10)
        index.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("kept", "changed", "least"),
    [(10, 0.08, 0.95), (20, 0.12, 0.95), (40, 0.16, 1.0), (80, 0.2, 1.0), (160, 0.24, 1.0)],
)
def test_recall_by_rows_kept_and_bits_changed(kept: int, changed: float, least: float) -> None:
    """Of 500 photos, from 800 rows of which `kept` are the photo's own, altered."""
    rng = np.random.default_rng(13)
    pictures = photos(rng, 500)
    index = opened(filled(pictures))
    asked = rng.choice(500, 40, replace=False)
    found = [number + 1 in index.search(derived(rng, pictures[number], kept, changed))
             for number in asked]  # fmt: skip
    assert np.mean(found) >= least
