"""What a file declares about itself, read without decoding a pixel.

Each function walks its format's structure in bounded steps and raises `Rejected` where what is
declared could cost too much, or where decoders disagree on what the file shows: a frame that one
of them skips is a frame that could hide content.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tutela.errors import Reason, Rejected

MAX_SCAN = 4096
"""Frames of one file that are decoded in search of distinct ones; beyond it, rejected."""
MAX_CHUNKS = 65_536
"""Chunks, blocks or directory entries of one file."""
MAX_SCANS = 256
"""Scans of a progressive JPEG: each one is a pass over every block of the picture."""
MAX_SCANNED_PIXELS = 3_000_000_000
"""Scans × pixels of a progressive JPEG."""
MAX_RUN_LENGTHS = 8 << 20
"""Bytes, and pixels, of a run-length encoded bitmap."""
MAX_PROFILE = 8 << 20
"""Bytes of a colour profile."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file declares: size in stored orientation, frames, and for JPEG its segments.

    `width` and `height` are 0 where only the decoder can tell.
    """

    width: int = 0
    height: int = 0
    frames: int = 1
    orientation: int = 1
    profile: bytes | None = None
    """ICC profile as found, JPEG only."""
    components: int = 3
    buffered: float = 0.0
    """Samples a pixel that a JPEG in several scans makes its decoder hold; 0 for others."""


def survey(kind: str, data: bytes) -> Survey:
    """Survey a file of the sniffed kind. Raises `Rejected`."""
    try:
        match kind:
            case "jpeg":
                return jpeg(data)
            case "png":
                return png(data)
            case "gif":
                return gif(data)
            case "webp":
                return webp(data)
            case "tiff":
                return tiff(data)
            case "bmp":
                return bmp(data)
            case "heif":
                return heif(data)
    except (IndexError, OverflowError, struct.error) as error:
        raise truncated(kind) from error
    return Survey()


def corrupt(message: str) -> Rejected:
    return Rejected(Reason.CORRUPT, message)


def truncated(kind: str) -> Rejected:
    return Rejected(Reason.TRUNCATED, f"The {kind} file ends early.")


def too_many(what: str, bound: int) -> Rejected:
    return Rejected(Reason.TOO_MANY_FRAMES, f"The file holds more than {bound} {what}.")


def orientation(exif: bytes | None) -> int:
    """EXIF orientation 1–8 of an EXIF block, with or without its `Exif\\0\\0` prefix; 1 if none.

    A damaged block counts as none, as it does for viewers.
    """
    if not exif:
        return 1
    block = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def jpeg(data: bytes) -> Survey:
    """Segments up to the first scan: frame header, EXIF orientation, ICC profile."""
    at, end = 2, len(data)
    width = height = components = 0
    progressive = False
    samples = 0.0
    exif: bytes | None = None
    profile: dict[int, bytes] = {}
    segments = 0
    while True:
        if at + 4 > end:
            raise truncated("jpeg")
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                raise truncated("jpeg")
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00):
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            break
        segments += 1
        if segments > MAX_CHUNKS:
            raise corrupt("The jpeg file has too many segments.")
        length = (data[at + 2] << 8) | data[at + 3]
        if length < 2:
            raise corrupt("A segment of the jpeg file has no length.")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if width:
                raise corrupt("The jpeg file has two frame headers.")
            height, width, components = struct.unpack_from(">xHHB", data, at + 4)
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            factors = [data[at + 11 + 3 * n] for n in range(components)]
            areas = [(factor >> 4) * (factor & 15) for factor in factors]
            samples = sum(areas) / max([1, *areas])
        elif marker == 0xE1 and exif is None and data[at + 4 : at + 10] == b"Exif\0\0":
            exif = data[at + 4 : at + 2 + length]
        elif marker == 0xE2 and data[at + 4 : at + 16] == b"ICC_PROFILE\0" and length > 16:
            profile[data[at + 16]] = data[at + 18 : at + 2 + length]
        at += 2 + length
    if not width or not height:
        raise corrupt("The jpeg file declares no size.")
    if progressive:
        scans = data.count(b"\xff\xda", at)
        if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
            raise Rejected(Reason.TOO_SLOW, f"The progressive jpeg file has {scans} scans.")
    icc = b"".join(profile[number] for number in sorted(profile)) if profile else None
    buffered = samples if progressive or data[at + 4] < components else 0.0
    return Survey(width, height, 1, orientation(exif), icc, components, buffered)


def png(data: bytes) -> Survey:
    """Chunks: the declared size and, for an animated PNG, that its frames add up."""
    if data[12:16] != b"IHDR":
        raise corrupt("The png file does not begin with its header.")
    width, height = struct.unpack_from(">II", data, 16)
    at, end, chunks, controls, declared = 8, len(data), 0, 0, 0
    animated = pixels = closed = lone = False
    while at < end:
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > end:
            raise truncated("png")
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise corrupt("The png file has too many chunks.")
        if kind == b"IDAT":
            pixels = True
            # A picture ahead of the animation is shown by viewers that know no animation.
            lone = lone or not controls
        elif kind == b"fcTL":
            controls += 1
        elif kind == b"acTL" and not pixels:
            if animated:
                raise corrupt("The png file declares its animation twice.")
            animated = True
            (declared,) = struct.unpack_from(">I", data, at + 8)
        elif kind == b"IEND":
            closed = True
            break
        at += 12 + length
    if not pixels or not closed:
        raise truncated("png")
    if not animated:
        return Survey(width, height)
    if controls > MAX_SCAN or declared > MAX_SCAN:
        raise too_many("frames", MAX_SCAN)
    if controls != declared or not declared:
        raise corrupt("The animated png file declares a number of frames that it does not hold.")
    return Survey(width, height, declared + lone)


def gif(data: bytes) -> Survey:
    """Blocks: frames, and the canvas that holds them all."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, end, frames, blocks = 13, len(data), 0, 0
    if flags & 0x80:
        at += 3 << ((flags & 7) + 1)
    while at < end:
        blocks += 1
        if blocks > 4 * MAX_CHUNKS:
            raise corrupt("The gif file has too many blocks.")
        kind = data[at]
        if kind == 0x3B:
            break
        if kind == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, left + wide), max(height, top + high)
            frames += 1
            if frames > MAX_SCAN:
                raise too_many("frames", MAX_SCAN)
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            # Decoders skip a byte that starts no block, and so does this.
            at += 1
            continue
        while at < end and data[at]:
            at += data[at] + 1
        if at >= end:
            raise truncated("gif")
        at += 1
    if not frames:
        raise truncated("gif")
    return Survey(width, height, frames)


def webp(data: bytes) -> Survey:
    """The canvas, whose buffers the decoder allocates as soon as it is opened."""
    kind = bytes(data[12:16])
    if len(data) < 30:
        raise truncated("webp")
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
    else:
        raise corrupt("The webp file begins with no picture.")
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data) + 1:
        raise truncated("webp")
    return Survey(width, height)


def heif(data: bytes) -> Survey:
    """Boxes at the top: a film track besides the pictures would go unseen, so it is refused."""
    at, end, boxes = 0, len(data), 0
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if kind == b"moov":
            raise Rejected(Reason.UNSUPPORTED, "A film track in a heif file is not decoded.")
        boxes += 1
        if boxes > MAX_CHUNKS:
            raise corrupt("The heif file has too many boxes.")
        if size == 0:
            break
        if size < 8:
            raise corrupt("A box of the heif file has no length.")
        if at + size > end:
            raise truncated("heif")
        at += size
    return Survey()


def bmp(data: bytes) -> Survey:
    """The info header. Run lengths are decoded slowly, so there the bytes are bounded."""
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Survey(width, height)
    width, height = struct.unpack_from("<ii", data, 18)
    (compression,) = struct.unpack_from("<I", data, 30)
    width, height = abs(width), abs(height)
    if compression in (1, 2) and max(len(data), width * height) > MAX_RUN_LENGTHS:
        raise Rejected(Reason.TOO_SLOW, f"{width}×{height} pixels of run lengths are too many.")
    return Survey(width, height)


# Compressions that libtiff decodes and that files in circulation use. The others (old-style JPEG,
# ThunderScan, SGI Log, NeXT) are rare, and are where its decoders have failed most often.
_TIFF_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000})
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_SIZES |= {16: 8, 17: 8, 18: 8}


def tiff(data: bytes) -> Survey:
    """The chain of pages: each page's size, compression and number of strips or tiles."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in (data[2], data[3])
    count_format, entry_size, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    (at,) = struct.unpack_from(order + offset_format, data, 8 if big else 4)
    seen: set[int] = set()
    width = height = entries = 0
    while at:
        if at in seen:
            raise corrupt("The pages of the tiff file run in a circle.")
        if len(seen) >= MAX_SCAN:
            raise too_many("pages", MAX_SCAN)
        seen.add(at)
        (count,) = struct.unpack_from(order + count_format, data, at)
        entries += count
        if entries > MAX_CHUNKS:
            raise corrupt("The tiff file has too many tags.")
        at += struct.calcsize("=" + count_format)
        page: dict[int, int] = {}
        told = 0
        for entry in range(at, at + entry_size * count, entry_size):
            tag, kind, values = struct.unpack_from(order + "HH" + offset_format, data, entry)
            told += values * _TIFF_SIZES.get(kind, 0)
            if tag in (273, 324) and values > MAX_CHUNKS:
                raise Rejected(
                    Reason.TOO_MUCH_MEMORY, f"A page of the tiff file has {values} strips or tiles."
                )
            if tag in (256, 257, 259) and kind in (3, 4):
                form = "H" if kind == 3 else "I"
                place = entry + entry_size - struct.calcsize("=" + offset_format)
                (page[tag],) = struct.unpack_from(order + form, data, place)
        if told > len(data) + 8 * count:
            raise corrupt("The tags of the tiff file hold more than the file does.")
        if page.get(259, 1) not in _TIFF_COMPRESSIONS:
            raise Rejected(Reason.UNSUPPORTED, f"The tiff compression {page[259]} is not decoded.")
        if page.get(256, 0) * page.get(257, 0) >= width * height:
            width, height = page.get(256, 0), page.get(257, 0)
        (at,) = struct.unpack_from(order + offset_format, data, at + entry_size * count)
    if not seen:
        raise corrupt("The tiff file has no page.")
    return Survey(width, height, len(seen))
