"""Detectors look at content and return findings; they never act. Each is a plug-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from tutela.errors import ConfigurationError
from tutela.findings import FAILURE, Finding
from tutela.media.types import Media
from tutela.signals import Fingerprint

__all__ = ["Detector", "Subject", "examine", "installed"]

GROUP = "tutela.detectors"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a detector may look at."""

    text: str | None = None
    """The content, if it is text."""
    media: Media | None = None
    """The content's decoded form, if it is a picture that could be decoded."""
    fingerprints: Sequence[Fingerprint] = ()


class Detector(Protocol):
    """Looks for one thing. Registered as an entry point in the group `tutela.detectors`.

    On a file it runs in the sandbox beside the decoder: it may use the pixels, but not the network,
    the store or the policy. A text it sees in the process that screens.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

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


def examine(subject: Subject) -> list[Finding]:
    """What every detector finds. One that fails is itself a finding, which holds the content."""
    findings: list[Finding] = []
    for detector in installed().values():
        try:
            findings += detector.examine(subject)
        except Exception as error:  # a plug-in may raise anything
            # The message may quote the content: the type alone is safe to keep.
            findings.append(
                Finding(FAILURE, detector.name, detector.version, detail=type(error).__name__)
            )
    return findings
