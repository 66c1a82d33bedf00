"""Writes ONNX: a network as nodes and numbers, in the few protocol buffers that it takes.

Enough for networks whose weights come without a graph. Message and field numbers are those of
onnx.proto3, IR version 8, operator set 17.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IR_VERSION: Final = 8
OPERATORS: Final = 17
_FLOAT: Final = 1
_INT64: Final = 7

Attribute = int | float | Sequence[int] | str


class Graph:
    """A network under construction. Each method that adds a node gives the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._names = 0

    def constant(self, value: NDArray[Any]) -> str:
        """Numbers that the network knows: float32 or int64, of any shape."""
        kind = _INT64 if value.dtype.kind == "i" else _FLOAT
        stored = np.ascontiguousarray(value, "<i8" if kind == _INT64 else "<f4")
        name = self._name()
        self._constants.append(
            b"".join(_number(1, size) for size in value.shape)
            + _number(2, kind)
            + _text(8, name)
            + _block(9, stored.tobytes())
        )
        return name

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """One node with one result."""
        return self.split(operator, 1, *inputs, **attributes)[0]

    def split(
        self, operator: str, outputs: int, *inputs: str, **attributes: Attribute
    ) -> list[str]:
        """One node with several results."""
        names = [self._name() for _ in range(outputs)]
        self._nodes.append(
            b"".join(_text(1, name) for name in inputs)
            + b"".join(_text(2, name) for name in names)
            + _text(4, operator)
            + b"".join(_block(5, _attribute(*pair)) for pair in attributes.items())
        )
        return names

    def model(
        self,
        inputs: Sequence[tuple[str, Sequence[int | str]]],
        outputs: Sequence[tuple[str, str, Sequence[int | str]]],
    ) -> bytes:
        """The file: `inputs` are names and shapes, `outputs` the results to give, the names to
        give them and their shapes. A dimension in words may have any size. All are float32."""
        for result, name, _ in outputs:
            self._nodes.append(_text(1, result) + _text(2, name) + _text(4, "Identity"))
        graph = (
            b"".join(_block(1, node) for node in self._nodes)
            + _text(2, "tutela")
            + b"".join(_block(5, constant) for constant in self._constants)
            + b"".join(_block(11, _value(*given)) for given in inputs)
            + b"".join(_block(12, _value(name, shape)) for _, name, shape in outputs)
        )
        operators = _block(8, _text(1, "") + _number(2, OPERATORS))
        return _number(1, IR_VERSION) + _text(2, "tutela") + _block(7, graph) + operators

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + _tag(2, 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _number(20, 3)
    return _text(1, name) + b"".join(_number(8, item) for item in value) + _number(20, 7)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """The name, type and shape of what goes in or comes out."""
    sizes = b"".join(
        _block(1, _text(2, size) if isinstance(size, str) else _number(1, size)) for size in shape
    )
    return _text(1, name) + _block(2, _block(1, _number(1, _FLOAT) + _block(2, sizes)))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tag(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _tag(field, 0) + _varint(value)


def _block(field: int, data: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(data)) + data


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())
