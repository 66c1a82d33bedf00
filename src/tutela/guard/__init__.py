"""Guardrails for generative models: requests are judged before the model is called, and what it
makes is judged and marked before it leaves.

import tutela.guard

gate = tutela.guard.open("tutela-data")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tutela.guard.gate import Gate


def open(data: str | Path = "tutela-data", **settings: Any) -> Gate:
    """A gate on a data folder, which is made if it isn't there.

    `settings` override `tutela.toml` and the environment; see `tutela.settings.Settings`.
    Raises `ConfigurationError`, `PolicyError` or `StoreError`.
    """
    from tutela.guard.gate import Gate
    from tutela.settings import load

    return Gate(load(data, **settings))
