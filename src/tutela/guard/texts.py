"""Texts judged by themselves: no pictures, no store, nothing recorded."""

from __future__ import annotations

from dataclasses import dataclass

from tutela import detectors
from tutela.cascade import Cascade, Mode
from tutela.content import Content, Context
from tutela.detectors import Sight, Subject
from tutela.findings import INTENTS, Finding
from tutela.media.types import MediaFacts
from tutela.panel import Panel
from tutela.policy import Decision, Policy
from tutela.policy.engine import shipped
from tutela.settings import Settings


@dataclass(frozen=True, slots=True)
class Judged:
    """What the policy for guarding makes of one text."""

    decision: Decision
    findings: tuple[Finding, ...]

    @property
    def categories(self) -> dict[str, float]:
        """For each of `INTENTS` the highest likelihood that any detector gave, 0 where none did."""
        likely = dict.fromkeys(INTENTS, 0.0)
        for finding in self.findings:
            if finding.kind in likely and finding.likelihood is not None:
                likely[finding.kind] = max(likely[finding.kind], finding.likelihood)
        return likely


class Texts:
    """Judges texts by the policy for guarding. Threads may share it.

    Raises `ConfigurationError` or `PolicyError` for settings that can't be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._policy = Policy.load(settings.guard_policy or shipped("guard"))
        deaf = {
            name for name, one in detectors.installed().items() if Sight.TEXT not in one.looks_at
        }
        self._panel = Panel(settings.detector_options(), deaf.union(settings.without))
        self._panel.prepare()

    def __call__(self, text: str, unwanted: str = "", context: Context | None = None) -> Judged:
        """What every detector of texts finds in one, and what the policy says to that."""
        content = Content(text=text, unwanted=unwanted, context=context or Context())
        facts = MediaFacts("text", size=len(text.encode("utf-8", "surrogatepass")))
        subject = Subject(text=text, unwanted=unwanted, facts=facts)
        looked = Cascade(
            self._policy,
            self._panel.known(content, None, ()),
            content.context,
            facts,
            self._panel.able(content),
            Mode.NEEDED,
        )
        while (needed := looked.next) is not None:
            looked.add(detectors.examine(needed, subject))
        decision = self._policy.decide(looked.findings, content.context, facts)
        return Judged(decision, looked.findings)
