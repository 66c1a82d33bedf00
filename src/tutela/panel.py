"""The detectors of one process, ready to look: in the sandbox, or here on what the sandbox made."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tutela import detectors
from tutela._wire import SIGHTS
from tutela.content import Content
from tutela.detectors import Detector, Options, Sight, Subject
from tutela.errors import ConfigurationError, Reason, Rejected
from tutela.examine import Examination, Wanted
from tutela.findings import FAILURE, INTENTS, UNEXAMINED, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.sandbox import Sandbox

DIGEST = "sha256"
READ = frozenset(INTENTS)
MADE = frozenset(SIGHTS)
AT_ONCE = MADE - {Sight.LARGE}
"""What is made while content is decoded for the first time, if it may be needed: large views are
for few, and all others are to see the same whether or not those are there."""


class Panel:
    """Every installed detector but those named in `without`. Threads may share it.

    Raises `ConfigurationError` for one that isn't installed.
    """

    def __init__(self, options: Options, without: Iterable[str] = ()) -> None:
        installed, left_out = detectors.installed(), frozenset(without)
        if unknown := left_out - installed.keys():
            raise ConfigurationError(
                f"there is no detector {', '.join(sorted(unknown))} to do without; installed: "
                f"{', '.join(installed)}"
            )
        self.all: tuple[Detector, ...] = tuple(
            detector for name, detector in installed.items() if name not in left_out
        )
        self.kinds = frozenset[str]().union(*(detector.kinds for detector in self.all))
        self._options = options
        self._ready = False
        self._preparing = threading.Lock()

    def prepare(self) -> None:
        """Load what the detectors of this process need, once. Raises `ConfigurationError`."""
        if self._ready:
            return
        with self._preparing:
            if not self._ready:
                for detector in self.all:
                    if not detectors.in_sandbox(detector):
                        detector.prepare(self._options)
                self._ready = True

    def sights(self, kinds: frozenset[str]) -> frozenset[Sight]:
        """What the sandbox has to make for the detectors that may find one of these kinds."""
        return frozenset(
            sight
            for detector in self.all
            if detector.kinds & kinds and not detectors.in_sandbox(detector)
            for sight in detector.looks_at & AT_ONCE
        )

    def able(self, content: Content) -> tuple[Detector, ...]:
        """The detectors that have something to look at in content of this kind.

        They are ready from then on. Raises `ConfigurationError`.
        """
        self.prepare()
        return tuple(one for one in self.all if _able(one, content))

    def known(
        self, content: Content, examination: Examination | None, matched: Iterable[Finding]
    ) -> tuple[Finding, ...]:
        """What is known of content before any detector of this process looks at it."""
        seen = () if examination is None else examination.findings
        rejected = None if examination is None else examination.rejected
        found = (*content.findings, *seen, *matched)
        if rejected is not None:
            detail = f"{rejected.reason}: {rejected.message}"
            return (Finding(UNEXAMINED, "media", detail=detail), *found)
        if content.text is not None and not self._reads():
            return (Finding(UNEXAMINED, "text", detail="no detector judges what texts say"), *found)
        return found

    def _reads(self) -> bool:
        """Whether any detector says what texts ask for."""
        facts = MediaFacts("text")
        return any(one.kinds & READ and one.applies(facts) for one in self.all)

    def look(
        self,
        sandbox: Sandbox,
        content: Content,
        examination: Examination,
        made: frozenset[Sight],
    ) -> Look:
        """The detectors shown this content, of which the sandbox made these sights."""
        return Look(self.all, sandbox, content, examination, made)


class Look:
    """One piece of content before the detectors. Used by one thread at a time."""

    def __init__(
        self,
        installed: Sequence[Detector],
        sandbox: Sandbox,
        content: Content,
        examination: Examination,
        made: frozenset[Sight],
    ) -> None:
        self._installed = installed
        self._sandbox = sandbox
        self._content = content
        self._examination = examination
        self._made = made
        self._large: Sequence[View] = ()
        self._sandboxed: dict[str, list[Finding]] | None = None

    def __call__(self, detector: Detector, findings: Sequence[Finding]) -> list[Finding]:
        """What this detector finds, given what was found so far."""
        if detectors.in_sandbox(detector):
            return self._in_sandbox(detector)
        missing = (detector.looks_at & MADE) - self._made
        if missing and (failure := self._make(detector, missing)):
            return [failure]
        seen = self._examination
        views = self._large if Sight.LARGE in detector.looks_at else seen.views
        return detectors.examine(
            detector,
            Subject(
                text=self._content.text,
                unwanted=self._content.unwanted,
                facts=seen.media,
                fingerprints=seen.fingerprints,
                views=views,
                sound=seen.sound,
                findings=findings,
            ),
        )

    def _in_sandbox(self, detector: Detector) -> list[Finding]:
        """One trip for all of them: content is decoded once more, and no oftener."""
        if self._sandboxed is None:
            facts = self._examination.media
            names = frozenset(
                one.name
                for one in self._installed
                if detectors.in_sandbox(one) and one.applies(facts)
            )
            done = self._again(Wanted(detectors=names))
            self._sandboxed = {name: [] for name in names}
            for found in done.findings:
                self._sandboxed[found.source].append(found)
            if done.rejected is not None:
                unlooked = names - done.timings.keys()
                for name in unlooked:
                    self._sandboxed[name].append(_unseen(name, done))
        return self._sandboxed[detector.name]

    def _make(self, detector: Detector, missing: frozenset[Sight]) -> Finding | None:
        """Have the sandbox make what is missing; a finding if it can't."""
        done = self._again(Wanted(sights=missing))
        if done.rejected is not None:
            return _unseen(detector.name, done)
        self._made |= missing
        if Sight.LARGE in missing:
            self._large = done.views
        else:
            self._examination = replace(
                self._examination,
                views=done.views or self._examination.views,
                sound=done.sound or self._examination.sound,
            )
        return None

    def _again(self, wanted: Wanted) -> Examination:
        """Have the sandbox see the content once more; a file must still be the same."""
        if self._content.path is None:
            return self._sandbox.examine(self._content.data or b"", wanted, usual=False)
        wanted = replace(wanted, signals=frozenset({DIGEST}))
        done = self._sandbox.examine(self._content.path, wanted, usual=False)
        if _digest(done) != _digest(self._examination):
            changed = Rejected(Reason.UNREADABLE_FILE, "The file changed while it was examined.")
            return Examination(rejected=changed)
        return done


def _able(detector: Detector, content: Content) -> bool:
    if content.text is not None:
        return Sight.TEXT in detector.looks_at
    if content.data or content.path is not None:
        return detector.looks_at != {Sight.TEXT}
    # A look-up by fingerprints alone has nothing else to show.
    return bool(detector.looks_at & {Sight.FINGERPRINTS})


def _digest(done: Examination) -> bytes | None:
    return next((made.value for made in done.fingerprints if made.signal == DIGEST), None)


def _unseen(name: str, done: Examination) -> Finding:
    reason = "" if done.rejected is None else str(done.rejected.reason)
    return Finding(FAILURE, name, detail=f"the content could not be shown to it: {reason}")
