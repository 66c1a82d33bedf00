"""Edit: what a request would do to a person who is shown, by prompt, pictures and mask together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutela.findings import Finding

if TYPE_CHECKING:
    from tutela.guard.gate import Operation, Part


def judge(operation: Operation, parts: Sequence[Part]) -> list[Finding]:
    """The risk that carrying the request out sexualises a person who is shown."""
    del operation, parts
    return []
