"""vPDQ finds films by their frames, in whatever order and speed they come, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.errors import InvalidSignal
from tutela.media.types import Media, Moment
from tutela.signals import vpdq_kernels as kernels
from tutela.signals.base import Fingerprint, Hit, Match
from tutela.signals.pdq import turned
from tutela.signals.vpdq import MOST, VPDQ, Frames, compare, pack, unpack

seeds = st.integers(0, 2**32 - 1)


def track(seed: int, count: int, step: float = 0.4, quality: int = 100) -> list[Moment]:
    """Instants of a film that nobody has seen before."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (count, 32), np.uint8)
    return [
        Moment(n * step, row.tobytes(), quality, turned(row.tobytes())["mirrored"])
        for n, row in enumerate(hashes)
    ]


def copied(moments: Sequence[Moment], seed: int = 0, bits: int = 12) -> list[Moment]:
    """The same instants, from the start, so many bits away."""
    rng = np.random.default_rng(seed)
    made = []
    for moment in moments:
        value = np.unpackbits(np.frombuffer(moment.pdq, np.uint8))
        value[rng.choice(256, bits, replace=False)] ^= 1
        text = np.packbits(value).tobytes()
        at = moment.at - moments[0].at
        made.append(Moment(at, text, moment.quality, turned(text)["mirrored"]))
    return made


def retimed(moments: Sequence[Moment], times: Sequence[float]) -> list[Moment]:
    return [
        Moment(at, moment.pdq, moment.quality, moment.mirrored)
        for at, moment in zip(times, moments, strict=True)
    ]


def film(moments: Sequence[Moment], **insets: tuple[Moment, ...]) -> Fingerprint:
    media = Media("mp4", 640, 360, 1000, (), tuple(moments), insets, duration=400.0)
    (made,) = VPDQ.fingerprint(b"", media)
    return made


def matches(fingerprint: Fingerprint, bank: Mapping[int, bytes]) -> Sequence[Match]:
    """What an index of these entries, searched row by row, leads to."""
    queries = VPDQ.queries(fingerprint)
    if (fingerprint.quality or 0) < VPDQ.min_quality:
        return []
    hits = [
        Hit(place, entry, apart)
        for place, query in enumerate(queries.values())
        for entry, value in bank.items()
        for apart in [min((bits(query, row) for row in VPDQ.rows(value)), default=257)]
        if apart <= VPDQ.radius
    ]
    return VPDQ.judge(
        fingerprint, list(queries), hits, lambda ids: {n: bank[n] for n in ids if n in bank}
    )


def bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


LONG = track(1, 300)
OTHERS = {n: pack(track(100 + n, 60)) for n in range(2, 5)}
BANK = {1: pack(LONG)} | OTHERS


def only(fingerprint: Fingerprint, bank: Mapping[int, bytes] = BANK) -> Match:
    (match,) = matches(fingerprint, bank)
    assert match.entry == 1
    return match


def test_a_copy() -> None:
    match = only(film(copied(LONG)))
    assert (match.query_share, match.index_share, match.variant) == (1, 1, "")
    assert (match.start, match.end) == (0, pytest.approx(LONG[-1].at, abs=0.002))
    assert match.distance == 12


@pytest.mark.parametrize("first", [0, 17, 150, 295])
def test_two_seconds_of_it(first: int) -> None:
    match = only(film(copied(LONG[first : first + 5], first)))
    assert match.query_share == 1
    assert match.index_share == pytest.approx(5 / 300)
    assert match.end == pytest.approx(1.6, abs=0.002)


def test_two_seconds_are_found_in_a_long_film() -> None:
    bank = {1: pack(LONG[60:65])} | OTHERS
    match = only(film(copied(LONG)), bank)
    assert match.index_share == 1
    assert match.query_share == pytest.approx(5 / 300)
    assert match.start == pytest.approx(24.0, abs=0.002)
    assert match.end == pytest.approx(25.6, abs=0.002)


@pytest.mark.parametrize("pace", [0.5, 0.8, 1.25, 2.0])
def test_a_stretch_that_two_films_share(pace: float) -> None:
    shared = copied(LONG[100:110], bits=10)
    times = [40 + pace * moment.at for moment in shared]
    ahead = track(7, 100)
    after = retimed(track(8, 100), [times[-1] + 0.4 + 0.4 * n for n in range(100)])
    match = only(film([*ahead, *retimed(shared, times), *after]))
    assert match.query_share is not None
    assert match.query_share < 0.1
    assert match.start == pytest.approx(40.0, abs=0.01)
    assert match.end == pytest.approx(times[-1], abs=0.01)


def test_a_stretch_that_is_altered() -> None:
    # Under a logo, say: most frames are beyond the radius, and one is not.
    clear, faint = copied(LONG[100:110], bits=20), copied(LONG[100:110], bits=46)
    altered = [*faint[:4], clear[4], *faint[5:]]
    match = only(film(altered))
    assert match.query_share == pytest.approx(0.1)
    assert match.distance == 46
    assert (match.start, match.end) == (0, pytest.approx(3.6, abs=0.01))
    times = [7.0, 1.0, 21.0, 14.0, 0.0, 30.0, 11.0, 25.0, 4.0, 18.0]
    scattered = sorted(retimed(altered, times), key=lambda moment: moment.at)
    assert not matches(film(scattered), BANK)


def test_frames_that_are_alike_here_and_there_are_no_stretch() -> None:
    # Six frames in common, each somewhere else.
    strange = track(9, 200)
    places = {20: 250, 60: 3, 100: 120, 130: 30, 150: 280, 190: 60}
    mixed = [
        Moment(moment.at, LONG[places[n]].pdq, 100, b"") if n in places else moment
        for n, moment in enumerate(strange)
    ]
    mixed = [Moment(m.at, m.pdq, 100, turned(m.pdq)["mirrored"]) for m in mixed]
    assert not matches(film(mixed), BANK)


def test_backwards_faster_slower() -> None:
    times = [moment.at for moment in LONG]
    assert only(film(retimed(copied(LONG)[::-1], times))).query_share == 1
    assert only(film(retimed(copied(LONG), [at / 1.7 for at in times]))).query_share == 1
    assert only(film(retimed(copied(LONG), [at / 0.6 for at in times]))).query_share == 1


def test_mirrored_and_turned() -> None:
    copy = copied(LONG[50:90], bits=4)
    for variant in ("mirrored", "rotated 90", "rotated 180", "rotated 270"):
        other = [
            Moment(m.at, turned(m.pdq)[variant], 100, turned(turned(m.pdq)[variant])["mirrored"])
            for m in copy
        ]
        back = {"rotated 90": "rotated 270", "rotated 270": "rotated 90"}
        assert only(film(other)).variant == back.get(variant, variant)


def test_what_is_inside_a_surround() -> None:
    outside = track(11, 40)
    match = only(film(outside, cropped=tuple(copied(LONG[50:90]))))
    assert match.variant == "cropped"
    mirrored = tuple(
        Moment(m.at, m.mirrored, m.quality, m.pdq) for m in copied(LONG[50:90], bits=4)
    )
    assert only(film(outside, window=mirrored)).variant == "window mirrored"


def test_flat_frames_never_match() -> None:
    black = track(12, 50, quality=20)
    fingerprint = film(black)
    assert fingerprint.quality == 20
    assert not matches(fingerprint, {1: pack(black)})
    assert not VPDQ.rows(pack(black))
    assert not [name for name in VPDQ.queries(fingerprint) if not name.startswith("rotated")]
    # Among others they don't count.
    mixed = [*LONG[:20], *retimed(black, [8 + moment.at for moment in black])]
    assert only(film(copied(mixed))).query_share == 1


def test_content_without_a_track_has_no_fingerprint() -> None:
    assert not VPDQ.fingerprint(b"", None)
    assert not VPDQ.fingerprint(b"", Media("jpeg", 10, 10, 1, ()))


def test_entries_that_are_gone_do_not_match() -> None:
    queries = VPDQ.queries(film(LONG))
    hits = [Hit(n, 1, 0) for n in range(len(queries))]
    assert not VPDQ.judge(film(LONG), list(queries), hits, lambda _: {})


def test_unrelated_films_do_not_match() -> None:
    for seed in range(20, 23):
        assert not matches(film(track(seed, 100)), BANK)


# Text


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 30))
def test_text_and_back(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    moments = [
        Moment(float(rng.uniform(0, 5000)), rng.bytes(32), int(rng.integers(0, 101)))
        for _ in range(count)
    ]
    value = pack(sorted(moments, key=lambda moment: moment.at))
    assert VPDQ.parse(VPDQ.format(value)) == value


def test_text_as_others_write_it() -> None:
    hashes = [moment.pdq.hex() for moment in LONG[:3]]
    # python-threatexchange keeps three digits of a time in all, so that long films lose theirs.
    new = json.dumps([f"{hashes[0]},100,0.0", f"{hashes[2]},90,1.2e+02", f"{hashes[1]},80,1.0"])
    old = json.dumps(
        {
            str(n): {"quality": quality, "hash": value, "timestamp": at}
            for n, (value, quality, at) in enumerate(
                zip(hashes, (100, 80, 90), (0.0, 1.0, 120.0), strict=True)
            )
        }
    )
    assert VPDQ.parse(new) == VPDQ.parse(old)
    assert unpack(VPDQ.parse(new))["ms"].tolist() == [0, 1000, 120_000]
    assert json.loads(VPDQ.format(VPDQ.parse(new)))[2] == f"{hashes[2]},90,120.000"


HASH = "0f" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "3",
        "null",
        "[1]",
        '["a,b"]',
        f'["{HASH},100"]',
        f'["{HASH},101,0"]',
        f'["{HASH},-1,0"]',
        f'["{HASH},50,-1"]',
        f'["{HASH},50,nan"]',
        f'["{HASH},50,inf"]',
        f'["{HASH[:-1]},50,1"]',
        f'["{HASH[:-2]} f,50,1"]',
        f'{{"0": {{"hash": "{HASH}", "quality": 50}}}}',
        '{"0": {"hash": 3, "quality": 50, "timestamp": 1}}',
        "[" * 100_000,
        json.dumps([f"{HASH},50,0"] * (MOST + 1)),
    ],
)
def test_text_that_is_no_fingerprint(text: str) -> None:
    with pytest.raises(InvalidSignal):
        VPDQ.parse(text)


# The kernels beside slow twins.


def words(hashes: Sequence[bytes]) -> kernels.Words:
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 4)


def related(seed: int, count: int) -> tuple[list[bytes], list[bytes]]:
    """Hashes of which some are near to some of the others."""
    rng = np.random.default_rng(seed)
    here = [moment.pdq for moment in track(seed, count)]
    there = [moment.pdq for moment in copied(track(seed, count), seed, int(rng.integers(0, 45)))]
    rng.shuffle(there)
    return here, there[: max(1, count - 3)]


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 20))
def test_nearest_and_pairs(seed: int, count: int) -> None:
    here, there = related(seed, count)
    apart = np.array([[bits(a, b) for b in there] for a in here])
    apart[apart > 31] = kernels.NONE
    nearest, back = kernels.nearest(words(here), words(there), 31)
    assert nearest.tolist() == apart.min(axis=1).tolist()
    assert back.tolist() == apart.min(axis=0).tolist()
    paired = kernels.pairs(words(here), words(there), 31, 32)
    assert paired.tolist() == np.argwhere(apart <= 31).tolist()


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 12))
def test_aligned(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    here, there = np.sort(rng.uniform(0, 20, (2, 12)), axis=1)
    near = np.unique(rng.integers(0, 12, (count, 2)), axis=0)
    best = 0
    for i0, j0 in near:
        for slope in kernels.SLOPES:
            on = {
                int(i)
                for i, j in near
                if abs(there[j] - there[j0] - slope * (here[i] - here[i0])) <= 0.35
            }
            best = max(best, len(on))
    assert kernels.aligned(near, here, there, 0.35, 128).sum() == best


def test_shares_are_those_of_distinct_frames() -> None:
    query = Frames.of(pack([*LONG[:8], *retimed(LONG[:8], [4 + 0.4 * n for n in range(8)])]))
    assert len(query.words) == 8
    found = compare(query, Frames.of(pack(LONG[:10])), 31)
    assert found is not None
    assert (found.query_share, found.index_share) == (1, 0.8)
