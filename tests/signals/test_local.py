"""Local fingerprints agree with their slow twins, turn as pictures do, and survive any picture."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_pdq import picture as generated
from numpy.typing import NDArray
from test_pdq import TURNS

from support import photo
from tutela.errors import InvalidSignal
from tutela.media.types import Frame, Media
from tutela.signals import local
from tutela.signals import local_kernels as kernels
from tutela.signals.base import Fingerprint, Hit
from tutela.signals.local import DESCRIPTOR, LOCAL, PATCHES, PLACE, Features, extract, turned
from tutela.signals.pdq import VARIANTS

Luma = NDArray[np.uint8]
Plane = NDArray[np.float32]
seeds = st.integers(0, 2**32 - 1)


def luma(name: str) -> Luma:
    return np.asarray(photo(name).convert("L"))


def noise(seed: int, height: int, width: int) -> Luma:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def features(seed: int, count: int, width: int = 600, height: int = 500) -> Features:
    """Patches of no picture."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 256, (count, PLACE), np.uint8)
    return Features(width, height, places, rng.integers(0, 256, (count, DESCRIPTOR), np.uint8))


def same(one: Features, other: Features) -> bool:
    return one.to_bytes() == other.to_bytes()


def apart(one: Luma, other: Luma) -> NDArray[np.int64]:
    """Bits in which rows differ."""
    return np.bitwise_count(one ^ other).sum(-1, dtype=np.int64)


# The kernels beside slow twins.


def naive_blur(source: Plane, side: Plane) -> NDArray[np.float64]:
    reach = len(side) - 1
    whole = np.concatenate([side[:0:-1], side]).astype(np.float64)
    padded = np.pad(source.astype(np.float64), reach, "edge")
    down = np.apply_along_axis(np.convolve, 0, padded, whole, "valid")
    return np.apply_along_axis(np.convolve, 1, down, whole, "valid")


@given(seed=seeds, height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=25)
def test_blurring_is_a_convolution(seed: int, height: int, width: int) -> None:
    source = noise(seed, height, width).astype(np.float32)
    for side in kernels.increments():
        out = np.empty_like(source)
        kernels.blur(source, side, np.empty_like(source), out)
        np.testing.assert_allclose(out, naive_blur(source, side), atol=1e-3)


@given(st.floats(0.3, 12))
def test_taps_are_a_gaussian_that_keeps_the_mean(sigma: float) -> None:
    side = kernels.taps(sigma).astype(np.float64)
    assert len(side) % 4 == 1
    assert side[0] + 2 * side[1:].sum() == pytest.approx(1, abs=1e-6)
    drawn = side[side > 0]
    assert len(drawn) > 3 * sigma
    steps = np.arange(len(drawn))
    np.testing.assert_allclose(drawn, side[0] * np.exp(-(steps**2) / (2 * sigma**2)), rtol=1e-4)


def test_levels_blur_by_a_third_of_an_octave_each() -> None:
    picture = np.zeros((161, 161), np.float32)
    picture[80, 80] = 1
    (planes, *_) = local._octaves(picture)
    assert len(planes) == kernels.SCALES + 3
    away = np.arange(161) - 80
    for level, plane in enumerate(planes):
        # The variance of a blurred point is the blur's; cut tails lose a little.
        variance = float((plane.sum(0) * away**2).sum()) + kernels.NATIVE_BLUR**2
        wanted = kernels.SIGMA * 2 ** (level / kernels.SCALES)
        assert math.sqrt(variance) == pytest.approx(wanted, rel=0.03)


def naive_extrema(
    planes: list[Plane], least: float, edge: float
) -> list[tuple[float, float, float, float]]:
    a, b, c = (plane.astype(np.float64) for plane in planes)
    height, width = b.shape
    found = []
    for y in range(kernels.MARGIN, height - kernels.MARGIN):
        for x in range(kernels.MARGIN, width - kernels.MARGIN):
            value = b[y, x]
            around = np.stack([plane[y - 1 : y + 2, x - 1 : x + 2] for plane in (a, b, c)])
            high = value >= least and value == around.max()
            low = value <= -least and value == around.min()
            if not (high or low):
                continue
            xx = b[y, x - 1] + b[y, x + 1] - 2 * value
            yy = b[y - 1, x] + b[y + 1, x] - 2 * value
            xy = (b[y + 1, x + 1] - b[y + 1, x - 1] - b[y - 1, x + 1] + b[y - 1, x - 1]) / 4
            curved = xx * yy - xy * xy
            if curved <= 0 or (xx + yy) ** 2 >= (edge + 1) ** 2 / edge * curved:
                continue
            vertices = []
            for before, after in (
                (b[y, x - 1], b[y, x + 1]),
                (b[y - 1, x], b[y + 1, x]),
                (a[y, x], c[y, x]),
            ):
                bend = before + after - 2 * value
                at = (before - after) / 2 / bend if bend else 0.0
                vertices.append(min(max(at, -0.6), 0.6))
            found.append((x + vertices[0], y + vertices[1], vertices[2], abs(value)))
    return found


@given(
    seed=seeds,
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    levels=st.sampled_from([3, 8, 200]),
    room=st.integers(0, 60),
)
@settings(max_examples=40)
def test_extrema_are_no_less_than_their_neighbours_and_no_ridges(
    seed: int, height: int, width: int, levels: int, room: int
) -> None:
    # Whole numbers, few of them: many neighbours are equal, and sums are exact.
    rng = np.random.default_rng(seed)
    planes = [rng.integers(-levels, levels + 1, (height, width)).astype(np.float32) for _ in "abc"]
    planes[1] *= 2
    found = np.full((2 + room, 4), -1, np.float32)
    count = kernels.extrema(*planes, 2.0, local.EDGE, found, 2)
    expected = naive_extrema(planes, 2.0, local.EDGE)[:room]
    assert count == 2 + len(expected)
    assert (found[:2] == -1).all()
    assert (found[count:] == -1).all()
    np.testing.assert_allclose(found[2:count], np.array(expected).reshape(-1, 4), atol=1e-5)


def test_a_blob_is_found_at_its_place_and_scale() -> None:
    y, x = np.mgrid[:400, :400].astype(np.float64)
    for wide in (4.0, 7.0, 11.0):
        blob = 128 + 100 * np.exp(-((x - 171) ** 2 + (y - 230) ** 2) / (2 * wide**2))
        points = extract(blob.astype(np.uint8)).points()
        factor = math.sqrt(local.AREA / 400**2)
        across, down, scale = points[0] / factor
        assert abs(across - 171.5) <= 2
        assert abs(down - 230.5) <= 2
        # The difference of Gaussians σ and kσ is greatest for a blob of σ√k (at three an octave).
        assert scale * 2 ** (0.5 / kernels.SCALES) == pytest.approx(wide, rel=0.1)


CURVE = float(kernels._QUARTER)


def eighths(gx: float, gy: float) -> float:
    """A gradient's direction in eighths of a turn, by the parabola that stands for the arc."""
    less, more = sorted((abs(gx), abs(gy)))
    ratio = less / more
    angle = ratio * (1 + CURVE * (1 - ratio))
    if abs(gy) > abs(gx):
        angle = 2 - angle
    if gx < 0:
        angle = 4 - angle
    return 8 - angle if gy < 0 else angle


@given(st.floats(0, 2 * math.pi))
def test_the_parabola_is_near_the_arc(angle: float) -> None:
    off = eighths(math.cos(angle), math.sin(angle)) * math.tau / 8 - angle
    assert abs(math.remainder(off, math.tau)) < math.radians(0.3)


def naive_coefficients(level: Plane, place: Plane, width: float) -> NDArray[np.float64]:
    """All coefficients of one upright patch, from the definition, (cells, cells, bins)."""
    window, _, _, cosines, harmonics, _ = local._patch()
    x, y, scale = map(float, place)
    spacing = scale * width / kernels.SAMPLES
    middle = (kernels.SAMPLES + 1) / 2
    height, across = level.shape

    def sample(j: int, i: int) -> float:
        """Bilinear, the edge going on beyond the edge."""
        at = min(max(x + (i - middle) * spacing, 0.0), across - 1.001)
        down = min(max(y + (j - middle) * spacing, 0.0), height - 1.001)
        column, row = int(at), int(down)
        f, g = at - column, down - row
        four = level[row : row + 2, column : column + 2].astype(np.float64)
        return float(np.array([1 - g, g]) @ four @ np.array([1 - f, f]))

    sides = range(kernels.SAMPLES + 2)
    drawn = np.array([[sample(j, i) for i in sides] for j in sides])
    sums = np.zeros((kernels.CELLS, kernels.CELLS, kernels.BINS))
    for j, i in itertools.product(range(kernels.SAMPLES), repeat=2):
        gx = drawn[j + 1, i + 2] - drawn[j + 1, i]
        gy = drawn[j + 2, i + 1] - drawn[j, i + 1]
        if gx == gy == 0:
            continue
        strength = math.hypot(gx, gy) * float(window[j]) * float(window[i])
        angle = eighths(gx, gy)
        # Every cell and direction takes what its nearness is worth.
        for v, u in itertools.product(range(kernels.CELLS), repeat=2):
            near_y = 1 - abs((j + 0.5) / kernels.SAMPLES * kernels.CELLS - 0.5 - v)
            near_x = 1 - abs((i + 0.5) / kernels.SAMPLES * kernels.CELLS - 0.5 - u)
            if near_y <= 0 or near_x <= 0:
                continue
            for k in range(kernels.BINS):
                near = 1 - abs(math.remainder(angle - k, kernels.BINS))
                if near > 0:
                    sums[v, u, k] += strength * near_y * near_x * near
    return np.einsum(
        "ui,vj,kb,ijb->uvk",
        cosines.astype(np.float64), cosines.astype(np.float64),
        harmonics.astype(np.float64), sums**0.25,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["coffee", "rocket", "noise", "flat"])
def test_bits_are_the_signs_of_the_coefficients(name: str) -> None:
    rng = np.random.default_rng(7)
    if name == "noise":
        picture = noise(3, 90, 110).astype(np.float32)
    elif name == "flat":
        picture = np.full((90, 110), 55, np.float32)
    else:
        picture = luma(name)[100:190, 200:310].astype(np.float32)
    level = np.empty_like(picture)
    kernels.blur(picture, kernels.taps(1.5), np.empty_like(picture), level)
    # Also patches that reach over the edge.
    places = np.column_stack(
        [rng.uniform(0, 110, 6), rng.uniform(0, 90, 6), rng.uniform(1.6, 6, 6)]
    ).astype(np.float32)
    patch = local._patch()
    out = np.empty((len(places), DESCRIPTOR), np.uint8)
    kernels.describe(level, places, local.WIDTH, *patch, out)
    made = np.unpackbits(out, axis=1, bitorder="little").astype(bool)
    differ = 0
    for place, bits in zip(places, made, strict=True):
        coefficients = naive_coefficients(level, place, local.WIDTH).ravel()[patch[-1]]
        sure = np.abs(coefficients) > 0.02
        assert sure.mean() > 0.95 or name == "flat"
        np.testing.assert_array_equal(bits[sure], coefficients[sure] > 0)
        differ += int((bits != (coefficients > 0)).sum())
    assert differ <= 6


def test_kept_coefficients_are_256_and_of_orthogonal_transforms() -> None:
    window, cell, share, cosines, harmonics, kept = local._patch()
    assert len(set(kept.tolist())) == 8 * DESCRIPTOR == LOCAL.row_bits
    np.testing.assert_allclose(window, window[::-1], atol=1e-6)
    # One-based, beside the cell that hangs over the edge.
    assert cell.min() >= 0
    assert cell.max() <= kernels.CELLS
    assert ((share >= 0) & (share < 1)).all()
    for rows in (cosines, harmonics):
        product = rows.astype(np.float64) @ rows.T
        np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-5)


def naive_chosen(points: Plane, height: int, width: int) -> list[int]:
    """Of every cell the best by merit, then of every cell the second best, …"""
    cells: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for i, (x, y, scale, contrast, octave, _) in enumerate(points.tolist()):
        at = (
            int(y * 2**octave * local.SPREAD / height),
            int(x * 2**octave * local.SPREAD / width),
        )
        cells.setdefault(at, []).append((-contrast * math.sqrt(scale * 2**octave), i))
    ranked = []
    for members in cells.values():
        ranked += [(rank, merit, i) for rank, (merit, i) in enumerate(sorted(members))]
    return [i for _, _, i in sorted(ranked)][:PATCHES]


@given(seed=seeds, count=st.integers(0, 2000))
@settings(max_examples=25)
def test_cells_take_turns_to_choose(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    octave = rng.integers(0, 3, count)
    points = np.column_stack(
        [
            rng.uniform(0, 639, count) ** 2 / 640 / 2.0**octave,
            rng.uniform(0, 479, count) / 2.0**octave,
            rng.uniform(1.6, 3.2, count),
            rng.uniform(0.3, 40, count),
            octave,
            np.ones(count),
        ]
    ).astype(np.float32)
    assert local._chosen(points, 480, 640).tolist() == naive_chosen(points, 480, 640)


# Whole pictures.


def test_patches_spread_over_the_picture_and_stay_within_bounds() -> None:
    made = extract(generated(1, 900, 700))
    assert len(made) == PATCHES
    points = made.points()
    assert (points > 0).all()
    assert (points[:, 0] < made.width).all()
    assert (points[:, 1] < made.height).all()
    assert points[:, 2].max() <= local.COARSEST * made.height * 1.02
    quarter = np.floor(points[:, :2] / (made.width / 4, made.height / 4))
    counts = np.unique(quarter, axis=0, return_counts=True)[1]
    assert len(counts) == 16
    assert counts.min() > PATCHES / 16 / 2


@pytest.mark.parametrize(("width", "height"), [(60, 45), (300, 200), (2000, 1500), (3000, 400)])
def test_pictures_come_to_one_area_without_much_enlargement(width: int, height: int) -> None:
    made = extract(np.zeros((height, width), np.uint8))
    factor = min(2.0, math.sqrt(local.AREA / (width * height)))
    assert abs(made.width - width * factor) <= 1
    assert abs(made.height - height * factor) <= 1


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 5000), (5000, 3), (1, 70_000), (17, 16), (70_000, 9)]
)
def test_extreme_shapes_give_few_patches_and_no_warning(height: int, width: int) -> None:
    made = extract(noise(2, height, width))
    assert len(made) <= 100
    assert same(Features.from_bytes(made.to_bytes()), made)
    for variant in VARIANTS:
        assert len(turned(made, variant)) == len(made)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_has_no_patches(level: int) -> None:
    made = extract(np.full((300, 400), level, np.uint8))
    assert len(made) == 0
    assert same(Features.from_bytes(made.to_bytes()), made)
    media = Media("png", 400, 300, 1, (Frame(0, np.full((300, 400), level, np.uint8)),))
    assert LOCAL.fingerprint(b"", media)[0].quality == 0


def test_a_gradient_and_an_edge_have_few_patches() -> None:
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    assert len(extract(np.tile(ramp, (600, 1)))) <= 20
    assert len(extract(np.tile(np.where(ramp > 99, 200, 30).astype(np.uint8), (600, 1)))) <= 20


def test_a_view_of_a_frame_has_the_patches_of_its_copy() -> None:
    picture = luma("coffee")
    assert same(extract(picture[::-1, ::-1]), extract(picture[::-1, ::-1].copy()))


@pytest.mark.parametrize("name", ["coffee", "cat", "coins", "galaxies", "rocket"])
def test_the_value_of_a_kept_photo_is_small(name: str) -> None:
    made = extract(luma(name))
    assert local.KEPT / 2 < len(made) <= PATCHES
    value = made.first(local.KEPT).to_bytes()
    assert len(value) <= 16_000
    kept = Features.from_bytes(value)
    assert len(kept) == min(local.KEPT, len(made))
    np.testing.assert_array_equal(kept.descriptors, made.descriptors[: len(kept)])


def in_both(one: Features, other: Features) -> NDArray[np.int64]:
    """Bits between patches of one place and scale."""
    places, others = one.places.astype(int), other.places.astype(int)
    near = np.abs(places[:, None] - others[None]).max(-1) <= 2
    bits = np.where(near, apart(one.descriptors[:, None], other.descriptors[None]), 999)
    nearest: NDArray[np.int64] = bits.min(1)
    return nearest[nearest < 999]


@pytest.mark.parametrize("name", ["coffee", "cat", "galaxies"])
def test_a_turned_picture_has_the_turned_patches(name: str) -> None:
    made = extract(luma(name))
    # Resizing rounds rows before columns, so that it doesn't turn exactly: do it beforehand.
    picture = np.asarray(photo(name).convert("L").resize((made.width, made.height)))
    made = extract(picture)
    for variant, turn in TURNS.items():
        other = extract(turn(picture))
        bits = in_both(turned(made, variant), other)
        assert len(bits) >= 0.8 * len(made), variant
        assert np.median(bits) == 0, variant
        assert np.mean(bits <= DESCRIPTOR) > 0.8, variant
        if variant:
            strangers = apart(made.descriptors[:, None], other.descriptors[None])
            assert np.median(strangers) > 100, variant


@given(seed=seeds, count=st.integers(0, 40))
def test_turning_back_gives_the_patches_back(seed: int, count: int) -> None:
    made = features(seed, count)
    back = {"rotated 90": "rotated 270", "rotated 270": "rotated 90"}
    for variant in VARIANTS:
        assert same(turned(turned(made, variant), back.get(variant, variant)), made)


def test_turns_follow_one_another_as_pictures_do() -> None:
    made = features(5, 30)
    picture = np.arange(12).reshape(3, 4)
    for first, second in itertools.product(TURNS, repeat=2):
        shown = TURNS[second](TURNS[first](picture))
        (one,) = (name for name in TURNS if np.array_equal(TURNS[name](picture), shown))
        assert same(turned(turned(made, first), second), turned(made, one)), (first, second)


# Values.


@given(
    seed=seeds,
    count=st.integers(0, PATCHES),
    width=st.integers(1, local.MOST),
    height=st.integers(1, local.MOST),
)
@settings(max_examples=30)
def test_a_value_reads_back(seed: int, count: int, width: int, height: int) -> None:
    made = features(seed, count, width, height)
    value = made.to_bytes()
    back = Features.from_bytes(value)
    assert (back.width, back.height, len(back)) == (width, height, count)
    np.testing.assert_array_equal(back.places, made.places)
    np.testing.assert_array_equal(back.descriptors, made.descriptors)
    assert back.to_bytes() == value
    assert LOCAL.parse(LOCAL.format(value)) == value
    assert LOCAL.parse(LOCAL.format(value).upper()) == value


def malformed() -> dict[str, bytes]:
    value = features(1, 9).to_bytes()
    head = local.HEADER
    body = value[head.size :]
    return {
        "empty": b"",
        "half a header": value[: head.size - 1],
        "header alone": value[: head.size],
        "truncated": value[:-1],
        "too long": value + b"\0",
        "count too small": head.pack(local.MAGIC, 600, 500, 8) + body,
        "count too large": head.pack(local.MAGIC, 600, 500, 10) + body,
        "another magic": b"L?" + value[2:],
        "no width": head.pack(local.MAGIC, 0, 500, 9) + body,
        "no height": head.pack(local.MAGIC, 600, 0, 9) + body,
        "too many": features(1, PATCHES + 1).to_bytes(),
    }


@pytest.mark.parametrize("name", malformed())
def test_a_malformed_value_is_refused(name: str) -> None:
    value = malformed()[name]
    with pytest.raises(InvalidSignal, match="local fingerprint"):
        Features.from_bytes(value)
    with pytest.raises(InvalidSignal, match="local fingerprint"):
        LOCAL.parse(value.hex())
    with pytest.raises(InvalidSignal):
        LOCAL.rows(value)
    with pytest.raises(InvalidSignal):
        LOCAL.queries(Fingerprint("local", value))


@given(st.binary(max_size=200), st.booleans())
def test_bytes_are_refused_or_read_back(value: bytes, marked: bool) -> None:
    if marked:
        value = local.MAGIC + value
    try:
        back = Features.from_bytes(value)
    except InvalidSignal:
        return
    assert back.to_bytes() == value


@pytest.mark.parametrize("text", ["zz", "4", "é", "0x4c31"])
def test_text_that_is_not_hexadecimal_is_refused(text: str) -> None:
    with pytest.raises(InvalidSignal, match="hexadecimal"):
        LOCAL.parse(text)


# The signal.


def test_frames_are_named_for_people() -> None:
    picture = luma("cat")

    def parts(count: int, *frames: Frame) -> list[str]:
        media = Media("gif", 451, 300, count, frames)
        return [made.part for made in LOCAL.fingerprint(b"", media)]

    assert parts(1, Frame(0, picture)) == [""]
    assert parts(9, Frame(0, picture), Frame(3, picture)) == ["frame 0", "frame 3"]
    assert parts(9, Frame(8, picture)) == ["frame 8"]
    assert parts(1, Frame(0, picture, "white"), Frame(0, picture, "black")) == [
        "frame 0 on white",
        "frame 0 on black",
    ]
    assert LOCAL.fingerprint(b"not a picture", None) == ()


def test_each_frame_has_the_fingerprint_of_its_picture() -> None:
    pictures = [luma("cat"), luma("coffee"), np.zeros((60, 60), np.uint8)]
    frames = tuple(Frame(i, picture) for i, picture in enumerate(pictures))
    made = LOCAL.fingerprint(b"", Media("gif", 600, 400, 3, frames))
    for one, picture in zip(made, pictures, strict=True):
        expected = extract(picture)
        assert one.signal == LOCAL.name == "local"
        assert one.value == expected.to_bytes()
        assert one.quality == min(100, len(expected) // 4)


def test_patches_are_asked_for_as_they_are_and_mirrored() -> None:
    made = features(4, 12)
    queries = LOCAL.queries(Fingerprint("local", made.to_bytes()))
    assert len(queries) == 24
    rows = LOCAL.rows(made.to_bytes())
    assert [queries[str(i)] for i in range(12)] == list(rows)
    mirrored = LOCAL.rows(turned(made, "mirrored").to_bytes())
    assert [queries[f"{i} mirrored"] for i in range(12)] == list(mirrored)
    found = LOCAL.judge(
        Fingerprint("local", b""),
        list(queries),
        [Hit(3, 7, 20), Hit(12, 7, 9), Hit(0, 5, 30)],
        lambda _: {},
    )
    assert [(match.entry, match.distance, match.variant) for match in found] == [
        (7, 9, "0 mirrored"),
        (5, 30, "0"),
    ]
