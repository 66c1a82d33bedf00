"""Cascade: the order in which detectors run on content, and where they stop. Pure.

Cheap detectors come before dear ones. After each, the policy says which kinds of findings could
still change the action; a detector that brings none of them is left out, and the verdict names it.
The action is the one that all the detectors together would have led to, had none of them failed:
what is left out can't fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from tutela.detectors import Detector, Sight
from tutela.findings import FAILURE, Finding
from tutela.media.types import MediaFacts
from tutela.policy import Context, Policy

__all__ = ["Cascade", "Mode", "run"]


CHEAP = 1.0
"""Milliseconds below which a detector runs unasked: asking the policy would cost more."""


class Mode(StrEnum):
    """Which detectors run."""

    NEEDED = "needed"
    """Those whose findings could change the action."""
    HELD = "held"
    """The same; and where the action is `hold` or `block`, the rest too: whoever reviews or
    reports content wants all that can be known of it."""
    FULL = "full"
    """All."""


class Cascade:
    """One piece of content on its way through the detectors.

    Ask for `next`, run it, `add` what it found; None ends it.
    """

    def __init__(
        self,
        policy: Policy,
        findings: Sequence[Finding],
        context: Context,
        media: MediaFacts,
        detectors: Iterable[Detector],
        mode: Mode = Mode.HELD,
        later: frozenset[str] = frozenset(),
    ) -> None:
        """`findings` are those that are there already; `detectors` have not run; `later` are the
        kinds of findings that other content, judged together with this, may bring yet."""
        self._policy = policy
        self._context = context
        self._media = media
        self._mode = mode
        self._later = later
        self._given = list(findings)
        self._pending: list[Detector] = []
        for detector in sorted(detectors, key=_order):
            try:
                if detector.applies(media):
                    self._pending.append(detector)
            except Exception as error:  # a plug-in may raise anything
                self._given.append(_failure(detector, error))
        self._found: dict[tuple[bool, float, str], Sequence[Finding]] = {}
        self._next = self._choose()

    @property
    def next(self) -> Detector | None:
        """The detector to run now; None when no more are needed."""
        return self._next

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All there is: what was given, then what each detector found, in the order of all
        detectors, whichever ran."""
        found = (one for key in sorted(self._found) for one in self._found[key])
        return (*self._given, *found)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the detectors that apply to the content and did not run."""
        return tuple(detector.name for detector in self._pending)

    def add(self, found: Sequence[Finding]) -> None:
        """What `next` found."""
        assert self._next is not None
        self._pending.remove(self._next)
        self._found[_order(self._next)] = tuple(found)
        self._next = self._choose()

    def _choose(self) -> Detector | None:
        if not self._pending:
            return None
        if self._mode == Mode.FULL or self._pending[0].cost < CHEAP:
            return self._pending[0]
        kinds = self._later.union(*(detector.kinds for detector in self._pending))
        findings = self.findings
        needed = self._policy.open_kinds(findings, self._context, self._media, kinds)
        for detector in self._pending:
            if detector.kinds & needed:
                # What looks at the findings of others is to see what it would see were all to run.
                return self._pending[0] if Sight.FINDINGS in detector.looks_at else detector
        if self._mode == Mode.HELD:
            decision = self._policy.decide(findings, self._context, self._media)
            if decision.action != "allow":
                self._mode = Mode.FULL
                return self._pending[0]
        return None


Look = Callable[[Detector, Sequence[Cascade]], Sequence[Sequence[Finding]]]
"""Runs a detector on several pieces of content: what it found in each."""


def run(cascades: Sequence[Cascade], look: Look) -> None:
    """Take all of them to their end; each detector is given all that want it at once."""
    while True:
        wanted: dict[tuple[bool, float, str], tuple[Detector, list[Cascade]]] = {}
        for cascade in cascades:
            detector = cascade.next
            if detector is not None:
                wanted.setdefault(_order(detector), (detector, []))[1].append(cascade)
        if not wanted:
            return
        # The cheapest first: content that wants it now and content that will want what comes
        # after it then meet there.
        detector, group = wanted[min(wanted)]
        for cascade, found in zip(group, look(detector, group), strict=True):
            cascade.add(found)


def _order(detector: Detector) -> tuple[bool, float, str]:
    return Sight.FINDINGS in detector.looks_at, detector.cost, detector.name


def _failure(detector: Detector, error: Exception) -> Finding:
    return Finding(FAILURE, detector.name, detector.version, detail=type(error).__name__)
