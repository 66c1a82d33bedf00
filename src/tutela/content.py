"""Content: what came in, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tutela.policy.decision import Context

__all__ = ["Content", "Context"]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, a file or a text, with its context. Exactly one of the three is given."""

    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    text: str | None = field(default=None, repr=False)
    context: Context = field(default_factory=Context)
    name: str = ""
    """What the caller calls it, for the caller's own eyes; never stored."""

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.data, self.path, self.text)) != 1:
            raise ValueError("give exactly one of data, path and text")

    @classmethod
    def of(cls, source: bytes | str | Path, context: Context | None = None) -> Content:
        """Bytes as they are; anything else names a file."""
        if isinstance(source, bytes | bytearray | memoryview):
            return cls(data=bytes(source), context=context or Context())
        path = Path(source)
        return cls(path=path, context=context or Context(), name=str(path))
