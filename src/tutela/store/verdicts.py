"""Verdicts as they are kept: written once, read by number, replayed under another policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, select

from tutela.store import Store
from tutela.store.tables import scan_files, verdicts
from tutela.verdict import Verdict

PAGE = 1_000


def row_of(verdict: Verdict) -> tuple[Table, Mapping[str, Any]]:
    """The row that records a verdict."""
    document = verdict.document()
    return verdicts, {
        "id": verdict.id,
        "created_at": verdict.created_at,
        "sha256": document["signals"].get("sha256"),
        "action": verdict.action,
        "category": verdict.category,
        "policy": verdict.decision.policy,
        "document": document,
    }


def get(store: Store, verdict_id: str) -> dict[str, Any] | None:
    """The document of a verdict, or None."""
    with store.read() as connection:
        document: dict[str, Any] | None = connection.scalar(
            select(verdicts.c.document).where(verdicts.c.id == verdict_id)
        )
    return document


def get_many(store: Store, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The documents of these verdicts, by number."""
    with store.read() as connection:
        rows = connection.execute(
            select(verdicts.c.id, verdicts.c.document).where(verdicts.c.id.in_(ids))
        )
        return {row.id: row.document for row in rows}


def forget(store: Store, before: datetime) -> int:
    """Erase the verdicts given before a moment, and what refers to them; returns how many."""
    # The ids begin with the milliseconds of their making, so the key finds the old ones.
    end = f"{int(before.timestamp() * 1000):012x}"
    erased = 0
    while True:
        old = select(verdicts.c.id).where(verdicts.c.id < end).order_by(verdicts.c.id).limit(PAGE)
        with store.write() as connection:
            ids = connection.scalars(old).all()
            connection.execute(delete(scan_files).where(scan_files.c.verdict_id.in_(ids)))
            connection.execute(delete(verdicts).where(verdicts.c.id.in_(ids)))
        erased += len(ids)
        if len(ids) < PAGE:
            return erased


def since(store: Store, moment: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Every document since `moment`, oldest first, read in pages."""
    after = ""
    while True:
        query = select(verdicts.c.id, verdicts.c.document).where(verdicts.c.id > after)
        if moment is not None:
            query = query.where(verdicts.c.created_at >= moment)
        with store.read() as connection:
            page = connection.execute(query.order_by(verdicts.c.id).limit(PAGE)).all()
        if not page:
            return
        yield from (document for _, document in page)
        after = page[-1][0]
