"""Audio fingerprints: known sound is found again, also a few seconds of it, and where it lies.

A row says how the sound's spectrum changes over 1.3 s: band energies between 300 and 3400 Hz in
logarithms, projected on cosines along time and frequency, of which the signs are kept. Signs of
differences in a spectrogram are Haitsma and Kalker's idea ("A Highly Robust Audio Fingerprinting
System", ISMIR 2002); cosines in place of neighbours' differences average noise out, as PDQ
does in pictures. Cosines along time have no mean, so that neither volume nor equalisation counts.

A bank keeps four rows a second; content is looked up at sixteen, so that one is never more than
31 ms off. Rows that are near propose where an entry lies, and are extended to both sides for as
long as rows go on to agree (seed and extend, as in BLAST: Altschul et al., 1990).
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutela.errors import InvalidSignal
from tutela.media.types import RATE, Media, Sound
from tutela.signals.base import Fingerprint, Hit, Match, Stored

Rows: TypeAlias = NDArray[np.uint64]
"""(n, 2): a row of 128 bits each; zeros where there is nothing to tell by."""
Floats: TypeAlias = NDArray[np.float32]

HOP = 1000
"""Samples from one frame to the next: sixteen frames a second."""
WINDOW = 2048
"""Samples of a frame."""
LENGTH = 20
"""Frames of a row."""
SPAN = (LENGTH - 1) * HOP + WINDOW
"""Samples of a row, 1.3 s; a shorter sound has none."""
TIMES, TONES = 8, 16
"""Cosines along time and along frequency: 128 products."""
STEP = 4
"""Frames from one row that a bank keeps to the next."""
BYTES = 16
"""Bytes of a row."""
LOWEST, HIGHEST, BANDS = 300.0, 3400.0, 32
"""Bands, evenly spaced in the logarithm of frequency, Hz: what telephones carry, too."""
FLOOR = 0.2
"""Share of a row's mean energy below which differences in energy fade out: noise lies there."""
LEAST, REST = 0.5, 0.25
"""Root mean square of a row's products, and of what one spectrum that comes and goes leaves of
them, below which it has nothing to tell: noise stays below 0.45, a beep's rest below 0.17."""
SAME = 4
"""Bits within which rows of one entry are indexed once: a loop would flood its own searches."""
BACK = 1024
"""Rows of an entry, the last ones, that each further one is held against for that."""
NEUTRAL = 40
"""Bits at which a row speaks neither for nor against a match; strangers differ by 64 ± 7."""
DROP = 120
"""How far the sum of a match may fall before it ends."""
BEND = 0.5
"""How readily an extension follows where rows agree best."""
RARE, PACE = 4.87, 0.06
"""Decades by which a pair of strangers' rows rarely extends to a sum of 0, and each bit adds."""
CERTAIN = 6.0
"""Decades by which the match must be rarer than once in all pairs of rows that could begin it."""
CANDIDATES = 64
"""Entries that are looked at in full: those hit most often."""
SEEDS = 64
"""Hits of an entry that are extended, unless an earlier one's extension covers them."""
PLACES = 4
"""Rows of an entry, the nearest, that one hit is extended from."""
BLOCK = 1024
"""Frames that are transformed at once."""


@cache
def kernels() -> ModuleType:
    """The compiled loops; loading them (and numba) waits until the first sound."""
    from tutela.signals import audio_kernels as loaded

    return loaded


@dataclass(frozen=True, slots=True)
class Audio:
    """Four rows of 128 bits a second of sound (3.8 kB a minute), compared by alignment."""

    name: str = "audio"
    version: str = "1"
    radius: int = 20
    row_bits: int = 128
    min_quality: int = 30
    """Three rows that tell something: 1.8 s."""
    detail: int = 0

    def fingerprint(self, data: bytes, media: Media | None) -> Sequence[Fingerprint]:
        """The fingerprint of the sound; none where there is none, or less than a row of it."""
        del data
        if media is None or media.sound is None:
            return ()
        return sound_fingerprint(self.name, media.sound)

    def parse(self, text: str) -> bytes:
        """Base64 (URL-safe alphabet, padded) of whole rows. Raises `InvalidSignal`."""
        try:
            value = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            value = b""
        if not value or len(value) % BYTES or self.format(value) != text:
            raise InvalidSignal(
                f"an audio fingerprint is written in URL-safe base64 of {BYTES} bytes a row"
            )
        return value

    def format(self, value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode("ascii")

    def rows(self, value: bytes) -> Sequence[bytes]:
        """Its rows that tell something, those that repeat once."""
        held = _words(value)
        kept = np.zeros(len(held), np.bool_)
        kernels().distinct(held, SAME, BACK, kept)
        return [held[i].tobytes() for i in np.flatnonzero(kept)]

    def queries(self, fingerprint: Fingerprint) -> Mapping[str, bytes]:
        """The rows that tell something, by the number of their first frame.

        Sixteen a second of content; of a value alone the four that it has, which finds the
        same sound as long as it begins at the same instant, or a multiple of 1/4 s off.
        """
        asked = _asked(fingerprint)[0]
        return {str(frame): asked[frame].tobytes() for frame in np.flatnonzero(telling(asked))}

    def judge(
        self, fingerprint: Fingerprint, variants: Sequence[str], hits: Sequence[Hit], stored: Stored
    ) -> Sequence[Match]:
        """The entries of which rows agree with the content's at one offset, nearest first."""
        by_entry: dict[int, list[tuple[int, int]]] = {}
        for hit in hits:
            by_entry.setdefault(hit.entry, []).append((int(variants[hit.query]), hit.distance))
        likely = sorted(by_entry, key=lambda entry: (-len(by_entry[entry]), entry))[:CANDIDATES]
        asked, reach = _asked(fingerprint)
        matches = []
        for entry, value in stored(likely).items():
            frames = sorted({frame for frame, _ in by_entry[entry]})
            match = _compared(asked, reach, frames, entry, _words(value), self.radius)
            if match is not None:
                matches.append(match)
        return sorted(matches, key=lambda match: (match.distance, match.entry))


def sound_fingerprint(name: str, sound: Sound) -> tuple[Fingerprint, ...]:
    """The fingerprint of a sound, 1/16, 2/16 and 3/16 s later as variants; none below 1.3 s."""
    found = sound_rows(sound.samples)
    if not len(found):
        return ()
    value, *later = (found[first::STEP].tobytes() for first in range(STEP))
    count = int(telling(found[::STEP]).sum())
    # The shortest sounds have none of the later ones.
    variants = tuple((f"{first}/16 s later", rows) for first, rows in enumerate(later, 1) if rows)
    return (Fingerprint(name, value, min(100, 10 * count), variants=variants),)


def sound_rows(samples: NDArray[np.int16]) -> Rows:
    """The row of every frame of a sound from which on it lasts another 1.3 s."""
    if len(samples) < SPAN:
        return np.empty((0, 2), np.uint64)
    energy = np.concatenate(list(_energies(samples)))
    found = np.empty((len(energy) - LENGTH + 1, 2), np.uint64)
    kernels().rows(energy, np.float32(FLOOR), *_cosines(), LEAST, REST, found)
    return found


def _energies(samples: NDArray[np.int16]) -> Iterator[Floats]:
    """Energies of the bands in each frame, in blocks."""
    first, weights = _bands()
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    for start in range(0, len(frames), BLOCK):
        spectra = np.fft.rfft(frames[start : start + BLOCK] * window, axis=1)
        out = np.empty((len(spectra), BANDS), np.float32)
        kernels().gather(spectra.astype(np.complex64, copy=False), first, weights, out)
        yield out


@cache
def _bands() -> tuple[NDArray[np.int64], Floats]:
    """First bin and weights of each band: a squared cosine, two bands to either side."""
    octaves = np.log2(HIGHEST / LOWEST) / BANDS
    middle = np.log2(LOWEST) + (np.arange(BANDS) + 0.5) * octaves
    bins = np.arange(1, WINDOW // 2) * (RATE / WINDOW)
    off = (np.log2(bins) - middle[:, None]) / octaves / 2
    shape = np.where(np.abs(off) < 1, np.cos(off * np.pi / 2) ** 2, 0.0)
    shape /= shape.sum(1, keepdims=True)
    first = (shape > 0).argmax(1)
    width = int((shape > 0).sum(1).max())
    weights = np.stack([row[at : at + width] for row, at in zip(shape, first, strict=True)])
    return first + 1, np.ascontiguousarray(weights, np.float32)


@cache
def _cosines() -> tuple[Floats, Floats]:
    """Cosines along time, (LENGTH, 8), without a mean, and along frequency, (BANDS, 16)."""
    time = np.outer(np.arange(LENGTH) + 0.5, np.arange(1, TIMES + 1)) * np.pi / LENGTH
    tone = np.outer(np.arange(BANDS) + 0.5, np.arange(TONES)) * np.pi / BANDS
    along_time = np.cos(time) * np.sqrt(2 / LENGTH)
    along_tone = np.cos(tone) * np.sqrt(2 / BANDS)
    return along_time.astype(np.float32), along_tone.astype(np.float32)


def telling(rows: Rows) -> NDArray[np.bool_]:
    """Which rows say something."""
    return np.asarray(rows[:, 0] | rows[:, 1], np.bool_)


def _words(value: bytes) -> Rows:
    return np.frombuffer(value, "<u8").reshape(-1, 2)


def _asked(fingerprint: Fingerprint) -> tuple[Rows, int]:
    """The rows of each frame, and within how many frames the right one lies."""
    grids = [fingerprint.value, *(rows for _, rows in fingerprint.variants)]
    asked = np.zeros((len(grids[0]) // BYTES * STEP, 2), np.uint64)
    for first, rows in enumerate(grids):
        words = _words(rows)
        asked[first : first + STEP * len(words) : STEP] = words
    return asked, 1 if len(grids) > 1 else STEP // 2


def _compared(
    asked: Rows, reach: int, frames: Sequence[int], entry: int, held: Rows, radius: int
) -> Match | None:
    """The match of content with an entry, given the frames of the content that hit it."""
    told, kept = telling(asked), telling(held)
    enough = (CERTAIN + math.log10(told.sum() * kept.sum()) - RARE) / PACE
    covered = np.zeros(len(asked), np.bool_)
    found = np.zeros(len(held), np.bool_)
    places, away = np.empty((2, PLACES), np.int64)
    best: Extension | None = None
    spread = np.linspace(0, len(frames) - 1, min(SEEDS, len(frames))).astype(int)
    for i in (frames[at] for at in spread):
        if covered[i]:
            continue
        count = kernels().nearest(asked, i, held, radius, places, away)
        for j in places[:count].tolist():
            if found[j]:
                continue
            extension = extended(asked, i, held, j, reach)
            if extension.score < enough:
                continue
            first, last = extension.frames
            covered[first : last + STEP] = True
            found[np.flatnonzero(extension.away >= 0)] = True
            if best is None or extension.score > best.score:
                best = extension
    if best is None:
        return None
    first, last = best.frames
    return Match(
        entry,
        int(best.distance),
        query_share=float((covered & told).sum() / told.sum()),
        index_share=float((found & kept).sum() / kept.sum()),
        start=first * HOP / RATE,
        end=(last * HOP + SPAN) / RATE,
    )


@dataclass(frozen=True, slots=True)
class Extension:
    """Rows of content and of an entry that agree one after the other."""

    score: int
    """Sum of `NEUTRAL` less the distance."""
    where: NDArray[np.int64]
    """For each row of the entry the frame of the content that it agrees with, -1 for none."""
    away: NDArray[np.int64]
    """Their distances, -1 for none."""

    @property
    def frames(self) -> tuple[int, int]:
        """The first and the last frame of the content of rows that lie inside the match.

        A row that reaches beyond it by a half still agrees more than strangers do.
        """
        edge = (self.distance + NEUTRAL) / 2
        inside = self.where[(self.away >= 0) & (self.away <= edge)]
        return int(inside.min()), int(inside.max())

    @property
    def distance(self) -> float:
        """The median of the distances."""
        return float(np.median(self.away[self.away >= 0]))


def extended(asked: Rows, i: int, held: Rows, j: int, reach: int) -> Extension:
    """The extension of row `i` of `asked` and row `j` of `held` to both sides."""
    where, away = np.full((2, len(held)), -1, np.int64)
    where[j], away[j] = i, int(np.bitwise_count(asked[i] ^ held[j]).sum())
    score = NEUTRAL - int(away[j])
    for way in (-1, 1):
        score += kernels().walk(
            asked, i, held, j, way, reach, float(STEP), NEUTRAL, DROP, BEND, where, away
        )
    return Extension(score, where, away)


AUDIO = Audio()
