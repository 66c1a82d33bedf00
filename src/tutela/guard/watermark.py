"""Watermark: an invisible mark in the pixels that says a guarded model made the picture.

Waves of fixed frequencies are added to the brightness, relative to the picture's shorter side:
those of a tile that repeats four times along it. Their phases are drawn from a key. A reader adds
up how well the phases that it finds agree with the key's, at every place of the tile, for every
share of the shorter side that may be left or have been added, and mirrored. Resizing changes none
of that.

How likely a picture without the mark is taken for one that has it follows from the phases alone,
which know nothing of any picture: `Mark.chance` bounds it for each picture, with every place that
was tried counted. docs/design/watermark.md derives it and tells what was rejected.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.errors import ConfigurationError

PUBLIC: Final = b"tutela watermark 1"
"""The key that every installation reads."""
LEAST_KEY: Final = 16
"""Bytes of an operator's own key, at least."""
LEAST: Final = 256
"""Pixels of the shorter side below which a picture is not marked."""
PSNR: Final = 40.0
"""Decibels between a picture and the marked one, at least."""
STRENGTHS: Final = (0.7, 0.9, 1.2, 1.6)
"""Levels of 255, root mean square, that are added where a picture is even; the least that does."""
LIVELIEST: Final = 7.0
"""How many times as much is added where it is liveliest, at most."""
SLOPE: Final = 0.5
"""How much more for each level by which a picture varies nearby."""
MARGIN: Final = 1e-18
"""Chance of error to which a mark must be readable in what it is tried with."""
CHANCE: Final = 1e-9
"""Bound on the chance that a picture without the mark is taken for one that has it."""

TILES: Final = 4
"""Tiles along the shorter side."""
INNER: Final = 6.0
OUTER: Final = 20.5
"""Cycles a tile of the longest and the shortest waves: 24 to 82 along the shorter side."""
TELLING: Final = 8
"""One wave in so many tells an edit from a generation: their phases are turned for an edit."""
SURE: Final = 4.0
"""Standard deviations by which they must say so."""

SIDE: Final = 192
"""Pixels of the shorter side at which a picture is read, in the middle of it where it is long."""
LONG: Final = 320
SMALLEST: Final = 96
"""Pixels of the shorter side below which a picture is not read."""
STEP: Final = 0.016
KEPT: Final = 1.36 - STEP * np.arange(60, dtype=np.float64)
"""How long the shorter side may be, of what it was when the picture was marked: down to 0.42 in a
part of it, up to 1.36 where it is shown within a larger one."""
FINEST: Final = 0.46
"""Cycles a pixel, as the picture is read, up to which waves are looked at."""
NARROWER: Final = 8
"""Steps into which a step of shares is divided near the best."""
PLACES: Final = 240
"""Places of a tile along each side that are told apart."""
BEST: Final = 4
"""Best places that are looked at so closely."""
WORTH: Final = 4.4
"""Standard deviations from which a place is worth that."""
SOFTEN: Final = 0.4
"""Exponent on the strength of a wave that weighs its phase."""

LANCZOS = Image.Resampling.LANCZOS

Floats = NDArray[np.float32]
Waves = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark that was found."""

    chance: float
    """Bound on the chance to find as much in a picture without it, all tries counted."""
    edited: bool | None
    """Whether a model edited the picture; False: it generated it; None: can't be told."""
    kept: float
    """The shorter side, of what it was when the picture was marked: less in a part of it, more
    where it is shown within a larger one."""
    mirrored: bool
    key: int
    """Which of the keys that were looked for, from 0."""


def _lattice() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cycles a tile, across and down, of each wave: half a ring, the other half mirrors it."""
    most = int(OUTER)
    across, down = np.meshgrid(np.arange(-most, most + 1), np.arange(most + 1))
    length = np.hypot(across, down)
    inside = (length >= INNER) & (length <= OUTER) & ((down > 0) | (across > 0))
    return across[inside], down[inside]


ACROSS, DOWN = _lattice()
COUNT: Final = len(ACROSS)
MOST: Final = int(OUTER)
TELLS = np.arange(COUNT) % TELLING == TELLING // 2
TRIES: Final = 2 * (len(KEPT) + 1) * NARROWER * PLACES**2
"""Mirrorings, shares and places that a picture may be compared at, for one key."""


@dataclass(frozen=True)
class Look:
    """A first, coarse look for the mark."""

    kept: NDArray[np.float64]
    most: int
    """Cycles a tile up to which waves are looked at."""
    places: int
    """Places of a tile that are tried, along each side."""

    @property
    def waves(self) -> NDArray[np.bool_]:
        """Which of the waves."""
        inside = np.hypot(ACROSS, DOWN) < self.most + 0.5
        return np.asarray(inside & ~TELLS, np.bool_)


LOOKS: Final = (Look(KEPT[KEPT >= 0.75], 17, 40), Look(KEPT[KEPT < 0.75], MOST, 48))
"""In a small part the shorter waves are seen too, and needed."""


@cache
def phases(key: bytes) -> Waves:
    """The waves of a key, each of length 1, evenly distributed phases: SHAKE-256 of the key."""
    drawn = np.frombuffer(hashlib.shake_256(key).digest(2 * COUNT), "<u2")
    return np.exp(2j * np.pi / 65536 * drawn).astype(np.complex64)


def keys(own: Path | None) -> tuple[bytes, ...]:
    """The keys to look for: the public one and, last, that in a file of the operator's own.

    Raises `ConfigurationError` for a file that can't be read or holds less than `LEAST_KEY`.
    """
    if own is None:
        return (PUBLIC,)
    try:
        key = own.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"the watermark's key {own} can't be read: {error.strerror}"
        ) from error
    if len(key) < LEAST_KEY:
        raise ConfigurationError(
            f"the watermark's key {own} has {len(key)} bytes; draw at least {LEAST_KEY} at random"
        )
    return PUBLIC, key


def embed(
    rgb: NDArray[np.uint8], *, edited: bool = False, key: bytes = PUBLIC
) -> NDArray[np.uint8]:
    """The picture, uint8 (height, width, 3) or grey (height, width), with the mark in it.

    The same is added to every colour, more where the picture is lively, `PSNR` kept. Of several
    strengths it takes the least with which the mark outlasts what it is tried with: a small JPEG
    and crops. Raises `ValueError` below `LEAST` pixels of the shorter side.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < LEAST:
        raise ValueError(f"a picture of {width} × {height} pixels is too small for a watermark")
    change = _pattern(height, width, _message(key, edited=edited))
    room = _room(rgb)
    marked = rgb
    for strength in STRENGTHS:
        marked = _added(rgb, change, room, strength)
        if _outlasts(marked, key):
            break
    return marked


def _added(
    rgb: NDArray[np.uint8], change: Floats, room: Floats, strength: float
) -> NDArray[np.uint8]:
    """The picture with the change, at so many levels where it is even; within `PSNR`."""
    allowed = 255 * 10 ** (-PSNR / 20)
    most = LIVELIEST
    while True:
        added = np.minimum(room, most) * change
        added *= np.float32(strength * min(1.0, most))
        marked = np.rint(rgb + (added[..., None] if rgb.ndim == 3 else added))
        np.clip(marked, 0, 255, out=marked)
        noise = float(np.sqrt(np.mean(np.square(marked - rgb))))
        if noise <= allowed:
            return np.asarray(marked, np.uint8)
        most *= min(0.97, allowed / noise)


def _outlasts(marked: NDArray[np.uint8], key: bytes) -> bool:
    """Whether the mark is read, with a margin, in a small JPEG and in crops of the picture."""
    grey = Image.fromarray(marked).convert("L")
    scale = LEAST / min(grey.size)
    file = io.BytesIO()
    small = grey.resize((round(grey.width * scale), round(grey.height * scale)), LANCZOS)
    small.save(file, "JPEG", quality=50)
    tries = [np.asarray(Image.open(file))]
    luma = np.asarray(grey)
    high, wide = (round(side * 0.45) for side in luma.shape)
    for down, across in ((0, 0), (0, 1), (0.5, 0.5), (1, 0), (1, 1)):
        top = round(down * (luma.shape[0] - high))
        left = round(across * (luma.shape[1] - wide))
        tries.append(luma[top : top + high, left : left + wide])
    best = (nearest(one, (key,), MARGIN) for one in tries)
    return all(one is not None and one.chance <= MARGIN for one in best)


def _message(key: bytes, *, edited: bool) -> Waves:
    return np.where(TELLS & edited, -phases(key), phases(key)).astype(np.complex64)


def _pattern(height: int, width: int, waves: Waves) -> Floats:
    """The sum of the waves over a picture of that size, 1 root mean square."""
    period = min(height, width) / TILES
    grid = np.zeros((MOST + 1, 2 * MOST + 1), np.complex64)
    grid[DOWN, ACROSS + MOST] = waves
    rows = _turns(height, period, np.arange(MOST + 1))
    columns = grid @ _turns(width, period, np.arange(-MOST, MOST + 1)).T
    whole = rows.real @ columns.real - rows.imag @ columns.imag
    return np.asarray(whole * math.sqrt(2 / COUNT), np.float32)


def _turns(length: int, period: float, cycles: NDArray[np.int64]) -> Waves:
    """exp(2πi · place · cycles / period) at the middle of each pixel, counted from the centre."""
    places = np.arange(length) + 0.5 - length / 2
    return np.exp(2j * np.pi / period * np.outer(places, cycles)).astype(np.complex64)


def _room(rgb: NDArray[np.uint8]) -> Floats:
    """How strong the change may be at each pixel, 1 where the picture is even: more where it is
    lively all around, so not beside edges; less near black and white, which cut half of it off."""
    height, width = rgb.shape[:2]
    luma = _small(rgb)
    grey = _mean(luma, 2)
    lively = np.sqrt(_mean(np.square(luma - grey), 2))
    wide = np.pad(lively, 2, "edge")
    down, across = lively.shape
    corners = [wide[y : y + down, x : x + across] for y in (0, 4) for x in (0, 4)]
    lively = _mean(np.minimum.reduce([lively, *corners]), 1)
    room = 1 + SLOPE * np.maximum(lively - 1, 0)
    room *= np.clip(np.minimum(grey, 255 - grey) / 40, 0.4, 1)
    scaled = Image.fromarray(room).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32)


def detect(picture: NDArray[np.uint8], keys: Sequence[bytes] = (PUBLIC,)) -> Mark | None:
    """The mark in a picture, uint8 (height, width, 3) or luma (height, width); None without one.

    The chance to find one in a picture that has none is `CHANCE` at most, for all keys together.
    """
    if min(picture.shape[:2]) < SMALLEST:
        return None
    best = nearest(picture, keys)
    return best if best is not None and best.chance <= CHANCE else None


def nearest(
    picture: NDArray[np.uint8], keys: Sequence[bytes] = (PUBLIC,), enough: float = CHANCE
) -> Mark | None:
    """What comes nearest to a mark, however far off; None where nothing is worth a closer look.

    The first of which the chance is `enough` will do.
    """
    flat = _flat(_middle(_small(picture)))
    softened = [_softened(_spectra(flat, i), look.kept) for i, look in enumerate(LOOKS)]
    found: Mark | None = None
    for number, key in enumerate(keys):
        for place in _places(softened, phases(key)):
            mark = _closely(flat, key, number, len(keys), place)
            if found is None or mark.chance < found.chance:
                found = mark
            if found.chance <= enough:
                return found
    return found


def _small(picture: NDArray[np.uint8]) -> Floats:
    """The luma, its shorter side `SIDE` pixels."""
    height, width = picture.shape[:2]
    scale = SIDE / min(height, width)
    size = max(SIDE, round(width * scale)), max(SIDE, round(height * scale))
    grey = Image.fromarray(picture).convert("L")
    return np.asarray(grey.resize(size, LANCZOS, reducing_gap=3), np.float32)


def _middle(luma: Floats) -> Floats:
    """The middle of a long picture; sides are even, so that its centre is between pixels."""
    sides = [min(side, LONG) // 2 * 2 for side in luma.shape]
    top, left = ((side - kept) // 2 for side, kept in zip(luma.shape, sides, strict=True))
    return luma[top : top + sides[0], left : left + sides[1]]


def _flat(luma: Floats) -> Floats:
    """The luma less what is around it, equally strong everywhere, and faded out at the borders."""
    detail = luma - _mean(luma, 2)
    detail /= np.sqrt(_mean(np.square(detail), 5)) + np.float32(1.5)
    np.clip(detail, -2.5, 2.5, out=detail)
    detail *= _fade(luma.shape[0])[:, None]
    detail *= _fade(luma.shape[1])
    return detail


def _fade(length: int) -> Floats:
    places = (np.arange(length) + 0.5) / (length * 0.1)
    near = np.clip(np.minimum(places, places[::-1]), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * near), np.float32)


def _mean(values: Floats, reach: int) -> Floats:
    """The mean over a square of 2 · reach + 1 pixels; the border's pixels go on beyond it."""
    for _ in range(2):
        wide = np.pad(values, ((reach, reach), (0, 0)), "edge")
        total = wide[: values.shape[0]].copy()
        for place in range(1, 2 * reach + 1):
            total += wide[place : place + values.shape[0]]
        values = np.ascontiguousarray(total.T)
    return np.asarray(values / (2 * reach + 1) ** 2, np.float32)


@cache
def _tables(number: int) -> tuple[Floats, Floats]:
    """What `_spectrum` takes for one of `LOOKS` and a picture of `LONG` pixels on both sides."""
    look = LOOKS[number]
    return _down(LONG, look.kept, look.most), _across(LONG, look.kept, look.most)


def _down(length: int, kept: NDArray[np.float64], most: int) -> Floats:
    """Cosines and negative sines of 0 to `most` cycles: (shares · 2 · cycles, length)."""
    turns = _bases(length, kept, most)
    return np.concatenate([turns.real, -turns.imag], axis=1).reshape(-1, length)


def _across(length: int, kept: NDArray[np.float64], most: int) -> Floats:
    """Cosines and sines of 0 to `most` cycles: (shares, length, 2 · cycles)."""
    turns = _bases(length, kept, most)
    return np.ascontiguousarray(np.concatenate([turns.real, turns.imag], axis=1).swapaxes(1, 2))


def _bases(length: int, kept: NDArray[np.float64], most: int) -> Waves:
    """exp(2πi · cycles · place / period) for each share kept: (shares, cycles, length)."""
    places = np.arange(length) + 0.5 - length / 2
    one = np.exp(2j * np.pi * TILES / SIDE * kept[:, None] * places)
    turns = np.ones((len(kept), most + 1, length), np.complex128)
    turns[:, 1:] = one[:, None]
    return np.cumprod(turns, axis=1).astype(np.complex64)


def _spectra(flat: Floats, number: int) -> Waves:
    """The waves of one of `LOOKS` at each of its shares: (shares, 1 + most, 1 + 2 · most)."""
    down, across = _tables(number)
    top, left = ((LONG - side) // 2 for side in flat.shape)
    return _spectrum(
        flat, down[:, top : top + flat.shape[0]], across[:, left : left + flat.shape[1]]
    )


def _spectrum(flat: Floats, down: Floats, across: Floats) -> Waves:
    """The waves of 0 to `most` cycles down and -`most` to `most` across, one picture a share."""
    half = across.shape[2] // 2
    most = half - 1
    rows = (down @ flat).reshape(len(across), 2 * half, flat.shape[1])
    whole = rows @ across
    cosine, sine = whole[:, :half], whole[:, half:]
    found = np.empty((len(across), half, 2 * most + 1), np.complex64)
    found.real[..., most:] = cosine[..., :half] + sine[..., half:]
    found.imag[..., most:] = sine[..., :half] - cosine[..., half:]
    found.real[..., most::-1] = cosine[..., :half] - sine[..., half:]
    found.imag[..., most::-1] = sine[..., :half] + cosine[..., half:]
    return found


def _softened(spectra: Waves, kept: NDArray[np.float64]) -> Waves:
    """Phases as they are, strengths evened out, so that no few waves decide; none that is finer
    than the picture shows at that share."""
    most = spectra.shape[1] - 1
    length = np.hypot(np.arange(-most, most + 1), np.arange(most + 1)[:, None])
    strength = np.maximum(np.abs(spectra), np.float32(1e-6)) ** np.float32(SOFTEN - 1)
    strength[length * kept[:, None, None] > FINEST * SIDE / TILES] = 0
    return spectra * strength


Place = tuple[bool, float, float, float]
"""Mirrored, share kept, and place across and down, in tiles."""


def _places(softened: Sequence[Waves], waves: Waves) -> list[Place]:
    """The best places, where a picture seems most to have these waves."""
    found = [
        seen
        for spectra, look in zip(softened, LOOKS, strict=True)
        for mirrored in (False, True)
        for seen in _peaks(spectra[..., ::-1] if mirrored else spectra, waves, look, mirrored)
    ]
    found.sort(reverse=True)
    return [place for height, place in found[:BEST] if height >= WORTH]


def _peaks(
    spectra: Waves, waves: Waves, look: Look, mirrored: bool
) -> Iterator[tuple[float, Place]]:
    """The best place at each share, with its height in standard deviations."""
    across, down = ACROSS[look.waves], DOWN[look.waves]
    seen = spectra[:, down, across + look.most]
    spread = np.sqrt(np.square(np.abs(seen)).sum(axis=1) / 2)
    # The inverse transform takes a wave without its mirror image at half, but for these.
    wanted = np.conj(waves[look.waves]) * np.where(down == 0, 2, 1).astype(np.float32)
    grid = np.zeros((len(seen), look.places, look.places // 2 + 1), np.complex64)
    grid[:, across % look.places, down] = seen * wanted
    sums = np.fft.irfft2(grid, s=(look.places, look.places)).reshape(len(seen), -1)
    heights = sums.max(axis=1) * (look.places**2 / 2) / np.maximum(spread, 1e-9)
    for kept, height, at in zip(look.kept, heights, sums.argmax(axis=1), strict=True):
        row, column = divmod(int(at), look.places)
        yield float(height), (mirrored, float(kept), row / look.places, column / look.places)


def _closely(flat: Floats, key: bytes, number: int, keys: int, place: Place) -> Mark:
    """The best of the finer places around one, and what is to be read there."""
    mirrored, kept, across, down = place
    waves = phases(key)
    near = kept + STEP / NARROWER * np.arange(-NARROWER // 2 - 1, NARROWER // 2 + 2, dtype=float)
    high, wide = flat.shape
    spectra = _spectrum(flat, _down(high, near, MOST), _across(wide, near, MOST))
    spectra = _softened(spectra, near)
    agreed = np.zeros_like(spectra)
    seen = spectra[..., ::-1] if mirrored else spectra
    agreed[:, DOWN, ACROSS + MOST] = seen[:, DOWN, ACROSS + MOST] * np.conj(waves)
    telling = agreed[:, DOWN, ACROSS + MOST][:, TELLS]
    agreed[:, DOWN[TELLS], ACROSS[TELLS] + MOST] = 0
    finer = PLACES // min(look.places for look in LOOKS)
    steps = np.arange(-finer, finer + 1) / PLACES
    lower = np.exp(2j * np.pi * np.outer(down + steps, np.arange(MOST + 1)))
    aside = np.exp(2j * np.pi * np.outer(across + steps, np.arange(-MOST, MOST + 1)))
    sums = (lower.astype(np.complex64) @ agreed @ aside.T.astype(np.complex64)).real
    share, row, column = (int(one) for one in np.unravel_index(sums.argmax(), sums.shape))
    weights = np.abs(agreed[share][agreed[share] != 0]).astype(np.float64)
    chance = _chance(weights, float(sums[share, row, column]), TRIES * keys)
    turned = telling[share] * lower[row, DOWN[TELLS]] * aside[column, ACROSS[TELLS] + MOST]
    told = float(turned.real.sum())
    told /= max(math.sqrt(float(np.square(np.abs(turned)).sum()) / 2), 1e-9)
    edited = None if abs(told) < SURE else told < 0
    return Mark(chance, edited, float(near[share]), mirrored, number)


def _chance(weights: NDArray[np.float64], total: float, tries: int) -> float:
    """A bound on the chance that in any of so many tries the sum of weights · cos(phase) reaches
    `total`, phases drawn evenly: Chernoff's, by the Bessel function I₀, for the best of 32 rates.
    """
    scale = math.sqrt(float(np.square(weights).sum()) / 2)
    if scale <= 0 or total <= 0:
        return 1.0
    # The best rate for a normal sum is total / scale²; the bounded sum wants a little more.
    rates = total / scale**2 * np.linspace(0.5, 4, 32)
    logs = np.log(np.i0(rates[:, None] * weights)).sum(axis=1) - rates * total
    return min(1.0, math.exp(min(0.0, float(logs.min()) + math.log(tries))))
