"""Where faces are in a picture. For use inside a detector: nothing of it is recorded.

A place and four points, to cut a face out upright; no template, nothing that tells one person from
another. Two models can do it: BlazeFace, which comes with Tutela, and YuNet, which finds smaller
faces, where it was pulled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela import models
from tutela.errors import ModelDamaged
from tutela.models import Model
from tutela.models.runtime import onnx

SAME: Final = 0.3
"""Share of two boxes together that both cover, from which they are one face."""
YUNET: Final = "yunet"
YUNET_LEAST: Final = 0.4
"""Score from which there may be a face."""
BLAZEFACE: Final = "blazeface"
BLAZEFACE_LEAST: Final = 0.6
"""The same: it sees more in ordinary things."""
BLAZEFACE_SHA256: Final = "1a07facd7a7ff43f68d9962cc5c2326499cf52662c21a6712407bc44fdcf1dc3"

_SIDE: Final = 256
"""Pixels of BlazeFace's input."""
_TILE: Final = 0.5625
"""Side of a tile, in shares of the picture's longer side: two overlap by an eighth of it."""
_YUNET_SIDE: Final = 640
_STRIDES: Final = (8, 16, 32)
"""Pixels between the places that YuNet tells of."""


@dataclass(frozen=True, slots=True)
class Face:
    """A place in a picture that looks like a face."""

    score: float
    """0 to 1, as the model gives it."""
    box: NDArray[np.float64]
    """Left, top, right, bottom in pixels. Parts may lie outside the picture."""
    points: NDArray[np.float64]
    """(4, 2), x and y in pixels: the eyes, the one that is left in the picture first, the tip of
    the nose, the mouth."""

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])


Finder = Callable[[NDArray[np.uint8]], list[Face]]
"""Finds what may be faces in an sRGB picture, (height, width, 3), the surest first."""


def finder(folder: Path | None) -> Finder:
    """The better of the models that are here. Raises `ConfigurationError` for one that is damaged.

    `folder` is the folder of models that were pulled.
    """
    card = models.find(YUNET)
    if models.state(card, folder) is models.State.MISSING:
        blazeface = _blazeface()
        return lambda rgb: by_blazeface(blazeface, rgb)
    yunet = models.load(card, folder)
    return lambda rgb: by_yunet(yunet, rgb)


def by_yunet(model: Model, rgb: NDArray[np.uint8]) -> list[Face]:
    """As YuNet sees it, at 640 pixels at most. Its card describes its outputs; decoded as its
    authors do."""
    scale = max(1.0, max(rgb.shape[:2]) / _YUNET_SIDE)
    if scale > 1:
        size = max(1, round(rgb.shape[1] / scale)), max(1, round(rgb.shape[0] / scale))
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    height, width = rgb.shape[:2]
    rows = np.zeros((1, 3, _up(height), _up(width)), np.float32)
    rows[0, :, :height, :width] = rgb[:, :, ::-1].transpose(2, 0, 1)
    outputs = [output[0] for output in model.run(rows)]
    scores, boxes, points = [], [], []
    for level, stride in enumerate(_STRIDES):
        named, there, box, five = outputs[level::3]
        score = np.sqrt(named[:, 0].clip(0, 1) * there[:, 0].clip(0, 1))
        kept = np.flatnonzero(score >= YUNET_LEAST)
        place = np.stack(np.divmod(kept, rows.shape[3] // stride)[::-1], 1)
        middle, half = (place + box[kept, :2]) * stride, np.exp(box[kept, 2:]) * stride / 2
        at = (place[:, None] + five[kept].reshape(-1, 5, 2)) * stride
        scores.append(score[kept])
        boxes.append(np.concatenate([middle - half, middle + half], 1))
        points.append(np.concatenate([at[:, :3], at[:, 3:].mean(1, keepdims=True)], 1))
    return _distinct(
        np.concatenate(scores), np.concatenate(boxes) * scale, np.concatenate(points) * scale
    )


def by_blazeface(model: Model, rgb: NDArray[np.uint8]) -> list[Face]:
    """As BlazeFace sees the whole picture and four parts of it that overlap: in the whole alone it
    would miss small faces. Decoded as its authors do."""
    height, width = rgb.shape[:2]
    parts = [(0, 0, width, height)]
    side = round(max(height, width) * _TILE)
    if side > _SIDE / 2:
        parts += [
            (left, top, min(width, left + side), min(height, top + side))
            for top in sorted({0, max(0, height - side)})
            for left in sorted({0, max(0, width - side)})
        ]
    boxes, logits = model.run(np.stack([_square(rgb, part) for part in parts]))
    scores: list[NDArray[Any]] = []
    places: list[NDArray[Any]] = []
    for part, box, logit in zip(parts, boxes, logits, strict=True):
        score = 1 / (1 + np.exp(-logit[:, 0].clip(-80, 80).astype(np.float64)))
        kept = np.flatnonzero(score >= BLAZEFACE_LEAST)
        # Row 0 is the middle, row 1 width and height, the rest are points; in pixels of the input.
        place = box[kept].astype(np.float64).reshape(-1, 8, 2)
        place[:, 0] += _anchors()[kept]
        place[:, 2:] += _anchors()[kept][:, None]
        left, top, right, bottom = part
        scale = max(right - left, bottom - top) / _SIDE
        pad = (_SIDE - np.round(np.array([right - left, bottom - top]) / scale)) // 2
        middle, half = place[:, 0].copy(), place[:, 1] / 2
        place[:, 0], place[:, 1] = middle - half, middle + half
        place = (place - pad) * scale + (left, top)
        whole = _inside(place[:, 0], place[:, 1], part, (width, height))
        scores.append(score[kept][whole])
        places.append(place[whole])
    at = np.concatenate(places)
    return _distinct(np.concatenate(scores), at[:, :2].reshape(-1, 4), at[:, 2:6])


def _inside(
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    part: tuple[int, int, int, int],
    size: tuple[int, int],
) -> NDArray[np.bool_]:
    """Which boxes don't touch an edge of the part that is none of the picture: those are cut off
    there, and lie whole in another part."""
    left, top, right, bottom = part
    inside = np.ones(len(first), np.bool_)
    for edge, outer, values, beyond in (
        (left, 0, first[:, 0], np.less),
        (top, 0, first[:, 1], np.less),
        (right, size[0], last[:, 0], np.greater),
        (bottom, size[1], last[:, 1], np.greater),
    ):
        if edge != outer:
            inside &= ~beyond(values, edge)
    return inside


def _square(rgb: NDArray[np.uint8], part: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """A part of the picture in the middle of a black square, -1 to 1."""
    left, top, right, bottom = part
    width, height = right - left, bottom - top
    scale = _SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(rgb[top:bottom, left:right]).resize(size, Image.Resampling.BILINEAR)
    square = np.full((_SIDE, _SIDE, 3), -1, np.float32)
    x, y = (_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = np.asarray(small, np.float32) / 127.5 - 1
    return square


@cache
def _anchors() -> NDArray[np.float64]:
    """(896, 2): the places that BlazeFace tells of, x and y in pixels of its input."""
    grids = []
    for count, times in ((16, 2), (8, 6)):
        at = (np.arange(count) + 0.5) * _SIDE / count
        x, y = np.meshgrid(at, at)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), times, 0))
    return np.concatenate(grids)


def _distinct(scores: NDArray[Any], boxes: NDArray[Any], points: NDArray[Any]) -> list[Face]:
    """Each face once: of boxes that overlap, the best."""
    kept: list[Face] = []
    boxes = boxes.astype(np.float64)
    waiting = np.argsort(-scores, kind="stable")
    waiting = waiting[(boxes[waiting, 2:] > boxes[waiting, :2]).all(1)]
    while len(waiting):
        best = waiting[0]
        kept.append(Face(float(scores[best]), boxes[best], points[best].astype(np.float64)))
        waiting = waiting[1:][_overlap(boxes[best], boxes[waiting[1:]]) < SAME]
    return kept


def _overlap(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of two boxes together that both cover, for one and each of the others."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    common = np.maximum(0, sides).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (one[2:] - one[:2]).prod()
    return np.asarray(common / (areas - common))


def _up(size: int) -> int:
    """The next multiple of YuNet's largest stride."""
    return -(-size // _STRIDES[-1]) * _STRIDES[-1]


@cache
def _blazeface() -> Model:
    data = files("tutela.detectors").joinpath("data/blazeface.onnx").read_bytes()
    if hashlib.sha256(data).hexdigest() != BLAZEFACE_SHA256:
        raise ModelDamaged("Tutela's own model blazeface is damaged; install Tutela anew")
    backend, _ = onnx(data)
    return Model(BLAZEFACE, backend)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blazeface.cache_clear)
