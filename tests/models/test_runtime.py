"""Running models: answers belong to their callers, batches form, and what fails holds."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tutela import models
from tutela.errors import ConfigurationError, ModelDamaged, ModelFailed
from tutela.models import Card, Model, runtime

MakeCard = Callable[..., Card]
Array = np.ndarray[Any, Any]


def tiny(batch: int | str = "n", width: int | str = 3, *, two: bool = False) -> bytes:
    """An ONNX model: doubles its rows; with `two`, of two inputs also their sum."""
    inputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, [batch, width])]
    outputs = [helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [batch, width])]
    nodes = [helper.make_node("Add", ["a", "a"], ["doubled"])]
    if two:
        inputs.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [batch, width]))
        outputs.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, [batch, width]))
        nodes.append(helper.make_node("Add", ["a", "b"], ["sum"]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def rows(*values: float) -> Array:
    """A row of three for each value."""
    return np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)


class Gated:
    """A backend that doubles, remembers its batches, and waits at a gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[float]] = []
        self.bad: set[float] = set()
        self.failures = 0

    def __call__(self, inputs: Sequence[Array]) -> Sequence[Array]:
        self.batches.append([float(row.flat[0]) for row in inputs[0]])
        self.entered.set()
        assert self.gate.wait(30)
        if self.bad & set(self.batches[-1]):
            self.failures += 1
            raise RuntimeError("bad row")
        return [inputs[0] * 2]


@pytest.fixture
def gated() -> Any:
    backend = Gated()
    yield backend
    backend.gate.set()


def waiting(model: Model, count: int) -> None:
    """Returns when so many rows wait."""
    pause = threading.Event()
    while model._rows_waiting < count:
        pause.wait(0.001)


@pytest.fixture
def tiny_model(folder: Path, make_card: MakeCard) -> Callable[..., Model]:
    """Loads a tiny ONNX model from a file."""

    def load(*args: Any, **options: Any) -> Model:
        data = tiny(*args, **options)
        return models.load(_written(make_card(data), data, folder), folder)

    return load


def test_an_onnx_model_runs(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model()
    given = rows(1, 2, 5)
    assert np.array_equal(model.run(given), given * 2)
    assert model.run(given[:1]).dtype == np.float32


def test_several_inputs_and_outputs(tiny_model: Callable[..., Model]) -> None:
    model = tiny_model(two=True)
    a, b = rows(*range(40)), rows(*range(100, 140))
    doubled, total = model.run(a, b)
    assert np.array_equal(doubled, a * 2)
    assert np.array_equal(total, a + b)
    with pytest.raises(ModelFailed, match="takes 2 inputs, not 1"):
        model.run(a)


def test_one_row_at_a_time_where_the_model_takes_no_more(
    tiny_model: Callable[..., Model],
) -> None:
    model = tiny_model(1)
    assert model.max_batch == 1
    assert np.array_equal(model.run(rows(1, 2, 3)), rows(2, 4, 6))
    assert (model.batches, model.rows) == (3, 3)


def test_what_can_not_be_loaded(
    tiny_model: Callable[..., Model], folder: Path, make_card: MakeCard
) -> None:
    with pytest.raises(ConfigurationError, match="fixed batch"):
        tiny_model(4)
    with pytest.raises(ConfigurationError, match="can't load the model"):
        runtime.onnx(b"no model")
    with pytest.raises(ConfigurationError, match="of the form torch"):
        models.load(_written(make_card(b"x", form="torch"), b"x", folder), folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 3)), r"rows are float32 \[3\], not float64 \[3\]"),
        (np.zeros((2, 4), np.float32), r"not float32 \[4\]"),
        (np.zeros((2, 3, 1), np.float32), r"not float32 \[3, 1\]"),
        (np.zeros((0, 3), np.float32), "the same rows, some"),
        (np.float32(3), "not single values"),
    ],
)
def test_rows_of_another_form(tiny_model: Callable[..., Model], given: Any, message: str) -> None:
    with pytest.raises(ModelFailed, match=message):
        tiny_model().run(np.asarray(given))


def test_answers_belong_to_their_callers(tiny_model: Callable[..., Model]) -> None:
    """Many threads, each with rows of its own; a naive twin says what each must get."""
    model = tiny_model()

    @settings(max_examples=15)
    @given(st.lists(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40), max_size=12))
    def check(calls: list[list[int]]) -> None:
        start = threading.Barrier(len(calls) + 1)

        def call(values: list[int]) -> Array:
            start.wait()
            found: Array = model.run(rows(*values))
            return found

        with ThreadPoolExecutor(len(calls) + 1) as pool:
            found = [pool.submit(call, values) for values in calls]
            start.wait()
            for values, future in zip(calls, found, strict=True):
                assert np.array_equal(future.result(30), rows(*(2 * value for value in values)))

    check()


def test_rows_that_wait_are_run_together(gated: Gated) -> None:
    model = Model("gated", gated, max_batch=8)
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        later = {value: pool.submit(model.run, rows(value)) for value in range(1, 21)}
        waiting(model, 20)
        gated.gate.set()
        assert np.array_equal(first.result(30), rows(0))
        for value, future in later.items():
            assert np.array_equal(future.result(30), rows(2 * value))
    assert [len(batch) for batch in gated.batches] == [1, 8, 8, 4]
    assert (model.batches, model.rows) == (4, 21)
    model.close()


def test_a_call_larger_than_a_batch_is_cut(gated: Gated) -> None:
    gated.gate.set()
    model = Model("gated", gated, max_batch=8, max_waiting=10)
    assert np.array_equal(model.run(rows(*range(20))), rows(*range(0, 40, 2)))
    assert [len(batch) for batch in gated.batches] == [8, 8, 4]
    model.close()


def test_rows_of_different_form_are_not_run_together(gated: Gated) -> None:
    model = Model("gated", gated)
    forms = [(1, 3), (1, 3), (1, 4), (1, 3)]
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        futures = []
        for count, form in enumerate(forms, start=1):
            futures.append(pool.submit(model.run, np.ones(form, np.float32)))
            waiting(model, count)
        gated.gate.set()
        first.result(30)
        assert [future.result(30).shape for future in futures] == forms
    assert [len(batch) for batch in gated.batches] == [1, 2, 1, 1]
    model.close()


def test_a_bad_row_fails_its_caller_alone(gated: Gated) -> None:
    gated.bad = {3.0}
    model = Model("gated", gated)
    with ThreadPoolExecutor(6) as pool:
        pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        later = {value: pool.submit(model.run, rows(value)) for value in range(1, 6)}
        waiting(model, 5)
        gated.gate.set()
        for value, future in later.items():
            if value == 3:
                with pytest.raises(ModelFailed, match=r"failed: RuntimeError$"):
                    future.result(30)
            else:
                assert np.array_equal(future.result(30), rows(2 * value))
    assert gated.failures == 2  # once in the batch, once alone
    model.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_no_answer(tiny_model: Callable[..., Model], value: float) -> None:
    with pytest.raises(ModelFailed, match="FloatingPointError"):
        tiny_model().run(rows(1, value))


def test_an_output_without_a_row_for_each_row() -> None:
    for output in (np.float32(1), np.zeros(3)):
        model = Model("short", lambda _, output=output: [output])  # type: ignore[misc]
        with pytest.raises(ModelFailed, match="ValueError"):
            model.run(rows(1, 2))
        model.close()


def test_no_answer_in_time(gated: Gated) -> None:
    model = Model("gated", gated, timeout=30)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        with pytest.raises(ModelFailed, match=r"no answer within 0\.05 s"):
            model.run(rows(1, 2), timeout=0.05)
        gated.gate.set()
        assert np.array_equal(first.result(30), rows(0))
    assert np.array_equal(model.run(rows(3)), rows(6))
    # Nobody wanted the answer any more: it was not made.
    assert gated.batches == [[0.0], [3.0]]
    model.close()


def test_too_many_wait(gated: Gated) -> None:
    model = Model("gated", gated, max_waiting=4)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        second = pool.submit(model.run, rows(1, 2, 3))
        waiting(model, 3)
        with pytest.raises(ModelFailed, match="3 rows wait"):
            model.run(rows(4, 5))
        third = pool.submit(model.run, rows(6))
        waiting(model, 4)
        gated.gate.set()
        for future, values in ((first, [0]), (second, [2, 4, 6]), (third, [12])):
            assert np.array_equal(future.result(30), rows(*values))
    # There is room again.
    assert np.array_equal(model.run(rows(7)), rows(14))
    model.close()


def test_closing_fails_what_waits_and_whatever_comes(gated: Gated) -> None:
    model = Model("gated", gated)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(model.run, rows(0))
        assert gated.entered.wait(30)
        second = pool.submit(model.run, rows(1))
        waiting(model, 1)
        model.close(0)
        with pytest.raises(ModelFailed, match="is closed"):
            model.run(rows(2))
        gated.gate.set()
        assert np.array_equal(first.result(30), rows(0))
        with pytest.raises(ModelFailed, match="it was closed"):
            second.result(30)
    model.close()
    assert gated.batches == [[0.0]]


def test_loaded_once_and_shared(
    folder: Path, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny()
    card = _written(make_card(data), data, folder)
    made = []
    session = runtime.onnx
    monkeypatch.setattr(models, "onnx", lambda data: made.append(1) or session(data))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: models.load(card, folder), range(32)))
    assert len(found) == len(made) == 1
    models.close()
    (closed,) = found
    with pytest.raises(ModelFailed, match="is closed"):
        closed.run(rows(1))
    assert np.array_equal(models.load(card, folder).run(rows(1)), rows(2))


def test_what_was_hashed_is_what_runs(folder: Path, make_card: MakeCard) -> None:
    """A file that changes after it was loaded changes nothing; loaded anew it is refused."""
    data = tiny()
    card = _written(make_card(data), data, folder)
    model = models.load(card, folder)
    (folder / card.file).write_bytes(tiny(two=True))
    assert np.array_equal(models.load(card, folder).run(rows(1)), rows(2))
    assert models.load(card, folder) is model
    models.close()
    with pytest.raises(ModelDamaged):
        models.load(card, folder)


def test_a_model_of_another_form_brings_what_runs_it(folder: Path, make_card: MakeCard) -> None:
    card = _written(make_card(b"5", form="number"), b"5", folder)
    model = models.load(card, folder, make=times)
    assert np.array_equal(model.run(rows(1, 2)), rows(5, 10))
    assert models.load(card, folder, make=times) is model


def times(data: bytes) -> models.Backend:
    factor = float(data)
    return lambda inputs: [inputs[0] * np.float32(factor)]


def _written(card: Card, data: bytes, folder: Path) -> Card:
    folder.mkdir(exist_ok=True)
    (folder / card.file).write_bytes(data)
    return card


def test_the_bundled_model_runs(folder: Path) -> None:
    assert models.load("open_nsfw") is models.load("open_nsfw", folder)
    found = models.load("open_nsfw").run(np.zeros((2, 224, 224, 3), np.float32))
    assert found.shape == (2, 2)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found[0, 1] < 0.5


ENDS = """
import threading, time
import numpy as np
from tutela import models
model = models.load("open_nsfw")
rows = np.zeros((4, 224, 224, 3), np.float32)
running = threading.Thread(target=model.run, args=(rows,), daemon=True)
running.start()
while not model.batches:
    time.sleep(0.001)
"""

FORKS = """
import os
import numpy as np
from tutela import models
from tutela.errors import ModelFailed
rows = np.zeros((1, 224, 224, 3), np.float32)
model = models.load("open_nsfw")
model.run(rows)
child = os.fork()
if not child:
    try:
        model.run(rows)
    except ModelFailed as error:
        os._exit(42 if "fork" in str(error) and models.load("open_nsfw") is not model else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
"""


@pytest.mark.parametrize(
    "script",
    [
        ENDS,
        pytest.param(
            FORKS, marks=pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
        ),
    ],
)
def test_ends_and_forks_cleanly(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
