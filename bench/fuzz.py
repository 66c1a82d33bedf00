"""Damaged files of every format, by the million: only `Rejected` may come of them.

    python bench/fuzz.py --inputs 1000000 --seed 1 --jobs 2

Generates seed files of every format and variant, mutates them (by bits, bytes and blocks, and by
the structure of each format with its checksums and lengths mended), and examines each in
processes with the memory limit of a sandbox worker. Prints a table and ends with status 1 if
anything but `Rejected` came out, or an input took over 2 s of processor time or 256 MiB. A crash
of a native decoder costs its process: it is counted, and in the sandbox gives `decoder-crashed`.
Inputs that crash, hang or break a bound are saved to `--save`. Input N of a seed is always the
same. POSIX.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pictures
from tutela import sandbox, signals
from tutela._worker import GENTLE
from tutela.errors import Reason
from tutela.examine import examine
from tutela.media import Limits, image

BLOCK = 64
"""Consecutive inputs of one format; memory is what the worst of them takes beyond the first."""
SHARE = 20_000
"""Inputs of one process, as in the sandbox."""
REASONS = list(Reason)
FORMATS = ("jpeg", "png", "gif", "webp", "avif", "heif", "bmp", "tiff")
Seeds = dict[str, list[bytes]]


# Mutations

NOTABLE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF)
NOTABLE += (0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 3, 4, 7, 8, 16, 255, 256, 1000, 4096, 65500)


def bytewise(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """One mutation that knows no format."""
    out = bytearray(data)
    size = len(out)
    if size < 8:
        return data + rng.randbytes(8)
    # Headers are short and decide the most: half of the mutations fall there.
    at = rng.randrange(min(size, 128) if rng.random() < 0.5 else size)
    match rng.randrange(9):
        case 0:
            out[at] ^= 1 << rng.randrange(8)
        case 1:
            out[at] = rng.randrange(256)
        case 2:
            width = rng.choice((1, 2, 4))
            order = rng.choice(("little", "big"))
            value = rng.choice(NOTABLE) & ((1 << 8 * width) - 1)
            out[at : at + width] = value.to_bytes(width, order)
        case 3:
            del out[at : at + rng.randrange(1, 32)]
        case 4:
            out[at:at] = rng.randbytes(rng.randrange(1, 16))
        case 5:
            del out[max(8, at) :]
        case 6:
            end = min(size, at + rng.randrange(1, 64))
            to = rng.randrange(size)
            out[to:to] = out[at:end]
        case 7:
            cut = rng.randrange(len(other))
            out[at:] = other[cut:]
        case 8:
            for _ in range(rng.randrange(2, 24)):
                out[rng.randrange(size)] = rng.randrange(256)
    return bytes(out)


def blocks(data: bytes, parts: list[bytes], rng: random.Random) -> list[bytes]:
    """A list of a file's parts with one changed, repeated, dropped, moved or swapped."""
    parts = list(parts)
    if not parts:
        return [data]
    at = rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        case 1:
            del parts[at]
        case 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at:at] = [parts[at]] * rng.randrange(1, 8)
    return parts


def png(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Chunks changed, their checksums mended."""
    chunks: list[bytes] = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at + 4 : at + 8 + length])
        at += 12 + length
    if rng.random() < 0.7 and chunks:
        n = rng.randrange(len(chunks))
        kind, body = chunks[n][:4], chunks[n][4:]
        if kind == b"IDAT" and rng.random() < 0.5:
            try:
                body = zlib.compress(bytewise(zlib.decompress(body), rng, other), 1)
            except zlib.error:
                body = bytewise(body, rng, other)
        else:
            body = bytewise(body, rng, other)
        chunks[n] = kind + body
    else:
        chunks = blocks(data, chunks, rng)
    return data[:8] + b"".join(pictures.chunk(part[:4], part[4:]) for part in chunks)


def jpeg(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Segments changed, their lengths mended; or the entropy-coded data alone."""
    parts: list[bytes] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at + 1 : at + 2] + data[at + 4 : at + 2 + length])
        at += 2 + length
    scan = data[at:]
    choice = rng.random()
    if choice < 0.4 and parts:
        n = rng.randrange(len(parts))
        parts[n] = parts[n][:1] + bytewise(parts[n][1:], rng, other)
    elif choice < 0.6:
        parts = blocks(data, parts, rng)
    else:
        body = bytewise(scan[2:], rng, other)
        if rng.random() < 0.3:
            n = rng.randrange(len(body))
            body = (
                body[:n] + bytes([0xFF, rng.choice((0xD0, 0xD7, 0xD9, 0xDA, 0xC4, 0))]) + body[n:]
            )
        scan = scan[:2] + body
    head = b"".join(
        b"\xff" + part[:1] + struct.pack(">H", (len(part) + 1) & 0xFFFF) + part[1:]
        for part in parts
    )
    return data[:2] + head + scan


def webp(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """RIFF chunks changed, lengths mended."""
    parts: list[bytes] = []
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(data[at : at + 4] + data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    if rng.random() < 0.7 and parts:
        n = rng.randrange(len(parts))
        parts[n] = parts[n][:4] + bytewise(parts[n][4:], rng, other)
    else:
        parts = blocks(data, parts, rng)
    body = b"WEBP" + b"".join(
        part[:4] + struct.pack("<I", len(part[4:])) + part[4:] + bytes(len(part) % 2)
        for part in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0}
CONTAINERS |= {b"stbl": 0, b"iref": 4, b"iinf": 6, b"dinf": 0}


def boxes(data: bytes, rng: random.Random, other: bytes, depth: int = 0) -> bytes:
    """Boxes of an ISO base media file changed at some depth, lengths mended up to the top."""
    parts: list[bytes] = []
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:
            break
        parts.append(data[at + 4 : at + length])
        at += length
    if not parts:
        return bytewise(data, rng, other)
    n = rng.randrange(len(parts))
    # Most of what decides is inside the metadata.
    metas = [i for i, part in enumerate(parts) if part[:4] in CONTAINERS]
    if metas and rng.random() < 0.75:
        n = rng.choice(metas)
    kind, body = parts[n][:4], parts[n][4:]
    skip = CONTAINERS.get(kind)
    choice = rng.random()
    if skip is not None and choice < 0.85 and depth < 6:
        parts[n] = kind + body[:skip] + boxes(body[skip:], rng, other, depth + 1)
    elif choice < 0.9:
        parts[n] = kind + bytewise(body, rng, other)
    else:
        parts = blocks(data, parts, rng)
    return b"".join(struct.pack(">I", len(part) + 4) + part for part in parts)


def tiff(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """One field of one directory entry changed."""
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        for _ in range(rng.randrange(3)):
            (count,) = struct.unpack_from(order + "H", data, at)
            (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
            at = following or at
        (count,) = struct.unpack_from(order + "H", data, at)
        entry = at + 2 + 12 * rng.randrange(max(1, count))
        match rng.randrange(5):
            case 0:
                tags = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322)
                tag = rng.choice((*tags, 323, 324, 325, 330, 338, 339, 347, 530, 532, 34675, 34665))
                struct.pack_into(order + "H", out, entry, tag)
            case 1:
                struct.pack_into(order + "H", out, entry + 2, rng.randrange(20))
            case 2:
                struct.pack_into(order + "I", out, entry + 4, rng.choice(NOTABLE))
            case 3:
                value = rng.choice((*NOTABLE, rng.randrange(64), rng.randrange(len(data))))
                struct.pack_into(order + "I", out, entry + 8, value)
            case 4:
                value = rng.choice((*NOTABLE, 5, 6, 32773, 32946, 34925, 50000, 50001))
                struct.pack_into(order + "H", out, entry + 8, value & 0xFFFF)
    except struct.error:
        return bytewise(data, rng, other)
    return bytes(out)


Mutator = Callable[[bytes, random.Random, bytes], bytes]
STRUCTURED: dict[str, Mutator] = {
    "png": png,
    "jpeg": jpeg,
    "webp": webp,
    "avif": boxes,
    "heif": boxes,
    "tiff": tiff,
}


def mutated(number: int, seed: int, files: Seeds) -> tuple[str, bytes]:
    """Input `number` of a run over those formats: its format and bytes."""
    rng = random.Random(seed * 1_000_003 + number)
    kinds = tuple(files)
    kind = kinds[number // BLOCK % len(kinds)]
    data = rng.choice(files[kind])
    other = rng.choice(files[kind])
    structured = STRUCTURED.get(kind, bytewise)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        change = structured if rng.random() < 0.6 else bytewise
        data = change(data, rng, other)
    return kind, data


# Running

SLOW = 2.0
MEMORY = 256 << 20
CRASHED, BROKEN, LARGE, DECODED, INPUTS, SLOWEST, PEAK, FIRST = range(8)
COLUMNS = FIRST + len(REASONS)


def status(name: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def work(job: int, numbers: range, seed: int, files: Seeds, table: np.ndarray, save: Path) -> None:
    """Examine the inputs of one job, in a process of its own, from where the last one ended."""
    chosen = signals.load(["pdq"])
    limits = Limits(max_seconds=GENTLE * Limits().max_seconds)
    linux = sys.platform == "linux"
    mine = table[job, -1]
    idle = 0
    # What native libraries print about each file would bury the report.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    for parts in files.values():
        examine(parts[0], chosen, limits)
    if linux:
        bound = status("VmData") + limits.max_memory
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
        idle = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        kind, data = mutated(number, seed, files)
        row = table[job, FORMATS.index(kind)]
        mine[0] = number
        mine[1] = time.monotonic_ns()
        started = time.process_time_ns()
        try:
            done = examine(data, chosen, limits)
        except BaseException as error:
            row[BROKEN] += 1
            keep(save, kind, "raised", data, f"input {number} raised {error!r}")
        else:
            if done.rejected is None:
                row[DECODED] += 1
            else:
                row[FIRST + REASONS.index(done.rejected.reason)] += 1
        took = (time.process_time_ns() - started) // 1000
        mine[1] = 0
        row[INPUTS] += 1
        row[SLOWEST] = max(row[SLOWEST], took)
        if took > SLOW * 1e6:
            row[BROKEN] += 1
            keep(save, kind, "slow", data, f"input {number} took {took / 1e6:.1f} s")
        if linux and number % BLOCK == BLOCK - 1:
            most = status("VmHWM") - idle
            row[PEAK] = max(row[PEAK], most)
            if most > MEMORY:
                row[LARGE] += 1
            Path("/proc/self/clear_refs").write_text("5")
            idle = status("VmRSS")
    mine[2] = 1


def keep(save: Path, kind: str, what: str, data: bytes, message: str) -> None:
    name = f"{what}-{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
    print(f"{message}; saved as {name} ({len(data)} bytes)", flush=True)
    save.mkdir(parents=True, exist_ok=True)
    (save / name).write_bytes(data)


def run(
    inputs: int, seed: int, jobs: int, save: Path, kinds: tuple[str, ...] = FORMATS
) -> np.ndarray:
    """Counts by format, of shape (formats, COLUMNS)."""
    files = {kind: parts for kind, parts in pictures.seeds().items() if kind in kinds}
    for kind, parts in files.items():
        for data in parts:
            plain = examine(data, signals.load(["pdq"]), Limits())
            if plain.rejected:
                raise SystemExit(f"a seed of {kind} is rejected: {plain.rejected}")
    image.single_threaded()
    memory = mmap.mmap(-1, jobs * (len(FORMATS) + 1) * COLUMNS * 8)
    table = np.frombuffer(memory, np.int64).reshape(jobs, -1, COLUMNS)
    # Whole blocks by turns, so that each job sees every format.
    step = -(-inputs // jobs // BLOCK) * BLOCK
    ends = [min(inputs, step * (job + 1)) for job in range(jobs)]

    def start(job: int, first: int) -> int:
        table[job, -1, :3] = (first, 0, 0)
        child = os.fork()
        if child:
            return child
        try:
            work(job, range(first, min(first + SHARE, ends[job])), seed, files, table, save)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(70)
        os._exit(0)

    sys.stdout.flush()
    children = {start(job, step * job): job for job in range(jobs) if step * job < ends[job]}
    while children:
        ended, state = os.waitpid(-1, os.WNOHANG)
        if ended:
            job = children.pop(ended)
            mine = table[job, -1]
            if mine[2]:
                if mine[0] + 1 < ends[job]:
                    children[start(job, int(mine[0]) + 1)] = job
                continue
            if os.WIFEXITED(state) and os.WEXITSTATUS(state) == 70:
                raise SystemExit("the fuzzer itself failed")
            number = int(mine[0])
            kind, data = mutated(number, seed, files)
            row = table[job, FORMATS.index(kind)]
            row[INPUTS] += 1
            hung = os.WIFSIGNALED(state) and os.WTERMSIG(state) == signal.SIGALRM
            row[BROKEN if hung else CRASHED] += 1
            what = "hung" if hung else f"crashed (status {state})"
            keep(save, kind, "hung" if hung else "crashed", data, f"input {number} {what}")
            if number + 1 < ends[job]:
                children[start(job, number + 1)] = job
            continue
        now = time.monotonic_ns()
        for child, job in children.items():
            began = int(table[job, -1, 1])
            if began and now - began > 5 * SLOW * 1e9:
                os.kill(child, signal.SIGALRM)
        time.sleep(0.02)
    counts: np.ndarray = table[:, :-1].sum(axis=0)
    counts[:, (SLOWEST, PEAK)] = table[:, :-1, (SLOWEST, PEAK)].max(axis=0)
    return counts


def _environment() -> dict[str, str]:
    """The settings of the allocator that a worker of the sandbox has."""
    settings = sandbox._environment()
    return {name: value for name, value in settings.items() if name.startswith("MALLOC_")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    options = parser.parse_args()
    variables = _environment()
    if not variables.items() <= os.environ.items():
        # The allocator reads its settings when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | variables)
    started = time.monotonic()
    table = run(options.inputs, options.seed, options.jobs, options.save, tuple(options.formats))
    seconds = time.monotonic() - started
    print(
        f"{'':6}{'inputs':>10}{'decoded':>10}{'rejected':>10}{'crashes':>9}{'slowest':>11}{'peak':>9}"
    )
    for kind, row in zip(FORMATS, table, strict=True):
        if not row[INPUTS]:
            continue
        rejected = int(row[FIRST:].sum())
        print(
            f"{kind:6}{row[INPUTS]:10,}{row[DECODED]:10,}{rejected:10,}{row[CRASHED]:9,}"
            f"{row[SLOWEST] / 1000:8.0f} ms{row[PEAK] / (1 << 20):5.0f} MiB  "
            + ", ".join(f"{r} {n:,}" for r, n in zip(REASONS, row[FIRST:], strict=True) if n)
        )
    total, wrong = int(table[:, INPUTS].sum()), int(table[:, (BROKEN, LARGE)].sum())
    print(
        f"{total:,} inputs in {seconds:.0f} s ({total / seconds:,.0f} a second), seed "
        f"{options.seed}: {wrong} violations, {int(table[:, CRASHED].sum())} crashes of decoders"
    )
    return 1 if wrong or total != options.inputs else 0


if __name__ == "__main__":
    sys.exit(main())
