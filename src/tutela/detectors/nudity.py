"""Nudity, as models see it. Recall is the models' authors' matter: here only that ordinary
photographs pass is measured (docs/nudity-and-age.md).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela import models
from tutela.detectors import Options, Sight, Subject
from tutela.errors import ConfigurationError
from tutela.findings import NUDITY as KIND
from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.models import Model

FIRST: Final = "open_nsfw"
SECOND: Final = "image-safety-classifier-s"
"""A second opinion, asked where it was pulled."""
ALONE: Final = 0.85
"""Score of the first model from which it says nudity by itself, …"""
SECOND_ALONE: Final = 0.9
"""… that of the second, …"""
TOGETHER: Final = 0.4
"""… and the score that is enough where both reach it. docs/design/nudity-and-age.md tells how
these were chosen."""
WIDE: Final = 2.0
"""Sides in this ratio or more: as the models see a picture squeezed into a square, the squares
along it are looked at too."""
MOST_SQUARES: Final = 12
_SIDE, _CROP = 256, 224
_MEAN: Final = np.array([104, 117, 123], np.float32)


class Nudity:
    """Looks at every view, and says which one shows most. Threads may share it."""

    name = "nudity"
    version = "1"
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.VIEWS})
    cost = 20.0

    def __init__(self) -> None:
        self._first: Model | None = None
        self._second: Model | None = None

    def prepare(self, options: Options) -> None:
        """Load the model that comes with Tutela, and the second one if it was pulled."""
        self._first = models.load(FIRST)
        self._second = _pulled(SECOND, options.models)

    def applies(self, facts: MediaFacts) -> bool:
        """Whether there is a picture."""
        return facts.width > 0 and facts.height > 0

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding: of the view that shows most, however little that is. `score` is the
        first model's, of that view."""
        if self._first is None:
            raise ConfigurationError("prepare the nudity detector before it examines")
        if not subject.views:
            raise ValueError("nothing to look at: that says nothing of what is shown")
        shown = [squares(view.rgb) for view in subject.views]
        owner = [index for index, parts in enumerate(shown) for _ in parts]
        pictures = [part for parts in shown for part in parts]
        first = _scores(self._first, for_first, pictures)
        likely = scale(first, ALONE)
        second = None
        if self._second is not None:
            second = _scores(self._second, for_second, pictures)
            likely = combine(first, second)
        most = int(np.argmax(likely))
        return (
            Finding(
                KIND,
                self.name,
                self.version,
                part=subject.views[owner[most]].part,
                score=round(float(first[most]), 4),
                likelihood=round(float(likely[most]), 4),
                detail="" if second is None else f"a second model says {second[most]:.2f}",
            ),
        )


def scale(scores: NDArray[np.floating], half: float) -> NDArray[np.float64]:
    """Scores as likelihoods: `half` becomes 0.5, by shifting the log-odds. 0 to 1, rising."""
    scores = np.asarray(scores, np.float64)
    with_nudity, without = scores * (1 - half), (1 - scores) * half
    return with_nudity / (with_nudity + without)


def combine(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """The likelihood by two models: either is believed where it is sure of itself, and both where
    each is half-way. A second opinion never lowers it."""
    either = np.maximum(scale(first, ALONE), scale(second, SECOND_ALONE))
    return np.maximum(either, scale(np.minimum(first, second), TOGETHER))


def squares(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture, and if it is very wide or very tall the squares along it, which overlap."""
    height, width = rgb.shape[:2]
    side, length = sorted((height, width))
    if length < WIDE * side:
        return [rgb]
    count = min(MOST_SQUARES, int(np.ceil(2 * (length - side) / side)) + 1)
    starts = np.linspace(0, length - side, count).round().astype(int)
    if width > height:
        return [rgb, *(rgb[:, start : start + side] for start in starts)]
    return [rgb, *(rgb[start : start + side] for start in starts)]


def for_first(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As its authors prepare pictures: squeezed into a square, the middle of it, JPEG again, BGR
    less the mean. (224, 224, 3)."""
    edge = (_SIDE - _CROP) // 2
    bilinear = Image.Resampling.BILINEAR
    small = Image.fromarray(rgb).resize((_SIDE, _SIDE), bilinear, reducing_gap=1.5)
    small = small.crop((edge, edge, edge + _CROP, edge + _CROP))
    with io.BytesIO() as file:
        small.save(file, "JPEG")
        with Image.open(file, formats=("JPEG",)) as again:
            pixels = np.asarray(again, np.float32)
    return np.ascontiguousarray(pixels[:, :, ::-1] - _MEAN)


def for_second(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB, 0 to 255, (3, 224, 224); the model normalises by itself."""
    small = Image.fromarray(rgb).resize((_CROP, _CROP), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1))


def _scores(
    model: Model,
    prepared: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pictures: Sequence[NDArray[np.uint8]],
) -> NDArray[np.float32]:
    """What a model says of each picture. Prepared a batch at a time: a film has hundreds."""
    batches = range(0, len(pictures), model.max_batch)
    rows = (pictures[start : start + model.max_batch] for start in batches)
    return np.concatenate([model.run(np.stack([prepared(p) for p in some]))[:, 1] for some in rows])


def _pulled(name: str, folder: Path | None) -> Model | None:
    """A model, if its file is in the folder; one that is damaged is refused."""
    card = models.find(name)
    if models.state(card, folder) is models.State.MISSING:
        return None
    return models.load(card, folder)


NUDITY = Nudity()
