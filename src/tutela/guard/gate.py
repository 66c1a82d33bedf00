"""Gate: what is asked of a generative model, and what the model answers, judged before it passes.

A request is judged as one: its texts, every picture that goes in, the mask, and what is to be done.
Each part is examined as any content is; then what none of them says alone is asked of all of them
together (`tutela.guard.edit`), and the policy for guarding decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from tutela import cascade
from tutela.cascade import Cascade, Mode
from tutela.content import Content, Context
from tutela.detectors import Sight
from tutela.examine import Examination
from tutela.findings import EDIT, MATCH, Finding
from tutela.guard.edit import MASK, Together, plain
from tutela.media.types import MediaFacts
from tutela.policy.engine import shipped
from tutela.screening import Screener
from tutela.settings import Settings
from tutela.signals import LOCAL
from tutela.store import new_id, now
from tutela.store.verdicts import row_of
from tutela.verdict import Verdict

NOT_ASKED: Final = ("forensics", "provenance", "synthetic", "voice")
"""Detectors of how content was made: that has no bearing on what may be asked for."""
PROMPT: Final = "prompt"
SIGHTS: Final = frozenset({Sight.VIEWS})


class Operation(StrEnum):
    """What a model is asked to do."""

    GENERATE = "generate"
    EDIT = "edit"
    VARIATION = "variation"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a model. Everything that the model would see is in it."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    """The prompt and every further text, in the order in which the model reads them."""
    unwanted: str = field(default="", repr=False)
    """The negative prompt: what is not to be shown."""
    images: tuple[bytes, ...] = field(default=(), repr=False)
    """Every picture that goes in, encoded."""
    mask: bytes | None = field(default=None, repr=False)
    """Where to repaint, an encoded picture: where it is transparent; white, if it is opaque."""
    operation: Operation = Operation.GENERATE
    context: Context = field(default_factory=Context)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a request, examined. Its findings carry its name as their `part`."""

    name: str
    """`prompt`, `image 1`, `image 2` …, `mask`."""
    content: Content
    examination: Examination
    findings: tuple[Finding, ...]


class Gate:
    """Judges requests and answers by the policy for guarding.

    One a process; safe to share between threads. Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings) -> None:
        without = tuple(dict.fromkeys((*settings.without, *NOT_ASKED)))
        policy = settings.guard_policy or shipped("guard")
        self.settings = settings.model_copy(update={"without": without, "policy": policy})
        self.screener = Screener(self.settings)
        self._together = Together(self.settings.models_path)
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="tutela-gate")

    def request(self, request: Request) -> Verdict:
        """The verdict on a request, recorded durably. Only `allow` may reach the model."""
        verdict, recorded = self.submit(request)
        recorded.result()
        return verdict

    def submit(self, request: Request) -> tuple[Verdict, Future[None]]:
        """The verdict on a request, and what is done once it is recorded.

        Whatever comes of the request may leave only then. The future raises `StoreError`.
        """
        verdict = self.judge(request)
        return verdict, self.screener.recorder.submit([row_of(verdict)])

    def output(self, image: bytes, context: Context | None = None) -> Verdict:
        """The verdict on a picture that the model made, recorded durably."""
        return self.screener.screen(Content(data=image, context=context or Context()))

    def judge(self, request: Request) -> Verdict:
        """The verdict on a request, not recorded."""
        contents = _contents(request)
        # One after the other where there is one, side by side where there are several pictures.
        pictures = len(request.images) + (request.mask is not None)
        spread = self._threads.map if pictures > 1 else map
        examined = list(spread(self._examine, contents))
        matched = self.screener.matcher.match([done.fingerprints for done in examined])
        rows = list(zip(contents, examined, matched, strict=True))
        more = frozenset({EDIT, MATCH}) | self.screener.panel.kinds
        later = more if len(rows) > 1 else frozenset[str]()
        texts = [self._look(row, Mode.NEEDED, later) for row in rows if row[0].text is not None]
        shown = [row for row in rows if row[0].text is None]
        return self._verdict(request, [*texts, *spread(self._look, shown)])

    def warm(self) -> None:
        """Start every worker, load every kernel and model now."""
        self.screener.warm(texts=True)

    def close(self) -> None:
        """Stop the workers and close the store."""
        self._threads.shutdown()
        self.screener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _examine(self, content: Content) -> Examination:
        if content.text is not None:
            return self.screener.examine(content)
        wanted = replace(self.screener.wanted(content), sights=SIGHTS)
        return self.screener.sandbox.examine(content.data or b"", wanted)

    def _look(
        self,
        row: tuple[Content, Examination, Sequence[Finding]],
        mode: Mode = Mode.FULL,
        later: frozenset[str] = frozenset(),
    ) -> Part:
        """Show one part, with what it matches, to the detectors."""
        content, examination, matched = row
        panel = self.screener.panel
        looked = Cascade(
            self.screener.policy,
            panel.known(content, examination, matched),
            content.context,
            examination.media,
            () if content.name == MASK and plain(examination.views) else panel.able(content),
            mode,
            later,
        )
        look = panel.look(self.screener.sandbox, content, examination, SIGHTS)
        cascade.run(
            [looked], lambda detector, group: [look(detector, one.findings) for one in group]
        )
        found = tuple(
            replace(one, part=f"{content.name}, {one.part}" if one.part else content.name)
            for one in looked.findings
        )
        return Part(content.name, content, examination, found)

    def _verdict(self, request: Request, parts: Sequence[Part]) -> Verdict:
        findings = [finding for part in parts for finding in part.findings]
        findings += self._together(parts)
        size = sum(part.examination.media.size for part in parts)
        media = MediaFacts("request", size=size)
        rejected = (part.examination.rejected for part in parts)
        return Verdict(
            id=new_id(),
            created_at=now(),
            decision=self.screener.policy.decide(findings, request.context, media),
            findings=tuple(findings),
            fingerprints=tuple(
                replace(made, part=part.name)
                for part in parts
                for made in part.examination.fingerprints
                if made.signal != LOCAL
            ),
            media=media,
            context=request.context,
            rejected=next((error for error in rejected if error is not None), None),
        )


def _contents(request: Request) -> list[Content]:
    """The parts of a request, each by its name."""
    made: list[Content] = []
    if request.texts or request.unwanted:
        text = "\n".join(request.texts)
        made.append(
            Content(text=text, unwanted=request.unwanted, context=request.context, name=PROMPT)
        )
    for number, image in enumerate(request.images, 1):
        made.append(Content(data=image, context=request.context, name=f"image {number}"))
    if request.mask is not None:
        made.append(Content(data=request.mask, context=request.context, name=MASK))
    return made
