"""The process that decodes: one input at a time, within limits that the system enforces.

Started by `tutela.sandbox` as `python -P -m tutela._worker CONFIG`. Requests come on standard
input and answers leave on standard output, each behind its length; see `tutela.sandbox` for the
frames. Whatever else writes to those descriptors goes nowhere. From the first request on no file
can be opened (Linux): what signals and detectors read, they read when they are warmed.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import orjson
from PIL import Image

from tutela import detectors, signals
from tutela import examine as examining
from tutela._confine import confine, data_in_use
from tutela._wire import ANSWER, REQUEST, SIGHTS, TIRED, encode, pixels
from tutela.detectors import Detector, Options, Sight
from tutela.errors import Rejected
from tutela.examine import Examination
from tutela.media import Limits, image, jpeg_scan, sample
from tutela.sandbox import MORE
from tutela.signals import SignalType

FAILED = 70
"""Exit status of a worker in which a signal or detector raised."""
REQUEST_BITS = 64
"""Flags of a request: signals, then detectors, then sights."""
GENTLE = 0.75
"""Share of the time after which decoding stops itself between two frames."""


def main() -> None:
    """Read CONFIG, make ready, answer until standard input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = orjson.loads(sys.argv[1])
    limits = Limits(**config["limits"])
    chosen = signals.load(config["signals"])
    installed = detectors.installed()
    looking = [installed[name] for name in config["detectors"]]
    given = config["options"]
    options = Options(
        given["models"] and Path(given["models"]),
        given["trust"],
        watermark_key=given["watermark_key"] and Path(given["watermark_key"]),
    )
    for detector in looking:
        detector.prepare(options)
    image.single_threaded()
    examining.helper()
    _warm(chosen, looking)
    if config["films"]:
        _warm_films(chosen, limits)
    used: list[SignalType | Detector] = [*chosen, *looking]
    ready = {"versions": [[one.name, one.version] for one in used]}
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    _send(answers, orjson.dumps(ready | {"confinement": confine(limits.max_memory)}))
    idle = data_in_use()
    # The parent stops a worker that overruns. This clock is for a worker without a parent.
    overrun = 2 * MORE * limits.max_seconds + 1
    # Between frames a decoder can stop itself, which costs no new process.
    gentle = replace(limits, max_seconds=GENTLE * limits.max_seconds)
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        number, length, flags = REQUEST.unpack(head)
        bits = [bool(flags >> place & 1) for place in range(REQUEST_BITS)]
        asked = [kind for kind, bit in zip(chosen, bits, strict=False) if bit]
        del bits[: len(chosen)]
        shown = [detector for detector, bit in zip(looking, bits, strict=False) if bit]
        del bits[: len(looking)]
        sights = frozenset(sight for sight, bit in zip(SIGHTS, bits, strict=False) if bit)
        payload = requests.read(length)
        if len(payload) < length:
            break
        _alarm(overrun)
        try:
            done = examining.examine(payload, asked, gentle, detectors=shown, sights=sights)
        except Rejected as error:
            done = Examination(rejected=error)
        except BaseException:
            # A plug-in failed: this is a crash, and the parent learns of it at once.
            os._exit(FAILED)
        _alarm(0)
        answer, plain = encode(number, done), pixels(done)
        del payload, done
        tired = number % 64 == 0 and data_in_use() > idle + limits.max_memory // 4
        _send(answers, TIRED + answer if tired else answer, plain)
        del plain


def _send(
    answers: io.RawIOBase | io.BufferedIOBase, body: bytes, plain: Sequence[memoryview] = ()
) -> None:
    head = ANSWER.pack(len(body), sum(len(part) for part in plain))
    for part in (memoryview(head + body), *plain):
        view = part
        while view:
            view = view[answers.write(view) or 0 :]


def _warm(chosen: Sequence[SignalType], looking: Sequence[Detector]) -> None:
    """Run every signal and detector on what decoders give: no input pays for compiling."""
    turning = [Image.linear_gradient("L").resize((400, 400)).rotate(45 * n) for n in range(8)]
    for side, kind, mode, options in (
        (96, "JPEG", "RGB", {}),
        (96, "JPEG", "L", {}),
        (96, "JPEG", "RGB", {"progressive": True}),
        (96, "PNG", "RGB", {}),
        (1200, "JPEG", "RGB", {}),
        (400, "GIF", "L", {"save_all": True, "append_images": turning, "duration": 300}),
    ):
        buffer = io.BytesIO()
        picture = Image.linear_gradient("L").resize((side, side)).convert(mode)
        picture.save(buffer, kind, **options)
        done = examining.examine(
            buffer.getvalue(),
            chosen,
            Limits(max_seconds=60.0),
            detectors=looking,
            sights=frozenset({Sight.VIEWS}),
        )
        if done.rejected:
            raise done.rejected
        if kind != "JPEG":
            continue
        # Else only a large picture would get there.
        jpeg_scan.means(buffer.getvalue())


def _warm_films(chosen: Sequence[SignalType], limits: Limits) -> None:
    """The same for a film with sound. Without the extra, films are rejected."""
    if find_spec("av") is None:
        return
    turning = [Image.linear_gradient("L").resize((320, 240)).rotate(45 * n) for n in range(8)]
    every = frozenset({Sight.VIEWS, Sight.SOUND})
    done = examining.examine(sample.film(turning), chosen, limits, sights=every)
    if done.rejected:
        raise done.rejected


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
