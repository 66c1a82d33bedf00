"""Pictures that tests and benchmarks generate: every format and variant, no file committed."""

from __future__ import annotations

import struct

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
