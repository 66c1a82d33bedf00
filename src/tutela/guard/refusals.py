"""Refusals: how often an account's requests to a model are refused. Rate, never content.

One refusal says little; many within an hour are a case to look into, and that is all that is kept:
the account's reference, when and how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import delete, select, update

from tutela.server import metrics
from tutela.store import Store, now
from tutela.store.tables import case_signals

log = structlog.get_logger("tutela.guard")

WINDOW: Final = timedelta(hours=1)
QUIET: Final = timedelta(days=30)
"""How long an account that became no case is remembered."""


@dataclass(frozen=True, slots=True)
class Signal:
    """An account, and how often it was refused."""

    account: str
    first_at: datetime
    last_at: datetime
    refusals: int
    """All since `first_at`."""
    in_window: int
    """Those of the last hour, up to the number that makes a case."""
    opened_at: datetime | None
    """When there were first as many within an hour as make a case; None if there never were."""


class Refusals:
    """Counts refusals by account. Threads and processes may share one store."""

    def __init__(self, store: Store, per_hour: int) -> None:
        self._store = store
        self._per_hour = per_hour

    def count(self, account: str) -> bool:
        """Count one; tells whether it made the account a case just now. Raises `StoreError`."""
        moment = now()
        table = case_signals
        begin = {"account": account, "first_at": moment, "last_at": moment}
        begin |= {"refusals": 0, "recent": [], "opened_at": None}
        with self._store.write() as connection:
            connection.execute(self._store.insert_new(table), [begin])
            row = connection.execute(
                select(table).where(table.c.account == account).with_for_update()
            ).one()
            since = (moment - WINDOW).timestamp()
            recent = [one for one in row.recent if one > since] + [moment.timestamp()]
            recent = recent[-self._per_hour :]
            before = sum(one > since for one in row.recent)
            many = len(recent) >= self._per_hour
            connection.execute(
                update(table)
                .where(table.c.account == account)
                .values(
                    last_at=moment,
                    refusals=row.refusals + 1,
                    recent=recent,
                    opened_at=row.opened_at or (moment if many else None),
                )
            )
            connection.execute(
                delete(table).where(table.c.last_at < moment - QUIET, table.c.opened_at.is_(None))
            )
        opened = many and before < self._per_hour
        if opened:
            metrics.CASE_SIGNALS.inc()
            log.warning("case signal", account=account, within_an_hour=len(recent))
        return opened

    def signals(self, *, every: bool = False) -> list[Signal]:
        """The accounts that became a case, the latest first; with `every` all others too."""
        since = (now() - WINDOW).timestamp()
        query = select(case_signals).order_by(case_signals.c.last_at.desc())
        if not every:
            query = query.where(case_signals.c.opened_at.is_not(None))
        with self._store.read() as connection:
            return [
                Signal(
                    row.account,
                    row.first_at,
                    row.last_at,
                    row.refusals,
                    sum(one > since for one in row.recent),
                    row.opened_at,
                )
                for row in connection.execute(query)
            ]
