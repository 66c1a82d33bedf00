"""A picture for the reviewer: where content does not share the past of the rest.

The content is shown small and grey with the map of a `forensics` finding over it: the unlikelier a
cell, the denser the hatching, so that it can be told without colour; `describe` says it in words.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from tutela.findings import Finding
from tutela.media.views import View
from tutela.outline import THIRDS

CLEAR = 4
"""The digit from which a cell stands out."""
STEPS = (12, 9, 7, 5, 4, 3)
"""Pixels between the lines of the hatching, by how far a cell stands out."""
HATCH, EDGE = (215, 60, 40, 230), (255, 255, 255, 255)


def draw(content: View, finding: Finding) -> Image.Image:
    """The content, RGB, grey but for the hatching of the finding's `heat`."""
    picture = Image.fromarray(content.rgb).convert("L").convert("RGBA")
    rows = finding.heat.split("/")
    hatching = np.zeros((picture.height, picture.width), bool)
    edges = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(edges)
    diagonal = np.add.outer(np.arange(picture.height), np.arange(picture.width))
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            if not letter.isdigit() or int(letter) < CLEAR:
                continue
            top, bottom = (picture.height * n // len(rows) for n in (y, y + 1))
            left, right = (picture.width * n // len(row) for n in (x, x + 1))
            step = STEPS[int(letter) - CLEAR]
            hatching[top:bottom, left:right] = diagonal[top:bottom, left:right] % step == 0
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=EDGE)
    drawn = np.zeros((*hatching.shape, 4), np.uint8)
    drawn[hatching] = HATCH
    picture = Image.alpha_composite(picture, Image.fromarray(drawn))
    return Image.alpha_composite(picture, edges).convert("RGB")


def describe(finding: Finding) -> str:
    """What the picture shows, in a sentence or two."""
    regions = places(finding.heat)
    if not regions:
        return "No region stands out."
    return (
        f"Stands out: {', '.join(regions)}. What was written on a photo or pasted into it stands "
        "out as well."
    )


def places(heat: str) -> list[str]:
    """Which ninths of the picture hold the middle of a cell that stands out."""
    rows = heat.split("/")
    seen = {
        3 * (2 * y + 1) // (2 * len(rows)) * 3 + 3 * (2 * x + 1) // (2 * len(row))
        for y, row in enumerate(rows)
        for x, letter in enumerate(row)
        if letter.isdigit() and int(letter) >= CLEAR
    }
    return [name for place, name in enumerate(THIRDS) if place in seen]
