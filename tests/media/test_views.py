"""What models and reviewers are shown of content, decoded in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from support import encoded, photo
from tutela.detectors import Sight
from tutela.examine import Examination, Wanted
from tutela.media.views import LARGE, SIDE
from tutela.sandbox import Sandbox


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(workers=1, signal_names=["pdq"]) as made:
        yield made


def seen(box: Sandbox, data: bytes, sight: Sight = Sight.VIEWS) -> Examination:
    return box.examine(data, Wanted(sights=frozenset({sight})))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_a_small_picture_comes_only_when_asked_for(box: Sandbox, kind: str) -> None:
    picture = photo("coffee").resize((1100, 700))
    data = encoded(picture, kind)
    assert box.examine(data).views == ()
    (found,) = seen(box, data).views
    assert SIDE // 2 <= max(found.width, found.height) <= SIDE
    small = picture.resize((found.width, found.height), Image.Resampling.BOX)
    assert np.abs(found.rgb.astype(int) - np.asarray(small)).mean() < 8


def test_print_is_shown_larger(box: Sandbox) -> None:
    (found,) = seen(box, encoded(photo("coffee").resize((3000, 900))), Sight.LARGE).views
    assert (found.width, found.height) == (LARGE, LARGE * 900 // 3000)


@pytest.mark.parametrize("turn", range(1, 9))
def test_it_is_upright(box: Sandbox, turn: int) -> None:
    picture = photo("rocket").resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = turn
    (plain,) = seen(box, encoded(picture)).views
    stored = {
        1: picture,
        2: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: picture.transpose(Image.Transpose.ROTATE_180),
        4: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: picture.transpose(Image.Transpose.TRANSPOSE),
        6: picture.transpose(Image.Transpose.ROTATE_90),
        7: picture.transpose(Image.Transpose.TRANSVERSE),
        8: picture.transpose(Image.Transpose.ROTATE_270),
    }[turn]
    (found,) = seen(box, encoded(stored, exif=exif.tobytes())).views
    assert found.rgb.shape == plain.rgb.shape
    assert np.abs(found.rgb.astype(int) - plain.rgb).mean() < 4


def test_inks_come_out_as_colours(box: Sandbox) -> None:
    picture = photo("coffee").resize((300, 200))
    (found,) = seen(box, encoded(picture.convert("CMYK"))).views
    assert np.abs(found.rgb.astype(int) - np.asarray(picture)).mean() < 8


def test_its_parts_are_named_as_those_of_fingerprints(box: Sandbox) -> None:
    frames = [photo(name).resize((200, 150)) for name in ("coffee", "rocket", "cat")]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    clear = photo("cat").convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    for data in (moving, encoded(clear, "PNG"), encoded(frames[0])):
        found = seen(box, data)
        assert [view.part for view in found.views] == [f.part for f in found.fingerprints]


def test_transparent_content_is_shown_on_both_pages(box: Sandbox) -> None:
    clear = Image.new("RGBA", (64, 64), (200, 30, 30, 0))
    clear.paste((10, 20, 200, 255), (16, 16, 48, 48))
    white, black = seen(box, encoded(clear, "PNG")).views
    assert white.rgb[0, 0].tolist() == [255, 255, 255]
    assert black.rgb[0, 0].tolist() == [0, 0, 0]
    assert white.rgb[32, 32].tolist() == black.rgb[32, 32].tolist() == [10, 20, 200]
