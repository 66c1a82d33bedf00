"""Grey pixels of a JPEG at the scale that a fingerprint needs, without decoding the rest."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from tutela.errors import Reason, Rejected
from tutela.media import jpeg_scan

# libjpeg reports the first oddity that it meets and goes on. Stray bytes before the end marker
# come after the last block: the picture is whole, and cameras and editors do leave such bytes.
# Any other oddity may have cost blocks, and what came after the first is not known.
_HARMLESS = "extraneous bytes before marker 0xd9"
_PREMATURE = "premature end"
_NOT_OURS = ("Unsupported JPEG", "Unsupported color conversion")


def luma(data: bytes, *, detail: int) -> NDArray[np.uint8] | None:
    """The luma plane of a JPEG, uint8 (height, width), as stored: EXIF orientation not applied.

    Reduced by 1/2, 1/4 or 1/8 (each side rounded up) as far as its shorter side stays at
    least `detail` pixels. None where libjpeg can't give the luma plane as it
    is (CMYK, YCCK, RGB, 12 bits, …): decode such a file in full. Raises `Rejected` with
    `TRUNCATED` when the data end before the picture does and `CORRUPT` for anything else that
    libjpeg warns of, save stray bytes between the last block and the end marker and, at 1/8,
    damage within the scans of a progressive file that this scale has no use for. The caller
    bounds the pixels.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        _refuse(error)
        return None
    if space not in ("YCbCr", "Gray"):
        return None
    shorter = min(height, width)
    eighths = next((n for n in (1, 2, 4) if _part(shorter, n) >= detail), 8)
    if eighths == 1 and (scanned := jpeg_scan.means(data)) is not None:
        return scanned
    rows, columns = _part(height, eighths), _part(width, eighths)

    def decode(strict: bool) -> NDArray[np.uint8]:
        plane: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, colorspace="GRAY", min_height=rows, min_width=columns, strict=strict
        )
        return plane[:, :, 0]

    try:
        return decode(strict=True)
    except ValueError as error:
        if _HARMLESS in str(error):
            return decode(strict=False)
        _refuse(error)
        return None


def _part(length: int, eighths: int) -> int:
    """A side reduced to that many eighths, as libjpeg rounds it."""
    return -(-length * eighths // 8)


def _refuse(error: ValueError) -> None:
    """Raise `Rejected` for what libjpeg said, or return when the file is merely not for it."""
    message = str(error)
    if message.startswith(_NOT_OURS):
        return
    if _PREMATURE in message.lower():
        raise Rejected(Reason.TRUNCATED, "the JPEG ends before its picture does") from None
    raise Rejected(Reason.CORRUPT, "the JPEG is damaged: its data do not decode") from None
