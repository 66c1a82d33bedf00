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
from dataclasses import replace

import orjson

from tutela import examine as examining
from tutela import signals
from tutela._confine import confine, data_in_use
from tutela.errors import Rejected
from tutela.examine import Examination
from tutela.media import Limits, image, jpeg_scan
from tutela.sandbox import ANSWER, LOOK, MORE, REQUEST, TIRED

FAILED = 70
"""Exit status of a worker in which a signal or detector raised."""
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
    image.single_threaded()
    _warm(chosen)
    ready = {"versions": {kind.name: kind.version for kind in chosen}}
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
        asked = [kind for place, kind in enumerate(chosen) if not flags >> place & 1]
        payload = requests.read(length)
        if len(payload) < length:
            break
        _alarm(overrun)
        try:
            done = examining.examine(payload, asked, gentle, look=bool(flags & LOOK))
        except Rejected as error:
            done = Examination(rejected=error)
        except BaseException:
            # A plug-in failed: this is a crash, and the parent learns of it at once.
            os._exit(FAILED)
        _alarm(0)
        answer = encode(number, done)
        del payload, done
        tired = number % 64 == 0 and data_in_use() > idle + limits.max_memory // 4
        _send(answers, TIRED + answer if tired else answer)


def encode(number: int, done: Examination) -> bytes:
    """An examination as JSON; `tutela.sandbox` reads it back, trusting none of it."""
    return orjson.dumps(
        {
            "number": number,
            "fingerprints": [
                (
                    made.signal,
                    made.value.hex(),
                    made.quality,
                    made.part,
                    [(name, value.hex()) for name, value in made.variants],
                )
                for made in done.fingerprints
            ],
            "media": done.media,
            "rejected": done.rejected and (done.rejected.reason, done.rejected.message),
            "timings": done.timings,
            "findings": [finding.to_json() for finding in done.findings],
            "previews": [
                (small.part, small.width, small.height, small.luma.hex()) for small in done.previews
            ],
        }
    )


def _send(answers: io.RawIOBase | io.BufferedIOBase, body: bytes) -> None:
    view = memoryview(ANSWER.pack(len(body)) + body)
    while view:
        view = view[answers.write(view) or 0 :]


def _warm(chosen: tuple[signals.SignalType, ...]) -> None:
    """Run every signal once on what decoders give, so that no input pays for compiling."""
    from PIL import Image

    for side, kind, mode, options in (
        (96, "JPEG", "RGB", {}),
        (96, "JPEG", "L", {}),
        (96, "JPEG", "RGB", {"progressive": True}),
        (96, "PNG", "RGB", {}),
        (1200, "JPEG", "RGB", {}),
    ):
        buffer = io.BytesIO()
        picture = Image.linear_gradient("L").resize((side, side)).convert(mode)
        picture.save(buffer, kind, **options)
        done = examining.examine(buffer.getvalue(), chosen, Limits(max_seconds=60.0))
        if done.rejected:
            raise done.rejected
        # Else only a large picture would get there.
        jpeg_scan.means(buffer.getvalue())


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
