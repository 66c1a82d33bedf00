"""Content: what came in, with where it came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tutela.findings import Finding, from_caller
from tutela.policy.decision import Context

__all__ = ["Content", "Context"]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, a file or a text, with its context. Exactly one of the three is given."""

    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    text: str | None = field(default=None, repr=False)
    unwanted: str = field(default="", repr=False)
    """Beside a text that asks for a picture: what is not to be in it (a negative prompt)."""
    context: Context = field(default_factory=Context)
    findings: tuple[Finding, ...] = ()
    """What the caller's own detectors found, such as `findings.nudity(0.97)`. They can make the
    verdict stricter, never milder."""
    name: str = ""
    """What the caller calls it, for the caller's own eyes; never stored."""

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.data, self.path, self.text)) != 1:
            raise ValueError("give exactly one of data, path and text")
        object.__setattr__(self, "findings", from_caller(self.findings))

    @classmethod
    def of(
        cls,
        source: bytes | str | Path,
        context: Context | None = None,
        findings: Iterable[Finding] = (),
    ) -> Content:
        """Bytes as they are; anything else names a file."""
        given, found = context or Context(), tuple(findings)
        if isinstance(source, bytes | bytearray | memoryview):
            return cls(data=bytes(source), context=given, findings=found)
        path = Path(source)
        return cls(path=path, context=given, findings=found, name=str(path))
