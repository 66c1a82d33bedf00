"""The tables, one behaviour on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SHORT = 32
"""Bytes of a value that is looked up as it is."""

# SQLite numbers its rows by INTEGER alone; PostgreSQL needs the wide type said.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class UTCTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC)


def digest_of(value: bytes) -> bytes:
    """What an entry of this value is looked up by."""
    return value if len(value) <= SHORT else hashlib.sha256(value).digest()


def _digest(context: Any) -> bytes:
    return digest_of(context.get_current_parameters()["value"])


counters = Table(
    "counters",
    metadata,
    # One row a counter. A writer updates it first, which serialises writers: sequence numbers
    # become visible in the order in which they were given.
    # `identity` never changes: it tells this database from every other one. `secret` is the check
    # of the secret that local fingerprints were sealed with, once there are any.
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

banks = Table(
    "banks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("owner", Text, nullable=False, default=""),
    Column("purpose", Text, nullable=False, default=""),
    Column("category", String(64)),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("disabled_until", UTCTime),
    Column("created_at", UTCTime, nullable=False),
    # A deleted bank stays as a row: verdicts name it.
    Column("deleted_at", UTCTime),
    Index(
        "uq_banks_name",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

imports = Table(
    "imports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("bank_id", ForeignKey("banks.id"), nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("added", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("created_at", UTCTime, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("bank_id", ForeignKey("banks.id"), nullable=False, index=True),
    Column("import_id", ForeignKey("imports.id"), index=True),
    Column("signal", String(32), nullable=False),
    Column("value", LargeBinary, nullable=False),
    # What entries are looked up by: the value, or its SHA-256 where that is shorter. A database
    # can't index the fingerprint of a film.
    Column("digest", LargeBinary, nullable=False, default=_digest, server_default=text("''")),
    Column("quality", Integer),
    Column("note", Text, nullable=False, default=""),
    Column("tags", JSON, nullable=False, default=list),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("disabled_until", UTCTime),
    Column("expires_at", UTCTime),
    Column("created_at", UTCTime, nullable=False),
    # live | quarantined | deleted. The index holds the live ones.
    Column("state", String(12), nullable=False),
    # Every change of state takes the next number: `seq > n` is the log of changes since n.
    Column("seq", BigInteger, nullable=False),
    Index("ix_entries_signal_seq", "signal", "seq"),
    Index("ix_entries_signal_digest", "signal", "digest"),
    Index(
        "uq_entries_bank_id_signal_digest",
        "bank_id",
        "signal",
        "digest",
        unique=True,
        sqlite_where=text("state <> 'deleted'"),
        postgresql_where=text("state <> 'deleted'"),
    ),
)

sealed = Table(
    "sealed",
    metadata,
    # The keyed and encrypted local fingerprint of an entry; it goes when the entry is deleted.
    Column("entry_id", ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    # Whose case the photo belongs to, as a keyed digest; NULL for none.
    Column("case_digest", LargeBinary, index=True),
    # "" | aside (on a benign list when it came) | kept (a reviewer decided).
    Column("review", String(8), nullable=False, default=""),
)

sightings = Table(
    "sightings",
    metadata,
    # Accounts that showed a derivative of an entry, as keyed digests that differ by entry. At most
    # about `widely_shared` of each kind are kept, for as long as nobody has decided.
    Column("entry_id", ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("account", LargeBinary, primary_key=True),
    # Whether the upload showed nudity.
    Column("nudity", Boolean, primary_key=True),
    Column("seen_at", UTCTime, nullable=False),
    info={"again": "leave"},
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", UTCTime, nullable=False),
    Column("sha256", String(64), index=True),
    Column("action", String(8), nullable=False),
    Column("category", String(64)),
    Column("policy", String(128), nullable=False),
    Column("document", JSON, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("per_minute", Integer, nullable=False),
    Column("max_bytes", Integer, nullable=False),
    Column("created_at", UTCTime, nullable=False),
    Column("revoked_at", UTCTime),
    # A revoked key's name is free for the key that replaces it.
    Index(
        "uq_api_keys_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

answers = Table(
    "answers",
    metadata,
    # What a request with an idempotency key was answered, so that its repeat gets the same.
    Column("key_id", ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("idempotency_key", String(128), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("verdict_ids", JSON, nullable=False),
    Column("created_at", UTCTime, nullable=False, index=True),
)

snapshots = Table(
    "snapshots",
    metadata,
    # The index snapshots that were made of this database. One that it doesn't know is of another
    # history, as after the restore of an older backup, and is not used.
    Column("name", String(128), primary_key=True),
    Column("created_at", UTCTime, nullable=False),
)

scans = Table(
    "scans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("root", Text, nullable=False),
    Column("started_at", UTCTime, nullable=False),
    Column("finished_at", UTCTime),
)

scan_files = Table(
    "scan_files",
    metadata,
    Column("scan_id", ForeignKey("scans.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("verdict_id", ForeignKey("verdicts.id"), nullable=False),
)

case_signals = Table(
    "case_signals",
    metadata,
    # Accounts whose requests to a model were refused: when and how often, never what was asked.
    Column("account", String(160), primary_key=True),
    Column("first_at", UTCTime, nullable=False),
    Column("last_at", UTCTime, nullable=False, index=True),
    # All since `first_at`; an account that stays quiet begins anew, or goes.
    Column("refusals", Integer, nullable=False),
    # Times of the latest ones, seconds since 1970, as far as they matter for the rate.
    Column("recent", JSON, nullable=False),
    # When the rate was too high for the first time; NULL if it never was.
    Column("opened_at", UTCTime),
)
