"""Local fingerprints to findings: which protected photos the content shows, and how altered.

Candidates come from an index in memory, of few of them the sealed fingerprints are opened and
compared. Both sides are keyed: what is compared is neither the upload's nor the photo's own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutela.banks.bank import Banks, Listing, Tier
from tutela.banks.protect import Protection, Review, SealedRows, keyed
from tutela.errors import ConfigurationError, SealBroken
from tutela.findings import DERIVATIVE, FAILURE, Finding
from tutela.index.local import LocalIndex, LocalStatus
from tutela.signals import LOCAL, Fingerprint
from tutela.signals.derivation import Derivative, compare, kernels
from tutela.signals.local import LOCAL as SIGNAL
from tutela.signals.local import Features, turned
from tutela.store import Store
from tutela.store.secret import Keyring, Secret

log = logging.getLogger("tutela.derivatives")

VARIANTS = ("", "mirrored")
"""How content is turned before it is looked up, in case it was turned the other way."""
CERTAIN = 0.99
"""Likelihood from which on other turns of the content are not tried."""


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
            try:
                self._index.refresh()
                if self.wanted:
                    # Else the first content that may derive from one would wait for it.
                    kernels()
            except ConfigurationError as error:
                failure = error
            if failure is not None and str(failure) != str(self._failure):
                log.error("protected photos can't be searched: %s", failure)
            self._failure, self._head = failure, head

    @property
    def complete(self) -> bool:
        """Whether every protected photo can be searched; if not, every picture is held."""
        return self._failure is None and not self._source.broken

    def status(self) -> LocalStatus:
        """How many photos are searched, and how fresh that is."""
        return self._index.status()

    def find(self, fingerprints: Sequence[Fingerprint]) -> list[Finding]:
        """The findings for one piece of content, by part, the likeliest first.

        Where the protected photos can't be searched, all or one, there is a `failure`.
        """
        asked = [made for made in fingerprints if made.signal == LOCAL]
        if not asked or not self.wanted:
            return []
        if self._failure is not None:
            return [_failed(self._failure)]
        found: list[Finding] = []
        try:
            secret = self._keyring.get()
            for fingerprint in asked:
                found += self._find(fingerprint, secret)
        except (ConfigurationError, SealBroken) as error:
            log.error("protected photos can't be compared: %s", error)
            found.append(_failed(error))
        found += [_failed(error) for error in list(self._source.broken.values())[:1]]
        return found

    def _find(self, fingerprint: Fingerprint, secret: Secret) -> list[Finding]:
        features = Features.from_bytes(fingerprint.value)
        if not len(features):
            return []
        sides = {variant: keyed(secret, turned(features, variant)) for variant in VARIANTS}
        near = {variant: self._index.search(side.descriptors) for variant, side in sides.items()}
        listed = self._banks.active(entry for ids in near.values() for entry in ids)
        if not listed:
            return []
        photos = self._source.features(list(listed))
        best: dict[int, _Shown] = {}
        for variant, ids in near.items():
            for entry in ids:
                if entry in best and best[entry].derivative.likelihood > CERTAIN:
                    continue
                photo = photos.get(entry)
                found = compare(sides[variant], photo) if photo is not None else None
                if photo is None or found is None:
                    continue
                shown = _Shown(found, variant, photo.width / photo.height)
                best[entry] = max(best.get(entry, shown), shown, key=_Shown.score)
        reviews = self._protection.reviews(best) if best else {}
        return [
            best[entry].finding(fingerprint.part, entry, listed[entry], reviews)
            for entry in sorted(best, key=lambda entry: (-best[entry].score(), entry))
        ]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A protected photo that content shows when turned so."""

    derivative: Derivative
    variant: str
    aspect: float

    def score(self) -> float:
        return self.derivative.score

    def finding(
        self, part: str, entry: int, listing: Listing, reviews: Mapping[int, Review]
    ) -> Finding:
        found = self.derivative
        return Finding(
            DERIVATIVE,
            source=LOCAL,
            version=SIGNAL.version,
            signal=LOCAL,
            bank=listing.bank,
            owner=listing.owner,
            tier=listing.tier,
            category=listing.category or "",
            entry=entry,
            variant=self.variant,
            part=part,
            score=round(float(found.score), 3),
            likelihood=round(float(found.likelihood), 6),
            review="" if listing.tier is Tier.BENIGN else reviews.get(entry, Review.NONE),
            overlap=round(float(found.overlap), 4),
            changed=round(float(found.changed), 4),
            scale=round(float(found.scale), 4),
            dx=round(float(found.dx), 4),
            dy=round(float(found.dy), 4),
            aspect=round(self.aspect, 4),
            mask=found.mask,
        )


def _failed(error: Exception) -> Finding:
    """What content gets that could not be searched; the log has the rest."""
    lost = "their secret is missing or another one"
    why = "a sealed fingerprint is damaged" if isinstance(error, SealBroken) else lost
    detail = f"protected photos can't be searched: {why}"
    return Finding(FAILURE, LOCAL, SIGNAL.version, detail=detail)
