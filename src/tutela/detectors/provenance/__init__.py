"""Provenance: what a file says of its own making, and how far that may be believed.

C2PA manifests, IPTC's digital source type, what generators write beside the picture, what common
pipelines hide in it, and Tutela's own watermark. Each source of evidence is a finding of its own
with `claim`, `state` and `signer`. Every mark can be taken off a file and most can be written by
anyone: one that is absent says nothing, and none ever argues that content is authentic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tutela.detectors import Options, Sight, Subject
from tutela.detectors.provenance import generators, metadata, own, watermarks
from tutela.detectors.provenance.evidence import INVALID, MAX_DETAIL, Evidence
from tutela.detectors.provenance.manifests import Manifests
from tutela.errors import ConfigurationError
from tutela.findings import PROVENANCE as KIND
from tutela.findings import Finding
from tutela.guard import watermark
from tutela.media.types import Media, MediaFacts

__all__ = ["PROVENANCE", "Provenance"]

MAX_FINDINGS: Final = 8


class Provenance:
    """Reads what a file says of its own making. Works on bytes alone, in the sandbox."""

    name: str = "provenance"
    version: str = "2"
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.BYTES})
    cost: float = 8.0

    def __init__(self) -> None:
        self._manifests: Manifests | None = None
        self._keys = watermark.keys(None)

    def prepare(self, options: Options) -> None:
        """Load the C2PA library and its trust list. Raises `ConfigurationError`."""
        self._manifests = Manifests(options.trust)
        self._keys = watermark.keys(options.watermark_key)

    def applies(self, facts: MediaFacts) -> bool:
        """Every file may have metadata, also one that can't be decoded."""
        return facts.format != "text"

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """A finding for each source of evidence; none where the file says nothing."""
        if subject.data is None:
            return ()
        found = self.evidence(subject.data, subject.media)
        return [self._finding(evidence) for evidence in found[:MAX_FINDINGS]]

    def evidence(
        self, data: bytes, media: Media | None = None, *, thorough: bool = False
    ) -> list[Evidence]:
        """What the bytes of a file say, signed statements first. `prepare` comes before it.

        `media`: the same, decoded, if it is at hand. `thorough`: look into the pixels whatever is
        said beside them.
        """
        if self._manifests is None:
            raise ConfigurationError("the provenance detector was not prepared; call prepare first")
        gathered = metadata.gather(data)
        found: list[Evidence] = []
        if gathered.manifest:
            signed = self._manifests.read(data)
            # There is a mark of a manifest, but none where a reader looks for it.
            found.append(signed or Evidence("C2PA: remains of a manifest", state=INVALID))
        found += generators.read(gathered)
        if not thorough and any(evidence.weight for evidence in found):
            # What is hidden in the pixels would say no more.
            return found
        hidden, text = watermarks.look(data)
        if text:
            found += generators.read(generators.unpack(text))
        return found + hidden + own.look(data, media, self._keys)

    def _finding(self, evidence: Evidence) -> Finding:
        detail = evidence.detail if evidence.detail.isprintable() else ""
        return Finding(
            KIND,
            self.name,
            self.version,
            likelihood=evidence.weight,
            detail=detail[:MAX_DETAIL],
            claim=evidence.claim,
            state=evidence.state,
            signer=evidence.signer,
        )


PROVENANCE = Provenance()
