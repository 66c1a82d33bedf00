"""PDQ agrees with the reference implementation and with its own slow twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_pdq import coefficients, distance, pdq, picture, samples
from numpy.typing import NDArray

from tutela.errors import InvalidSignal
from tutela.media.types import Frame, Media
from tutela.signals import pdq_kernels as kernels
from tutela.signals.base import Fingerprint
from tutela.signals.pdq import PDQ, VARIANTS, turned

Luma = NDArray[np.uint8]

VECTORS = [
    line.split()
    for line in Path(__file__).with_name("vectors_pdq.txt").read_text("ascii").splitlines()
    if not line.startswith("#")
]

TURNS = {
    "": lambda a: a,
    "mirrored": lambda a: a[:, ::-1],
    "flipped": lambda a: a[::-1],
    "rotated 180": lambda a: a[::-1, ::-1],
    "transposed": lambda a: a.T,
    "rotated 90": lambda a: np.rot90(a, -1),
    "rotated 270": np.rot90,
    "transversed": lambda a: a[::-1, ::-1].T,
}


def fingerprint(luma: Luma, size: tuple[int, int] | None = None) -> Fingerprint:
    """PDQ of a frame that came from a picture of `size`: width and height."""
    width, height = size or luma.shape[::-1]
    (made,) = PDQ.fingerprint(b"", Media("png", width, height, 1, (Frame(0, luma),)))
    return made


def reduced(luma: Luma, factor: int) -> Luma:
    """The mean of each factor × factor cell; those at the far edges repeat the last pixels."""
    height, width = luma.shape
    luma = np.pad(luma, ((0, -height % factor), (0, -width % factor)), "edge")
    cells = luma.reshape(luma.shape[0] // factor, factor, -1, factor).mean(axis=(1, 3))
    return np.rint(cells).astype(np.uint8)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v[1]}x{v[2]}")
def test_the_reference_implementation_agrees(vector: list[str]) -> None:
    luma = picture(*map(int, vector[:3]))
    made = fingerprint(luma)
    assert distance(made.value, PDQ.parse(vector[3])) <= 2
    assert abs(made.quality - int(vector[4])) <= 1


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize(
    ("factor", "width", "height"), [(8, 1600, 1200), (4, 803, 1201), (2, 512, 384), (8, 1537, 2053)]
)
def test_a_reduced_picture_gives_the_hash_of_the_whole_one(
    seed: int, factor: int, width: int, height: int
) -> None:
    luma = picture(seed, width // 2, height // 2).repeat(2, 0).repeat(2, 1)
    expected, quality = pdq_of(luma)
    made = fingerprint(reduced(luma, factor), luma.shape[::-1])
    assert quality >= 80
    assert distance(made.value, expected) <= 10
    assert abs(made.quality - quality) <= 5


def pdq_of(luma: Luma) -> tuple[bytes, int]:
    made = fingerprint(luma)
    return made.value, made.quality


@given(
    seed=st.integers(0, 2**32),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
@settings(max_examples=60)
def test_any_size_agrees_with_the_slow_twin(seed: int, width: int, height: int) -> None:
    luma = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    made = fingerprint(luma)
    expected, quality = pdq(luma)
    # Many coefficients of a tiny picture are equal but for rounding, and so is their order.
    if min(width, height) >= 32:
        assert distance(made.value, expected) <= 4
    assert abs(made.quality - quality) <= 1


@given(length=st.integers(1, 5000), eighths=st.integers(1, 8))
def test_every_sample_weighs_the_whole(length: int, eighths: int) -> None:
    cells = -(-length * eighths // 8)
    first, weights = kernels.taps(length, cells, 8 / eighths)
    assert first.min() >= 0
    assert first.max() + weights.shape[2] <= cells
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-5)


def test_the_transforms_are_the_plain_products() -> None:
    luma = picture(1, 300, 200)
    height, width = luma.shape
    down = kernels.taps(height, height, 1.0)
    across = kernels.taps(width, width, 1.0)
    rows = np.empty((64, width), np.float32)
    kernels.samples_down(luma, down[0][0], down[1][0], rows)
    columns = np.empty((width, 32), np.float32)
    kernels.transform_down(rows, columns[:, :16])
    kernels.transform_down(rows, columns[:, 16:])
    values = kernels.transform_across(columns, across[0][0], across[1][0])
    expected = coefficients(samples(luma.astype(np.float64)))
    np.testing.assert_allclose(values[:, :16].T, expected, atol=0.05)
    np.testing.assert_allclose(values[:, 16:].T, expected, atol=0.05)


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=256, max_size=256))
def test_the_median_is_the_lower_one(values: list[float]) -> None:
    array = np.array(values, np.float32).reshape(16, 16)
    assert kernels.lower_median(array) == np.sort(array, axis=None)[127]


@pytest.mark.parametrize("size", [(512, 384), (333, 250), (1024, 1024)])
def test_turned_pictures_are_found_exactly(size: tuple[int, int]) -> None:
    luma = picture(3, *size)
    queries = PDQ.queries(fingerprint(luma))
    assert list(queries) == list(VARIANTS)
    for name, turn in TURNS.items():
        assert distance(queries[name], fingerprint(turn(luma)).value) <= 2, name


@pytest.mark.parametrize("seed", range(8))
def test_turned_pictures_are_found_from_the_hash_alone(seed: int) -> None:
    luma = picture(seed, 640, 480)
    queries = PDQ.queries(Fingerprint("pdq", fingerprint(luma).value))
    assert list(queries) == list(VARIANTS)
    for name, turn in TURNS.items():
        assert distance(queries[name], fingerprint(turn(luma)).value) <= PDQ.radius - 8, name


@given(st.binary(min_size=32, max_size=32))
def test_turning_twice_gives_the_hash_back(value: bytes) -> None:
    back = {"rotated 90": "rotated 270", "rotated 270": "rotated 90"}
    for name, other in turned(value).items():
        assert turned(other)[back.get(name, name)] == value


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_has_no_quality(level: int) -> None:
    made = fingerprint(np.full((300, 400), level, np.uint8))
    assert made.quality == 0
    assert made.quality < PDQ.min_quality


def test_a_view_of_a_frame_hashes_as_its_copy_does() -> None:
    luma = picture(5, 300, 200)
    assert fingerprint(luma[::-1, ::-1]) == fingerprint(luma[::-1, ::-1].copy())


def test_frames_are_named_for_people() -> None:
    luma = picture(1, 64, 64)

    def parts(count: int, *frames: Frame) -> list[str]:
        media = Media("gif", 64, 64, count, frames)
        return [made.part for made in PDQ.fingerprint(b"", media)]

    assert parts(1, Frame(0, luma)) == [""]
    assert parts(9, Frame(0, luma), Frame(3, luma)) == ["frame 0", "frame 3"]
    assert parts(9, Frame(8, luma)) == ["frame 8"]
    assert parts(1, Frame(0, luma, "white"), Frame(0, luma, "black")) == [
        "frame 0 on white",
        "frame 0 on black",
    ]
    assert PDQ.fingerprint(b"not a picture", None) == ()


@given(st.binary(min_size=32, max_size=32))
def test_a_value_reads_back(value: bytes) -> None:
    assert PDQ.parse(PDQ.format(value)) == value
    assert PDQ.parse(PDQ.format(value).upper()) == value


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "0" * 63 + "g", "0" * 62 + "  "])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidSignal, match="64 hexadecimal digits"):
        PDQ.parse(text)
