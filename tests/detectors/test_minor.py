"""Apparent age: who can't be told counts as a minor. No picture of a person is used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tutela import models
from tutela.detectors import Options, Subject, examine, faces
from tutela.detectors import minor as module
from tutela.detectors.faces import Face, by_yunet, finder
from tutela.detectors.minor import MOST_VIEWS, UNDER, UNKNOWN, Minor, apparent, chips
from tutela.errors import ModelDamaged
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.models import Model

GREY = np.full((480, 640, 3), 128, np.uint8)


def face(height=100.0, score=0.9, left=50.0):
    box = np.array([left, 50, left + height * 0.8, 50 + height])
    points = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.5, 0.8)])
    return Face(score, box, points * (height * 0.8, height) + (left, 50))


class Told(Minor):
    """Sees these faces in every view, and these years in them, from the tallest on."""

    def __init__(self, found, years):
        def backend(inputs):
            rows = np.zeros((len(inputs[0]), 81), np.float32)
            for row in range(len(rows)):
                rows[row, years[row // len(module._LOOKS) % len(years)]] = 1
            return [rows]

        self._faces = lambda rgb: list(found)
        self._age = Model("fake", backend, max_batch=1024)


def look(detector, *pictures):
    views = [View(f"frame {index}", picture) for index, picture in enumerate(pictures or [GREY])]
    (finding,) = detector.examine(Subject(views=views))
    return finding


def drawn(size, side=640):
    """A face as a child's drawing has it, `size` pixels tall, off the middle."""
    picture = Image.new("RGB", (side, side * 3 // 4), (90, 120, 90))
    draw = ImageDraw.Draw(picture)
    x, y, unit = side * 0.62, side * 0.3, size / 2
    draw.ellipse((x - 0.75 * unit, y - unit, x + 0.75 * unit, y + unit), fill=(222, 184, 150))
    for way in (-1, 1):
        eye = x + way * 0.3 * unit
        draw.ellipse(
            (eye - 0.13 * unit, y - 0.27 * unit, eye + 0.13 * unit, y - 0.13 * unit), "white"
        )
        draw.ellipse(
            (eye - 0.06 * unit, y - 0.26 * unit, eye + 0.06 * unit, y - 0.14 * unit), "black"
        )
        draw.line(
            (eye - 0.18 * unit, y - 0.38 * unit, eye + 0.18 * unit, y - 0.38 * unit),
            (70, 40, 30),
            max(1, size // 40),
        )
    draw.polygon(
        [
            (x, y - 0.1 * unit),
            (x - 0.12 * unit, y + 0.25 * unit),
            (x + 0.12 * unit, y + 0.25 * unit),
        ],
        (200, 155, 125),
    )
    draw.ellipse(
        (x - 0.28 * unit, y + 0.42 * unit, x + 0.28 * unit, y + 0.56 * unit), (170, 70, 70)
    )
    return np.asarray(picture)


def test_somebody_clearly_adult_is_below_one_half_with_an_interval():
    finding = look(Told([face()], [70]))
    assert finding.likelihood < 0.01
    assert UNDER < finding.low < 70 < finding.high


def test_somebody_young_counts_as_a_minor():
    finding = look(Told([face()], [15]))
    assert finding.likelihood > 0.9
    assert finding.low < UNDER


def test_an_estimate_of_thirty_years_is_no_proof_of_being_adult():
    finding = look(Told([face()], [30]))
    assert finding.likelihood > UNKNOWN
    assert finding.low < UNDER < 30 < finding.high


@pytest.mark.parametrize(
    "found",
    [[], [face(height=30)], [face(score=0.5)], [face(), face(height=20, left=400)]],
    ids=["no face", "too small", "unclear", "a second one too small"],
)
def test_who_cannot_be_told_is_exactly_one_half_and_without_years(found):
    finding = look(Told(found, [70]))
    assert finding.likelihood == UNKNOWN
    assert finding.low is None
    assert finding.high is None
    assert "can't be told" in finding.detail


def test_without_a_model_of_age_nobody_can_be_told(tmp_path):
    detector = Told([face()], [70])
    detector._age = None
    assert look(detector).likelihood == UNKNOWN


def test_a_missing_model_of_age_is_no_failure(monkeypatch):
    monkeypatch.setattr(module, "AGE", "unheard-of")
    detector = Minor()
    detector.prepare(Options())
    assert look(detector).likelihood == UNKNOWN


def test_of_several_people_the_youngest_counts():
    faces = [face(200), face(150, left=300), face(100, left=500)]
    finding = look(Told(faces, [70, 14, 60]))
    assert finding == look(Told([face(150)], [14]))


def test_a_clear_minor_beside_somebody_unclear_stays_one():
    assert look(Told([face(), face(20, left=400)], [12])).likelihood > 0.9


def test_of_several_views_the_one_with_the_youngest_is_named():
    detector = Told([face()], [70])
    detector._faces = lambda rgb: [face()] if rgb[0, 0, 0] else []
    dark = np.zeros_like(GREY)
    finding = look(detector, GREY, dark, GREY)
    assert finding.part == "frame 1"
    assert finding.likelihood == UNKNOWN


def test_of_many_views_a_bounded_number_is_looked_at_first_and_last_among_them():
    detector, seen = Told([face()], [70]), []
    detector._faces = lambda rgb: seen.append(int(rgb[0, 0, 0])) or [face()]
    look(detector, *[np.full_like(GREY, index) for index in range(100)])
    assert len(seen) == MOST_VIEWS
    assert (seen[0], seen[-1]) == (0, 99)


def test_more_faces_than_are_looked_at_means_that_it_cannot_be_told():
    crowd = [face(height=100 + index) for index in range(module.MOST_FACES + 1)]
    assert look(Told(crowd[:-1], [70])).likelihood < UNKNOWN
    assert look(Told(crowd, [70])).likelihood == UNKNOWN


def test_no_place_of_a_face_is_in_what_leaves():
    finding = look(Told([face()], [40]))
    assert set(finding.to_json()) <= {
        "kind", "source", "version", "part", "low", "high", "likelihood", "detail",
    }  # fmt: skip


def test_it_runs_only_where_there_is_a_picture():
    assert not Minor().applies(MediaFacts(format="wav", sound=2.0))
    assert Minor().applies(MediaFacts(format="png", width=2, height=2))
    (finding,) = Told([], [30]).examine(Subject())
    assert finding.likelihood == UNKNOWN


def test_one_that_is_not_prepared_fails():
    (finding,) = examine(Minor(), Subject(views=[View("", GREY)]))
    assert finding.kind == "failure"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 80), min_size=2, max_size=8))
def test_an_interval_that_reaches_below_eighteen_counts_as_a_minor(years):
    age = apparent(np.array(years))
    assert 0 <= age.low <= age.high
    assert 0 <= age.likelihood <= 1
    assert (age.likelihood >= UNKNOWN - 1e-9) == (age.low <= UNDER + 1e-9)


@settings(derandomize=True, deadline=None)
@given(st.floats(0, 79), st.floats(0.01, 1))
def test_who_looks_older_is_less_likely_a_minor(years, more):
    younger, older = (apparent(np.full(8, each)) for each in (years, years + more))
    assert younger.likelihood >= older.likelihood
    assert younger.low <= older.low


def test_looks_that_disagree_widen_the_interval():
    agreed, torn = apparent(np.full(4, 50.0)), apparent(np.array([30.0, 70, 30, 70]))
    assert torn.low < agreed.low
    assert torn.high > agreed.high


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.floats(0.4, 6), st.floats(-40, 40), st.floats(-200, 200), st.floats(-200, 200))
def test_a_face_is_cut_out_upright_at_any_size_and_angle(size, degrees, right, down):
    """Coloured dots at the points land where an upright face has them."""
    turn = size * 60 * np.exp(1j * np.deg2rad(degrees))
    at = (module._POINTS - 0.5) @ (1, 1j) * turn + complex(400 + right, 400 + down)
    points = np.stack([at.real, at.imag], 1)
    y, x = np.mgrid[:800, :800]
    picture = np.zeros((800, 800, 3), np.uint8)
    picture[np.hypot(x - points[0, 0], y - points[0, 1]) < 8 * size] = (255, 0, 0)
    picture[np.hypot(x - points[3, 0], y - points[3, 1]) < 8 * size] = (0, 255, 0)
    chip = next(chips(picture, Face(1.0, np.zeros(4), points)))
    for channel, point in ((0, 0), (1, 3)):
        weight = chip[:, :, channel].astype(float)
        assert weight.sum() > 0
        row, column = (np.indices(weight.shape) * weight).sum((1, 2)) / weight.sum() + 0.5
        wanted = (module._POINTS[point] + module._PADDING) / (1 + 2 * module._PADDING) * 64
        assert (column, row) == pytest.approx(tuple(wanted), abs=2)


@pytest.mark.parametrize("size", [60, 100, 180, 300])
def test_the_model_that_comes_with_tutela_finds_a_drawn_face(size):
    found = finder(None)(drawn(size))
    assert found
    best = found[0]
    assert best.score >= 0.6
    eye_left, eye_right, nose, mouth = best.points
    x, y, unit = 640 * 0.62, 640 * 0.3, size / 2
    assert abs((best.box[0] + best.box[2]) / 2 - x) < 0.4 * unit
    assert eye_left == pytest.approx((x - 0.3 * unit, y - 0.2 * unit), abs=0.25 * unit)
    assert eye_right == pytest.approx((x + 0.3 * unit, y - 0.2 * unit), abs=0.25 * unit)
    assert nose[1] < mouth[1]


def test_pictures_without_faces_have_none():
    rng = np.random.default_rng(3)
    for height, width in ((480, 640), (640, 90), (1, 1), (40, 30)):
        picture = rng.integers(0, 255, (height, width, 1), np.uint8).repeat(3, 2)
        assert not [face for face in finder(None)(picture) if face.score >= module.SURE]


def test_a_damaged_model_of_faces_is_refused_and_not_left_out(tmp_path):
    (tmp_path / models.find(faces.YUNET).file).write_bytes(b"something else")
    with pytest.raises(ModelDamaged):
        finder(tmp_path)


def test_yunet_is_read_as_its_authors_do():
    """One face, in each of its three sizes of places, at a place that is worked out by hand."""
    for level, stride in enumerate((8, 16, 32)):
        rows, columns = 96 // stride, 128 // stride
        outputs = [
            np.zeros((1, (96 // each) * (128 // each), width), np.float32)
            for width in (1, 1, 4, 10)
            for each in (8, 16, 32)
        ]
        row, column = rows - 1, columns // 2
        place = row * columns + column
        outputs[level][0, place] = 0.81
        outputs[3 + level][0, place] = 1.0
        outputs[6 + level][0, place] = (0.5, 0.25, np.log(2), np.log(3))
        outputs[9 + level][0, place] = np.arange(10) / 10
        (found,) = by_yunet(
            Model("fake", lambda _, outputs=outputs: outputs), np.zeros((90, 120, 3), np.uint8)
        )
        x, y = (column + 0.5) * stride, (row + 0.25) * stride
        assert found.score == pytest.approx(0.9)
        assert found.box == pytest.approx(
            [x - stride, y - 1.5 * stride, x + stride, y + 1.5 * stride]
        )
        assert found.points[0] == pytest.approx((column * stride, (row + 0.1) * stride))
        assert found.points[3] == pytest.approx(((column + 0.7) * stride, (row + 0.8) * stride))


@settings(derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.4, 1), st.integers(0, 40), st.integers(0, 40),
            st.integers(0, 20), st.integers(0, 20),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_of_boxes_that_overlap_the_best_stays(given):
    """As a naive search has it."""
    rows = sorted(given, key=lambda row: -row[0])
    boxes = [(x, y, x + width, y + height) for _, x, y, width, height in rows]
    kept = []
    for box in boxes:
        if box[0] < box[2] and box[1] < box[3] and all(_shared(box, other) < 0.3 for other in kept):
            kept.append(box)
    scores = np.array([row[0] for row in rows])
    found = faces._distinct(
        scores, np.array(boxes, float).reshape(-1, 4), np.zeros((len(rows), 4, 2))
    )
    assert [tuple(face.box) for face in found] == kept


def _shared(one, other):
    cells = [
        {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}
        for box in (one, other)
    ]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def test_yunet_tells_of_a_large_picture_in_its_own_pixels():
    def backend(inputs):
        assert inputs[0].shape == (1, 3, 480, 640)
        outputs = [
            np.zeros((1, (480 // each) * (640 // each), width), np.float32)
            for width in (1, 1, 4, 10)
            for each in (8, 16, 32)
        ]
        for level in (0, 3):
            outputs[level][0, 81] = 1.0
        return outputs

    picture = np.zeros((960, 1280, 3), np.uint8)
    (found,) = by_yunet(Model("fake", backend), picture)
    assert found.box == pytest.approx([8, 8, 24, 24])
    assert found.points == pytest.approx(np.full((4, 2), 16))
