"""What batching is worth: one model, asked by one and by many threads.

    python bench/batching.py [--model open_nsfw] [--models FOLDER] [--seconds 5] [--threads 1,16]

Prints milliseconds a row of one session by batch size; the rate and the latency of single rows when
threads ask at once, through Tutela's runtime, with every thread calling onnxruntime itself, and
one at a time behind a lock; what memory that takes; and the processor time of a server asked
now and then, with and without threads that spin. Each way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe
from tutela import models
from tutela.models import runtime

WAYS = ("tutela", "each itself", "behind a lock")
GAP = 0.05
"""Seconds between the questions of a server that is asked now and then."""


def session(name: str, folder: Path | None, *, spin: bool = False) -> Any:
    """A session as the runtime makes it, or as onnxruntime does by default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.cores()
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    data = models.read(models.find(name), folder)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def picture(made: Any) -> Any:
    """A row of noise, as the session's only input wants it."""
    (given,) = made.get_inputs()
    shape = [size if isinstance(size, int) else 224 for size in given.shape[1:]]
    return np.random.default_rng(0).random((1, *shape), np.float32) * 255


def memory() -> float:
    """The most that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def ask(run: Callable[[Any], object], row: Any, threads: int, seconds: float) -> list[float]:
    """Milliseconds of every call, by that many threads for that long."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        own = []
        while (begun := time.perf_counter()) < end:
            run(row)
            own.append((time.perf_counter() - begun) * 1e3)
        times.extend(own)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


def one_way(arguments: argparse.Namespace) -> dict[str, Any]:
    """One way of asking, by so many threads."""
    before = memory()
    made = session(arguments.model, arguments.models)
    row, name = picture(made), made.get_inputs()[0].name
    batch = ""
    if arguments.way == "tutela":
        del made
        model = models.load(arguments.model, arguments.models)
        run: Callable[[Any], object] = model.run
    else:
        lock = threading.Lock()

        def directly(rows: Any) -> object:
            return made.run(None, {name: rows})

        def locked(rows: Any) -> object:
            with lock:
                return directly(rows)

        run = directly if arguments.way == "each itself" else locked
    for _ in range(3):
        run(row)
    if arguments.way == "tutela":
        model.batches = model.rows = 0
    times = np.array(ask(run, row, arguments.threads, arguments.seconds))
    if arguments.way == "tutela":
        batch = f"{model.rows / model.batches:.1f}"
    return {
        "rate": len(times) / arguments.seconds,
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "batch": batch,
        "memory": memory() - before,
    }


def by_size(arguments: argparse.Namespace) -> dict[int, float]:
    """Milliseconds a row by batch size: the best of several."""
    made = session(arguments.model, arguments.models)
    row, name = picture(made), made.get_inputs()[0].name
    found = {}
    for size in (1, 2, 4, 8, 16, 32):
        rows = np.repeat(row, size, axis=0)
        times = []
        for _ in range(max(4, int(arguments.seconds * 25 / size))):
            begun = time.perf_counter()
            made.run(None, {name: rows})
            times.append((time.perf_counter() - begun) * 1e3 / size)
        found[size] = min(times)
    return found


def now_and_then(arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of processor time a question, asked with gaps."""
    found = {}
    for spin in (True, False):
        made = session(arguments.model, arguments.models, spin=spin)
        row, name = picture(made), made.get_inputs()[0].name
        made.run(None, {name: row})
        begun, count = time.process_time(), int(arguments.seconds / GAP)
        for _ in range(count):
            made.run(None, {name: row})
            time.sleep(GAP)
        found["spinning" if spin else "not spinning"] = (time.process_time() - begun) * 1e3 / count
    return found


def child(arguments: argparse.Namespace, *more: str) -> Any:
    """The answer of this program in a process of its own."""
    command = [sys.executable, __file__, "--model", arguments.model]
    command += ["--models", str(arguments.models)] if arguments.models else []
    command += ["--seconds", str(arguments.seconds), *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="open_nsfw")
    parser.add_argument("--models", type=Path, help="the folder of models that were pulled")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", default="1,16")
    parser.add_argument("--way", choices=(*WAYS, "by size", "now and then"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        alone = {"by size": by_size, "now and then": now_and_then}
        if arguments.way in WAYS:
            arguments.threads = int(arguments.threads)
        print(json.dumps(alone.get(arguments.way, one_way)(arguments)))
        return
    print(describe("onnxruntime", "numpy"))
    print(f"\n{arguments.model}: ms a row by batch size")
    for size, best in child(arguments, "--way", "by size").items():
        print(f"  {size:>2}  {best:6.2f}")
    print("\nthreads  way            rows/s   p50 ms   p99 ms  mean batch  peak MB")
    for threads in arguments.threads.split(","):
        for way in WAYS:
            found = child(arguments, "--way", way, "--threads", threads)
            print(
                f"{threads:>7}  {way:<13} {found['rate']:7.1f} {found['p50']:8.1f} "
                f"{found['p99']:8.1f} {found['batch']:>11} {found['memory']:8.0f}"
            )
    print(f"\nprocessor ms a question, one each {GAP * 1e3:.0f} ms after the last")
    for name, spent in child(arguments, "--way", "now and then").items():
        print(f"  {name:<13} {spent:6.1f}")


if __name__ == "__main__":
    main()
