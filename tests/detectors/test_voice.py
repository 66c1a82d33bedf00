"""The suspicion of a made voice: only of speech, and only where the scores mean something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela import detectors, models
from tutela.detectors import Options, Subject, voice, voice_domain
from tutela.detectors.voice import Voice
from tutela.detectors.voice_domain import TRAITS, Calibration, Recording, describe
from tutela.errors import ConfigurationError, ModelFailed
from tutela.findings import VOICE
from tutela.media import speech
from tutela.media.types import RATE, MediaFacts, Sound
from tutela.models import Model, State, aasist

TALK = MediaFacts("mp3", sound=30.0, duration=30.0)
LONGEST = aasist.SAMPLES / RATE


def room(seconds: float, seed: int = 3, *, floor: float = 30.0, band: float = 8000) -> np.ndarray:
    """Bursts of tones over noise, as speech in a room has them, below `band` hertz."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    speaks = np.sin(2 * np.pi * 1.3 * t) > -0.3
    phases = np.random.default_rng(0).uniform(0, 6.3, 65)
    tones = sum(np.sin(2 * np.pi * 120 * n * t + phases[n]) / n for n in range(1, 65))
    wave = 1000 * speaks * tones + random.standard_normal(len(t)) * floor
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > band] = 0
    return np.fft.irfft(spectrum, len(wave)).round().astype(np.int16)


def calibration(like: np.ndarray) -> Calibration:
    """One that knows recordings like this."""
    precision = np.eye(len(TRAITS)) / 9
    return Calibration(describe(like).traits, precision, 1.5, 0.02, 4.0, 0.95)


class Network:
    """Scores every stretch by its loudest sample, so that tests can say what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        self.heard += len(inputs[0])
        score = (inputs[0].max(axis=1) * 32768 - 10_000) / 1000
        return [np.stack([score, np.zeros_like(score)], axis=1)]


def detector(
    monkeypatch: pytest.MonkeyPatch, spans: list[tuple[float, float]], like: np.ndarray
) -> tuple[Voice, Network]:
    monkeypatch.setattr(speech, "speech", lambda sound: spans)
    network, ready = Network(), Voice()
    ready._model = Model("test", network, max_batch=1)
    ready._calibration = calibration(like)
    return ready, network


def loud(samples: np.ndarray, peak: int, at: float = 0.5) -> np.ndarray:
    """With one sample that makes the network say `(peak - 10,000) / 1,000`."""
    out = np.clip(samples, -5000, 5000)
    out[int(at * RATE)] = peak
    return out


def test_a_made_voice_is_said_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = loud(room(12), 17_000, at=5)
    sound[10 * RATE] = 15_000
    ready, network = detector(monkeypatch, [(0.0, 12.0)], sound)
    [finding] = detectors.examine(ready, Subject(sound=Sound(sound)))
    assert finding.kind == VOICE
    assert finding.likelihood == 0.95
    assert finding.score == pytest.approx(6.0, abs=0.01)
    assert (finding.start, finding.end) == (
        pytest.approx(4.04, abs=0.01),
        pytest.approx(8.07, abs=0.01),
    )
    assert finding.detail == ""
    assert network.heard == 3


@pytest.mark.parametrize(("peak", "likely"), [(6_000, None), (13_900, None), (14_100, 0.95)])
def test_a_low_score_says_nothing(
    monkeypatch: pytest.MonkeyPatch, peak: int, likely: float | None
) -> None:
    sound = loud(room(3), peak)
    ready, _ = detector(monkeypatch, [(0.0, 3.0)], sound)
    [finding] = ready.examine(Subject(sound=Sound(sound)))
    assert finding.likelihood == (None if likely is None else pytest.approx(likely, abs=0.001))
    assert finding.detail == (voice.BELOW if likely is None else "")
    assert finding.score == pytest.approx((peak - 10_000) / 1000, abs=0.01)


@pytest.mark.parametrize(
    "other",
    [
        room(4, band=3400),
        np.where(np.abs(room(4)) < 150, 0, room(4)),
        room(4, floor=1500.0),
        room(4, floor=0.4),
    ],
    ids=["telephone", "gated", "noisy", "no noise at all"],
)
def test_it_abstains_on_other_recordings(
    monkeypatch: pytest.MonkeyPatch, other: np.ndarray
) -> None:
    ready, _ = detector(monkeypatch, [(0.0, 4.0)], room(4, seed=8))
    [known] = ready.examine(Subject(sound=Sound(loud(room(4), 20_000))))
    assert known.likelihood is not None
    other = other.astype(np.int16).copy()
    other[8000] = 32_000
    [finding] = ready.examine(Subject(sound=Sound(other)))
    assert finding.likelihood is None
    assert finding.detail == voice.OUTSIDE
    assert finding.score is not None


def test_without_speech_the_network_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for spans in ([], [(3.0, 4.0)], [(1.0, 1.9), (5.0, 5.9)]):
        ready, network = detector(monkeypatch, spans, room(8))
        assert ready.examine(Subject(sound=Sound(room(8)))) == ()
        assert network.heard == 0


def test_a_long_sound_costs_a_bounded_number_of_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = room(90)
    ready, network = detector(monkeypatch, [(0.0, 90.0)], sound)
    ready.examine(Subject(sound=Sound(sound)))
    assert network.heard == voice.STRETCHES


def test_a_network_that_fails_holds_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, _ = detector(monkeypatch, [(0.0, 4.0)], room(4))
    fired = []

    def fails(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        fired.append(True)
        raise ValueError("no")

    ready._model = Model("test", fails, max_batch=1)
    [finding] = detectors.examine(ready, Subject(sound=Sound(room(4))))
    assert finding.kind == "failure"
    assert finding.detail == ModelFailed.__name__
    assert fired


def test_without_the_model_it_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "state", lambda card, folder: State.MISSING)
    ready = Voice()
    ready.prepare(Options())
    assert not ready.applies(TALK)
    assert ready.examine(Subject(sound=Sound(room(4)))) == ()


def test_with_the_model_it_applies_to_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "state", lambda card, folder: State.PULLED)
    monkeypatch.setattr(models, "load", lambda *_, **__: Model("test", Network()))
    monkeypatch.setattr(speech, "detector", lambda: None)
    ready = Voice()
    ready.prepare(Options())
    assert ready.applies(TALK)
    assert not ready.applies(MediaFacts("mp3", sound=1.0))
    assert not ready.applies(MediaFacts("png", 30, 30))


spans = st.lists(st.floats(0, 40), max_size=10).map(
    lambda times: list(zip(sorted(times)[::2], sorted(times)[1::2], strict=False))
)


@settings(max_examples=200)
@given(spans=spans, seconds=st.floats(0.1, 45))
def test_stretches_are_few_apart_and_hold_speech(
    spans: list[tuple[float, float]], seconds: float
) -> None:
    spans = [(start, min(end, seconds)) for start, end in spans if start < seconds]
    sound = Sound(np.arange(int(seconds * RATE), dtype=np.int64).astype(np.int16))
    found = voice.stretches(sound, spans)
    enough = sum(end - start for start, end in spans) >= voice.SHORTEST
    assert bool(found) == enough
    assert len(found) <= voice.STRETCHES
    for stretch in found:
        first = round(stretch.start * RATE)
        assert np.array_equal(stretch.samples, sound.samples[first : first + aasist.SAMPLES])
        assert stretch.end <= sound.seconds + 1e-6
        assert any(start < stretch.end and end > stretch.start for start, end in spans)
        assert len(stretch.samples) == min(aasist.SAMPLES, len(sound.samples))
    starts = [stretch.start for stretch in found]
    assert starts == sorted(set(starts))
    assert all(later - earlier > LONGEST - 1e-3 for earlier, later in pairwise(starts[:-1]))


@given(seed=st.integers(0, 1000), gain=st.floats(0.3, 1.0))
@settings(max_examples=20)
def test_traits_do_not_depend_on_loudness(seed: int, gain: float) -> None:
    sound = room(2, seed, floor=200)
    one, other = describe(sound), describe((sound * gain).astype(np.int16))
    assert np.abs(one.traits - other.traits).max() < 0.5
    assert one.silence == other.silence == 0


def test_traits_name_what_they_measure() -> None:
    def trait(name: str, sound: np.ndarray) -> float:
        return float(describe(sound).traits[TRAITS.index(name)])

    plain = room(4)
    assert trait("depth", plain) > trait("depth", room(4, floor=400)) + 10
    assert trait("highs", plain) > trait("highs", room(4, band=3400)) + 20
    assert trait("top", plain) > trait("top", room(4, band=6500)) + 20
    t = np.arange(len(plain)) / RATE
    hum = (plain + 300 * np.sin(2 * np.pi * 50 * t)).astype(np.int16)
    assert trait("hum", hum) > trait("hum", plain) + 10
    assert trait("rumble", hum) > trait("rumble", plain)
    hissing = plain + np.diff(np.random.default_rng(1).standard_normal(len(t) + 1)) * 300
    assert trait("hiss", hissing.astype(np.int16)) > trait("hiss", plain) + 3
    assert describe(np.zeros(RATE * 2, np.int16)).silence == 1


def test_the_calibration_that_ships() -> None:
    found = Calibration.load(voice.MODEL)
    assert Calibration.from_json(found.to_json()).to_json() == found.to_json()
    assert found.likelihood(found.high) == found.often
    assert found.likelihood(found.high - 0.01) is None
    assert 0.9 < found.often <= 0.95
    assert found.distance(Recording(found.mean, 0.0)) == 0
    assert found.knows(Recording(found.mean, 0.0))
    assert not found.knows(Recording(found.mean, 0.5))
    assert not found.knows(Recording(found.mean + 60, 0.0))
    with pytest.raises(ConfigurationError):
        Calibration.from_json({**found.to_json(), "traits": ["depth"]})
    assert voice_domain.FRAME == 512
