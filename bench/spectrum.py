"""What the spectrum of a picture tells of a generator: measured, and not shipped.

Slopes of the mean spectrum of 64 × 64 windows, its peaks at multiples of 1/8 cycle a pixel, which
an image model's upsampling can leave, and the sizes of fine detail: see docs/design/synthetic.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alterations import Picture, Rng, jpeg, seeded
from photos import photos
from spliced import opened

SIDE = 512
WINDOW = 64
RINGS = np.arange(0.05, 0.7, 0.05)
PEAKS = (8, 16, 24, 32)
WAYS = ("JPEG", "reduced", "grown")
FAMILIES = (("flux2", "flux2"), ("flux", "flux"), ("z_image", "z_image"), ("qwen", "qwen"))


def source(path: Path) -> str:
    """The family of generators that made a picture, by the name of its file."""
    name = path.stem.removeprefix("assets__")
    if re.fullmatch(r"(f16|f32|q\d_\d)|cat_with.*", name):
        return "stable diffusion"
    return next((family for start, family in FAMILIES if name.startswith(f"{start}__")), "others")


def window(path: Path) -> Picture:
    """512 × 512 pixels of a picture: photographs reduced first, more or less, like any upload."""
    rng = seeded(path.name, "window")
    with Image.open(path) as image:
        if image.format == "JPEG":
            image.draft("RGB", (1200, 1200))
        picture = image.convert("RGB")
    scale = rng.uniform(SIDE, 1100) / min(picture.size)
    if scale < 1 and min(picture.size) > SIDE:
        size = [max(SIDE, round(side * scale)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, max(1, side - SIDE + 1))) for side in picture.size)
    return picture.crop((left, top, left + SIDE, top + SIDE))


def saved(picture: Picture, way: str, rng: Rng) -> Picture:
    """The picture after it was passed on: photographs and generated ones alike."""
    if way != "JPEG":
        scale = rng.uniform(0.6, 0.85) if way == "reduced" else rng.uniform(1.1, 1.5)
        side = round(SIDE * scale)
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return opened(jpeg(picture, int(rng.choice([80, 90, 95]))))


def features(picture: Picture) -> NDArray[np.float64]:
    """24 numbers of a picture."""
    luma = np.asarray(picture.convert("L"), np.float64)
    hann = np.hanning(WINDOW)
    power = np.zeros((WINDOW, WINDOW))
    for y in range(0, luma.shape[0] - WINDOW + 1, WINDOW // 2):
        for x in range(0, luma.shape[1] - WINDOW + 1, WINDOW // 2):
            tile = luma[y : y + WINDOW, x : x + WINDOW]
            here = np.abs(np.fft.fft2((tile - tile.mean()) * np.outer(hann, hann))) ** 2
            power += here / (here.sum() + 1)
    power = np.log(power / power.sum() + 1e-9)
    frequency = np.fft.fftfreq(WINDOW)
    radius = np.hypot(frequency[:, None], frequency[None])
    rings = [power[(radius >= ring) & (radius < ring + 0.05)].mean() for ring in RINGS]
    peaks = [
        power[0, k] + power[k, 0] - (power[0, k - 2] + power[k - 2, 0]) / 2
        - (power[0, (k + 2) % WINDOW] + power[(k + 2) % WINDOW, 0]) / 2
        for k in PEAKS
    ]  # fmt: skip
    inner = luma[1:-1, 1:-1]
    fine = inner - (luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]) / 4
    height, width = (side // 8 * 8 for side in fine.shape)
    blocks = np.abs(fine[:height, :width]).reshape(height // 8, 8, width // 8, 8).mean((1, 3))
    sizes = np.log(np.quantile(blocks, [0.05, 0.25, 0.5, 0.75, 0.95]) + 0.05)
    tails = np.log((fine**4).mean() / ((fine**2).mean() ** 2 + 1e-6) + 1e-6)
    return np.concatenate([np.diff(rings), peaks, sizes, [tails]])


def fitted(
    rows: NDArray[np.float64], labels: NDArray[np.bool_], decay: float = 0.01
) -> NDArray[np.float64]:
    """Logistic regression with both classes of equal weight: coefficients, the constant last."""
    full = np.c_[rows, np.ones(len(rows))]
    weight = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    penalty = np.append(np.full(rows.shape[1], decay), 1e-6)
    made = np.zeros(full.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-full @ made))
        slope = full.T @ (weight * (likely - labels)) + penalty * made
        bend = (full.T * (weight * likely * (1 - likely))) @ full + np.diag(penalty)
        made -= np.linalg.solve(bend, slope)
    return made


def report(real: dict[str, Path], generated: Path) -> None:
    """AUC by generator and collection of photographs, both never seen in fitting."""
    rows: list[tuple[NDArray[np.float64], bool, str, str]] = []
    for name, folder in real.items():
        for path in photos(folder)[::2][:120]:
            picture = window(path)
            if picture.size == (SIDE, SIDE):
                for way in WAYS:
                    shown = saved(picture, way, seeded(path.name, way))
                    rows.append((features(shown), False, name, way))
    for path in sorted(generated.rglob("*.png")):
        picture = window(path)
        rows += [
            (features(saved(picture, way, seeded(path.name, way))), True, source(path), way)
            for way in WAYS
        ]
    values = np.array([row[0] for row in rows])
    values = (values - values.mean(0)) / (values.std(0) + 1e-6)
    label = np.array([row[1] for row in rows])
    name = np.array([row[2] for row in rows])
    way = np.array([row[3] for row in rows])
    print("| photographs never seen | generator never seen | pictures | " + " | ".join(WAYS) + " |")
    print("|---" * (3 + len(WAYS)) + "|")
    for collection in real:
        for family in sorted(set(name[label])):
            left_out = (name == family) | (name == collection)
            made = fitted(values[~left_out], label[~left_out])
            score = np.c_[values, np.ones(len(values))] @ made
            ours, theirs = name == family, name == collection
            cells = [
                f"{auc(score[ours & (way == one)], score[theirs & (way == one)]):.2f}"
                for one in WAYS
            ]
            count = int(((name == family) & (way == WAYS[0])).sum())
            print(f"| {collection} | {family} | {count} | " + " | ".join(cells) + " |")


def auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """How often a positive scores above a negative; ties count half."""
    above = positive[:, None] > negative[None]
    return float((above + 0.5 * (positive[:, None] == negative[None])).mean())
