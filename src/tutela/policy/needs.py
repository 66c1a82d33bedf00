"""Needs: which kinds of findings, of those still to come, could change what a condition says.

A condition is taken apart where CEL's own `&&`, `||`, `!` and `?:` join it. Each part left is
evaluated by CEL on the findings that are there, and asked which kinds could change its value:

- `findings.exists(f, BODY)` can only become true, by kinds for which BODY is not surely false;
- `findings.all(f, BODY)` can only become false, by kinds for which BODY is not surely true;
- anything else about `findings` may change as it likes, by the kinds that its `exists`, `all`,
  `exists_one`, `filter` or `map` let through; by every kind where it asks in another way.

What is not understood counts as if it could change. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tutela.policy.expressions import RULE_VARIABLES, Condition, Failed, Invalid

TRUE, FALSE, ERROR = 1, 2, 4
ANY = TRUE | FALSE | ERROR
"""What a condition may come to: a set of these three, as bits."""

Outlook = tuple[int, frozenset[str]]
"""What a condition may come to, and the kinds of findings that could bring about which."""

NONE: frozenset[str] = frozenset()
_CACHED = 256
"""Sets of pending kinds that each part remembers."""
_SETTLED = frozenset({TRUE, FALSE, ERROR})
_VARIABLES = frozenset(RULE_VARIABLES)

_SYNTAX = {
    "CheckedExpr": {"expr": (4, "Expr")},
    "Expr": {
        "id": (2, "int64"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "List"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {"bool_value": (2, "bool"), "string_value": (6, "string")},
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "Expr*")},
    "List": {"elements": (1, "Expr*")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
        "iter_var2": (8, "string"),
    },
}
"""The part of CEL's syntax.proto and checked.proto that is read here, with its field numbers; the
rest travels along unread."""

_FORMS = tuple(name for name in _SYNTAX["Expr"] if name != "id")

_JOINS = {"_&&_": FALSE, "_||_": TRUE}
"""The value that decides each, whatever the other side is."""
_TOTAL = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "size", "startsWith", "endsWith"}
    | {"contains", "!_", "_&&_", "_||_"}
)
"""Functions that never fail."""


@dataclass(frozen=True, slots=True)
class View:
    """What conditions see now, and what may still come."""

    activation: Any
    """Of `Input.rules`."""
    pending: frozenset[str]
    """Kinds of findings that may still come."""
    media_known: bool


class Need:
    """A condition of a rule, ready to say what it may come to."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._root: _Node = _take_apart(condition)
        self._leaves = tuple(self._root.leaves())
        self._media = any(leaf.reads_media for leaf in self._leaves)
        self._moving = lru_cache(_CACHED)(self._moved)
        self._parts = frozenset(_canonical(tree) for tree in _conjuncts(condition))

    def implies(self, other: Need) -> bool:
        """Whether, as far as can be read, it is not false where the other is not: the other asks
        for the same and more."""
        return bool(self._parts) and self._parts <= other._parts

    def outlook(self, view: View) -> Outlook:
        """What the condition may come to once all that is pending has come."""
        if not self._moving(view.pending) and (view.media_known or not self._media):
            return _now(self._condition, view), NONE
        values, kinds = self._root.outlook(view)
        return values, NONE if values in _SETTLED else kinds

    def _moved(self, pending: frozenset[str]) -> bool:
        return any(leaf.moving(pending)[0] for leaf in self._leaves)


class _Node(Protocol):
    def outlook(self, view: View) -> Outlook: ...
    def leaves(self) -> Iterator[_Leaf]: ...


class _Leaf:
    """A part that CEL evaluates as a whole."""

    def __init__(self, condition: Condition, tree: Any) -> None:
        self._condition = condition
        self._tree = tree
        self._quantifier = _quantifier(tree) if tree is not None else None
        self.reads_media = tree is None or "media" in _names(tree)
        self.moving = lru_cache(_CACHED)(self._moved)
        """What findings of these kinds could make of it, and which of the kinds could."""

    def leaves(self) -> Iterator[_Leaf]:
        yield self

    def outlook(self, view: View) -> Outlook:
        values, kinds = self.moving(view.pending)
        if self.reads_media and not view.media_known:
            return ANY, kinds
        now = _now(self._condition, view)
        if self._quantifier is not None and now == self._quantifier.decides:
            return now, NONE
        return now | values, kinds

    def _moved(self, pending: frozenset[str]) -> Outlook:
        moves = {kind: move for kind in pending if (move := self._move(kind))}
        values = 0
        for move in moves.values():
            values |= move
        return values, frozenset(moves)

    def _move(self, kind: str) -> int:
        if self._tree is None:
            return ANY
        one = self._quantifier
        if one is not None:
            return _possible(one.body, one.variable, kind) & (one.decides | ERROR)
        return ANY if _sensitive(self._tree, kind) else 0


class _Join:
    """Parts joined by `&&` or by `||`."""

    def __init__(self, decides: int, parts: list[_Node]) -> None:
        self._decides = decides
        self._parts = parts

    def leaves(self) -> Iterator[_Leaf]:
        for part in self._parts:
            yield from part.leaves()

    def outlook(self, view: View) -> Outlook:
        masks = []
        kinds: frozenset[str] = NONE
        for part in self._parts:
            values, moving = part.outlook(view)
            if values == self._decides:
                return values, NONE
            masks.append(values)
            kinds |= moving
        return _joined(self._decides, masks), kinds


class _Not:
    def __init__(self, part: _Node) -> None:
        self._part = part

    def leaves(self) -> Iterator[_Leaf]:
        yield from self._part.leaves()

    def outlook(self, view: View) -> Outlook:
        values, kinds = self._part.outlook(view)
        return _negated(values), kinds


class _Choice:
    """`a ? b : c`."""

    def __init__(self, parts: list[_Node]) -> None:
        self._parts = parts

    def leaves(self) -> Iterator[_Leaf]:
        for part in self._parts:
            yield from part.leaves()

    def outlook(self, view: View) -> Outlook:
        values, kinds = self._parts[0].outlook(view)
        masks = [0, 0]
        for n, wanted in enumerate((TRUE, FALSE)):
            if values & wanted:
                masks[n], moving = self._parts[n + 1].outlook(view)
                kinds |= moving
        return _chosen(values, *masks), kinds


def _joined(decides: int, masks: Iterable[int]) -> int:
    """What parts that may come to these values may come to, joined."""
    union, every = 0, ANY
    for mask in masks:
        if mask == decides:
            return decides
        union |= mask
        every &= mask
    neutral = (TRUE | FALSE) ^ decides
    return (union & (decides | ERROR)) | (every & neutral)


def _negated(values: int) -> int:
    return (values & ERROR) | (TRUE if values & FALSE else 0) | (FALSE if values & TRUE else 0)


def _chosen(condition: int, then: int, otherwise: int) -> int:
    values = condition & ERROR
    if condition & TRUE:
        values |= then
    if condition & FALSE:
        values |= otherwise
    return values


def _now(condition: Condition, view: View) -> int:
    try:
        return TRUE if condition.holds(view.activation) else FALSE
    except Failed:
        return ERROR


@dataclass(frozen=True, slots=True)
class _Quantifier:
    """`findings.exists(variable, body)`, or `all`, whose body asks about one finding alone."""

    variable: str
    body: Any
    decides: int
    """What one finding is enough for: TRUE of `exists`, FALSE of `all`."""


def _read(condition: Condition) -> tuple[str, Any] | None:
    """Its tree and the tree's type; None where it is nested deeper than protobuf reads."""
    try:
        packed = any_pb2.Any.FromString(condition.tree)
        return packed.type_url, _messages()["CheckedExpr"].FromString(packed.value)
    except DecodeError:
        return None


def _take_apart(condition: Condition) -> _Node:
    """A tree that can't be read is one leaf that every kind may change."""
    read = _read(condition)
    if read is None:
        return _Leaf(condition, None)
    type_url, checked = read

    def part(tree: Any) -> Condition:
        copy = type(checked)()
        copy.CopyFrom(checked)
        copy.expr.CopyFrom(tree)
        whole = any_pb2.Any(type_url=type_url, value=copy.SerializeToString())
        return condition.part(whole.SerializeToString())

    def node(tree: Any) -> _Node:
        call = tree.call_expr
        if call.function in _JOINS:
            return _Join(_JOINS[call.function], [node(one) for one in _operands(tree)])
        if call.function == "!_":
            return _Not(node(call.args[0]))
        if call.function == "_?_:_":
            return _Choice([node(one) for one in call.args])
        return _Leaf(part(tree), tree)

    try:
        return node(checked.expr)
    except Invalid:
        return _Leaf(condition, None)


def _conjuncts(condition: Condition) -> Iterator[Any]:
    """What all has to hold; nothing if it can't be read."""
    read = _read(condition)
    if read is not None:
        tree = read[1].expr
        yield from _operands(tree) if tree.call_expr.function == "_&&_" else [tree]


def _canonical(tree: Any) -> bytes:
    """The same for expressions that are written alike."""
    copy = type(tree)()
    copy.CopyFrom(tree)

    def bare(one: Any) -> None:
        one.ClearField("id")
        for child in _children(one):
            bare(child)

    bare(copy)
    written: bytes = copy.SerializeToString(deterministic=True)
    return written


def _operands(tree: Any) -> Iterator[Any]:
    """Of `a && b && c`, all three, however they are nested."""
    for one in tree.call_expr.args:
        if one.call_expr.function == tree.call_expr.function:
            yield from _operands(one)
        else:
            yield one


def _kind_of(tree: Any) -> str:
    """Which of the `_FORMS` it is; `""` for one that is not read here."""
    return next((name for name in _FORMS if tree.HasField(name)), "")


def _is_name(tree: Any, name: str) -> bool:
    return _kind_of(tree) == "ident_expr" and bool(tree.ident_expr.name == name)


def _children(tree: Any) -> list[Any]:
    """The expressions right below; raises nothing, gives none for a form that is not read."""
    form = _kind_of(tree)
    if form == "select_expr":
        return [tree.select_expr.operand]
    if form == "call_expr":
        call = tree.call_expr
        return [*([call.target] if call.HasField("target") else []), *call.args]
    if form == "list_expr":
        return list(tree.list_expr.elements)
    if form == "comprehension_expr":
        loop = tree.comprehension_expr
        return [loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
    return []


def _names(tree: Any) -> Iterator[str]:
    """Every name that it reads; those of a form that is not read are all of the variables."""
    form = _kind_of(tree)
    if not form:
        yield from _VARIABLES
    elif form == "ident_expr":
        yield tree.ident_expr.name
    for child in _children(tree):
        yield from _names(child)


def _over_findings(tree: Any) -> Any:
    """The loop, if it is one over `findings` itself with one variable; else None."""
    if _kind_of(tree) != "comprehension_expr":
        return None
    loop = tree.comprehension_expr
    return loop if _is_name(loop.iter_range, "findings") and not loop.iter_var2 else None


def _step(loop: Any) -> tuple[str, Any] | None:
    """How the loop takes one finding: the function, and the body that guards it."""
    call = loop.loop_step.call_expr
    accumulated = loop.accu_var
    if call.function in _JOINS and len(call.args) == 2 and _is_name(call.args[0], accumulated):
        return call.function, call.args[1]
    if call.function == "_?_:_" and _is_name(call.args[2], accumulated):
        return call.function, call.args[0]
    return None


def _quantifier(tree: Any) -> _Quantifier | None:
    loop = _over_findings(tree)
    step = _step(loop) if loop is not None else None
    if step is None or step[0] not in _JOINS or not _is_name(loop.result, loop.accu_var):
        return None
    decides = _JOINS[step[0]]
    start = loop.accu_init.const_expr
    if not start.HasField("bool_value") or start.bool_value != (decides == FALSE):
        return None
    if "findings" in _names(step[1]):
        return None
    return _Quantifier(loop.iter_var, step[1], decides)


def _sensitive(tree: Any, kind: str) -> bool:
    """Whether its value could differ with one more finding of this kind."""
    form = _kind_of(tree)
    if not form:
        return True
    if form == "ident_expr":
        return bool(tree.ident_expr.name == "findings")
    loop = _over_findings(tree)
    step = _step(loop) if loop is not None else None
    if step is not None:
        function, body = step
        idle = TRUE if function == "_&&_" else FALSE
        if _possible(body, loop.iter_var, kind) != idle:
            return True
        rest = [loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
        return any(_sensitive(one, kind) for one in rest)
    return any(_sensitive(child, kind) for child in _children(tree))


def _possible(tree: Any, variable: str, kind: str) -> int:
    """What a condition on `variable`, a finding of this kind, may come to."""
    call = tree.call_expr
    constant = tree.const_expr
    if constant.HasField("bool_value"):
        return TRUE if constant.bool_value else FALSE
    if call.function in _JOINS:
        decides = _JOINS[call.function]
        return _joined(decides, [_possible(one, variable, kind) for one in call.args])
    if call.function == "!_":
        return _negated(_possible(call.args[0], variable, kind))
    if call.function == "_?_:_":
        return _chosen(*(_possible(one, variable, kind) for one in call.args))
    named = _named(tree, variable)
    if named is not None:
        return TRUE if (kind in named) == (call.function != "_!=_") else FALSE
    return TRUE | FALSE if _total(tree, variable) else ANY


def _named(tree: Any, variable: str) -> frozenset[str] | None:
    """The kinds in `variable.kind == "…"`, `!=`, either way round, or `in ["…", …]`."""
    call = tree.call_expr
    if call.function not in {"_==_", "_!=_", "@in"} or len(call.args) != 2:
        return None
    left, right = call.args
    if call.function != "@in" and _kind_of(left) == "const_expr":
        left, right = right, left
    asked = left.select_expr
    if asked.field != "kind" or asked.test_only or not _is_name(asked.operand, variable):
        return None
    texts = [right] if call.function != "@in" else right.list_expr.elements
    if call.function == "@in" and _kind_of(right) != "list_expr":
        return None
    if not all(one.const_expr.HasField("string_value") for one in texts):
        return None
    return frozenset(one.const_expr.string_value for one in texts)


def _total(tree: Any, variable: str) -> bool:
    """Whether it can't fail: fields compared with each other or with constants."""
    form = _kind_of(tree)
    if form == "select_expr":
        operand = tree.select_expr.operand
        return _kind_of(operand) == "ident_expr" and _total(operand, variable)
    if form == "ident_expr":
        return tree.ident_expr.name in _VARIABLES | {variable}
    if form == "call_expr" and tree.call_expr.function not in _TOTAL:
        return False
    if form in {"", "comprehension_expr"}:
        return False
    return all(_total(child, variable) for child in _children(tree))


@cache
def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "string": field.TYPE_STRING,
        "bool": field.TYPE_BOOL,
        "int64": field.TYPE_INT64,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="tutela/needs.proto", package="tutela.needs", syntax="proto2"
    )
    for message, fields in _SYNTAX.items():
        made = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            many = kind.endswith("*")
            added = made.field.add(
                name=name,
                number=number,
                label=field.LABEL_REPEATED if many else field.LABEL_OPTIONAL,
                type=scalars.get(kind, field.TYPE_MESSAGE),
            )
            if kind not in scalars:
                added.type_name = f".tutela.needs.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tutela.needs.{name}"))
        for name in _SYNTAX
    }
