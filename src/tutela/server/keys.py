"""API keys: scoped, limited, shown once, kept as digests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from tutela.errors import AccessDenied, ConfigurationError, StoreError
from tutela.media.types import MiB
from tutela.store import Store, now
from tutela.store.tables import api_keys

PREFIX = "tutela_"


class Scope(StrEnum):
    """What a key may do."""

    SCREEN = "screen"
    """Screen content."""
    VERDICTS = "verdicts"
    """Read recorded verdicts."""
    BANKS_READ = "banks:read"
    BANKS_WRITE = "banks:write"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret."""

    id: int
    name: str
    scopes: frozenset[str]
    per_minute: int
    """Requests a minute, in each server process."""
    max_bytes: int
    """Largest request body, bytes."""
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """The API keys of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        per_minute: int = 6_000,
        max_bytes: int = 96 * MiB,
    ) -> tuple[Key, str]:
        """A new key and its secret, which can't be shown again. Raises `ConfigurationError`."""
        try:
            wanted = sorted({Scope(scope) for scope in scopes})
        except ValueError as error:
            raise ConfigurationError(f"{error}; scopes are {', '.join(Scope)}") from None
        if not wanted or not name or per_minute < 1 or max_bytes < 1:
            raise ConfigurationError("a key needs a name, a scope and limits above 0")
        secret = PREFIX + secrets.token_urlsafe(32)
        row = {
            "name": name,
            "digest": _digest(secret),
            "scopes": wanted,
            "per_minute": per_minute,
            "max_bytes": max_bytes,
            "created_at": now(),
        }
        try:
            with self._store.write() as connection:
                connection.execute(insert(api_keys), [row])
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise ConfigurationError(f"a key named {name} exists; choose another") from None
            raise
        return self.authenticate(secret), secret

    def authenticate(self, secret: str) -> Key:
        """The key that this is the secret of. Raises `AccessDenied`."""
        with self._store.read() as connection:
            row = connection.execute(
                select(api_keys).where(
                    api_keys.c.digest == _digest(secret), api_keys.c.revoked_at.is_(None)
                )
            ).one_or_none()
        if row is None:
            raise AccessDenied("the key is unknown or revoked; `tutela key create` makes one")
        return _key(row)

    def list(self) -> list[Key]:
        """Every key, revoked ones too."""
        with self._store.read() as connection:
            return [
                _key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.id))
            ]

    def revoke(self, name: str) -> None:
        """A revoked key opens nothing, within a second on every server."""
        with self._store.write() as connection:
            done = connection.execute(
                update(api_keys)
                .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now())
            )
        if not done.rowcount:
            raise ConfigurationError(f"no key in use is named {name}; see `tutela key list`")


def _digest(secret: str) -> bytes:
    # The secret has 256 random bits: a slow password hash would add nothing.
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Row[Any]) -> Key:
    return Key(
        row.id,
        row.name,
        frozenset(row.scopes),
        row.per_minute,
        row.max_bytes,
        row.created_at,
        row.revoked_at,
    )
