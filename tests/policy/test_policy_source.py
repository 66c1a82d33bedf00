"""Places in TOML: every key and character is found where it stands, however it is written."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.errors import PolicyError
from tutela.policy.source import Source

TRICKY = """\
# [[rule]] in a comment
title = "[[rule]]\\n # not a comment"   # "quoted" in a comment
[policy]
name = 'a # b'
numbers = [ 1, 2, # [[rule]]
  [3, "]"], { x = "}", 'y' = 1 } ]
when = 1979-05-27 07:32:00

[[rule]]
id = "first"
when = '''
[[rule]]
id = "not a key"
\\'''
"quoted key" . 'dotted' = true

[[ "rule" ]] # with blanks and quotes
  [rule.nested]
  deep = 0x1F
[[rule.many]]
a = 1
[[rule.many]]
a = 2

[[rule]]
id = \"\"\"two "quotes" then three:\"\"\"\"\"
when = ''''quoted' at the ends'''''
last = [ "one",
  "two" ]
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("title",), 2, 1),
        (("policy",), 3, 1),
        (("policy", "name"), 4, 1),
        (("policy", "numbers", 2, 1), 6, 7),
        (("policy", "numbers", 3, "y"), 6, 24),
        (("policy", "when"), 7, 1),
        (("rule", 0), 9, 1),
        (("rule", 0, "id"), 10, 1),
        (("rule", 0, "when"), 11, 1),
        (("rule", 0, "quoted key", "dotted"), 15, 1),
        (("rule", 1), 17, 1),
        (("rule", 1, "nested", "deep"), 19, 3),
        (("rule", 1, "many", 1, "a"), 23, 1),
        (("rule", 2), 25, 1),
        (("rule", 2, "when"), 27, 1),
        (("rule", 2, "last", 1), 29, 3),
        (("rule", 2, "absent"), 25, 1),
        (("nowhere",), 1, 1),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_finds_keys(path: tuple[str | int, ...], line: int, column: int, newline: str) -> None:
    place = Source(TRICKY.replace("\n", newline), "tricky").place(*path)
    assert (place.line, place.column) == (line, column)


@pytest.mark.parametrize(
    ("written", "value", "index", "line", "column"),
    [
        ('k = "ab"', "ab", 1, 1, 7),
        ("k = '''\nab\ncd'''", "ab\ncd", 3, 3, 1),
        ('k = """\n\nab"""', "\nab", 1, 3, 1),
        ('k = """ab\\\n   \n  cd"""', "abcd", 2, 3, 3),
        (r'k = "\u00e9\tx"', "é\tx", 2, 1, 14),
        (r'k = "\U0001F98A\\x"', "\U0001f98a\\x", 2, 1, 18),
        ('k = """a""b"""', 'a""b', 3, 1, 11),
        ("k = 'ab'", "ab", 99, 1, 8),
        ("k = ''", "", 0, 1, 6),
    ],
)
def test_finds_characters(written: str, value: str, index: int, line: int, column: int) -> None:
    source = Source(written, "strings")
    assert source.values["k"] == value
    place = source.within(("k",), index)
    assert (place.line, place.column) == (line, column)


def _quoted(text: str, style: str) -> str:
    """The text as TOML, in one of the four ways to write a string where that is possible."""
    if style in ("'", "'''"):
        plain = all(char in "\t\n" or char >= " " for char in text) and "\x7f" not in text
        if plain and "'" not in text and (style == "'''" or "\n" not in text):
            return f"'''\n{text}'''" if style == "'''" else f"'{text}'"
        style = '"'
    escaped = "".join(
        char if char.isalnum() and char.isascii() else f"\\U{ord(char):08X}" for char in text
    )
    return f'"""\\\n  {escaped}"""' if style == '"""' else f'"{escaped}"'


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12),
            st.sampled_from(["'", "'''", '"', '"""']),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_character_has_a_place(strings: list[tuple[str, str]]) -> None:
    text = "".join(
        f"[[rule]]\nother = [1, {{ a = {_quoted(value, style)} }}]\nid = {_quoted(value, style)}\n"
        for value, style in strings
    )
    source = Source(text, "generated")
    lines = text.split("\n")
    for n, (value, _) in enumerate(strings):
        assert tomllib.loads(text)["rule"][n]["id"] == value
        for index, char in enumerate(value):
            place = source.within(("rule", n, "id"), index)
            written = lines[place.line - 1][place.column - 1 :] + "\n"
            assert written.startswith((char, f"\\U{ord(char):08X}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = [\n", 3), ("a = 1\na = 2\n", 2), ("\n\n= 3", 3), ('a = "x', 1)],
)
def test_bad_toml_names_its_line(text: str, line: int) -> None:
    with pytest.raises(PolicyError) as caught:
        Source(text, "bad.toml")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"bad.toml:{line}: not TOML: ")
    assert "(at " not in caught.value.message
