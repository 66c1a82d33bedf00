"""The examples, and what the documentation shows of them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def load(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{Path(name).stem}", ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(page: str) -> dict[str, str]:
    """The files that a page of the documentation prints, by their name."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return dict(
        re.findall(r"^```console\n\$ cat (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )


def as_they_run(page: str) -> bool:
    """Whether the page prints files, each as it stands."""
    files = shown(page)
    for name, body in files.items():
        assert (ROOT / name).read_text("utf-8") == body, name
    return bool(files)
