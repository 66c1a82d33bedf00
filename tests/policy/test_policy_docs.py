"""Every example in docs/policy.md works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from tutela.policy.checks import check_text
from tutela.policy.expressions import SCHEMA

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
HEAD = """
[policy]
name = "docs"
default = "allow"

[[rule]]
id = "not-examined"
when = 'findings.exists(f, f.kind in ["unexamined", "failure"])'
action = "hold"
"""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_every_policy_is_clean() -> None:
    blocks = _blocks("toml")
    assert len(blocks) == 6
    for block in blocks:
        whole = block if "[policy]" in block else HEAD + block
        assert check_text(whole) == []


def test_every_program_runs() -> None:
    blocks = _blocks("python")
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/policy.md", "exec"), names)


def test_every_variable_and_field_is_documented() -> None:
    for name, schema in SCHEMA.items():
        row = "findings" if name == "Finding" else name.lower()
        documented = re.search(rf"^\| `{row}`[^|]*\|(.*)\|$", TEXT, re.MULTILINE)
        assert documented
        assert re.findall(r"`(\w+)`", documented[1]) == list(schema)
