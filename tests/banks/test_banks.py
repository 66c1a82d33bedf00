"""Banks on both databases: who may be in them, and what counts when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tutela.banks import Banks, Tier
from tutela.banks.bank import NewEntry, bankable
from tutela.errors import (
    BankError,
    BankExists,
    InvalidSignal,
    UnknownBank,
    UnknownEntry,
)
from tutela.signals import Fingerprint
from tutela.store import Store, now


@pytest.fixture
def banks(store: Store) -> Banks:
    return Banks(store)


def _entry(number: int, **given: object) -> NewEntry:
    return NewEntry(Fingerprint("md5", number.to_bytes(16)), **given)  # type: ignore[arg-type]


def test_a_bank_says_who_answers_for_it(banks: Banks) -> None:
    made = banks.create("hotline", "confirmed", owner="ops", purpose="blocking", category="csam")
    assert (made.name, made.tier, made.owner) == ("hotline", Tier.CONFIRMED, "ops")
    assert (made.purpose, made.category, made.enabled, made.entries) == (
        "blocking",
        "csam",
        True,
        0,
    )
    assert banks.all() == [made]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 65, "é", "a\n", "../x"])
def test_names_that_could_not_be_typed_or_linked_are_refused(banks: Banks, name: str) -> None:
    with pytest.raises(BankError, match="can't name a bank"):
        banks.create(name, "reviewed")


def test_mistakes_name_their_cure(banks: Banks) -> None:
    with pytest.raises(BankError, match="confirmed, reviewed, reported, benign"):
        banks.create("x", "trusted")
    banks.create("x", "reviewed")
    with pytest.raises(BankExists, match="another name"):
        banks.create("x", "reviewed")
    with pytest.raises(UnknownBank, match="bank list"):
        banks.get("y")
    with pytest.raises(UnknownEntry, match="bank show"):
        banks.entry("x", 7)
    with pytest.raises(BankError, match="no colour"):
        banks.update("x", colour="red")


def test_an_entry_is_there_once(banks: Banks) -> None:
    banks.create("x", "reviewed")
    first = banks.add("x", [_entry(1), _entry(2)])
    again = banks.add("x", [_entry(2), _entry(3)])
    assert (len(first.ids), first.duplicates) == (2, 0)
    assert (len(again.ids), again.duplicates) == (1, 1)
    assert banks.get("x").entries == 3
    banks.create("y", "reviewed")
    assert len(banks.add("y", [_entry(2)]).ids) == 1


def test_a_removed_entry_can_come_back(banks: Banks) -> None:
    banks.create("x", "reviewed")
    (entry,) = banks.add("x", [_entry(1)]).ids
    banks.remove_entry("x", entry)
    assert banks.entries("x") == []
    assert banks.active([entry]) == {}
    (again,) = banks.add("x", [_entry(1)]).ids
    assert again != entry
    assert set(banks.active([entry, again])) == {again}


def test_what_is_disabled_or_expired_does_not_count(banks: Banks) -> None:
    banks.create("x", "reviewed", owner="ops", category="csam")
    ids = banks.add(
        "x",
        [
            _entry(1),
            _entry(2, expires_at=now() - timedelta(seconds=1)),
            _entry(3, expires_at=now() + timedelta(hours=1)),
            _entry(4, disabled_until=now() + timedelta(hours=1)),
            _entry(5, disabled_until=now() - timedelta(seconds=1)),
            _entry(6, enabled=False),
        ],
    ).ids
    assert set(banks.active(ids)) == {ids[0], ids[2], ids[4]}
    listing = banks.active(ids)[ids[0]]
    assert (listing.bank, listing.owner, listing.tier, listing.category) == (
        "x",
        "ops",
        Tier.REVIEWED,
        "csam",
    )
    banks.update("x", enabled=False)
    assert banks.active(ids) == {}
    banks.update("x", enabled=True, disabled_until=now() + timedelta(hours=1))
    assert banks.active(ids) == {}
    banks.update("x", disabled_until=None)
    assert len(banks.active(ids)) == 3


def test_what_is_removed_is_erased(store: Store, banks: Banks) -> None:
    from sqlalchemy import select

    from tutela.store.tables import entries

    banks.create("x", "reviewed")
    (entry,) = banks.add("x", [_entry(1, note="a name", tags=("t",))]).ids
    banks.remove_entry("x", entry)
    with store.read() as connection:
        row = connection.execute(select(entries).where(entries.c.id == entry)).one()
    assert (bytes(row.value), row.note, row.tags) == (b"", "", [])


def test_a_category_is_one_of_those_that_are_known(banks: Banks) -> None:
    with pytest.raises(BankError, match="csam"):
        banks.create("x", "reviewed", category="nonsense")


def test_a_deleted_bank_counts_for_nothing_and_frees_its_name(banks: Banks) -> None:
    banks.create("x", "reviewed")
    ids = banks.add("x", [_entry(number) for number in range(5)]).ids
    assert banks.delete("x") == 5
    assert banks.active(ids) == {}
    assert banks.exact([("md5", (1).to_bytes(16))]) == {}
    assert banks.create("x", "benign").entries == 0


def test_exact_lookup_finds_every_bank_that_holds_a_value(banks: Banks) -> None:
    for name in ("x", "y"):
        banks.create(name, "reviewed")
        banks.add(name, [_entry(1), _entry(2)])
    found = banks.exact([("md5", (number).to_bytes(16)) for number in range(1200)])
    assert sorted(found) == [("md5", (1).to_bytes(16)), ("md5", (2).to_bytes(16))]
    assert all(len(ids) == 2 for ids in found.values())
    assert banks.exact([("sha1", (1).to_bytes(16))]) == {}


def test_a_flat_picture_is_refused(banks: Banks) -> None:
    banks.create("x", "reviewed")
    flat = NewEntry(Fingerprint("pdq", bytes(32), quality=49))
    with pytest.raises(InvalidSignal, match="too little"):
        banks.add("x", [_entry(1), flat])
    assert banks.get("x").entries == 0
    banks.add("x", [NewEntry(Fingerprint("pdq", bytes(32), quality=50))])
    new, left_out = bankable([flat.fingerprint, Fingerprint("sha256", bytes(32))])
    assert [item.fingerprint.signal for item in new] == ["sha256"]
    assert len(left_out) == 1


def test_every_change_of_state_takes_a_new_number(store: Store, banks: Banks) -> None:
    from sqlalchemy import select

    from tutela.store.tables import entries

    banks.create("x", "reviewed")
    ids = banks.add("x", [_entry(number) for number in range(7)]).ids
    with store.read() as connection:
        before = store.head(connection)
    banks.remove_entry("x", ids[3])
    banks.delete("x")
    with store.read() as connection:
        rows = connection.execute(select(entries.c.seq, entries.c.state)).all()
        head = store.head(connection)
    assert len({seq for seq, _ in rows}) == 7
    assert all(before < seq <= head and state == "deleted" for seq, state in rows)


def test_of_a_film_neither_single_pictures_nor_the_sound_are_banked_unasked() -> None:
    made = [
        Fingerprint("sha256", bytes(32)),
        Fingerprint("pdq", bytes(range(32)), 100, "0:01.00"),
        Fingerprint("audio", b"sound", 100),
    ]
    new, left_out = bankable(made, film=True)
    assert [entry.fingerprint.signal for entry in new] == ["sha256"]
    assert len(left_out) == 1
    new, left_out = bankable(made, film=True, sound=True)
    assert [entry.fingerprint.signal for entry in new] == ["sha256", "audio"]
    assert left_out == []
    assert len(bankable(made)[0]) == 3
