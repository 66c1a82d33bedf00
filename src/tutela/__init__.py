"""Tutela stops sexualised deepfakes of children before they circulate.

import tutela

with tutela.open("data/") as screener:
    verdict = screener.screen("photo.jpg")
    print(verdict.action, verdict.reasons)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tutela.content import Content, Context
    from tutela.errors import Rejected, TutelaError
    from tutela.findings import Finding
    from tutela.screening import Screener
    from tutela.verdict import Verdict

__version__ = "0.1.0"

__all__ = [
    "Content",
    "Context",
    "Finding",
    "Rejected",
    "Screener",
    "TutelaError",
    "Verdict",
    "open",
]

_HOMES = {
    "Content": "tutela.content",
    "Context": "tutela.content",
    "Finding": "tutela.findings",
    "Rejected": "tutela.errors",
    "Screener": "tutela.screening",
    "TutelaError": "tutela.errors",
    "Verdict": "tutela.verdict",
}


def open(data: str | Path = "tutela-data", **settings: Any) -> Screener:
    """A screener on a data folder, which is made if it isn't there.

    `settings` override `tutela.toml` and the environment; see `tutela.settings.Settings`.
    Raises `ConfigurationError`, `PolicyError` or `StoreError`.
    """
    from tutela.screening import Screener
    from tutela.settings import load

    return Screener(load(data, **settings))


def __getattr__(name: str) -> Any:
    # The parts load when they are used: `import tutela` and `tutela --help` stay quick.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tutela' has no attribute {name!r}")
