"""Watermarks in pixels: found where they are, and not where they are not."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import provenance_files as files
from support import photo
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance, watermarks
from tutela.detectors.provenance.watermarks import MESSAGES, blocks, correlation, halved, votes

FRACTIONS, WHOLE = 1.0, 256.0
KINDS = {
    "Stable Diffusion 1": (0, WHOLE, False),
    "Stable Diffusion 2": (1, WHOLE, False),
    "Stable Diffusion XL": (2, FRACTIONS, False),
    "FLUX": (3, FRACTIONS, False),
}


def bits(place: int) -> list[int]:
    return [int(bit) for bit in MESSAGES[place][1]]


def saved(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(name: str, size: tuple[int, int] = (512, 320)) -> NDArray[np.uint8]:
    return np.asarray(photo(name).resize(size, Image.Resampling.LANCZOS))


def names(data: bytes) -> list[str]:
    evidence, _ = watermarks.look(data)
    assert all(one.claim == "generated" and one.state == "unsigned" for one in evidence)
    return [one.detail.removeprefix("watermark of ").partition(",")[0] for one in evidence]


@pytest.mark.parametrize("name", ["coffee", "cat", "coins", "rocket"])
@pytest.mark.parametrize("mark", KINDS)
def test_each_message_is_found_in_a_lossless_picture(name: str, mark: str) -> None:
    place, grey, swapped = KINDS[mark]
    made = files.marked(pixels(name), bits(place), grey=grey, swapped=swapped)
    assert names(saved(made)) == [mark]


def test_the_mark_with_swapped_colours_is_found() -> None:
    made = files.marked(pixels("cat"), bits(2), grey=FRACTIONS, swapped=True)
    assert names(saved(made)) == ["Stable Diffusion XL"]


def test_the_mark_is_found_in_a_gently_compressed_jpeg() -> None:
    made = files.marked(pixels("coffee", (1024, 680)), bits(2), grey=FRACTIONS)
    assert names(saved(made, "JPEG", quality=98)) == ["Stable Diffusion XL"]
    # A strong compression leaves nothing, and is not even looked at.
    assert names(saved(made, "JPEG", quality=60)) == []
    assert watermarks._top_of_jpeg(saved(made, "JPEG", quality=60)) is None
    assert watermarks._top_of_jpeg(saved(made, "JPEG", quality=98, progressive=True)) is None


@pytest.mark.parametrize("name", ["coffee", "cat", "coins", "galaxies", "rocket"])
def test_nothing_is_found_in_photographs(name: str) -> None:
    for size in ((512, 320), (1024, 640)):
        made = pixels(name, size)
        assert names(saved(made)) == []
        assert names(saved(made, "JPEG", quality=95)) == []


def test_nothing_is_found_in_flat_and_regular_pictures() -> None:
    across, down = np.meshgrid(np.arange(512), np.arange(256))
    for pattern in (across * 0, across % 2 * 255, (across // 8 + down // 8) % 2 * 255, across // 2):
        made = np.stack([pattern, pattern // 2, 255 - pattern], axis=-1).astype(np.uint8)
        assert names(saved(made)) == []


def naive_votes(cut: Sequence[Sequence[float]], grey: float) -> list[float]:
    made = []
    for block in cut:
        phases = [abs(value + grey) % 36 / 36 for value in list(block)[1:]]
        one = min(abs(phase - 0.75) for phase in phases)
        zero = min(abs(phase - 0.25) for phase in phases)
        made.append(2 * (zero - one))
    return made


def naive_correlation(weights: Sequence[float], message: Sequence[float]) -> float:
    length = len(message)
    sums = [0.0] * length
    for place in range(len(weights) // length * length):
        sums[place % length] += weights[place]
    return float(np.corrcoef(sums, message)[0, 1])


def naive_blocks(colours: NDArray[np.uint8]) -> list[list[float]]:
    height, width = (side // 8 * 8 for side in colours.shape[:2])
    made = []
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = []
            for down in range(top, top + 8, 2):
                for across in range(left, left + 8, 2):
                    total = 0.0
                    for pixel in colours[down : down + 2, across : across + 2].reshape(4, 3):
                        red, green, blue = (float(value) for value in pixel)
                        luma = 0.299 * red + 0.587 * green + 0.114 * blue
                        total += 0.492 * (blue - luma)
                    block.append(total / 2)
            made.append(block)
    return made


def test_the_kernels_do_as_their_naive_twins() -> None:
    colours = pixels("cat", (64, 48))
    low = halved(colours)
    cut = blocks(low, swapped=False)
    assert np.allclose(cut.T, naive_blocks(colours), atol=1e-3)
    swapped = blocks(low, swapped=True)
    assert np.allclose(swapped.T, naive_blocks(colours[..., ::-1]), atol=1e-3)
    noise = np.random.default_rng(7).normal(0, 60, (600, 16)).astype(np.float32)
    for grey in (FRACTIONS, WHOLE):
        weights = votes(noise.T, grey)
        assert weights == pytest.approx(naive_votes(noise.tolist(), grey), abs=1e-4)
        for _, message, _ in MESSAGES[1:]:
            twin = naive_correlation(weights.tolist(), message.tolist())
            assert correlation(weights, message) == pytest.approx(twin, abs=1e-5)


def test_the_bounds_are_those_of_one_false_alarm_in_a_thousand_million() -> None:
    for name, message, least in MESSAGES:
        length = len(message)
        at = np.linspace(least, 1, 200_001)[:-1]
        scale = math.exp(math.lgamma((length - 1) / 2) - math.lgamma((length - 2) / 2))
        density = scale / math.sqrt(math.pi) * (1 - at**2) ** ((length - 4) / 2)
        chance = float(density.sum() * (1 - least) / 200_000)
        assert 1e-10 < chance < 1e-9, name


def test_too_few_votes_say_nothing() -> None:
    assert correlation(np.ones(40, np.float32), MESSAGES[1][1]) == 0.0
    assert correlation(np.ones(4000, np.float32), MESSAGES[1][1]) == 0.0
    assert watermarks.watermarks(np.zeros((64, 252, 3), np.uint8)) == []


def test_a_mark_in_the_pixels_becomes_a_finding() -> None:
    detector = Provenance()
    detector.prepare(Options())
    made = saved(files.marked(pixels("coffee"), bits(3), grey=FRACTIONS))
    (finding,) = detector.examine(Subject(data=made))
    assert (finding.claim, finding.likelihood) == ("generated", watermarks.SURE)
    assert finding.detail.startswith("watermark of FLUX, in the pixels")


@pytest.mark.parametrize("size", [0, 7, 2**31])
def test_a_stealth_mark_of_any_size_is_bounded(size: int) -> None:
    made = np.array(files.picture(128).convert("RGBA"))
    head = b"stealth_pngcomp" + size.to_bytes(4, "big") + b"\x1f\x8b junk"
    stream = np.unpackbits(np.frombuffer(head, np.uint8))
    lowest = made[..., 3].T.reshape(-1).copy()
    lowest[: len(stream)] = lowest[: len(stream)] & 0xFE | stream
    made[..., 3] = lowest.reshape(128, 128).T
    evidence, text = watermarks.look(saved(made))
    assert not evidence
    assert len(text) < 1000


def test_only_the_top_of_a_picture_is_decoded() -> None:
    tall = np.zeros((4000, 512, 3), np.uint8)
    top = watermarks._top_of_png(saved(tall))
    assert top is not None
    assert top.shape == (256, 512, 3)
    top = watermarks._top_of_jpeg(saved(tall, "JPEG", quality=95))
    assert top is not None
    assert top.shape == (512, 512, 3)
    for other in (tall[:, :, 0], np.zeros((64, 64, 4), np.uint8)):
        watermarks.look(saved(other))
    assert watermarks._top_of_png(b"\x89PNG\r\n\x1a\n") is None
