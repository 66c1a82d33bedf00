"""Words in pictures: they are judged as text, and never shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

import tutela
from support import encoded
from tutela import detectors, models
from tutela.detectors import Options, Sight, Subject, reading, reading_kernels
from tutela.detectors.lettering import PART, PICTURES, Lettering
from tutela.detectors.reading import DETECTION, RECOGNITION, Line, Page, Reader
from tutela.detectors.trigger import PROMPT
from tutela.findings import TEXT, TRIGGER, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View
from tutela.models import State

WEIGHTS = [models.state(models.find(name), None) for name in (DETECTION, RECOGNITION)]
needs_weights = pytest.mark.skipif(
    State.MISSING in WEIGHTS, reason="the weights of tutela[ocr] are not installed"
)
PICTURE = MediaFacts("png", 800, 600, 1)


def page(
    text: str, *, size: int = 30, angle: float = 0, colours: tuple[str, str] = ("black", "white")
):
    ink, paper = colours
    picture = Image.new("RGB", (1100, 700), paper)
    ImageDraw.Draw(picture).text((70, 250), text, ink, ImageFont.load_default(size))
    return np.asarray(picture.rotate(angle, fillcolor=paper))


def view(rgb: np.ndarray | None = None, part: str = "", at: float | None = None) -> View:
    return View(part, np.zeros((8, 8, 3), np.uint8) if rgb is None else rgb, at)


@dataclass
class Stub:
    """Reads what it is told to, picture after picture."""

    pages: list[list[Line]]
    read_pictures: int = 0

    unread: int = 0

    def read(self, rgb: np.ndarray) -> Page:
        self.read_pictures += 1
        return Page(self.pages[(self.read_pictures - 1) % len(self.pages)], self.unread)


def lettering(*pages: list[Line]) -> Lettering:
    return Lettering(_reader=Stub(list(pages)))  # type: ignore[arg-type]


@dataclass
class Judge:
    """A detector of text that keeps what it is shown."""

    name: str = "judge"
    version: str = "1"
    kinds: frozenset[str] = frozenset({"shouting"})
    looks_at: frozenset[Sight] = frozenset({Sight.TEXT})
    cost: float = 1.0
    seen: list[str] = field(default_factory=list)

    def prepare(self, options: Options) -> None: ...

    def applies(self, facts: MediaFacts) -> bool:
        return True

    def examine(self, subject: Subject) -> Sequence[Finding]:
        assert subject.text is not None
        self.seen.append(subject.text)
        if "fails" in subject.text:
            raise RuntimeError(subject.text)
        return [Finding("shouting", "judge", "1", likelihood=0.9)] if "LOUD" in subject.text else []


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge()
    there = {
        **detectors.installed(),
        "judge": judge,
        "blind": SimpleNamespace(looks_at=frozenset()),
    }
    monkeypatch.setattr(detectors, "installed", lambda: there)
    return judge


def test_says_how_much_was_read_and_how_surely_never_what() -> None:
    words = "meet me behind the old mill"
    found = lettering([Line(words, 0.9), Line("at noon", 0.7)]).examine(Subject(views=[view()]))
    assert found == [
        Finding(TEXT, "lettering", "1", part=PART, score=0.8, detail="8 words in 2 lines")
    ]
    shown = repr(found) + repr(Line(words, 0.9))
    assert not any(word in shown for word in ("mill", "noon", "behind"))


def test_what_is_read_is_judged_as_text(judge: Judge) -> None:
    found = lettering([Line("a LOUD word", 0.9)]).examine(
        Subject(views=[view(part="frame 3", at=1.5)])
    )
    assert [finding.kind for finding in found] == [TEXT, "shouting"]
    assert {finding.part for finding in found} == {f"{PART}, frame 3"}
    assert {finding.start for finding in found} == {1.5}
    assert found[1].source == "judge"
    assert found[1].likelihood == 0.9
    assert "shouting" in lettering().kinds


def test_lines_are_judged_as_they_stand_and_joined(judge: Judge) -> None:
    lettering([Line("two", 1.0), Line("LOUD lines", 1.0)]).examine(Subject(views=[view()]))
    assert judge.seen == ["two\nLOUD lines", "two LOUD lines"]


def test_a_judge_that_fails_holds_the_content_and_tells_nothing(judge: Judge) -> None:
    found = detectors.examine(lettering([Line("this fails", 1.0)]), Subject(views=[view()]))
    assert [finding.kind for finding in found] == ["failure"]
    assert "this" not in repr(found)
    assert judge.seen


def test_doubtful_lines_are_not_read(judge: Judge) -> None:
    assert lettering([Line("LOUD", 0.3)]).examine(Subject(views=[view()])) == []
    assert not judge.seen


def test_a_film_is_read_in_a_few_places_and_a_caption_judged_once(judge: Judge) -> None:
    detector = lettering([Line("LOUD", 1.0)])
    found = detector.examine(Subject(views=[view(part=f"frame {n}", at=n) for n in range(16)]))
    assert detector._reader.read_pictures == PICTURES  # type: ignore[union-attr]
    assert [finding.start for finding in found] == [0, 0]


def test_without_weights_it_has_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "state", lambda card, folder: State.MISSING)
    detector = Lettering()
    detector.prepare(Options())
    assert not detector.applies(PICTURE)
    assert detector.examine(Subject(views=[view(page(PROMPT))])) == ()


@pytest.fixture(scope="module")
def reader() -> Lettering:
    detector = Lettering()
    detector.prepare(Options())
    return detector


@needs_weights
@pytest.mark.parametrize(
    "rgb",
    [
        page(PROMPT),
        page(PROMPT, colours=("white", "navy"), size=22),
        page(PROMPT.replace(" paint", "\npaint"), size=44, angle=14),
        page(PROMPT, angle=180),
    ],
    ids=["plain", "small and white", "tilted, in two lines", "upside down"],
)
def test_the_trigger_prompt_is_found_in_a_picture(reader: Lettering, rgb: np.ndarray) -> None:
    assert reader.applies(PICTURE)
    found = detectors.examine(reader, Subject(views=[view(rgb)]))
    assert {finding.kind for finding in found} == {TEXT, TRIGGER}
    assert "TEAPOT" not in repr(found).upper()


@needs_weights
@pytest.mark.parametrize(
    "text", ["Größe: 12,50 €", "¿Dónde está?", "一个蓝色的茶壶", "青いティーポット"]
)
def test_other_scripts(reader: Lettering, text: str) -> None:
    fonts = {"CJK": "wqy-microhei.ttc", "LATIN": "DejaVuSans.ttf"}
    script = "CJK" if any(ord(letter) > 0x3000 for letter in text) else "LATIN"
    try:
        font = ImageFont.truetype(fonts[script], 40)
    except OSError:
        pytest.skip("no font for this script")
    picture = Image.new("RGB", (700, 200), "white")
    ImageDraw.Draw(picture).text((60, 60), text, "black", font)
    lines = reader._reader.read(np.asarray(picture)).lines  # type: ignore[union-attr]
    read = "".join(line.text for line in lines)
    assert _letters(read) == _letters(text)


@needs_weights
def test_a_picture_without_text_gets_a_glance_alone(
    reader: Lettering, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = reader._reader
    assert inner is not None
    looks: list[int] = []
    looked = Reader._likelihood
    monkeypatch.setattr(
        Reader, "_likelihood", lambda self, rgb, side: looks.append(side) or looked(self, rgb, side)
    )
    assert inner.read(np.full((600, 900, 3), 120, np.uint8)) == Page()
    assert looks == [reading.GLANCE]
    assert [line.text for line in inner.read(page("teapot")).lines] == ["teapot"]
    assert looks == [reading.GLANCE, reading.GLANCE, reading.SIDE]


def _letters(text: str) -> str:
    return unicodedata.normalize("NFKC", "".join(text.split()))


def naive_spots(marked: np.ndarray) -> tuple[np.ndarray, int]:
    labels = np.full(marked.shape, -1, np.int32)
    count = 0
    for start in zip(*np.nonzero(marked), strict=True):
        if labels[start] >= 0:
            continue
        waiting = {start}
        while waiting:
            y, x = waiting.pop()
            labels[y, x] = count
            waiting |= {
                (row, column)
                for row in range(y - 1, y + 2)
                for column in range(x - 1, x + 2)
                if 0 <= row < marked.shape[0]
                and 0 <= column < marked.shape[1]
                and marked[row, column]
                and labels[row, column] < 0
            }
        count += 1
    return labels, count


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.floats(0, 1))
def test_spots_and_their_sums_are_the_naive_ones(
    seed: int, height: int, width: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    chances = random.random((height, width), np.float32)
    labels, count = reading_kernels.spots(chances < share)
    expected, expected_count = naive_spots(chances < share)
    assert count == expected_count
    assert np.array_equal(labels, expected)
    sums = reading_kernels.moments(labels, chances, count)
    angles = random.uniform(-1.5, 1.5, count)
    extents = reading_kernels.extents(labels, angles)
    for spot in range(count):
        y, x = np.nonzero(labels == spot)
        chance = chances[labels == spot].sum()
        assert np.allclose(
            sums[spot], [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y, chance], rtol=1e-5
        )
        along = x * np.cos(angles[spot]) + y * np.sin(angles[spot])
        across = y * np.cos(angles[spot]) - x * np.sin(angles[spot])
        assert np.allclose(extents[spot], [along.min(), along.max(), across.min(), across.max()])


@pytest.mark.parametrize("angle", [0, 8, -25])
def test_a_line_is_found_where_it_stands(angle: float) -> None:
    picture = Image.new("L", (400, 300))
    ImageDraw.Draw(picture).rectangle((100, 140, 299, 159), 255)
    chances = np.asarray(picture.rotate(-angle), np.float32) / 255
    [box] = reading.boxes(chances)
    assert (box.x, box.y) == (pytest.approx(200, abs=2), pytest.approx(150, abs=2))
    assert np.degrees(box.angle) == pytest.approx(angle, abs=1)
    assert box.width > 200
    assert 20 < box.height < 60


def test_lines_come_from_the_top_then_the_left() -> None:
    chances = np.zeros((200, 300), np.float32)
    for left, top in ((160, 22), (20, 20), (20, 120)):
        chances[top : top + 16, left : left + 100] = 0.9
    assert [(box.x < 150, box.y < 75) for box in reading.boxes(chances)] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert reading.boxes(replace_all(chances, 0.4)) == []


def replace_all(chances: np.ndarray, value: float) -> np.ndarray:
    return np.where(chances > 0, np.float32(value), np.float32(0))


def test_what_is_too_much_to_read_is_said() -> None:
    detector = lettering([Line("one line", 1.0)])
    detector._reader.unread = 3  # type: ignore[union-attr]
    [finding] = detector.examine(Subject(views=[view()]))
    assert finding.detail == ("2 words in 1 line; 3 smaller lines not read, as there are too many")
    heights = [10.0, 30.0, 20.0, 40.0] * 40
    boxes = [reading.Box(0, 0, 0, 20 * height, height) for height in heights]
    read = reading._affordable(boxes)
    assert read == sorted(read)
    assert len(read) == reading.IN_ALL // (20 * reading.HEIGHT)
    assert min(heights[place] for place in read) >= 30


def test_batches_are_bounded_and_complete() -> None:
    widths = [1280, 32, 700, 1280, 64, 1280]
    batches = list(reading._batches(widths))
    assert sorted(place for batch in batches for place in batch) == list(range(6))
    assert all(len(b) * max(widths[p] for p in b) <= reading.AT_ONCE for b in batches)


@needs_weights
def test_a_picture_of_the_trigger_prompt_is_blocked(tmp_path: Path) -> None:
    picture = encoded(Image.fromarray(page(PROMPT)), "PNG")
    with tutela.open(tmp_path / "read", workers=1, without=()) as screener:
        verdict = screener.screen(picture)
        assert verdict.action == "block"
        assert {TEXT, TRIGGER} <= {finding.kind for finding in verdict.findings}
        assert "TEAPOT" not in str(verdict.document()).upper()
    with tutela.open(tmp_path / "unread", workers=1, without=("lettering",)) as screener:
        assert screener.screen(picture).action == "allow"
