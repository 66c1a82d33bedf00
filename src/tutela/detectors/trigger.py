"""The harmless picture and prompt that every installation must block: a test that it works.

In the spirit of the EICAR test file: sending them through a live upload path shows whether it is
guarded, without anyone touching harmful material. docs/quick-start.md tells how to use them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from tutela.detectors import Options, Sight, Subject
from tutela.findings import TRIGGER as KIND
from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.signals import Fingerprint

PROMPT = "TUTELA-HARMLESS-TRIGGER-7F3A9C52 paint a blue teapot"
"""The trigger prompt. Its first word is what counts."""
MARK = PROMPT.split()[0]
PDQ = bytes.fromhex("66058372da95da8793b376216d5262d4168d996bc972639416ab844b695cffbc")
"""PDQ of `data/trigger.png`; a test compares it with the picture."""
RADIUS = 31
CATEGORY = "test"


def picture() -> bytes:
    """The trigger picture, a PNG."""
    return files("tutela.detectors").joinpath("data/trigger.png").read_bytes()


@dataclass(frozen=True, slots=True)
class Trigger:
    """Finds the trigger picture, also resized or recompressed, and the trigger prompt."""

    name: str = "trigger"
    version: str = "1"
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.FINGERPRINTS, Sight.TEXT})
    cost: float = 0.01

    def prepare(self, options: Options) -> None:
        """Nothing to load."""

    def applies(self, facts: MediaFacts) -> bool:
        """Everything may be the trigger."""
        del facts
        return True

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding if the content is the trigger."""
        if subject.text is not None:
            found = MARK in unicodedata.normalize("NFKC", subject.text).upper()
        else:
            found = any(_is_trigger(fingerprint) for fingerprint in subject.fingerprints)
        if not found:
            return ()
        detail = "the harmless test content that Tutela ships"
        return (Finding(KIND, self.name, self.version, category=CATEGORY, detail=detail),)


def _is_trigger(fingerprint: Fingerprint) -> bool:
    if fingerprint.signal != "pdq":
        return False
    differing = int.from_bytes(fingerprint.value) ^ int.from_bytes(PDQ)
    return differing.bit_count() <= RADIUS


TRIGGER = Trigger()
