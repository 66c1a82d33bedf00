"""Derivatives are found, placed and drawn; strangers are not; the kernels agree with slow twins."""

from __future__ import annotations

import functools
import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_pdq import picture as generated
from numpy.typing import NDArray
from PIL import Image

from support import encoded, photo
from tutela.signals import derivation
from tutela.signals import derivation_kernels as kernels
from tutela.signals.derivation import (
    CHANGED,
    FEWEST,
    GRID,
    LEAST,
    OUTSIDE,
    SURVIVES,
    UNKNOWN,
    Derivative,
    compare,
    likelihood,
)
from tutela.signals.local import KEPT, MOST, PATCHES, PLACE, Features, extract, turned
from tutela.store.secret import Secret

PHOTOS = ("coffee", "cat", "coins", "galaxies", "rocket")
PAIRS = tuple(zip(PHOTOS, (*PHOTOS[1:], PHOTOS[0]), strict=True))
seeds = st.integers(0, 2**32 - 1)

Words = NDArray[np.uint64]
Points = NDArray[np.float32]


def patches(picture: Image.Image) -> Features:
    return extract(np.asarray(picture.convert("L")))


@functools.cache
def asked(name: str) -> Features:
    return patches(photo(name))


@functools.cache
def held(name: str) -> Features:
    """A photograph as it is kept."""
    return asked(name).first(KEPT)


def replaced(name: str, other: str) -> Image.Image:
    """The photograph, the middle half of each side replaced by another's content."""
    picture = photo(name)
    width, height = picture.size
    patch = photo(other).resize((width // 2, height // 2))
    picture.paste(patch, (width // 4, height // 4))
    return picture


def cells(found: Derivative) -> NDArray[np.str_]:
    """The mask, (GRID, GRID)."""
    grid = np.array([list(row) for row in found.mask.split("/")])
    assert grid.shape == (GRID, GRID)
    assert set(found.mask) <= {OUTSIDE, SURVIVES, CHANGED, UNKNOWN, "/"}
    return grid


def middle(low: float, high: float) -> NDArray[np.bool_]:
    """The cells wholly between two shares of both sides."""
    steps = np.arange(GRID) / GRID
    within = (steps >= low) & (steps + 1 / GRID <= high)
    return within[:, None] & within


# Derivatives.


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_a_photo_with_another_middle_is_found_and_drawn(name: str, other: str) -> None:
    found = compare(patches(replaced(name, other)), held(name))
    assert found is not None
    assert found.likelihood > 0.999
    assert found.inliers > 50
    assert found.overlap > 0.97
    assert found.scale == pytest.approx(1, abs=0.02)
    assert (found.dx, found.dy) == pytest.approx((0, 0), abs=0.02)
    grid = cells(found)
    assert np.mean(grid[middle(0.3, 0.7)] == CHANGED) > 0.8
    around = ~middle(0.15, 0.85)
    assert np.mean(grid[around] == SURVIVES) > 0.7
    assert np.mean(grid[around] == CHANGED) < 0.1
    told = (grid == CHANGED) | (grid == SURVIVES)
    assert found.changed == pytest.approx(np.mean(grid[told] == CHANGED))
    assert 0.15 < found.changed < 0.45


@pytest.mark.parametrize("name", PHOTOS)
def test_the_same_photo_survives_whole(name: str) -> None:
    found = compare(asked(name), held(name))
    assert found is not None
    assert found.likelihood > 0.999
    assert found.overlap > 0.97
    assert found.changed < 0.02
    assert CHANGED not in cells(found)[1:-1, 1:-1]


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(("across", "down"), [(0.25, 0.25), (0.5, 0.1)])
def test_half_of_each_side_is_found_where_it_lies(name: str, across: float, down: float) -> None:
    width, height = photo(name).size
    x, y = round(across * width), round(down * height)
    content = photo(name).crop((x, y, x + width // 2, y + height // 2))
    found = compare(patches(content), held(name))
    assert found is not None
    assert found.likelihood > 0.99
    longer = max(content.size)
    assert found.scale == pytest.approx(max(width, height) / longer, rel=0.03)
    assert found.dx == pytest.approx(-x / longer, abs=0.03)
    assert found.dy == pytest.approx(-y / longer, abs=0.03)
    assert found.overlap == pytest.approx(0.25, abs=0.02)
    grid = cells(found)
    assert np.mean(grid == OUTSIDE) == pytest.approx(1 - found.overlap, abs=2 / GRID)
    rows, columns = np.nonzero(grid != OUTSIDE)
    assert columns.mean() / GRID == pytest.approx(across + 0.25, abs=0.07)
    assert rows.mean() / GRID == pytest.approx(down + 0.25, abs=0.07)


def weakened(picture: Image.Image) -> Features:
    """The patches of the picture at half size, strongly compressed."""
    small = picture.resize((picture.width // 2, picture.height // 2))
    with Image.open(io.BytesIO(encoded(small, quality=50))) as content:
        return patches(content)


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_half_size_and_strong_compression_are_found(name: str, other: str) -> None:
    found = compare(weakened(replaced(name, other)), held(name))
    assert found is not None
    assert found.likelihood > 0.99
    assert found.overlap > 0.97
    assert found.scale == pytest.approx(1, abs=0.03)
    grid = cells(found)
    assert np.mean(grid[middle(0.3, 0.7)] == CHANGED) > 0.8
    assert np.mean(grid[~middle(0.15, 0.85)] == SURVIVES) > 0.65
    assert found.changed < 0.6


@pytest.mark.parametrize("name", PHOTOS)
def test_what_is_reduced_and_compressed_alone_is_not_drawn_as_changed(name: str) -> None:
    found = compare(weakened(photo(name)), held(name))
    assert found is not None
    assert found.changed < 0.2


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_in_a_larger_picture_is_found_where_it_lies(name: str) -> None:
    width, height = photo(name).size
    side = 2 * max(width, height)
    content = Image.new("RGB", (side, side), (240, 240, 240))
    content.paste(photo("coins" if name != "coins" else "cat"), (10, side - 310))
    content.paste(photo(name), (side // 3, side // 8))
    found = compare(patches(content), held(name))
    assert found is not None
    assert found.likelihood > 0.99
    assert found.overlap > 0.97
    assert found.scale == pytest.approx(0.5, rel=0.03)
    assert (found.dx, found.dy) == pytest.approx((1 / 3, 1 / 8), abs=0.02)


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_a_mirrored_derivative_is_found_by_turning_its_patches(name: str, other: str) -> None:
    picture = replaced(name, other).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    content = patches(picture)
    assert compare(content, held(name)) is None
    found = compare(turned(content, "mirrored"), held(name))
    assert found is not None
    assert found.likelihood > 0.999
    assert found.overlap > 0.97
    assert found.dx == pytest.approx(0, abs=0.02)
    assert np.mean(cells(found)[middle(0.3, 0.7)] == CHANGED) > 0.8


# Strangers.


def test_unrelated_photos_are_strangers_to_one_another() -> None:
    every = {name: asked(name) for name in PHOTOS}
    every |= {f"generated {seed}": extract(generated(seed, 600, 450)) for seed in range(3)}
    for one, other in itertools.permutations(every, 2):
        assert compare(every[one], every[other].first(KEPT)) is None, (one, other)
    for one, other in itertools.permutations(PHOTOS, 2):
        assert compare(turned(every[one], "mirrored"), held(other)) is None, (one, other)


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_patches_say_nothing(count: int) -> None:
    assert compare(asked("coffee").first(count), held("coffee")) is None
    assert compare(asked("coffee"), held("coffee").first(count)) is None
    flat = extract(np.full((300, 400), 99, np.uint8)).first(count)
    assert compare(flat, flat) is None


def test_a_patch_that_is_everywhere_says_nothing() -> None:
    """Of copies of one patch none is a witness, wherever they lie."""
    made = asked("coffee")
    places = np.random.default_rng(1).integers(0, 256, (PATCHES, PLACE), np.uint8)
    places[:, 2] = made.places[0, 2]
    copies = Features(640, 500, places, np.repeat(made.descriptors[:1], PATCHES, 0))
    elsewhere = Features(640, 500, places[::-1].copy(), copies.descriptors)
    assert compare(copies, elsewhere) is None
    assert compare(copies, held("coffee")) is None
    assert compare(asked("coffee"), copies.first(KEPT)) is None


@given(
    seed=seeds,
    counts=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    kinds=st.integers(1, 60),
    spread=st.sampled_from([1, 2, 256]),
    sides=st.lists(st.integers(1, MOST), min_size=4, max_size=4),
)
@settings(max_examples=150)
def test_any_patches_compare(
    seed: int, counts: tuple[int, int], kinds: int, spread: int, sides: list[int]
) -> None:
    """Whatever a value holds, the answer is None or within bounds."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (kinds, 32), np.uint8)

    def made(count: int, width: int, height: int) -> Features:
        places = rng.integers(0, spread, (count, PLACE)).astype(np.uint8)
        return Features(width, height, places, bits[rng.integers(0, kinds, count)])

    found = compare(made(counts[0], *sides[:2]), made(counts[1], *sides[2:]))
    if found is None:
        return
    assert LEAST <= found.likelihood <= 1
    assert 0 <= found.overlap <= 1
    assert 0 <= found.changed <= 1
    assert found.scale > 0
    assert np.isfinite([found.score, found.scale, found.dx, found.dy]).all()
    assert FEWEST <= found.inliers <= min(counts)
    cells(found)


# Keys.


def keyed(secret: Secret, made: Features) -> Features:
    return Features(made.width, made.height, made.places, secret.keyed(made.descriptors))


def remade(rng: np.random.Generator, *sides: Features) -> list[Features]:
    """Both sides' bits permuted and masked alike."""
    order, mask = rng.permutation(256), rng.integers(0, 2, 256, np.uint8)
    return [
        Features(
            one.width,
            one.height,
            one.places,
            np.packbits(np.unpackbits(one.descriptors, axis=1)[:, order] ^ mask, axis=1),
        )
        for one in sides
    ]


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_a_key_on_both_sides_changes_nothing(name: str, other: str) -> None:
    rng = np.random.default_rng(len(name))
    content = patches(replaced(name, other))
    plain = compare(content, held(name))
    assert plain is not None
    assert compare(*remade(rng, content, held(name))) == plain
    assert compare(*remade(rng, asked(other), held(name))) is None
    one, another = Secret(rng.bytes(32)), Secret(rng.bytes(32))
    assert compare(keyed(one, content), keyed(one, held(name))) == plain
    assert compare(keyed(one, content), keyed(another, held(name))) is None
    assert compare(content, keyed(one, held(name))) is None


# Likelihood.


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20))
def test_likelihood_rises_with_the_score(scores: list[float]) -> None:
    chances = [likelihood(score) for score in sorted(scores)]
    assert all(0 <= chance <= 1 for chance in chances)
    assert chances == sorted(chances)


def test_likelihood_is_even_at_its_middle() -> None:
    assert likelihood(derivation.MIDDLE) == 0.5
    assert likelihood(0) < 0.001
    assert likelihood(2 * derivation.MIDDLE) > 0.999


def test_a_nearer_pair_is_worth_more() -> None:
    worth = derivation._worth()
    assert worth.shape == (257,)
    assert (np.diff(worth) <= 0).all()
    assert worth.min() >= 0
    # Half the bits are what strangers have in common.
    assert worth[128:].max() < 0.5


def test_witnesses_in_one_place_count_once() -> None:
    side = asked("coffee")
    crowd = np.ones(6, np.intp)
    near = np.full(6, 20, np.int32)
    here = np.tile(np.array([[300, 200, 4]], np.float32), (6, 1))
    spread = here + np.array([[i * derivation.APART * 4, 0, 0] for i in range(6)], np.float32)

    def score(count: int, points: Points) -> float:
        return derivation._score(side, side, near[:count], crowd[:count], points[:count])

    assert score(6, here) == pytest.approx(score(1, here))
    scores = [score(count, spread) for count in range(1, 7)]
    assert (np.diff(scores) > 1).all()
    # One that resembles many others says less.
    assert score(6, spread) > derivation._score(side, side, near, 9 * crowd, spread) + 1


# The kernels beside slow twins.


def rows(rng: np.random.Generator, count: int, kinds: int) -> Words:
    """Rows of 256 bits, few of them strangers."""
    bits = rng.integers(0, 2, (kinds, 256), np.uint8)[rng.integers(0, kinds, count)]
    bits = bits ^ (rng.random((count, 256)) < 0.1)
    return np.packbits(bits, axis=1).reshape(count, 32).view(np.uint64)


def bits_apart(one: Words, other: Words) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def naive_nearest(asked: Words, held: Words, radius: int, most: int) -> list[list[int]]:
    pairs = []
    for i, row in enumerate(asked):
        away = [(bits_apart(row, other), j) for j, other in enumerate(held)]
        best = sorted(one for one in away if one[0] <= radius)[:most]
        pairs += [[i, j, distance] for distance, j in sorted(best, key=lambda one: one[1])]
    return pairs


@given(
    seed=seeds,
    counts=st.tuples(st.integers(0, 12), st.integers(0, 30)),
    kinds=st.integers(1, 6),
    radius=st.sampled_from([0, 40, 50, 90, 256]),
    most=st.integers(1, 5),
)
@settings(max_examples=60)
def test_pairs_are_the_nearest_of_each_patch(
    seed: int, counts: tuple[int, int], kinds: int, radius: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    both = rows(rng, sum(counts), kinds)
    one, other = both[: counts[0]], both[counts[0] :]
    pairs = np.full((len(one) * most + 1, 3), -1, np.int32)
    count = kernels.nearest(one, other, radius, most, pairs)
    assert pairs[:count].tolist() == naive_nearest(one, other, radius, most)
    assert (pairs[count:] == -1).all()


Pairs = NDArray[np.int32]


def naive_agreeing(
    pairs: Pairs,
    order: NDArray[np.int64],
    asked: Points,
    held: Points,
    move: tuple[float, float, float, float, float],
    loose: float,
    drift: float,
    stretch: float,
) -> list[int]:
    size, across, down, at_x, at_y = move
    chosen: list[int] = []
    for p in order.tolist():
        i, j, _ = pairs[p].tolist()
        x, y, scale = map(float, asked[i])
        u, v, other = map(float, held[j])
        if abs(math.log(scale / other / size)) > stretch:
            continue
        reach = 2 + loose * scale + drift * math.dist((x, y), (at_x, at_y))
        if math.dist((x, y), (u * size + across, v * size + down)) > reach:
            continue
        for q in chosen:
            k, taken, _ = pairs[q].tolist()
            if k == i or taken == j:
                break
            if math.dist((x, y), asked[k, :2].tolist()) < 3 * min(scale, float(asked[k, 2])):
                break
        else:
            chosen.append(p)
    return chosen


def scene(
    seed: int, count: int, size: float, moved: float
) -> tuple[Pairs, NDArray[np.int64], Points, Points]:
    """Pairs of points of which a share follows one move; places are multiples of a quarter."""
    rng = np.random.default_rng(seed)
    asked = np.empty((20, 3), np.float32)
    asked[:, :2] = rng.integers(0, 800, (20, 2)) / 4
    asked[:, 2] = 2 ** (rng.integers(24, 96, 20) / 24)
    held = np.empty((20, 3), np.float32)
    held[:, :2] = rng.integers(0, 800, (20, 2)) / 4
    held[:, 2] = 2 ** (rng.integers(24, 96, 20) / 24)
    follow = rng.random(20) < moved
    off = rng.integers(-12, 13, (20, 2)) / 4
    held[follow, :2] = (asked[follow, :2] - (15, -7) + off[follow]) / size
    held[follow, 2] = asked[follow, 2] / size * 2 ** (rng.integers(-8, 9, int(follow.sum())) / 24)
    i = rng.integers(0, 20, count)
    j = np.where(rng.random(count) < 0.7, i, rng.integers(0, 20, count))
    pairs = np.stack([i, j, rng.integers(0, 90, count)], 1).astype(np.int32)
    order = np.argsort(pairs[:, 2], kind="stable").astype(np.int64)
    return pairs, order, asked, held


TOLERANCE = (1.15, 0.11, 0.37)
shares = st.sampled_from([0.0, 0.5, 1.0])
sizes = st.sampled_from([0.5, 1.0, 2.0])


@given(seed=seeds, count=st.integers(0, 40), size=sizes, share=shares)
@settings(max_examples=60)
def test_agreeing_pairs_follow_the_move(seed: int, count: int, size: float, share: float) -> None:
    pairs, order, one, other = scene(seed, count, size, share)
    move = (size, 15.0, -7.0, 80.0, 90.0)
    chosen = np.full(count, -1, np.int64)
    agreed = kernels.agreeing(pairs, order, one, other, np.array(move), *TOLERANCE, chosen)
    expected = naive_agreeing(pairs, order, one, other, move, *TOLERANCE)
    assert chosen[:agreed].tolist() == expected
    assert (chosen[agreed:] == -1).all()


@given(
    seed=seeds,
    count=st.integers(0, 40),
    size=sizes,
    share=shares,
    tries=st.sampled_from([0, 5, 50]),
    enough=st.sampled_from([1, 3, 100]),
)
@settings(max_examples=60)
def test_the_move_of_most_worth_is_elected(
    seed: int, count: int, size: float, share: float, tries: int, enough: int
) -> None:
    pairs, order, one, other = scene(seed, count, size, share)
    # Steep, so that a near pair outweighs several, and in steps, so that moves are often even.
    worth = np.exp2(np.floor(np.linspace(9, 0, 257) / 1.5))
    best: list[int] = []
    most = 0.0
    for p in order[:tries].tolist():
        (x, y, scale), (u, v, wide) = (
            map(np.float64, points) for points in (one[pairs[p, 0]], other[pairs[p, 1]])
        )
        grown = float(np.float32(scale) / np.float32(wide))
        move = (grown, float(x - grown * u), float(y - grown * v), float(x), float(y))
        agreed = naive_agreeing(pairs, order, one, other, move, *TOLERANCE)
        total = sum(worth[pairs[q, 2]] for q in agreed)
        if total > most:
            best, most = agreed, total
            if len(agreed) >= enough:
                break
    chosen = np.empty(count, np.int64)
    elected = kernels.elect(pairs, order, one, other, worth, tries, enough, *TOLERANCE, chosen)
    assert chosen[:elected].tolist() == best
    if tries and count:
        assert elected >= 1


@given(seed=seeds, counts=st.tuples(st.integers(0, 25), st.integers(0, 25)))
@settings(max_examples=60)
def test_a_patch_survives_if_one_alike_lies_there(seed: int, counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    both = rows(rng, sum(counts), 3)
    one, other = both[: counts[0]], both[counts[0] :]
    there = np.empty((counts[0], 3), np.float32)
    there[:, :2] = rng.integers(0, 160, (counts[0], 2)) / 4
    there[:, 2] = 2 ** (rng.integers(24, 72, counts[0]) / 24)
    moved = (rng.integers(0, 160, (counts[1], 2)) / 4).astype(np.float32)
    if min(counts):
        moved[0] = there[0, :2]
    scales = (2 ** (rng.integers(24, 72, counts[1]) / 24)).astype(np.float32)
    # A distance that occurs, mostly.
    radius = bits_apart(one[0], other[0]) if min(counts) else 55
    found = kernels.surviving(one, other, there, moved, scales, 1.15, 0.37, radius)
    for j in range(counts[1]):
        expected = any(
            math.dist(there[i, :2].tolist(), moved[j].tolist()) <= 3 + 1.15 * float(scales[j])
            and abs(math.log(there[i, 2] / scales[j])) <= 0.37
            and bits_apart(one[i], other[j]) <= radius
            for i in range(counts[0])
        )
        assert found[j] == expected


@given(
    seed=seeds,
    count=st.integers(1, 12),
    size=st.floats(0.1, 10),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_a_true_move_is_fitted(
    seed: int, count: int, size: float, shift: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    source = rng.uniform(1, 600, (count, 3))
    target = source * size
    target[:, :2] += shift
    move = derivation._fitted(target.astype(np.float32), source.astype(np.float32))
    assert move[0] == pytest.approx(size, rel=0.01)
    np.testing.assert_allclose(source[:, :2] * move[0] + move[1:3], target[:, :2], atol=0.5)
    np.testing.assert_allclose(move[3:], target[:, :2].mean(0), atol=0.01)
