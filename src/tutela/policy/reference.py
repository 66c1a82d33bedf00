"""Categories and jurisdictions: facts as dated, sourced data. Not legal advice."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of content, in the terms of the Luxembourg Guidelines (2025)."""

    id: str
    title: str
    severity: int
    """Higher is more severe; where several apply, the most severe names the verdict."""
    note: str
    source: str
    date: str
    """When the row was last checked, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Duty:
    """One legal statement. Where its status is `unverified`, nobody has read the source yet."""

    topic: str
    """`definition`, `removal`, `report`, `preserve` or `private-messages`."""
    statement: str
    status: str
    """`verified` or `unverified`."""
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """What conditions read as `jurisdiction`; `known` is false for a code without a row."""

    code: str
    title: str = ""
    known: bool = False
    removal_hours: int | None = None
    """Hours to remove intimate or abuse material once validly asked, where a number exists."""
    removal_status: str = ""
    preserve_days: int | None = None
    preserve_status: str = ""
    private_messages_excluded: bool = False
    """Whether private messages stay out of screening until the operator decides otherwise."""
    duties: tuple[Duty, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """The shipped data files."""

    categories: dict[str, Category]
    jurisdictions: dict[str, Jurisdiction]
    codes: dict[str, str]
    """ISO 3166 code to the code of the row that covers it."""
    texts: tuple[str, ...]
    """The files as they are, for the policy's fingerprint."""

    def severity(self, category: str) -> int:
        """Severity of a category; 0 for none and for one that is not listed."""
        row = self.categories.get(category)
        return row.severity if row else 0

    def jurisdiction(self, code: str) -> Jurisdiction:
        """The row for `US`, `US-CA`, `FR` …, or an unknown one: never a guess."""
        country = code.upper().partition("-")[0]
        row = self.codes.get(country)
        return self.jurisdictions[row] if row else Jurisdiction(code)


@cache
def load() -> Reference:
    """The shipped categories and jurisdictions."""
    folder = resources.files("tutela.policy") / "data"
    names = ("categories.toml", "jurisdictions.toml")
    texts = tuple((folder / name).read_text("utf-8") for name in names)
    categories = [Category(**row) for row in tomllib.loads(texts[0])["category"]]
    rows: list[dict[str, Any]] = tomllib.loads(texts[1])["jurisdiction"]
    jurisdictions: dict[str, Jurisdiction] = {}
    codes: dict[str, str] = {}
    for row in rows:
        covers = row.pop("covers", [])
        duties = tuple(Duty(**duty) for duty in row.pop("duty"))
        status = {duty.topic: duty.status for duty in duties}
        jurisdictions[row["code"]] = Jurisdiction(
            known=True,
            duties=duties,
            removal_status=status["removal"],
            preserve_status=status["preserve"],
            **row,
        )
        codes |= dict.fromkeys([row["code"], *covers], row["code"])
    return Reference({row.id: row for row in categories}, jurisdictions, codes, texts)
