"""How fast the server screens uploads, and whether every verdict that it gave is in the database.

    python bench/serve.py [--entries 1000000] [--clients 1,16] [--seconds 15]
                          [--database sqlite|postgresql|URL] [--processes N] [--photos FOLDER]

A bank gets random PDQ entries, written straight into the tables in one go, for the API takes
them a few at a time. Then the real server is started, and clients that keep their connections
upload JPEGs of about 200 KB as multipart forms, one after the other, each as soon as its last one
was answered. No two uploads have the same bytes. The clients are one process of raw sockets on the
same cores as the server: what they take, the server lacks. The median of a handful of requests to
`/health/live` shows how much of a time is HTTP and the clients.

The pictures are made from the photographs in FOLDER, else from those of the demonstration, cropped,
scaled to 1600×1200, and compressed to about 200 KB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import importlib.metadata
import io
import json
import multiprocessing
import os
import platform
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from PIL import Image

import tutela
from running import Database, Server, cluster, descendants, own_database
from tutela.banks.bank import Banks
from tutela.store import Store

SIZE = (1600, 1200)
BYTES = 200_000
PICTURES = 32
WARM_UP = 1.0
"""Seconds of load before latencies count."""
PHOTOS = Path(tutela.__file__).parent / "cli" / "data" / "photos"
BOUNDARY = b"4f9f1c2f0a3d4a5e"


# Preparation --------------------------------------------------------------------------------------


def fill(url: str, entries: int) -> None:
    """A bank of random PDQ hashes, as the tables hold them."""
    store = Store(url)
    bank = Banks(store).create("random", "reviewed", owner="bench")
    store.close()
    text = np.random.default_rng(1).bytes(32 * entries)
    values = (text[at : at + 32] for at in range(0, len(text), 32))
    created = datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(" ")
    rows = (
        (bank.id, "pdq", value, value, "", "[]", True, created, "live", at + 1)
        for at, value in enumerate(values)
    )
    database = Database(url)
    database.load(
        "entries",
        (
            *("bank_id", "signal", "value", "digest", "note", "tags"),
            *("enabled", "created_at", "state", "seq"),
        ),
        rows,
    )
    database.run("UPDATE counters SET value = ? WHERE name = 'entries'", entries)


def pictures(folder: Path) -> list[bytes]:
    """JPEGs of about 200 KB, each another piece of a photograph."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
    rng = np.random.default_rng(2)
    made = []
    for number in range(PICTURES):
        with Image.open(paths[number % len(paths)]) as photo:
            picture = photo.convert("RGB")
        width, height = (int(side * rng.uniform(0.6, 1)) for side in picture.size)
        left, top = rng.integers(picture.width - width), rng.integers(picture.height - height)
        made.append(_near_bytes(picture.crop((left, top, left + width, top + height)).resize(SIZE)))
    return made


def _near_bytes(picture: Image.Image) -> bytes:
    """The picture at the quality whose size comes nearest."""

    def encoded(quality: int) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    return min(map(encoded, range(50, 98, 4)), key=lambda data: abs(len(data) - BYTES))


# Clients ------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What a load did."""

    clients: int
    seconds: float
    milliseconds: list[float]
    ids: list[str]
    """Every verdict acknowledged, those of the warm-up too."""
    failures: list[str]

    def line(self) -> str:
        """For people."""
        times = sorted(self.milliseconds)
        p50, p99 = (times[min(len(times) - 1, int(len(times) * part))] for part in (0.5, 0.99))
        return (
            f"{self.clients:3d} clients: p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  "
            f"max {times[-1]:6.1f} ms  {len(times) / self.seconds:6.1f} requests/s  "
            f"({len(times)} requests, {len(self.failures)} failed)"
        )


def load(port: int, secret: str, data: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Run a load in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_load, (port, secret, data, clients, seconds))


def _load(port: int, secret: str, data: Sequence[bytes], clients: int, seconds: float) -> Load:
    return uvloop.run(_clients(port, secret, data, clients, seconds))


async def _clients(
    port: int, secret: str, data: Sequence[bytes], clients: int, seconds: float
) -> Load:
    result = Load(clients, seconds, [], [], [])
    first = time.perf_counter() + WARM_UP
    last = first + seconds
    uploads = _uploads(data, secret)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        while (started := time.perf_counter()) < last:
            writer.writelines(next(uploads))
            status, body = await _answer(reader)
            spent = time.perf_counter() - started
            if status == 200:
                result.ids.append(json.loads(body)["id"])
                if started >= first:
                    result.milliseconds.append(spent * 1e3)
            else:
                result.failures.append(f"{status}: {body[:200]!r}")
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return result


def _uploads(data: Sequence[bytes], secret: str) -> Iterator[tuple[bytes, ...]]:
    """Requests without end; a comment in each JPEG makes it another file."""
    before = (
        b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="file"; filename="u.jpg"'
        b"\r\nContent-Type: image/jpeg\r\n\r\n"
    )
    after = b"\r\n--" + BOUNDARY + b"--\r\n"
    number = int.from_bytes(os.urandom(6)) << 32
    while True:
        for picture in data:
            number += 1
            comment = b"\xff\xfe" + (34).to_bytes(2, "big") + f"{number:032x}".encode()
            length = len(before) + len(picture) + len(comment) + len(after)
            head = (
                f"POST /v1/screen HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n"
                f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
                f"Content-Length: {length}\r\n\r\n"
            ).encode()
            yield head + before + picture[:2] + comment, memoryview(picture)[2:], after


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + 15
    length = int(head[at : head.index(b"\r\n", at)])
    return int(head[9:12]), await reader.readexactly(length)


def bare(port: int) -> float:
    """Median milliseconds of a request that does nothing."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(200):
            started = time.perf_counter()
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            connection.recv(1 << 16)
            times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


# Report -------------------------------------------------------------------------------------------


def memory(pid: int) -> list[str]:
    """Resident and proportional megabytes of a process and those below it. Linux only."""
    lines, total = [], [0.0, 0.0]
    for process in [pid, *descendants(pid)]:
        told = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in told}
        command = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        name = "decoder" if "tutela._worker" in command else "server"
        lines.append(f"{name:8} RSS {sizes['Rss:']:6.0f} MB  PSS {sizes['Pss:']:6.0f} MB")
        total = [total[0] + sizes["Rss:"], total[1] + sizes["Pss:"]]
    return [*lines, f"{'all':8} RSS {total[0]:6.0f} MB  PSS {total[1]:6.0f} MB"]


def machine() -> str:
    """What the numbers were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    names = ("fastapi", "uvicorn", "uvloop", "sqlalchemy", "numpy", "numba", "simplejpeg")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, tutela {tutela.__version__}, SQLite "
        f"{sqlite3.sqlite_version}, {versions}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--clients", default="1,16")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a server's URL")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--keep", type=Path, help="keep the data and the server's log here")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="serve-")
        folder = given.keep or Path(stack.enter_context(made))
        (folder / "data").mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'data' / 'tutela.db'}"
        if given.database != "sqlite":
            where = given.database
            if where == "postgresql":
                where = stack.enter_context(cluster())
            url = stack.enter_context(own_database(where))
        print(machine())
        data = pictures(given.photos)
        sizes = sorted(map(len, data))
        print(
            f"{given.entries:,} entries, {url.partition(':')[0]}, {given.processes} server and "
            f"{given.workers} decoding processes, JPEGs of {SIZE[0]}×{SIZE[1]} and "
            f"{sizes[0] // 1000}–{sizes[-1] // 1000} KB (median {sizes[len(sizes) // 2] // 1000})"
        )
        started = time.perf_counter()
        fill(url, given.entries)
        print(f"filled in {time.perf_counter() - started:.1f} s", flush=True)
        server = Server(
            folder,
            url,
            options=("--workers", str(given.workers)),
            serve=("--processes", str(given.processes)),
        )
        stack.callback(server.stop)
        secret = server.key("bench", "screen", "metrics")
        for how in ("the index built from the database", "the index read from its snapshot"):
            server.end()
            started = time.perf_counter()
            server.start()
            print(f"ready in {time.perf_counter() - started:.1f} s, {how}", flush=True)
        print(f"  a request that does nothing: {bare(server.port):.2f} ms")
        acknowledged: set[str] = set()
        failures: list[str] = []
        for clients in map(int, given.clients.split(",")):
            done = load(server.port, secret, data, clients, given.seconds)
            print(done.line(), flush=True)
            acknowledged |= set(done.ids)
            failures += done.failures
            if len(acknowledged) < len(done.ids):
                failures.append("a verdict was given twice")
        for line in memory(server.pid):
            print(f"  {line}")
        server.kill(alone=False)
        kept = {row[0] for row in Database(url).rows("SELECT id FROM verdicts")}
        lost = acknowledged - kept
        print(f"{len(acknowledged):,} verdicts acknowledged, {len(lost)} not in the database")
        for failure in failures[:5]:
            print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if lost or failures or not acknowledged else 0


if __name__ == "__main__":
    raise SystemExit(main())
