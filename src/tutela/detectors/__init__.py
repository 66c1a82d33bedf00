"""Detectors look at content and return findings; they never act. Each is a plug-in.

What a detector looks at says where it runs: one that reads the bytes or every pixel runs in the
sandbox beside the decoder, one that asks a model runs in the screening process, on small pictures
and sound that the sandbox made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, Protocol

from tutela.errors import ConfigurationError
from tutela.findings import FAILURE, Finding
from tutela.media.types import Media, MediaFacts, Sound
from tutela.media.views import View
from tutela.signals import Fingerprint

__all__ = ["Detector", "Options", "Sight", "Subject", "examine", "in_sandbox", "installed"]

GROUP = "tutela.detectors"


class Sight(StrEnum):
    """What a detector looks at."""

    BYTES = "bytes"
    """The encoded content. In the sandbox."""
    MEDIA = "media"
    """The decoded content in full detail. In the sandbox."""
    FINGERPRINTS = "fingerprints"
    VIEWS = "views"
    """Colour pictures, `tutela.media.views.SIDE` pixels at most."""
    LARGE = "large"
    """The same, large enough to read print."""
    SOUND = "sound"
    TEXT = "text"
    FINDINGS = "findings"
    """What was found by others: it runs after every one of them that runs."""


SANDBOXED = frozenset({Sight.BYTES, Sight.MEDIA})


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """Where a second opinion on texts is had."""

    url: str
    """Base of an OpenAI-compatible API: `https://host/v1`."""
    model: str
    key_file: Path | None = None
    seconds: float = 5.0
    style: Literal["question", "llama-guard"] = "question"
    """How it is asked: with a question of ours, or as Llama Guard is."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may set for detectors."""

    models: Path | None = None
    """The folder of models that were pulled."""
    trust: str = ""
    """Certificates, PEM, whose C2PA signatures count as trusted."""
    judge: JudgeOptions | None = None
    watermark_key: Path | None = None
    """The file of a watermark's key to look for, beside the public one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a detector may look at; what it did not ask for may be missing."""

    text: str | None = None
    """The content, if it is text, or what was read in a picture."""
    unwanted: str = ""
    """Beside a text that asks for a picture: what is not to be in it."""
    data: bytes | None = None
    """The encoded content."""
    media: Media | None = None
    """The content's decoded form, if it could be decoded."""
    facts: MediaFacts = field(default_factory=MediaFacts)
    fingerprints: Sequence[Fingerprint] = ()
    views: Sequence[View] = ()
    sound: Sound | None = None
    findings: Sequence[Finding] = ()
    """What was found so far, matches among it."""


class Detector(Protocol):
    """Looks for one thing. Registered as an entry point in the group `tutela.detectors`.

    Where it looks at bytes or media it runs in a process that can open neither files nor the
    network once it has been prepared. Threads may share it.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind of finding that it may return: others count as a failure."""

    @property
    def looks_at(self) -> frozenset[Sight]: ...

    @property
    def cost(self) -> float:
        """Milliseconds that a photo of 2 megapixels takes it on one core: the cheap run first."""

    def prepare(self, options: Options) -> None:
        """Load what it needs; called once in each process, before content is seen.

        Raises `ConfigurationError` for what can't be had.
        """

    def applies(self, facts: MediaFacts) -> bool:
        """Whether content of this form has anything for it to look at."""

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """What was found; nothing if there is nothing to say."""


@cache
def installed() -> Mapping[str, Detector]:
    """Every detector plug-in that is installed, by name. Raises `ConfigurationError`."""
    found: dict[str, Detector] = {}
    for point in entry_points(group=GROUP):
        try:
            detector: Detector = point.load()
        except Exception as error:
            raise ConfigurationError(
                f"the detector plug-in {point.name} ({point.value}) does not load: {error}; "
                "reinstall or remove the package that brings it"
            ) from error
        found[detector.name] = detector
    return dict(sorted(found.items()))


def in_sandbox(detector: Detector) -> bool:
    """Whether it runs in the sandbox, and so on content that may be hostile."""
    return bool(detector.looks_at & SANDBOXED)


def examine(detector: Detector, subject: Subject) -> list[Finding]:
    """What one detector finds. One that fails is itself a finding, which holds the content."""
    try:
        found = list(detector.examine(subject))
        if any(finding.kind not in detector.kinds for finding in found):
            raise ValueError("a finding of a kind that it does not declare")
    except Exception as error:  # a plug-in may raise anything
        # The message may quote the content: the type alone is safe to keep.
        return [Finding(FAILURE, detector.name, detector.version, detail=type(error).__name__)]
    return found
