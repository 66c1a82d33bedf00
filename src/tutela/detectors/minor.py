"""Whether a person who is shown may be under 18, by the look of the face.

Who can't be told counts as a minor: the model is weak, and its error on minors was never measured
(docs/nudity-and-age.md). Faces are found, looked at and forgotten inside `examine`; what leaves it
is an interval of years and a likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela import models
from tutela.detectors import Options, Sight, Subject
from tutela.detectors.faces import Face, Finder, finder
from tutela.errors import ConfigurationError, ModelMissing
from tutela.findings import MINOR as KIND
from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.models import Model

NAME: Final = "minor"
VERSION: Final = "1"
AGE: Final = "age"
"""The model, which an extra brings."""
UNDER: Final = 18
UNKNOWN: Final = 0.5
"""The likelihood where it can't be told. From here on it counts as a minor."""
NOBODY: Final = "no face"
"""How the finding ends that is of a picture in which nobody is seen."""
LOW_SHARE: Final = 0.05
"""Share of people who are younger than `low` years, and of those older than `high`."""

MOST_VIEWS: Final = 16
MOST_FACES: Final = 16
"""Views, and faces of each, that are looked at."""
SURE: Final = 0.7
"""Score from which a face is one: below, it may be one whose age can't be told."""
SMALLEST: Final = 64.0
"""Pixels of a face, top to bottom: below, the model guesses."""

OFFSET: Final = 18.0
SLOPE: Final = 0.55
ERROR: Final = 9.5
"""What the model says of a person of t years: OFFSET + SLOPE t, and ERROR years around it (standard
deviation). Measured on portraits of adults; for younger people extended in a straight line."""

_SIDE: Final = 64
_PADDING: Final = 0.2
_MEAN: Final = np.array([122.781998, 117.000999, 104.297997], np.float32)
_YEARS: Final = np.array([0.25, *range(1, 81)])
_POINTS: Final = np.array([(0.23, 0.22), (0.77, 0.22), (0.5, 0.54), (0.5, 0.80)])
"""Where eyes, nose and mouth lie in an upright face, before padding."""
_LOOKS: Final = (
    # Size, and whether mirrored.
    (1.0, False),
    (1.0, True),
    (1.12, False),
    (0.9, True),
)


@dataclass(frozen=True, slots=True)
class Apparent:
    """How old a person looks."""

    low: float
    high: float
    """Years; nine of ten people for whom the model says the same are between the two."""
    likelihood: float
    """0 to 1, `UNKNOWN` where `low` is `UNDER`: the probability of being younger than that, its
    odds weighted so that a minor who is missed counts 19 times an adult who is held."""


class Minor:
    """Always gives one finding: of the person who looks youngest. Threads may share it."""

    name = NAME
    version = VERSION
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.VIEWS})
    cost = 70.0

    def __init__(self) -> None:
        self._faces: Finder | None = None
        self._age: Model | None = None

    def prepare(self, options: Options) -> None:
        """Load what finds faces, and the model of age if it is installed."""
        self._faces = finder(options.models)
        try:
            self._age = models.load(AGE, options.models)
        except ModelMissing:
            self._age = None

    def applies(self, facts: MediaFacts) -> bool:
        """Whether there is a picture."""
        return facts.width > 0 and facts.height > 0

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding, whatever is shown. Without years where nobody's age can be told."""
        if self._faces is None:
            raise ConfigurationError("prepare the minor detector before it examines")
        views = subject.views
        if len(views) > MOST_VIEWS:
            at = np.linspace(0, len(views) - 1, MOST_VIEWS).round().astype(int)
            views = [views[index] for index in at]
        found = [self._look(view) for view in views] or [_unknown("nothing to look at")]
        return (max(found, key=lambda finding: finding.likelihood or 0.0),)

    def _look(self, view: View) -> Finding:
        """What one view shows."""
        assert self._faces is not None
        if self._age is None:
            return _unknown("no model of age is installed", view.part)
        faces = sorted(self._faces(view.rgb), key=lambda face: -face.height)
        clear = [face for face in faces if face.score >= SURE and face.height >= SMALLEST]
        clear = clear[:MOST_FACES]
        if not clear:
            return _unknown("a face too small or unclear" if faces else NOBODY, view.part)
        ages = [apparent(each) for each in self._years(view.rgb, clear)]
        youngest = max(ages, key=lambda age: age.likelihood)
        if len(clear) < len(faces) and youngest.likelihood < UNKNOWN:
            return _unknown("a face too small or unclear", view.part)
        return Finding(
            KIND,
            NAME,
            VERSION,
            part=view.part,
            low=round(youngest.low, 1),
            high=round(youngest.high, 1),
            likelihood=math.ceil(youngest.likelihood * 1e4) / 1e4,
            detail="apparent age of the one who looks youngest",
        )

    def _years(self, rgb: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        """What the model says of each face, looked at in several ways. (faces, ways), years."""
        assert self._age is not None
        looks = np.stack([chip for face in faces for chip in chips(rgb, face)])
        rows = ((looks.astype(np.float32) - _MEAN) / 256).transpose(0, 3, 1, 2)
        shares = self._age.run(np.ascontiguousarray(rows))
        years: NDArray[np.float64] = shares.astype(np.float64) @ _YEARS
        return years.reshape(len(faces), len(_LOOKS))


def apparent(years: NDArray[np.float64]) -> Apparent:
    """How old somebody looks of whom the model said these years, looking in several ways.

    The interval follows from OFFSET, SLOPE and ERROR read backwards; where the ways disagree it is
    wider.
    """
    error = float(np.hypot(ERROR, years.std())) / SLOPE
    middle = (float(years.mean()) - OFFSET) / SLOPE
    reach = NormalDist().inv_cdf(1 - LOW_SHARE) * error
    younger = NormalDist(middle, error).cdf(UNDER)
    weighted = younger * (1 - LOW_SHARE) / LOW_SHARE
    low, high = (min(max(0.0, middle + sign * reach), 120.0) for sign in (-1, 1))
    return Apparent(low, high, weighted / (weighted + 1 - younger))


def chips(rgb: NDArray[np.uint8], face: Face) -> Iterator[NDArray[np.uint8]]:
    """The face upright, once for each way to look at it. uint8 (64, 64, 3)."""
    picture = Image.fromarray(rgb)
    # Bilinear sampling skips pixels where it reduces: so reduce first.
    eyes = float(np.hypot(*(face.points[1] - face.points[0])))
    reduced = min(1.0, _SIDE * 0.54 / (1 + 2 * _PADDING) / max(eyes, 1e-6))
    if reduced < 0.75:
        width, height = (max(1, round(side * reduced)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
    points = face.points * (picture.width / rgb.shape[1], picture.height / rgb.shape[0])
    for size, mirrored in _LOOKS:
        upright = ((_POINTS + _PADDING) / (1 + 2 * _PADDING) - 0.5) * size
        upright = (upright + 0.5) * _SIDE
        chip = np.asarray(
            picture.transform(
                (_SIDE, _SIDE),
                Image.Transform.AFFINE,
                _similarity(upright, points),
                Image.Resampling.BILINEAR,
            )
        )
        yield chip[:, ::-1] if mirrored else chip


def _similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, float, float, float, float, float]:
    """The turn, scale and shift that bring points nearest to others (least squares), as Pillow
    wants it: x' = a x + b y + c, y' = d x + e y + f."""
    one, other = (points @ (1, 1j) for points in (source, target))
    centred = one - one.mean()
    turn = np.vdot(centred, other - other.mean()) / np.vdot(centred, centred).real
    shift = other.mean() - turn * one.mean()
    return turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag


def _unknown(why: str, part: str = "") -> Finding:
    return Finding(
        KIND, NAME, VERSION, part=part, likelihood=UNKNOWN, detail=f"can't be told: {why}"
    )


MINOR = Minor()
