"""A request is judged as one: what the prompt leaves open, the pictures and the mask decide."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tutela.content import Content
from tutela.detectors.faces import Face
from tutela.examine import Examination
from tutela.findings import ADULT_SEXUAL, MINOR, NUDIFICATION, NUDITY, Finding
from tutela.guard import edit
from tutela.guard.edit import Shown, risk
from tutela.guard.gate import Part
from tutela.media import Limits, decode
from tutela.media.views import View, views

SIDE = 400
FACE = Face(0.9, np.array([160.0, 40, 240, 140]), np.zeros((4, 2)))
"""In the middle, near the top: the body is below it."""
GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)
BODY, SKY = (130, 160, 270, 390), (0, 0, SIDE, 30)
"""Left, top, right, bottom."""

likelihoods = st.floats(0, 1)
shown = st.builds(Shown, st.booleans(), st.booleans(), st.booleans(), st.booleans())


def judge(faces=(FACE,)):
    made = edit.Together(None)
    made._faces = lambda _: list(faces)  # type: ignore[method-assign,assignment]
    return made


def part(name, *findings, rgb=GREY, data=b"picture"):
    content = Content(data=data) if data is not None else Content(text="a text")
    return Part(name, content, Examination(views=(View("", rgb),)), findings)


def prompt(kind=ADULT_SEXUAL, likelihood=0.0):
    return part("prompt", Finding(kind, "intent", likelihood=likelihood), data=None)


def mask(box, mode="L"):
    """A mask as an editor makes it: white on black, or clear on opaque."""
    ground, mark = (0, 255) if mode == "L" else ((0, 0, 0, 255), (0, 0, 0, 0))
    picture = Image.new(mode, (SIDE, SIDE), ground)
    ImageDraw.Draw(picture).rectangle(box, fill=mark)
    file = io.BytesIO()
    picture.save(file, "PNG")
    media = decode(file.getvalue(), Limits(), detail=64, colour=SIDE)
    return Part("mask", Content(data=b"mask"), Examination(views=views(media)), ())


def image(minor=0.5, nudity=0.0, rgb=GREY):
    found = (
        Finding(MINOR, "minor", likelihood=minor),
        Finding(NUDITY, "nudity", likelihood=nudity),
    )
    return part("image 1", *found, rgb=rgb)


def likelihood(parts, faces=(FACE,)):
    (finding,) = judge(faces)(parts)
    assert finding.kind == "edit"
    return finding.likelihood


@given(likelihoods, likelihoods, shown)
def test_the_more_is_asked_and_shown_the_higher_the_risk(one, other, seen) -> None:
    low, high = sorted((one, other))
    assert 0 <= risk(low, seen) <= risk(high, seen) <= 1
    for name in Shown.__dataclass_fields__:
        assert risk(one, replace(seen, **{name: True})) >= risk(one, seen)


@given(likelihoods, shown)
def test_no_picture_makes_a_request_look_milder(asked, seen) -> None:
    assert risk(asked, seen) >= min(asked, 1 - 1e-6) - 1e-9


def test_a_harmless_prompt_is_allowed_whoever_is_shown_and_wherever_the_mask_lies() -> None:
    assert likelihood([prompt(), image(), mask(BODY)]) < 0.2


def test_a_text_alone_is_not_an_edit() -> None:
    assert judge()([prompt(NUDIFICATION, 0.9)]) == []


def test_what_a_prompt_leaves_open_the_pictures_decide() -> None:
    """The same words: of nobody, of an adult, of someone who may be a minor, with a mask."""
    weak = prompt(ADULT_SEXUAL, 0.1)
    nobody = likelihood([weak, image()], faces=())
    adult = likelihood([weak, image(minor=0.2)])
    minor = likelihood([weak, image()])
    masked = likelihood([weak, image(), mask(BODY)])
    assert nobody < adult < 0.5 < minor < masked
    assert masked >= 0.8


def test_who_is_undressed_already_is_not_made_more_so() -> None:
    assert likelihood([prompt(likelihood=0.05), image(minor=0.2, nudity=0.9)]) >= 0.5


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_mask_counts_where_it_lies_over_a_body(mode) -> None:
    body, sky = (likelihood([prompt(), image(), mask(box, mode)]) for box in (BODY, SKY))
    assert body > sky == likelihood([prompt(), image()])


def test_a_mask_over_skin_counts_where_no_face_is_found() -> None:
    bare = np.full((SIDE, SIDE, 3), (205, 150, 125), np.uint8)
    over = likelihood([prompt(), image(rgb=bare), mask(BODY)], faces=())
    assert over > likelihood([prompt(), image(), mask(BODY)], faces=())


def test_a_mask_that_is_a_picture_is_looked_at_as_one() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    assert not edit.plain([View("", noise)])
    assert edit.plain(mask(BODY).examination.views)
    assert edit.plain(mask(BODY, "RGBA").examination.views)


def test_the_finding_names_no_place_and_no_person() -> None:
    (finding,) = judge()([prompt(likelihood=0.3), image(), mask(BODY)])
    assert finding.detail == "a person is shown, who may be a minor, with the mask over the body"
    assert not finding.mask
    assert finding.dx is None
