"""What befalls an innocent photograph before it circulates: the alterations of the benchmark.

On harmless photographs they imitate a manipulated derivative: a region in the middle is replaced
by other content, then the picture is cropped, reduced, recompressed, put on a screen. Each is
deterministic: the random choices come from a generator that is seeded by the photograph's name.
`repainted` and `collage` borrow pixels of other photographs, `others`; whoever measures false
matches has to count those as shown, too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rgb: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = Image.Image
Rng: TypeAlias = np.random.Generator
Others: TypeAlias = Sequence[Picture]
Make: TypeAlias = Callable[[Picture, Rng, float, Others], Picture]

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
OTHERS = 3
"""How many other photographs an alteration may borrow from."""

REGION = 0.6
"""Linear share of the repainted region: 60 % of the height and, narrower, 55 % of the width."""
CROP = 0.7
LATENT_SIDE = 768
"""Long side at which an image model works, pixels."""
SCREEN = (1080, 2340)
LINES = (
    "good morning everyone",
    "look at this",
    "what a view",
    "seen today on the way home",
    "wait for it",
    "nobody expected that",
    "thanks for 1,204 likes",
    "see you on Sunday",
)


@dataclass(frozen=True, slots=True)
class Alteration:
    """One way to alter a photograph, at a strength."""

    name: str
    make: Make
    strength: float
    """Of the table."""
    strengths: tuple[float, ...] = ()
    """Of the plot, mildest first; none where there is no such scale."""
    meaning: str = ""
    """What the strength is."""
    target: float | None = None
    """Recall to reach."""
    quality: int = 85
    """JPEG quality of the altered file; 0 if the strength is the quality."""
    borrows: int = 0
    """How many of `others` show in the altered picture."""

    def apply(
        self, image: Rgb, rng: Rng, strength: float | None = None, others: Sequence[Rgb] = ()
    ) -> Rgb:
        """The altered picture; both are uint8 (height, width, 3), of different sizes."""
        strength = self.strength if strength is None else strength
        pictures = [Image.fromarray(other) for other in others]
        return np.asarray(self.make(Image.fromarray(image), rng, strength, pictures))

    def encode(
        self, picture: Picture, name: str, strength: float | None = None, others: Others = ()
    ) -> bytes:
        """The altered photograph of that name as a JPEG file."""
        strength = self.strength if strength is None else strength
        made = self.make(picture, seeded(name, self.name), strength, others)
        return jpeg(made, self.quality or round(strength))


def seeded(*words: str) -> Rng:
    """A generator that depends on the words alone."""
    digest = hashlib.sha256("\n".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


def jpeg(picture: Picture, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def read(path: Path, side: int) -> Picture:
    """A photograph, upright, of at most `side` pixels on its long side."""
    with Image.open(path) as image:
        image.draft("RGB", (side, side))
        return reduced(ImageOps.exif_transpose(image).convert("RGB"), side)


def reduced(picture: Picture, side: float) -> Picture:
    """At most `side` pixels on its long side."""
    return scaled(picture, min(1.0, side / max(picture.size)))


def scaled(picture: Picture, factor: float) -> Picture:
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture if size == picture.size else picture.resize(size, LANCZOS)


def covering(picture: Picture, size: tuple[int, int], rng: Rng) -> Picture:
    """A window of the picture with this size, as large a part as there is, moved at random."""
    grown = scaled(picture, max(size[0] / picture.width, size[1] / picture.height) * 1.0001)
    x, y = (
        int(rng.integers(0, max(0, have - want) + 1))
        for have, want in zip(grown.size, size, strict=True)
    )
    return grown.crop((x, y, x + size[0], y + size[1]))


# What was done to the person's picture


def repainted(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """The middle is replaced by part of another photograph, `strength` of the height in size.

    Its mean colour is drawn halfway to that of what it covers, and it is blended in over 4 % of
    the shorter side, so that neither colour nor seam gives it away.
    """
    width, height = picture.size
    wide, high = round(strength * 0.55 / REGION * width), round(strength * height)
    left, top = (width - wide) // 2, (height - high) // 2
    feather = 0.04 * min(width, height)
    margin = min(left, top, round(feather))
    box = (left - margin, top - margin, left + wide + margin, top + high + margin)
    size = (box[2] - box[0], box[3] - box[1])
    content = np.asarray(covering(others[0], size, rng), np.float32)
    covered = np.asarray(picture.crop(box), np.float32)
    content = content + (covered.mean((0, 1)) - content.mean((0, 1))) / 2
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rectangle((margin, margin, margin + wide - 1, margin + high - 1), 255)
    made = picture.copy()
    made.paste(_image(content), box, mask.filter(ImageFilter.GaussianBlur(feather / 4)))
    return made


def smoothed(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """A stand-in for the round trip through an image model's autoencoder, at long side 768.

    With one latent cell for 8 × 8 pixels it keeps shapes, edges and shading, and makes up texture
    anew. Here, in pixels of the 768: what survives a 3 × 3 median and reduction to
    1 / (2 `strength`) of the size is the base: structure with a period over 4 `strength` pixels, so
    below 0.17 cycles per pixel at 1.5. All finer structure is taken away and replaced by noise of
    the same band and 80 % of its local amplitude; only along the strongest tenth of edges half of
    it stays. Then the colour of each 8 × 8 cell is off by about 2 of 256 levels, and edges are
    sharpened by 40 % at radius 1.5.

    At 1.5 it costs as much as such an autoencoder does: applied at 256 pixels to 15 scenes of
    the Kodak set it leaves a PSNR of 24.0 dB, and Stable Diffusion's (kl-f8) are stated to leave
    23.4 to 24.5 dB on COCO 2017 at that size (model card of sd-vae-ft-mse).
    """
    del others
    image = scaled(picture, LATENT_SIDE / max(picture.size))
    pixels = np.asarray(image, np.float32)

    def low(values: Picture) -> NDArray[np.float32]:
        small = scaled(values, 1 / (2 * strength))
        return np.asarray(small.resize(values.size, BICUBIC), np.float32)

    base = low(image.filter(ImageFilter.MedianFilter(3)))
    detail = pixels - base
    amplitude = _averaged(np.abs(detail).mean(2), 8)
    field = _image(rng.normal(128, 32, (*amplitude.shape, 1)).repeat(3, 2))
    noise = (np.asarray(field, np.float32) - low(field))[..., :1]
    noise *= 0.8 * amplitude[..., None] / (np.abs(noise).mean() + 1e-6)
    down, across = np.gradient(_averaged(base.mean(2), 2))
    slope = np.hypot(down, across)
    edge = np.clip(slope / (np.quantile(slope, 0.9) + 1e-6) - 0.5, 0, 1)[..., None]
    cells = rng.normal(128, 2, (-(-image.height // 8), -(-image.width // 8), 3))
    tint = np.asarray(_image(cells).resize(image.size, BICUBIC), np.float32) - 128
    made = _image(base + edge * detail / 2 + (1 - edge) * noise + tint)
    return made.filter(ImageFilter.UnsharpMask(1.5, 40, 0))


# How it was passed on


def cropped(
    picture: Picture, rng: Rng, strength: float, others: Others, *, shift: float = 1.0
) -> Picture:
    """A window of `strength` of each side, off the centre by up to `shift` of the room there is."""
    del others
    box = [0, 0, 0, 0]
    for axis, side in enumerate(picture.size):
        kept = max(1, round(strength * side))
        start = round((side - kept) / 2 * (1 + shift * rng.uniform(-1, 1)))
        box[axis], box[axis + 2] = start, start + kept
    return picture.crop((box[0], box[1], box[2], box[3]))


def cropped_area(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """A window of `strength` of the area."""
    return cropped(picture, rng, strength**0.5, others, shift=0.3)


def resized(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """At `strength` of its size."""
    del rng, others
    return scaled(picture, strength)


def shrunk(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """With a long side of `strength` pixels."""
    del rng, others
    return reduced(picture, strength)


def unchanged(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """As it is: what alters it is the quality of its JPEG file."""
    del rng, strength, others
    return picture


def mirrored(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """Left to right."""
    del rng, strength, others
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def turned(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """By 90°, to either side."""
    del strength, others
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[int(rng.integers(2))])


def tilted(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """By `strength` degrees to either side, then cropped to the largest upright window inside."""
    del others
    angle = strength * (1 if rng.random() < 0.5 else -1)
    width, height = picture.size
    radians = np.radians(strength)
    ratio = max(width / height, height / width)
    kept = 1 / (np.cos(radians) + np.sin(radians) * ratio) - 2 / min(width, height)
    inside = picture.rotate(angle, BICUBIC)
    return cropped(inside, rng, float(kept), (), shift=0.0)


def filtered(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """A beauty filter: softened, brighter shadows, more contrast and saturation, a warm tint."""
    del others
    soft = picture.filter(ImageFilter.GaussianBlur(0.6 * strength))
    tone = np.linspace(0, 1, 256) ** (1 - 0.25 * strength)
    tone = tone + 0.08 * strength * np.sin(2 * np.pi * (tone - 0.5))
    warm = rng.uniform(0.03, 0.08) * strength
    curves = [np.clip(256 * tone * gain, 0, 255) for gain in (1 + warm, 1.0, 1 - warm)]
    table = np.concatenate(curves).astype(int).tolist()
    return ImageEnhance.Color(soft.point(table)).enhance(1 + 0.35 * strength)


def bordered(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """With a border of `strength` of the side: all around, letterboxed, or its own blurred copy."""
    del others
    width, height = picture.size
    across, down = round(strength * width), round(strength * height)
    style = int(rng.integers(3))
    if style == 1:
        across = 0
    size = (width + 2 * across, height + 2 * down)
    if style == 2:
        small = picture.resize((32, 32), Image.Resampling.BOX).resize(size, BICUBIC)
        canvas = ImageEnhance.Brightness(small).enhance(0.8)
    else:
        dark = int(rng.integers(2))
        canvas = Image.new("RGB", size, (0, 0, 0) if dark else (245, 245, 245))
    canvas.paste(picture, (across, down))
    return canvas


def collage(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """One cell of `strength` × `strength` in a grid of photographs, each cropped to 4 : 3."""
    count = round(strength)
    cell = (1440 // count, 1080 // count)
    place = int(rng.integers(count * count))
    canvas = Image.new("RGB", (cell[0] * count, cell[1] * count), (255, 255, 255))
    for number in range(count * count):
        content = picture if number == place else others[number % len(others)]
        tile = covering(content, (cell[0] - 6, cell[1] - 6), rng)
        canvas.paste(tile, (number % count * cell[0] + 3, number // count * cell[1] + 3))
    return canvas


def screenshot(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """On a phone's screen, about `strength` of it wide, between bars, lines of text and buttons."""
    del others
    wide, high = SCREEN
    ink, paper = ((20, 20, 24), (250, 250, 252))
    if rng.random() < 0.5:
        ink, paper = paper, ink
    middle = tuple((2 * a + b) // 3 for a, b in zip(paper, ink, strict=True))
    canvas = Image.new("RGB", SCREEN, paper)
    draw = ImageDraw.Draw(canvas)
    draw.text((60, 30), f"{rng.integers(24):02}:{rng.integers(60):02}", ink, _font(38))
    draw.rounded_rectangle((940, 36, 1010, 68), 8, outline=ink, width=3)
    draw.rectangle((946, 42, 946 + int(rng.integers(10, 56)), 62), ink)
    for bar in range(4):
        draw.rectangle((860 + 16 * bar, 60 - 8 * bar, 870 + 16 * bar, 68), ink)
    share = float(np.clip(strength + rng.uniform(-0.12, 0.12), 0.1, 1.0))
    photo = scaled(picture, min(share * wide / picture.width, 0.62 * high / picture.height))
    left = int(rng.integers(0, wide - photo.width + 1))
    top = int(rng.integers(240, max(241, high - photo.height - 560)))
    draw.ellipse((50, 120, 140, 210), tuple(int(v) for v in rng.integers(60, 220, 3)))
    draw.text((170, 120), _line(rng), ink, _font(40))
    draw.text((170, 172), _line(rng), middle, _font(30))
    canvas.paste(photo, (left, top))
    under = top + photo.height + 40
    for place in range(4):
        x = 60 + 130 * place
        draw.ellipse((x, under, x + 70, under + 70), outline=ink, width=6)
        draw.line((x + 20, under + 50, x + 50, under + 20), ink, 6)
    for row in range(int(rng.integers(3, 6))):
        draw.text((60, under + 110 + 62 * row), _line(rng), ink if row else middle, _font(42))
    draw.rectangle((0, high - 130, wide, high), middle)
    for place in range(5):
        x = 100 + 200 * place
        draw.rounded_rectangle((x, high - 100, x + 64, high - 36), 14, outline=ink, width=6)
    return canvas


def stickers(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """Faces and a caption band over `strength` of the area."""
    del others
    made = picture.copy()
    width, height = made.size
    covered = Image.new("L", made.size, 0)
    draw, mark = ImageDraw.Draw(made), ImageDraw.Draw(covered)
    band = max(8, round(0.3 * strength * height))
    top = int(rng.integers(0, height - band + 1))
    draw.rectangle((0, top, width, top + band - 1), _colour(rng))
    mark.rectangle((0, top, width, top + band - 1), 255)
    _caption(draw, (0, top, width, top + band), _line(rng), rng)
    while np.asarray(covered).mean() < 255 * strength:
        radius = rng.uniform(0.06, 0.15) * min(width, height)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        _face(draw, x, y, radius, rng)
        mark.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return made


def captioned(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
    """Large outlined text at the top and the bottom, `strength` of the height each."""
    del others
    made = picture.copy()
    draw = ImageDraw.Draw(made)
    width, height = made.size
    band = strength * height
    for top in (0.03 * height, 0.97 * height - band):
        _caption(draw, (0, top, width, top + band), _line(rng).upper(), rng, outlined=True)
    return made


def _caption(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    text: str,
    rng: Rng,
    *,
    outlined: bool = False,
) -> None:
    """The text as large as fits the box, in its middle."""
    left, top, right, bottom = box
    size = min(0.8 * (bottom - top), 1.4 * (right - left) / len(text))
    ink, edge = ((255, 255, 255), (0, 0, 0)) if outlined or rng.random() < 0.5 else ((0,) * 3,) * 2
    draw.text(
        ((left + right) / 2, (top + bottom) / 2),
        text,
        ink,
        _font(size),
        anchor="mm",
        stroke_width=round(0.06 * size) if outlined else 0,
        stroke_fill=edge,
    )


def _face(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, rng: Rng) -> None:
    def ellipse(dx: float, dy: float, rx: float, ry: float, colour: tuple[int, ...]) -> None:
        dx, dy, rx, ry = dx * radius, dy * radius, rx * radius, ry * radius
        draw.ellipse((x + dx - rx, y + dy - ry, x + dx + rx, y + dy + ry), colour)

    ellipse(0, 0, 1, 1, (250, 205, int(rng.integers(20, 120))))
    tall = rng.uniform(0.1, 0.3)
    for side in (-0.35, 0.35):
        ellipse(side, -0.2, 0.13, tall, (70, 45, 20))
    ellipse(0, 0.4, 0.45, rng.uniform(0.1, 0.3), (140, 40, 40))


def _line(rng: Rng) -> str:
    return LINES[int(rng.integers(len(LINES)))]


def _colour(rng: Rng) -> tuple[int, ...]:
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(6, round(size)))


def _image(values: NDArray[np.floating]) -> Picture:
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def _averaged(values: NDArray[np.floating], cell: int) -> NDArray[np.float32]:
    """Means over cells of so many pixels square, with slopes between them."""
    image = Image.fromarray(values.astype(np.float32))
    cells = (max(1, image.width // cell), max(1, image.height // cell))
    means = image.resize(cells, Image.Resampling.BOX)
    return np.asarray(means.resize(image.size, Image.Resampling.BILINEAR), np.float32)


# The rows of the table


def after(*steps: tuple[Make, float] | Make) -> Make:
    """One after the other, those without a strength of their own at the row's."""

    def make(picture: Picture, rng: Rng, strength: float, others: Others) -> Picture:
        for step in steps:
            one, fixed = (step, strength) if callable(step) else step
            picture = one(picture, rng, fixed, others)
        return picture

    return make


repaint = (repainted, REGION)
central = partial(cropped, shift=0.3)
SIDES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
AMOUNTS = (0.5, 1.0, 1.5, 2.5, 4.0, 6.0)
LIKE_AUTOENCODER = 1.5
SHARES = (0.9, 0.72, 0.6, 0.45, 0.3)

ALTERATIONS = (
    Alteration(
        "repainted",
        repainted,
        REGION,
        (0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
        "share of the height",
        target=0.99,
        quality=90,
        borrows=1,
    ),
    Alteration(
        "repainted, half size, JPEG 50",
        after(repaint, resized),
        0.5,
        (1.0, 0.7, 0.5, 0.35, 0.25, 0.18),
        "size",
        target=0.97,
        quality=50,
        borrows=1,
    ),
    Alteration(
        "repainted, 70 % crop, JPEG 75",
        after(repaint, central),
        CROP,
        SIDES,
        "share of each side",
        target=0.95,
        quality=75,
        borrows=1,
    ),
    Alteration(
        "repainted, 70 % crop, smoothed",
        after(repaint, (central, CROP), smoothed),
        LIKE_AUTOENCODER,
        AMOUNTS,
        "smoothing",
        target=0.90,
        borrows=1,
    ),
    Alteration("50 % crop", cropped, 0.5, SIDES, "share of each side", target=0.95),
    Alteration("mirrored", mirrored, 1.0, target=0.95),
    Alteration(
        "bordered",
        bordered,
        0.25,
        (0.1, 0.25, 0.5, 0.75, 1.0),
        "border, share of the side",
        target=0.95,
    ),
    Alteration("collage", collage, 2, (2, 3, 4), "cells across", target=0.95, borrows=3),
    Alteration("screenshot", screenshot, 0.72, SHARES, "share of the width", target=0.95),
    Alteration(
        "stickers", stickers, 0.22, (0.1, 0.22, 0.35, 0.5, 0.65), "share covered", target=0.95
    ),
    Alteration("text", captioned, 0.12, (0.08, 0.12, 0.2, 0.3), "share of the height", target=0.95),
    Alteration(
        "repainted, smoothed",
        after(repaint, smoothed),
        LIKE_AUTOENCODER,
        AMOUNTS,
        "smoothing",
        borrows=1,
    ),
    Alteration(
        "repainted, crop to 70 % of the area, JPEG 75",
        after(repaint, cropped_area),
        0.7,
        quality=75,
        borrows=1,
    ),
    Alteration("repainted, mirrored", after(repaint, mirrored), 1.0, borrows=1),
    Alteration(
        "repainted, screenshot",
        after(repaint, screenshot),
        0.72,
        SHARES,
        "share of the width",
        borrows=1,
    ),
    Alteration(
        "repainted, stickers, screenshot",
        after(repaint, (stickers, 0.22), screenshot),
        0.72,
        SHARES,
        "share of the width",
        borrows=1,
    ),
    Alteration("JPEG 30", unchanged, 30, (75, 50, 30, 15, 8, 4), "JPEG quality", quality=0),
    Alteration("filtered", filtered, 1.0, (0.5, 1.0, 1.5, 2.0), "amount"),
    Alteration("tilted 8°", tilted, 8, (2, 4, 8, 15, 30, 45), "degrees"),
    Alteration("turned 90°", turned, 1.0),
    Alteration("360 px", shrunk, 360, (720, 360, 240, 180, 128), "long side, pixels"),
)
