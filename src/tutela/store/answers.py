"""What a request with an idempotency key was answered: committed with the verdicts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select

from tutela.content import Content
from tutela.store import Store, now
from tutela.store.recorder import Rows
from tutela.store.tables import answers
from tutela.store.verdicts import get_many
from tutela.verdict import Verdict

KEPT = timedelta(days=2)


class OtherRequest(Exception):
    """The key was used for a request with other content."""


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """Who asked, under which key, for what."""

    key_id: int
    idempotency_key: str
    request: str
    """Digest of the content and its context, hexadecimal."""

    def rows(self, made: Sequence[tuple[Content, Verdict]]) -> Rows:
        """The row that remembers these verdicts as the answer."""
        row = {
            "key_id": self.key_id,
            "idempotency_key": self.idempotency_key,
            "request": self.request,
            "verdict_ids": [verdict.id for _, verdict in made],
            "created_at": now(),
        }
        return ((answers, row),)


def find(store: Store, key: AnswerKey) -> list[dict[str, Any]] | None:
    """The documents that this request was answered with, or None. Raises `OtherRequest`."""
    with store.read() as connection:
        row = connection.execute(
            select(answers.c.request, answers.c.verdict_ids).where(
                answers.c.key_id == key.key_id,
                answers.c.idempotency_key == key.idempotency_key,
            )
        ).one_or_none()
    if row is None:
        return None
    if row.request != key.request:
        raise OtherRequest
    documents = get_many(store, row.verdict_ids)
    return [documents[verdict_id] for verdict_id in row.verdict_ids]


def forget_old(store: Store) -> None:
    """Forget answers older than two days; a repeat after that is a new request."""
    with store.write() as connection:
        connection.execute(delete(answers).where(answers.c.created_at < now() - KEPT))
