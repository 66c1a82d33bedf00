"""The watermark: seen by a reader after what happens to pictures, by nobody else, and never
where there is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pictures import picture
from tutela.guard import watermark
from tutela.guard.watermark import detect, embed

Pixels = NDArray[np.uint8]


def scene(seed: int, width: int = 640, height: int = 512) -> Pixels:
    """Soft shapes with texture on a part of them, in colour."""
    rng = np.random.default_rng(seed)
    base = np.asarray(picture(width, height, seed), np.float32)
    texture = np.asarray(picture(width, height, seed + 100, cells=96), np.float32)
    share = np.asarray(picture(width, height, seed + 200, cells=4).convert("L"), np.float32)
    mixed = base * 0.8 + 20 + (texture - 128) * share[..., None] / 600
    mixed += rng.normal(0, 2, mixed.shape)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def webp(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def resized(pixels: Pixels, factor: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def cropped(pixels: Pixels, kept: float, down: float = 0.37, across: float = 0.61) -> Pixels:
    height, width = (round(side * kept) for side in pixels.shape[:2])
    top = round((pixels.shape[0] - height) * down)
    left = round((pixels.shape[1] - width) * across)
    return pixels[top : top + height, left : left + width]


def psnr(one: Pixels, other: Pixels) -> float:
    noise = np.mean(np.square(one.astype(float) - other))
    return float(10 * np.log10(255**2 / noise))


SCENES = [scene(1), scene(2), scene(3, 512, 768)]
MARKED = [embed(one, edited=number == 1) for number, one in enumerate(SCENES)]


def framed(pixels: Pixels, more: float = 1.2) -> Pixels:
    """On a grey page."""
    height, width = pixels.shape[:2]
    page = np.full((round(height * more), round(width * more), 3), 200, np.uint8)
    page[10 : 10 + height, 30 : 30 + width] = pixels
    return page


CHANGES = {
    "nothing": lambda x: x,
    "jpeg 50": lambda x: jpeg(x, 50),
    "webp 50": lambda x: webp(x, 50),
    "half": lambda x: resized(x, 0.5),
    "half, jpeg 50": lambda x: jpeg(resized(x, 0.5), 50),
    "twice the size": lambda x: resized(x, 2),
    "80 % of each side": lambda x: cropped(x, 0.8),
    "a fifth of the area": lambda x: cropped(x, 0.2**0.5),
    "within a larger picture": framed,
    "mirrored": lambda x: x[:, ::-1],
    "grey": lambda x: np.asarray(Image.fromarray(x).convert("L")),
    "darker": lambda x: (x * 0.7).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_mark_outlasts_what_happens_to_pictures(change) -> None:
    for number, marked in enumerate(MARKED):
        mark = detect(np.ascontiguousarray(change(marked)))
        assert mark is not None
        assert mark.chance <= watermark.CHANCE
        assert mark.edited in (number == 1, None)


def test_a_reader_says_what_it_saw() -> None:
    whole, part = detect(MARKED[0]), detect(cropped(MARKED[0], 0.8)[:, ::-1])
    assert whole is not None
    assert part is not None
    assert (whole.edited, whole.mirrored, part.mirrored) == (False, False, True)
    assert whole.kept == pytest.approx(1, abs=0.01)
    assert part.kept == pytest.approx(0.8, abs=0.01)
    edited = detect(MARKED[1])
    assert edited is not None
    assert edited.edited is True


def test_the_change_is_small() -> None:
    for plain, marked in zip(SCENES, MARKED, strict=True):
        assert marked.dtype == np.uint8
        assert psnr(plain, marked) >= watermark.PSNR


@pytest.mark.parametrize("flat", [0, 128, 255])
def test_an_even_picture_is_hardly_changed(flat: int) -> None:
    plain = np.full((512, 512, 3), flat, np.uint8)
    assert psnr(plain, embed(plain)) >= watermark.PSNR


def test_grey_pictures_are_marked_too() -> None:
    plain = np.asarray(Image.fromarray(SCENES[0]).convert("L"))
    marked = embed(plain)
    assert marked.shape == plain.shape
    assert detect(jpeg(marked, 50)) is not None


def test_pictures_without_a_mark_have_none() -> None:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (300, 400, 3), np.uint8)
    stripes = np.tile(np.uint8(128) + np.uint8(100) * (np.arange(512) // 5 % 2 == 0), (512, 1))
    for plain in (*SCENES, noise, stripes.astype(np.uint8), np.zeros((400, 400), np.uint8)):
        assert detect(plain) is None


def test_only_the_own_key_reads() -> None:
    own = b"a key of our own"
    marked = embed(SCENES[0], key=own)
    assert detect(marked) is None
    mark = detect(marked, (watermark.PUBLIC, own))
    assert mark is not None
    assert mark.key == 1


def test_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        embed(np.zeros((watermark.LEAST - 1, 900, 3), np.uint8))
    assert detect(np.zeros((20, 20, 3), np.uint8)) is None


def naive_spectrum(flat: NDArray[np.float32], kept: float, most: int) -> NDArray[np.complex128]:
    """Each wave by its definition."""
    period = watermark.SIDE / watermark.TILES / kept
    y, x = (np.arange(side) + 0.5 - side / 2 for side in flat.shape)
    found = np.zeros((most + 1, 2 * most + 1), complex)
    for down in range(most + 1):
        for across in range(-most, most + 1):
            turns = np.exp(-2j * np.pi / period * (down * y[:, None] + across * x))
            found[down, across + most] = (flat * turns).sum()
    return found


LOOKS = pytest.mark.parametrize("number", range(len(watermark.LOOKS)))


@LOOKS
def test_the_waves_are_those_of_their_definition(number: int) -> None:
    rng = np.random.default_rng(3)
    flat = rng.normal(size=(192, 250)).astype(np.float32)
    look = watermark.LOOKS[number]
    spectra = watermark._spectra(flat, number)
    for share in (0, len(look.kept) - 1):
        naive = naive_spectrum(flat, float(look.kept[share]), look.most)
        assert np.abs(spectra[share] - naive).max() < 0.05


@LOOKS
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_best_place_is_the_one_that_a_sum_over_all_finds(number: int, mirrored: bool) -> None:
    rng = np.random.default_rng(4)
    flat = rng.normal(size=(192, 192)).astype(np.float32)
    look = watermark.LOOKS[number]
    softened = watermark._softened(watermark._spectra(flat, number), look.kept)
    waves = watermark.phases(watermark.PUBLIC)
    turned = softened[..., ::-1] if mirrored else softened
    found = max(watermark._peaks(turned, waves, look, mirrored))
    across, down = watermark.ACROSS[look.waves], watermark.DOWN[look.waves]
    tried = np.arange(look.places) / look.places
    columns = np.exp(2j * np.pi * np.outer(across, tried))
    rows = np.exp(2j * np.pi * np.outer(down, tried))
    best = (0.0, (mirrored, 0.0, 0.0, 0.0))
    for share, kept in enumerate(look.kept):
        seen = softened[share][down, (-across if mirrored else across) + look.most]
        agreed = seen * np.conj(waves[look.waves])
        sums = np.real((agreed[:, None] * columns).T @ rows)
        sums /= np.sqrt(np.square(np.abs(seen)).sum() / 2)
        at = np.unravel_index(sums.argmax(), sums.shape)
        best = max(best, (float(sums.max()), (mirrored, float(kept), tried[at[0]], tried[at[1]])))
    assert found[1] == best[1]
    assert found[0] == pytest.approx(best[0], rel=1e-3)


def test_the_bound_on_the_chance_holds_for_phases_drawn_evenly() -> None:
    rng = np.random.default_rng(6)
    weights = rng.exponential(size=watermark.COUNT)
    sums = np.cos(rng.uniform(0, 2 * np.pi, (40_000, watermark.COUNT))) @ weights
    for total in np.sqrt(np.square(weights).sum() / 2) * np.array([1.0, 2.0, 3.0]):
        bound = watermark._chance(weights, float(total), 1)
        assert np.mean(sums >= total) <= bound <= 40 * np.mean(sums >= total)
    assert watermark._chance(weights, -1.0, 1) == 1.0
    assert watermark._chance(weights, 0.5 * float(weights.sum()), watermark.TRIES) < 1e-9


def test_other_keys_agree_no_more_than_chance_lets_them() -> None:
    """What the bound rests on: a key knows nothing of a picture, marked by another or not."""
    near = [watermark.nearest(MARKED[0], (b"key %d" % number,)) for number in range(40)]
    found = [mark for mark in near if mark is not None]
    assert found
    assert all(mark.chance > 1e-3 for mark in found)
