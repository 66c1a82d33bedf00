"""Fingerprints to findings: exact ones in the store, perceptual and local ones in indexes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutela.banks.bank import Banks, Listing
from tutela.banks.rows import BankRows
from tutela.derivatives import Derivatives
from tutela.findings import MATCH, Finding
from tutela.index.live import LiveIndex, Status
from tutela.index.local import LocalStatus
from tutela.signals import LOCAL, Fingerprint, Hit, Match, SignalType
from tutela.store import Store

MOST = 100
"""Matches of one part of the content in one bank that become findings: the nearest ones."""
STALE = 0.1
"""Seconds after which a search looks for other processes' changes first."""


class Matcher:
    """Matches fingerprints against every bank. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        directory: Path,
        signals: Sequence[SignalType],
        derivatives: Derivatives | None = None,
    ) -> None:
        self._store = store
        self._banks = Banks(store)
        self._signals = {signal.name: signal for signal in signals if signal.name != LOCAL}
        self._derivatives = derivatives
        source = BankRows(store)
        self.indexes = {
            signal.name: LiveIndex(
                directory / store.identity / signal.name,
                signal.name,
                signal.row_bits,
                signal.radius,
                source,
            )
            for signal in self._signals.values()
            if signal.radius is not None
        }
        self._refreshed = 0.0
        self._seen = 0
        self._refreshing = threading.Lock()

    def refresh(self, older_than: float = 0.0) -> None:
        """Take in what changed in the banks, unless that was done within `older_than` seconds.

        What this process changed itself is always taken in.
        """
        if self._is_fresh(older_than):
            return
        with self._refreshing:
            if self._is_fresh(older_than):
                return
            started, changes = time.monotonic(), self._store.changes
            for index in self.indexes.values():
                index.refresh()
            if self._derivatives is not None:
                self._derivatives.refresh()
            self._refreshed, self._seen = started, changes

    def _is_fresh(self, older_than: float) -> bool:
        return (
            time.monotonic() - self._refreshed <= older_than and self._seen == self._store.changes
        )

    def wanted(self) -> frozenset[str]:
        """Signals that are taken of content only where something would match them."""
        self.refresh(STALE)
        some = self._derivatives is not None and self._derivatives.wanted
        return frozenset([LOCAL] if some else ())

    @property
    def complete(self) -> bool:
        """Whether all that is banked can be searched; if not, every picture is held."""
        return self._derivatives is None or self._derivatives.complete

    @property
    def age(self) -> float:
        """Seconds since the index was last known to hold every committed change."""
        return time.monotonic() - self._refreshed

    def match(self, contents: Sequence[Sequence[Fingerprint]]) -> list[list[Finding]]:
        """The findings for each piece of content, given its fingerprints. One search for all."""
        self.refresh(STALE)
        asked = [
            (content, fingerprint)
            for content, fingerprints in enumerate(contents)
            for fingerprint in fingerprints
            if fingerprint.signal in self._signals
        ]
        matches = self._exact(asked) + self._near(asked)
        listed = self._banks.active(match.entry for _, _, match in matches)
        findings: list[list[Finding]] = [[] for _ in contents]
        told: Counter[tuple[int, str, str, str]] = Counter()
        # Exact matches come first and the others nearest first, so what is left out is farther.
        for content, fingerprint, match in matches:
            listing = listed.get(match.entry)
            if listing is None:
                continue
            group = (content, fingerprint.signal, fingerprint.part, listing.bank)
            told[group] += 1
            if told[group] <= MOST:
                findings[content].append(self._finding(fingerprint, match, listing))
        if self._derivatives is not None:
            for shown, fingerprints in zip(findings, contents, strict=True):
                shown += self._derivatives.find(fingerprints)
        return findings

    def _finding(self, fingerprint: Fingerprint, match: Match, listing: Listing) -> Finding:
        return Finding(
            MATCH,
            source=fingerprint.signal,
            version=self._signals[fingerprint.signal].version,
            signal=fingerprint.signal,
            bank=listing.bank,
            owner=listing.owner,
            tier=listing.tier,
            category=listing.category or "",
            entry=match.entry,
            distance=match.distance,
            variant=match.variant,
            part=fingerprint.part,
            query_share=_rounded(match.query_share),
            index_share=_rounded(match.index_share),
            start=_rounded(match.start),
            end=_rounded(match.end),
        )

    def compact(self) -> None:
        """Write new snapshots where many changes have piled up."""
        for index in self.indexes.values():
            if index.needs_compaction:
                index.compact()

    def status(self) -> dict[str, Status | LocalStatus]:
        """How large and how fresh each index is."""
        found: dict[str, Status | LocalStatus] = {}
        if self._derivatives is not None:
            found[LOCAL] = self._derivatives.status()
        return found | {name: index.status() for name, index in self.indexes.items()}

    def _exact(
        self, asked: Sequence[tuple[int, Fingerprint]]
    ) -> list[tuple[int, Fingerprint, Match]]:
        exact = [item for item in asked if self._signals[item[1].signal].radius is None]
        found = self._banks.exact([(given.signal, given.value) for _, given in exact])
        return [
            (content, fingerprint, Match(entry, 0))
            for content, fingerprint in exact
            for entry in found.get((fingerprint.signal, fingerprint.value), ())
        ]

    def _near(
        self, asked: Sequence[tuple[int, Fingerprint]]
    ) -> list[tuple[int, Fingerprint, Match]]:
        found: list[tuple[int, Fingerprint, Match]] = []
        for name, index in self.indexes.items():
            signal = self._signals[name]
            mine = [
                (content, fingerprint, signal.queries(fingerprint))
                for content, fingerprint in asked
                if fingerprint.signal == name
                # A hash looked up by value alone comes without a quality.
                and (fingerprint.quality is None or fingerprint.quality >= signal.min_quality)
            ]
            rows = b"".join(row for _, _, queries in mine for row in queries.values())
            if not rows:
                continue
            queries = np.frombuffer(rows, np.uint8).reshape(-1, signal.row_bits // 8)
            hits = _by_query(index.search(queries))
            first = 0
            for content, fingerprint, variants in mine:
                near = [
                    Hit(query, entry, distance)
                    for query in range(len(variants))
                    for entry, distance in hits.get(first + query, ())
                ]
                first += len(variants)
                if near:
                    judged = signal.judge(fingerprint, list(variants), near, self._banks.values)
                    found += [(content, fingerprint, match) for match in judged]
        return found


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(float(number), 4)


def _by_query(result: tuple[Any, Any, Any]) -> dict[int, list[tuple[int, int]]]:
    hits: dict[int, list[tuple[int, int]]] = {}
    for query, entry, distance in zip(*(column.tolist() for column in result), strict=True):
        hits.setdefault(query, []).append((entry, distance))
    return hits
