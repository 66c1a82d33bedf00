"""What goes over the pipes of a sandbox: how a worker says what it made, and how that is read.

A request is `REQUEST` (number, length, flags: which signals, detectors and sights to make) and that
many bytes of content. An answer is `ANSWER` (two lengths), that much JSON and that many bytes of
pixels and samples. A worker may have been taken over: nothing of its answer is believed but its
form.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tutela.detectors import Detector, Sight
from tutela.errors import InvalidSignal, Reason, Rejected, StoreError
from tutela.examine import Examination
from tutela.findings import DERIVATIVE, FAILURE, MATCH, Finding
from tutela.media.types import Limits, MediaFacts, Sound
from tutela.media.views import LARGE, View
from tutela.signals.base import Fingerprint, SignalType

REQUEST = struct.Struct("<IQQ")
ANSWER = struct.Struct("<IQ")
SIGHTS = (Sight.VIEWS, Sight.LARGE, Sight.SOUND)
"""What a worker can make of content for what runs outside of it."""
TIRED = b"!"
"""Ahead of an answer: the worker wants to be replaced after it."""

MAX_ANSWER = 32 << 20
"""Bytes of the JSON of an answer; a longer one is a worker gone wrong."""
MAX_PIXELS = 512 << 20
"""Bytes of pixels and samples likewise."""
MAX_TEXT = 200
"""Characters of each text in an answer."""
MAX_A_FRAME = 64
"""Fingerprints, and findings, for each frame that `Limits.max_frames` admits."""
_MAX_VARIANTS = 64
_MAX_VALUE = 1 << 20


def encode(number: int, done: Examination) -> bytes:
    """An examination as JSON, which `parse` reads back, trusting none of it."""
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
            "views": [(view.part, view.width, view.height, view.at) for view in done.views],
            "sound": 0 if done.sound is None else len(done.sound.samples),
        }
    )


def pixels(done: Examination) -> list[memoryview]:
    """What follows the JSON as it is: the pixels of each view, then the samples of the sound."""
    arrays: list[NDArray[Any]] = [view.rgb for view in done.views]
    if done.sound is not None:
        arrays.append(done.sound.samples)
    return [np.ascontiguousarray(array).data.cast("B") for array in arrays if array.size]


class Malformed(Exception):
    """An answer that is not in the form of one."""


def parse(
    body: bytes | bytearray,
    plain: bytes | bytearray,
    number: int,
    asked: tuple[Mapping[str, SignalType], Mapping[str, Detector]],
    limits: Limits,
) -> Examination:
    """An examination from a worker's answer: its JSON, then its pixels and samples.

    `asked` are the signals and detectors that it was asked for. Raises `Malformed` for anything
    else.
    """
    chosen, looking = asked
    try:
        answer = orjson.loads(body)
        if answer["number"] != number:
            raise Malformed
        most = MAX_A_FRAME * limits.max_frames
        if max(len(answer["fingerprints"]), len(answer["findings"])) > most:
            raise Malformed
        fingerprints = tuple(_fingerprint(row, chosen) for row in answer["fingerprints"])
        media = MediaFacts(**answer["media"])
        numbers = (media.width, media.height, media.frame_count, media.size, media.frames_sampled)
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise Malformed
        if not all(type(s) is float and 0 <= s < 1e6 for s in (media.duration, media.sound)):
            raise Malformed
        text_of(media.format)
        rejected = None
        if answer["rejected"] is not None:
            reason, message = answer["rejected"]
            rejected = Rejected(Reason(reason), text_of(message))
        steps = {"decode", "views", *chosen, *looking}
        timings = {name: float(ms) for name, ms in answer["timings"].items()}
        if not timings.keys() <= steps or not all(0 <= ms < 1e9 for ms in timings.values()):
            raise Malformed
        findings = tuple(_finding(found, looking) for found in answer["findings"])
        if len(answer["views"]) > 2 * limits.max_frames:
            raise Malformed
        rest = memoryview(plain)
        seen = []
        for row in answer["views"]:
            view, rest = _view(row, rest)
            seen.append(view)
        sound = _sound(answer["sound"], rest)
        return Examination(fingerprints, media, rejected, timings, findings, tuple(seen), sound)
    except (InvalidSignal, StoreError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Malformed from error


def _fingerprint(row: object, chosen: Mapping[str, SignalType]) -> Fingerprint:
    """A fingerprint of a signal that was asked for, every value in that signal's form."""
    if not isinstance(row, list):
        raise Malformed
    name, value, quality, part, variants = row
    kind = chosen[name]
    if not (quality is None or (type(quality) is int and 0 <= quality <= 100)):
        raise Malformed
    if len(variants) > _MAX_VARIANTS:
        raise Malformed
    others = tuple((text_of(variant), _value(text, kind)) for variant, text in variants)
    return Fingerprint(name, _value(value, kind), quality, text_of(part), others)


def _value(text: str, kind: SignalType) -> bytes:
    value = bytes.fromhex(text)
    if len(value) > _MAX_VALUE or kind.parse(kind.format(value)) != value:
        raise Malformed
    return value


def _view(row: object, plain: memoryview) -> tuple[View, memoryview]:
    """A picture of bounded size, and what is left of the pixels."""
    if not isinstance(row, list):
        raise Malformed
    part, width, height, at = row
    if not (type(width) is type(height) is int and 0 < width <= LARGE and 0 < height <= LARGE):
        raise Malformed
    if not (at is None or (type(at) is float and 0 <= at < 1e6)):
        raise Malformed
    size = 3 * width * height
    rgb = np.frombuffer(plain[:size], np.uint8)
    if len(rgb) != size:
        raise Malformed
    return View(text_of(part), rgb.reshape(height, width, 3), at), plain[size:]


def _sound(length: object, plain: memoryview) -> Sound | None:
    """So many samples, and nothing after them."""
    if type(length) is not int or len(plain) != 2 * length:
        raise Malformed
    return Sound(np.frombuffer(plain, np.int16)) if length else None


def _finding(found: Mapping[str, object], looking: Mapping[str, Detector]) -> Finding:
    """What a detector may say. That a bank holds something like it, only matching here may."""
    finding = Finding.from_json(found)
    detector = looking.get(finding.source)
    if detector is None or finding.kind in (MATCH, DERIVATIVE):
        raise Malformed
    if finding.kind not in detector.kinds | {FAILURE}:
        raise Malformed
    if finding.bank or finding.owner or finding.tier or finding.entry is not None:
        raise Malformed
    for value in found.values():
        if isinstance(value, str):
            text_of(value)
    return finding


def text_of(value: object) -> str:
    """A short text that does nothing to a terminal or a log."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise Malformed
    return value
