"""Verdict: allow, hold or block, with everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from tutela import signals
from tutela.errors import Rejected
from tutela.findings import Finding
from tutela.policy.decision import Action, Context, Decision, MediaFacts
from tutela.signals import Fingerprint

SHOWN = 32
"""Bytes of a fingerprint up to which it is recorded and shown."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen with content, and why. It has been recorded durably when you hold one.

    `allow`: publish. `hold`: don't publish until a person has looked. `block`: don't publish.
    """

    id: str
    created_at: datetime
    decision: Decision
    findings: tuple[Finding, ...]
    fingerprints: tuple[Fingerprint, ...]
    media: MediaFacts
    context: Context = field(default_factory=Context)
    rejected: Rejected | None = None
    """Why the content could not be examined, if it could not."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by step."""
    not_run: tuple[str, ...] = ()
    """Detectors that were not asked: whatever they found, the action would be the same."""
    name: str = ""
    """What the caller calls the content; not recorded."""
    _document: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def action(self) -> Action:
        return self.decision.action

    @property
    def category(self) -> str | None:
        return self.decision.category

    @property
    def rules(self) -> tuple[str, ...]:
        return self.decision.rules

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.decision.reasons

    def document(self) -> dict[str, Any]:
        """What is recorded and what `--json` and the API show, less the caller's name for it.

        Made once: don't alter it.
        """
        if not self._document:
            self._document.update(
                {
                    "id": self.id,
                    "created_at": self.created_at.isoformat(),
                    "signals": signals_json(self.fingerprints),
                    "media": asdict(self.media),
                    "context": asdict(self.context),
                    "findings": [finding.to_json() for finding in self.findings],
                    "not_run": list(self.not_run),
                    "verdict": self.decision.to_json(),
                    "error": self.rejected
                    and {"type": self.rejected.reason.value, "message": self.rejected.message},
                    "timings": {name: round(spent, 3) for name, spent in self.timings.items()},
                }
            )
        return self._document

    def to_json(self) -> dict[str, Any]:
        """The document with the caller's name for the content, as `file`."""
        return {"file": self.name, **self.document()}


def signals_json(fingerprints: Sequence[Fingerprint]) -> dict[str, Any]:
    """Digests as text; a perceptual fingerprint with its quality, and those of further parts.

    Of what runs in time no more than how much there is: it is as long as a film.
    """
    shown: dict[str, Any] = {}
    for fingerprint in fingerprints:
        signal = signals.find(fingerprint.signal)
        text = signal.format(fingerprint.value)
        if signal.radius is None:
            shown[signal.name] = text
            continue
        if len(fingerprint.value) > SHOWN:
            size = len(fingerprint.value)
            shown[signal.name] = {"bytes": size, "quality": fingerprint.quality}
            continue
        this = {"hex": text, "quality": fingerprint.quality}
        if signal.name not in shown:
            shown[signal.name] = {**this, "part": fingerprint.part, "parts": []}
        else:
            shown[signal.name]["parts"].append({**this, "part": fingerprint.part})
    return shown
