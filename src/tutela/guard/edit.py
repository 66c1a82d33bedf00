"""Edit: what a request would do to a person who is shown, by prompt, pictures and mask together.

The prompt says how likely the request is meant to sexualise somebody. Each thing that the pictures
add multiplies those odds: a person is shown, may be a minor, is undressed already, and the mask
lies over the body below a face. The factors only ever raise them: that no face was found proves
nothing. docs/design/edits.md tells how they were chosen. Faces are found, looked at and forgotten
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela.detectors.faces import Face, finder
from tutela.detectors.minor import UNKNOWN
from tutela.findings import EDIT, INTENTS, MINOR, Finding, shows_nudity
from tutela.media.views import View

if TYPE_CHECKING:
    from tutela.guard.gate import Part

MASK: Final = "mask"
"""The name of the part that says where to repaint."""
SOURCE: Final = "edit"
VERSION: Final = "1"
LEAST: Final = 0.004
"""What a prompt that says nothing is suspected of."""
PERSON: Final = 4.0
"""By how much the odds rise where a person is shown, …"""
MAY_BE_MINOR: Final = 3.0
"""… who is not clearly an adult, …"""
UNDRESSED: Final = 8.0
"""… who is undressed already, …"""
OVER_BODY: Final = 4.0
"""… and where the mask lies over a body."""

SURE: Final = 0.7
"""Score from which a face says that a person is shown, …"""
SKIN: Final = 0.2
"""… and the share of the picture that has the colour of skin, from which there may be one."""
COVERED: Final = 0.15
"""Share of a body that the mask covers, from which it lies over it."""
MARKED: Final = 0.5
"""Share of white, or of transparency, from which a pixel of a mask is to be repainted."""
PLAIN: Final = 0.98
"""Share of a mask's pixels that are black, white or clear, from which it can hold no picture."""
BLACK: Final = "black"
WHITE: Final = "white"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the pictures of a request show. Nothing of it tells one person from another."""

    person: bool = False
    minor: bool = False
    """Whether that person is not clearly an adult."""
    undressed: bool = False
    masked: bool = False
    """Whether the mask lies over a body."""


class Together:
    """Judges the parts of requests together. Threads may share it.

    `models` is the folder of models that were pulled. Raises `ConfigurationError`.
    """

    def __init__(self, models: Path | None) -> None:
        self._faces = finder(models)

    def __call__(self, parts: Sequence[Part]) -> list[Finding]:
        """One finding where pictures go in; none where there are none."""
        pictures = [part for part in parts if part.content.data is not None]
        if not pictures:
            return []
        shown = self.look(pictures)
        asked = max(
            (
                finding.likelihood or 0.0
                for part in parts
                for finding in part.findings
                if finding.kind in INTENTS
            ),
            default=0.0,
        )
        told = [
            text
            for holds, text in (
                (shown.person, "a person is shown"),
                (shown.minor, "who may be a minor"),
                (shown.undressed, "undressed"),
                (shown.masked, "with the mask over the body"),
            )
            if holds
        ]
        likely = risk(asked, shown)
        detail = ", ".join(told)
        return [Finding(EDIT, SOURCE, VERSION, likelihood=round(likely, 4), detail=detail)]

    def look(self, pictures: Sequence[Part]) -> Shown:
        """What the pictures and the mask of a request show."""
        found = [finding for part in pictures for finding in part.findings]
        # One that can't be decoded marks nothing: the request is held for that.
        masks = [part.examination.views for part in pictures if part.name == MASK]
        mask = marked(masks[0]) if masks and masks[0] else None
        person = masked = False
        for part in pictures:
            if part.name == MASK and plain(part.examination.views):
                continue
            for view in part.examination.views:
                faces = [face for face in self._faces(view.rgb) if face.score >= SURE]
                bare = skin(view.rgb)
                person = person or bool(faces) or float(bare.mean()) >= SKIN
                masked = masked or (mask is not None and _over_body(mask, view, faces, bare))
        person = person or masked
        return Shown(
            person=person,
            minor=person and _may_be_minor(found),
            undressed=shows_nudity(found),
            masked=masked,
        )


def risk(asked: float, shown: Shown) -> float:
    """The likelihood that a request sexualises somebody: that of its prompt, by odds, times a
    factor for each thing shown. 0 to 1; rises with each of them."""
    asked = min(max(asked, LEAST), 1 - 1e-6)
    odds = asked / (1 - asked)
    for holds, factor in (
        (shown.person, PERSON),
        (shown.minor, MAY_BE_MINOR),
        (shown.undressed, UNDRESSED),
        (shown.masked, OVER_BODY),
    ):
        odds *= factor if holds else 1.0
    return odds / (1 + odds)


def marked(views: Sequence[View]) -> NDArray[np.bool_]:
    """Which pixels a mask says to repaint, (height, width): the clear ones, where any are; else the
    white ones. A picture with clear parts is seen on black and on white, which tells how clear."""
    ground = {view.part.rsplit(" ", 1)[-1]: view.rgb for view in views}
    if BLACK in ground and WHITE in ground:
        # What differs between the two grounds is what shines through.
        clear = ground[WHITE].astype(np.int16) - ground[BLACK]
        return np.asarray(clear.mean(axis=2) / 255 >= MARKED)
    return np.asarray(views[0].rgb.mean(axis=2) / 255 >= MARKED)


def plain(views: Sequence[View]) -> bool:
    """Whether a mask is black, white and clear alone: then it shows nothing of its own."""
    return all(
        np.count_nonzero((view.rgb >= 247) | (view.rgb <= 8)) >= PLAIN * view.rgb.size
        for view in views
    )


def skin(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels have the colour of skin, of any complexion: Cb 77 to 127, Cr 133 to 173 (Chai
    and Ngan, 1999). Wood and sand have it too: it may raise a risk, never lower one."""
    _, blue, red = np.moveaxis(np.asarray(Image.fromarray(rgb).convert("YCbCr")), 2, 0)
    return np.asarray((blue >= 77) & (blue <= 127) & (red >= 133) & (red <= 173))


def _over_body(
    mask: NDArray[np.bool_], view: View, faces: Sequence[Face], bare: NDArray[np.bool_]
) -> bool:
    """Whether the mask covers enough of a body; where no face is found, of skin."""
    fitted = Image.fromarray(mask.astype(np.uint8)).resize((view.width, view.height))
    here = np.asarray(fitted, bool)
    if not faces:
        return bool(bare.mean() >= SKIN and here[bare].mean() >= COVERED)
    return any(
        float(here[body].mean()) >= COVERED for body in _bodies(view, faces) if here[body].size
    )


def _bodies(view: View, faces: Sequence[Face]) -> Iterator[tuple[slice, slice]]:
    """Where the body below each face lies, by its proportions: three faces wide, five tall."""
    for face in faces:
        left, _, right, bottom = face.box
        middle, wide = (left + right) / 2, 1.5 * (right - left)
        yield (
            slice(*_within(bottom, bottom + 5 * face.height, view.height)),
            slice(*_within(middle - wide, middle + wide, view.width)),
        )


def _within(start: float, end: float, size: int) -> tuple[int, int]:
    return max(0, min(size, round(start))), max(0, min(size, round(end)))


def _may_be_minor(findings: Sequence[Finding]) -> bool:
    return any(one.kind == MINOR and (one.likelihood or 0.0) >= UNKNOWN for one in findings)
