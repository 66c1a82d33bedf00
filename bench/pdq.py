"""PDQ beside python-threatexchange: speed, distance and start-up.

    python bench/pdq.py --photos FOLDER [--peer-python PYTHON]

Both start from the bytes of a JPEG in memory, on one thread, one after the other on each file.
Ours ends with the hash, its quality and the seven turned variants, after every check that a
screened upload gets; the peer's `pdq_from_bytes` with one hash and its quality. PYTHON is an
interpreter with threatexchange and pdqhash, if this one lacks them.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
from PIL import Image

from photos import photos, resized, spread
from tutela.media import Limits, decode
from tutela.signals.base import Fingerprint
from tutela.signals.pdq import PDQ

SIZES = ((4096, 3072), (2048, 1536), (1024, 768), (512, 384))
TARGETS = {4096: 60, 2048: 25, 1024: 10, 512: 5}

PEER = """
import base64, json, sys, time
from importlib.metadata import version
from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes
print(json.dumps({name: version(name) for name in ("threatexchange", "pdqhash", "pillow")}))
sys.stdout.flush()
for line in sys.stdin:
    job = json.loads(line)
    data = base64.b64decode(job["data"])
    times = []
    for _ in range(job["repeat"]):
        start = time.perf_counter()
        value, quality = pdq_from_bytes(data)
        times.append(time.perf_counter() - start)
    print(json.dumps([value, quality, times]))
    sys.stdout.flush()
"""

COLD = """
import io, time
start = time.perf_counter()
from tutela.media import Limits, decode
from tutela.signals.pdq import PDQ
imported = time.perf_counter()
from PIL import Image
out = io.BytesIO()
Image.effect_mandelbrot((2048, 1536), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(out, "JPEG")
data = out.getvalue()
begin = time.perf_counter()
PDQ.fingerprint(data, decode(data, Limits(), detail=PDQ.detail))
print(imported - start, time.perf_counter() - begin)
"""


class Peer:
    """python-threatexchange in a process of its own, one question at a time."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", PEER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self.versions: dict[str, str] = self._read()

    def _read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer did not answer: give --peer-python")
        return json.loads(line)

    def ask(self, data: bytes, repeat: int) -> tuple[bytes, int, list[float]]:
        """Hash, quality, and the seconds of each repetition."""
        job = {"data": base64.b64encode(data).decode(), "repeat": repeat}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        value, quality, times = self._read()
        return bytes.fromhex(value), quality, times


def ours(data: bytes) -> Fingerprint:
    """The path of a screened upload."""
    (made,) = PDQ.fingerprint(data, decode(data, Limits(), detail=PDQ.detail))
    return made


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def speed(paths: list[Path], peer: Peer, repeat: int) -> None:
    print(f"\nSpeed, {len(paths)} photographs, JPEG quality 90, medians of {repeat}, one thread")
    print(f"{'size':>11} {'kB':>6} {'peer ms':>9} {'ours ms':>9} {'ratio':>7} {'least':>7} target")
    for width, height in SIZES:
        sizes, theirs, mine = [], [], []
        for path in paths:
            data = resized(path, width, height)
            ours(data)
            times = []
            theirs_here = []
            for _ in range(repeat):
                start = time.perf_counter()
                ours(data)
                times.append(time.perf_counter() - start)
                theirs_here += peer.ask(data, 1)[2]
            sizes.append(len(data) / 1000)
            mine.append(statistics.median(times))
            theirs.append(statistics.median(theirs_here))
        ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
        print(
            f"{width:>6}×{height:<4} {statistics.median(sizes):>6.0f}"
            f" {1e3 * statistics.median(theirs):>9.2f} {1e3 * statistics.median(mine):>9.3f}"
            f" {statistics.median(ratios):>6.1f}× {min(ratios):>6.1f}× ≥ {TARGETS[width]}×"
        )


def accuracy(name: str, contents: list[bytes], peer: Peer) -> None:
    """Distances to the peer's hashes where its quality is 80 or more."""
    distances, qualities = [], []
    for data in contents:
        value, quality, _ = peer.ask(data, 1)
        made = ours(data)
        qualities.append(abs(made.quality - quality))
        if quality >= 80:
            distances.append(distance(made.value, value))
    counts = [(bits, distances.count(bits)) for bits in sorted(set(distances))]
    print(
        f"{name}: {len(distances)} of {len(contents)} at quality ≥ 80; distance at most "
        f"{max(distances)}, median {statistics.median(distances):g}; quality off by at most "
        f"{max(qualities)}\n  bits: " + ", ".join(f"{bits}: {count}" for bits, count in counts)
    )


def comparable(path: Path) -> bool:
    """Whether the peer reads the file as people see it: upright, and in sRGB for all it knows."""
    with Image.open(path) as image:
        return image.mode in ("RGB", "L") and image.getexif().get(0x0112, 1) == 1


def startup() -> None:
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        for name in ("nothing compiled yet", "kernels cached"):
            out = subprocess.run(
                [sys.executable, "-c", COLD],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            imported, first = map(float, out.stdout.split())
            print(f"{name}: import {imported:.2f} s, first fingerprint {first:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG photographs")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--speed-photos", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=["speed", "accuracy", "startup"])
    options = parser.parse_args()
    found = photos(options.photos)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, tutela {version('tutela')}, "
        f"numba {numba.__version__}, simplejpeg {version('simplejpeg')}"
    )
    if options.only in (None, "startup"):
        print("\nStart-up")
        startup()
    if options.only == "startup":
        return
    peer = Peer(options.peer_python)
    print("peer: " + ", ".join(f"{name} {number}" for name, number in peer.versions.items()))
    if options.only in (None, "accuracy"):
        print("\nDistance to the peer")
        alike = [path for path in found if comparable(path)]
        accuracy("as they are", [path.read_bytes() for path in alike], peer)
        for width, height in SIZES[1:]:
            contents = [resized(path, width, height) for path in alike]
            accuracy(f"at {width}×{height}", contents, peer)
    if options.only in (None, "speed"):
        speed(spread(found, options.speed_photos), peer, options.repeat)


if __name__ == "__main__":
    main()
