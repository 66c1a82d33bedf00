"""Conditions: CEL expressions, typed by messages that are built here, checked before use.

CEL is the Common Expression Language (cel.dev): no loops but over the given lists, no side
effects, regular expressions in linear time (RE2). Importing this module loads the CEL runtime.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.policy.decision import Context
from tutela.policy.reference import Jurisdiction

OPTIONAL_INT, OPTIONAL_DOUBLE = "int?", "double?"

SCHEMA: dict[str, dict[str, str]] = {
    "Finding": {
        "kind": "string",
        "source": "string",
        "version": "string",
        "signal": "string",
        "bank": "string",
        "owner": "string",
        "tier": "string",
        "category": "string",
        "severity": "int",
        "entry": OPTIONAL_INT,
        "distance": OPTIONAL_INT,
        "variant": "string",
        "part": "string",
        "score": OPTIONAL_DOUBLE,
        "likelihood": OPTIONAL_DOUBLE,
        "detail": "string",
        "review": "string",
        "overlap": OPTIONAL_DOUBLE,
        "changed": OPTIONAL_DOUBLE,
        "scale": OPTIONAL_DOUBLE,
        "dx": OPTIONAL_DOUBLE,
        "dy": OPTIONAL_DOUBLE,
        "aspect": OPTIONAL_DOUBLE,
        "mask": "string",
        "query_share": OPTIONAL_DOUBLE,
        "index_share": OPTIONAL_DOUBLE,
        "start": OPTIONAL_DOUBLE,
        "end": OPTIONAL_DOUBLE,
        "low": OPTIONAL_DOUBLE,
        "high": OPTIONAL_DOUBLE,
        "claim": "string",
        "state": "string",
        "signer": "string",
        "heat": "string",
    },
    "Context": {
        "surface": "string",
        "account": "string",
        "jurisdiction": "string",
        "locale": "string",
        "tags": "map",
    },
    "Media": {
        "format": "string",
        "width": "int",
        "height": "int",
        "frame_count": "int",
        "size": "int",
        "frames_sampled": "int",
        "duration": "double",
        "sound": "double",
    },
    "Jurisdiction": {
        "code": "string",
        "known": "bool",
        "removal_hours": OPTIONAL_INT,
        "removal_status": "string",
        "preserve_days": OPTIONAL_INT,
        "preserve_status": "string",
        "private_messages_excluded": "bool",
    },
}
"""Fields of each message by type; a `?` marks a number that `has()` can tell from absent."""

RULE_VARIABLES = {
    "findings": "list(tutela.Finding)",
    "context": "tutela.Context",
    "media": "tutela.Media",
    "jurisdiction": "tutela.Jurisdiction",
}
SUPPRESS_VARIABLES = {
    "finding": "tutela.Finding",
    "benign": "tutela.Finding",
    "context": "tutela.Context",
    "media": "tutela.Media",
    "jurisdiction": "tutela.Jurisdiction",
}

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?=\n \| |\n?ERROR: <input>|\Z)", re.DOTALL)
_STATUS = re.compile(r"^[A-Z_]+: ")
_NAME = re.compile(r"(?:undefined field|undeclared reference to) '([\w.]+)'")
_MESSAGE = re.compile(r"in struct 'tutela\.(\w+)'")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why an expression does not compile. Both numbers are 1-based, within the expression."""

    line: int
    column: int
    message: str


class Invalid(Exception):
    """An expression that does not compile, with every mistake in it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(mistake.message for mistake in mistakes))
        self.mistakes = mistakes


class Failed(Exception):
    """A condition that raised an error on this input."""


class Condition:
    """A compiled expression of type bool."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.text = text
        self._env = _environment(tuple(variables.items()))
        try:
            self._expression = self._env.compile(text)
        except RuntimeError as error:
            raise Invalid(_mistakes(str(error), variables)) from None
        kind = self._expression.return_type()
        if kind != cel.Type.BOOL:
            raise Invalid([Mistake(1, 1, f"a condition is true or false, this is {kind.name()}")])

    @property
    def tree(self) -> bytes:
        """Its checked syntax tree: a `google.protobuf.Any` of a `cel.expr.CheckedExpr`."""
        tree: bytes = self._expression.serialize()
        return tree

    def part(self, tree: bytes) -> Condition:
        """The condition that a part of its tree is, of type bool too. Raises `Invalid`."""
        made = copy.copy(self)
        try:
            made._expression = self._env.deserialize(tree)
        except RuntimeError as error:
            raise Invalid([Mistake(1, 1, str(error))]) from None
        return made

    def holds(self, activation: Any) -> bool:
        """Whether it is true of what `Input.rules` or `.suppress` made. Raises `Failed`."""
        try:
            value = self._expression.eval(activation).value()
        except RuntimeError as error:
            raise Failed(_STATUS.sub("", str(error))) from None
        if value is True or value is False:
            return bool(value)
        raise Failed(_STATUS.sub("", str(value)))


class Input:
    """What the conditions see of one piece of content, converted once."""

    def __init__(
        self,
        findings: Iterable[Finding],
        severities: Iterable[int],
        context: Context,
        media: MediaFacts,
        jurisdiction: Jurisdiction,
    ) -> None:
        messages = _messages()
        finding_type = messages["Finding"]
        self._findings = [
            finding_type(
                severity=severity,
                **{
                    name: _safe(value)
                    for name, value in zip(_OWN, _own(finding), strict=True)
                    # Both are what protobuf gives for a field that is not set.
                    if value is not None and value != ""
                },
            )
            for finding, severity in zip(findings, severities, strict=True)
        ]
        self._made: dict[tuple[int, ...], Any] = {}
        self._fixed = {
            "context": messages["Context"](
                surface=_safe(context.surface),
                account=_safe(context.account),
                jurisdiction=_safe(context.jurisdiction),
                locale=_safe(context.locale),
                tags={_safe(name): _safe(value) for name, value in context.tags.items()},
            ),
            "media": messages["Media"](
                **{name: getattr(media, name) for name in SCHEMA["Media"]},
            ),
            "jurisdiction": messages["Jurisdiction"](
                **{name: _safe(getattr(jurisdiction, name)) for name in SCHEMA["Jurisdiction"]}
            ),
        }

    def rules(self, positions: tuple[int, ...]) -> Any:
        """The variables of a rule that sees the findings at these positions."""
        made = self._made.get(positions)
        if made is None:
            data = {"findings": [self._findings[n] for n in positions], **self._fixed}
            made = self._made[positions] = _environment(_RULES).Activation(data=data)
        return made

    def suppress(self, finding: int, benign: int) -> Any:
        """The variables of a suppression of one finding by one benign match."""
        data = {
            "finding": self._findings[finding],
            "benign": self._findings[benign],
            **self._fixed,
        }
        return _environment(_SUPPRESS).Activation(data=data)


_RULES = tuple(RULE_VARIABLES.items())
_SUPPRESS = tuple(SUPPRESS_VARIABLES.items())
_OWN = tuple(name for name in SCHEMA["Finding"] if name != "severity")
_own = attrgetter(*_OWN)


def _safe(value: Any) -> Any:
    """Text that protobuf takes: a lone surrogate, which JSON can smuggle in, becomes `?`."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    field = descriptor_pb2.FieldDescriptorProto
    types = {
        "string": field.TYPE_STRING,
        "bool": field.TYPE_BOOL,
        "int": field.TYPE_INT64,
        "double": field.TYPE_DOUBLE,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="tutela/policy.proto", package="tutela", syntax="proto3"
    )
    for message_name, schema in SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for number, (name, kind) in enumerate(schema.items(), 1):
            if kind == "map":
                _add_map(message, message_name, name, number)
                continue
            added = message.field.add(
                name=name, number=number, type=types[kind.rstrip("?")], label=field.LABEL_OPTIONAL
            )
            if kind.endswith("?"):
                added.proto3_optional = True
                added.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_map(message: Any, message_name: str, name: str, number: int) -> None:
    """A `map<string, string>` field, written out as protobuf's compiler would."""
    field = descriptor_pb2.FieldDescriptorProto
    entry = message.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    for n, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=n, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(
        name=name,
        number=number,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=f".tutela.{message_name}.{entry.name}",
    )


@cache
def _messages() -> dict[str, Any]:
    return {
        name: message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"tutela.{name}"))
        for name in SCHEMA
    }


@cache
def _environment(variables: tuple[tuple[str, str], ...]) -> Any:
    types = {
        name: cel.Type.List(cel.Type(kind[5:-1])) if kind.startswith("list(") else cel.Type(kind)
        for name, kind in variables
    }
    return cel.NewEnv(descriptor_pool=_pool(), variables=types)


def _mistakes(report: str, variables: Mapping[str, str]) -> list[Mistake]:
    report = report.removesuffix(" [INVALID_ARGUMENT]")
    found = [
        Mistake(int(line), int(column), message.strip() + _hint(message, variables))
        for line, column, message in _ERROR.findall(report)
    ]
    return found or [Mistake(1, 1, _STATUS.sub("", report))]


def _hint(message: str, variables: Mapping[str, str]) -> str:
    """`; did you mean 'tier'?` for a misspelt field or variable."""
    name, struct = _NAME.search(message), _MESSAGE.search(message)
    if name is None:
        return ""
    wanted, _, rest = name[1].partition(".")
    near = difflib.get_close_matches(wanted, SCHEMA[struct[1]] if struct else variables, n=1)
    if not near or near[0] == wanted:
        return ""
    return f"; did you mean '{near[0]}{'.' if rest else ''}{rest}'?"
