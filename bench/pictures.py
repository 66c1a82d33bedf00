"""Pictures that tests and benchmarks generate: every format and variant, no file committed."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

GAMUTS = {
    "srgb": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)),
    "p3": ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
    "adobe": (
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
    "prophoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
}
"""XYZ of red, green and blue on D50: sRGB (IEC 61966-2-1), Display P3, Adobe RGB, ROMM RGB."""


def profile(gamut: str = "srgb", gamma: float = 2.2, rotate: int = 0) -> bytes:
    """An ICC matrix profile. `rotate` swaps its primaries: then red means green, and so on."""
    primaries = GAMUTS[gamut]
    primaries = primaries[rotate:] + primaries[:rotate]

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    text = b"text\0\0\0\0public domain\0\0\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78 + 1)
    tags = {
        b"desc": described,
        b"cprt": text,
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        b"rXYZ": xyz(primaries[0]),
        b"gXYZ": xyz(primaries[1]),
        b"bXYZ": xyz(primaries[2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4s4s8s8sI3i4s",
        start + len(body),
        b"test",
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        bytes(12),
        b"acsp",
        bytes(4),
        bytes(4),
        bytes(8),
        bytes(8),
        0,
        63190,
        65536,
        54061,
        b"test",
    )
    return header.ljust(128, b"\0") + table + body


def exif(orientation: int) -> bytes:
    """An EXIF block with nothing but an orientation."""
    entry = struct.pack(">HHIHxx", 0x0112, 3, 1, orientation)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def picture(width: int, height: int, seed: int = 1, cells: int = 8) -> Image.Image:
    """A smooth coloured picture with structure at a scale of `cells` across."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (cells * 3 // 4 or 1, cells, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def seeds() -> dict[str, list[bytes]]:
    """Small files of every format and variant that decoding treats apart."""
    import pillow_heif

    base = picture(48, 40)
    turned = base.rotate(180)
    alpha = base.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(base.size))
    grey = base.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    large = picture(450, 400, cells=4)
    icc, p3 = profile(), profile("p3")
    frames = {"save_all": True, "append_images": [turned, base, turned], "duration": 40}

    def save(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        if kind == "HEIF":
            file = pillow_heif.from_pillow(image)
            for more in options.pop("append_images", ()):
                file.add_from_pillow(more)
            file.save(buffer, **options)
        else:
            image.save(buffer, kind, **options)
        return buffer.getvalue()

    return {
        "jpeg": [
            save(base, "JPEG", quality=85),
            save(base, "JPEG", quality=85, subsampling=0, exif=exif(6)),
            save(base, "JPEG", quality=60, progressive=True),
            save(base, "JPEG", quality=60, progressive=True, subsampling=1, restart_marker_rows=1),
            save(base, "JPEG", quality=85, restart_marker_blocks=2, optimize=True),
            save(base, "JPEG", icc_profile=p3),
            save(base, "JPEG", icc_profile=icc, exif=exif(5)),
            save(grey, "JPEG", quality=85),
            save(grey, "JPEG", progressive=True),
            save(base.convert("CMYK"), "JPEG", quality=85),
            save(base.convert("CMYK"), "JPEG", progressive=True),
            save(large, "JPEG", quality=30),
            save(large, "JPEG", quality=30, progressive=True),
        ],
        "png": [
            save(base, "PNG"),
            save(alpha, "PNG"),
            save(grey, "PNG", transparency=128),
            save(base.quantize(16), "PNG"),
            save(base.quantize(200), "PNG", transparency=3),
            save(base.convert("1"), "PNG"),
            save(wide, "PNG"),
            save(alpha.convert("LA"), "PNG"),
            save(base, "PNG", icc_profile=p3, exif=exif(8)),
            save(base, "PNG", **frames),
            save(base, "PNG", default_image=True, disposal=2, blend=1, **frames),
            save(alpha, "PNG", save_all=True, append_images=[alpha.rotate(90)], disposal=1),
            interlaced(base),
            save(large.quantize(4), "PNG"),
        ],
        "gif": [
            save(base, "GIF"),
            save(base.quantize(4), "GIF", interlace=0),
            save(base, "GIF", transparency=0),
            save(base, "GIF", **frames),
            save(base, "GIF", disposal=2, transparency=1, comment=b"text", **frames),
            save(base, "GIF", disposal=3, optimize=False, loop=0, **frames),
            save(grey, "GIF"),
        ],
        "webp": [
            save(base, "WEBP", quality=60),
            save(base, "WEBP", lossless=True),
            save(alpha, "WEBP", quality=60),
            save(alpha, "WEBP", lossless=True),
            save(base, "WEBP", exif=exif(3), icc_profile=p3),
            save(base, "WEBP", **frames),
            save(alpha, "WEBP", minimize_size=True, **frames),
        ],
        "avif": [
            save(base, "AVIF", quality=50, speed=10),
            save(alpha, "AVIF", quality=50, speed=10),
            save(grey, "AVIF", quality=50, speed=10),
            save(base, "AVIF", speed=10, exif=exif(6), icc_profile=p3),
            save(base, "AVIF", speed=10, subsampling="4:4:4", range="limited"),
            save(base, "AVIF", speed=10, **frames),
        ],
        "heif": [
            save(base, "HEIF", quality=50),
            save(alpha, "HEIF", quality=50),
            save(grey, "HEIF", quality=50),
            save(base, "HEIF", quality=50, exif=exif(6)[6:], icc_profile=p3),
            save(base, "HEIF", quality=50, append_images=[turned]),
            save(wide, "HEIF", quality=50),
            save(picture(160, 140), "HEIF", quality=30, tile_size=64),
        ],
        "bmp": [
            save(base, "BMP"),
            save(grey, "BMP"),
            save(base.convert("1"), "BMP"),
            save(base.quantize(16), "BMP"),
            save(alpha, "BMP"),
            _run_lengths(),
        ],
        "tiff": [
            save(base, "TIFF"),
            save(base, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
            save(base, "TIFF", compression="tiff_adobe_deflate"),
            save(base, "TIFF", compression="jpeg"),
            save(base.convert("1"), "TIFF", compression="group4"),
            save(base.convert("1"), "TIFF", compression="group3"),
            save(base, "TIFF", compression="packbits"),
            save(base, "TIFF", compression="zstd"),
            save(base, "TIFF", compression="lzma"),
            save(wide, "TIFF"),
            save(wide, "TIFF", compression="tiff_lzw"),
            save(real, "TIFF"),
            save(base.convert("CMYK"), "TIFF", icc_profile=icc),
            save(base.quantize(32), "TIFF"),
            save(alpha, "TIFF", compression="tiff_lzw"),
            save(base, "TIFF", exif=_orientation(6)),
            save(base, "TIFF", save_all=True, append_images=[turned, grey, wide]),
            save(base, "TIFF", big_tiff=True),
            tiled(base, 1),
            tiled(base, 8),
        ],
    }


def _orientation(number: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = number
    return block


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced(image: Image.Image) -> bytes:
    """An interlaced (Adam7) PNG, which Pillow reads and doesn't write."""
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    rows = b""
    for x, y, across, down in (*passes, (0, 1, 1, 2)):
        part = pixels[y::down, x::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _run_lengths() -> bytes:
    """A run-length encoded bitmap."""
    palette = bytes(value for n in range(256) for value in (n, n, n, 0))
    rows = b"".join(bytes([48, 6 * row % 256]) + b"\0\0" for row in range(40)) + b"\0\1"
    head = struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(rows), 0, 0, 54 + 1024)
    info = struct.pack("<IiiHHIIiiII", 40, 48, 40, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return head + info + palette + rows


def tiled(image: Image.Image, compression: int) -> bytes:
    """A TIFF in tiles of 16 × 16."""
    grey = np.asarray(image.convert("L"))
    height, width = grey.shape
    padded = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16), np.uint8)
    padded[:height, :width] = grey
    tiles = [
        padded[y : y + 16, x : x + 16].tobytes()
        for y in range(0, padded.shape[0], 16)
        for x in range(0, padded.shape[1], 16)
    ]
    if compression == 8:
        tiles = [zlib.compress(tile) for tile in tiles]
    count = len(tiles)
    start = 8 + 2 + 12 * 10 + 4
    offsets, at = [], start + 8 * count
    for tile in tiles:
        offsets.append(at)
        at += len(tile)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression)]
    tags += [(262, 3, 1, 1), (277, 3, 1, 1), (322, 3, 1, 16), (323, 3, 1, 16)]
    tags += [(324, 4, count, start), (325, 4, count, start + 4 * count)]
    body = struct.pack(f"<{count}I{count}I", *offsets, *map(len, tiles))
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 10) + rows + bytes(4) + body + b"".join(tiles)
