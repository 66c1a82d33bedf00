"""Every entry within the radius is found, by every process, as soon as it is there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tutela import signals
from tutela.banks import Banks
from tutela.banks.bank import NewEntry
from tutela.errors import StoreError
from tutela.matching import MOST, Matcher
from tutela.signals import Fingerprint
from tutela.signals.pdq import PDQ
from tutela.store import Store


@pytest.fixture
def banks(store: Store) -> Banks:
    made = Banks(store)
    made.create("x", "reviewed", owner="ops", category="csam")
    return made


@pytest.fixture
def matcher(store: Store, tmp_path: Path) -> Matcher:
    return Matcher(store, tmp_path / "index", signals.load())


def _pdq(value: bytes, quality: int | None = 100, part: str = "") -> Fingerprint:
    return Fingerprint("pdq", value, quality, part)


def _flip(value: bytes, bits: int, rng: np.random.Generator) -> bytes:
    number = int.from_bytes(value)
    for position in rng.choice(256, bits, replace=False):
        number ^= 1 << int(position)
    return number.to_bytes(32)


def test_matches_equal_those_of_a_naive_twin(store: Store, banks: Banks, matcher: Matcher) -> None:
    rng = np.random.default_rng(5)
    centre = rng.bytes(32)
    values = [_flip(centre, int(bits), rng) for bits in rng.integers(0, 60, 90)]
    values = list(dict.fromkeys(values))
    ids = banks.add("x", [NewEntry(_pdq(value)) for value in values]).ids
    queries = [_flip(centre, int(bits), rng) for bits in rng.integers(0, 40, 40)]
    found = matcher.match([[_pdq(query)] for query in queries])
    for query, findings in zip(queries, found, strict=True):
        variants = PDQ.queries(_pdq(query)).values()
        near = {
            entry: min(
                (int.from_bytes(variant) ^ int.from_bytes(value)).bit_count()
                for variant in variants
            )
            for entry, value in zip(ids, values, strict=True)
        }
        expected = {entry: distance for entry, distance in near.items() if distance <= 31}
        assert {finding.entry: finding.distance for finding in findings} == expected


def test_a_finding_says_what_it_rests_on(banks: Banks, matcher: Matcher) -> None:
    value = bytes(range(32))
    (entry,) = banks.add("x", [NewEntry(_pdq(value))]).ids
    ((finding,),) = matcher.match([[_pdq(value, part="frame 3")]])
    assert finding.to_json() == {
        "kind": "match",
        "source": "pdq",
        "version": PDQ.version,
        "signal": "pdq",
        "bank": "x",
        "owner": "ops",
        "tier": "reviewed",
        "category": "csam",
        "entry": entry,
        "distance": 0,
        "part": "frame 3",
    }


def test_of_very_many_matches_the_nearest_are_told(banks: Banks, matcher: Matcher) -> None:
    rng = np.random.default_rng(9)
    centre = rng.bytes(32)
    values = {_flip(centre, 1 + number % 25, rng) for number in range(600)}
    banks.add("x", [NewEntry(_pdq(value)) for value in values])
    (findings,) = matcher.match([[_pdq(centre)]])
    distances = sorted((int.from_bytes(v) ^ int.from_bytes(centre)).bit_count() for v in values)
    assert [finding.distance for finding in findings] == distances[:MOST]


def test_a_flat_query_is_not_searched_but_a_bare_value_is(banks: Banks, matcher: Matcher) -> None:
    value = bytes(range(32))
    banks.add("x", [NewEntry(_pdq(value))])
    flat, bare = matcher.match([[_pdq(value, 49)], [_pdq(value, None)]])
    assert flat == []
    assert len(bare) == 1


def test_a_bank_of_one_entry_matches(banks: Banks, matcher: Matcher) -> None:
    banks.add("x", [NewEntry(_pdq(bytes(32)))])
    assert len(matcher.match([[_pdq(bytes(32))]])[0]) == 1


def test_what_a_process_changes_itself_counts_for_its_next_search(
    banks: Banks, matcher: Matcher
) -> None:
    query = [[_pdq(bytes(range(32)))]]
    for _ in range(3):
        assert matcher.match(query) == [[]]
        (entry,) = banks.add("x", [NewEntry(_pdq(bytes(range(32))))]).ids
        assert len(matcher.match(query)[0]) == 1
        banks.remove_entry("x", entry)


def test_changes_count_at_once_for_whoever_looks_next(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    here, there = (Matcher(store, tmp_path / "index", signals.load()) for _ in range(2))
    query = [[_pdq(bytes(range(32)))]]
    assert here.match(query) == there.match(query) == [[]]
    (entry,) = banks.add("x", [NewEntry(_pdq(bytes(range(32))))]).ids
    time.sleep(0.15)
    assert len(here.match(query)[0]) == len(there.match(query)[0]) == 1
    banks.update("x", enabled=False)
    assert here.match(query) == there.match(query) == [[]]
    banks.update("x", enabled=True)
    assert len(there.match(query)[0]) == 1
    banks.remove_entry("x", entry)
    assert here.match(query) == there.match(query) == [[]]


def test_another_process_sees_adds_and_deletes_as_they_happen(
    store: Store, banks: Banks, tmp_path: Path
) -> None:
    """How soon is measured by bench/freshness.py."""
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from tutela import signals
        from tutela.matching import MOST, Matcher
        from tutela.signals import Fingerprint
        from tutela.store import Store
        matcher = Matcher(Store(sys.argv[1]), Path(sys.argv[2]), signals.load())
        query = [[Fingerprint("pdq", bytes(range(32)), 100)]]
        matcher.match(query)
        print("ready", flush=True)
        for wanted in (1, 0):
            for _ in range(1000):
                if len(matcher.match(query)[0]) == wanted:
                    break
                time.sleep(0.01)
            else:
                sys.exit("the change was not seen")
            print("seen", flush=True)
    """)
    command = [sys.executable, "-c", program, store.url, str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        (entry,) = banks.add("x", [NewEntry(_pdq(bytes(range(32))))]).ids
        assert other.stdout.readline() == "seen\n"
        banks.remove_entry("x", entry)
        assert other.stdout.readline() == "seen\n"


def test_the_index_is_rebuilt_when_the_store_is_another_or_older(
    banks: Banks, matcher: Matcher, tmp_path: Path
) -> None:
    """A restored backup, or a data folder pointed at a new database, must not match old rows."""
    banks.add("x", [NewEntry(_pdq(bytes(range(32))))])
    matcher.refresh()
    matcher.indexes["pdq"].compact()
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    fresh = Banks(other)
    fresh.create("y", "reviewed")
    ((entry,), _) = fresh.add("y", [NewEntry(_pdq(bytes(32)))]).ids, None
    again = Matcher(other, tmp_path / "index", signals.load())
    assert again.match([[_pdq(bytes(range(32)))]]) == [[]]
    ((finding,),) = again.match([[_pdq(bytes(32))]])
    assert finding.entry == entry
    other.close()


def test_a_restored_backup_does_not_trust_a_snapshot_of_its_lost_future(tmp_path: Path) -> None:
    """It gives the numbers that the snapshot stands for to other changes."""
    values = [bytes([number]) * 32 for number in range(1, 9)]
    before = Store(f"sqlite:///{tmp_path / 'live.db'}")
    banks = Banks(before)
    banks.create("x", "reviewed")
    with (
        closing(sqlite3.connect(tmp_path / "live.db")) as source,
        closing(sqlite3.connect(tmp_path / "backup.db")) as copy,
    ):
        source.backup(copy)
    banks.add("x", [NewEntry(_pdq(value)) for value in values[:4]])
    Matcher(before, tmp_path / "index", signals.load()).indexes["pdq"].compact()
    before.close()
    after = Store(f"sqlite:///{tmp_path / 'backup.db'}")
    Banks(after).add("x", [NewEntry(_pdq(value)) for value in values[2:]])
    matcher = Matcher(after, tmp_path / "index", signals.load())
    found = matcher.match([[_pdq(value)] for value in values])
    exact = [[f.distance for f in findings if f.distance == 0] for findings in found]
    assert exact == [[], [], *([[0]] * 6)]
    assert "history" in matcher.status()["pdq"].rebuilt
    after.close()


def test_a_store_that_fails_is_an_error_never_no_match(
    banks: Banks, matcher: Matcher, store: Store
) -> None:
    banks.add("x", [NewEntry(_pdq(bytes(32)))])
    matcher.refresh()
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE entries RENAME TO gone")
    with pytest.raises(StoreError):
        matcher.match([[_pdq(bytes(32))]])
