"""The tensors of a PyTorch checkpoint, read without PyTorch and without running what it says.

A `.pth` file is a zip container: a pickle that names tensors, and their numbers beside it. A pickle
may ask for any function to be called; here it gets the few that describe a tensor, and no other.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError
from tutela.media.types import MiB

MAX_BYTES: Final = 256 * MiB
"""Size of a checkpoint, and of all that it holds."""
MAX_TENSORS: Final = 10_000

_TYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What stands in the pickle for a type of numbers."""

    dtype: np.dtype[Any]


def read(data: bytes) -> dict[str, NDArray[Any]]:
    """Every tensor of a state dictionary, by name: float32 or int64, in its own shape.

    Raises `ConfigurationError` for a file that holds, or asks for, anything but such tensors.
    """
    try:
        return _read(data)
    except ConfigurationError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise _refused(type(error).__name__) from error


def _read(data: bytes) -> dict[str, NDArray[Any]]:
    if len(data) > MAX_BYTES:
        raise _refused(f"it has more than {MAX_BYTES // MiB} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as container:
        members = {member.filename: member for member in container.infolist()}
        if len(members) > MAX_TENSORS or sum(m.file_size for m in members.values()) > MAX_BYTES:
            raise _refused("it holds too much")
        stem = next((name for name in members if name.endswith("/data.pkl")), "")
        if not stem:
            raise _refused("it has no data.pkl")
        folder = stem.removesuffix("data.pkl")

        def numbers(name: str, kind: np.dtype[Any], count: int) -> NDArray[Any]:
            found = np.frombuffer(container.read(f"{folder}data/{name}"), kind)
            if len(found) != count:
                raise _refused("a tensor is not as long as it says")
            return found

        state = _Unpickler(container.read(stem), numbers).load()
    if not isinstance(state, Mapping):
        raise _refused("it is not a dictionary of tensors")
    tensors = {str(name): value for name, value in state.items()}
    if not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise _refused("it holds other things than tensors")
    return tensors


class _Unpickler(pickle.Unpickler):
    """Knows tensors alone."""

    def __init__(
        self, data: bytes, numbers: Callable[[str, np.dtype[Any], int], NDArray[Any]]
    ) -> None:
        super().__init__(io.BytesIO(data))
        self.numbers = numbers

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _TYPES:
            return _Kind(_TYPES[name])
        raise _refused("its pickle asks for more than tensors")

    def persistent_load(self, pid: Any, /) -> NDArray[Any]:
        what, kind, name, _device, count = pid
        if what != "storage" or not isinstance(kind, _Kind) or not str(name).isalnum():
            raise _refused("a tensor is described in an unknown way")
        return self.numbers(str(name), kind.dtype, int(count))


def _tensor(
    storage: NDArray[Any],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *_training: object,
) -> NDArray[Any]:
    """A tensor from the numbers that it lies in. Gradients and hooks do not matter here."""
    row_major = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    count = math.prod(size)
    if any(s != r for s, r, n in zip(stride, row_major, size, strict=True) if n > 1):
        raise _refused("a tensor is not stored in rows")
    if offset < 0 or count < 0 or offset + count > len(storage):
        raise _refused("a tensor reaches beyond its numbers")
    return storage[offset : offset + count].reshape(size)


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(f"this is not a checkpoint that Tutela reads: {why}; pull it again")
