"""Harmless pictures that no list may contain.

A list that matches one of them is broken or hostile: it would hold or block harmless uploads. The
canaries are those shipped in `data/canaries.toml` and every entry of the banks of tier `benign`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from tutela import signals
from tutela.banks.bank import CanaryHit, State, Tier
from tutela.signals import Fingerprint, SignalType
from tutela.store import Store
from tutela.store.tables import banks, entries

BLOCK = 1 << 18


def check(store: Store, new: Iterable[Fingerprint]) -> list[CanaryHit]:
    """Which of the new fingerprints match a canary."""
    by_signal: dict[str, list[bytes]] = {}
    for fingerprint in new:
        by_signal.setdefault(fingerprint.signal, []).append(fingerprint.value)
    known: dict[str, list[tuple[str, Fingerprint]]] = {}
    for name, fingerprint in _canaries(store):
        known.setdefault(fingerprint.signal, []).append((name, fingerprint))
    hits: list[CanaryHit] = []
    for name, values in by_signal.items():
        signal = signals.find(name)
        compare = _equal if signal.radius is None else _near
        hits += compare(signal, values, known.get(name, []))
    return hits


def shipped() -> Sequence[tuple[str, Fingerprint]]:
    """(name, fingerprint) of the canaries that come with Tutela."""
    return _shipped()


@cache
def _shipped() -> tuple[tuple[str, Fingerprint], ...]:
    text = files("tutela.banks").joinpath("data/canaries.toml").read_text(encoding="utf-8")
    found = []
    for canary in tomllib.loads(text)["canary"]:
        for written in canary["fingerprints"]:
            signal, value = signals.parse(written)
            found.append((canary["name"], Fingerprint(signal.name, value)))
    return tuple(found)


def _canaries(store: Store) -> Iterator[tuple[str, Fingerprint]]:
    yield from shipped()
    query = (
        select(banks.c.name, entries.c.id, entries.c.signal, entries.c.value)
        .join(banks, banks.c.id == entries.c.bank_id)
        .where(banks.c.tier == Tier.BENIGN, banks.c.deleted_at.is_(None))
        .where(entries.c.state == State.LIVE)
    )
    with store.read() as connection:
        for bank, entry_id, signal, value in connection.execute(query):
            yield f"{bank}/{entry_id}", Fingerprint(signal, bytes(value))


def _equal(
    signal: SignalType, values: Sequence[bytes], known: Sequence[tuple[str, Fingerprint]]
) -> list[CanaryHit]:
    harmless = {fingerprint.value: name for name, fingerprint in known}
    return [
        CanaryHit(harmless[value], signal.name, signal.format(value), 0)
        for value in values
        if value in harmless
    ]


def _near(
    signal: SignalType, values: Sequence[bytes], known: Sequence[tuple[str, Fingerprint]]
) -> list[CanaryHit]:
    """Every new row against every variant of every canary: exact, and quick enough for a list."""
    owners, words = _words(signal, values)
    hits: dict[tuple[str, bytes], CanaryHit] = {}
    for name, fingerprint in known:
        for query in signal.queries(fingerprint).values():
            wanted = np.frombuffer(query, "<u8")
            for start in range(0, len(words), BLOCK):
                block = words[start : start + BLOCK]
                distance = np.bitwise_count(block ^ wanted).sum(axis=1, dtype=np.int64)
                for row in np.flatnonzero(distance <= (signal.radius or 0)):
                    value = values[owners[start + row]]
                    hit = CanaryHit(name, signal.name, signal.format(value), int(distance[row]))
                    hits.setdefault((name, value), hit)
    return list(hits.values())


def _words(
    signal: SignalType, values: Sequence[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    rows = [signal.rows(value) for value in values]
    owners = np.repeat(np.arange(len(values)), [len(found) for found in rows])
    joined = b"".join(row for found in rows for row in found)
    return owners, np.frombuffer(joined, "<u8").reshape(-1, signal.row_bits // 64)
