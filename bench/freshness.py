"""How soon a change of a bank counts in another process.

    python bench/freshness.py [--changes 100] [--entries 100000] [--database URL]

One process adds and removes entries; another, on the same data folder, asks the whole time. Printed
is the time from the moment when the add or removal returned to the moment when the other process
answers differently, over all changes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from machine import describe
from tutela.banks import Banks
from tutela.banks.bank import NewEntry
from tutela.signals import Fingerprint
from tutela.store import Store

OTHER = """
import sys, time
from pathlib import Path
from tutela import signals
from tutela.matching import Matcher
from tutela.signals import Fingerprint
from tutela.store import Store

matcher = Matcher(Store(sys.argv[1]), Path(sys.argv[2]), signals.load())
for line in sys.stdin:
    value, wanted = line.split()
    query = [[Fingerprint("pdq", bytes.fromhex(value), 100)]]
    matcher.match(query)
    print("asking", flush=True)
    while bool(matcher.match(query)[0]) != (wanted == "there"):
        time.sleep(0.002)
    print(time.time(), flush=True)
"""


def main() -> None:
    """Print median, 99th percentile and maximum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--database", default="", help="SQLAlchemy URL; else a new SQLite file")
    given = parser.parse_args()
    rng = np.random.default_rng(3)
    print(describe("sqlalchemy", "numba"))
    with tempfile.TemporaryDirectory() as scratch:
        url = given.database or f"sqlite:///{Path(scratch) / 'tutela.db'}"
        with Store(url) as store:
            banks = Banks(store)
            banks.create("bench", "reviewed")
            filling = [NewEntry(Fingerprint("pdq", rng.bytes(32))) for _ in range(given.entries)]
            banks.add("bench", filling)
            command = [sys.executable, "-c", OTHER, url, str(Path(scratch) / "index")]
            spent = list(trials(banks, command, rng, given.changes))
    milliseconds = np.sort(spent) * 1e3
    print(
        f"{len(spent)} adds and removals, {given.entries:,} entries, {url.partition(':')[0]}: "
        f"median {np.median(milliseconds):.0f} ms, p99 {np.quantile(milliseconds, 0.99):.0f} ms, "
        f"largest {milliseconds[-1]:.0f} ms"
    )


def trials(banks: Banks, command: list[str], rng: np.random.Generator, changes: int) -> list[float]:
    """Seconds until each change was seen."""
    spent: list[float] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as other:
        assert other.stdin
        assert other.stdout
        for _ in range(changes // 2):
            value = rng.bytes(32)
            entry = 0
            for wanted in ("there", "gone"):
                other.stdin.write(f"{value.hex()} {wanted}\n")
                assert other.stdout.readline() == "asking\n"
                time.sleep(rng.uniform(0, 0.2))
                if wanted == "there":
                    (entry,) = banks.add("bench", [NewEntry(Fingerprint("pdq", value))]).ids
                else:
                    banks.remove_entry("bench", entry)
                done = time.time()
                spent.append(float(other.stdout.readline()) - done)
        other.stdin.close()
    return spent


if __name__ == "__main__":
    main()
