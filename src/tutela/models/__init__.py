"""Models: what is known of them, their files, and running them.

`find` gives a model's card, `load` the model, ready to run and shared by the whole process:

    model = models.load("open_nsfw")
    likelihoods = model.run(rows)

A model that is not ONNX is loaded with code of its own, which gets the verified bytes:

    model = models.load("aasist", folder, make=my_backend)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from tutela.errors import ConfigurationError
from tutela.models.files import State, place, pull, read, state, verify
from tutela.models.registry import Card, Measured, cards, find
from tutela.models.runtime import MAX_BATCH, Backend, Model, onnx

__all__ = [
    "Backend",
    "Card",
    "Measured",
    "Model",
    "State",
    "cards",
    "close",
    "find",
    "load",
    "place",
    "pull",
    "read",
    "state",
    "verify",
]

Make = Callable[[bytes], Backend]
"""Makes a backend of a model's file."""

_lock = threading.Lock()
_loaded: dict[tuple[Path, str, Make | None], Model] = {}


def load(
    model: str | Card,
    folder: Path | None = None,
    *,
    make: Make | None = None,
    max_batch: int = MAX_BATCH,
) -> Model:
    """The model, ready to run: the same for every caller in this process.

    `folder` is the folder of models that were pulled. `make`, a function of a module, makes the
    backend of a model that is not ONNX. `max_batch` counts for whoever loads it first. Raises
    `ModelMissing`, `ModelDamaged` or another `ConfigurationError`.
    """
    card = find(model) if isinstance(model, str) else model
    key = (place(card, folder), card.sha256, make)
    with _lock:
        if key not in _loaded:
            if make is None and card.form != "onnx":
                raise ConfigurationError(
                    f"the model {card.name} is of the form {card.form}; say what makes it run"
                )
            data = read(card, folder)
            if make is not None:
                backend = make(data)
            else:
                backend, rows = onnx(data)
                max_batch = rows or max_batch
            _loaded[key] = Model(card.name, backend, max_batch=max_batch)
        return _loaded[key]


def close() -> None:
    """Close every model that was loaded; a later `load` loads anew."""
    with _lock:
        loaded = list(_loaded.values())
        _loaded.clear()
    for model in loaded:
        model.close()


def _forked() -> None:
    """A child has none of its parent's threads: it loads its own models."""
    global _lock
    _lock = threading.Lock()
    _loaded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
