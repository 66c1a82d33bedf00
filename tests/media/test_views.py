"""What a reviewer is shown of content, decoded in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from support import encoded, photo
from tutela.media.preview import SIDE
from tutela.sandbox import Sandbox


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(workers=1, signal_names=["pdq"]) as made:
        yield made


def test_a_small_grey_picture_comes_only_when_asked_for(box: Sandbox) -> None:
    data = encoded(photo("coffee"))
    assert box.examine(data).previews == ()
    (found,) = box.examine(data, look=True).previews
    assert max(found.width, found.height) <= SIDE
    luma = np.frombuffer(found.luma, np.uint8).reshape(found.height, found.width)
    small = photo("coffee").convert("L").resize((found.width, found.height), Image.Resampling.BOX)
    assert np.abs(luma.astype(int) - np.asarray(small)).mean() < 4


def test_its_parts_are_named_as_those_of_fingerprints(box: Sandbox) -> None:
    frames = [photo(name).resize((200, 150)) for name in ("coffee", "rocket", "cat")]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    clear = photo("cat").convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    for data in (moving, encoded(clear, "PNG"), encoded(frames[0])):
        found = box.examine(data, look=True)
        assert [small.part for small in found.previews] == [f.part for f in found.fingerprints]
