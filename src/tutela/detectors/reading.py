"""Optical character recognition: where lines of text stand in a picture, and what they say.

Two networks of PP-OCRv6 (PaddleOCR, Apache-2.0), whose weights the package `rapidocr` carries. Its
code is not used: nothing here downloads, logs or keeps what is read. Where lines stand is Liao et
al., "Real-time Scene Text Detection with Differentiable Binarization", AAAI 2020; what they say is
connectionist temporal classification, Graves et al., ICML 2006.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela import models
from tutela.detectors import reading_kernels as kernels
from tutela.models import Model

DETECTION: Final = "pp-ocrv6-small-detection"
RECOGNITION: Final = "pp-ocrv6-small-recognition"

GLANCE: Final = 640
"""Longer side, in pixels, at which a picture is asked where it may hold text …"""
SIDE: Final = 960
"""… and at which lines are looked for there."""
HINT: Final = 0.2
"""Likelihood of text from which a glance is followed by a closer look."""
MARGIN: Final = 0.08
"""What is looked at around such a hint, in shares of the picture's longer side."""
TEXT: Final = 0.3
"""Likelihood from which a pixel is text."""
LINE: Final = 0.5
"""Mean likelihood over a line's pixels from which it is one."""
GROWTH: Final = 1.6
"""The network marks the core of a line: it is grown by this, times its area, by its outline."""
HEIGHT: Final = 48
"""Pixels of a line's height as the network reads it, …"""
WIDEST: Final = 1280
"""… and of its width at most: longer lines are squeezed."""
AT_ONCE: Final = 1280
"""Pixels of width that are read in one batch: bounds memory, …"""
IN_ALL: Final = 64_000
"""… and in one picture: bounds time. It is a page of 50 long lines; the largest are read."""
SECONDS: Final = 30.0
"""For one run of a network, waiting included."""
DOUBTFUL: Final = 0.8
"""Certainty below which a line is read upside down too."""

Picture = NDArray[np.uint8]
"""sRGB, (height, width, 3)."""


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """A line of text. Its `repr` does not show what it says."""

    text: str
    certainty: float
    """Mean of the letters' likelihoods, 0–1."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was read in a picture."""

    lines: Sequence[Line] = ()
    """From the top, then the left."""
    unread: int = 0
    """Lines that were left unread, as there are too many."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a line stands: an upright or tilted rectangle, in pixels."""

    x: float
    """Centre."""
    y: float
    angle: float
    """Radians that the line of writing falls to the right."""
    width: float
    height: float


class Reader:
    """Reads pictures. Threads may share it."""

    def __init__(self, detection: Model, recognition: Model, letters: Sequence[str]) -> None:
        self._detection = detection
        self._recognition = recognition
        self._letters = ("", *letters, " ")

    @classmethod
    def load(cls, folder: Path | None = None) -> Reader:
        """With the weights that are installed. Raises `ConfigurationError`."""
        recognition = models.find(RECOGNITION)
        return cls(
            models.load(DETECTION, folder, max_batch=1),
            models.load(recognition, folder, max_batch=8),
            letters(models.read(recognition, folder)),
        )

    def read(self, rgb: Picture) -> Page:
        """The lines of text in a picture. Raises `ModelFailed`."""
        hinted = _hinted(self._likelihood(rgb, GLANCE), rgb)
        if hinted is None:
            return Page()
        chances = self._likelihood(hinted, SIDE)
        found = boxes(chances)
        scale_y, scale_x = np.array(hinted.shape[:2]) / chances.shape
        read = [_scaled(found[place], scale_x, scale_y) for place in _affordable(found)]
        picture = Image.fromarray(hinted)
        crops = [_crop(picture, box) for box in read]
        lines = self._recognise(crops)
        doubtful = [place for place, line in enumerate(lines) if line.certainty < DOUBTFUL]
        turned = self._recognise([crops[place][::-1, ::-1] for place in doubtful])
        for place, line in zip(doubtful, turned, strict=True):
            if line.certainty > lines[place].certainty:
                lines[place] = line
        return Page([line for line in lines if line.text.strip()], len(found) - len(read))

    def _likelihood(self, rgb: Picture, side: int) -> NDArray[np.float32]:
        """How likely each pixel of a reduced picture is the core of a line of text."""
        height, width = rgb.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = tuple(max(32, round(length * scale / 32) * 32) for length in (width, height))
        small = Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        rows = _input(np.asarray(small))[None]
        chances: NDArray[np.float32] = self._detection.run(rows, timeout=SECONDS)[0, 0]
        return chances

    def _recognise(self, crops: Sequence[Picture]) -> list[Line]:
        """What each line says, in their order; the widths in one batch are alike."""
        lines = [Line("", 0.0)] * len(crops)
        for batch in _batches([crop.shape[1] for crop in crops]):
            widest = max(crops[place].shape[1] for place in batch)
            rows = np.zeros((len(batch), 3, HEIGHT, -(-widest // 32) * 32), np.float32)
            for row, place in zip(rows, batch, strict=True):
                row[:, :, : crops[place].shape[1]] = _input(crops[place])
            said = self._recognition.run(rows, timeout=SECONDS)
            for place, chances in zip(batch, said, strict=True):
                lines[place] = self._decode(chances)
        return lines

    def _decode(self, chances: NDArray[np.float32]) -> Line:
        """The likeliest letter of each step, repeated ones and blanks left out."""
        best = chances.argmax(axis=1)
        new = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
        if not new.any():
            return Line("", 0.0)
        certainty = float(chances.max(axis=1)[new].mean())
        return Line("".join(self._letters[letter] for letter in best[new]), certainty)


def _hinted(chances: NDArray[np.float32], rgb: Picture) -> Picture | None:
    """The part of a picture that holds every hint of text; None if there is no hint."""
    found = np.argwhere(chances >= HINT)
    if not len(found):
        return None
    scale = np.array(rgb.shape[:2]) / chances.shape
    margin = MARGIN * max(rgb.shape)
    top, left = np.maximum(0, found.min(axis=0) * scale - margin).astype(int)
    bottom, right = ((found.max(axis=0) + 1) * scale + margin).astype(int)
    return rgb[top:bottom, left:right]


def letters(data: bytes) -> list[str]:
    """The letters that a recognition model tells apart, from its metadata."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    known: str = session.get_modelmeta().custom_metadata_map["character"]
    return known.splitlines()


def boxes(chances: NDArray[np.float32]) -> list[Box]:
    """Where lines stand in a map of likelihoods (height, width), from the top, then the left.

    The spots above `TEXT` whose mean is above `LINE`, as the rectangles along their longer axis
    that hold them, grown from the core of the writing to all of it.
    """
    labels, count = kernels.spots(np.ascontiguousarray(chances > TEXT))
    sums = kernels.moments(labels, np.asarray(chances, np.float32), count)
    kept = [spot for spot in range(count) if sums[spot, 0] >= 6]
    kept = [spot for spot in kept if sums[spot, 6] >= LINE * sums[spot, 0]]
    angles = np.zeros(count)
    for spot in kept:
        angles[spot] = _angle(sums[spot])
    extents = kernels.extents(labels, angles)
    found = [_box(angles[spot], extents[spot]) for spot in kept]
    rows = max(1.0, float(np.median([box.height for box in found]))) if found else 1.0
    return sorted(found, key=lambda box: (round(box.y / rows), box.x))


def _angle(sums: NDArray[np.float64]) -> float:
    """The direction of a spot's longer axis; 0 of one that has none to speak of."""
    size, x, y = sums[0], sums[1] / sums[0], sums[2] / sums[0]
    xx, yy, xy = sums[3] / size - x * x, sums[4] / size - y * y, sums[5] / size - x * y
    long = np.hypot(xx - yy, 2 * xy)
    if long < 0.5 * (xx + yy):
        return 0.0
    return float(0.5 * np.arctan2(2 * xy, xx - yy))


def _box(angle: float, extent: NDArray[np.float64]) -> Box:
    left, right, top, bottom = extent
    width, height = right - left + 1, bottom - top + 1
    grown = width * height * GROWTH / (2 * (width + height))
    along, across = (left + right) / 2 + 0.5, (top + bottom) / 2 + 0.5
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = along * cosine - across * sine, along * sine + across * cosine
    tall = height + 2 * grown
    # Half a letter more, as the core may begin within the first one.
    return Box(float(x), float(y), angle, float(width + 2 * grown + tall / 2), float(tall))


def _scaled(box: Box, x: float, y: float) -> Box:
    """The box in a picture of another size, whose sides may have been scaled a little apart."""
    across = (x + y) / 2
    return Box(box.x * x, box.y * y, box.angle, box.width * across, box.height * across)


def _crop(picture: Image.Image, box: Box) -> Picture:
    """The line, made level and of the size to be read; one that runs downwards is turned."""
    width, height = max(1, round(box.width)), max(1, round(box.height))
    cosine, sine = np.cos(box.angle), np.sin(box.angle)
    left = box.x - cosine * box.width / 2 + sine * box.height / 2
    top = box.y - sine * box.width / 2 - cosine * box.height / 2
    level = picture.transform(
        (width, height),
        Image.Transform.AFFINE,
        (cosine, -sine, left, sine, cosine, top),
        Image.Resampling.BILINEAR,
    )
    if _runs_down(box):
        level = level.transpose(Image.Transpose.ROTATE_90)
    return np.asarray(level.resize((_reading_width(box), HEIGHT), Image.Resampling.BILINEAR))


def _runs_down(box: Box) -> bool:
    return box.height > 1.5 * box.width


def _reading_width(box: Box) -> int:
    """Pixels of width at which a line is read."""
    long, short = (box.height, box.width) if _runs_down(box) else (box.width, box.height)
    return min(WIDEST, max(16, round(long * HEIGHT / short)))


def _affordable(found: Sequence[Box]) -> list[int]:
    """Places of the largest lines that `IN_ALL` allows, in order."""
    places = sorted(range(len(found)), key=lambda place: -found[place].height)
    spent = np.cumsum([_reading_width(found[place]) for place in places])
    return sorted(places[: int((spent <= IN_ALL).sum())])


def _batches(widths: Sequence[int]) -> Iterator[list[int]]:
    """Places of lines of like width, at most `AT_ONCE` pixels of width together."""
    batch: list[int] = []
    for place in sorted(range(len(widths)), key=lambda place: widths[place]):
        if batch and (len(batch) + 1) * widths[place] > AT_ONCE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _input(rgb: Picture) -> NDArray[Any]:
    """A picture as both networks see it: BGR from -1 to 1, (3, height, width)."""
    return np.asarray(rgb[:, :, ::-1].transpose(2, 0, 1) / 127.5 - 1, np.float32)
