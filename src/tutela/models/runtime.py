"""Running models: one copy a process, rows of concurrent callers in one batch.

A thread a model takes whatever rows wait, runs them together, and meanwhile the next ones gather:
nobody waits for a batch to fill. What waits is bounded, in rows and in time, and beyond that a call
fails at once: content that a model could not look at is held, which is better than a queue that
only grows.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError, ModelFailed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_DTYPES: Final = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(bool)": np.dtype(np.bool_),
}

Array = NDArray[Any]
Backend = Callable[[Sequence[Array]], Sequence[Array]]
"""Takes the inputs of n rows and gives their outputs, each an array of n rows.

Of what it raises only the type is kept, since the message may quote content; but a `ModelFailed`
keeps its message.
"""

MAX_BATCH: Final = 8
MAX_WAITING: Final = 256
"""Rows that may wait for a model."""
TIMEOUT: Final = 10.0
"""Seconds that a call may take, waiting included."""


@dataclass(eq=False, slots=True)
class _Piece:
    """Rows of one caller that are run together."""

    inputs: list[Array]
    rows: int
    form: tuple[Any, ...]
    """Shapes and types: only rows of one form can be run together."""
    done: threading.Event = field(default_factory=threading.Event)
    outputs: list[Array] | None = None
    failure: str = ""
    abandoned: bool = False


class Model:
    """A model that is ready to run. Threads share it; it does not survive a fork.

    `backend` does the work for at most `max_batch` rows at once; no two threads call it.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        timeout: float = TIMEOUT,
    ) -> None:
        self.name = name
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.timeout = timeout
        self.batches = 0
        self.rows = 0
        """How many batches and rows were run: their ratio says how well batches form."""
        self._backend = backend
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._waiting: deque[_Piece] = deque()
        self._rows_waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        _open.add(self)

    def run(self, *inputs: Array, timeout: float | None = None) -> Any:
        """What the model says of n rows: an array of n rows, or a tuple of them if it says several.

        Each input is an array of the same n rows. Raises `ModelFailed` when there is no answer
        within `timeout` seconds, too many rows wait already, or the model fails on these rows.
        """
        pieces = self._pieces(inputs)
        seconds = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        self._queue(pieces)
        try:
            for piece in pieces:
                if not piece.done.wait(max(0.0, deadline - time.monotonic())):
                    raise ModelFailed(f"the model {self.name} gave no answer within {seconds:g} s")
                if piece.failure:
                    raise ModelFailed(f"the model {self.name} failed: {piece.failure}")
        finally:
            for piece in pieces:
                piece.abandoned = True
        parts = [piece.outputs for piece in pieces if piece.outputs is not None]
        outputs = (
            parts[0]
            if len(parts) == 1
            else [np.concatenate(together) for together in zip(*parts, strict=True)]
        )
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def close(self, seconds: float = 30.0) -> None:
        """Fail what waits, and stop after the batch under way, if it ends in that time."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _pieces(self, inputs: Sequence[Array]) -> list[_Piece]:
        if not inputs or any(each.ndim == 0 for each in inputs):
            raise ModelFailed(f"the model {self.name} takes rows, not single values")
        rows = len(inputs[0])
        if not rows or any(len(each) != rows for each in inputs):
            raise ModelFailed(f"the inputs of the model {self.name} must have the same rows, some")
        form = tuple((each.shape[1:], each.dtype.str) for each in inputs)
        return [
            _Piece(
                [each[start : start + self.max_batch] for each in inputs],
                min(self.max_batch, rows - start),
                form,
            )
            for start in range(0, rows, self.max_batch)
        ]

    def _queue(self, pieces: list[_Piece]) -> None:
        if self._pid != os.getpid():
            raise ModelFailed("A model doesn't survive a fork; load it in each process.")
        rows = sum(piece.rows for piece in pieces)
        with self._changed:
            if self._closed:
                raise ModelFailed(f"the model {self.name} is closed")
            # A call larger than the queue may wait alone: its caller holds its rows anyway.
            if self._rows_waiting and self._rows_waiting + rows > self.max_waiting:
                raise ModelFailed(
                    f"{self._rows_waiting} rows wait for the model {self.name} already; "
                    "send less at a time, or add machines"
                )
            self._waiting.extend(pieces)
            self._rows_waiting += rows
            if self._thread is None:
                name = f"model {self.name}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._take():
            self._answer(batch)

    def _take(self) -> list[_Piece]:
        """What is to be run next, oldest first; nothing when the model is closed."""
        with self._changed:
            while True:
                if self._closed:
                    for piece in self._waiting:
                        piece.failure = "it was closed"
                        piece.done.set()
                    self._waiting.clear()
                    return []
                batch: list[_Piece] = []
                rows = 0
                while self._waiting:
                    first = self._waiting[0]
                    if not first.abandoned:
                        if batch and (
                            first.form != batch[0].form or rows + first.rows > self.max_batch
                        ):
                            break
                        batch.append(first)
                        rows += first.rows
                    self._waiting.popleft()
                    self._rows_waiting -= first.rows
                if batch:
                    return batch
                self._changed.wait()

    def _answer(self, batch: list[_Piece]) -> None:
        try:
            outputs = self._run(batch)
        except Exception as error:  # a backend may raise anything
            if len(batch) == 1:
                own = isinstance(error, ModelFailed)
                batch[0].failure = str(error) if own else type(error).__name__
                batch[0].done.set()
                return
            # One bad row must not fail its neighbours.
            for piece in batch:
                self._answer([piece])
            return
        start = 0
        for piece in batch:
            piece.outputs = [each[start : start + piece.rows] for each in outputs]
            start += piece.rows
            piece.done.set()

    def _run(self, batch: list[_Piece]) -> list[Array]:
        inputs = (
            batch[0].inputs
            if len(batch) == 1
            else [np.concatenate(each) for each in zip(*(p.inputs for p in batch), strict=True)]
        )
        rows = sum(piece.rows for piece in batch)
        self.batches += 1
        self.rows += rows
        outputs = [np.asarray(output) for output in self._backend(inputs)]
        for output in outputs:
            if output.ndim == 0 or len(output) != rows:
                raise ValueError("an output that has not a row for each row")
            # A score that is not a number is below every threshold: it must not pass as low.
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                raise FloatingPointError("an output that is not finite")
        return outputs


_open: WeakSet[Model] = WeakSet()


@atexit.register
def _close() -> None:
    """An interpreter that ends while native code runs in a thread of it is aborted."""
    for model in list(_open):
        model.close()


def onnx(data: bytes, *, threads: int | None = None) -> tuple[Backend, int]:
    """A backend for an ONNX model, and how many rows it takes at once (0: any number).

    Raises `ConfigurationError` for what is no model that can be run here.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised, and need not be printed too
    # Threads that spin while they wait would make an idle server busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen types of its own
        raise ConfigurationError(
            f"onnxruntime {onnxruntime.__version__} can't load the model: {error}; update it"
        ) from error
    return _backend(session), _batch(session)


def _backend(session: InferenceSession) -> Backend:
    given = session.get_inputs()
    names = [each.name for each in given]
    wanted = [(_DTYPES.get(each.type), each.shape[1:]) for each in given]

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        if len(inputs) != len(names):
            raise ModelFailed(f"it takes {len(names)} inputs, not {len(inputs)}")
        for each, (dtype, shape) in zip(inputs, wanted, strict=True):
            if each.dtype != dtype or not _fits(each.shape[1:], shape):
                raise ModelFailed(
                    f"its rows are {dtype} {shape}, not {each.dtype} {list(each.shape[1:])}"
                )
        outputs: Sequence[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
        return outputs

    return run


def _fits(shape: Sequence[int], wanted: Sequence[int | str | None]) -> bool:
    """Whether an array has the shape, of which a name or None stands for any length."""
    return len(shape) == len(wanted) and all(
        not isinstance(length, int) or length == size
        for size, length in zip(shape, wanted, strict=True)
    )


def _batch(session: InferenceSession) -> int:
    """Rows that a session takes at once; 0 if any number."""
    sizes = {given.shape[0] for given in session.get_inputs() if given.shape}
    fixed = {size for size in sizes if isinstance(size, int)}
    if fixed - {1}:
        raise ConfigurationError("a model with a fixed batch of more than one row can't be shared")
    return 1 if fixed else 0


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
