"""Decompression bombs of many kinds, all of which must be rejected within the limits.

    python bench/bombs.py

Makes each bomb in memory, examines it in the sandbox with the default limits, and prints how it
was rejected, how long that took and how much memory the worker used beyond its idle size. Ends
with status 1 if one was not rejected, took more than 2 seconds or more than 256 MiB.
"""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image

import pictures
from pictures import chunk
from tutela.media import Limits
from tutela.sandbox import Sandbox

Bomb = Callable[[], bytes]
BOMBS: dict[str, Bomb] = {}
HUGE = 60_000


def bomb(make: Bomb) -> Bomb:
    BOMBS[make.__name__.replace("_", " ")] = make
    return make


# PNG


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@cache
def zeros(size: int) -> bytes:
    """Deflated zeros, made without holding them."""
    squeeze = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [squeeze.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, squeeze.flush()])


SMALL_IDAT = chunk(b"IDAT", zlib.compress(bytes(13 * 4)))


@bomb
def png_huge_size() -> bytes:
    return png(HUGE, HUGE, chunk(b"IDAT", zeros(1 << 20)))


@bomb
def png_largest_size() -> bytes:
    return png(0x7FFFFFFF, 0x7FFFFFFF, SMALL_IDAT)


@bomb
def png_just_below_the_pixel_limit() -> bytes:
    return png(10_000, 9_999, chunk(b"IDAT", zeros(512 << 20)))


@bomb
def png_of_one_row() -> bytes:
    return png(200_000_000, 1, chunk(b"IDAT", zeros(512 << 20)))


@bomb
def png_of_one_column() -> bytes:
    return png(1, 200_000_000, chunk(b"IDAT", zeros(512 << 20)))


@bomb
def png_sixteen_bits_and_alpha() -> bytes:
    return png(9_000, 9_000, chunk(b"IDAT", zeros(512 << 20)), depth=16, colour=6)


@bomb
def png_many_text_bombs() -> bytes:
    text = chunk(b"zTXt", b"k\0\0" + zeros(1 << 20))
    return png(4, 4, *[text] * 2000, SMALL_IDAT)


@bomb
def png_large_text_bomb() -> bytes:
    return png(4, 4, chunk(b"zTXt", b"k\0\0" + zeros(512 << 20)), SMALL_IDAT)


@bomb
def png_international_text_bomb() -> bytes:
    return png(4, 4, chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(512 << 20)), SMALL_IDAT)


@bomb
def png_profile_bomb() -> bytes:
    return png(4, 4, chunk(b"iCCP", b"p\0\0" + zeros(512 << 20)), SMALL_IDAT)


@bomb
def png_a_million_chunks() -> bytes:
    return png(4, 4, chunk(b"teSt", b"") * 1_000_000, SMALL_IDAT)


@bomb
def png_interlaced_huge() -> bytes:
    header = struct.pack(">IIBBBBB", 12_000, 8_000, 8, 6, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zeros(512 << 20)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def frame(number: int, width: int, height: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0))


@bomb
def apng_of_too_many_frames() -> bytes:
    first = chunk(b"acTL", struct.pack(">II", 20_000, 0)) + frame(0, 4, 4) + SMALL_IDAT
    data = zlib.compress(bytes(13 * 4))
    rest = b"".join(
        frame(2 * n - 1, 4, 4) + chunk(b"fdAT", struct.pack(">I", 2 * n) + data)
        for n in range(1, 20_000)
    )
    return png(4, 4, first, rest)


@bomb
def apng_that_declares_too_many_frames() -> bytes:
    first = chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0)) + frame(0, 4, 4) + SMALL_IDAT
    return png(4, 4, first)


@bomb
def apng_of_large_frames() -> bytes:
    side = 4_000
    first = chunk(b"acTL", struct.pack(">II", 400, 0)) + frame(0, side, side)
    data = zeros(side * (3 * side + 1) + (1 << 20))
    body = [first, chunk(b"IDAT", data)]
    for n in range(1, 400):
        body += [
            frame(2 * n - 1, side, side),
            chunk(b"fdAT", struct.pack(">I", 2 * n) + data),
        ]
    return png(side, side, *body)


# GIF


def lzw_zeros(pixels: int) -> bytes:
    """Data sub-blocks of about that many pixels of colour 0, in few bytes: growing runs."""
    bits, size, code, run = 0, 3, 6, 1
    value = position = 0

    def put(number: int) -> None:
        nonlocal value, position
        value |= number << position
        position += size

    out = bytearray()
    put(4)
    put(0)
    done = 1
    while done < pixels:
        put(code)
        run += 1
        done += run
        code += 1
        if code == 1 << size and size < 12:
            size += 1
        if code == 4095:
            put(4)
            size, code, run = 3, 6, 1
            put(0)
            done += 1
        while position >= 8:
            out.append(value & 0xFF)
            value >>= 8
            position -= 8
    put(5)
    while position > 0:
        out.append(value & 0xFF)
        value >>= 8
        position -= 8
    del bits
    blocks = [bytes(out[at : at + 255]) for at in range(0, len(out), 255)]
    return b"\2" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(width: int, height: int, *frames: bytes) -> bytes:
    palette = bytes([0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255])
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + palette
    return head + b"".join(frames) + b";"


def gif_frame(width: int, height: int, pixels: int) -> bytes:
    return struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0) + lzw_zeros(pixels)


@bomb
def gif_of_100_000_frames() -> bytes:
    return gif(4, 4, gif_frame(4, 4, 16) * 100_000)


@bomb
def gif_of_4_000_large_frames() -> bytes:
    return gif(2_000, 2_000, gif_frame(2_000, 2_000, 4_000_000) * 4_000)


@bomb
def gif_huge_canvas() -> bytes:
    return gif(65_535, 65_535, gif_frame(1, 1, 1))


@bomb
def gif_huge_frame_on_a_small_canvas() -> bytes:
    return gif(4, 4, gif_frame(4, 4, 16), gif_frame(65_535, 65_535, 1 << 20))


@bomb
def gif_a_million_empty_blocks() -> bytes:
    return gif(4, 4, b"!\xfe\0" * 1_000_000, gif_frame(4, 4, 16))


@bomb
def gif_animation_below_the_pixel_limit() -> bytes:
    return gif(9_000, 9_000, gif_frame(9_000, 9_000, 81_000_000) * 8)


# JPEG


def sized(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header declares another size."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg(progressive: bool = False, mode: str = "RGB", side: int = 64) -> bytes:
    buffer = io.BytesIO()
    pictures.picture(side, side).convert(mode).save(buffer, "JPEG", progressive=progressive)
    return buffer.getvalue()


@bomb
def jpeg_huge_size() -> bytes:
    return sized(jpeg(), 65_500, 65_500)


@bomb
def jpeg_below_the_pixel_limit_with_no_data() -> bytes:
    return sized(jpeg(), 10_000, 9_900)


@bomb
def jpeg_progressive_below_the_pixel_limit_with_no_data() -> bytes:
    return sized(jpeg(progressive=True), 10_000, 9_900)


def scans(count: int, width: int, height: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    data = jpeg(progressive=True)
    at = data.rfind(b"\xff\xda")
    return sized(data[:-2] + data[at:-2] * count + data[-2:], width, height)


@bomb
def jpeg_of_100_000_scans() -> bytes:
    return scans(100_000, 64, 64)


@bomb
def jpeg_of_200_scans_of_a_large_picture() -> bytes:
    return scans(200, 9_000, 9_000)


@bomb
def jpeg_cmyk_below_the_pixel_limit_with_no_data() -> bytes:
    return sized(jpeg(mode="CMYK"), 10_000, 9_900)


@bomb
def jpeg_progressive_cmyk() -> bytes:
    return sized(jpeg(progressive=True, mode="CMYK"), 10_000, 9_900)


@bomb
def jpeg_a_million_segments() -> bytes:
    data = jpeg()
    return data[:2] + b"\xff\xfe\0\2" * 1_000_000 + data[2:]


@bomb
def jpeg_profile_of_16_MB() -> bytes:
    data = jpeg()
    parts = [
        b"\xff\xe2" + struct.pack(">H", 65_535) + b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65_519)
        for n in range(1, 256)
    ]
    return data[:2] + b"".join(parts) + data[2:]


# WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def webp_still(side: int = 16) -> bytes:
    buffer = io.BytesIO()
    pictures.picture(side, side).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()[12:]


def webp_animation(canvas: int, frames: int) -> bytes:
    still = webp_still()
    anmf = three(0) * 2 + three(15) * 2 + three(1) + b"\0" + still
    extended = b"\2\0\0\0" + three(canvas - 1) * 2
    return riff((b"VP8X", extended), (b"ANIM", bytes(6)), *[(b"ANMF", anmf)] * frames)


@bomb
def webp_huge_canvas() -> bytes:
    return webp_animation(16_384, 2)


@bomb
def webp_of_many_frames() -> bytes:
    return webp_animation(16, 50_000)


@bomb
def webp_large_canvas_many_frames() -> bytes:
    return webp_animation(3_800, 2_000)


@bomb
def webp_largest_declared_canvas() -> bytes:
    return riff((b"VP8X", b"\0\0\0\0" + three(0xFFFFFF) * 2), (b"VP8L", webp_still()[8:]))


@bomb
def webp_lossless_of_one_colour() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10_000, 9_900)).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


# TIFF


def tiff(tags: dict[int, tuple[int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: tag → (type, count, value)."""
    rows = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", following) + tail


def page(width: int, height: int, compression: int = 1) -> dict[int, tuple[int, int, int]]:
    return {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, compression),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, 100),
    }


@bomb
def tiff_huge_size() -> bytes:
    return tiff(page(HUGE, HUGE))


@bomb
def tiff_below_the_pixel_limit() -> bytes:
    tags = page(10_000, 9_900)
    tags[258] = (3, 1, 32)
    tags[339] = (3, 1, 3)
    return tiff(tags, bytes(1000))


@bomb
def tiff_huge_strip_of_deflate() -> bytes:
    data = zeros(512 << 20)
    tags = page(HUGE, HUGE, compression=8)
    tags[279] = (4, 1, len(data))
    tags[273] = (4, 1, 8 + 2 + 12 * len(tags) + 4)
    return tiff(tags, data)


@bomb
def tiff_that_runs_in_a_circle() -> bytes:
    return tiff(page(16, 16), bytes(256), following=8)


@bomb
def tiff_of_100_000_pages() -> bytes:
    rows = b"".join(struct.pack("<HHII", t, *v) for t, v in sorted(page(1, 1).items()))
    size = 2 + len(rows) + 4
    parts = [
        struct.pack("<H", 9) + rows + struct.pack("<I", 8 + size * (n + 1)) for n in range(99_999)
    ]
    return b"II*\0\x08\0\0\0" + b"".join(parts) + struct.pack("<H", 9) + rows + bytes(4)


@bomb
def tiff_of_a_million_tiles() -> bytes:
    tags = page(9_000, 9_000)
    for tag in (273, 278, 279):
        del tags[tag]
    tags |= {322: (4, 1, 16), 323: (4, 1, 16), 324: (4, 4_000_000, 200), 325: (4, 4_000_000, 200)}
    return tiff(tags, bytes(16_000_000))


@bomb
def tiff_of_65_535_tags() -> bytes:
    rows = b"".join(struct.pack("<HHII", tag, 2, 60_000_000, 8) for tag in range(65_535))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + rows + bytes(4) + bytes(8 << 20)


@bomb
def tiff_of_tags_that_share_their_data() -> bytes:
    tags: dict[int, tuple[int, int, int]] = page(16, 16)
    tags |= {40_000 + n: (2, 30_000_000, 8) for n in range(2_000)}
    return tiff(tags, bytes(32 << 20))


@bomb
def tiff_with_a_deep_sample_count() -> bytes:
    tags = page(16, 16)
    tags[277] = (4, 1, 0x7FFFFFFF)
    return tiff(tags, bytes(256))


@bomb
def bigtiff_huge_size() -> bytes:
    rows = b"".join(
        struct.pack("<HHQQ", tag, kind, count, value)
        for tag, (kind, count, value) in sorted(page(HUGE, HUGE).items())
    )
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 9) + rows + bytes(8)


# BMP


def bmp(width: int, height: int, bits: int, compression: int, body: bytes) -> bytes:
    palette = bytes(1024) if bits == 8 else b""
    at = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", at + len(body), 0, 0, at)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return head + info + palette + body


@bomb
def bmp_huge_size() -> bytes:
    return bmp(HUGE, HUGE, 24, 0, bytes(100))


@bomb
def bmp_upside_down_huge_size() -> bytes:
    return bmp(0x7FFFFFFF, -0x7FFFFFFF, 24, 0, bytes(100))


@bomb
def bmp_run_length_of_nothing() -> bytes:
    return bmp(9_000, 9_000, 8, 1, b"\0\2\0\0" * 8_000_000)


@bomb
def bmp_run_length_of_a_large_picture() -> bytes:
    return bmp(10_000, 9_900, 8, 1, b"\xff\0" * 400_000 + b"\0\1")


# HEIF and AVIF


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def encoded(kind: str, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    image = pictures.picture(side, side)
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer)
    else:
        image.save(buffer, kind)
    return buffer.getvalue()


def declared(data: bytes, width: int, height: int) -> bytes:
    """Every declared extent replaced by another."""
    parts = data.split(b"ispe")
    fresh = struct.pack(">III", 0, width, height)
    return parts[0] + b"".join(b"ispe" + fresh + part[12:] for part in parts[1:])


@bomb
def heif_huge_declared_size() -> bytes:
    return declared(encoded("HEIF"), HUGE, HUGE)


@bomb
def heif_largest_declared_size() -> bytes:
    return declared(encoded("HEIF"), 0xFFFFFFFF, 0xFFFFFFFF)


@bomb
def avif_huge_declared_size() -> bytes:
    return declared(encoded("AVIF"), HUGE, HUGE)


@bomb
def avif_below_the_pixel_limit() -> bytes:
    return declared(encoded("AVIF"), 10_000, 9_900)


def grid(rows: int, columns: int, width: int, height: int, brand: bytes) -> bytes:
    """A derived picture of tiles that all point to one small item."""
    layout = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    tiles = rows * columns
    iinf = box(
        b"iinf",
        struct.pack(">IH", 0, tiles + 1),
        box(b"infe", struct.pack(">IHH", 2 << 24, 1, 0), b"grid\0"),
        *(box(b"infe", struct.pack(">IHH", 2 << 24, 2 + n, 0), b"hvc1\0") for n in range(tiles)),
    )
    iref = box(
        b"iref",
        bytes(4),
        box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *range(2, tiles + 2))),
    )
    pitm = box(b"pitm", struct.pack(">IH", 0, 1))
    ispe = box(b"ispe", struct.pack(">III", 0, width, height))
    ipma = box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1))
    iprp = box(b"iprp", box(b"ipco", ispe), ipma)
    places = b"".join(struct.pack(">HHHHII", n, 1, 0, 1, 0, 12) for n in range(1, tiles + 2))
    iloc = box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, tiles + 1), places)
    hdlr = box(b"hdlr", bytes(8), b"pict", bytes(13))
    meta = box(b"meta", bytes(4), hdlr, pitm, iinf, iref, iprp, iloc, box(b"idat", layout))
    return box(b"ftyp", brand, bytes(4), b"mif1", brand) + meta


@bomb
def heif_grid_of_many_tiles() -> bytes:
    return grid(30, 30, HUGE, HUGE, b"heic")


@bomb
def heif_grid_below_the_pixel_limit() -> bytes:
    return grid(4, 4, 10_000, 9_900, b"heic")


@bomb
def avif_grid_of_many_tiles() -> bytes:
    return grid(200, 200, HUGE, HUGE, b"avif")


@bomb
def heif_of_boxes_within_boxes() -> bytes:
    nested = b""
    for _ in range(20_000):
        nested = box(b"meta", bytes(4), nested) if len(nested) < 1 << 20 else nested
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + nested


@bomb
def heif_of_a_million_boxes() -> bytes:
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(b"free") * 1_000_000


# Anything


@bomb
def zeros_of_64_MB_and_a_byte() -> bytes:
    return bytes((64 << 20) + 1)


def peak(sandbox: Sandbox) -> tuple[int, int]:
    """Bytes in use by the one worker: now, and at most since the last call (Linux)."""
    worker = sandbox._pictures._free.get()
    sandbox._pictures._free.put(worker)
    if worker is None:
        return 0, 0
    process = Path(f"/proc/{worker._process.pid}")
    status = (process / "status").read_text()
    now, most = (int(status.split(name)[1].split()[0]) * 1024 for name in ("VmRSS:", "VmHWM:"))
    (process / "clear_refs").write_text("5")
    return now, most


def run(names: list[str] | None = None) -> Iterator[tuple[str, int, str, float, float]]:
    """Name, size, reason, seconds and peak MiB of each bomb; the reason is empty if it passed."""
    limits = Limits()
    plain = jpeg()
    linux = sys.platform == "linux"
    with Sandbox(limits, workers=1, signal_names=["sha256", "pdq"]) as sandbox:
        for name in names or BOMBS:
            data = BOMBS[name]()
            if sandbox.examine(plain).rejected:
                raise RuntimeError("an ordinary picture was rejected after a bomb")
            idle = peak(sandbox)[0] if linux else 0
            started = time.monotonic()
            done = sandbox.examine(data)
            seconds = time.monotonic() - started
            most = peak(sandbox)[1] - idle if linux else 0
            reason = f"{done.rejected.reason}" if done.rejected else ""
            yield name, len(data), reason, seconds, max(0, most) / (1 << 20)


def main() -> int:
    bad = 0
    print(f"{'bomb':52} {'bytes':>10}  {'rejected as':18} {'s':>6} {'MiB':>5}")
    for name, size, reason, seconds, memory in run(sys.argv[1:]):
        wrong = not reason or seconds > 2.2 or memory > 256
        bad += wrong
        mark = "  <-- " if wrong else ""
        print(f"{name:52} {size:10,}  {reason or 'NO':18} {seconds:6.2f} {memory:5.0f}{mark}")
    print(f"{len(BOMBS)} bombs, {bad} not stopped within 2 s and 256 MiB")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
