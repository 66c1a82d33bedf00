"""What a reviewer sees of a derivative."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tutela.findings import DERIVATIVE, Finding
from tutela.media.views import View
from tutela.outline import changed_regions, describe, draw, place

MASK = "/".join(["1111", "1221", "1221", "1--0"])
FINDING = Finding(
    DERIVATIVE, "local", bank="friends", entry=3, overlap=0.9, changed=0.4, mask=MASK, aspect=2.0
)


def content(width: int, height: int) -> View:
    return View("", np.full((height, width, 3), 128, np.uint8))


def found(**given: object) -> Finding:
    from dataclasses import replace

    return replace(FINDING, **given)  # type: ignore[arg-type]


def test_the_photo_lies_where_the_finding_says() -> None:
    wide = found(scale=0.5, dx=0.25, dy=0.125)
    assert place(wide, 400, 200) == (100, 50, 300, 150)
    assert place(wide, 200, 400) == (100, 50, 300, 150)
    tall = found(scale=0.5, dx=0.25, dy=0.125, aspect=0.5)
    assert place(tall, 400, 300) == (100, 50, 200, 250)


def colours(picture: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(picture.crop(box)).reshape(-1, 3).astype(int)


@pytest.mark.parametrize(
    ("variant", "turn"),
    [
        ("", None),
        ("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
        ("rotated 180", Image.Transpose.ROTATE_180),
        ("rotated 90", Image.Transpose.ROTATE_90),
        ("rotated 270", Image.Transpose.ROTATE_270),
    ],
)
def test_what_survives_is_tinted_and_what_changed_is_hatched(
    variant: str, turn: Image.Transpose | None
) -> None:
    """Content that was turned is drawn as it came, and the drawing is turned with it."""
    turned = "90" in variant or "270" in variant
    size = (200, 400) if turned else (400, 200)
    picture = draw(content(*size), found(scale=0.5, dx=0.25, dy=0.125, variant=variant))
    assert picture.size == size
    if turn is not None:
        # The content is the upright picture turned; turning it once more the same way as it was
        # compared shows it upright.
        upright = {"rotated 90": "ROTATE_270", "rotated 270": "ROTATE_90"}.get(variant, turn.name)
        picture = picture.transpose(Image.Transpose[upright])
    outside = colours(picture, (0, 0, 90, 200))
    assert (outside == 128).all()
    survives = colours(picture, (104, 54, 148, 74))
    assert (survives[:, 1] > survives[:, 0]).all()
    changed = colours(picture, (152, 77, 248, 123))
    red = changed[:, 0] > changed[:, 1]
    assert 0.2 < red.mean() < 0.8
    unknown = colours(picture, (152, 127, 198, 146))
    assert (unknown == 128).all()
    edge = colours(picture, (100, 60, 101, 140))
    assert (edge == 255).all()


def test_a_photo_that_reaches_beyond_the_content_is_cut() -> None:
    picture = draw(content(100, 100), found(scale=4.0, dx=-1.0, dy=-0.5))
    assert picture.size == (100, 100)
    tiny = draw(content(3, 2), found(scale=0.1, dx=0.9, dy=0.0))
    assert tiny.size == (3, 2)


def test_it_is_said_in_words() -> None:
    assert describe(FINDING) == ("Shows 90% of protected photo 3 of friends. Changed: middle.")
    assert describe(found(mask="11/11", variant="mirrored")) == (
        "Shows 90% of protected photo 3 of friends, mirrored. No part of it is seen to be changed."
    )
    thirds = "/".join(["211", "112", "-0-"])
    assert changed_regions(thirds) == ["top left", "right"]
