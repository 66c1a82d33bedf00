"""Finding known sound in excerpts of it, beside Chromaprint; speed; where somebody speaks.

    python bench/audio.py --sounds FOLDER [--sounds FOLDER …] [--most N] [--peer fpcalc]

Every sound of the folders (and pieces of music that are generated here) goes into a bank. Then an
excerpt of each is altered and looked up among all of them, from samples to matches, through the
bank, the index and `judge`. A pair of an excerpt and another sound counts as unrelated unless the
two share a recording: what matched is then found in the other sound's very samples by correlation.

The peer is Chromaprint's `fpcalc -raw`; its fingerprints are slid over each other, and the least
share of bits that differ decides. Its threshold is set to where no unrelated pair matches, with
the very pairs that are reported: the best that it could do.

Files whose path matches `--tuned-on` are left out of everything.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from machine import describe
from tutela.banks import Banks
from tutela.banks.bank import NewEntry
from tutela.matching import Matcher
from tutela.media.types import RATE, Media, Sound
from tutela.signals import Fingerprint
from tutela.signals.audio import AUDIO
from tutela.store import Store

T = TypeVar("T")
Samples = NDArray[np.int16]
Alteration = Callable[[Samples, np.random.Generator], Samples]

LONGEST = 90.0
"""Seconds of each sound that are used."""
ALIKE = 0.25
"""Correlation from which on two sounds share a recording; strangers stay below 0.1."""


# Sounds


def decoded(source: Path | io.BytesIO, seconds: float = LONGEST) -> Samples:
    """Samples of a file, mono, `RATE` a second."""
    pieces: list[Samples] = []
    with av.open(str(source) if isinstance(source, Path) else source) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        for frame in (*container.decode(audio=0), None):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
            if sum(map(len, pieces)) > seconds * RATE:
                break
    return np.concatenate(pieces)[: int(seconds * RATE)]


def music(seed: int, seconds: float = 20.0) -> Samples:
    """A piece of its own tempo, scale, instruments and drums."""
    random = np.random.default_rng(seed)
    out = np.zeros(int(seconds * RATE) + 3 * RATE)
    beat = 60 / random.uniform(70, 160)
    root = random.uniform(80, 160)
    scale = random.choice([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]])
    for octave in (1, 2, 4):
        harmonics = random.uniform(0, 1, 10) / np.arange(1, 11) ** random.uniform(0.6, 2)
        decay, attack = random.uniform(1, 8), random.uniform(0.003, 0.08)
        length = random.choice([0.25, 0.5, 1, 2]) * beat
        at, step = 0.0, int(random.integers(0, 7))
        while at < seconds:
            step = int(np.clip(step + random.integers(-2, 3), 0, 9))
            note = root * octave * 2 ** ((scale[step % 7] + 12 * (step // 7)) / 12)
            chord = (1.0, 1.26, 1.5) if octave == 2 and random.random() < 0.4 else (1.0,)
            t = np.arange(int((length + 0.15) * RATE)) / RATE
            tone = sum(
                gain * np.sin(2 * np.pi * note * part * k * t)
                for part in chord
                for k, gain in enumerate(harmonics, 1)
                if note * part * k < RATE / 2
            )
            first = int(at * RATE)
            out[first : first + len(t)] += (
                tone * np.exp(-decay * t) * np.minimum(t / attack, 1) * random.uniform(0.3, 1)
            )
            at += length * random.choice([1, 1, 1, 2])
    pattern = random.random((2, 8)) < 0.4
    for hit in range(int(seconds / beat * 2)):
        t = np.arange(RATE // 5) / RATE
        first = int(hit * beat / 2 * RATE)
        for drum, place in enumerate(pattern[:, hit % 8]):
            if place:
                low = np.sin(2 * np.pi * (120 * t - 200 * t**2)) * np.exp(-18 * t)
                high = random.standard_normal(len(t)) * np.exp(-40 * t)
                out[first : first + len(t)] += low if drum else high * 0.6
    out = out[: int(seconds * RATE)]
    return (out * 9000 / np.abs(out).max()).astype(np.int16)


# Alterations


def coded(codec: str, kilobits: int, kind: str, rate: int = RATE) -> Alteration:
    """Through an encoder and back."""

    def through(sound: Samples, random: np.random.Generator) -> Samples:
        del random
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = kilobits * 1000
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            size = stream.codec_context.frame_size or 1024
            resampler = av.AudioResampler(stream.format.name, "mono", rate, frame_size=size)
            for piece in (*resampler.resample(frame), *resampler.resample(None), None):
                container.mux(stream.encode(piece))
        buffer.seek(0)
        return decoded(buffer)

    return through


def noise(decibels: float, power: float = 0.0) -> Alteration:
    """With noise that many decibels below the sound; its power falls as frequency ** -power."""

    def noisy(sound: Samples, random: np.random.Generator) -> Samples:
        spectrum = np.fft.rfft(random.standard_normal(len(sound)))
        spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (power / 2)
        added = np.fft.irfft(spectrum, len(sound))
        level = np.sqrt((sound.astype(float) ** 2).mean() / 10 ** (decibels / 10))
        mixed = sound + added * level / added.std()
        return (mixed * min(1.0, 32767 / np.abs(mixed).max())).astype(np.int16)

    return noisy


def speed(factor: float) -> Alteration:
    """Played faster, and so higher."""

    def played(sound: Samples, random: np.random.Generator) -> Samples:
        del random
        places = np.arange(int(len(sound) / factor)) * factor
        whole = np.floor(places).astype(int)
        total = np.zeros(len(places))
        for tap in range(-7, 9):
            off = places - whole - tap
            window = np.cos(np.pi * np.clip(off / 18, -0.5, 0.5))
            total += sound[np.clip(whole + tap, 0, len(sound) - 1)] * np.sinc(off) * window
        return np.clip(total, -32768, 32767).astype(np.int16)

    return played


def tempo(factor: float) -> Alteration:
    """Played faster at the same pitch, by a phase vocoder."""

    def played(sound: Samples, random: np.random.Generator) -> Samples:
        del random
        size, hop = 2048, 512
        window = np.hanning(size + 1)[:-1]
        padded = np.pad(sound.astype(float), size)
        places = np.arange(0, len(padded) - size - hop, hop * factor).astype(int)
        turn = 2 * np.pi * hop * np.arange(size // 2 + 1) / size
        out = np.zeros(len(places) * hop + size)
        phase = np.zeros(size // 2 + 1)
        for i, place in enumerate(places):
            now = np.fft.rfft(window * padded[place : place + size])
            then = np.fft.rfft(window * padded[place + hop : place + hop + size])
            if i == 0:
                phase = np.angle(now)
            shape = window * np.fft.irfft(np.abs(now) * np.exp(1j * phase))
            out[i * hop : i * hop + size] += shape / 1.5
            off = np.angle(then) - np.angle(now) - turn
            phase = phase + turn + off - 2 * np.pi * np.round(off / 2 / np.pi)
        return np.clip(out[int(size / factor) :], -32768, 32767).astype(np.int16)

    return played


def pitch(factor: float) -> Alteration:
    """Higher at the same tempo."""
    faster, slower = speed(factor), tempo(1 / factor)
    return lambda sound, random: slower(faster(sound, random), random)


def telephone(sound: Samples, random: np.random.Generator) -> Samples:
    """300 to 3400 Hz, in eight bits."""
    del random
    spectrum = np.fft.rfft(sound.astype(float))
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    narrow = np.fft.irfft(spectrum, len(sound)) / 32768
    folded = np.sign(narrow) * np.log1p(255 * np.minimum(np.abs(narrow), 1)) / np.log(256)
    rounded = np.round(folded * 127) / 127
    return (np.sign(rounded) * (256 ** np.abs(rounded) - 1) / 255 * 32767).astype(np.int16)


def chain(*steps: Alteration) -> Alteration:
    def all_of(sound: Samples, random: np.random.Generator) -> Samples:
        for step in steps:
            sound = step(sound, random)
        return sound

    return all_of


MP3 = coded("libmp3lame", 64, "mp3")
ALTERED: dict[str, Alteration] = {
    "as it is": lambda sound, _: sound,
    "MP3 64 kbit/s": MP3,
    "white noise 10 dB": noise(10),
    "pink noise 10 dB": noise(10, 1),
    "white noise 10 dB, MP3 64": chain(noise(10), MP3),
    "pink noise 10 dB, MP3 64": chain(noise(10, 1), MP3),
    "white noise 5 dB": noise(5),
    "MP3 32 kbit/s": coded("libmp3lame", 32, "mp3"),
    "AAC 48 kbit/s": coded("aac", 48, "adts"),
    "Opus 24 kbit/s": coded("libopus", 24, "ogg", 48_000),
    "speed +2 %": speed(1.02),
    "speed -2 %": speed(0.98),
    "tempo +2 %": tempo(1.02),
    "tempo -2 %": tempo(0.98),
    "pitch +2 %": pitch(1.02),
    "pitch -2 %": pitch(0.98),
    "volume -30 dB": lambda sound, _: (sound * 0.0316).astype(np.int16),
    "clipped": lambda sound, _: np.clip(sound * 4.0, -20_000, 20_000).astype(np.int16),
    "telephone": telephone,
}
MAIN = tuple(ALTERED)[:6]
"""Those that `--most` excerpts are tried with; the others with a third of that."""
SHORTER = ("as it is", "MP3 64 kbit/s", "white noise 10 dB, MP3 64")


# The peer


class Chromaprint:
    """`fpcalc -raw` on WAV files."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self.path = command, folder / "peer.wav"
        told = subprocess.run([command, "-version"], capture_output=True, text=True, check=True)
        self.version = told.stdout.strip()

    def fingerprint(self, sound: Samples) -> NDArray[np.uint32]:
        with wave.open(str(self.path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(sound.tobytes())
        command = [self.command, "-raw", "-json", "-length", "0", str(self.path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        # It may report the end of the file as an error, after having told the fingerprint.
        return np.array(json.loads(told.stdout)["fingerprint"] if told.stdout else [], np.uint32)

    @staticmethod
    def distance(asked: NDArray[np.uint32], held: NDArray[np.uint32]) -> float:
        """The least share of bits that differ, over all offsets."""
        if not len(asked) or len(held) < len(asked):
            return 1.0
        slid = np.lib.stride_tricks.sliding_window_view(held, len(asked))
        return float(np.bitwise_count(slid ^ asked).sum(1).min()) / (32 * len(asked))


# The measurement


def fingerprint(sound: Samples) -> Fingerprint | None:
    made = AUDIO.fingerprint(b"", Media("wav", 0, 0, 0, (), sound=Sound(sound)))
    return made[0] if made else None


def correlation(sound: Samples, other: Samples) -> float:
    """The highest correlation of a sound with any stretch of another."""
    size = 1 << (len(sound) + len(other)).bit_length()
    a, b = sound.astype(float), other.astype(float)
    crossed = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    power = np.cumsum(np.concatenate([[0], b**2]))
    within = len(b) - len(a) + 1
    if within < 1:
        return 0.0
    stretch = np.sqrt(np.maximum(power[len(a) :] - power[:within], 1) * (a**2).sum())
    return float((np.abs(crossed[:within]) / stretch).max())


class Bench:
    """A bank of known sounds, and excerpts looked up in it."""

    def __init__(self, sounds: list[tuple[str, Samples]], folder: Path) -> None:
        self.sounds = sounds
        store = Store(f"sqlite:///{(folder / 'tutela.db').as_posix()}")
        banks = Banks(store)
        banks.create("known", "reviewed", owner="bench", category="csam")
        self.matcher = Matcher(store, folder / "index", [AUDIO])
        began = time.perf_counter()
        made = [fingerprint(sound) for _, sound in sounds]
        self.rate = sum(len(sound) for _, sound in sounds) / RATE / (time.perf_counter() - began)
        self.entries: dict[int, int] = {}
        for i, value in enumerate(made):
            if (
                value is not None
                and value.quality is not None
                and value.quality >= AUDIO.min_quality
            ):
                self.entries[banks.add("known", [NewEntry(value)]).ids[0]] = i
        self.bytes = sum(len(value.value) for value in made if value is not None)
        self.matcher.refresh()
        self.same: set[tuple[int, int]] = set()
        self.false: list[tuple[str, str, str]] = []
        self.pairs = self.lookups = 0
        self.looking = self.looked = 0.0

    def excerpts(self, seconds: float) -> list[tuple[int, Samples, float]]:
        """(which sound, samples, where it begins) of each that is longer, and not near silence."""
        random = np.random.default_rng(int(seconds * 10))
        length, found = int(seconds * RATE), []
        for i, (_, sound) in enumerate(self.sounds):
            if len(sound) < length + RATE // 2:
                continue
            for _ in range(20):
                start = int(random.integers(0, len(sound) - length))
                part = sound[start : start + length]
                if np.sqrt((part.astype(float) ** 2).mean()) > 200:
                    found.append((i, part, start / RATE))
                    break
        return found

    def look_up(
        self, name: str, excerpts: list[tuple[int, Samples, float]], altered: list[Samples]
    ) -> tuple[int, list[float]]:
        """How many are found in their own sound, and by how much the spans are off."""
        right, off = 0, []
        for (i, part, _), sound in zip(excerpts, altered, strict=True):
            began = time.perf_counter()
            asked = fingerprint(sound)
            matches = self.matcher.match([[asked]])[0] if asked is not None else []
            self.looking += time.perf_counter() - began
            self.looked += len(sound) / RATE
            self.pairs += len(self.sounds) - 1
            self.lookups += 1
            for match in matches:
                assert match.entry is not None
                other = self.entries[match.entry]
                if other == i:
                    right += 1
                    assert match.start is not None
                    assert match.end is not None
                    off += [match.start, abs(len(sound) / RATE - match.end)]
                elif (i, other) not in self.same:
                    if self.shared(part, other):
                        self.same.add((i, other))
                    else:
                        self.false.append((name, self.sounds[i][0], self.sounds[other][0]))
        return right, off

    def shared(self, part: Samples, other: int) -> bool:
        """Whether any second of the excerpt is in the other sound's samples."""
        pieces = [part[at : at + RATE] for at in range(0, len(part) - RATE + 1, RATE // 2)]
        return max(correlation(piece, self.sounds[other][1]) for piece in pieces) >= ALIKE


def spread(items: list[T], most: int) -> list[T]:
    """At most so many, evenly spread."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).astype(int))]


def speech_shares(groups: dict[str, list[Samples]]) -> None:
    """How much of each group is taken for speech."""
    from tutela.media.speech import speech

    print("\nspeech activity: share of time, share of sounds with any, × real time")
    for name, sounds in groups.items():
        began = time.perf_counter()
        found = [speech(Sound(sound)) for sound in sounds]
        seconds = sum(map(len, sounds)) / RATE
        share = sum(end - start for spans in found for start, end in spans) / seconds
        some = sum(bool(spans) for spans in found) / len(found)
        took = time.perf_counter() - began
        print(f"  {name:34} {share:6.1%} {some:6.1%} {seconds / took:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sounds", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--tuned-on", type=re.compile, metavar="REGEX")
    parser.add_argument("--generated", type=int, default=250, help="pieces of generated music")
    parser.add_argument("--most", type=int, default=400, help="excerpts an alteration")
    parser.add_argument("--peer", metavar="FPCALC", help="Chromaprint's fpcalc")
    parser.add_argument("--only-speech-activity", action="store_true")
    given = parser.parse_args()
    print(describe("numpy", "numba", "av"))

    sounds: list[tuple[str, Samples]] = []
    for folder in given.sounds:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if given.tuned_on is not None:
            paths = [path for path in paths if not given.tuned_on.search(path.as_posix())]
        sounds += [(f"{path.parent.name}/{path.name}", decoded(path)) for path in paths]
    made = [music(1000 + seed) for seed in range(given.generated)]
    random = np.random.default_rng(0)
    groups: dict[str, list[Samples]] = {}
    for name, sound in sounds:
        groups.setdefault(name.partition("/")[0], []).append(sound[: 20 * RATE])
    groups["generated music"] = made[:20]
    time_axis = np.arange(20 * RATE)
    groups["silence"] = [np.zeros(20 * RATE, np.int16)]
    groups["white noise"] = [(random.standard_normal(20 * RATE) * 3000).astype(np.int16)]
    groups["tones"] = [(9000 * np.sin(time_axis * w)).astype(np.int16) for w in (0.08, 0.17, 0.4)]
    if given.only_speech_activity:
        speech_shares(groups)
        return
    sounds += [(f"generated/{seed}", piece) for seed, piece in enumerate(made)]

    with tempfile.TemporaryDirectory() as place:
        bench = Bench(sounds, Path(place))
        total = sum(len(sound) for _, sound in sounds) / RATE
        print(
            f"{len(sounds)} sounds, {total / 60:.0f} min; {bench.bytes / total * 60:.0f} B a "
            f"minute; fingerprints at {bench.rate:.0f} × real time, one thread"
        )
        peer = Chromaprint(given.peer, Path(place)) if given.peer else None
        held = [peer.fingerprint(sound) for _, sound in sounds] if peer else []
        results: list[tuple[str, int, int, list[float], list[float]]] = []
        strangers: list[tuple[float, Samples, int]] = []
        for seconds in (5.0, 10.0, 3.0, 2.0):
            excerpts = bench.excerpts(seconds)
            for name in ALTERED if seconds == 5 else SHORTER:
                most = given.most if seconds == 5 and name in MAIN else given.most // 3
                # Unaltered, all are looked up: that is most pairs of sounds for the least time.
                if seconds == 5 and name == "as it is":
                    most = len(excerpts)
                some = spread(excerpts, most)
                altered = [ALTERED[name](part, random) for _, part, _ in some]
                right, off = bench.look_up(name, some, altered)
                own: list[float] = []
                for (i, part, _), sound in zip(some, altered, strict=True):
                    if peer is None:
                        break
                    asked = peer.fingerprint(sound)
                    own.append(peer.distance(asked, held[i]))
                    if seconds == 5 and name in MAIN:
                        strangers += [
                            (peer.distance(asked, other), part, j)
                            for j, other in enumerate(held)
                            if j != i
                        ]
                print(f"{seconds:g} s {name}: {right} of {len(some)}", file=sys.stderr)
                results.append((f"{seconds:g} s {name}", right, len(some), off, own))
        strangers.sort(key=lambda stranger: stranger[0])
        limit = next((d for d, part, j in strangers if not bench.shared(part, j)), 0.0)
        print(f"\n{'excerpt':34} {'found':>16} {'span off, s':>12}", end="")
        print(f" {'Chromaprint':>12}" if peer else "")
        for name, right, count, off, own in results:
            span = f"{np.median(off):12.2f}" if off else " " * 12
            theirs = f" {np.mean(np.array(own) < limit):12.1%}" if own else ""
            print(f"{name:34} {right:5} of {count:3} {right / count:7.1%}{span}{theirs}")
        print(
            f"\n{len(bench.false)} false matches in {bench.pairs:,} pairs of an excerpt and "
            f"another sound ({len(sounds) * (len(sounds) - 1):,} pairs of sounds), "
            f"{len(bench.same)} of which share a recording"
        )
        for alteration, asked_name, other_name in bench.false[:20]:
            print(f"  {alteration}: {asked_name} in {other_name}")
        print(
            f"{bench.looking / bench.lookups * 1000:.1f} ms a look-up, samples to findings; "
            f"{bench.looked / bench.looking:.0f} × real time"
        )
        if peer:
            print(f"{peer.version}: threshold {limit:.3f} of bits at no false match")
    speech_shares(groups)


if __name__ == "__main__":
    main()
