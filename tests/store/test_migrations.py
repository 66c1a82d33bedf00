"""A database of an earlier version keeps what it holds, up and down again."""

from __future__ import annotations

import random

import pytest
from alembic import command
from sqlalchemy import column, insert, select, table, text

from tutela.banks import Banks
from tutela.banks.bank import NewEntry
from tutela.errors import StoreError
from tutela.guard.refusals import Refusals
from tutela.signals import Fingerprint
from tutela.store import Store, _alembic, now
from tutela.store.tables import entries, sealed, sightings, verdicts

OLD = table("entries", *(column(c.name, c.type) for c in entries.c if c.name != "digest"))
"""The entries as they were before long values were looked up by a digest."""


def _move(store: Store, revision: str, *, up: bool) -> None:
    with store._writing.begin() as connection:
        (command.upgrade if up else command.downgrade)(_alembic(connection), revision)


def test_a_database_from_before_protected_photos_is_upgraded(database_url: str) -> None:
    made = Store(database_url)
    _move(made, "0001", up=False)
    banks = Banks(made)
    banks.create("old", "reviewed")
    with made.write() as connection:
        connection.execute(
            insert(OLD).values(
                bank_id=1,
                signal="md5",
                value=bytes(16),
                note="kept",
                tags=[],
                enabled=True,
                created_at=now(),
                state="live",
                seq=made.next_seq(connection),
            )
        )
        connection.execute(
            insert(verdicts).values(
                id="0" * 32, created_at=now(), action="allow", policy="p", document={"id": "0"}
            )
        )
    made.close()
    with pytest.raises(StoreError, match="tutela db upgrade"):
        Store(database_url)
    store = Store(database_url, upgrade=True)
    (entry,) = Banks(store).entries("old")
    assert (entry.note, entry.value) == ("kept", bytes(16))
    with store.read() as connection:
        assert connection.scalar(select(verdicts.c.id)) == "0" * 32
        assert connection.execute(select(sealed)).all() == []
    (added,) = Banks(store).add("old", [NewEntry(Fingerprint("md5", b"1" * 16))]).ids
    assert added > entry.id
    store.close()


def test_going_back_takes_what_was_sealed_with_it(database_url: str) -> None:
    store = Store(database_url)
    banks = Banks(store)
    banks.create("b", "reported")
    banks.add("b", [NewEntry(Fingerprint("md5", bytes(16)))])
    with store.write() as connection:
        seq = store.next_seq(connection)
        entry = connection.scalar(
            insert(entries)
            .values(bank_id=1, signal="local", value=b"v", created_at=now(), state="live", seq=seq)
            .returning(entries.c.id)
        )
        connection.execute(insert(sealed).values(entry_id=entry, body=b"sealed"))
        connection.execute(
            insert(sightings).values(entry_id=entry, account=b"a", nudity=False, seen_at=now())
        )
    _move(store, "0001", up=False)
    with store.read() as connection:
        found = connection.scalars(select(entries.c.signal)).all()
        names = connection.scalars(text("SELECT name FROM counters ORDER BY name")).all()
    assert found == ["md5"]
    assert names == ["entries", "identity"]
    _move(store, "0002", up=True)
    with store.read() as connection:
        assert connection.execute(select(sightings)).all() == []
    assert Banks(store).get("b").entries == 1
    store.close()


def test_long_values_are_kept_and_found_on_every_database(database_url: str) -> None:
    """A database indexes no more than some kilobytes; a film has more."""
    store = Store(database_url)
    banks = Banks(store)
    banks.create("b", "reported")
    chance = random.Random(1)
    long = [
        Fingerprint("vpdq", chance.randbytes(200_000), 100),
        Fingerprint("audio", chance.randbytes(20_000), 100),
    ]
    new = [NewEntry(made) for made in long]
    first = banks.add("b", new)
    assert len(first.ids) == 2
    assert banks.add("b", new).duplicates == 2
    assert banks.values(first.ids) == {
        entry: made.value for entry, made in zip(first.ids, long, strict=True)
    }
    found = banks.exact([(made.signal, made.value) for made in long])
    assert sorted(found.values()) == [[entry] for entry in first.ids]
    banks.remove_entry("b", first.ids[0])
    assert len(banks.add("b", new).ids) == 1
    _move(store, "0002", up=False)
    _move(store, "0003", up=True)
    assert Banks(store).get("b").entries == 0
    store.close()


def test_values_from_before_are_found_after(database_url: str) -> None:
    made = Store(database_url)
    _move(made, "0002", up=False)
    values = {"md5": bytes(range(16)), "steps": bytes(range(100))}
    Banks(made).create("b", "reported")
    with made.write() as connection:
        for signal, value in values.items():
            row = {"bank_id": 1, "signal": signal, "value": value, "note": "", "tags": []}
            row |= {"enabled": True, "state": "live", "created_at": now()}
            row["seq"] = made.next_seq(connection)
            connection.execute(insert(OLD).values(**row))
    made.close()
    store = Store(database_url, upgrade=True)
    assert Banks(store).exact(list(values.items())) == {
        ("md5", values["md5"]): [1],
        ("steps", values["steps"]): [2],
    }
    store.close()


def test_case_signals_come_and_go(database_url: str) -> None:
    made = Store(database_url)
    _move(made, "0003", up=False)
    made.close()
    store = Store(database_url, upgrade=True)
    refusals = Refusals(store, 3)
    assert [refusals.count("a") for _ in range(5)] == [False, False, True, False, False]
    assert [(one.account, one.refusals) for one in refusals.signals()] == [("a", 5)]
    _move(store, "0003", up=False)
    _move(store, "0004", up=True)
    assert Refusals(store, 3).signals(every=True) == []
    store.close()
