"""The flow, top to bottom: content is examined, matched, judged by the policy, and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from tutela import cascade, heat, outline, signals
from tutela.banks import canaries
from tutela.banks.bank import Banks, Tier, admissible
from tutela.banks.protect import Protected, Protection, Review
from tutela.cascade import Cascade, Mode
from tutela.content import Content, Context
from tutela.derivatives import Derivatives
from tutela.detectors import Detector, Sight, trigger
from tutela.examine import Examination, Wanted, examine_text
from tutela.findings import DERIVATIVE, MATCH, Finding, shows_nudity
from tutela.matching import Matcher
from tutela.panel import Panel
from tutela.policy import Explanation, Policy
from tutela.sandbox import Sandbox
from tutela.settings import Settings
from tutela.signals import Fingerprint
from tutela.store import Store, new_id, now
from tutela.store.recorder import Recorder, Rows
from tutela.store.secret import Keyring
from tutela.store.verdicts import row_of
from tutela.verdict import Verdict

Also = Callable[[Sequence[tuple[Content, Verdict]]], Rows]
"""Further rows to commit with verdicts."""
BATCH = 64
"""Pieces of content that `screen_many` matches and records together, …"""
CONTEXTS = 1024
"""Contexts of which it is remembered what detectors will likely look at."""
LOOKS = 16
"""Pieces of content that the detectors of this process look at side by side."""
HELD = 64 << 20
"""… and bytes of pictures and sound above which it does not wait for more."""


class Screener:
    """Screens content against the banks and the policy of one data folder.

    One a process; safe to share between threads. Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings) -> None:
        settings.make_data()
        self.settings = settings
        self.policy = Policy.load(settings.policy)
        self.store = Store(settings.database_url)
        self.banks = Banks(self.store)
        self.recorder = Recorder(self.store)
        self.keyring = Keyring(self.store, settings.secret_path)
        self.protection = Protection.of(self.store, self.keyring, settings)
        try:
            self.matcher = self._matcher()
        except BaseException:
            self.store.close()
            raise
        options = settings.detector_options()
        self.sandbox = Sandbox(
            settings.limits, settings.workers, films=settings.film_limits, options=options
        )
        self.panel = Panel(options, settings.without)
        self._likely: dict[tuple[Policy, tuple[object, ...]], frozenset[Sight]] = {}
        self._threads = ThreadPoolExecutor(LOOKS, thread_name_prefix="tutela-look")

    def screen(
        self,
        source: bytes | str | Path | Content,
        *,
        context: Context | None = None,
        findings: Iterable[Finding] = (),
    ) -> Verdict:
        """The verdict on bytes or on the file of that name, recorded durably.

        `findings` are what your own detectors found, such as `findings.nudity(0.97)`. Content that
        can't be examined gets a verdict too: `hold`, or `block` if its digest is known. Raises
        `StoreError` when the verdict could not be recorded: treat that as `hold`.
        """
        content = source if isinstance(source, Content) else Content.of(source, context, findings)
        return self.judge([(content, self.examine(content))])[0]

    def screen_text(self, text: str, *, context: Context | None = None) -> Verdict:
        """The verdict on a text."""
        return self.screen(Content(text=text, context=context or Context()))

    def screen_signals(
        self, fingerprints: Sequence[Fingerprint], *, context: Context | None = None
    ) -> Verdict:
        """The verdict on content that only its fingerprints are known of.

        Derivatives of protected photos are not looked for: that needs the picture. Raises
        `InvalidSignal` for a local fingerprint.
        """
        for fingerprint in fingerprints:
            admissible(replace(fingerprint, quality=None))
        content = Content(data=b"", context=context or Context())
        return self.judge([(content, Examination(fingerprints=tuple(fingerprints)))])[0]

    def screen_many(
        self, sources: Iterable[bytes | str | Path | Content], *, also: Also | None = None
    ) -> Iterator[Verdict]:
        """Verdicts on many pieces of content, on every core, in the order in which they finish.

        `Verdict.name` tells which is which. Each verdict has been recorded when it is yielded,
        together with the rows that `also` gives for it and its neighbours.
        """
        contents = (item if isinstance(item, Content) else Content.of(item) for item in sources)
        batch: list[tuple[Content, Examination]] = []
        examined = self.sandbox.examine_many(contents, _source, self.wanted)
        with ThreadPoolExecutor(1, thread_name_prefix="tutela-judge") as judge:
            # One batch is judged while the next is decoded.
            judged: Future[list[Verdict]] | None = None
            for content, examination in examined:
                batch.append((content, examination))
                if len(batch) == BATCH or sum(done.nbytes for _, done in batch) > HELD:
                    before, judged = judged, judge.submit(self.judge, batch, also)
                    batch = []
                    if before is not None:
                        yield from before.result()
            if judged is not None:
                yield from judged.result()
            yield from self.judge(batch, also)

    def examine(self, content: Content) -> Examination:
        """Decode and fingerprint content in the sandbox, and make what detectors will look at."""
        if content.text is not None:
            return examine_text(content.text, signals.load())
        return self.sandbox.examine(_source(content), self.wanted(content))

    def wanted(self, content: Content) -> Wanted:
        """What to make of content at once, besides the usual."""
        return Wanted(self.matcher.wanted(), sights=self._sights(content.context))

    def protect(
        self,
        photo: bytes | str | Path,
        *,
        bank: str,
        case: str = "",
        note: str = "",
        expires_at: datetime | None = None,
    ) -> Protected:
        """Take an innocent photo under protection: its manipulated derivatives are found from now.

        Only its sealed local fingerprint is kept. The bank is made, of tier `reported`, if it isn't
        there. Raises `Rejected` for a file that can't be examined, `NotProtected` for one that
        can't be protected, and `ConfigurationError` for a secret that is lost.
        """
        source = photo if isinstance(photo, bytes) else Path(photo)
        examination = self.sandbox.examine(source, Wanted(frozenset([signals.LOCAL])))
        if examination.rejected is not None:
            raise examination.rejected
        made = examination.fingerprints
        (matched,) = self.matcher.match([made])
        harmless = any(finding.tier == Tier.BENIGN for finding in matched) or bool(
            canaries.check(self.store, (one for one in made if one.signal != signals.LOCAL))
        )
        return self.protection.add(
            bank, made, case=case, note=note, expires_at=expires_at, harmless=harmless
        )

    def judge(
        self, examined: Sequence[tuple[Content, Examination]], also: Also | None = None
    ) -> list[Verdict]:
        """Match, decide and record; returns once all is committed, with the rows of `also`."""
        started = time.perf_counter()
        matched = self.matcher.match([examination.fingerprints for _, examination in examined])
        spent = (time.perf_counter() - started) * 1e3 / max(1, len(examined))
        started = time.perf_counter()
        cascades = self._look(examined, matched)
        timings = {
            "match": spent,
            "detect": (time.perf_counter() - started) * 1e3 / max(1, len(examined)),
        }
        verdicts = [
            self._verdict(content, examination, looked, timings)
            for (content, examination), looked in zip(examined, cascades, strict=True)
        ]
        rows = [row_of(verdict) for verdict in verdicts]
        rows += self.protection.sightings(list(_seen(verdicts)))
        if also is not None:
            contents = (content for content, _ in examined)
            rows += also(list(zip(contents, verdicts, strict=True)))
        if rows:
            self.recorder.record(rows)
        return verdicts

    def explain(self, source: bytes | str | Path | Content) -> Explanation:
        """Why content would get its verdict, rule by rule. Records nothing."""
        content = source if isinstance(source, Content) else Content.of(source)
        examination = self.examine(content)
        (matched,) = self.matcher.match([examination.fingerprints])
        (looked,) = self._look([(content, examination)], [matched])
        return self.policy.explain(looked.findings, content.context, examination.media)

    def outline(self, content: Content, finding: Finding) -> Image.Image:
        """A small grey picture of content with what a finding of its verdict says drawn over it.

        Of a derivative what survives of the protected photo, of `forensics` where the picture has
        another past. Raises `Rejected` for content that can't be decoded.
        """
        wanted = Wanted(sights=frozenset({Sight.VIEWS}))
        examination = self.sandbox.examine(_source(content), wanted, usual=False)
        if examination.rejected is not None:
            raise examination.rejected
        by_part = {view.part: view for view in examination.views}
        # What is said of the whole is drawn on the first that is shown of it.
        view = by_part.get(finding.part, examination.views[0])
        return heat.draw(view, finding) if finding.heat else outline.draw(view, finding)

    def warm(self, *, films: bool = False, texts: bool = False) -> None:
        """Start every worker, load every kernel and model now, so that no upload waits for it.

        The workers for films, and the words of every language, too if asked; else they come with
        the first film and the first text.
        """
        self.sandbox.warm(films=films)
        contents = [Content(data=trigger.picture())]
        if texts:
            contents.append(Content(text="a blue teapot"))
        examined = [(content, self.examine(content)) for content in contents]
        self._look(examined, self.matcher.match([done.fingerprints for _, done in examined]))

    def close(self) -> None:
        """Stop the workers and close the store."""
        self._threads.shutdown()
        self.sandbox.close()
        self.recorder.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _matcher(self) -> Matcher:
        if self.protection.any():
            # Found out now, and not by every upload.
            self.keyring.get()
        derivatives = Derivatives(self.store, self.keyring, self.protection)
        return Matcher(self.store, self.settings.data / "index", signals.load(), derivatives)

    def _verdict(
        self,
        content: Content,
        examination: Examination,
        looked: Cascade,
        timings: Mapping[str, float],
    ) -> Verdict:
        started = time.perf_counter()
        decision = self.policy.decide(looked.findings, content.context, examination.media)
        policy_ms = (time.perf_counter() - started) * 1e3
        return Verdict(
            id=new_id(),
            created_at=now(),
            decision=decision,
            findings=looked.findings,
            # What derivatives are found by is never recorded nor shown.
            fingerprints=tuple(
                made for made in examination.fingerprints if made.signal != signals.LOCAL
            ),
            media=examination.media,
            context=content.context,
            rejected=examination.rejected,
            timings={**examination.timings, **timings, "policy": policy_ms},
            not_run=looked.left_out,
            name=content.name,
        )

    def _look(
        self,
        examined: Sequence[tuple[Content, Examination]],
        matched: Sequence[Sequence[Finding]],
    ) -> list[Cascade]:
        """Show each piece of content to the detectors, as far as they can change its action."""
        cascades = [
            Cascade(
                self.policy,
                self.panel.known(content, examination, found),
                content.context,
                examination.media,
                self.panel.able(content),
                Mode(self.settings.evidence),
            )
            for (content, examination), found in zip(examined, matched, strict=True)
        ]
        looks = {
            looked: self.panel.look(
                self.sandbox, content, examination, self._sights(content.context)
            )
            for (content, examination), looked in zip(examined, cascades, strict=True)
        }

        def look(detector: Detector, group: Sequence[Cascade]) -> list[list[Finding]]:
            # In threads: what they ask of one model is answered together.
            run = map if len(group) == 1 else self._threads.map
            return list(run(lambda looked: looks[looked](detector, looked.findings), group))

        cascade.run(cascades, look)
        return cascades

    def _sights(self, context: Context) -> frozenset[Sight]:
        """What detectors will most likely look at, whatever the content is."""
        if self.settings.evidence == "full":
            return self.panel.sights(self.panel.kinds)
        tags = tuple(sorted(context.tags.items()))
        fields = (context.surface, context.account, context.jurisdiction, context.locale, tags)
        sights = self._likely.get((self.policy, fields))
        if sights is None:
            every = self.panel.kinds | {MATCH, DERIVATIVE}
            sights = self.panel.sights(self.policy.open_kinds((), context, None, every))
            if len(self._likely) >= CONTEXTS:
                self._likely.clear()
            self._likely[self.policy, fields] = sights
        return sights


def _seen(verdicts: Sequence[Verdict]) -> Iterator[tuple[int, str, bool]]:
    """Who showed which protected photo, and whether with nudity."""
    for verdict in verdicts:
        nudity = shows_nudity(verdict.findings)
        for finding in verdict.findings:
            if finding.kind != DERIVATIVE or finding.entry is None:
                continue
            if finding.tier != Tier.BENIGN and finding.review != Review.KEPT:
                yield finding.entry, verdict.context.account, nudity


def _source(content: Content) -> bytes | Path:
    if content.path is not None:
        return content.path
    return content.data if content.data is not None else (content.text or "").encode()
