"""Rules: what a policy file says, read, checked and compiled; every problem has its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tutela.policy.decision import ACTIONS, Action
from tutela.policy.expressions import RULE_VARIABLES, SUPPRESS_VARIABLES, Condition, Invalid
from tutela.policy.reference import Reference
from tutela.policy.source import Source

DEFAULTS: tuple[Action, ...] = ("allow", "hold")
"""What content that no rule meets may get: a block names the rule that it rests on."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_Check = Callable[[object], str]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong with a policy file. Line and column are 1-based; `rule` may be `""`."""

    line: int
    column: int
    rule: str
    message: str
    level: Literal["error", "warning"] = "error"
    """An error keeps the policy from loading; at a warning the engine does otherwise than asked."""

    def render(self, source: str) -> str:
        """One line as compilers write it: `policy.toml:12:7: error: rule 'x': …`."""
        rule = f"rule '{self.rule}': " if self.rule else ""
        return f"{source}:{self.line}:{self.column}: {self.level}: {rule}{self.message}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A `[[rule]]` table."""

    id: str
    condition: Condition
    action: Action
    category: str
    reason: str
    position: int
    """Which `[[rule]]` of the file, from 0."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """A `[[suppress]]` table."""

    id: str
    condition: Condition
    reason: str
    position: int


@dataclass(frozen=True, slots=True)
class Document:
    """A policy file, as far as it is good."""

    name: str
    default: Action
    rules: tuple[Rule, ...]
    suppressions: tuple[Suppress, ...]
    problems: tuple[Problem, ...]


def read(source: Source, reference: Reference) -> Document:
    """Reads the file and finds every problem in it; raises nothing."""
    return _Reader(source, reference).document()


class _Reader:
    def __init__(self, source: Source, reference: Reference) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.ids: dict[str, tuple[str | int, ...]] = {}
        common: dict[str, tuple[bool, _Check]] = {
            "id": (True, _identifier),
            "when": (True, _text),
            "reason": (False, _text),
        }
        self.tables: dict[str, dict[str, tuple[bool, _Check]]] = {
            "policy": {
                "name": (True, _identifier),
                "default": (True, _one_of(DEFAULTS)),
                "description": (False, _text),
            },
            "rule": {
                **common,
                "action": (True, _one_of(ACTIONS)),
                "category": (False, _one_of(tuple(reference.categories))),
            },
            "suppress": common,
        }

    def document(self) -> Document:
        values = self.source.values
        for key in values:
            if key not in self.tables:
                self._problem((key,), f"unknown key '{key}'; there are {_listed(self.tables)}")
        policy = values.get("policy", {})
        if isinstance(policy, Mapping):
            self._fields(("policy",), policy, "policy", "")
        else:
            self._problem(("policy",), "policy is a table: [policy]")
            policy = {}
        rules = [
            Rule(
                row["id"],
                condition,
                row["action"],
                row.get("category", ""),
                row.get("reason", ""),
                position,
            )
            for position, row, condition in self._rows("rule", RULE_VARIABLES)
        ]
        suppressions = [
            Suppress(row["id"], condition, row.get("reason", ""), position)
            for position, row, condition in self._rows("suppress", SUPPRESS_VARIABLES)
        ]
        return Document(
            str(policy.get("name", "")),
            policy.get("default", "hold"),
            tuple(rules),
            tuple(suppressions),
            tuple(sorted(self.problems)),
        )

    def _rows(
        self, table: str, variables: Mapping[str, str]
    ) -> list[tuple[int, dict[str, Any], Condition]]:
        rows = self.source.values.get(table, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._problem((table,), f"{table} is an array of tables: [[{table}]]")
            return []
        good = []
        for position, row in enumerate(rows):
            path = (table, position)
            identifier = row.get("id")
            label = identifier if isinstance(identifier, str) else ""
            fine = self._fields(path, row, table, label)
            if label:
                fine = self._unique(path, label) and fine
            condition = self._compile((*path, "when"), row.get("when"), variables, label)
            if condition is not None and fine:
                good.append((position, row, condition))
        return good

    def _fields(
        self, path: tuple[str | int, ...], row: Mapping[str, Any], table: str, rule: str
    ) -> bool:
        before = len(self.problems)
        known = self.tables[table]
        for key, value in row.items():
            if key not in known:
                text = f"unknown key '{key}'; {table} has {_listed(known)}"
                self._problem((*path, key), text, rule)
            elif wrong := known[key][1](value):
                self._problem((*path, key), f"{key} {wrong}", rule)
        for key, (required, _) in known.items():
            if required and key not in row:
                self._problem(path, f"{table} lacks '{key}'", rule)
        return len(self.problems) == before

    def _unique(self, path: tuple[str | int, ...], rule: str) -> bool:
        first = self.ids.setdefault(rule, path)
        if first != path:
            line = self.source.place(*first, "id").line
            self._problem((*path, "id"), f"the rule of line {line} has this id", rule)
        return first == path

    def _compile(
        self, path: tuple[str | int, ...], text: object, variables: Mapping[str, str], rule: str
    ) -> Condition | None:
        if not isinstance(text, str) or not text:
            return None
        try:
            return Condition(text, variables)
        except Invalid as invalid:
            starts = [0, *(found.end() for found in re.finditer("\n", text))]
            for mistake in invalid.mistakes:
                start = starts[min(mistake.line, len(starts)) - 1]
                place = self.source.within(path, start + mistake.column - 1)
                self.problems.append(Problem(place.line, place.column, rule, mistake.message))
            return None

    def _problem(self, path: tuple[str | int, ...], message: str, rule: str = "") -> None:
        place = self.source.place(*path)
        self.problems.append(Problem(place.line, place.column, rule, message))


def _listed(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(names)


def _identifier(value: object) -> str:
    if isinstance(value, str) and _ID.fullmatch(value):
        return ""
    return "is 1 to 64 lower-case letters, digits, dots, dashes or underscores"


def _text(value: object) -> str:
    return "" if isinstance(value, str) and value.strip() else "is a text that is not empty"


def _one_of(names: tuple[str, ...]) -> _Check:
    def check(value: object) -> str:
        return "" if value in names else f"is one of {_listed(names)}"

    return check
