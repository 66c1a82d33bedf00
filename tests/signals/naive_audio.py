"""Audio fingerprints step by step and slowly, in double precision; and sounds to try them on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tutela.signals import audio

Array = NDArray[np.float64]
Samples = NDArray[np.int16]
Row = tuple[int, ...]


def energies(samples: Samples) -> Array:
    """(frames, bands): the weighted power of the bins around each band's middle."""
    octaves = math.log2(audio.HIGHEST / audio.LOWEST) / audio.BANDS
    out = []
    for start in range(0, len(samples) - audio.WINDOW + 1, audio.HOP):
        frame = samples[start : start + audio.WINDOW].astype(np.float64)
        fade = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(audio.WINDOW) / audio.WINDOW)
        power = np.abs(np.fft.fft(frame * fade)) ** 2
        row = []
        for band in range(audio.BANDS):
            middle = math.log2(audio.LOWEST) + (band + 0.5) * octaves
            total = weight = 0.0
            for k in range(1, audio.WINDOW // 2):
                off = (math.log2(k * 16_000 / audio.WINDOW) - middle) / (2 * octaves)
                if abs(off) < 1:
                    weight += math.cos(off * math.pi / 2) ** 2
                    total += math.cos(off * math.pi / 2) ** 2 * power[k]
            row.append(total / weight)
        out.append(row)
    return np.array(out).reshape(-1, audio.BANDS)


def products(energy: Array) -> Array:
    """(8, 16) products of a row's band energies (20, bands) with the cosines."""
    levels = np.log(energy + audio.FLOOR * energy.mean() + 1)
    out = np.zeros((8, 16))
    for k in range(8):
        for j in range(16):
            for t in range(audio.LENGTH):
                for b in range(audio.BANDS):
                    along = math.cos(math.pi * (k + 1) * (t + 0.5) / audio.LENGTH)
                    across = math.cos(math.pi * j * (b + 0.5) / audio.BANDS)
                    out[k, j] += levels[t, b] * along * across
    return out * math.sqrt(2 / audio.LENGTH) * math.sqrt(2 / audio.BANDS)


def tells(values: Array) -> tuple[float, float]:
    """Root mean squares of the products, and of what is left without their largest singular one."""
    singular = np.linalg.svd(values, compute_uv=False)
    return (
        math.sqrt((singular**2).sum() / values.size),
        math.sqrt((singular[1:] ** 2).sum() / values.size),
    )


def apart(a: Row, b: Row) -> int:
    """Bits in which two rows differ, -1 if either says nothing."""
    if not any(a) or not any(b):
        return -1
    return sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))


def nearest(row: Row, held: list[Row], radius: int, most: int) -> list[tuple[int, int]]:
    """(distance, place) of the rows within the radius, nearest first."""
    away = [(apart(row, other), place) for place, other in enumerate(held)]
    return sorted(pair for pair in away if 0 <= pair[0] <= radius)[:most]


def distinct(rows: list[Row], same: int, back: int) -> list[bool]:
    marked: list[Row] = []
    out = []
    for row in rows:
        out.append(any(row) and all(apart(row, other) > same for other in marked[-back:]))
        if out[-1]:
            marked.append(row)
    return out


def walk(
    asked: list[Row], i: int, held: list[Row], j: int, way: int, reach: int, pace: float,
    neutral: int, drop: int, bend: float,
) -> tuple[int, dict[int, tuple[int, int]]]:  # fmt: skip
    """The highest sum, and for each row up to there the row it agrees with and their distance."""
    place, step, score = float(i), pace, 0
    best, met, kept = 0, {}, {}
    for row in range(j + way, len(held) if way > 0 else -1, way):
        place += way * step
        near = range(round(place) - reach, round(place) + reach + 1)
        if not any(0 <= at < len(asked) for at in near):
            break
        found = [
            # Of equals the nearest to the expected place, then the later one.
            (apart(asked[at], held[row]), abs(at - round(place)), -at)
            for at in near
            if 0 <= at < len(asked) and apart(asked[at], held[row]) >= 0
        ]
        if not found:
            continue
        distance, _, at = min(found)
        met[row] = (-at, distance)
        score += neutral - distance
        if distance < neutral:
            off = -at - place
            place += bend * off
            step = min(max(step + way * bend * off * 0.125, pace * 0.95), pace * 1.05)
        if score > best:
            best, kept = score, dict(met)
        elif score < best - drop:
            break
    return best, kept


def voice(seed: int, seconds: float) -> Samples:
    """A sound with syllables, moving formants and pauses."""
    random = np.random.default_rng(seed)
    n = int(seconds * 16_000)
    out, start = np.zeros(n), 0
    while start < n:
        length = int(random.uniform(0.08, 0.35) * 16_000)
        time = np.arange(length) / 16_000
        pitch = random.uniform(90, 240) * (1 + random.uniform(-0.3, 0.3) * time)
        peaks = random.uniform([250, 800, 2200], [800, 2200, 3400])
        sound = np.zeros(length)
        for k in range(1, 20):
            gain = sum(1 / (1 + ((k * pitch.mean() - peak) / 120) ** 2) for peak in peaks)
            sound += gain * np.sin(2 * np.pi * k * np.cumsum(pitch) / 16_000)
        sound *= np.hanning(length) * random.uniform(0.2, 1)
        out[start : start + length] += sound[: n - start]
        start += length + int(random.choice([0, 0, 0, 0.2]) * 16_000)
    return (out * 9000 / np.abs(out).max() + random.normal(0, 3, n)).astype(np.int16)


def noisy(samples: Samples, decibels: float, seed: int) -> Samples:
    """With white noise that many decibels below it."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    noise *= np.sqrt((samples.astype(np.float64) ** 2).mean() / 10 ** (decibels / 10))
    return np.clip(samples + noise, -32768, 32767).astype(np.int16)


def resampled(samples: Samples, speed: float) -> Samples:
    """Played that much faster, and so higher."""
    places = np.arange(int(len(samples) / speed)) * speed
    return np.interp(places, np.arange(len(samples)), samples).astype(np.int16)
