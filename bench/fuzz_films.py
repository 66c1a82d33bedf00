"""Damaged films and sounds, by the thousand: only `Rejected` may come of them.

    python bench/fuzz_films.py --inputs 100000 --seed 1 --jobs 2

Makes small files of every container and coding, mutates them (by bits, bytes and blocks; MP4 by
its boxes, lengths mended), and examines each in a sandbox, with sound and views. Prints outcomes by
container and ends with status 1 if a worker failed otherwise than by a typed rejection, an input
took longer than it may, or a worker grew beyond its bound. A crash of a native decoder costs its
process: it is counted. Inputs that crash, hang or break a bound are saved to `--save`. Input N of a
seed is always the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av

import films
import fuzz
from tutela.detectors import Sight
from tutela.errors import ConfigurationError, Reason
from tutela.examine import Wanted
from tutela.media.types import FILMS
from tutela.sandbox import Sandbox

EVERY = Wanted(sights=frozenset({Sight.VIEWS, Sight.SOUND}))
FAILED = "status 70"
"""How the sandbox words a worker in which our own code raised."""


def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        value = n << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


CRC = _crc_table()


def pages(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Pages of Ogg changed, their checksums mended."""
    parts = [b"OggS" + part for part in data.split(b"OggS")[1:]] or [data]
    n = rng.randrange(len(parts))
    parts[n] = fuzz.bytewise(parts[n], rng, other)
    for n, part in enumerate(parts):
        value = 0
        bare = part[:22] + bytes(4) + part[26:]
        for byte in bare:
            value = (value << 8 & 0xFFFFFFFF) ^ CRC[value >> 24 ^ byte]
        parts[n] = part[:22] + value.to_bytes(4, "little") + part[26:]
    return b"".join(parts)


STRUCTURED = {"mp4": fuzz.boxes, "ogg": pages}


def mutated(number: int, seed: int, files: dict[str, list[bytes]]) -> tuple[str, bytes]:
    """Input `number`: the container that it was made from, and its bytes."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choice(sorted(files))
    data, other = rng.choice(files[kind]), rng.choice(files[kind])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        mutate = STRUCTURED.get(kind, fuzz.bytewise)
        data = (mutate if rng.random() < 0.6 else fuzz.bytewise)(data, rng, other)
    return kind, data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=5.0, help="most for one input")
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    av.logging.set_level(None)
    # An encoder that talks.
    os.environ["SVT_LOG"] = "0"
    files = films.seeds()
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in files}
    violations = crashes = 0
    slowest = 0.0
    started = time.monotonic()

    def items() -> Iterator[tuple[int, str, bytes]]:
        for number in range(options.first, options.first + options.inputs):
            yield (number, *mutated(number, options.seed, files))

    def keep(data: bytes, number: int, what: str) -> None:
        options.save.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(data).hexdigest()[:16]
        (options.save / f"film-{name}").write_bytes(data)
        print(f"input {number} {what}: {options.save / f'film-{name}'}", flush=True)

    bounds = replace(FILMS, max_seconds=options.seconds)
    with Sandbox(workers=options.jobs, films=bounds) as sandbox:
        seen = 0
        try:
            for (number, kind, data), done in sandbox.examine_many(
                items(), lambda item: item[2], lambda _: EVERY
            ):
                seen += 1
                slowest = max(slowest, sum(done.timings.values()) / 1000)
                why = done.rejected
                outcomes[kind][why.reason if why else "decoded"] += 1
                if why is None or why.reason is not Reason.DECODER_CRASHED:
                    continue
                failed = FAILED in why.message or "out of form" in why.message
                violations += failed
                crashes += not failed
                keep(data, number, why.message)
        except ConfigurationError as error:
            print(f"no worker can be started: {error}")
            violations += 1
    seconds = time.monotonic() - started
    for kind, counts in outcomes.items():
        total = sum(counts.values())
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
        print(f"{kind:9}{total:8,}  {shown}")
    print(
        f"{seen:,} inputs in {seconds:.0f} s ({seen / seconds:,.0f} a second), seed "
        f"{options.seed}: {violations} violations, {crashes} crashes of decoders, slowest answer "
        f"{slowest:.2f} s"
    )
    return 1 if violations or seen != options.inputs else 0


if __name__ == "__main__":
    sys.exit(main())
