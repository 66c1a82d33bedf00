"""The live index: it always finds exactly what the store holds."""

import logging
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from naive_search import Memory, altered, listed, random_rows, search

from tutela.errors import ConfigurationError
from tutela.index import live
from tutela.index.filelock import locked
from tutela.index.live import LiveIndex


def opened(directory: Path, source: Memory) -> LiveIndex:
    return LiveIndex(directory, "pdq", source.bits, 31, source)


def filled(n: int, seed: int = 0) -> Memory:
    source, rows = Memory(), random_rows(np.random.default_rng(seed), n)
    for i in range(n):
        source.put(i + 1, rows[i : i + 1])
    return source


def agrees(index: LiveIndex, source: Memory, queries: np.ndarray | None = None) -> bool:
    entries, rows = source.living()
    if queries is None:
        queries = rows[:: max(1, len(rows) // 20)]
    return listed(index.search(queries)) == search(rows, entries, queries, 31)


def test_an_empty_store_opens_and_finds_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path, Memory())
    assert [len(column) for column in index.search(np.zeros((2, 32), np.uint8))] == [0, 0, 0]
    assert index.status().entries == 0
    assert index.refresh() == 0
    assert not index.needs_compaction
    assert list(tmp_path.iterdir()) == []


def test_one_entry_matches_at_once(tmp_path: Path) -> None:
    source = Memory()
    index = opened(tmp_path, source)
    row = np.arange(32, dtype=np.uint8)[None]
    source.put(12, row)
    assert index.refresh() == 1
    assert listed(index.search(row)) == [(0, 12, 0)]
    source.delete(12)
    index.refresh()
    assert listed(index.search(row)) == []


def test_nothing_new_asks_for_no_changes(tmp_path: Path) -> None:
    source = filled(10)
    index = opened(tmp_path, source)
    calls = source.calls
    for _ in range(5):
        assert index.refresh() == 10
    assert source.calls == calls


def test_many_changes_become_tables_and_a_snapshot(tmp_path: Path) -> None:
    source = filled(40_000)
    index = opened(tmp_path, source)
    status = index.status()
    assert status.entries == status.rows == status.delta_rows == 40_000
    assert status.segments >= 1
    assert agrees(index, source)
    for entry in range(1, 400):
        source.delete(entry)
    source.put(500, random_rows(np.random.default_rng(9), 3))
    index.refresh()
    assert index.status().entries == 39_601
    assert index.status().rows == 39_603
    assert agrees(index, source)
    assert index.compact()
    after = index.status()
    assert after.snapshot_head == after.head == source.seq
    assert (after.entries, after.rows, after.delta_rows, after.dead_rows) == (39_601, 39_603, 0, 0)
    assert agrees(index, source)
    reopened = opened(tmp_path, source)
    assert agrees(reopened, source)
    assert reopened.status().rebuilt == ""


class Following(RuleBasedStateMachine):
    """Any order of changes, refreshes, compactions and restarts, on two workers."""

    place: Path

    @initialize(seed=st.integers(0, 2**32 - 1))
    def start(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.source = Memory()
        self.centres = random_rows(self.rng, 4)
        self.directory = Path(tempfile.mkdtemp(dir=self.place))
        self.workers = [opened(self.directory, self.source) for _ in range(2)]

    @rule(count=st.integers(1, 60), rows=st.integers(0, 3))
    def put(self, count: int, rows: int) -> None:
        for entry in self.rng.integers(-3, 150, count).tolist():
            near = [altered(self.rng, self.centres[i % 4], i * 7) for i in range(rows)]
            self.source.put(entry, np.array(near, np.uint8).reshape(-1, 32))

    @rule(count=st.integers(1, 30))
    def delete(self, count: int) -> None:
        for entry in self.rng.integers(-3, 150, count).tolist():
            self.source.delete(entry)

    @rule(worker=st.integers(0, 1))
    def compact(self, worker: int) -> None:
        assert self.workers[worker].compact()
        assert len(list(self.directory.glob("*.v1"))) == 1

    @rule(worker=st.integers(0, 1))
    def restart(self, worker: int) -> None:
        self.workers[worker] = opened(self.directory, self.source)

    @rule()
    def forget(self) -> None:
        held = min(worker.status().snapshot_head for worker in self.workers)
        if held:
            self.source.forgotten = held
            self.source.latest = {
                entry: change
                for entry, change in self.source.latest.items()
                if not change.deleted or change.seq > held
            }

    @invariant()
    def finds_what_the_store_holds(self) -> None:
        entries, rows = self.source.living()
        expected = search(rows, entries, self.centres, 31)
        for worker in self.workers:
            assert worker.refresh() == self.source.seq
            assert listed(worker.search(self.centres)) == expected
            status = worker.status()
            assert status.rows == len(rows)
            assert status.entries == len(set(entries.tolist()))


def test_any_history_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TAIL_ROWS", 40)
    monkeypatch.setattr(live, "BATCH", 25)
    Following.place = tmp_path
    run_state_machine_as_test(
        Following,
        settings=settings(deadline=None, derandomize=True, max_examples=80, stateful_step_count=20),
    )


def damage(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 4
    path.write_bytes(held)


@pytest.mark.parametrize("fault", ["damaged", "cut", "too old", "missing", "ahead"])
def test_a_bad_snapshot_is_rebuilt_loudly(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = filled(6000)
    opened(tmp_path, source).compact()
    (path,) = tmp_path.glob("pdq.*.v1")
    source.delete(3)
    level = logging.WARNING
    if fault == "damaged":
        damage(path)
        level = logging.ERROR
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-4096])
        level = logging.ERROR
    elif fault == "too old":
        source.delete(4)
        source.forgotten = source.seq
    elif fault == "missing":
        path.unlink()
        source.forgotten = source.seq
    else:
        source = filled(10)
        level = logging.ERROR
    with caplog.at_level(logging.WARNING, "tutela.index"):
        index = opened(tmp_path, source)
    assert level in [record.levelno for record in caplog.records]
    assert index.status().rebuilt
    assert agrees(index, source)
    assert path not in list(tmp_path.glob("pdq.*.v1"))
    caplog.clear()
    again = opened(tmp_path, source)
    assert again.status().rebuilt == ""
    assert caplog.records == []


def test_a_store_that_went_back_is_noticed(tmp_path: Path) -> None:
    source = filled(50)
    index = opened(tmp_path, source)
    _, rows = source.living()
    restored = filled(20, seed=1)
    index._source = restored
    index.refresh()
    assert "went back" in index.status().rebuilt
    assert agrees(index, restored, rows)


def test_a_damaged_newest_snapshot_falls_back_to_an_older_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = filled(100)
    index = opened(tmp_path, source)
    index.compact()
    (old,) = tmp_path.glob("pdq.*.v1")
    kept = old.read_bytes()
    source.delete(1)
    index.compact()
    (new,) = tmp_path.glob("pdq.*.v1")
    old.write_bytes(kept)
    damage(new)
    reopened = opened(tmp_path, source)
    assert agrees(reopened, source)
    assert reopened.status().snapshot_head == 100
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_only_one_compacts_at_a_time(tmp_path: Path) -> None:
    index = opened(tmp_path, filled(10))
    with locked(tmp_path / "pdq.lock", wait=False) as held:
        assert held
        assert not index.compact()
    assert index.compact()


def test_searches_see_whole_states_while_another_thread_refreshes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry is always found exactly once while it is put again and again among others."""
    monkeypatch.setattr(live, "TAIL_ROWS", 300)
    source = filled(200)
    index = opened(tmp_path, source)
    row = random_rows(np.random.default_rng(5), 1)
    source.put(1000, row)
    index.refresh()
    stop, wrong, searches = threading.Event(), [], []

    def searching() -> None:
        while not stop.is_set():
            found = listed(index.search(row))
            searches.append(1)
            if found != [(0, 1000, 0)]:
                wrong.append(found)

    threads = [threading.Thread(target=searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(6)
    for step in range(150):
        source.put(1000, row)
        for entry in range(2000 + step * 20, 2020 + step * 20):
            source.put(entry, random_rows(rng, 1))
        index.refresh()
        if step % 50 == 49:
            assert index.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(searches) > 10


def test_files_of_a_build_that_died_are_removed(tmp_path: Path) -> None:
    index = opened(tmp_path, filled(10))
    left = tmp_path / "pdq.0000000000000001.00000000.v1.99-1.partial"
    left.write_bytes(b"unfinished")
    assert index.compact()
    assert not left.exists()


def test_rows_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    source = Memory()
    index = opened(tmp_path, source)
    source.put(1, np.zeros(33, np.uint8))
    with pytest.raises(ConfigurationError, match="entry 1"):
        index.refresh()


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError):
        opened(tmp_path / "file", Memory())
    with pytest.raises(ConfigurationError):
        LiveIndex(tmp_path, "pdq", 100, 31, Memory())
