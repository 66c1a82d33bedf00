"""A picture for the reviewer: what of a protected photo survives in content, and what changed.

The content is shown small and grey, as the sandbox gave it. What survives is tinted and what
changed is hatched, so that it can be told without colour too; `describe` says it in words.
"""

from __future__ import annotations

from PIL import Image, ImageDraw

from tutela.findings import Finding
from tutela.media.views import View

SURVIVES, CHANGED = "1", "2"
TINT, HATCH, EDGE = (60, 170, 90, 90), (215, 60, 40, 230), (255, 255, 255, 255)
STEP = 6
"""Pixels between the lines of the hatching."""
THIRDS = (
    *("top left", "top", "top right", "left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)

_TURN = Image.Transpose
_TURNS = {
    "mirrored": (_TURN.FLIP_LEFT_RIGHT, _TURN.FLIP_LEFT_RIGHT),
    "flipped": (_TURN.FLIP_TOP_BOTTOM, _TURN.FLIP_TOP_BOTTOM),
    "rotated 180": (_TURN.ROTATE_180, _TURN.ROTATE_180),
    "transposed": (_TURN.TRANSPOSE, _TURN.TRANSPOSE),
    "transversed": (_TURN.TRANSVERSE, _TURN.TRANSVERSE),
    # Ours are clockwise, the library's are not.
    "rotated 90": (_TURN.ROTATE_270, _TURN.ROTATE_90),
    "rotated 270": (_TURN.ROTATE_90, _TURN.ROTATE_270),
}
"""By variant: how the content was turned before it was compared, and back."""


def draw(content: View, finding: Finding) -> Image.Image:
    """The content in grey, with what the derivative says of it drawn over it."""
    picture = Image.fromarray(content.rgb).convert("L").convert("RGBA")
    there, back = _TURNS.get(finding.variant, (None, None))
    if there is not None:
        picture = picture.transpose(there)
    drawn = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(drawn)
    left, top, right, bottom = place(finding, *picture.size)
    rows = finding.mask.split("/")
    hatched = Image.new("1", picture.size)
    stencil = ImageDraw.Draw(hatched)
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            cell = (
                left + (right - left) * x / len(row),
                top + (bottom - top) * y / len(rows),
                left + (right - left) * (x + 1) / len(row) - 1,
                top + (bottom - top) * (y + 1) / len(rows) - 1,
            )
            if cell[2] < cell[0] or cell[3] < cell[1]:
                continue
            if letter == SURVIVES:
                pen.rectangle(cell, TINT)
            elif letter == CHANGED:
                stencil.rectangle(cell, 1)
    drawn.paste(_hatching(picture.size), mask=hatched)
    corner = max(left, right - 1), max(top, bottom - 1)
    pen.rectangle((left, top, *corner), outline=EDGE, width=2)
    done = Image.alpha_composite(picture, drawn).convert("RGB")
    return done if back is None else done.transpose(back)


def place(finding: Finding, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the protected photo in content of that many pixels."""
    longer = max(width, height)
    left, top, right, bottom = finding.place() or (0.0, 0.0, 0.0, 0.0)
    return left * longer, top * longer, right * longer, bottom * longer


def describe(finding: Finding) -> str:
    """What the picture shows, in a sentence or two."""
    overlap = "" if finding.overlap is None else f"{finding.overlap:.0%} of "
    text = f"Shows {overlap}protected photo {finding.entry} of {finding.bank}"
    text += f", {finding.variant}." if finding.variant else "."
    regions = changed_regions(finding.mask)
    if regions:
        return f"{text} Changed: {', '.join(regions)}."
    return f"{text} No part of it is seen to be changed."


def changed_regions(mask: str) -> list[str]:
    """Which ninths of the photo are mostly changed, as far as can be told."""
    rows = mask.split("/")
    counts = [[0, 0] for _ in THIRDS]
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            if letter in (SURVIVES, CHANGED):
                ninth = 3 * y // len(rows) * 3 + 3 * x // len(row)
                counts[ninth][letter == CHANGED] += 1
    return [
        name for name, (survive, change) in zip(THIRDS, counts, strict=True) if change > survive
    ]


def _hatching(size: tuple[int, int]) -> Image.Image:
    width, height = size
    lines = Image.new("RGBA", size)
    pen = ImageDraw.Draw(lines)
    for start in range(-height, width, STEP):
        pen.line((start, height, start + height, 0), HATCH, 2)
    return lines
