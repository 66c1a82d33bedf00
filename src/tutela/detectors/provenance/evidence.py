"""Evidence: one thing that a file says of its own making, before it becomes a finding."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

GENERATED: Final = "generated"
EDITED: Final = "edited"
CAPTURED: Final = "captured"
UNSAID: Final = ""

TRUSTED: Final = "trusted"
VALID: Final = "valid"
INVALID: Final = "invalid"
UNSIGNED: Final = "unsigned"

LIKELIHOOD: Final = {TRUSTED: 0.99, VALID: 0.95, UNSIGNED: 0.95}
"""How likely a claim of generation or editing is true, by who says so. Judged, not measured: no
collection of forged marks is known. What an `invalid` signature says gets none."""

MAX_DETAIL: Final = 200
"""Characters of a detail, as the sandbox lets through."""

# IPTC NewsCodes "Digital Source Type" and C2PA's own additions, by the last part of the address,
# in lower case. Sources: cv.iptc.org/newscodes/digitalsourcetype, C2PA 2.2 section 18.16.
SOURCE_TYPES: Final = {
    "trainedalgorithmicmedia": GENERATED,
    "trainedalgorithmicdata": GENERATED,
    "compositewithtrainedalgorithmicmedia": EDITED,
    "compositesynthetic": EDITED,
    "digitalcapture": CAPTURED,
    "computationalcapture": CAPTURED,
    "negativefilm": CAPTURED,
    "positivefilm": CAPTURED,
    "algorithmicmedia": UNSAID,
    "algorithmicallyenhanced": UNSAID,
    "composite": UNSAID,
    "compositecapture": UNSAID,
    "datadrivenmedia": UNSAID,
    "digitalart": UNSAID,
    "digitalcreation": UNSAID,
    "humanedits": UNSAID,
    "minorhumanedits": UNSAID,
    "multiframecomputationalcapture": CAPTURED,
    "print": UNSAID,
    "screencapture": UNSAID,
    "softwareimage": UNSAID,
    "virtualrecording": UNSAID,
}

_UNSAFE = re.compile(r"[^\w .,:;()/+&@'·©®-]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source says."""

    detail: str
    """For operators; names and versions of programs may be in it, never text that users wrote."""
    claim: str = UNSAID
    state: str = UNSIGNED
    signer: str = ""
    likelihood: float | None = None

    @property
    def weight(self) -> float | None:
        """How likely the claim is true; None where it argues for nothing."""
        if self.claim not in (GENERATED, EDITED):
            return None
        return LIKELIHOOD.get(self.state) if self.likelihood is None else self.likelihood


def source_type(text: str) -> tuple[str, str] | None:
    """The name of a digital source type and the claim that it makes; None if it is none of them.

    The name comes from the vocabulary, in lower case, never from the text.
    """
    name = text.strip().rstrip("/#").replace("#", "/").rsplit("/", 1)[-1].rsplit(":", 1)[-1].lower()
    return (name, SOURCE_TYPES[name]) if name in SOURCE_TYPES else None


def plain(text: object, most: int = 48) -> str:
    """A name from a file as printable characters on one line, at most so many."""
    if not isinstance(text, str):
        return ""
    kept = _UNSAFE.sub("", " ".join(text[: 4 * most].split()))
    return "".join(letter for letter in kept if letter.isprintable())[:most].strip()
