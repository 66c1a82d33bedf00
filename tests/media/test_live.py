"""A film that is still being written is cut into pieces that can each be decoded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings import LIVE, film
from tutela.errors import Reason, Rejected
from tutela.media import decode
from tutela.media.live import ENOUGH, cutter
from tutela.media.types import FILMS


def pieces(data: bytes, steps: list[int] | None = None, least: int = 0) -> list[bytes]:
    cuts = cutter(data[:ENOUGH])
    cuts.least = least
    made, at = [], 0
    for step in [*(steps or []), len(data)]:
        made += cuts.feed(data[at : at + step])
        at += step
    return [*made, rest] if (rest := cuts.rest()) else made


@pytest.mark.parametrize("form", LIVE)
def test_every_piece_can_be_decoded_and_no_picture_is_lost(form: str) -> None:
    made = [decode(piece, FILMS) for piece in pieces(film(form, live=True, seconds=6))]
    assert len(made) >= 3
    new = [0]
    for media in made:
        # Each begins with what was new in the one before it.
        new.append(media.frame_count - new[-1])
    assert sum(new) == 60
    assert all(media.frames for media in made)


@pytest.mark.parametrize("form", LIVE)
@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.integers(1, 20_000), max_size=12))
def test_how_the_bytes_come_makes_no_difference(form: str, steps: list[int]) -> None:
    data = film(form, live=True, seconds=6)
    assert pieces(data, steps) == pieces(data)


@pytest.mark.parametrize("form", LIVE)
def test_pieces_have_the_size_asked_for(form: str) -> None:
    data = film(form, live=True, seconds=6)
    assert len(pieces(data, least=len(data))) == 1
    assert all(len(piece) > 20_000 for piece in pieces(data, least=20_000)[:-1])


def test_what_cannot_be_cut_is_told() -> None:
    for data, why in (
        (film("mp4"), "fragment"),
        (film("avi", codec="mpeg4"), "avi"),
        (b"plain text" * 500, "no film"),
    ):
        with pytest.raises(Rejected, match=why) as refused:
            pieces(data)
        assert refused.value.reason in (Reason.UNSUPPORTED, Reason.CORRUPT)


@pytest.mark.parametrize("form", LIVE)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_gives_a_typed_rejection_or_pieces(form: str, data: st.DataObject) -> None:
    film_bytes = bytearray(film(form, live=True, seconds=6))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(film_bytes) - 1))
        film_bytes[at] = data.draw(st.integers(0, 255))
    try:
        made = pieces(bytes(film_bytes))
    except Rejected:
        return
    assert sum(map(len, made)) <= 3 * len(film_bytes)
