"""Protected photos: an innocent photo's local fingerprint, kept sealed, that finds its derivatives.

Anyone may ask for protection, so nobody's word is taken for more than it is: a case has a bounded
number of photos, and a photo that many accounts show without nudity, as a meme is, or that is on a
benign list, is *set aside*: until a reviewer has decided, its derivatives hold only with nudity.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from tutela import signals
from tutela.banks.bank import Banks, NewEntry, State, Tier, require
from tutela.errors import (
    BankExists,
    InvalidSignal,
    NotProtected,
    SealBroken,
    UnknownEntry,
    Unprotectable,
)
from tutela.index.live import Change
from tutela.settings import Settings
from tutela.signals import Fingerprint
from tutela.signals.local import KEPT, Features
from tutela.store import Store, now
from tutela.store.recorder import Rows
from tutela.store.secret import Keyring, Secret
from tutela.store.tables import banks, digest_of, entries, sealed, sightings

log = logging.getLogger("tutela.protect")

LOCAL = signals.LOCAL
LEAST = 64
"""Patches that a photo needs to be protected."""
ACCOUNT = 16
"""Bytes of the digest that stands for an account."""


class Review(StrEnum):
    """What a person made of a protected photo that is widely shared."""

    NONE = ""
    ASIDE = "aside"
    """Widely shared, or on a benign list, and nobody has decided."""
    KEPT = "kept"
    """A reviewer accepted it: it counts as reviewed, and is never set aside again."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A photo that is under protection."""

    entry: int
    known: bool
    """Whether the bank held it already, for the same case."""
    review: Review
    """`aside` for a photo on a benign list."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A protected photo about which a reviewer should decide."""

    entry: int
    bank: str
    tier: str
    note: str
    created_at: datetime
    why: str
    """`nudity` (many accounts, with nudity: the most urgent), `shared` or `benign`."""
    accounts: int
    """Distinct accounts that showed it or a derivative without nudity."""
    accounts_with_nudity: int


class Protection:
    """Takes photos under protection and keeps count of who shows them. Threads may share it."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        case_photos: int = 20,
        bank_photos: int = 100_000,
        widely_shared: int = 25,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._banks = Banks(store)
        self.case_photos = case_photos
        self.bank_photos = bank_photos
        self.widely_shared = widely_shared

    @classmethod
    def of(cls, store: Store, keyring: Keyring, settings: Settings) -> Self:
        """With the limits of these settings."""
        return cls(
            store,
            keyring,
            case_photos=settings.case_photos,
            bank_photos=settings.bank_photos,
            widely_shared=settings.widely_shared,
        )

    def any(self) -> bool:
        """Whether anything is under protection."""
        live = select(entries.c.id).where(entries.c.signal == LOCAL, entries.c.state == State.LIVE)
        with self._store.read() as connection:
            return connection.scalar(live.limit(1)) is not None

    def add(
        self,
        bank: str,
        fingerprints: Sequence[Fingerprint],
        *,
        case: str = "",
        note: str = "",
        expires_at: datetime | None = None,
        harmless: bool = False,
    ) -> Protected:
        """Keep a photo's local fingerprint, and nothing else of it, in a bank.

        Of several frames the most detailed is kept. A bank that isn't there is made, of tier
        `reported`. `harmless` says that a benign list has the photo: it is set aside. Raises
        `NotProtected`, or `ConfigurationError` for a secret that is lost.
        """
        features, quality = _best(fingerprints)
        plain = features.to_bytes()
        with suppress(BankExists):
            self._banks.create(bank, Tier.REPORTED, purpose="Photos under protection")
        tier = self._banks.get(bank).tier
        with self._store.write() as connection:
            # First of all: it makes those who protect at once wait for each other.
            seq = self._store.next_seq(connection)
            secret = self._keyring.make(connection)
            bank_id = require(connection, bank)
            case_digest = secret.digest("case", case.encode()) if case else None
            # By case: who withdraws one takes nothing from another that protects the same photo.
            value = secret.digest("photo", (case_digest or b"") + plain)
            held = connection.execute(
                select(entries.c.id, sealed.c.review)
                .outerjoin(sealed, sealed.c.entry_id == entries.c.id)
                .where(entries.c.bank_id == bank_id, entries.c.signal == LOCAL)
                .where(entries.c.digest == digest_of(value), entries.c.state != State.DELETED)
            ).one_or_none()
            if held is not None:
                return Protected(held.id, True, Review(held.review or ""))
            self._have_room(connection, bank_id, case_digest)
            item = NewEntry(Fingerprint(LOCAL, value, quality), note, expires_at=expires_at)
            self._banks.insert(connection, bank_id, [item], seq, State.LIVE)
            entry: int = connection.execute(
                select(entries.c.id).where(entries.c.seq == seq, entries.c.signal == LOCAL)
            ).scalar_one()
            aside = harmless and tier is not Tier.BENIGN
            review = Review.ASIDE if aside else Review.NONE
            connection.execute(
                insert(sealed).values(
                    entry_id=entry,
                    body=secret.seal(value.hex(), keyed(secret, features).to_bytes()),
                    case_digest=case_digest,
                    review=review,
                )
            )
        return Protected(entry, False, review)

    def _have_room(self, connection: Connection, bank_id: int, case_digest: bytes | None) -> None:
        """Raise `NotProtected` if the case or the bank has all the photos it may have."""
        live = (
            select(func.count())
            .select_from(entries)
            .where(entries.c.signal == LOCAL, entries.c.state == State.LIVE)
        )
        if case_digest is not None:
            of_case = live.join(sealed, sealed.c.entry_id == entries.c.id).where(
                sealed.c.case_digest == case_digest
            )
            if connection.scalar(of_case) >= self.case_photos:  # type: ignore[operator]
                raise NotProtected(
                    Unprotectable.CASE_FULL,
                    f"a case may protect {self.case_photos} photos; remove one, or raise "
                    "`case_photos` after looking into the case",
                )
        held = connection.scalar(live.where(entries.c.bank_id == bank_id))
        if held >= self.bank_photos:  # type: ignore[operator]
            raise NotProtected(
                Unprotectable.BANK_FULL,
                f"the bank holds {self.bank_photos} protected photos; make another one, or raise "
                "`bank_photos`",
            )

    def reviews(self, ids: Iterable[int]) -> dict[int, Review]:
        """Where these entries stand now."""
        wanted = sorted(set(ids))
        with self._store.read() as connection:
            counts = self._counts(connection, wanted)
            rows = connection.execute(
                select(sealed.c.entry_id, sealed.c.review).where(sealed.c.entry_id.in_(wanted))
            )
            return {
                entry: Review.ASIDE
                if not review and counts.get((entry, False), 0) >= self.widely_shared
                else Review(review)
                for entry, review in rows
            }

    def sightings(self, seen: Sequence[tuple[int, str, bool]]) -> Rows:
        """Rows that count who showed a derivative: (entry, account reference, with nudity).

        The reference itself is not kept: its keyed digest differs from entry to entry.
        """
        seen = [item for item in seen if item[1]]
        if not seen:
            return ()
        secret = self._keyring.get()
        with self._store.read() as connection:
            counts = self._counts(connection, [entry for entry, _, _ in seen])
        moment = now()
        return [
            (
                sightings,
                {
                    "entry_id": entry,
                    "account": secret.digest(f"account {entry}", account.encode())[:ACCOUNT],
                    "nudity": nudity,
                    "seen_at": moment,
                },
            )
            for entry, account, nudity in dict.fromkeys(seen)
            if counts.get((entry, nudity), 0) < self.widely_shared
        ]

    def waiting(self) -> list[Waiting]:
        """What a reviewer should decide about, the most urgent first."""
        plain, nude = (
            func.count(sightings.c.account).filter(sightings.c.nudity.is_(nudity))
            for nudity in (False, True)
        )
        query = (
            select(
                *(entries.c.id, entries.c.note, entries.c.created_at, banks.c.name, banks.c.tier),
                *(sealed.c.review, plain.label("plain"), nude.label("nude")),
            )
            .join(sealed, sealed.c.entry_id == entries.c.id)
            .join(banks, banks.c.id == entries.c.bank_id)
            .outerjoin(sightings, sightings.c.entry_id == entries.c.id)
            .where(entries.c.state == State.LIVE, banks.c.tier != Tier.BENIGN)
            .where(sealed.c.review != Review.KEPT)
            .group_by(entries.c.id, banks.c.id, sealed.c.entry_id)
            .having(
                or_(
                    sealed.c.review == Review.ASIDE,
                    plain >= self.widely_shared,
                    nude >= self.widely_shared,
                )
            )
        )
        with self._store.read() as connection:
            found = [self._waiting(row) for row in connection.execute(query)]
        order = ("nudity", "shared", "benign")
        return sorted(
            found,
            key=lambda one: (
                order.index(one.why),
                -one.accounts_with_nudity,
                -one.accounts,
                one.entry,
            ),
        )

    def _waiting(self, row: Row[Any]) -> Waiting:
        why = "benign"
        if row.plain >= self.widely_shared:
            why = "shared"
        if row.nude >= self.widely_shared:
            why = "nudity"
        return Waiting(
            row.id, row.name, row.tier, row.note, row.created_at, why, row.plain, row.nude
        )

    def decide(self, entry: int, *, keep: bool) -> None:
        """A reviewer's decision on a protected photo: it counts as reviewed, or is removed.

        Raises `UnknownEntry`.
        """
        with self._store.read() as connection:
            bank = connection.scalar(
                select(banks.c.name)
                .join(entries, entries.c.bank_id == banks.c.id)
                .join(sealed, sealed.c.entry_id == entries.c.id)
                .where(entries.c.id == entry, entries.c.state == State.LIVE)
                .where(banks.c.deleted_at.is_(None))
            )
        if bank is None:
            raise UnknownEntry(
                f"no protected photo has the number {entry}; `tutela bank aside` lists those to "
                "decide about"
            )
        if not keep:
            self._banks.remove_entry(bank, entry)
            return
        with self._store.write() as connection:
            connection.execute(
                update(sealed).where(sealed.c.entry_id == entry).values(review=Review.KEPT)
            )
            # Who showed it was counted for this decision alone.
            connection.execute(delete(sightings).where(sightings.c.entry_id == entry))

    def withdraw(self, bank: str, case: str) -> list[int]:
        """Remove every photo of a case from a bank; returns the entries. Raises `UnknownBank`."""
        self._banks.get(bank)
        if not self.any():
            return []
        digest = self._keyring.get().digest("case", case.encode())
        with self._store.read() as connection:
            found = connection.scalars(
                select(entries.c.id)
                .join(sealed, sealed.c.entry_id == entries.c.id)
                .join(banks, banks.c.id == entries.c.bank_id)
                .where(banks.c.name == bank, banks.c.deleted_at.is_(None))
                .where(sealed.c.case_digest == digest)
                .order_by(entries.c.id)
            ).all()
        for entry in found:
            self._banks.remove_entry(bank, entry)
        return list(found)

    @staticmethod
    def _counts(connection: Connection, ids: Sequence[int]) -> dict[tuple[int, bool], int]:
        rows = connection.execute(
            select(sightings.c.entry_id, sightings.c.nudity, func.count())
            .where(sightings.c.entry_id.in_(ids))
            .group_by(sightings.c.entry_id, sightings.c.nudity)
        )
        return {(entry, nudity): count for entry, nudity, count in rows}


class SealedRows:
    """The protected photos as the index sees them: their keyed descriptors, opened."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self.broken: dict[int, SealBroken] = {}
        """Entries that do not open, and why: nothing can be said of their derivatives."""

    def head(self, signal: str) -> int:  # noqa: ARG002 - one sequence for all signals
        """The newest sequence number that is committed."""
        with self._store.read() as connection:
            return self._store.head(connection)

    def changes(self, signal: str, after: int, limit: int) -> Sequence[Change]:
        """The latest state of every entry that changed after `after`, by sequence number."""
        query = (
            select(entries.c.seq, entries.c.id, entries.c.state, entries.c.value, sealed.c.body)
            .outerjoin(sealed, sealed.c.entry_id == entries.c.id)
            .where(entries.c.signal == signal, entries.c.seq > after)
            .order_by(entries.c.seq)
            .limit(limit)
        )
        with self._store.read() as connection:
            rows = connection.execute(query).all()
        # Where nothing is protected there need not be a secret.
        live = any(row.state == State.LIVE for row in rows)
        secret = self._keyring.get() if live else None
        return [self._change(secret, row) for row in rows]

    def _change(self, secret: Secret | None, row: Any) -> Change:
        self.broken.pop(row.id, None)
        if secret is None or row.state != State.LIVE:
            return Change(row.seq, row.id, True)
        try:
            features = opened(secret, row)
        except SealBroken as error:
            self.broken[row.id] = error
            log.error("%s", error)
            return Change(row.seq, row.id, True)
        return Change(row.seq, row.id, False, features.descriptors.tobytes())

    def features(self, ids: Sequence[int]) -> dict[int, Features]:
        """The keyed fingerprints of these entries. Raises `SealBroken`."""
        secret = self._keyring.get()
        query = (
            select(entries.c.id, entries.c.value, sealed.c.body)
            .outerjoin(sealed, sealed.c.entry_id == entries.c.id)
            .where(entries.c.id.in_(ids), entries.c.state == State.LIVE)
        )
        with self._store.read() as connection:
            return {row.id: opened(secret, row) for row in connection.execute(query)}


def opened(secret: Secret, row: Any) -> Features:
    """The keyed fingerprint of a row with `id`, `value` and `body`. Raises `SealBroken`."""
    try:
        return Features.from_bytes(secret.open(bytes(row.value).hex(), bytes(row.body or b"")))
    except (SealBroken, InvalidSignal):
        raise SealBroken(
            f"the fingerprint of protected photo {row.id} is damaged; restore the database from a "
            f"backup, or remove it (`tutela bank decide {row.id} drop`) and protect the photo anew"
        ) from None


def keyed(secret: Secret, features: Features) -> Features:
    """A local fingerprint with its descriptors moved by the secret isometry."""
    return replace(features, descriptors=secret.keyed(features.descriptors))


def _best(fingerprints: Sequence[Fingerprint]) -> tuple[Features, int | None]:
    """The most detailed local fingerprint, what is kept of it, and its quality.

    Raises `NotProtected` if none will do.
    """
    mine = [
        (Features.from_bytes(made.value), made.quality)
        for made in fingerprints
        if made.signal == LOCAL
    ]
    features, quality = max(mine, key=lambda one: len(one[0]), default=(None, None))
    if features is None or len(features) < LEAST:
        raise NotProtected(
            Unprotectable.TOO_FLAT,
            "the photo has too little detail for its derivatives to be told from other pictures",
        )
    return features.first(KEPT), quality
