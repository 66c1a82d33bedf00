"""Every kernel against its naive twin."""

import itertools

import numba as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_search import bits_of, from_bits, random_rows

from tutela.index import kernels
from tutela.index.intrinsics import LANES
from tutela.index.plan import MAX_FLIPS, TAG_BITS, flip_masks

seeds = st.integers(0, 2**32 - 1)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def words(rng: np.random.Generator, n: int, bits: int) -> np.ndarray:
    return random_rows(rng, n, bits).view("<u8")


@nb.njit
def _near(tags, position, tag, bound):
    return kernels.near(tags, position, tag, bound)


@nb.njit
def _counts(value):
    return kernels.popcount(value), kernels.lowest(np.uint32(value))


@given(seed=seeds, bound=st.integers(0, 16))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_near_compares_every_lane(seed: int, bound: int) -> None:
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 2**16, 3 * LANES, dtype=np.uint16)
    at, tag = int(rng.integers(0, 2 * LANES)), np.uint16(rng.integers(0, 2**16))
    close = np.bitwise_count(tags[at : at + LANES] ^ tag) <= bound
    assert _near(tags, at, tag, bound) == from_bits(close.tolist())


@given(value=st.integers(1, 2**32 - 1))
@settings(deadline=None, derandomize=True)
def test_bit_counts(value: int) -> None:
    assert _counts(np.uint64(value)) == (value.bit_count(), (value & -value).bit_length() - 1)


@pytest.mark.parametrize("bits", [64, 128, 256])
@given(seed=seeds, width=st.integers(1, 32), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=40)
def test_window_goes_round_the_ring(bits: int, seed: int, width: int, data: st.DataObject) -> None:
    row = frozen(words(np.random.default_rng(seed), 1, bits))[0]
    start = data.draw(st.integers(0, bits - 1))
    ring = bits_of(row) * 2
    assert kernels.window(row, start, width) == from_bits(ring[start : start + width])


@given(seed=seeds, n=st.integers(0, 30))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_gather_picks_and_permutes(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows, order, picked = frozen(words(rng, n, 128)), rng.permutation(128), rng.permutation(n)
    out = np.empty_like(rows)
    kernels.gather(rows, picked, order, out)
    for r in range(n):
        bits = bits_of(rows[picked[r]])
        assert bits_of(out[r]) == [bits[place] for place in order]


@pytest.mark.parametrize("width", [3, 4])
@given(seed=seeds, n=st.integers(0, 200), key=st.integers(1, 10), start=st.integers(0, 255))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_fill_sorts_into_buckets(width: int, seed: int, n: int, key: int, start: int) -> None:
    rows = words(np.random.default_rng(seed), n, 256)
    rows[: n // 2] &= np.uint64(0x0101010101010101)  # heavy buckets too
    offsets = np.ones(2**key + 1, np.uint32)
    tags, postings = np.empty(n, np.uint16), np.empty((n, width), np.uint8)
    kernels.fill(rows, start, key, offsets, tags, postings)
    rings = [bits_of(row) * 2 for row in rows]
    expected = sorted((from_bits(ring[start : start + key]), r) for r, ring in enumerate(rings))
    numbers = [int.from_bytes(posting.tobytes(), "little") for posting in postings]
    assert numbers == [r for _, r in expected]
    assert offsets.tolist() == [
        sum(bucket < limit for bucket, _ in expected) for limit in range(2**key + 1)
    ]
    after = start + key
    assert tags.tolist() == [from_bits(rings[r][after : after + TAG_BITS]) for r in numbers]


@given(seed=seeds, radius=st.integers(0, 40), chunks=st.integers(2, 16))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_allotted_radii_satisfy_the_pigeonhole_principle(
    seed: int, radius: int, chunks: int
) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.integers(1, 20, chunks)
    sizes = rng.integers(0, 1000, (chunks, 2))
    planned, radii = rng.integers(-1, 4, chunks), np.empty(chunks, np.int64)
    planned = np.minimum(planned, keys)
    if kernels.allot(sizes, keys, 10_000_000, radius, planned, radii):
        assert sum(radii + 1) == radius + 1
        assert all(-1 <= t <= min(MAX_FLIPS, key) for t, key in zip(radii, keys, strict=True))


def test_heavy_buckets_are_given_smaller_radii() -> None:
    keys, planned, radii = np.full(16, 16), np.ones(16, np.int64), np.empty(16, np.int64)
    sizes = np.tile(np.array([150, 2400]), (16, 1))
    assert kernels.allot(sizes, keys, 10_000_000, 31, planned, radii)
    assert radii.tolist() == [1] * 16
    sizes[3] = 500_000, 1_000_000
    assert kernels.allot(sizes, keys, 10_000_000, 31, planned, radii)
    assert radii[3] == -1
    sizes[:] = 3_000_000
    assert not kernels.allot(sizes, keys, 10_000_000, 31, planned, radii)  # a scan it is


@pytest.mark.parametrize("key", [1, 3, 8, 12])
def test_flip_masks_come_fewest_first(key: int) -> None:
    masks, counts = flip_masks(key)
    numbers = masks.tolist()
    assert len(set(numbers)) == len(numbers) == counts[-1]
    for flips, count in enumerate(counts.tolist()):
        assert all(mask.bit_count() <= flips for mask in numbers[:count])
        assert count == sum(
            1 for f in range(flips + 1) for _ in itertools.combinations(range(key), f)
        )


@given(seed=seeds, length=st.integers(0, 100), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_checksum_notices_any_change(seed: int, length: int, data: st.DataObject) -> None:
    original = np.random.default_rng(seed).integers(0, 2**64, length, dtype=np.uint64)
    total = kernels.checksum(frozen(original.copy()))
    assert kernels.checksum(frozen(np.append(original, np.uint64(0)))) != total
    if length:
        assert kernels.checksum(frozen(original[:-1].copy())) != total
        damaged = original.copy()
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, length - 1))
            damaged[at] ^= np.uint64(1) << np.uint64(data.draw(st.integers(0, 63)))
        same = bool((damaged == original).all())
        assert (kernels.checksum(frozen(damaged)) == total) == same
