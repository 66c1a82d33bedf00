"""How likely a voice that is heard was made by a model: an optional one, AASIST-L, says.

It is asked about speech alone, and believed on recordings like those it was calibrated on. On all
others the finding says that nothing can be told, which is not that the voice is real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tutela import models
from tutela.detectors import Options, Sight, Subject
from tutela.detectors.voice_domain import Calibration, Recording, describe
from tutela.findings import VOICE, Finding
from tutela.media import speech
from tutela.media.types import RATE, MediaFacts, Sound
from tutela.models import Backend, Model, State, aasist
from tutela.models.runtime import onnx

MODEL: Final = "aasist-l"
STRETCHES: Final = 6
"""Stretches of one content that the network hears, spread evenly over its speech."""
SHORTEST: Final = 2.0
"""Seconds of speech below which it is not asked."""
SECONDS: Final = 60.0
"""For one content: each stretch takes the network about a third of a second on one core."""

OUTSIDE: Final = "outside the recordings it was calibrated on: nothing can be told"
BELOW: Final = "no higher than real voices score, and some made ones: nothing can be told"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech that the network hears at once."""

    start: float
    """Seconds from the start."""
    end: float
    samples: NDArray[np.int16]
    """(n,), at most `aasist.SAMPLES`."""


class Voice:
    """Hears speech, and says which stretch of it sounds made the most. Threads may share it."""

    name = "voice"
    version = "1"
    kinds: frozenset[str] = frozenset({VOICE})
    looks_at: frozenset[Sight] = frozenset({Sight.SOUND})
    cost = 1500.0

    def __init__(self) -> None:
        self._model: Model | None = None
        self._calibration: Calibration | None = None

    def prepare(self, options: Options) -> None:
        """Load the model where it was pulled; without it there is nothing to do.

        Raises `ConfigurationError` for a damaged one, or if speech can't be found.
        """
        self._model = None
        card = models.find(MODEL)
        if models.state(card, options.models) is State.MISSING:
            return
        speech.detector()
        self._calibration = Calibration.load(MODEL)
        self._model = models.load(card, options.models, make=backend, max_batch=1)

    def applies(self, facts: MediaFacts) -> bool:
        """Content with sound, where the model is installed."""
        return self._model is not None and facts.sound >= SHORTEST

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding where there is enough speech, with a likelihood if one can be given."""
        if self._model is None or self._calibration is None or subject.sound is None:
            return ()
        heard = stretches(subject.sound, speech.speech(subject.sound))
        if not heard:
            return ()
        scores = listen(self._model, heard)
        score, most = summary(scores), heard[int(np.argmax(scores))]
        likelihood, detail = None, OUTSIDE
        if self._calibration.knows(recording(heard)):
            likelihood = self._calibration.likelihood(score)
            detail = BELOW if likelihood is None else ""
        return (
            Finding(
                VOICE,
                self.name,
                self.version,
                score=round(score, 3),
                likelihood=None if likelihood is None else round(likelihood, 3),
                start=round(most.start, 2),
                end=round(most.end, 2),
                detail=detail,
            ),
        )


def stretches(sound: Sound, spans: Sequence[speech.Span]) -> list[Stretch]:
    """At most `STRETCHES` of the sound's speech, in order; none if it has less than `SHORTEST` s.

    A stretch runs on over pauses: how a recording sounds where nobody speaks is part of it.
    """
    if sum(end - start for start, end in spans) < SHORTEST:
        return []
    longest = aasist.SAMPLES / RATE
    starts: list[float] = []
    reached = -1.0
    for start, end in spans:
        at = max(start, reached)
        while end - at > (0.0 if at == start else longest / 2):
            starts.append(at)
            at += longest
        reached = max(reached, at)
    last = max(0.0, sound.seconds - longest)
    spread = np.linspace(0, len(starts) - 1, min(STRETCHES, len(starts))).round().astype(int)
    cut = [int(min(starts[place], last) * RATE) for place in spread]
    return [
        Stretch(first / RATE, (first + len(samples)) / RATE, samples)
        for first in dict.fromkeys(cut)
        if len(samples := sound.samples[first : first + aasist.SAMPLES])
    ]


def listen(model: Model, heard: Sequence[Stretch]) -> NDArray[np.float32]:
    """The network's score of each stretch: positive sounds made, negative real. A short one is
    repeated, as in the network's training. Raises `ModelFailed`."""
    rows = [np.resize(each.samples, aasist.SAMPLES).astype(np.float32) / 32768 for each in heard]
    logits = model.run(np.stack(rows), timeout=SECONDS)
    return np.asarray(logits[:, 0] - logits[:, 1], np.float32)


def summary(scores: NDArray[np.float32]) -> float:
    """One score for a content: the mean of its two highest, so that no one stretch decides."""
    return float(np.sort(scores)[-2:].mean())


def recording(heard: Sequence[Stretch]) -> Recording:
    """How the content that the stretches come from was recorded."""
    return describe(np.concatenate([each.samples for each in heard]))


def backend(data: bytes) -> Backend:
    """The network, of its file of weights."""
    return onnx(aasist.convert(data))[0]


VOICES = Voice()
