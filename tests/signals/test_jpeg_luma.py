"""The luma plane of a JPEG is what libjpeg gives, and damage never passes for a picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_pdq import distance, pdq, picture
from numpy.typing import NDArray
from PIL import Image

from tutela.errors import Reason, Rejected
from tutela.media import decode, jpeg, jpeg_kernels, jpeg_scan
from tutela.signals.pdq import PDQ


def colours(seed: int, width: int, height: int) -> Image.Image:
    planes = [picture(seed + i, width, height) for i in range(3)]
    return Image.fromarray(np.dstack(planes))


def encoded(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def eighth(data: bytes, **options: Any) -> NDArray[np.uint8]:
    """What libjpeg gives at 1/8 scale."""
    return simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, **options)[:, :, 0]


def entropy_start(data: bytes) -> int:
    return jpeg_scan.header(data).start


PHOTO = encoded(colours(1, 400, 300), quality=90)


@pytest.mark.parametrize("quality", [25, 75, 90, 97, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(400, 300), (123, 77), (8, 8), (17, 9)])
@pytest.mark.parametrize("kind", ["", "optimize", "progressive"])
def test_the_scan_gives_what_libjpeg_gives(
    quality: int, subsampling: str, size: tuple[int, int], kind: str
) -> None:
    options = {kind: True} if kind else {}
    data = encoded(colours(2, *size), quality=quality, subsampling=subsampling, **options)
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data))


@pytest.mark.parametrize(
    "options",
    [{"restart_marker_blocks": 1}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_restart_markers_are_followed(
    options: dict[str, int], mode: str, progressive: bool
) -> None:
    data = encoded(colours(3, 333, 222).convert(mode), progressive=progressive, **options)
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data))


def scans(data: bytes) -> list[bytes]:
    """What precedes the first scan of a progressive file, and each scan: tables, header, data."""
    parts: list[bytes] = []
    at, seen = 2, 0
    while data[at + 1] != 0xD9:
        code, _, stop = jpeg_scan._segment(data, at)
        if code == 0xC2:
            parts.append(data[:stop])
            seen = stop
        if code == 0xDA:
            while data[stop] != 0xFF or data[stop + 1] == 0 or 0xD0 <= data[stop + 1] <= 0xD7:
                stop += 1
            parts.append(data[seen:stop])
            seen = stop
        at = stop
    return parts


def single(size: tuple[int, int], **options: Any) -> bytes:
    """A progressive 4:2:0 file in which no scan has two components, made of three grey ones."""
    half = (-(-size[0] // 2), -(-size[1] // 2))
    greys = [
        encoded(colours(20 + i, *own).convert("L"), progressive=True, **options)
        for i, own in enumerate((size, half, half))
    ]
    start = scans(greys[0])[0]
    at = start.index(b"\xff\xc2")
    frame = b"\xff\xc2\0\x11" + start[at + 4 : at + 9] + b"\3\1\x22\0\2\x11\0\3\x11\0"
    content = start[:at] + frame
    for name, grey in enumerate(greys, start=1):
        for scan in scans(grey)[1:]:
            place = scan.index(b"\xff\xda\0\x08\1\1") + 5
            content += scan[:place] + bytes([name]) + scan[place + 1 :]
    return content + b"\xff\xd9"


@pytest.mark.parametrize("size", [(64, 64), (75, 41), (81, 90), (3, 5)])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 4}])
def test_scans_of_one_component_have_blocks_of_their_own(
    size: tuple[int, int], options: dict[str, int]
) -> None:
    data = single(size, **options)
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data, strict=True))


def test_tables_of_scans_that_are_stepped_over_are_checked() -> None:
    """libjpeg gives up at a table that can't be, even where only chroma needs it."""
    data = single((64, 64))
    start, *parts = scans(data)
    index = next(i for i, part in enumerate(parts) if b"\xff\xda\0\x08\1\2\0\0\0" in part)
    broken = bytearray(parts[index])
    size = broken[3]
    assert broken[:2] == b"\xff\xc4"
    broken[2 + size - 1] = 16
    content = start + b"".join([*parts[:index], bytes(broken), *parts[index + 1 :]]) + b"\xff\xd9"
    assert jpeg_scan.means(data) is not None
    assert jpeg_scan.means(content) is None


PROGRESSIVE = encoded(colours(4, 64, 64), progressive=True)


def test_a_progressive_file_needs_all_its_scans() -> None:
    start, *parts = scans(PROGRESSIVE)
    assert start + b"".join(parts) + b"\xff\xd9" == PROGRESSIVE
    assert jpeg_scan.means(PROGRESSIVE) is not None
    for left_out in range(len(parts)):
        rest = b"".join(parts[:left_out] + parts[left_out + 1 :])
        assert jpeg_scan.means(start + rest + b"\xff\xd9") is None
        again = b"".join([*parts[: left_out + 1], *parts[left_out:]])
        assert jpeg_scan.means(start + again + b"\xff\xd9") is None


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("arithmetic coding", b"\xff\xc2", b"\xff\xca"),
        ("12 bits", b"\xff\xc2\0\x11\x08", b"\xff\xc2\0\x11\x0c"),
        ("no height", b"\xff\xc2\0\x11\x08\0\x40", b"\xff\xc2\0\x11\x08\0\0"),
        ("a component twice", b"\xff\xda\0\x0c\3\1\0\2", b"\xff\xda\0\x0c\3\1\0\1"),
        ("an unknown component", b"\xff\xda\0\x0c\3\1", b"\xff\xda\0\x0c\3\7"),
        ("DC and AC in one scan", b"\3\x10\0\0\1", b"\3\x10\0\1\1"),
        ("AC of three components", b"\3\x10\0\0\1", b"\3\x10\1\5\1"),
        ("a refinement first", b"\3\x10\0\0\1", b"\3\x10\0\0\x10"),
        ("two bits at once", b"\3\0\0\0\x10", b"\3\0\0\0\x20"),
        ("no AC table", b"\1\1\0\6\x3f", b"\1\1\3\6\x3f"),
    ],
)
def test_scans_against_the_standard_are_left_to_libjpeg(name: str, old: bytes, new: bytes) -> None:
    assert old in PROGRESSIVE, name
    first, second = PROGRESSIVE.split(old, 1)
    assert jpeg_scan.means(first + new + second) is None, name


def test_a_table_that_changes_between_scans_is_left_to_libjpeg() -> None:
    start, *parts = scans(PROGRESSIVE)
    at = start.index(b"\xff\xdb")
    steps = jpeg_scan._segment(start, at)[2]
    rest = parts[0] + start[at:steps] + b"".join(parts[1:])
    assert jpeg_scan.means(start + rest + b"\xff\xd9") is None


@pytest.mark.parametrize("interval", [0, 3])
def test_the_restart_interval_may_change_between_scans(interval: int) -> None:
    """It is said before the first scan, and again before the second: there nothing follows it."""
    start, *parts = scans(encoded(colours(4, 64, 64), progressive=True, restart_marker_blocks=2))
    rest = parts[0] + b"\xff\xdd\0\4\0" + bytes([interval]) + b"".join(parts[1:])
    assert jpeg_scan.means(start + rest + b"\xff\xd9") is None
    plain = scans(PROGRESSIVE)[1:]
    rest = parts[0] + b"\xff\xdd\0\4\0\0" + b"".join(plain[1:])
    data = start + rest + b"\xff\xd9"
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data, strict=True))


def test_noise_fills_every_coefficient() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (160, 240, 3), np.uint8)
    data = encoded(Image.fromarray(noise), quality=100, subsampling=0)
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("red, green and blue", encoded(colours(4, 64, 64), keep_rgb=True)),
        ("four inks", encoded(colours(4, 64, 64).convert("CMYK"))),
        ("stray bytes", PHOTO[:-2] + bytes(9) + PHOTO[-2:]),
        ("no end", PHOTO[:-2]),
        ("half", PHOTO[: len(PHOTO) // 2]),
        ("half with an end", PHOTO[: len(PHOTO) // 2] + b"\xff\xd9"),
        ("no data", PHOTO[: entropy_start(PHOTO)] + b"\xff\xd9"),
        ("nothing", b""),
        ("a start", b"\xff\xd8"),
        ("another format", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_libjpeg(name: str, data: bytes) -> None:
    assert jpeg_scan.means(data) is None, name


@pytest.mark.parametrize("start", ["header", "data"])
@given(data=st.data())
@settings(max_examples=300)
def test_what_the_scan_accepts_libjpeg_accepts(start: str, data: st.DataObject) -> None:
    """Whatever is done to a file, the scan gives libjpeg's pixels or nothing."""
    options = data.draw(st.sampled_from([{}, {"restart_marker_blocks": 5}, {"optimize": True}]))
    content = bytearray(encoded(colours(5, 96, 64), **options))
    first = 2 if start == "header" else entropy_start(bytes(content))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(first, len(content) - 1))
        match data.draw(st.sampled_from(["set", "cut", "repeat", "marker"])):
            case "set":
                content[place] = data.draw(st.integers(0, 255))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 40))]
            case "repeat":
                content[place:place] = content[place : place + data.draw(st.integers(1, 40))]
            case "marker":
                content[place:place] = bytes([0xFF, data.draw(st.integers(0, 255))])
        first = min(first, len(content) - 1)
    found = jpeg_scan.means(bytes(content))
    if found is not None:
        np.testing.assert_array_equal(found, eighth(bytes(content), strict=True))


@given(data=st.data())
@settings(max_examples=300)
def test_what_the_scan_accepts_of_a_progressive_file_is_what_libjpeg_shows(
    data: st.DataObject,
) -> None:
    """Damage among the AC coefficients makes no difference at this scale; any other is seen."""
    options = data.draw(st.sampled_from([{}, {"restart_marker_blocks": 5}, {"subsampling": 0}]))
    start, *parts = scans(encoded(colours(5, 48, 40), progressive=True, **options))
    parts.append(b"\xff\xd9")
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(parts) - 1))
        part = bytearray(parts[index])
        place = data.draw(st.integers(0, len(part) - 1))
        match data.draw(st.sampled_from(["set", "cut", "repeat", "marker", "move"])):
            case "set":
                part[place] = data.draw(st.integers(0, 255))
            case "cut":
                del part[place : place + data.draw(st.integers(1, len(part) - 1))]
            case "repeat":
                part[place:place] = part[place : place + data.draw(st.integers(1, 40))]
            case "marker":
                part[place:place] = bytes([0xFF, data.draw(st.integers(0, 255))])
            case "move":
                parts.insert(data.draw(st.integers(0, len(parts) - 1)), bytes(part))
        parts[index] = bytes(part)
    content = start + b"".join(parts)
    found = jpeg_scan.means(content)
    if found is not None:
        np.testing.assert_array_equal(found, eighth(content, strict=False))


@pytest.mark.parametrize("refinement", [False, True])
def test_damage_to_the_dc_scans_is_left_to_libjpeg(refinement: bool) -> None:
    start, *parts = scans(PROGRESSIVE)
    index = next(
        i
        for i, part in enumerate(parts)
        if (b"\3\0\0\0\x10" if refinement else b"\3\x10\0\0\1") in part
    )
    for broken in (parts[index][:-2], parts[index] + b"\0\0"):
        rest = b"".join([*parts[:index], broken, *parts[index + 1 :]])
        assert jpeg_scan.means(start + rest + b"\xff\xd9") is None


def test_damage_to_the_ac_scans_leaves_the_mean_of_each_block() -> None:
    start, *parts = scans(PROGRESSIVE)
    broken = bytearray(parts[-1])
    broken[-20:] = bytes(20)
    data = start + b"".join(parts[:-1]) + bytes(broken) + b"\xff\xd9"
    with pytest.raises(ValueError, match="Corrupt JPEG"):
        eighth(data, strict=True)
    np.testing.assert_array_equal(jpeg_scan.means(data), eighth(data, strict=False))


def test_the_changes_above_leave_both_kinds() -> None:
    """Some damage shows and some doesn't: the property above is not empty."""
    random = np.random.default_rng(7)
    content = encoded(colours(5, 96, 64))
    start = entropy_start(content)
    seen = set()
    for _ in range(200):
        broken = bytearray(content)
        broken[random.integers(start, len(content) - 2)] = random.integers(0, 256)
        seen.add(jpeg_scan.means(bytes(broken)) is None)
    assert seen == {True, False}


@given(content=st.binary(max_size=300))
def test_unstuffing_drops_what_the_standard_adds(content: bytes) -> None:
    stuffed = b"abc" + content.replace(b"\xff", b"\xff\x00") + b"\xff\xd9" + content
    out = np.empty(len(stuffed) + 64, np.uint8)
    starts = np.zeros(1, np.int64)
    source = np.frombuffer(stuffed, np.uint8)
    written, restarts, end = jpeg_kernels.unstuff(source, 3, out, starts)
    assert out[:written].tobytes() == content
    assert (restarts, stuffed[end : end + 2]) == (0, b"\xff\xd9")


@pytest.mark.parametrize("detail", [1, 40, 100, 150, 300, 5000])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_shorter_side_keeps_the_detail_asked_for(detail: int, progressive: bool) -> None:
    data = encoded(colours(6, 401, 299), progressive=progressive)
    luma = jpeg.luma(data, detail=detail)
    assert luma is not None
    assert luma.dtype == np.uint8
    assert min(luma.shape) >= min(detail, 299)
    eighths = round(8 * luma.shape[0] / 299)
    assert luma.shape == (-(-299 * eighths // 8), -(-401 * eighths // 8))
    # Half of it would not have done.
    assert eighths == 1 or 299 * eighths / 16 < detail


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [(2048, 1536), (1024, 768), (512, 384), (1555, 1999)])
def test_the_hash_of_a_jpeg_is_that_of_its_full_decode(seed: int, size: tuple[int, int]) -> None:
    small = Image.fromarray(picture(seed, size[0] // 4, size[1] // 4))
    data = encoded(small.resize(size, Image.Resampling.BICUBIC), quality=90)
    (made,) = PDQ.fingerprint(data, decode(data, detail=PDQ.detail))
    with Image.open(io.BytesIO(data)) as image:
        expected, quality = pdq(np.asarray(image))
    assert quality >= 80
    assert distance(made.value, expected) <= 10


@pytest.mark.parametrize("mode", ["CMYK", "RGB"])
def test_planes_that_are_not_luma_are_left_to_the_caller(mode: str) -> None:
    options = {"keep_rgb": True} if mode == "RGB" else {}
    assert jpeg.luma(encoded(colours(7, 64, 64).convert(mode), **options), detail=8) is None


@pytest.mark.parametrize(("progressive", "detail"), [(False, 8), (False, 150), (True, 150)])
@pytest.mark.parametrize(
    ("keep", "tail"), [(0.2, b""), (0.5, b""), (0.5, b"\xff\xd9"), (0.98, b""), (0.98, b"\xff\xd9")]
)
def test_a_picture_that_ends_early_is_truncated(
    progressive: bool, detail: int, keep: float, tail: bytes
) -> None:
    data = encoded(colours(8, 400, 300), progressive=progressive)
    with pytest.raises(Rejected) as caught:
        jpeg.luma(data[: int(len(data) * keep)] + tail, detail=detail)
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("keep", [0.1, 0.2, 0.5, 0.98])
@pytest.mark.parametrize("tail", [b"", b"\xff\xd9"])
def test_a_progressive_picture_that_ends_early_is_truncated(keep: float, tail: bytes) -> None:
    """Save that nobody sees the end of the last scan missing where all its data are skipped."""
    data = encoded(colours(8, 400, 300), progressive=True)
    last = data.rindex(b"\xff\xda")
    cut = data[: int(len(data) * keep)] + tail
    if len(cut) > last and tail:
        np.testing.assert_array_equal(jpeg.luma(cut, detail=8), jpeg.luma(data, detail=8))
        return
    with pytest.raises(Rejected) as caught:
        jpeg.luma(cut, detail=8)
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a", PHOTO[:300]])
def test_what_holds_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        jpeg.luma(data, detail=8)
    assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)


@pytest.mark.parametrize("detail", [8, 150])
def test_stray_bytes_around_the_end_are_harmless(detail: int) -> None:
    whole = jpeg.luma(PHOTO, detail=detail)
    for data in (PHOTO[:-2] + bytes(9) + PHOTO[-2:], PHOTO + b"and more", PHOTO + PHOTO):
        np.testing.assert_array_equal(jpeg.luma(data, detail=detail), whole)


def test_stray_bytes_amid_the_data_are_not() -> None:
    """libjpeg says only what it met first: blocks may have been lost after it."""
    data = encoded(colours(9, 400, 300), restart_marker_rows=2)
    at = data.index(b"\xff\xd3")
    with pytest.raises(Rejected) as caught:
        jpeg.luma(data[:at] + bytes(9) + data[at:], detail=8)
    assert caught.value.reason is Reason.CORRUPT


def test_a_huge_declared_size_costs_nothing() -> None:
    data = bytearray(PHOTO)
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert jpeg_scan.means(bytes(data)) is None
