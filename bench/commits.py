"""What durability costs: verdicts a second with a commit each, and with commits in groups.

    python bench/commits.py [--seconds 3] [--threads 1,16] [--database sqlite|postgresql|URL]

Threads record rows as large as a verdict's, one after the other. `each` commits every row by
itself, `grouped` goes through the recorder, as the server does.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from running import cluster, own_database
from tutela.store import Store, new_id, now
from tutela.store.recorder import Recorder
from tutela.store.tables import verdicts


def row() -> dict[str, Any]:
    """As large as the row of a verdict without findings."""
    return {
        "id": new_id(),
        "created_at": now(),
        "sha256": "0" * 64,
        "action": "allow",
        "category": None,
        "policy": "default@0123456789ab",
        "document": {"id": new_id(), "filler": "x" * 900},
    }


class Counted(Recorder):
    """A recorder that counts its commits."""

    commits = 0

    def _insert(self, batch: Any) -> None:
        super()._insert(batch)
        self.commits += 1


def together(recorder: Recorder, values: dict[str, Any]) -> None:
    """Record a row; returns once it is committed with whatever else waited."""
    recorder.record([(verdicts, values)])


def measure(record: Callable[[dict[str, Any]], None], threads: int, seconds: float) -> list[float]:
    """Milliseconds of every call, by that many threads for that long."""
    end = time.perf_counter() + seconds
    times: list[float] = []

    def work() -> None:
        while (started := time.perf_counter()) < end:
            record(row())
            times.append((time.perf_counter() - started) * 1e3)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", default="1,16")
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a server's URL")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'tutela.db'}"
        if given.database != "sqlite":
            where = given.database
            if where == "postgresql":
                where = stack.enter_context(cluster())
            url = stack.enter_context(own_database(where))
        store = Store(url)
        stack.callback(store.close)

        def alone(values: dict[str, Any]) -> None:
            with store.write() as connection:
                connection.execute(insert(verdicts), [values])

        for threads in map(int, given.threads.split(",")):
            recorder = Counted(store)
            grouped = measure(partial(together, recorder), threads, given.seconds)
            recorder.close()
            each = measure(alone, threads, given.seconds)
            for name, times, commits in (
                ("each", each, len(each)),
                ("grouped", grouped, recorder.commits),
            ):
                print(
                    f"{store.dialect} {threads:3d} threads {name:8s} "
                    f"{len(times) / given.seconds:7.0f} verdicts/s  "
                    f"{len(times) / commits:5.1f} a commit  p50 {times[len(times) // 2]:6.2f} ms  "
                    f"p99 {times[int(len(times) * 0.99)]:6.2f} ms"
                )


if __name__ == "__main__":
    main()
