"""Known sound is found in a few seconds of it, where it lies; the loops agree with slow twins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_audio import (
    Samples,
    apart,
    distinct,
    energies,
    nearest,
    noisy,
    products,
    resampled,
    tells,
    voice,
    walk,
)  # fmt: skip
from numpy.typing import NDArray

from tutela.banks import Banks
from tutela.banks.bank import NewEntry
from tutela.errors import InvalidSignal
from tutela.findings import Finding
from tutela.matching import Matcher
from tutela.media.types import Media, Sound
from tutela.signals import Fingerprint, audio
from tutela.signals import audio_kernels as kernels
from tutela.signals.audio import AUDIO
from tutela.store import Store

KNOWN = 6
"""Sounds in the bank, 20 s each."""


def fingerprint(samples: Samples) -> Fingerprint:
    media = Media("wav", 0, 0, 0, (), sound=Sound(samples), duration=len(samples) / 16_000)
    (made,) = AUDIO.fingerprint(b"", media)
    return made


@pytest.fixture(scope="module")
def known() -> list[Samples]:
    return [voice(seed, 20) for seed in range(KNOWN)]


@pytest.fixture(scope="module")
def matcher(known: list[Samples], tmp_path_factory: pytest.TempPathFactory) -> Matcher:
    folder = tmp_path_factory.mktemp("audio")
    store = Store(f"sqlite:///{(folder / 'tutela.db').as_posix()}")
    banks = Banks(store)
    banks.create("x", "reviewed", owner="ops", category="csam")
    ids = banks.add("x", [NewEntry(fingerprint(sound)) for sound in known]).ids
    assert ids == tuple(range(1, KNOWN + 1))
    return Matcher(store, folder / "index", [AUDIO])


def found(matcher: Matcher, samples: Samples) -> list[Finding]:
    (findings,) = matcher.match([[fingerprint(samples)]])
    return findings


ALTERED: dict[str, Callable[[Samples], Samples]] = {
    "as it is": lambda sound: sound,
    "10 dB noise": lambda sound: noisy(sound, 10, 9),
    "quiet": lambda sound: (sound * 0.03).astype(np.int16),
    "clipped": lambda sound: np.clip(sound * 3.0, -9000, 9000).astype(np.int16),
    "2 % faster": lambda sound: resampled(sound, 1.02),
    "2 % slower": lambda sound: resampled(sound, 0.98),
}


@pytest.fixture(scope="module")
def around() -> tuple[Samples, Samples]:
    return voice(77, 3), voice(78, 8)


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("which", range(KNOWN))
def test_five_seconds_are_found_where_they_lie(
    matcher: Matcher,
    known: list[Samples],
    around: tuple[Samples, Samples],
    which: int,
    how: str,
) -> None:
    before, after = around
    start = 16_000 * 4 + 777 * which
    excerpt = ALTERED[how](known[which][start : start + 80_000])
    (finding,) = found(matcher, np.concatenate([before, excerpt, after]))
    assert finding.entry == which + 1
    assert finding.start == pytest.approx(3, abs=0.6)
    assert finding.end == pytest.approx(3 + len(excerpt) / 16_000, abs=0.6)
    assert finding.query_share == pytest.approx(5 / 16, abs=0.1)
    assert finding.index_share == pytest.approx(4 / 19, abs=0.1)


def test_the_whole_sound_matches_wholly(matcher: Matcher, known: list[Samples]) -> None:
    (finding,) = found(matcher, known[2])
    assert (finding.entry, finding.distance) == (3, 0)
    assert (finding.query_share, finding.index_share) == (1, 1)
    assert (finding.start, finding.end) == (0, pytest.approx(20, abs=0.3))


def test_pieces_in_another_order_all_count(matcher: Matcher, known: list[Samples]) -> None:
    parts = [known[4][at : at + 6 * 16_000] for at in (13 * 16_000, 0, 6 * 16_000)]
    (finding,) = found(matcher, np.concatenate(parts))
    assert finding.entry == 5
    assert finding.query_share is not None
    assert finding.query_share > 0.9


def test_strangers_do_not_match(matcher: Matcher) -> None:
    assert [found(matcher, voice(seed, 8)) for seed in range(100, 115)] == [[]] * 15


def test_a_value_alone_finds_what_begins_with_it(matcher: Matcher, known: list[Samples]) -> None:
    value = fingerprint(known[1][: 16_000 * 6]).value
    (findings,) = matcher.match([[Fingerprint("audio", value)]])
    assert [finding.entry for finding in findings] == [2]
    assert findings[0].end == pytest.approx(6, abs=0.3)


def test_deleted_entries_are_no_longer_judged(known: list[Samples]) -> None:
    asked = fingerprint(known[0])
    names = list(AUDIO.queries(asked))
    hits = [audio.Hit(query, 7, 0) for query in range(0, len(names), 4)]
    assert AUDIO.judge(asked, names, hits, lambda _: {}) == []
    (match,) = AUDIO.judge(asked, names, hits, lambda _: {7: asked.value})
    assert (match.entry, match.distance) == (7, 0)


@pytest.mark.parametrize(
    "sound",
    {
        "silence": np.zeros(80_000),
        "dither": np.arange(80_000) * 7919 % 3 - 1,
        "white noise": np.random.default_rng(0).normal(0, 3000, 80_000),
        "tone": 9000 * np.sin(np.arange(80_000) * 0.17),
        "beeps": 9000 * np.sin(np.arange(80_000) * 0.3) * (np.arange(80_000) % 9000 < 4000),
        "chord": 4000 * np.sin(np.outer([0.1, 0.17, 0.23], np.arange(80_000))).sum(0) / 2,
    }.items(),
    ids=lambda pair: pair[0],
)
def test_silence_noise_and_tones_tell_nothing(sound: tuple[str, NDArray]) -> None:
    made = fingerprint(sound[1].astype(np.int16))
    assert made.quality is not None
    assert made.quality < AUDIO.min_quality
    assert AUDIO.rows(made.value) == []
    assert AUDIO.queries(made) == {}


def test_no_sound_and_short_sounds_have_no_fingerprint() -> None:
    assert AUDIO.fingerprint(b"", None) == ()
    assert AUDIO.fingerprint(b"", Media("png", 9, 9, 1, ())) == ()
    short = Media("wav", 0, 0, 0, (), sound=Sound(voice(0, 2)[: audio.SPAN - 1]))
    assert AUDIO.fingerprint(b"", short) == ()
    assert len(fingerprint(voice(0, 2)[: audio.SPAN]).value) == 16


def test_an_hour_stays_below_a_quarter_mebibyte() -> None:
    rows = ((3600 * 16_000 - audio.WINDOW) // audio.HOP + 1 - audio.LENGTH) // audio.STEP + 1
    assert rows * audio.BYTES < 1 << 18
    assert len(fingerprint(voice(0, 20)).value) == (20 * 16 - 21) // 4 * 16 + 16


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = voice(3, 5)
    whole = audio.sound_rows(sound)
    monkeypatch.setattr(audio, "BLOCK", 7)
    np.testing.assert_array_equal(audio.sound_rows(sound), whole)


def test_a_loop_is_indexed_once() -> None:
    loop = fingerprint(np.tile(voice(5, 2), 10))
    once = len(fingerprint(np.tile(voice(5, 2), 2)).value) // 16
    assert len(AUDIO.rows(loop.value)) <= once < len(loop.value) // 16


def test_values_are_written_and_read(known: list[Samples]) -> None:
    value = fingerprint(known[0]).value
    assert AUDIO.parse(AUDIO.format(value)) == value


@pytest.mark.parametrize("text", ["", "AAAA", "!" * 24, "é" * 24, "A" * 22, "A" * 21 + "B=="])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidSignal, match="base64"):
        AUDIO.parse(text)


# The loops


@pytest.mark.parametrize("seed", range(3))
def test_rows_agree_with_the_naive_ones(seed: int) -> None:
    sound = voice(seed, 1.7)
    expected = energies(sound)
    energy = np.concatenate(list(audio._energies(sound)))
    np.testing.assert_allclose(energy, expected, rtol=1e-3, atol=1)
    rows = audio.sound_rows(sound)
    assert len(rows) == len(energy) - audio.LENGTH + 1
    for start, row in enumerate(rows):
        values = products(expected[start : start + audio.LENGTH])
        said, rest = tells(values)
        assert row.any() == (said >= audio.LEAST and rest >= audio.REST)
        values = values.ravel()
        bits = np.unpackbits(row.astype("<u8").view(np.uint8), bitorder="little")
        clear = np.abs(values) > 1e-3
        if row.any():
            np.testing.assert_array_equal(bits[clear], (values > 0)[clear])


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_the_loudest_part_is_the_largest_singular_value(
    seed: int, second: float, others: float
) -> None:
    random = np.random.default_rng(seed)
    left, _ = np.linalg.qr(random.normal(size=(8, 8)))
    right, _ = np.linalg.qr(random.normal(size=(16, 8)))
    sizes = np.array([1, second, *[others * second] * 6])
    products = ((left * sizes) @ right.T).astype(np.float32)
    value = kernels.loudest(products)
    assert value <= 1 + 1e-5
    assert value >= (1 - 1e-5 if second < 0.5 else 0.9 * second**2)
    assert kernels.loudest(np.zeros((8, 16), np.float32)) == 0


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1])), max_size=24
)


@given(ROWS, st.integers(0, 4), st.integers(1, 30))
def test_distinct_agrees_with_the_naive_one(
    rows: list[tuple[int, int]], same: int, back: int
) -> None:
    kept = np.zeros(len(rows), np.bool_)
    count = kernels.distinct(np.array(rows, np.uint64).reshape(-1, 2), same, back, kept)
    assert kept.tolist() == distinct(rows, same, back)
    assert count == kept.sum()


@given(ROWS.filter(len), ROWS, st.integers(0, 64), st.integers(1, 5))
def test_the_nearest_are_those_of_the_naive_search(
    asked: list[tuple[int, int]], held: list[tuple[int, int]], radius: int, most: int
) -> None:
    places, away = np.empty((2, most), np.int64)
    rows = np.array(asked, np.uint64), np.array(held, np.uint64).reshape(-1, 2)
    count = kernels.nearest(rows[0], 0, rows[1], radius, places, away)
    found = list(zip(away[:count].tolist(), places[:count].tolist(), strict=True))
    assert found == nearest(asked[0], held, radius, most)


@settings(max_examples=300)
@given(
    st.integers(0, 2**32), st.sampled_from([1, -1]), st.integers(0, 2), st.integers(0, 40),
    st.integers(0, 40),
)  # fmt: skip
def test_walks_agree_with_the_naive_ones(seed: int, way: int, reach: int, i: int, j: int) -> None:
    random = np.random.default_rng(seed)
    held = random.integers(0, 1 << 63, (41, 2), np.uint64)
    asked = np.repeat(held, random.integers(2, 5), axis=0)
    asked ^= np.uint64(1) << random.integers(0, 64, asked.shape).astype(np.uint64)
    asked[random.random(len(asked)) < 0.1] = 0
    held[random.random(len(held)) < 0.1] = 0
    where, away = np.full((2, len(held)), -1, np.int64)
    args = (i, held, j, way, reach, 4.0, 40, 60, 0.5)
    best = kernels.walk(asked, *args, where, away)
    slow = [tuple(map(int, row)) for row in asked], [tuple(map(int, row)) for row in held]
    expected, met = walk(slow[0], i, slow[1], j, way, reach, 4.0, 40, 60, 0.5)
    assert best == expected
    assert {int(r): (int(where[r]), int(away[r])) for r in np.flatnonzero(away >= 0)} == met
    assert kernels.apart(asked, 0, held, 0) == apart(slow[0][0], slow[1][0])
