"""Banks and their entries: who vouches for a fingerprint, and until when it counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from tutela import signals
from tutela.errors import BankError, BankExists, InvalidSignal, UnknownBank, UnknownEntry
from tutela.policy import reference
from tutela.signals import Fingerprint
from tutela.store import Store, now
from tutela.store.tables import banks, digest_of, entries, sealed, sightings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
BATCH = 10_000


class Tier(StrEnum):
    """How far a bank is trusted, and so what a match in it may do."""

    CONFIRMED = "confirmed"
    """A hotline's list, or two reviewers: may block and report."""
    REVIEWED = "reviewed"
    """One reviewer: may block."""
    REPORTED = "reported"
    """Self-service, unverified: may only hold."""
    BENIGN = "benign"
    """Known to be harmless: suppresses false matches."""


class State(StrEnum):
    """Where an entry is in its life. Only `live` ones are searched."""

    LIVE = "live"
    QUARANTINED = "quarantined"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Bank:
    """A named list of fingerprints."""

    id: int
    name: str
    tier: Tier
    owner: str
    purpose: str
    category: str | None
    enabled: bool
    disabled_until: datetime | None
    created_at: datetime
    entries: int = 0
    """Live entries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fingerprint in a bank."""

    id: int
    bank: str
    signal: str
    value: bytes
    quality: int | None
    note: str
    tags: tuple[str, ...]
    enabled: bool
    disabled_until: datetime | None
    expires_at: datetime | None
    created_at: datetime
    state: State
    import_id: int | None

    @property
    def text(self) -> str:
        """The fingerprint as `name:value`; of a protected photo only that it is sealed."""
        if self.signal == signals.LOCAL:
            return f"{self.signal}:sealed"
        return f"{self.signal}:{signals.find(self.signal).format(self.value)}"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A fingerprint on its way into a bank."""

    fingerprint: Fingerprint
    note: str = ""
    tags: tuple[str, ...] = ()
    expires_at: datetime | None = None
    disabled_until: datetime | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did: the entries that are new, and how many were there before."""

    ids: tuple[int, ...]
    duplicates: int


@dataclass(frozen=True, slots=True)
class CanaryHit:
    """A row of an import that matches a picture known to be harmless."""

    canary: str
    signal: str
    value: str
    distance: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What a matched entry says, read afresh when it matched."""

    bank: str
    owner: str
    tier: Tier
    category: str | None


def admissible(fingerprint: Fingerprint) -> Fingerprint:
    """The fingerprint itself, if a bank may hold it.

    Raises `InvalidSignal` for a perceptual fingerprint of a picture too flat to be told from
    others: it would match harmless pictures. And for a local one, which comes in by protecting a
    photo alone.
    """
    if fingerprint.signal == signals.LOCAL:
        raise InvalidSignal(
            "local fingerprints are sealed with the secret of a deployment: they are neither "
            "imported nor exported; protect the photo itself with `tutela protect`"
        )
    signal = signals.find(fingerprint.signal)
    quality = fingerprint.quality
    if signal.radius is not None and quality is not None and quality < signal.min_quality:
        raise InvalidSignal(
            f"{signal.name} quality {quality} is below {signal.min_quality}: there is too little "
            "in it to be told from others; bank its sha256 instead"
        )
    return fingerprint


NOT_BANKED = frozenset({"sha1"})
"""Fingerprints of a file that add nothing beside its sha256; lists that carry them can still."""


def bankable(
    fingerprints: Iterable[Fingerprint],
    *,
    film: bool = False,
    sound: bool = False,
    note: str = "",
    expires_at: datetime | None = None,
) -> tuple[list[NewEntry], list[str]]:
    """A file's fingerprints as entries, and why any was left out.

    Of a `film` the pictures count together: one of them alone may be in many films. So may its
    music: the sound is banked only with `sound`.
    """
    new: list[NewEntry] = []
    left_out: list[str] = []
    for fingerprint in fingerprints:
        if fingerprint.signal in NOT_BANKED or (film and fingerprint.signal == "pdq"):
            continue
        if film and not sound and fingerprint.signal == "audio":
            left_out.append("audio: the sound of a film, which others may have too; ask for it")
            continue
        try:
            new.append(NewEntry(admissible(fingerprint), note, expires_at=expires_at))
        except InvalidSignal as error:
            left_out.append(str(error))
    return new, left_out


class Banks:
    """The banks of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        tier: Tier | str,
        *,
        owner: str = "",
        purpose: str = "",
        category: str | None = None,
    ) -> Bank:
        """Make a bank. Raises `BankExists`, or `BankError` for a name or tier that can't be."""
        if not NAME.fullmatch(name):
            raise BankError(
                f"{name!r} can't name a bank: use 1–64 letters, digits, dots, dashes and "
                "underscores, a letter or digit first"
            )
        _check_category(category)
        row = {
            "name": name,
            "tier": _tier(tier),
            "owner": owner,
            "purpose": purpose,
            "category": category,
            "enabled": True,
            "created_at": now(),
        }
        with self._store.write() as connection:
            try:
                connection.execute(insert(banks).values(row))
            except IntegrityError as error:
                raise BankExists(f"a bank named {name} exists; choose another name") from error
        return self.get(name)

    def get(self, name: str) -> Bank:
        """The bank of that name. Raises `UnknownBank`."""
        found = self.all(name)
        if not found:
            raise UnknownBank(f"no bank is named {name}; `tutela bank list` shows those there are")
        return found[0]

    def all(self, name: str | None = None) -> list[Bank]:
        """Every bank, or the one of that name, with its number of live entries, by name."""
        counts = (
            select(entries.c.bank_id, func.count().label("entries"))
            .where(entries.c.state == State.LIVE)
            .group_by(entries.c.bank_id)
            .subquery()
        )
        query = (
            select(banks, func.coalesce(counts.c.entries, 0).label("entries"))
            .outerjoin(counts, counts.c.bank_id == banks.c.id)
            .where(banks.c.deleted_at.is_(None))
            .order_by(banks.c.name)
        )
        if name is not None:
            query = query.where(banks.c.name == name)
        with self._store.read() as connection:
            return [_bank(row) for row in connection.execute(query)]

    def update(self, name: str, **changes: Any) -> Bank:
        """Change `owner`, `purpose`, `category`, `tier`, `enabled` or `disabled_until`."""
        allowed = {"owner", "purpose", "category", "tier", "enabled", "disabled_until"}
        if unknown := changes.keys() - allowed:
            raise BankError(f"a bank has no {', '.join(sorted(unknown))} to change")
        if "tier" in changes:
            changes["tier"] = _tier(changes["tier"])
        _check_category(changes.get("category"))
        with self._store.write() as connection:
            bank_id = require(connection, name)
            if changes:
                connection.execute(update(banks).where(banks.c.id == bank_id).values(**changes))
        return self.get(name)

    def delete(self, name: str) -> int:
        """Delete a bank with its entries; returns how many entries it had."""
        with self._store.write() as connection:
            bank_id = require(connection, name)
            removed = self._set_state(
                connection, entries.c.bank_id == bank_id, State.DELETED, State.LIVE
            )
            removed += self._set_state(
                connection, entries.c.bank_id == bank_id, State.DELETED, State.QUARANTINED
            )
            connection.execute(update(banks).where(banks.c.id == bank_id).values(deleted_at=now()))
        return removed

    def add(self, name: str, new: Sequence[NewEntry]) -> Added:
        """Put fingerprints into a bank; one that is there already is left as it is.

        Raises `InvalidSignal` for a perceptual fingerprint of too low a quality, and then adds
        none.
        """
        for item in new:
            admissible(item.fingerprint)
        with self._store.write() as connection:
            bank_id = require(connection, name)
            first = self._store.next_seq(connection, len(new)) if new else 0
            self.insert(connection, bank_id, new, first, State.LIVE)
            last = first + len(new)
            ids = connection.scalars(
                select(entries.c.id)
                .where(entries.c.bank_id == bank_id)
                .where(entries.c.seq >= first, entries.c.seq < last)
                .order_by(entries.c.id)
            ).all()
        return Added(tuple(ids), len(new) - len(ids))

    def insert(
        self,
        connection: Connection,
        bank_id: int,
        new: Iterable[NewEntry],
        first_seq: int,
        state: State,
        import_id: int | None = None,
    ) -> None:
        """Insert rows inside the caller's transaction, leaving those alone that are there."""
        created = now()
        rows = [
            {
                "bank_id": bank_id,
                "import_id": import_id,
                "signal": item.fingerprint.signal,
                "value": item.fingerprint.value,
                "quality": item.fingerprint.quality,
                "note": item.note,
                "tags": list(item.tags),
                "enabled": item.enabled,
                "disabled_until": item.disabled_until,
                "expires_at": item.expires_at,
                "created_at": created,
                "state": state,
                "seq": first_seq + offset,
            }
            for offset, item in enumerate(new)
        ]
        for start in range(0, len(rows), BATCH):
            connection.execute(self._store.insert_new(entries), rows[start : start + BATCH])

    def entry(self, name: str, entry_id: int) -> Entry:
        """One entry of a bank. Raises `UnknownBank` or `UnknownEntry`."""
        for found in self._entries(name, entries.c.id == entry_id, limit=1):
            return found
        raise UnknownEntry(f"bank {name} has no entry {entry_id}; `tutela bank show {name}` lists")

    def entries(self, name: str, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Entries of a bank that are not deleted, by number, a page at a time."""
        return list(self._entries(name, entries.c.id > after, limit=limit))

    def every_entry(self, name: str) -> Iterator[Entry]:
        """Every entry that is not deleted, read in pages."""
        after = 0
        while page := self.entries(name, after=after, limit=BATCH):
            yield from page
            after = page[-1].id

    def update_entry(self, name: str, entry_id: int, **changes: Any) -> Entry:
        """Change `note`, `tags`, `enabled`, `disabled_until` or `expires_at` of an entry."""
        allowed = {"note", "tags", "enabled", "disabled_until", "expires_at"}
        if unknown := changes.keys() - allowed:
            raise BankError(f"an entry has no {', '.join(sorted(unknown))} to change")
        self.entry(name, entry_id)
        if changes:
            with self._store.write() as connection:
                connection.execute(
                    update(entries).where(entries.c.id == entry_id).values(**changes)
                )
        return self.entry(name, entry_id)

    def remove_entry(self, name: str, entry_id: int) -> None:
        """Take an entry out of its bank; it no longer matches from then on."""
        self.entry(name, entry_id)
        with self._store.write() as connection:
            for state in (State.LIVE, State.QUARANTINED):
                self._set_state(connection, entries.c.id == entry_id, State.DELETED, state)

    def set_import_state(
        self, connection: Connection, import_id: int, new: State, old: State
    ) -> int:
        """Move every entry of an import from one state to another; returns how many."""
        return self._set_state(connection, entries.c.import_id == import_id, new, old)

    def present(self, bank_id: int, values: Iterable[tuple[str, bytes]]) -> int:
        """How many of these (signal, value) pairs the bank holds already."""
        by_signal: dict[str, list[bytes]] = {}
        for name, value in values:
            by_signal.setdefault(name, []).append(digest_of(value))
        count = 0
        with self._store.read() as connection:
            for name, wanted in by_signal.items():
                for start in range(0, len(wanted), 500):
                    count += connection.execute(
                        select(func.count())
                        .select_from(entries)
                        .where(entries.c.bank_id == bank_id, entries.c.signal == name)
                        .where(entries.c.digest.in_(wanted[start : start + 500]))
                        .where(entries.c.state != State.DELETED)
                    ).scalar_one()
        return count

    def exact(self, values: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], list[int]]:
        """Live entries of exactly these (signal, value) pairs."""
        found: dict[tuple[str, bytes], list[int]] = {}
        by_signal: dict[str, set[bytes]] = {}
        for name, value in values:
            by_signal.setdefault(name, set()).add(digest_of(value))
        if not by_signal:
            return found
        ordered = {name: sorted(wanted) for name, wanted in sorted(by_signal.items())}
        query = _exact(tuple(ordered))
        with self._store.read() as connection:
            for start in range(0, max(map(len, ordered.values())), 500):
                chosen = {name: wanted[start : start + 500] for name, wanted in ordered.items()}
                for name, entry_id, value in connection.execute(query, chosen):
                    found.setdefault((name, bytes(value)), []).append(entry_id)
        return found

    def values(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The values of these entries, as far as they are live."""
        found: dict[int, bytes] = {}
        with self._store.read() as connection:
            for start in range(0, len(ids), 500):
                query = select(entries.c.id, entries.c.value).where(
                    entries.c.id.in_(ids[start : start + 500]), entries.c.state == State.LIVE
                )
                found |= {entry: bytes(value) for entry, value in connection.execute(query)}
        return found

    def active(self, ids: Iterable[int]) -> dict[int, Listing]:
        """What these entries say now, without those that are disabled, expired or deleted."""
        moment = now()
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        usable = and_(
            entries.c.state == State.LIVE,
            banks.c.deleted_at.is_(None),
            *(
                and_(
                    table.c.enabled.is_(True),
                    or_(table.c.disabled_until.is_(None), table.c.disabled_until <= moment),
                )
                for table in (banks, entries)
            ),
            or_(entries.c.expires_at.is_(None), entries.c.expires_at > moment),
        )
        found: dict[int, Listing] = {}
        with self._store.read() as connection:
            for start in range(0, len(wanted), 500):
                query = (
                    select(
                        entries.c.id, banks.c.name, banks.c.owner, banks.c.tier, banks.c.category
                    )
                    .join(banks, banks.c.id == entries.c.bank_id)
                    .where(entries.c.id.in_(wanted[start : start + 500]), usable)
                )
                for entry_id, name, owner, tier, category in connection.execute(query):
                    found[entry_id] = Listing(name, owner, Tier(tier), category)
        return found

    def _entries(self, name: str, condition: Any, *, limit: int) -> Iterator[Entry]:
        with self._store.read() as connection:
            bank_id = require(connection, name)
            query = (
                select(entries)
                .where(entries.c.bank_id == bank_id, condition)
                .where(entries.c.state != State.DELETED)
                .order_by(entries.c.id)
                .limit(limit)
            )
            for row in connection.execute(query):
                yield _entry(name, row)

    def _set_state(self, connection: Connection, condition: Any, new: State, old: State) -> int:
        """Every change of state is a change that the index must see: it takes a new number."""
        chosen = and_(condition, entries.c.state == old)
        low, high = connection.execute(
            select(func.min(entries.c.id), func.max(entries.c.id)).where(chosen)
        ).one()
        if low is None:
            return 0
        # One statement whatever the number: the numbers follow the ids, gaps do no harm.
        first = self._store.next_seq(connection, high - low + 1)
        if new is State.DELETED:
            gone = select(entries.c.id).where(chosen)
            for table in (sightings, sealed):
                connection.execute(delete(table).where(table.c.entry_id.in_(gone)))
        # What was withdrawn is erased with it; the number alone tells the index to forget it.
        erased = (
            {"value": b"", "digest": b"", "note": "", "tags": []} if new is State.DELETED else {}
        )
        return connection.execute(
            update(entries)
            .where(chosen)
            .values(state=new, seq=entries.c.id - low + first, **erased)
        ).rowcount


@cache
def _exact(names: tuple[str, ...]) -> CompoundSelect[Any]:
    """One query for all signals: a trip to the database costs more than the search itself."""
    return union_all(
        *(
            select(entries.c.signal, entries.c.id, entries.c.value)
            .where(entries.c.signal == name, entries.c.state == State.LIVE)
            .where(entries.c.digest.in_(bindparam(name, expanding=True)))
            for name in names
        )
    )


def _tier(tier: Tier | str) -> Tier:
    try:
        return Tier(tier)
    except ValueError:
        known = ", ".join(Tier)
        raise BankError(f"{tier!r} is no trust tier; use one of {known}") from None


def _check_category(category: str | None) -> None:
    known = reference.load().categories
    if category is not None and category not in known:
        raise BankError(f"{category!r} is no category; use one of {', '.join(known)}")


def _find(connection: Connection, name: str) -> int | None:
    if not NAME.fullmatch(name):
        return None
    return connection.scalar(
        select(banks.c.id).where(banks.c.name == name, banks.c.deleted_at.is_(None))
    )


def require(connection: Connection, name: str) -> int:
    """The number of the bank of that name. Raises `UnknownBank`."""
    found = _find(connection, name)
    if found is None:
        raise UnknownBank(f"no bank is named {name}; `tutela bank list` shows those there are")
    return found


def _bank(row: Row[Any]) -> Bank:
    return Bank(
        row.id,
        row.name,
        Tier(row.tier),
        row.owner,
        row.purpose,
        row.category,
        row.enabled,
        row.disabled_until,
        row.created_at,
        row.entries,
    )


def _entry(bank: str, row: Row[Any]) -> Entry:
    return Entry(
        row.id,
        bank,
        row.signal,
        bytes(row.value),
        row.quality,
        row.note,
        tuple(row.tags),
        row.enabled,
        row.disabled_until,
        row.expires_at,
        row.created_at,
        State(row.state),
        row.import_id,
    )
