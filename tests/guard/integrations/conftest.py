"""Leaves out the tests of what is not installed, and says so."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

NEEDED = {
    "test_comfyui.py": ("torch",),
    "test_diffusers.py": ("diffusers", "torch", "transformers"),
    "test_gradio.py": ("gradio",),
    "test_litellm.py": ("litellm",),
}
missing = {
    file: [name for name in names if find_spec(name) is None] for file, names in NEEDED.items()
}
collect_ignore = [file for file, names in missing.items() if names]


def pytest_report_header() -> list[str]:
    return [f"left out: {file}, for want of {', '.join(missing[file])}" for file in collect_ignore]


@pytest.fixture(autouse=True, scope="module")
def tidy() -> Iterator[None]:
    """What these packages leave unclosed is collected here, not in somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
