"""Local fingerprints to findings: which protected photos the content shows, and how altered.

Candidates come from an index in memory, of few of them the sealed fingerprints are opened and
compared. Both sides are keyed: what is compared is neither the upload's nor the photo's own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from tutela.banks.bank import Banks, Listing
from tutela.banks.protect import Protection, SealedRows, keyed
from tutela.errors import ConfigurationError, SealBroken
from tutela.findings import DERIVATIVE, FAILURE, Finding
from tutela.index.local import LocalIndex
from tutela.signals import LOCAL, Fingerprint, local
from tutela.store import Store
from tutela.store.secret import Keyring, Secret

log = logging.getLogger("tutela.derivatives")

MIRRORED = "mirrored"


class Derivatives:
    """Finds protected photos in content. Threads may share it."""

    def __init__(self, store: Store, keyring: Keyring, protection: Protection) -> None:
        self._banks = Banks(store)
        self._keyring = keyring
        self._protection = protection
        self._source = SealedRows(store, keyring)
        self._index = LocalIndex(self._source)
        self._refreshing = threading.Lock()
        self._head = -1
        self._failure: Exception | None = None
        self.wanted = False
        """Whether anything is under protection: else no upload is searched for it."""

    def refresh(self) -> None:
        """Take in what changed. Raises `StoreError` alone: a secret that is lost is a finding."""
        with self._refreshing:
            head = self._source.head(LOCAL)
            if head == self._head and self._failure is None:
                return
            self.wanted = self._protection.any()
            failure: Exception | None = None
            # Once nothing is sealed the secret may be another one: what was opened has gone.
            if self.wanted or self._head >= 0:
                try:
                    self._index.refresh()
                except (ConfigurationError, SealBroken) as error:
                    failure = error if self.wanted else None
            if failure is not None and str(failure) != str(self._failure):
                log.error("protected photos can't be searched: %s", failure)
            self._failure, self._head = failure, head

    def find(self, fingerprints: Sequence[Fingerprint]) -> list[Finding]:
        """The findings for one piece of content, by part, the likeliest first.

        Where the protected photos can't be searched, all or one, there is a `failure`.
        """
        enough = local.LOCAL.min_quality
        asked = [made for made in fingerprints if made.signal == LOCAL]
        if not asked or not self.wanted:
            return []
        if self._failure is not None:
            return [_failed(self._failure)]
        found: list[Finding] = []
        try:
            secret = self._keyring.get()
            for fingerprint in asked:
                if (fingerprint.quality or 0) >= enough:
                    found += self._find(fingerprint, secret)
        except (ConfigurationError, SealBroken) as error:
            log.error("protected photos can't be compared: %s", error)
            found.append(_failed(error))
        found += [_failed(error) for error in list(self._source.broken.values())[:1]]
        return found

    def _find(self, fingerprint: Fingerprint, secret: Secret) -> list[Finding]:
        sides = {
            "": keyed(secret, fingerprint.value),
            MIRRORED: keyed(secret, local.mirrored(fingerprint.value)),
        }
        near = {
            variant: self._index.search(local.descriptors(value))
            for variant, value in sides.items()
        }
        listed = self._banks.active(entry for ids in near.values() for entry in ids)
        if not listed:
            return []
        values = self._source.values(list(listed))
        best: dict[int, tuple[local.Derivative, str]] = {}
        for variant, ids in near.items():
            for entry in ids:
                if entry not in values:
                    continue
                found = local.compare(sides[variant], values[entry])
                held = best.get(entry)
                if found and (held is None or found.likelihood > held[0].likelihood):
                    best[entry] = found, variant
        return self._findings(fingerprint, best, listed)

    def _findings(
        self,
        fingerprint: Fingerprint,
        best: Mapping[int, tuple[local.Derivative, str]],
        listed: Mapping[int, Listing],
    ) -> list[Finding]:
        if not best:
            return []
        reviews = self._protection.reviews(best)
        ordered = sorted(best, key=lambda entry: (-best[entry][0].likelihood, entry))
        found = []
        for entry in ordered:
            derivative, variant = best[entry]
            listing = listed[entry]
            found.append(
                Finding(
                    DERIVATIVE,
                    source=LOCAL,
                    version=local.LOCAL.version,
                    signal=LOCAL,
                    bank=listing.bank,
                    owner=listing.owner,
                    tier=listing.tier,
                    category=listing.category or "",
                    entry=entry,
                    variant=variant,
                    part=fingerprint.part,
                    score=round(derivative.score, 4),
                    likelihood=round(derivative.likelihood, 6),
                    review=reviews.get(entry, "") if listing.tier != "benign" else "",
                    overlap=round(derivative.overlap, 4),
                    changed=round(derivative.changed, 4),
                    scale=round(derivative.scale, 5),
                    angle=round(derivative.angle, 3),
                    dx=round(derivative.dx, 3),
                    dy=round(derivative.dy, 3),
                    mask=derivative.mask,
                )
            )
        return found


def _failed(error: Exception) -> Finding:
    """What content gets that could not be searched; the log has the rest."""
    lost = "their secret is missing or another one"
    why = "a sealed fingerprint is damaged" if isinstance(error, SealBroken) else lost
    detail = f"protected photos can't be searched: {why}"
    return Finding(FAILURE, LOCAL, local.LOCAL.version, detail=detail)
