"""The models that Tutela knows: a card each, as reviewed data."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from tutela.errors import ConfigurationError, ModelMissing

MOST_BYTES: Final = 1 << 30
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_HASH = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"(?!\.)[\w.-]+(?:/(?!\.)[\w.-]+)*", re.ASCII)
_LISTS: Final = {"measured": dict, "limits": str}
_OPTIONAL: Final = frozenset({"distribution", "url"})


@dataclass(frozen=True, slots=True)
class Measured:
    """What somebody measured a model to do. Authors' figures stay theirs."""

    by: str
    on: str
    result: str


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a model: one file, pinned by its hash.

    Either `distribution` or `url` says where the file comes from.
    """

    name: str
    task: str
    """What it is for: `nudity`, `faces`, `age`, `voice`, `synthetic` …"""
    version: str
    form: str
    """`onnx` is run as it is; any other form needs code of its own to read it."""
    file: str
    """The path inside the distribution, or the name in the folder of models."""
    sha256: str
    bytes: int
    licence: str
    """SPDX identifier."""
    copyright: str
    origin: str
    """Where its authors describe it."""
    input: str
    output: str
    measured: tuple[Measured, ...]
    limits: tuple[str, ...]
    distribution: str = ""
    """The installed Python distribution that carries the file; then nothing is downloaded."""
    url: str = ""
    """Where the file can be had, pinned to one revision, over https."""

    @property
    def kind(self) -> Literal["bundled", "pulled"]:
        """Whether a distribution carries it, or it has to be pulled."""
        return "bundled" if self.distribution else "pulled"

    @property
    def source(self) -> str:
        """The distribution or the URL that it comes from, for people."""
        return f"distribution {self.distribution}" if self.distribution else self.url

    def document(self) -> dict[str, Any]:
        """The card as JSON has it."""
        return {name: value for name, value in asdict(self).items() if value != ""}


def cards() -> Mapping[str, Card]:
    """Every card by name, in order of task and name. Raises `ConfigurationError`."""
    return _cards()


def find(name: str) -> Card:
    """The card of a model. Raises `ModelMissing` for one that is not known."""
    try:
        return cards()[name]
    except KeyError:
        raise ModelMissing(
            f"no model is named {name}; `tutela models list` shows those there are"
        ) from None


@cache
def _cards() -> Mapping[str, Card]:
    return parse(files("tutela.models").joinpath("data/models.toml").read_text("utf-8"))


def parse(text: str) -> dict[str, Card]:
    """The cards of a registry in TOML. Raises `ConfigurationError`, naming entry and field."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the registry of models is not TOML: {error}") from error
    if set(document) != {"model"} or not isinstance(document["model"], list):
        raise ConfigurationError("the registry of models must hold [[model]] tables, and only them")
    found = [_card(entry, number) for number, entry in enumerate(document["model"], start=1)]
    _unique("name", (card.name for card in found))
    _unique("file", (f"{card.distribution}/{card.file}".lower() for card in found))
    return {card.name: card for card in sorted(found, key=lambda card: (card.task, card.name))}


def _unique(field: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigurationError(f"two models have the {field} {value.lstrip('/')}")
        seen.add(value)


def _card(entry: Any, number: int) -> Card:
    """A card, checked."""
    where = f"model {number}"
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        where = f"model {entry['name']}"
    given = _table(entry, Card, where)
    given["measured"] = tuple(
        Measured(**_table(item, Measured, f"{where}, measured {place}"))
        for place, item in enumerate(given["measured"], start=1)
    )
    given["limits"] = tuple(given["limits"])
    card = Card(**given)
    for field, right, wanted in (
        ("name", _NAME.fullmatch(card.name), "lower-case letters and digits, with . _ - between"),
        ("file", _FILE.fullmatch(card.file), "a relative path with / and without .."),
        ("sha256", _HASH.fullmatch(card.sha256), "64 hexadecimal digits, lower case"),
        ("bytes", 0 < card.bytes <= MOST_BYTES, f"1 to {MOST_BYTES}"),
        ("limits", card.limits, "at least one: every model has limits"),
        ("distribution", bool(card.distribution) != bool(card.url), "given, or else url"),
        ("url", not card.url or _is_https(card.url), "an https URL without credentials"),
        ("file", card.distribution or "/" not in card.file, "a plain name, as it is pulled"),
    ):
        if not right:
            raise ConfigurationError(f"{where}: {field} must be {wanted}")
    return card


def _table(entry: Any, kind: type[Card | Measured], where: str) -> dict[str, Any]:
    """A copy of a table that has the fields of a dataclass, of their types."""
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{where} must be a table")
    known = {field.name for field in fields(kind)}
    for name in sorted(set(entry) - known):
        raise ConfigurationError(f"{where}: {name} is not a field; there are {', '.join(known)}")
    for name in sorted(known - set(entry) - _OPTIONAL):
        raise ConfigurationError(f"{where}: {name} is missing")
    for name, value in entry.items():
        if name in _LISTS:
            inner = _LISTS[name]
            if not isinstance(value, list) or not all(isinstance(item, inner) for item in value):
                raise ConfigurationError(f"{where}: {name} must be a list of {inner.__name__}")
        elif type(value) is not (wanted := int if name == "bytes" else str) or not value:
            raise ConfigurationError(f"{where}: {name} must be {wanted.__name__}, and not empty")
    return dict(entry)


def _is_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
