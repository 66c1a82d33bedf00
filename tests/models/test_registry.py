"""Cards: those that are shipped are right, and one that is not is named."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutela import models
from tutela.errors import ConfigurationError, ModelMissing
from tutela.models import Card, Measured, registry

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
TEXT = files("tutela.models").joinpath("data/models.toml").read_text("utf-8")
GOOD: dict[str, Any] = tomllib.loads(TEXT)["model"][0]


def written(entry: dict[str, Any]) -> str:
    """An entry as TOML."""
    return "[[model]]\n" + "".join(f"{name} = {_value(it)}\n" for name, it in entry.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(it)}" for name, it in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    return str(value).lower()


def test_every_shipped_model_has_a_card() -> None:
    cards = models.cards()
    assert len(cards) == TEXT.count("\n[[model]]")
    for name, card in cards.items():
        assert models.find(name) is card
        assert card.kind == ("bundled" if card.distribution else "pulled")
        assert card.document()["sha256"] == card.sha256


def test_the_documentation_lists_them() -> None:
    """The table is written anew by `TUTELA_REWRITE_GOLDENS=1 pytest`."""
    text = DOCS.read_text("utf-8")
    table = "".join(
        f"| `{card.name}` | {card.task} | {card.kind} | {card.bytes / 1e6:.1f} MB "
        f"| {card.licence} |\n"
        for card in models.cards().values()
    )
    before, head, rest = text.partition(
        "| name | for | | size | licence |\n|---|---|---|---|---|\n"
    )
    if os.environ.get("TUTELA_REWRITE_GOLDENS") == "1":
        DOCS.write_text(before + head + table + "\n" + rest.partition("\n\n")[2], "utf-8")
    assert rest.startswith(table + "\n")


def test_the_documentation_describes_every_field() -> None:
    named = set(re.findall(r"`(\w+)`", DOCS.read_text("utf-8").partition("## Cards")[2]))
    assert {field.name for kind in (Card, Measured) for field in fields(kind)} <= named


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(ModelMissing, match="tutela models list"):
        models.find("none-such")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Open NSFW"),
        ("task", ""),
        ("task", 3),
        ("sha256", "864BB3"),
        ("bytes", 0),
        ("bytes", "many"),
        ("bytes", True),
        ("file", "../open-nsfw.onnx"),
        ("file", "/etc/passwd"),
        ("file", "a\\b"),
        ("url", "https://example.org/model.onnx"),
        ("limits", []),
        ("limits", "none"),
        ("measured", [{"by": "us"}]),
        ("measured", ["well"]),
        ("licence", None),
        ("licence", 1),
        ("speed", "fast"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    entry = {**GOOD, field: value}
    if value is None:
        del entry[field]
    with pytest.raises(ConfigurationError) as caught:
        registry.parse(written(entry))
    assert field in str(caught.value) or field == "url"
    assert str(entry["name"]) in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "https://user@example.org/a", "https:///a", "ftp://x.org/a"]
)
def test_a_url_that_is_not_fetched_from(url: str) -> None:
    entry = {**GOOD, "url": url, "file": "a.onnx"}
    del entry["distribution"]
    with pytest.raises(ConfigurationError, match="url must be an https URL"):
        registry.parse(written(entry))


@pytest.mark.parametrize("text", ["", "model = 3", "[[model", "[[model]]\nname='a'\n[other]\n"])
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(ConfigurationError):
        registry.parse(text)


def test_two_models_of_one_name_or_file() -> None:
    with pytest.raises(ConfigurationError, match="the name open_nsfw"):
        registry.parse(written(GOOD) + written(GOOD))
    with pytest.raises(ConfigurationError, match="the file opennsfw"):
        registry.parse(written(GOOD) + written({**GOOD, "name": "other"}))


_values = st.one_of(
    st.text(max_size=8), st.integers(), st.booleans(), st.lists(st.text(max_size=3), max_size=2)
)


@given(st.dictionaries(st.sampled_from([*GOOD, "url", "more"]), _values, max_size=3))
def test_an_entry_is_a_card_or_refused(change: dict[str, Any]) -> None:
    entry = {**GOOD, **change}
    try:
        (card,) = registry.parse(written(entry)).values()
    except ConfigurationError:
        assert change
    else:
        assert json.loads(json.dumps(card.document())) == entry
