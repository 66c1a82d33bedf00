"""Marks that common pipelines hide in the pixels, read from the top rows of a picture.

The watermark is the one of `invisible-watermark` in its way `dwtDct`, as Stable Diffusion's and
FLUX's reference code and diffusers embed it: in 4 × 4 blocks of the once halved colour difference
B − Y one value each is moved to a quarter or to three quarters of a step of 36, for a bit of a
message that repeats block by block. The messages are public and fixed. So they are not decoded
but looked for: how near the blocks are to what each message would have made of them, as a
correlation over its bits. docs/design/provenance.md tells what that finds which a decoder misses.

The other mark is "stealth pnginfo": text in the lowest bits of the pixels, column by column, as
NovelAI writes it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.detectors.provenance.evidence import GENERATED, Evidence
from tutela.detectors.provenance.metadata import MAX_STEPS, MAX_TEXT

LOOK: Final = 131_072
"""Pixels from the top that are decoded in search of a mark: 2,048 blocks, each a vote."""
COLUMN: Final = 120
"""Rows of the first column that hold the name of a stealth mark in the alpha channel."""
MAX_WIDTH: Final = 4096
MAX_PIXELS: Final = 16_000_000
"""Pixels of a picture that is decoded as a whole, once a stealth mark was seen in it."""
STEP: Final = 36.0
GENTLE: Final = 4
"""Quantisation of a JPEG's mean colour up to which the watermark can have survived."""
SURE: Final = 0.999
"""Likelihood of a watermark that was found. By chance it is found once in 10⁸ pictures."""


def _bits(number: int) -> NDArray[np.float64]:
    # As Python writes it: leading zeros of the message are never embedded.
    return np.array([float(digit) for digit in f"{number:b}"])


def _letters(text: bytes) -> NDArray[np.float64]:
    return np.unpackbits(np.frombuffer(text, np.uint8)).astype(np.float64)


MESSAGES: Final = (
    ("Stable Diffusion 1", _letters(b"StableDiffusionV1"), 0.50),
    ("Stable Diffusion 2", _letters(b"SDV2"), 0.84),
    ("Stable Diffusion XL", _bits(0xB3EC907BB19E), 0.75),
    ("FLUX", _bits(0x2AFE879CF52E), 0.76),
)
"""Name, bits and the correlation from which a message counts as there: by chance once in 10⁹
trials, if the votes of an unmarked picture are independent of a fixed message's bits."""
TRIALS: Final = ((False, (256.0, 1.0)), (True, (1.0,)))
"""Whether red stands for blue, and levels of grey: embedded in whole numbers or in fractions, and
in fractions with the colours in the wrong order, as older diffusers did."""


def look(data: bytes) -> tuple[list[Evidence], str]:
    """Evidence of watermarks, and the text of a stealth mark, `""` without one.

    PNG of 8-bit colour, and JPEG of high quality; others can't carry either, or are too costly to
    look into. What can't be decoded holds no mark that could be read.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        pixels = _top_of_png(data)
        if pixels is None:
            return [], ""
        return watermarks(pixels), _stealth(data, pixels)
    if data[:3] == b"\xff\xd8\xff":
        pixels = _top_of_jpeg(data)
        return ([] if pixels is None else watermarks(pixels)), ""
    return [], ""


def watermarks(pixels: NDArray[np.uint8]) -> list[Evidence]:
    """Watermarks in the top rows of a picture, uint8 (rows, width, 3 or 4)."""
    if pixels.shape[1] < 256 or pixels.shape[1] % 8:
        # Pipelines make pictures whose sides are multiples of 8; of a crop nothing is left.
        return []
    found: dict[str, float] = {}
    low = halved(pixels)
    for swapped, levels in TRIALS:
        cut = blocks(low, swapped=swapped)
        for weights in (votes(cut, grey) for grey in levels):
            for name, message, least in MESSAGES:
                if (fit := correlation(weights, message)) >= least:
                    found[name] = max(fit, found.get(name, 0.0))
    return [
        Evidence(
            f"watermark of {name}, in the pixels: fits {fit:.2f} of 1", GENERATED, likelihood=SURE
        )
        for name, fit in found.items()
    ]


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Haar's low band of each colour: twice the mean of 2 × 2 pixels, (3, rows, columns)."""
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    planes = pixels[:height, :width, :3].transpose(2, 0, 1).astype(np.float32)
    rows = planes[:, ::2] + planes[:, 1::2]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) / 2, np.float32)


def blocks(low: NDArray[np.float32], *, swapped: bool) -> NDArray[np.float32]:
    """The colour difference U = 0.492 (B − Y) in blocks of 4 × 4, (16, n): a block is a column."""
    red, green, blue = low[::-1] if swapped else low
    difference = 0.492 * (0.886 * blue - 0.299 * red - 0.587 * green)
    down, across = (side // 4 for side in difference.shape)
    cut = difference.reshape(down, 4, across, 4).transpose(1, 3, 0, 2)
    return np.asarray(cut.reshape(16, down * across), np.float32)


def votes(cut: NDArray[np.float32], grey: float) -> NDArray[np.float32]:
    """For each block how much nearer one of its values is to the place of a 1 than of a 0: −1 to 1.

    The first value of a block is never used.
    """
    steps = np.abs(cut[1:] + np.float32(grey)) / np.float32(STEP)
    steps -= np.floor(steps)
    one = np.abs(steps - np.float32(0.75)).min(axis=0)
    zero = np.abs(steps - np.float32(0.25)).min(axis=0)
    return np.asarray(2 * (zero - one), np.float32)


def correlation(weights: NDArray[np.float32], message: NDArray[np.float64]) -> float:
    """Pearson's correlation of a message's bits with the votes summed by bit; 0 if undefined."""
    length = len(message)
    whole = len(weights) // length * length
    if whole < 4 * length:
        return 0.0
    sums = weights[:whole].reshape(-1, length).sum(axis=0, dtype=np.float64)
    sums -= sums.mean()
    bits = message - message.mean()
    scale = float(np.sqrt((sums @ sums) * (bits @ bits)))
    return float(sums @ bits) / scale if scale > 0 else 0.0


_MAGIC: Final = {
    b"stealth_pnginfo": (True, False),
    b"stealth_pngcomp": (True, True),
    b"stealth_rgbinfo": (False, False),
    b"stealth_rgbcomp": (False, True),
}
"""Whether the text is in the alpha channel, and whether it is compressed."""
_MAGIC_BYTES: Final = 15


def _stealth(data: bytes, top: NDArray[np.uint8]) -> str:
    """The text hidden in the lowest bits of a PNG; `""` if there is none."""
    for in_alpha in (True, False) if top.shape[2] == 4 else (False,):
        column = _hidden(top[:, :1], in_alpha)
        if (magic := column[:_MAGIC_BYTES]) not in _MAGIC or _MAGIC[magic][0] is not in_alpha:
            continue
        width, height = struct.unpack_from(">II", data, 16)
        whole = _top_of_png(data, height) if width * height <= MAX_PIXELS else None
        if whole is None:
            return ""
        head = _MAGIC_BYTES + 4
        wide = min(whole.shape[1], 2 * MAX_TEXT // height + 1)
        hidden = _hidden(whole[:, :wide], in_alpha)
        size = int.from_bytes(hidden[_MAGIC_BYTES:head], "big") // 8
        text = hidden[head : head + min(size, MAX_TEXT)]
        if _MAGIC[magic][1]:
            try:
                text = zlib.decompressobj(31).decompress(text, MAX_TEXT)
            except zlib.error:
                text = b""
        return text.decode("utf-8", "replace") or "{}"
    return ""


def _hidden(pixels: NDArray[np.uint8], in_alpha: bool) -> bytes:
    """Lowest bits as bytes, column by column; of red, green and blue or of alpha."""
    channels = pixels[..., 3:] if in_alpha else pixels[..., :3]
    return np.packbits(channels.transpose(1, 0, 2).reshape(-1) & 1).tobytes()


def _top_of_png(data: bytes, rows: int = 0) -> NDArray[np.uint8] | None:
    """The top rows of a PNG of 8-bit colour, (rows, width, 3 or 4); None for others.

    0 rows: as many as a search takes.

    The decoder gets a PNG of that many rows with the same beginning of the same pixels, so that no
    more is inflated, and none of the other chunks.
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or colour not in (2, 6) or interlaced or not 0 < width <= MAX_WIDTH:
        return None
    height = min(height, rows or max(_enough(width), COLUMN if colour == 6 else 0))
    needed = height * (1 + width * 4)
    parts: list[bytes] = []
    at, size = 33, 0
    for _ in range(MAX_STEPS):
        if at + 8 > len(data) or size > needed + (needed >> 6) + 4096:
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
            size += len(parts[-1])
        elif kind == b"IEND":
            break
        at += 12 + length
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", b"".join(parts)), (b"IEND", b"")]
    return _pixels(data[:8] + b"".join(_chunk(kind, body) for kind, body in chunks))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _top_of_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """The top rows of a baseline JPEG of high quality whose width is a multiple of 8."""
    kept = [data[:2]]
    high = False
    for marker, start, end in _segments(data):
        body = data[start:end]
        if marker == 0xDB:
            # Of the second table, the first number: the mean of the colours.
            tables = [body[at : at + 65] for at in range(4, len(body) - 64, 65)]
            high |= any(table[0] == 1 and table[1] <= GENTLE for table in tables)
        elif marker in (0xC0, 0xC1):
            depth, height, width, channels = struct.unpack_from(">BHHB", body, 4)
            if depth != 8 or channels != 3 or width % 8 or height % 8 or not width <= MAX_WIDTH:
                return None
            body = body[:5] + struct.pack(">H", min(height, 2 * _enough(width))) + body[7:]
        elif marker == 0xDA:
            if not high or len(kept) < 4:
                return None
            kept.append(data[start:])
            return _pixels(b"".join(kept))
        elif marker not in (0xC4, 0xDD, 0xEE):
            if 0xC2 <= marker <= 0xCF:
                return None
            continue
        kept.append(body)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the segments of a JPEG, up to the first scan."""
    at = 2
    for _ in range(MAX_STEPS):
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at, end
        at = end


def _enough(width: int) -> int:
    return -(-LOOK // width // 8) * 8


def _pixels(file: bytes) -> NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(file)) as picture:
            return np.asarray(picture) if picture.mode in ("RGB", "RGBA") else None
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        # Damaged: the decoder of the content says so, and the content is held for it.
        return None
