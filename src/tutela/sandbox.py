"""Examination in processes that may crash, hang or run out of memory without harm.

Each worker is a process of its own, spoken to over two pipes. A request is `REQUEST` (number,
length, flags: which signals, detectors and sights to make) and that many bytes of content; files
are read here. What answers are made of, `tutela._wire` says; of theirs only the form can be
checked. So a worker that was taken over can, until it is replaced, see every input that it is
given, invent or withhold its fingerprints and what detectors find in it, reject it, and put into
the findings of one input what it saw in another. It can't claim a match, name a bank, or answer for
an input given to another worker. What it can do to the rest of the system, `tutela._confine` says.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar, cast

import orjson

from tutela import detectors, signals
from tutela._wire import (
    ANSWER,
    MAX_ANSWER,
    MAX_PIXELS,
    REQUEST,
    SIGHTS,
    TIRED,
    Malformed,
    parse,
    text_of,
)
from tutela.detectors import Detector, Options
from tutela.errors import ConfigurationError, Reason, Rejected
from tutela.examine import Examination, Wanted, examine, head, read
from tutela.media.sniff import is_film
from tutela.media.types import FILMS, Limits
from tutela.signals.base import SignalType

_SMALL = 64 << 10
"""Bytes of content below which one write with its header is cheaper than two."""
_AHEAD = 4
"""Inputs a worker that `examine_many` takes from its source before they are needed."""
_TICK = 0.02
_NEVER = float("inf")
READY_SECONDS = 300.0
"""Time for a worker to import, compile what isn't cached, and report."""
_KEPT_VARIABLES = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"),
    *("SYSTEMROOT", "USERPROFILE", "LOCALAPPDATA", "APPDATA"),
)

NOTHING = Wanted()
ON_REQUEST = frozenset({signals.LOCAL})
"""Signals that are taken only when they are asked for: they cost more than all the others."""
MORE = 2
"""So many times `Limits.max_seconds` may an input take of which more than the usual is asked."""

Source = bytes | Path
Item = TypeVar("Item")


class Sandbox:
    """A pool of workers that examine content. Safe to use from several threads.

    Workers start when they are first needed, and are replaced after `recycle_after` inputs or
    when one fails. A failure costs its own input a typed rejection, with digests taken here; the
    next input is not affected.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        workers: int | None = None,
        signal_names: Iterable[str] | None = None,
        *,
        films: Limits | None = None,
        options: Options = Options(),  # noqa: B008
        recycle_after: int = 20_000,
    ) -> None:
        """`limits` are those of pictures; films and sounds have workers of their own, by `films`.

        Raises `ConfigurationError` for signals that aren't installed.
        """
        self.limits = limits or Limits()
        self.films = films or FILMS
        self.signals = signals.load(signal_names)
        self.detectors = tuple(
            one for one in detectors.installed().values() if detectors.in_sandbox(one)
        )
        self._options = options
        self.workers = workers or os.cpu_count() or 1
        self.confinement: tuple[str, ...] = ()
        """What the system holds a worker to, as of the last one that started."""
        self._exact = [kind for kind in self.signals if not kind.detail]
        self._usual = frozenset(kind.name for kind in self.signals) - ON_REQUEST
        self._pid = os.getpid()
        self._watch = _Watch()
        self._closed = False
        self._pictures = _Pool(self.limits, self.workers, recycle_after)
        self._films = _Pool(self.films, self.workers, recycle_after, films=True)

    def examine(self, source: Source, also: Wanted = NOTHING, *, usual: bool = True) -> Examination:
        """Examine content, or the file of a path. Waits for a free worker.

        `also` is what to make of it besides the signals that always are, which go without
        `usual`. Raises `ConfigurationError` when no worker can be started or the sandbox is closed.
        """
        if self._pid != os.getpid():
            raise ConfigurationError("A sandbox doesn't survive a fork; make one in each process.")
        try:
            film = is_film(source if isinstance(source, bytes) else head(source))
        except Rejected as error:
            return Examination(rejected=error)
        pool = self._films if film else self._pictures
        with pool.turn() as turn:
            if self._closed:
                raise ConfigurationError("The sandbox is closed.")
            try:
                # In the turn of a worker: no more files are in memory than there are workers.
                most = pool.limits.max_bytes
                data = source if isinstance(source, bytes) else read(source, most)
            except Rejected as error:
                return Examination(rejected=error)
            if len(data) > most:
                return self._failed(data, _too_long(data, pool.limits))
            worker = turn.worker = self._ready(turn.worker, pool)
            usually = self._usual if usual else frozenset[str]()
            try:
                return worker.examine(data, replace(also, signals=also.signals | usually))
            except _Failed as failed:
                return self._failed(data, failed.rejected)

    def examine_many(
        self,
        items: Iterable[Item],
        source: Callable[[Item], Source],
        also: Callable[[Item], Wanted] = lambda _: NOTHING,
    ) -> Iterator[tuple[Item, Examination]]:
        """Examine many, in order of completion. Looks a few ahead in `items`.

        `source` gives the content of an item, or its path; `also` what to make of it besides the
        usual.
        """
        waiting: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
        finished: queue.SimpleQueue[tuple[Item, Examination] | BaseException] = queue.SimpleQueue()

        def work() -> None:
            while (waited := waiting.get()) is not None:
                try:
                    finished.put((waited[0], self.examine(source(waited[0]), also(waited[0]))))
                except BaseException as error:
                    finished.put(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        pending = 0
        try:
            for item in items:
                waiting.put((item,))
                pending += 1
                if pending >= _AHEAD * self.workers:
                    yield _result(finished.get())
                    pending -= 1
            while pending:
                yield _result(finished.get())
                pending -= 1
        finally:
            # The caller may stop early: what was not begun is dropped.
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()

    def warm(self, *, films: bool = False) -> None:
        """Start every worker for pictures that isn't running. Raises `ConfigurationError`.

        Those for films start with the first film, or now with `films`.
        """
        pools = [self._pictures, *([self._films] if films else [])]

        def start(one: tuple[_Turn, _Pool]) -> None:
            turn, pool = one
            turn.worker = self._ready(turn.worker, pool)

        with contextlib.ExitStack() as held, ThreadPoolExecutor(self.workers) as threads:
            places = [pool for pool in pools for _ in range(self.workers)]
            turns = [(held.enter_context(pool.turn()), pool) for pool in places]
            list(threads.map(start, turns))

    def close(self) -> None:
        """Stop the workers. Inputs under way get their answer first."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._pictures.close()
        self._films.close()
        self._watch.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ready(self, worker: _Worker | None, pool: _Pool) -> _Worker:
        """That worker if it still lives, else a new one."""
        if worker is not None and worker.gone:
            # The system may end an idle process; its next input is not to blame.
            worker.stop()
            worker = None
        if worker is None:
            worker = _Worker(pool, self.signals, self.detectors, self._options, self._watch)
            self.confinement = worker.confinement
        return worker

    def _failed(self, data: bytes, why: Rejected) -> Examination:
        """What can still be said of content that no worker examined: its digests."""
        return replace(examine(data, self._exact, self.limits), rejected=why)


def _result(
    result: tuple[Item, Examination] | BaseException,
) -> tuple[Item, Examination]:
    if isinstance(result, BaseException):
        raise result
    return result


def _too_long(data: bytes, limits: Limits) -> Rejected:
    return Rejected(
        Reason.TOO_MANY_BYTES, f"{len(data)} bytes are above the {limits.max_bytes} allowed."
    )


class _Turn:
    """A place at a pool, with the worker that is there, if one is."""

    def __init__(self, worker: _Worker | None) -> None:
        self.worker = worker


class _Pool:
    """Workers of one kind."""

    def __init__(
        self, limits: Limits, workers: int, recycle_after: int, *, films: bool = False
    ) -> None:
        self.limits = limits
        self.films = films
        self.workers = workers
        self._recycle_after = recycle_after
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(None)

    @contextlib.contextmanager
    def turn(self) -> Iterator[_Turn]:
        """Wait for a place; a worker that is left unfit for the next input is stopped."""
        turn = _Turn(self._free.get())
        try:
            yield turn
        finally:
            worker = turn.worker
            if worker is not None and (
                worker.gone or worker.tired or worker.examined >= self._recycle_after
            ):
                worker.stop()
                turn.worker = None
            self._free.put(turn.worker)

    def close(self) -> None:
        """Stop every worker, as soon as it has answered."""
        for worker in [self._free.get() for _ in range(self.workers)]:
            if worker is not None:
                worker.stop()
            self._free.put(None)


class _Failed(Exception):
    """A worker that is no more, and what that means for its input."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.message)
        self.rejected = rejected


class _Worker:
    """One process and its two pipes; used by one thread at a time."""

    def __init__(
        self,
        pool: _Pool,
        chosen: tuple[SignalType, ...],
        looking: tuple[Detector, ...],
        options: Options,
        watch: _Watch,
    ) -> None:
        self.examined = 0
        self.confinement: tuple[str, ...] = ()
        """What the system holds the process to; see `tutela._confine`."""
        self.tired = False
        """Whether it says that inputs have left too much memory behind."""
        self.deadline = float("inf")
        self.overran = False
        self._killed = False
        self._limits = limits = pool.limits
        self._seconds = limits.max_seconds
        self._signals = {kind.name: kind for kind in chosen}
        self._detectors = {detector.name: detector for detector in looking}
        self._watch = watch
        config = {
            "limits": asdict(limits),
            "films": pool.films,
            "signals": list(self._signals),
            "detectors": list(self._detectors),
            "options": {
                "models": options.models and str(options.models),
                "trust": options.trust,
                "watermark_key": options.watermark_key and str(options.watermark_key),
            },
        }
        command = [sys.executable, "-P", "-m", "tutela._worker", orjson.dumps(config).decode()]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=_environment(),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except (OSError, TypeError) as error:
            raise ConfigurationError(f"The decoder process can't be started: {error}") from error
        assert self._process.stdin
        assert self._process.stdout
        self._requests: IO[bytes] = self._process.stdin
        self._answers = cast(FileIO, self._process.stdout)
        _widen(self._requests)
        _widen(self._answers)
        watch.add(self)
        self._be_ready()

    def examine(self, data: bytes, wanted: Wanted) -> Examination:
        """Examine on this worker. Raises `_Failed`, after which the worker is gone."""
        self.examined += 1
        number = self.examined & 0xFFFFFFFF
        more = wanted.signals & ON_REQUEST or wanted.detectors or wanted.sights
        self._seconds = self._limits.max_seconds * (MORE if more else 1)
        self.deadline = time.monotonic() + self._seconds
        self._watch.wake()
        try:
            asked = {n: kind for n, kind in self._signals.items() if n in wanted.signals}
            shown = {n: one for n, one in self._detectors.items() if n in wanted.detectors}
            bits = [name in asked for name in self._signals]
            bits += [name in shown for name in self._detectors]
            bits += [sight in wanted.sights for sight in SIGHTS]
            flags = sum(1 << place for place, bit in enumerate(bits) if bit)
            head = REQUEST.pack(number, len(data), flags)
            if len(data) <= _SMALL:
                self._write(head + data)
            else:
                self._write(head)
                self._write(data)
            answer, plain = self._receive()
            self.tired = answer.startswith(TIRED)
            done = parse(answer.removeprefix(TIRED), plain, number, (asked, shown), self._limits)
            if done.media.size != len(data):
                raise Malformed
            return done
        except (OSError, EOFError, Malformed) as error:
            raise _Failed(self._autopsy(error)) from error
        except BaseException:
            # Interrupted halfway: what the worker says next would answer the wrong request.
            self.kill()
            raise
        finally:
            self.deadline = float("inf")

    def stop(self) -> None:
        """End the process, gently: it leaves when its requests do."""
        self._watch.remove(self)
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the process now. Safe from any thread; a reader then sees the end of its pipe."""
        self._killed = True
        self._process.kill()

    @property
    def gone(self) -> bool:
        """Whether the process has ended, or is about to."""
        return self._killed or self._process.poll() is not None

    def _be_ready(self) -> None:
        self.deadline = time.monotonic() + READY_SECONDS
        self._watch.wake()
        stderr = self._process.stderr
        assert stderr
        try:
            ready = orjson.loads(self._receive()[0])
            used: list[SignalType | Detector] = [*self._signals.values(), *self._detectors.values()]
            versions = [[one.name, one.version] for one in used]
            self.confinement = tuple(text_of(name) for name in ready["confinement"])
            if ready["versions"] != versions:
                raise ConfigurationError(
                    "The decoder process runs other versions of its parts; restart the program."
                )
        except (OSError, EOFError, ValueError, TypeError, KeyError, Malformed) as error:
            self.kill()
            tail = stderr.read().decode(errors="replace").strip()[-2000:]
            slow = f" within {READY_SECONDS:.0f} seconds" if self.overran else ""
            self.stop()
            raise ConfigurationError(
                f"The decoder process did not become ready{slow}: {tail or 'it said nothing'}"
            ) from error
        except BaseException:
            self.kill()
            self.stop()
            raise
        finally:
            self.deadline = float("inf")
            stderr.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._requests.write(view) or 0 :]

    def _receive(self) -> tuple[bytearray, bytearray]:
        """The JSON of an answer, and the pixels and samples after it."""
        length, more = ANSWER.unpack(self._read(ANSWER.size))
        if length > MAX_ANSWER or more > MAX_PIXELS:
            raise Malformed
        return self._read(length), self._read(more)

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            count = self._answers.readinto(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data

    def _autopsy(self, error: Exception) -> Rejected:
        """End the process if it lives, and say why it failed."""
        malformed = isinstance(error, Malformed)
        if not malformed and not self.overran:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
        code = self._process.poll()
        self.kill()
        self.stop()
        if self.overran or _died_of("SIGALRM", code):
            return Rejected(Reason.TOO_SLOW, f"Decoding took more than {self._seconds:g} seconds.")
        if malformed:
            return Rejected(Reason.DECODER_CRASHED, "The decoder gave an answer out of form.")
        if _died_of("SIGKILL", code):
            # Nobody here killed it: the system does so when memory runs out.
            return Rejected(Reason.TOO_MUCH_MEMORY, "The system stopped the decoder.")
        return Rejected(Reason.DECODER_CRASHED, f"The decoder crashed (status {code}).")


def _died_of(name: str, code: int | None) -> bool:
    number: int | None = getattr(signal, name, None)
    return number is not None and code == -number


class _Watch:
    """The thread that kills workers which overrun: a blocked read then ends, on any system."""

    def __init__(self) -> None:
        self._workers: set[_Worker] = set()
        self._changed = threading.Condition()
        self._idle = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, worker: _Worker) -> None:
        with self._changed:
            self._workers.add(worker)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tutela-watch", daemon=True)
                self._thread.start()

    def remove(self, worker: _Worker) -> None:
        with self._changed:
            self._workers.discard(worker)

    def wake(self) -> None:
        """Say that a deadline was set. Cheap while the thread is awake."""
        if self._idle:
            with self._changed:
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                # Set ahead of the look: a deadline that it misses finds the flag, and wakes it.
                self._idle = True
                now = time.monotonic()
                for worker in self._workers:
                    if worker.deadline <= now:
                        worker.overran = True
                        worker.kill()
                nearest = min((worker.deadline for worker in self._workers), default=_NEVER)
                self._idle = nearest == _NEVER
                self._changed.wait(None if self._idle else min(max(nearest - now, 0.001), _TICK))


def _environment() -> dict[str, str]:
    """The little of the environment that a worker needs; no secret of the parent is in it."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    # One thread each: the workers are the parallelism, and threads' own heaps would count.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        kept[name] = "1"
    # Memory of large buffers goes back to the system (glibc): else the heap of a worker frays, and
    # what an input left behind is missing to the next.
    kept |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    return kept


def _widen(pipe: IO[bytes]) -> None:
    """Give the pipe a large buffer where that can be had, so that content moves in few steps."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)
