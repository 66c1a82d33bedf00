"""`tutela scan` beside a straightforward script on python-threatexchange, both with all cores.

    python bench/scan.py --photos DIR [--small DIR] [--peer-python PATH] [--entries 10000]

Both screen the same folder against the same hashes; ours also takes three digests, searches eight
variants, applies the policy and records every verdict durably. Seconds are those of the scan
itself, from the first file to the last verdict, without the start of the process, which is stated
apart. Small pictures are repeated (hard links) so that the scan lasts long enough to be timed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from machine import describe
from tutela import bulk, detectors
from tutela.banks.bank import NewEntry
from tutela.screening import Screener
from tutela.settings import load
from tutela.signals import Fingerprint


def ours(
    folder: Path, hashes: list[bytes], data: Path, without: tuple[str, ...] | None
) -> dict[str, float]:
    """Seconds of a scan, and of the start before it."""
    started = time.perf_counter()
    with Screener(load(data, without=without)) as screener:
        screener.banks.create("bench", "reviewed")
        screener.banks.add("bench", [NewEntry(Fingerprint("pdq", value)) for value in hashes])
        screener.warm()
        ready = time.perf_counter()
        _, progress = bulk.scan(screener, folder)
        done = time.perf_counter()
    return {
        "files": progress.done,
        "matches": progress.actions.get("block", 0),
        "start": ready - started,
        "seconds": done - ready,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="2 to 12 megapixels")
    parser.add_argument("--small", type=Path, help="0.2 megapixels")
    parser.add_argument("--peer-python", help="a Python with threatexchange installed")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--repeat-small", type=int, default=10)
    parser.add_argument(
        "--matching-alone", action="store_true", help="without detectors, as the peer"
    )
    given = parser.parse_args()
    print(describe("numba", "numpy", "simplejpeg", "pillow"))
    without = tuple(detectors.installed()) if given.matching_alone else None
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32) for _ in range(given.entries)]
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        (base / "hashes.txt").write_text("\n".join(value.hex() for value in hashes))
        folders = [("photographs of 2-12 megapixels", given.photos)]
        if given.small:
            folders.append(("0.2 megapixels", repeated(given.small, base, given.repeat_small)))
        for name, folder in folders:
            mine = ours(folder, hashes, base / f"data-{len(name)}", without)
            rate = mine["files"] / mine["seconds"]
            print(f"\n{name}: {mine['files']:,.0f} files, {given.entries:,} entries")
            print(f"  tutela scan            {rate:9.1f} photos/s  (start {mine['start']:.1f} s)")
            if given.peer_python:
                peer = peers(given.peer_python, folder, base / "hashes.txt")
                theirs = peer["files"] / peer["seconds"]
                print(f"  threatexchange {peer['version']:<7} {theirs:9.1f} photos/s")
                print(f"  ratio                  {rate / theirs:9.1f} x")


def peers(python: str, folder: Path, hashes: Path) -> dict[str, float]:
    """What the script on the peer measures of itself."""
    script = Path(__file__).with_name("peer_scan.py")
    done = subprocess.run(
        [python, str(script), str(folder), str(hashes)], capture_output=True, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def repeated(folder: Path, base: Path, times: int) -> Path:
    """The folder's files, each so many times."""
    out = base / "small"
    for turn in range(times):
        (out / str(turn)).mkdir(parents=True)
        for path in sorted(folder.rglob("*.jpg")):
            target = out / str(turn) / path.name
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
    return out


if __name__ == "__main__":
    sys.exit(main())
