"""Tutela's own watermark, which guarded models leave in what they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tutela.detectors.provenance.evidence import EDITED, GENERATED, Evidence
from tutela.errors import Rejected
from tutela.guard import watermark
from tutela.media import Limits, Media, decode
from tutela.media.sniff import sniff

SURE: Final = 0.999
"""Likelihood of a watermark by a key of one's own. The public one counts as anything unsigned: by
chance it is found once in 10⁹ pictures, but anybody can put it into a real photo."""
PICTURES: Final = frozenset({"avif", "bmp", "heif", "jpeg", "png", "tiff", "webp"})


def look(data: bytes, media: Media | None, keys: Sequence[bytes]) -> list[Evidence]:
    """Evidence of the watermark in a still picture.

    What can't be decoded holds none that could be read; the content is held for that.
    """
    try:
        if media is None and sniff(data) in PICTURES:
            media = decode(data, Limits(), detail=watermark.SIDE)
    except Rejected:
        return []
    if media is None or media.format not in PICTURES or media.frame_count != 1:
        return []
    mark = watermark.detect(media.frames[0].luma, keys)
    if mark is None:
        return []
    whose = "Tutela" if mark.key == 0 else "Tutela, key of your own"
    how = ["mirrored"] if mark.mirrored else []
    if mark.kept < 0.97:
        how.append(f"{mark.kept:.0%} of the shorter side is left")
    elif mark.kept > 1.03:
        how.append("within a larger picture")
    detail = f"watermark of {whose}, in the pixels" + ": " * bool(how) + ", ".join(how)
    claim = EDITED if mark.edited else GENERATED
    return [Evidence(detail, claim, likelihood=SURE if mark.key else None)]
