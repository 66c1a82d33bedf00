"""Every format and variant decodes to the luma of the picture that went in."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

import pictures
from tutela.errors import Reason, Rejected
from tutela.media import Limits, decode
from tutela.media.sniff import sniff

WIDTH, HEIGHT = 120, 90
PICTURE = pictures.picture(WIDTH, HEIGHT)
GREY = PICTURE.convert("L")


def save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(picture).save(buffer, **options)
    else:
        picture.save(buffer, kind, **options)
    return buffer.getvalue()


def error(luma: NDArray[np.uint8], expected: Image.Image) -> float:
    """Mean absolute difference, in levels."""
    wanted = np.asarray(expected.convert("L"), np.float64)
    assert luma.shape == wanted.shape
    assert luma.dtype == np.uint8
    assert luma.flags.c_contiguous
    return float(np.abs(luma - wanted).mean())


def only(data: bytes, **options: Any) -> NDArray[np.uint8]:
    """The luma of the one frame of an opaque still picture."""
    media = decode(data, **options)
    (frame,) = media.frames
    assert (media.frame_count, frame.index, frame.background) == (1, 0, "")
    return frame.luma


def rejects(data: bytes, *reasons: Reason, limits: Limits | None = None) -> None:
    with pytest.raises(Rejected) as caught:
        decode(data, limits or Limits())
    assert caught.value.reason in reasons, caught.value.message
    assert caught.value.message


CMYK = PICTURE.convert("CMYK")
STILLS: dict[str, tuple[Callable[[], bytes], str, float]] = {
    "jpeg": (lambda: save(PICTURE, "JPEG", quality=95), "jpeg", 1.0),
    "jpeg 4:4:4": (lambda: save(PICTURE, "JPEG", quality=95, subsampling=0), "jpeg", 1.0),
    "jpeg progressive": (lambda: save(PICTURE, "JPEG", quality=95, progressive=True), "jpeg", 1.0),
    "jpeg restarts": (lambda: save(PICTURE, "JPEG", quality=95, restart_marker_rows=1), "jpeg", 1),
    "jpeg grey": (lambda: save(GREY, "JPEG", quality=95), "jpeg", 1.0),
    "jpeg cmyk": (lambda: save(CMYK, "JPEG", quality=95), "jpeg", 1.5),
    "jpeg rgb": (lambda: save(PICTURE, "JPEG", quality=95, keep_rgb=True), "jpeg", 1.0),
    "png": (lambda: save(PICTURE, "PNG"), "png", 0.0),
    "png grey": (lambda: save(GREY, "PNG"), "png", 0.0),
    "png 8-bit palette": (lambda: save(PICTURE.quantize(256, dither=0), "PNG"), "png", 6.0),
    "png opaque alpha": (lambda: save(PICTURE.convert("RGBA"), "PNG"), "png", 0.0),
    "png grey opaque alpha": (lambda: save(GREY.convert("LA"), "PNG"), "png", 0.0),
    "webp": (lambda: save(PICTURE, "WEBP", quality=95), "webp", 2.0),
    "webp lossless": (lambda: save(PICTURE, "WEBP", lossless=True), "webp", 0.0),
    "gif": (lambda: save(PICTURE, "GIF"), "gif", 7.0),
    "gif grey": (lambda: save(GREY, "GIF"), "gif", 0.0),
    "avif": (lambda: save(PICTURE, "AVIF", quality=90, speed=9), "avif", 1.5),
    "heif": (lambda: save(PICTURE, "HEIF", quality=90), "heif", 1.5),
    "heif grid": (lambda: save(PICTURE, "HEIF", quality=90, tile_size=64), "heif", 1.5),
    "bmp": (lambda: save(PICTURE, "BMP"), "bmp", 0.0),
    "bmp palette": (lambda: save(GREY, "BMP"), "bmp", 0.0),
    "tiff": (lambda: save(PICTURE, "TIFF"), "tiff", 0.0),
    "tiff lzw": (lambda: save(PICTURE, "TIFF", compression="tiff_lzw"), "tiff", 0.0),
    "tiff deflate": (lambda: save(PICTURE, "TIFF", compression="tiff_adobe_deflate"), "tiff", 0),
    "tiff jpeg": (lambda: save(PICTURE, "TIFF", compression="jpeg", quality=95), "tiff", 2.0),
    "tiff packbits": (lambda: save(PICTURE, "TIFF", compression="packbits"), "tiff", 0.0),
    "tiff big": (lambda: save(PICTURE, "TIFF", big_tiff=True), "tiff", 0.0),
    "tiff cmyk": (lambda: save(CMYK, "TIFF"), "tiff", 0.5),
}


@pytest.mark.parametrize("name", STILLS)
def test_stills(name: str) -> None:
    make, kind, bound = STILLS[name]
    data = make()
    media = decode(data)
    assert (media.format, media.width, media.height) == (kind, WIDTH, HEIGHT)
    assert error(only(data), PICTURE if "grey" not in name else GREY) <= bound


def test_one_bit_is_black_and_white() -> None:
    bits = GREY.convert("1")
    for kind in ("PNG", "TIFF", "BMP"):
        assert error(only(save(bits, kind)), bits) == 0


def wide(picture: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(picture.convert("L")).astype(np.uint16) * 257


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = Image.fromarray(wide(GREY))
    assert error(only(save(deep, "PNG")), GREY) == 0
    assert error(only(save(deep, "TIFF")), GREY) == 0
    assert error(only(save(deep, "TIFF", compression="tiff_lzw")), GREY) == 0


def test_sixteen_bit_white_is_zero() -> None:
    data = bytearray(save(Image.fromarray(wide(GREY)), "TIFF"))
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data[at] = 0
    inverted = Image.fromarray(255 - np.asarray(GREY))
    assert error(only(bytes(data)), inverted) == 0


def png_chunks(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_sixteen_bit_colour() -> None:
    deep = (np.asarray(PICTURE).astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert error(only(png_chunks(WIDTH, HEIGHT, 16, 2, rows)), PICTURE) == 0


def test_floats_are_stretched() -> None:
    for scale in (1.0, 1000.0):
        real = Image.fromarray(np.asarray(GREY).astype(np.float32) * scale)
        low, high = GREY.getextrema()
        stretched = (np.asarray(GREY, np.float64) - low) * 255 / (high - low)
        found = only(save(real, "TIFF"))
        assert np.abs(found - stretched).max() <= 0.51
    bad = np.asarray(GREY).astype(np.float32)
    bad[3, 4] = np.nan
    rejects(save(Image.fromarray(bad), "TIFF"), Reason.CORRUPT)


def test_interlaced_png() -> None:
    assert error(only(pictures.interlaced(PICTURE)), PICTURE) == 0


def test_tiles() -> None:
    for compression in (1, 8):
        assert error(only(pictures.tiled(PICTURE, compression)), GREY) == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_transparency_is_seen_on_white_and_on_black(kind: str) -> None:
    clear = PICTURE.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(PICTURE.size))
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 90}}.get(kind, {})
    media = decode(save(clear, kind, **options))
    assert [(frame.index, frame.background) for frame in media.frames] == [
        (0, "white"),
        (0, "black"),
        # Programs that drop transparency show what is all but clear at the top.
        (0, "opaque"),
    ]
    *seen, opaque = media.frames
    assert error(opaque.luma[16:], PICTURE.crop((0, 16, *PICTURE.size))) < 2.5
    for frame in seen:
        under = Image.new("RGBA", PICTURE.size, frame.background)
        assert error(frame.luma, Image.alpha_composite(under, clear)) < 2.5


@pytest.mark.parametrize("alpha", [0, 20])
def test_a_picture_that_is_clear_throughout_is_seen_all_the_same(alpha: int) -> None:
    clear = PICTURE.convert("RGBA")
    clear.putalpha(alpha)
    *_, opaque = decode(save(clear, "PNG"), colour=64).frames
    assert (opaque.background, error(opaque.luma, PICTURE)) == ("opaque", 0)
    assert opaque.rgb is not None
    # Where nothing is hidden there is nothing more to see.
    blank = Image.new("RGBA", clear.size)
    assert [frame.background for frame in decode(save(blank, "PNG")).frames] == ["white", "black"]


def test_palette_and_key_colour_transparency() -> None:
    palette = PICTURE.quantize(16)
    for kind in ("PNG", "GIF"):
        media = decode(save(palette, kind, transparency=3))
        seen = palette.copy()
        seen.info["transparency"] = 3
        for frame in media.frames:
            under = Image.new("RGBA", PICTURE.size, frame.background)
            assert error(frame.luma, Image.alpha_composite(under, seen.convert("RGBA"))) < 1
    key = int(np.asarray(GREY)[5, 5])
    for picture, transparency in ((GREY, key), (Image.fromarray(wide(GREY)), key * 257)):
        media = decode(save(picture, "PNG", transparency=transparency))
        white, black = media.frames
        hidden = np.asarray(GREY) == key
        assert (white.luma[hidden] == 255).all()
        assert (black.luma[hidden] == 0).all()
        assert (white.luma[~hidden] == np.asarray(GREY)[~hidden]).all()


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "JPEG P3", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_orientation(kind: str, orientation: int) -> None:
    turn = TURNS[orientation]
    upright = PICTURE if turn is None else PICTURE.transpose(turn)
    block = Image.Exif()
    block[0x0112] = orientation
    options: dict[str, Any] = {"exif": block if kind == "TIFF" else block.tobytes()}
    kind, _, gamut = kind.partition(" ")
    if gamut:
        options["icc_profile"] = pictures.profile("p3")
    if kind == "JPEG":
        options["quality"] = 95
    media = decode(save(PICTURE, kind, **options))
    assert (media.width, media.height) == upright.size
    assert error(media.frames[0].luma, upright) < (8 if gamut else 3.5)


@pytest.mark.parametrize("size", [(405, 301), (400, 301), (405, 304), (408, 304)])
@pytest.mark.parametrize("orientation", TURNS)
def test_reduction_starts_at_the_upright_corner(orientation: int, size: tuple[int, int]) -> None:
    turn = TURNS[orientation]
    picture = pictures.picture(*size, cells=40)
    upright = picture if turn is None else picture.transpose(turn)
    for kind in ("PNG", "JPEG"):
        media = decode(save(picture, kind, exif=pictures.exif(orientation)), detail=70)
        luma = media.frames[0].luma
        grey = upright.convert("L")
        factor = next(
            n for n in (8, 4, 2, 1) if luma.shape == (-(-grey.height // n), -(-grey.width // n))
        )
        assert np.abs(luma - np.asarray(grey.reduce(factor), np.float64)).mean() < 2


def converted(picture: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize(
    "profile",
    [pictures.profile("p3"), pictures.profile("prophoto", 1.8), pictures.profile("srgb", rotate=1)],
    ids=["p3", "prophoto", "rotated primaries"],
)
def test_colour_profiles_are_applied(kind: str, profile: bytes) -> None:
    options: dict[str, Any] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    luma = only(save(PICTURE, kind, icc_profile=profile, **options))
    seen = converted(PICTURE, profile)
    assert error(luma, seen) < 2.5
    assert error(np.asarray(GREY), seen) > 3


def test_a_broken_profile_counts_as_srgb() -> None:
    for profile in (b"no profile", pictures.profile()[:200], bytes(4000)):
        assert error(only(save(PICTURE, "PNG", icc_profile=profile)), PICTURE) == 0
        assert error(only(save(PICTURE, "JPEG", quality=95, icc_profile=profile)), PICTURE) < 1


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_animations_are_composited_and_bounded(kind: str) -> None:
    frames = [pictures.picture(64, 48, seed) for seed in range(6)]
    options: dict[str, Any] = {"duration": 40} if kind != "TIFF" else {}
    if kind == "WEBP":
        options["lossless"] = True
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    media = decode(data)
    assert media.frame_count == 6
    assert [frame.index for frame in media.frames] == list(range(6))
    for frame in media.frames:
        assert error(frame.luma, frames[frame.index]) < 8
    few = decode(data, Limits(max_frames=3))
    assert few.frame_count == 6
    assert len(few.frames) == 3
    assert (few.frames[0].index, few.frames[-1].index) == (0, 5)


def test_a_frame_that_differs_is_kept_wherever_it_hides() -> None:
    odd = pictures.picture(64, 48, 99)
    for place in (1, 17, 38):
        frames = [pictures.picture(64, 48)] * 40
        # Frames that are the same would be merged on saving.
        frames = [frame.copy() for frame in frames]
        for number, frame in enumerate(frames):
            frame.putpixel((number, 0), (number, 0, 0))
        frames[place] = odd
        data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=40)
        media = decode(data, Limits(max_frames=4))
        kept = [frame.index for frame in media.frames]
        assert len(kept) == 4
        assert {0, place, 39} <= set(kept)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 60), st.integers(0, 3))
def test_samples_hold_first_and_last_and_are_in_order(bound: int, count: int, tones: int) -> None:
    from tutela.media.frames import Sampler
    from tutela.media.types import Frame

    sampler = Sampler(bound)
    for index in range(count):
        tone = 80 * (index % (tones + 1))
        sampler.add((Frame(index, np.full((20, 20), tone, np.uint8)),))
    kept = [frame.index for frame in sampler.frames()]
    assert len(kept) == min(bound, count)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    if bound > 1:
        assert kept[-1] == count - 1


def test_still_animations_are_sampled_evenly() -> None:
    from tutela.media.frames import Sampler
    from tutela.media.types import Frame

    sampler = Sampler(8)
    for index in range(100):
        sampler.add((Frame(index, np.full((20, 20), 7, np.uint8)),))
    kept = [frame.index for frame in sampler.frames()]
    assert max(np.diff(kept)) <= 3 * 100 / 7


def test_pages_of_different_sizes() -> None:
    pages = [PICTURE, PICTURE.resize((40, 60)), PICTURE.rotate(180)]
    media = decode(save(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [frame.luma.shape for frame in media.frames] == [(90, 120), (60, 40), (90, 120)]


@pytest.mark.parametrize("kind", ["JPEG", "JPEG P3", "PNG", "WEBP", "TIFF"])
def test_detail_is_kept_and_the_rest_reduced(kind: str) -> None:
    large = pictures.picture(1500, 1100, cells=40)
    kind, _, gamut = kind.partition(" ")
    options: dict[str, Any] = {"icc_profile": pictures.profile("p3")} if gamut else {}
    data = save(large, kind, **options)
    for detail in (64, 200, 512, 1100, 5000):
        media = decode(data, detail=detail)
        assert (media.width, media.height) == (1500, 1100)
        luma = media.frames[0].luma
        assert min(luma.shape) >= min(detail, 1100)
        factor = next(n for n in (1, 2, 4, 8) if luma.shape == (-(-1100 // n), -(-1500 // n)))
        assert factor == 8 or min(luma.shape) < 2 * max(detail, 551)
        small = np.asarray(large.convert("L").reduce(factor), np.float64)
        assert np.abs(luma - small).mean() < (12 if gamut else 3)
    assert decode(data, detail=0).frames[0].luma.shape == (1100, 1500)


def test_bands_give_what_the_whole_picture_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    from tutela.media import colour

    clear = pictures.picture(301, 257).convert("RGBA")
    clear.paste((10, 200, 30, 90), (20, 200, 250, 240))
    data = save(clear, "PNG")
    whole = decode(data, detail=100)
    monkeypatch.setattr(colour, "BAND_PIXELS", 700)
    banded = decode(data, detail=100)
    assert [frame.background for frame in banded.frames] == ["white", "black"]
    for one, other in zip(whole.frames, banded.frames, strict=True):
        assert np.array_equal(one.luma, other.luma)


@pytest.mark.parametrize("name", STILLS)
def test_a_file_that_ends_early_is_rejected(name: str) -> None:
    data = STILLS[name][0]()
    for part in (0.3, 0.6, 0.9):
        cut = data[: int(len(data) * part)]
        rejects(cut, Reason.TRUNCATED, Reason.CORRUPT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"hello, this is text", Reason.UNKNOWN_TYPE),
        (b"BMAD letters are no bitmap", Reason.UNKNOWN_TYPE),
        (b"%PDF-1.7", Reason.UNSUPPORTED),
        (b"%!PS-Adobe-3.0 EPSF-3.0", Reason.UNSUPPORTED),
        (b"8BPS\0\1", Reason.UNSUPPORTED),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", Reason.CORRUPT),
        (b"\xff\xd8\xff", Reason.TRUNCATED),
        (b"\x89PNG\r\n\x1a\n", Reason.CORRUPT),
        (b"GIF89a", Reason.TRUNCATED),
        (b"II*\0\x08\0\0\0", Reason.TRUNCATED),
        (b"RIFF\0\0\0\0WEBPVP8X", Reason.TRUNCATED),
    ],
)
def test_typed_rejections(data: bytes, reason: Reason) -> None:
    rejects(data, reason)


def test_bounds() -> None:
    data = save(PICTURE, "PNG")
    rejects(data, Reason.TOO_MANY_BYTES, limits=Limits(max_bytes=len(data) - 1))
    for name, (make, _, _) in STILLS.items():
        limits = Limits(max_pixels=WIDTH * HEIGHT - 1)
        with pytest.raises(Rejected) as caught:
            decode(make(), limits)
        assert caught.value.reason is Reason.TOO_MANY_PIXELS, name
    rejects(data, Reason.TOO_MUCH_MEMORY, limits=Limits(max_memory=10_000))
    frames = [pictures.picture(64, 48, seed) for seed in range(6)]
    film = save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
    rejects(film, Reason.TOO_SLOW, limits=Limits(max_seconds=0.0))


def test_an_animation_that_does_not_add_up_is_rejected() -> None:
    frames = [pictures.picture(64, 48, seed) for seed in range(3)]
    data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=40)
    at = data.index(b"acTL")
    for count in (2, 4, 0):
        body = b"acTL" + struct.pack(">II", count, 0)
        broken = data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :]
        rejects(broken, Reason.CORRUPT)


def test_a_default_picture_ahead_of_an_animation_is_examined_too() -> None:
    frames = [pictures.picture(64, 48, seed) for seed in range(3)]
    text = PngImagePlugin.PngInfo()
    text.add_text("k", "fcTL IDAT")
    options: dict[str, Any] = {"pnginfo": text, "duration": 40, "default_image": True}
    media = decode(save(frames[0], "PNG", save_all=True, append_images=frames[1:], **options))
    assert media.frame_count == 3
    assert [error(frame.luma, frames[frame.index]) for frame in media.frames] == [0, 0, 0]


def test_the_type_is_in_the_bytes() -> None:
    for make, kind, _ in STILLS.values():
        assert sniff(make()) == kind


def test_warnings_do_not_leak_from_threads() -> None:
    # A TIFF that Pillow warns of: its date is declared longer than the file.
    data = bytearray(save(PICTURE, "TIFF", tiffinfo={306: "2026:01:01 00:00:00"}))
    at = data.index(struct.pack("<HH", 306, 2))
    struct.pack_into("<I", data, at + 8, len(data) - 4)
    before = list(warnings.filters)
    found: list[object] = []

    def work() -> None:
        for _ in range(20):
            try:
                found.append(decode(bytes(data)).format)
            except Rejected as rejected:
                found.append(rejected.reason)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 80
    assert len(set(found)) == 1
    assert not caught
    assert list(warnings.filters) == before
