"""What a score of a voice is worth, and on which recordings it is worth anything.

AASIST was trained on read English from one corpus. On other recordings real voices score as high
as made ones: telephone lines, studios and rooms differ more than voices do. So a recording is
described by a few traits that say nothing of the voice, and only one whose traits lie among those
that the scores were calibrated on gets a likelihood.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError

FRAME: Final = 512
"""Samples that are looked at together, 32 ms; each overlaps the next by half."""
LOUD: Final = 15.0
"""Decibels below the level of speech within which a frame counts as speech."""
TRAITS: Final = ("depth", "highs", "top", "rumble", "hiss", "hum")
"""Decibels by which speech stands above the pauses; speech at 4 to 7 kHz, at 7 to 7.9 kHz and at
30 to 90 Hz, against 300 Hz to 3 kHz; pauses at 5 to 7.9 kHz and 30 to 90 Hz, against the same."""
_NOTHING: Final = 1e-15
_SPEECH: Final = (300, 3000)


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of a recording apart from what is said, and by whom."""

    traits: NDArray[np.float64]
    """(len(`TRAITS`),)"""
    silence: float
    """Share of frames that are digitally silent. Microphones give none: where there are some, it
    was cut, gated or made."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores are read: `bench/voice.py --write` makes it."""

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    """Inverse covariance of the traits."""
    limit: float
    """Distance from the mean, root mean square over the traits, of a recording that is alike."""
    silence: float
    """Share of digital silence up to which it is."""
    high: float
    """The score from which a voice counts as made. Below it nothing is said: of some programs, the
    voices score as real ones do."""
    often: float
    """Likelihood that a voice with such a score was made, for as many made ones as real ones."""

    def distance(self, recording: Recording) -> float:
        """How unlike the recordings of the calibration one is; about 1 for those."""
        apart = recording.traits - self.mean
        square = float(apart @ self.precision @ apart)
        return math.sqrt(max(0.0, square) / len(apart))

    def knows(self, recording: Recording) -> bool:
        """Whether scores of such a recording mean anything."""
        alike = self.distance(recording) <= self.limit
        return alike and recording.silence <= self.silence

    def likelihood(self, score: float) -> float | None:
        """How likely a voice was made, by its score; None where that can't be told."""
        return self.often if score >= self.high else None

    def to_json(self) -> dict[str, Any]:
        return {
            "traits": list(TRAITS),
            "mean": self.mean.round(4).tolist(),
            "precision": self.precision.round(7).tolist(),
            **{name: round(getattr(self, name), 4) for name in _NUMBERS},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Raises `ConfigurationError` for one of other traits than these."""
        if tuple(data["traits"]) != TRAITS:
            raise ConfigurationError("the calibration of voices is of another version; reinstall")
        return cls(
            np.array(data["mean"]),
            np.array(data["precision"]),
            **{name: float(data[name]) for name in _NUMBERS},
        )

    @classmethod
    def load(cls, model: str) -> Calibration:
        """The one that ships for a model."""
        path = files("tutela.detectors").joinpath(f"data/voice-{model}.json")
        return cls.from_json(json.loads(path.read_text("utf-8")))


_NUMBERS: Final = ("limit", "silence", "high", "often")


def describe(samples: NDArray[np.int16]) -> Recording:
    """The traits of a recording of speech, (n,) at 16 kHz, at least one second."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[:: FRAME // 2]
    sound = frames.astype(np.float32) / 32768
    power = (sound**2).mean(axis=1)
    level = 10 * np.log10(power + 1e-12)
    loudest = float(np.percentile(level, 90))
    spectra = np.abs(np.fft.rfft(sound * np.hanning(FRAME).astype(np.float32), axis=1)) ** 2
    speech = spectra[level > loudest - LOUD].mean(axis=0)
    pauses = spectra[level <= np.percentile(level, 10)].mean(axis=0)
    traits = [
        loudest - float(np.percentile(level, 5)),
        _band(speech, 4000, 7000),
        _band(speech, 7000, 7900),
        _band(speech, 30, 90),
        _band(pauses, 5000, 7900),
        _band(pauses, 30, 90),
    ]
    return Recording(np.array(traits), float((power * 32768**2 < 1).mean()))


def _band(spectrum: NDArray[np.floating], low: int, high: int) -> float:
    """Decibels of a band, in Hz, against that of speech."""
    hertz = np.arange(len(spectrum)) * 16000 / FRAME
    inside, base = (
        float(spectrum[(hertz >= first) & (hertz < last)].mean()) + _NOTHING
        for first, last in ((low, high), _SPEECH)
    )
    return float(10 * np.log10(inside / base))
