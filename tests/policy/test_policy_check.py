"""`check`: every mistake in a policy file is found, with its line, before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tutela.errors import PolicyError
from tutela.findings import Finding
from tutela.policy import Context, Policy, check
from tutela.policy.checks import check_text
from tutela.policy.engine import read_text, shipped
from tutela.policy.expressions import SCHEMA

HEAD = '[policy]\nname = "test"\ndefault = "allow"\n'
HOLDS = """
[[rule]]
id = "not-examined"
when = 'findings.exists(f, f.kind in ["unexamined", "failure"])'
action = "hold"
"""

BAD: dict[str, str] = {
    "empty": "",
    "tables": '[policy]\nname = "Not Good"\ndefault = "block"\ncolour = 1\n[rules]\nx = 1\n',
    "shape": 'policy = 3\nrule = "x"\n[suppress]\nid = "x"\n',
    "fields": HEAD
    + '[[rule]]\nid = "a"\n[[rule]]\nid = 3\nwhen = true\naction = "ban"\n'
    + '[[rule]]\nid = "c"\nwhen = "true"\naction = "hold"\ncategory = "nope"\nreason = " "\n',
    "duplicates": HEAD
    + '[[rule]]\nid = "a"\nwhen = "true"\naction = "hold"\n'
    + '[[rule]]\nid = "a"\nwhen = "true"\naction = "hold"\n'
    + '[[suppress]]\nid = "a"\nwhen = "true"\n',
    "field-name": HEAD
    + '[[rule]]\nid = "a"\nwhen = \'findings.exists(f, f.teir == "confirmed")\'\n'
    'action = "block"\n',
    "types": HEAD
    + "[[rule]]\nid = \"a\"\nwhen = '''\nfindings.exists(f,\n"
    + "  f.distance < \"3\"\n  || f.tier == 4\n  || context.jurisdiction > 2.0)'''\n"
    + 'action = "hold"\n',
    "not-bool": HEAD + '[[rule]]\nid = "a"\nwhen = "findings.size()"\naction = "hold"\n',
    "escapes": HEAD
    + '[[rule]]\nid = "a"\nwhen = """\\\n   context.surface == "\\u0061" \\\n'
    + '   && contxt.surface == "b" """\naction = "hold"\n',
    "unfinished": HEAD + '[[rule]]\nid = "a"\nwhen = "true && "\naction = "hold"\n',
    "suppress": HEAD + '[[suppress]]\nid = "s"\nwhen = "findings.size() > 0"\naction = "hold"\n',
    "reported-blocks": HEAD
    + HOLDS
    + '[[rule]]\nid = "a"\nwhen = \'findings.exists(f, f.tier == "reported")\'\naction = "block"\n',
    "reported-blocks-hidden": HEAD
    + HOLDS
    + '[[rule]]\nid = "a"\nwhen = \'\'\'findings.exists(f, f.bank == "friends" && f.distance > 7)\n'
    + '  && context.surface == "avatar" && context.tags["new"] == "yes"\'\'\'\naction = "block"\n',
    "counting": HEAD
    + HOLDS
    + '[[rule]]\nid = "a"\nwhen = "findings.size() >= 3"\naction = "block"\n',
    "film-blocks": HEAD
    + HOLDS
    + "[[rule]]\nid = \"a\"\nwhen = 'findings.exists(f, f.query_share >= 0.5 && f.end > 60.0)'\n"
    + 'action = "block"\n',
    "unexamined-allowed": HEAD
    + '[[rule]]\nid = "a"\nwhen = \'findings.exists(f, f.kind == "unexamined")\'\n'
    + 'action = "allow"\n',
    "fails": HEAD
    + HOLDS
    + '[[rule]]\nid = "a"\nwhen = \'context.tags["trusted"] == "yes"\'\naction = "hold"\n'
    + '[[rule]]\nid = "b"\nwhen = \'context.surface.matches("[")\'\naction = "hold"\n',
}


@pytest.mark.parametrize("name", BAD)
def test_problems(name: str, golden: Callable[[str, str], None]) -> None:
    problems = check_text(BAD[name], "policy.toml")
    assert problems
    assert problems == sorted(problems)
    golden(f"check-{name}.txt", "".join(p.render("policy.toml") + "\n" for p in problems))


@pytest.mark.parametrize("name", BAD)
def test_loading_fails_at_the_first_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(BAD[name], "utf-8")
    problems = check(path)
    if all(problem.level == "warning" for problem in problems):
        Policy.load(path)
        return
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert caught.value.line == problems[0].line
    assert problems[0].message in caught.value.message


def test_a_file_that_is_no_toml() -> None:
    """Python's own wording differs between versions, so this is no golden."""
    (problem,) = check_text("[policy]\nname = \n", "policy.toml")
    assert problem.render("policy.toml").startswith("policy.toml:2:1: error: not TOML: ")


SHIPPED = {
    "default": {"nudity", "cloned-voice", "unread-language"},
    "guard": {"asks-sexual"},
}
"""The policies that Tutela ships, and the rules that each offers in comments."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_have_no_problem(name: str) -> None:
    assert check(shipped(name)) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_shipped_policies_offer_is_clean(name: str) -> None:
    """Their rules that are commented out, once they are not."""
    text = read_text(shipped(name))
    offered = re.sub(r"^# (\[\[rule\]\]|\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert check_text(offered) == []
    assert set(Policy.parse(offered).rules) - set(Policy.parse(text).rules) == SHIPPED[name]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="can't be read"):
        check(tmp_path / "absent.toml")
    with pytest.raises(PolicyError, match="can't be read"):
        Policy.load(tmp_path)
    (tmp_path / "latin").write_bytes(b'name = "\xe9"')
    with pytest.raises(PolicyError, match="UTF-8"):
        Policy.load(tmp_path / "latin")


def test_every_field_of_a_finding_can_be_read() -> None:
    """A field added to Finding but not to the conditions' schema would be invisible to rules."""
    assert {*Finding.__slots__, "severity"} == set(SCHEMA["Finding"])
    assert set(Context.__slots__) == set(SCHEMA["Context"])
    tests = {
        "string": '== ""',
        "int": "== 0",
        "int?": "== 0",
        "double": "== 0.0",
        "double?": "== 0.0",
        "bool": "== true",
    }
    for name, schema in SCHEMA.items():
        if name == "Finding":
            continue
        conditions = [f"{name.lower()}.{f} {tests[t]}" for f, t in schema.items() if t != "map"]
        text = "".join(
            f'[[rule]]\nid = "r{n}"\nwhen = \'{condition}\'\naction = "hold"\n'
            for n, condition in enumerate(conditions)
        )
        assert check_text(HEAD + HOLDS + text) == []


def test_importing_the_words_loads_no_cel() -> None:
    code = (
        "import sys, tutela.policy, tutela.findings\n"
        "assert not [m for m in sys.modules if m.startswith(('cel_expr', 'google.protobuf'))]\n"
        "tutela.policy.Policy.load()\n"
        "assert [m for m in sys.modules if m.startswith('cel_expr')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
