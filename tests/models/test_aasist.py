"""AASIST without PyTorch: its file read safely, its network written right."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_aasist import Naive, random_weights

from tutela.errors import ConfigurationError
from tutela.models import aasist, checkpoint
from tutela.models.graph import Graph
from tutela.models.runtime import onnx


class Storage:
    """Numbers as a checkpoint keeps them, beside its pickle."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name = name
        self.values = values


class Tensor:
    """Pickles as PyTorch's tensors do."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple) -> None:
        self.parts = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, tuple]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Names of PyTorch, so that pickles can name them; nothing behind them works."""
    module, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(module, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2(*_: object) -> None:
        raise AssertionError("it must not be called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
        utils.__name__,
        "_rebuild_tensor_v2",
    )
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


def saved(state: object, *, compression: int = zipfile.ZIP_STORED, drop: str = "") -> bytes:
    """A file as `torch.save` writes it."""
    storages: dict[str, np.ndarray] = {}
    torch = sys.modules["torch"]

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            if not isinstance(obj, Storage):
                return None
            storages[obj.name] = obj.values
            kind = {"f": "FloatStorage", "i": "LongStorage"}[obj.values.dtype.kind]
            return "storage", getattr(torch, kind), obj.name, "cpu", obj.values.size

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(state)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as container:
        container.writestr("archive/data.pkl", pickled.getvalue())
        for name, values in storages.items():
            if name != drop:
                container.writestr(f"archive/data/{name}", values.tobytes())
    return file.getvalue()


def tensor(values: np.ndarray, name: str = "0", **given: Any) -> Tensor:
    values = np.asarray(values, "<i8" if values.dtype.kind == "i" else "<f4")
    stride = tuple(side // values.itemsize for side in values.strides)
    return Tensor(
        Storage(name, values.ravel()),
        given.get("offset", 0),
        given.get("size", values.shape),
        given.get("stride", stride),
    )


def test_tensors_are_read_as_they_were_saved(torch: ModuleType) -> None:
    real = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    state = OrderedDict(
        real=tensor(real, "17"),
        count=tensor(np.array(7), "18"),
        part=tensor(real, "17", offset=12, size=(3, 4), stride=(4, 1)),
    )
    found = checkpoint.read(saved(state))
    assert list(found) == ["real", "count", "part"]
    assert np.array_equal(found["real"], real)
    assert found["real"].dtype == np.float32
    assert found["count"] == 7
    assert np.array_equal(found["part"], real[1])


class Calls:
    """Calls a function as it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


def test_nothing_but_tensors_is_made(torch: ModuleType, tmp_path: Path) -> None:
    here = tmp_path / "made"
    one = np.ones(3, np.float32)
    for state in (
        {"a": Calls(os.mkdir, str(here))},
        {"a": Calls(eval, f"__import__('os').mkdir({str(here)!r})")},
        {"a": Calls(getattr, one, "tolist")},
        {"a": Path("x")},
        {"a": {"b": tensor(one)}},
        {"a": 3},
        [tensor(one)],
        {"a": tensor(one, size=(4,))},
        {"a": tensor(one, offset=1)},
        {"a": tensor(one, offset=-1)},
        {"a": tensor(one, size=(-1,))},
        {"a": tensor(np.ones((2, 3), np.float32), stride=(1, 2))},
        {"a": tensor(one, "../0")},
    ):
        with pytest.raises(ConfigurationError):
            checkpoint.read(saved(state))
    assert not here.exists()


def test_files_that_hold_too_much_or_too_little(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"a": tensor(np.zeros(1 << 16, np.float32))}
    whole = saved(state)
    assert checkpoint.read(whole)["a"].shape == (1 << 16,)
    for data in (
        b"",
        b"PK",
        whole[:-40],
        saved(state, drop="0"),
        saved({}).replace(b"data.pkl", b"else.pkl"),
    ):
        with pytest.raises(ConfigurationError):
            checkpoint.read(data)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 1 << 16)
    with pytest.raises(ConfigurationError):
        checkpoint.read(whole)
    packed = saved(state, compression=zipfile.ZIP_DEFLATED)
    assert len(packed) < 1 << 16
    with pytest.raises(ConfigurationError, match="too much"):
        checkpoint.read(packed)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_damaged_files_are_refused_or_read(
    torch: ModuleType, places: list[tuple[int, int]]
) -> None:
    state = {"a": tensor(np.ones((2, 3), np.float32)), "b": tensor(np.array(2), "1")}
    data = bytearray(saved(state))
    for place, value in places:
        data[place % len(data)] = value
    try:
        found = checkpoint.read(bytes(data))
    except ConfigurationError:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights()


def test_the_network_says_what_plain_arithmetic_says(
    weights: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "read", lambda data: weights)
    run, rows = onnx(aasist.convert(b""))
    assert rows == 0
    random = np.random.default_rng(5)
    sounds = (random.standard_normal((2, aasist.SAMPLES)) * 0.1).astype(np.float32)
    sounds[1, 1000:] *= 0.01
    [logits] = run([sounds])
    assert np.abs(logits[0] - logits[1]).max() > 0.01
    assert np.abs(logits[1] - run([sounds[1:]])[0]).max() < 1e-5
    assert np.abs(logits[0] - Naive(weights).logits(sounds[0])).max() < 1e-4


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for change in ({"GAT_layer_S.att_weight": np.ones((7, 1))}, {"pool_S.proj.weight": None}):
        weights = {**random_weights(), **change}
        kept = {name: value for name, value in weights.items() if value is not None}
        monkeypatch.setattr(checkpoint, "read", lambda data, kept=kept: kept)
        with pytest.raises(ConfigurationError, match="AASIST"):
            aasist.convert(b"")


MODELS = os.environ.get("TEST_MODELS", "")
"""A folder of pulled models, for what needs the published weights."""
SAID = {
    "aasist-l": [[3.5494804, -3.1766648], [3.7695546, -3.388062]],
}
"""What PyTorch 2.13.0 and the published network say of the same noise."""


@pytest.mark.skipif(not MODELS, reason="TEST_MODELS names no folder of pulled models")
@pytest.mark.parametrize("name", sorted(SAID))
def test_the_published_weights_say_what_pytorch_says(name: str) -> None:
    from tutela import models

    run, _ = onnx(aasist.convert(models.read(models.find(name), Path(MODELS))))
    noise = np.random.default_rng(1).standard_normal((3, aasist.SAMPLES)).astype(np.float32) * 0.1
    [logits] = run([noise.astype(np.float32)[:2]])
    assert np.abs(logits - SAID[name]).max() < 1e-4


def test_a_graph_is_what_it_was_built_as() -> None:
    graph = Graph()
    doubled = graph.add("Mul", "x", graph.constant(np.array([2.0], np.float32)))
    first, second = graph.split("Split", 2, doubled, graph.constant(np.array([1, 200])), axis=1)
    soft = graph.add("LeakyRelu", first, alpha=-0.5)
    run, _ = onnx(
        graph.model([("x", ["n", 201])], [(soft, "a", ["n", 1]), (second, "b", ["n", 200])])
    )
    x = np.linspace(-3, 3, 402, dtype=np.float32).reshape(2, 201)
    a, b = run([x])
    assert np.allclose(a, np.where(x[:, :1] > 0, 2, -1) * x[:, :1])
    assert np.allclose(b, 2 * x[:, 1:])
