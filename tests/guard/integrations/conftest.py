"""Leaves out the tests of what is not installed, and says so."""

from __future__ import annotations

from importlib.util import find_spec

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
