"""Forensics tells regions with another past from the rest, says where, and is silent otherwise."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from support import encoded, photo
from tutela import heat
from tutela.detectors import Options, Subject, examine, forensics, in_sandbox
from tutela.detectors import forensics_kernels as kernels
from tutela.detectors.forensics import FORENSICS, Traces, examined, likelihood, steps, traces
from tutela.findings import FAILURE, Finding
from tutela.media import decode
from tutela.media.types import MediaFacts
from tutela.media.views import View

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(17, 60)
BOX = (40, 60, 250, 270)
"""What is exchanged in the tests' photo: left, top, right, bottom."""


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def saved(quality: int = 75) -> Image.Image:
    """A photograph that was a JPEG before."""
    return opened(encoded(photo("coffee").resize((900, 600)), quality=quality))


def altered(quality: int = 75) -> Image.Image:
    """The same, with part of another one painted in."""
    picture = saved(quality)
    other = photo("cat").resize((900, 600)).crop((300, 200, 300 + BOX[2] - BOX[0], 410))
    picture.paste(other, BOX[:2])
    return picture


def found(data: bytes) -> list[Finding]:
    FORENSICS.prepare(Options())
    media = decode(data)
    facts = MediaFacts(media.format, media.width, media.height, media.frame_count)
    return examine(FORENSICS, Subject(data=data, media=media, facts=facts))


def marked(heat: str) -> NDArray[np.bool_]:
    """Cells that stand out clearly."""
    return np.array([[letter in "456789" for letter in row] for row in heat.split("/")])


def assert_in_box(heat: str, box: tuple[float, float, float, float]) -> None:
    """What stands out fills half of the box (shares of the sides) and touches it."""
    cells = marked(heat)
    rows, columns = cells.shape
    down, across = np.mgrid[:rows, :columns]
    x, y = (across + 0.5) / columns, (down + 0.5) / rows
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    half = 0.5 / columns, 0.5 / rows
    near = (x > box[0] - half[0]) & (x < box[2] + half[0])
    near &= (y > box[1] - half[1]) & (y < box[3] + half[1])
    assert not (cells & ~near).any()
    assert (cells & inside).sum() >= inside.sum() / 2


ALONE = """
import sys
from pathlib import Path
from tutela.detectors import Options, Subject, forensics, forensics_kernels
from tutela.media import decode
files = [Path(name).read_bytes() for name in sys.argv[1:]]
contents = [Subject(data=data, media=decode(data)) for data in files]
loops = [loop for loop in vars(forensics_kernels).values() if hasattr(loop, "signatures")]
forensics.FORENSICS.prepare(Options())
loaded = [len(loop.signatures) for loop in loops]
assert any(loaded)
for content in contents:
    print(len(forensics.FORENSICS.examine(content)))
late = [len(loop.signatures) for loop in loops]
print("late:", sum(late) - sum(loaded))
"""

SHARES = (BOX[0] / 900, BOX[1] / 600, BOX[2] / 900, BOX[3] / 600)


class TestFinding:
    def test_region_that_was_painted_in_is_found_with_its_place(self) -> None:
        (finding,) = found(encoded(altered(), quality=92))
        assert finding.kind == "forensics"
        assert finding.likelihood is not None
        assert finding.likelihood >= 0.8
        assert_in_box(finding.heat, SHARES)

    def test_saved_as_png(self) -> None:
        (finding,) = found(encoded(altered(), "PNG"))
        assert_in_box(finding.heat, SHARES)

    def test_cropped_across_the_grid_and_saved(self) -> None:
        picture = altered().crop((3, 5, 900, 600))
        (finding,) = found(encoded(picture, quality=95))
        assert_in_box(finding.heat, ((BOX[0] - 3) / 897, (BOX[1] - 5) / 595, *SHARES[2:]))

    def test_untouched_photo_saved_twice(self) -> None:
        assert found(encoded(saved(), quality=92)) == []
        assert found(encoded(saved(), "PNG")) == []

    def test_photo_saved_once(self) -> None:
        assert found(encoded(photo("coffee"), quality=92)) == []

    def test_silent_where_reducing_wiped_out_the_past(self) -> None:
        assert found(encoded(altered().resize((630, 420)), quality=92)) == []

    def test_silent_where_coarser_steps_wiped_out_the_past(self) -> None:
        assert found(encoded(altered(quality=92), quality=60)) == []

    def test_map_is_upright(self) -> None:
        upright = altered()
        exif = Image.Exif()
        exif[0x0112] = 6
        # Orientation 6: what is stored is to be turned clockwise.
        stored = upright.transpose(Image.Transpose.ROTATE_90)
        stored = opened(encoded(stored, quality=75))
        other = photo("cat").resize((900, 600)).crop((0, 0, 210, 210))
        stored.paste(other, (BOX[1], 900 - BOX[2]))
        (finding,) = found(encoded(stored, quality=92, exif=exif))
        assert_in_box(finding.heat, SHARES)

    def test_map_fits_into_an_answer_of_the_sandbox(self) -> None:
        for size in [(4000, 300), (300, 4000), (3000, 3000), (256, 256), (1333, 1000)]:
            rows, columns = forensics._grid(*size)
            heat = Traces(np.zeros((rows, columns)), (0, 0), True).heat()
            assert len(heat) <= 200
            assert len(heat.split("/")) == rows

    def test_finds_in_the_sandbox(self, tmp_path: Path) -> None:
        """Nothing is loaded once content is seen: the sandbox would refuse it."""
        assert in_sandbox(FORENSICS)
        files = {
            "once.jpg": encoded(photo("coffee"), quality=90),
            "cropped.jpg": encoded(altered().crop((3, 5, 900, 600)), quality=95),
            "altered.png": encoded(altered(), "PNG"),
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", ALONE, *files], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout.split() == ["0", "1", "1", "late:", "0"], done.stderr

    def test_thinned_rows_show_the_same_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forensics, "READ", 250_000)
        (finding,) = found(encoded(altered(), quality=92))
        assert_in_box(finding.heat, SHARES)


class TestNotForIt:
    @pytest.mark.parametrize(
        ("facts", "wanted"),
        [
            (MediaFacts("jpeg", 900, 600, 1), True),
            (MediaFacts("png", 900, 600, 1), True),
            (MediaFacts("gif", 900, 600, 1), False),
            (MediaFacts("png", 900, 600, 3), False),
            (MediaFacts("jpeg", 900, 200, 1), False),
            (MediaFacts("jpeg", 4000, 3000, 1), True),
            (MediaFacts("png", 4000, 3000, 1), False),
            (MediaFacts("jpeg", 9000, 6000, 1), False),
            (MediaFacts(), False),
        ],
    )
    def test_applies(self, facts: MediaFacts, wanted: bool) -> None:
        assert FORENSICS.applies(facts) is wanted

    def test_inks_are_not_colours(self) -> None:
        assert examined(encoded(photo("coffee").convert("CMYK")), "jpeg") is None

    def test_transparency_is_not_looked_at(self) -> None:
        assert examined(encoded(photo("coffee").convert("RGBA"), "PNG"), "png") is None

    def test_grey_photo(self) -> None:
        picture = altered().convert("L")
        (finding,) = found(encoded(picture, quality=92))
        assert_in_box(finding.heat, SHARES)

    def test_damage_fails_closed(self) -> None:
        data = encoded(altered(), quality=92)
        media = decode(data)
        FORENSICS.prepare(Options())
        (finding,) = examine(FORENSICS, Subject(data=b"\xff\xd8nothing", media=media))
        assert finding.kind == FAILURE

    def test_nothing_known_without_pixels(self) -> None:
        assert FORENSICS.examine(Subject()) == ()


class TestScore:
    def test_likelihood_rises_with_the_score(self) -> None:
        values = [likelihood(score) for score in np.linspace(0, 12, 200)]
        assert values == sorted(values)
        assert values[0] < 0.5 < values[-1] < 1

    def test_one_cell_alone_is_chance(self) -> None:
        odds = np.full((5, 5), -1.0)
        odds[2, 2] = 9.0
        assert Traces(odds, (0, 0), True).score == 0.0

    def test_nothing_to_tell_by(self) -> None:
        empty = Traces(np.full((2, 3), math.nan), (0, 0), False)
        assert empty.score == 0
        assert empty.heat() == "---/---"

    @settings(max_examples=20)
    @given(seed=seeds, flat=st.booleans(), step=st.sampled_from([1, 3, 17, 255, 65535, None]))
    def test_any_pixels_give_a_score(self, seed: int, flat: bool, step: int | None) -> None:
        rng = np.random.default_rng(seed)
        size = int(rng.integers(256, 300)), int(rng.integers(256, 300)), 3
        top = int(rng.integers(1, 256))
        pixels = np.full(size, top, np.uint8) if flat else rng.integers(0, top + 1, size, np.uint8)
        told = traces(pixels, None if step is None else np.full((8, 8), float(step)))
        assert math.isfinite(told.score)
        assert set(told.heat()) <= set("0123456789-/")


class TestSteps:
    @pytest.mark.parametrize("quality", [1, 30, 75, 90, 100])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_as_the_library_reads_them(self, quality: int, progressive: bool) -> None:
        data = encoded(photo("coffee"), quality=quality, progressive=progressive)
        with Image.open(io.BytesIO(data)) as picture:
            wanted = picture.quantization[0]
        found = steps(data)
        assert found is not None
        assert found.ravel().tolist() == wanted

    @given(data=st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        for found in (steps(data), steps(b"\xff\xd8" + data)):
            assert found is None or (found > 0).all()

    @settings(max_examples=60)
    @given(seed=seeds)
    def test_damaged_file(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        data = bytearray(encoded(photo("coffee").resize((64, 64)), quality=80))
        for place in rng.integers(2, 700, 4):
            data[place % len(data)] = rng.integers(256)
        found = steps(bytes(data[: int(rng.integers(2, len(data)))]))
        assert found is None or found.shape == (8, 8)


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


class TestKernels:
    @given(seed=seeds, height=sides, width=sides)
    def test_grey(self, seed: int, height: int, width: int) -> None:
        rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        luma = np.empty((height, width), np.uint8)
        kernels.grey(rgb.reshape(height, 3 * width), luma)
        assert (luma == np.asarray(Image.fromarray(rgb).convert("L"))).all()

    @given(seed=seeds, height=sides, width=sides, top=st.integers(0, 7), left=st.integers(0, 7))
    def test_clipped(self, seed: int, height: int, width: int, top: int, left: int) -> None:
        rng = np.random.default_rng(seed)
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        rgb[rng.random((height, width, 3)) < 0.97] = 100
        flags = np.empty(((height - top) // 8, (width - left) // 8), np.uint8)
        kernels.clipped(rgb.reshape(height, 3 * width), top, left, flags)
        for band in range(flags.shape[0]):
            for column in range(flags.shape[1]):
                y, x = top + 8 * band, left + 8 * column
                block = rgb[y : y + 8, x : x + 8]
                assert flags[band, column] == ((block == 0) | (block == 255)).any()

    @given(seed=seeds, height=sides, width=sides, stride=st.integers(1, 3))
    def test_crosses(self, seed: int, height: int, width: int, stride: int) -> None:
        luma = noise(seed, height, width) // 6
        sums = np.empty((8, 8), np.int64)
        kernels.crosses(luma, stride, sums)
        wanted = np.zeros((8, 8), np.int64)
        p = luma.astype(int)
        for y in range(height - 1):
            for x in range((width - 1) // 8 * 8):
                if y // 8 % stride == 0:
                    cross = abs(p[y, x] - p[y, x + 1] - p[y + 1, x] + p[y + 1, x + 1])
                    wanted[y % 8, x % 8] += min(cross, kernels.CAP)
        assert (sums == wanted).all()

    @given(seed=seeds, height=sides, width=sides, top=st.integers(0, 7), stride=st.integers(1, 3))
    def test_frequencies(self, seed: int, height: int, width: int, top: int, stride: int) -> None:
        luma = noise(seed, height, width)
        left = top // 2
        bands, columns = -(-((height - top) // 8) // stride), (width - left) // 8
        sizes = np.empty((len(kernels.KEPT), bands, columns), np.float32)
        kernels.frequencies(luma, top, left, stride, sizes)
        n = np.arange(8)
        basis = np.cos(np.pi * np.outer(n, 2 * n + 1) / 16) / 2
        basis[0] /= math.sqrt(2)
        for band in range(bands):
            for column in range(columns):
                y, x = top + 8 * stride * band, left + 8 * column
                both = basis @ luma[y : y + 8, x : x + 8].astype(float) @ basis.T
                wanted = [abs(both[place]) for place in kernels.KEPT]
                assert np.allclose(sizes[:, band, column], wanted, atol=1e-3)

    @given(seed=seeds, step=st.floats(1, 40), last=st.integers(1, 30))
    def test_count_and_gather(self, seed: int, step: float, last: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = (rng.exponential(30, (5, 9)) * (rng.random((5, 9)) < 0.8)).astype(np.float32)
        skip = rng.integers(0, 2, (5, 9), np.uint8)
        seen = np.empty(last + 1, np.int64)
        kernels.count(sizes, step, skip, seen)
        inverse = np.float32(1 / step)
        multiples = [[int(size * inverse + np.float32(0.5)) for size in row] for row in sizes]
        wanted = np.zeros(last + 1, np.int64)
        odds, least = rng.normal(size=last), int(rng.integers(1, 4))
        told, informative = np.zeros((5, 9), np.float32), np.zeros((5, 9), np.uint8)
        kernels.gather(sizes, step, skip, odds, least, told, informative)
        for y in range(5):
            for x in range(9):
                k = multiples[y][x]
                if not skip[y, x]:
                    wanted[min(k, last)] += 1
                counts = not skip[y, x] and least <= k < last
                assert informative[y, x] == counts
                assert told[y, x] == pytest.approx(odds[k] if counts else 0, rel=1e-6)
        assert (seen == wanted).all()

    @settings(max_examples=30)
    @given(
        seed=seeds,
        first=st.integers(3, 12),
        step=st.sampled_from([1.0, 2.0, 5.0]),
        noise=st.floats(0.2, 1.5),
    )
    def test_explain(self, seed: int, first: int, step: float, noise: float) -> None:
        rng = np.random.default_rng(seed)
        free = rng.exponential(12, 4000)
        fine = 0.5
        counts = np.histogram(free, np.arange(0, 240, fine))[0] + 1e-3
        shares = np.concatenate([[0.0], counts.cumsum()]) / counts.sum()
        before = np.abs(np.rint(free / first) * first + rng.normal(0, noise, 4000))
        seen = np.bincount(np.rint(before / step).astype(int))[:40].astype(np.int64)
        earlier = np.arange(2.0, 20.0)
        gains, odds = np.empty(len(earlier)), np.empty(len(seen))
        best = kernels.explain(seen, shares, fine, step, noise, earlier, gains, odds)
        assert best == gains.argmax()

        def share(low: float, high: float) -> float:
            places = np.arange(len(shares)) * fine
            return float(np.interp(high, places, shares) - np.interp(low, places, shares))

        def normal(x: float) -> float:
            return math.erf(x / (noise * math.sqrt(2)))

        plain = np.array([share((k - 0.5) * step, (k + 0.5) * step) for k in range(len(seen))])
        plain[1:] += kernels.TINY
        plain[0] = 0
        plain /= plain.sum()
        for place, q in enumerate(earlier):
            comb = np.zeros(len(seen))
            for u in range(1000):
                centre = u * q
                if centre - 4 * noise > (len(seen) - 0.5) * step:
                    break
                mass = share(max(0, centre - q / 2), centre + q / 2)
                for k in range(1, len(seen)):
                    low = int((centre - 4 * noise) / step + 0.5)
                    if low <= k <= int((centre + 4 * noise) / step + 0.5):
                        edges = (k - 0.5) * step - centre, (k + 0.5) * step - centre
                        comb[k] += mass * (normal(edges[1]) - normal(edges[0]))
            comb[1:] += kernels.TINY
            comb /= comb.sum()
            mixed = kernels.MOST * comb[1:] + (1 - kernels.MOST) * plain[1:]
            gain = (seen[1:] * np.log(mixed / plain[1:])).sum() / max(1, seen[1:].sum())
            assert gains[place] == pytest.approx(gain, rel=1e-6, abs=1e-9)
            if place == best:
                sure = kernels.SURE * comb[1:] + (1 - kernels.SURE) * plain[1:]
                bound = kernels.BOUND
                assert np.allclose(odds[1:], np.clip(np.log(plain[1:] / sure), -bound, bound))
        assert odds[0] == 0


def test_the_drawing_of_a_caption_is_a_region_with_another_past() -> None:
    """What is written on a photo stands out as well: the finding says region, not model."""
    picture = saved()
    ImageDraw.Draw(picture).rectangle((0, 480, 900, 600), (250, 240, 20))
    for finding in found(encoded(picture, quality=92)):
        assert "model" not in finding.detail


class TestHeat:
    HEAT = "0000/0910/0--0/0000"

    def test_drawn_where_it_stands_out_and_nowhere_else(self) -> None:
        content = View("", np.full((80, 120, 3), 90, np.uint8))
        drawn = np.asarray(heat.draw(content, Finding("forensics", "forensics", heat=self.HEAT)))
        assert drawn.shape == (80, 120, 3)
        marks = (drawn != 90).any(2)
        assert marks[20:40, 30:60].mean() > 0.3
        marks[20:40, 30:60] = False
        assert not marks.any()

    def test_words(self) -> None:
        finding = Finding("forensics", "forensics", heat=self.HEAT)
        assert heat.describe(finding).startswith("Stands out: middle.")
        assert heat.describe(Finding("forensics", "forensics", heat="00/00")) == (
            "No region stands out."
        )
        assert heat.places("9/-/9") == ["top", "bottom"]

    @given(
        rows=st.integers(1, 13), columns=st.integers(1, 13), letter=st.sampled_from("0123456789-")
    )
    def test_any_map(self, rows: int, columns: int, letter: str) -> None:
        finding = Finding("forensics", "forensics", heat="/".join([letter * columns] * rows))
        content = View("", np.full((20, 31, 3), 255, np.uint8))
        assert heat.draw(content, finding).size == (31, 20)
        assert bool(heat.places(finding.heat)) == (letter in "456789")
