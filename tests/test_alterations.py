"""The alterations of the benchmark do what their names say, and the benchmark counts right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alterations
from alterations import ALTERATIONS, Rgb, seeded
from derivatives import Altered, Scenes, Told, columns
from distractors import Many, turns
from tutela.signals.derivation import compare

BY_NAME = {one.name: one for one in ALTERATIONS}
TARGETS = {
    "repainted": 0.99,
    "repainted, half size, JPEG 50": 0.97,
    "repainted, 70 % crop, JPEG 75": 0.95,
    "repainted, 70 % crop, smoothed": 0.90,
    "50 % crop": 0.95,
    "mirrored": 0.95,
    "bordered": 0.95,
    "collage": 0.95,
    "screenshot": 0.95,
    "stickers": 0.95,
    "text": 0.95,
}


def textured(height: int, width: int, seed: int) -> Rgb:
    """Noise at every scale, in colour."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 256):
        small = rng.normal(0, 1, (cells, cells, 3)) * 40 + 128
        image = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8))
        total += np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return (total / 4).astype(np.uint8)


PHOTO = textured(360, 480, 1)
OTHERS = [textured(300, 420, seed) for seed in (2, 3, 4)]


def altered(name: str, image: Rgb = PHOTO, strength: float | None = None, seed: str = "a") -> Rgb:
    return BY_NAME[name].apply(image, seeded(seed, name), strength, OTHERS)


@pytest.mark.parametrize("name", BY_NAME)
def test_same_name_same_picture(name: str) -> None:
    made = altered(name)
    assert made.dtype == np.uint8
    assert made.ndim == 3
    assert made.shape[2] == 3
    assert np.array_equal(made, altered(name))
    pictures = [Image.fromarray(other) for other in OTHERS]
    encode = BY_NAME[name].encode
    file = encode(Image.fromarray(PHOTO), "a", None, pictures)
    assert file == encode(Image.fromarray(PHOTO), "a", None, pictures)


def test_the_rows_are_those_to_reach() -> None:
    assert {one.name: one.target for one in ALTERATIONS if one.target} == TARGETS
    assert len(BY_NAME) == len(ALTERATIONS)
    for one in ALTERATIONS:
        assert not one.strengths or one.strength in one.strengths
        assert bool(one.strengths) == bool(one.meaning)


def test_repainting_leaves_what_is_around() -> None:
    made = altered("repainted")
    changed = (made != PHOTO).any(2)
    across, down = changed.any(0).nonzero()[0], changed.any(1).nonzero()[0]
    feather = 0.04 * 360
    assert np.ptp(across) <= 0.55 * 480 + 2 * feather
    assert np.ptp(down) <= 0.60 * 360 + 2 * feather
    assert changed[360 // 4 : -360 // 4, 480 // 3 : -480 // 3].mean() > 0.95


def test_a_crop_is_a_window() -> None:
    made = altered("50 % crop")
    assert made.shape == (180, 240, 3)
    corners = np.lib.stride_tricks.sliding_window_view(PHOTO[:, :, 0], (6, 6))
    ((top, left),) = np.argwhere((corners == made[:6, :6, 0]).all((2, 3)))
    assert np.array_equal(PHOTO[top : top + 180, left : left + 240], made)


def test_turns_are_exact() -> None:
    assert np.array_equal(altered("mirrored"), PHOTO[:, ::-1])
    turned = altered("turned 90°")
    assert any(np.array_equal(turned, np.rot90(PHOTO, turns)) for turns in (1, 3))


@pytest.mark.parametrize("degrees", BY_NAME["tilted 8°"].strengths)
def test_a_tilted_picture_has_no_corners(degrees: float) -> None:
    made = altered("tilted 8°", np.full_like(PHOTO, 200), degrees)
    assert made.min() == 200


@pytest.mark.parametrize("share", [0.1, 0.22, 0.5])
def test_stickers_cover_their_share(share: float) -> None:
    made = altered("stickers", strength=share)
    assert share - 0.03 < (made != PHOTO).any(2).mean() < share + 0.1


def test_border_and_collage_show_the_whole_photograph() -> None:
    for seed in "abcd":
        made = altered("bordered", seed=seed)
        rows, columns = made.shape[0] - 360, made.shape[1] - 480
        assert np.array_equal(made[rows // 2 :, columns // 2 :][:360, :480], PHOTO)
        assert rows == 180
    assert altered("collage").shape == (1080, 1440, 3)


def test_smoothing_keeps_shapes_and_makes_texture_anew() -> None:
    """At 1, structure above 0.25 cycles per pixel is replaced by as much other; coarser stays."""
    rng = np.random.default_rng(5)
    image = np.clip(
        textured(512, 768, 1) + rng.normal(0, 12, (512, 768, 1)).astype(np.float32), 0, 255
    ).astype(np.uint8)
    made = altered("repainted, smoothed", image)
    alone = np.asarray(
        alterations.smoothed(Image.fromarray(image), seeded("a"), 1.0, ()), np.float32
    )
    assert made.shape == image.shape

    def bands(pixels: Rgb) -> tuple[np.ndarray, np.ndarray]:
        spectrum = np.fft.fft2(pixels.mean(2))
        high = np.hypot(*np.meshgrid(np.fft.fftfreq(768), np.fft.fftfreq(512))) > 0.3
        low = np.hypot(*np.meshgrid(np.fft.fftfreq(768), np.fft.fftfreq(512))) < 0.05
        return np.fft.ifft2(spectrum * low).real, np.fft.ifft2(spectrum * high).real

    (low, high), (low_made, high_made) = bands(image), bands(alone)
    assert np.corrcoef(low.ravel(), low_made.ravel())[0, 1] > 0.99
    assert abs(np.corrcoef(high.ravel(), high_made.ravel())[0, 1]) < 0.35
    assert 0.4 < high_made.std() / high.std() < 1.6


def test_scenes_are_joined_through_others() -> None:
    scenes = Scenes(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("c", "gone")])
    assert scenes.of([0]) == {0, 1, 2}
    assert scenes.of([3]) == {3}
    assert scenes.of([2, 3]) == {0, 1, 2, 3}
    assert scenes.apart() == 3


def test_the_fair_setting_allows_one_false_match() -> None:
    file = Altered(Path("x.jpg"), 0, "mirrored", 1.0, (), False)
    told = [
        Told(file, peers={"orb 500": (31, [4, 40, 12])}),
        Told(file, peers={"orb 500": (9, [])}),
    ]
    usual, fair = columns(told, ["orb"], 3)
    assert (usual.false, fair.false, fair.pairs) == (2, 1, 3)
    assert [usual.found(one) for one in told] == [True, False]
    assert (usual.title, fair.title) == ("ORB 500, 10", "ORB 500, 13")


def test_the_benchmark_runs(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(5):
        Image.fromarray(textured(360, 480, seed)).save(folder / f"{seed}.jpg", quality=90)
    script = Path(alterations.__file__).with_name("derivatives.py")
    command = [sys.executable, str(script), "--photos", str(folder), "--methods", "pdq"]
    command += ["--only", "mirrored", "50 % crop", "--limit", "2", "--json", str(tmp_path / "j")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "PDQ x 8" in done.stdout
    told = json.loads((tmp_path / "j").read_text())["told"]
    rows = {one["altered"]["alteration"]: one for one in told}
    assert len(told) == 4
    assert rows["mirrored"]["turned_distance"] <= 10 < 31 < rows["mirrored"]["distance"]
    assert rows["50 % crop"]["turned_distance"] > 31


def test_invented_photographs_share_no_picture(tmp_path: Path) -> None:
    """Entries are the real ones first; an invented one is the same each time, and near nothing."""
    pool = []
    for seed in (1, 2):
        Image.fromarray(textured(360, 480, seed)).save(tmp_path / f"{seed}.jpg")
        pool += turns(tmp_path / f"{seed}.jpg")
    assert len(pool) > 8
    many = Many(pool[:2], pool[2:], 5)
    changes = many.changes("local", 0, 100)
    assert [change.entry for change in changes] == [1, 2, 3, 4, 5]
    assert many.features(1) is pool[0]
    for change in changes[2:]:
        features = many.features(change.entry)
        assert features.descriptors.tobytes() == change.rows
        for one in pool:
            found = compare(one, features)
            assert found is None
