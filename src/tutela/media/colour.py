"""Pixels of any mode to grey: colour profiles, CMYK, 16 bits, transparency, reduction.

The work is done in bands of rows, so that a large picture needs no second copy of itself.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from tutela.errors import Reason, Rejected

BAND_PIXELS = 1 << 19
"""Pixels of a band: its copies stay within the processor's cache."""
CLOSE = 2.0
"""Mean change of luma, in levels over a cube of colours, below which a profile is as sRGB."""
MAX_CACHED_PROFILE = 1 << 16

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


OPAQUE = "opaque"
"""The background of a picture whose transparency is left aside."""
HIDDEN = 0.01
"""Share of a picture that is all but clear, and of several colours, from which these may show
something."""
_FAINT = [255 if alpha < 32 else 0 for alpha in range(256)]
"""Of each alpha whether nobody sees what is there."""


class Depth:
    """How wide a mode's samples are, when that is more than eight bits.

    `top` is the value of white, or 0 when the file doesn't say: then the values are stretched.
    """

    def __init__(self, top: int = 65535, inverted: bool = False) -> None:
        self.top = top
        self.inverted = inverted


def luma(
    image: Image.Image, factor: int, profile: bytes | None, depth: Depth
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Grey pictures of a decoded image: one if it is opaque, else on white and on black; and made
    opaque, where what is all but clear has colours of its own.

    Nobody sees such colours, but programs that drop transparency do. Each picture is uint8
    (height, width), BT.601 on sRGB, each side divided by `factor` and rounded up.
    """
    width, height = image.size
    transform = _transform(profile, _base(image.mode))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, depth)
    out_width, out_height = -(-width // factor), -(-height // factor)
    white = np.empty((out_height, out_width), np.uint8)
    black: NDArray[np.uint8] | None = None
    bare = np.empty_like(white)
    hidden = np.zeros(256, np.int64)
    rows = max(1, BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows)))
        grey, alpha = _grey(band, transform)
        at = slice(top // factor, top // factor + -(-band.height // factor))
        if alpha is not None and alpha.getextrema() != (255, 255):
            hidden += grey.histogram(alpha.point(_FAINT))
            bare[at] = _reduce(grey, factor)
            if black is None:
                black = np.empty_like(white)
                black[: at.start] = white[: at.start]
            on_black = ImageChops.multiply(grey, alpha)
            black[at] = _reduce(on_black, factor)
            white[at] = _reduce(ImageChops.add(on_black, ImageChops.invert(alpha)), factor)
            continue
        bare[at] = white[at] = _reduce(grey, factor)
        if black is not None:
            black[at] = white[at]
    if black is None:
        return [("", white)]
    shown = [("white", white), ("black", black)]
    if hidden.sum() - hidden.max() >= HIDDEN * width * height:
        shown.append((OPAQUE, bare))
    return shown


def rgb(
    image: Image.Image, factor: int, depth: Depth, backgrounds: list[str]
) -> list[NDArray[np.uint8]]:
    """Colour pictures of a decoded image, one on each of the `backgrounds` that `luma` named.

    Each is uint8 (height, width, 3), reduced likewise. Profiles are left aside: what is made here
    is for models and for the eye, which a shade more or less tells nothing.
    """
    width, height = image.size
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, depth)
    made = [np.empty((-(-height // factor), -(-width // factor), 3), np.uint8) for _ in backgrounds]
    rows = max(1, BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows)))
        if band.mode in ("La", "RGBa"):
            band = band.convert(band.mode.upper())
        clear = band.mode in ("LA", "PA", "RGBA") or "transparency" in band.info
        band = band.convert("RGBA" if clear else "RGB")
        at = slice(top // factor, top // factor + -(-band.height // factor))
        for name, out in zip(backgrounds, made, strict=True):
            shown = band
            if clear and name == OPAQUE:
                shown = band.convert("RGB")
            elif clear:
                page = Image.new("RGBA", band.size, name or "white")
                shown = Image.alpha_composite(page, band).convert("RGB")
            out[at] = np.asarray(shown.reduce(factor) if factor > 1 else shown)
    return made


def is_srgb(profile: bytes, mode: str) -> bool:
    """Whether the profile changes luma so little that pixels of `mode` are taken as sRGB."""
    return _transform(profile, mode) is None


def _reduce(grey: Image.Image, factor: int) -> NDArray[np.uint8]:
    return np.asarray(grey.reduce(factor) if factor > 1 else grey)


def _base(mode: str) -> str:
    if mode in ("CMYK", "LAB"):
        return mode
    return "L" if mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;") else "RGB"


def _grey(
    band: Image.Image, transform: ImageCms.ImageCmsTransform | None
) -> tuple[Image.Image, Image.Image | None]:
    """Luma and, where the mode has transparency, alpha."""
    if band.mode == "La":
        band = band.convert("LA")
    elif band.mode == "RGBa":
        band = band.convert("RGBA")
    alpha = None
    if band.mode == "PA" or "transparency" in band.info:
        band = band.convert("RGBA")
    if band.mode in ("LA", "RGBA"):
        alpha = band.getchannel("A")
    if transform is not None:
        mode = _base(band.mode)
        colour = band if band.mode == mode else band.convert(mode)
        # RGBA is left when a grey picture's key colour was made alpha.
        colour = ImageCms.applyTransform(colour, transform) or colour
        return colour.convert("L"), alpha
    if band.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        band = band.convert("RGB")
    return band.convert("L"), alpha


def _eight_bits(image: Image.Image, depth: Depth) -> Image.Image:
    """Samples wider than eight bits scaled to them: Pillow's own conversion would clip."""
    width, height = image.size
    grey = np.empty((height, width), np.uint8)
    low, high = 0.0, float(depth.top)
    if not depth.top or image.mode in ("I", "F"):
        extrema = image.getextrema()
        low, high = float(extrema[0]), float(extrema[1])  # type: ignore[arg-type]
        if not (np.isfinite(low) and np.isfinite(high)):
            raise Rejected(Reason.CORRUPT, "The picture has samples that are not numbers.")
    scale = 255.0 / (high - low) if high > low else 0.0
    key = image.info.get("transparency")
    alpha = np.empty_like(grey) if isinstance(key, int) else None
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = np.asarray(image.crop((0, top, width, min(height, top + rows))))
        scaled = (band.astype(np.float32) - low) * scale + 0.5
        if not np.isfinite(scaled).all():
            raise Rejected(Reason.CORRUPT, "The picture has samples that are not numbers.")
        grey[top : top + rows] = np.clip(scaled, 0, 255)
        if alpha is not None:
            alpha[top : top + rows] = np.where(band == key, 0, 255)
    if depth.inverted:
        np.subtract(255, grey, out=grey)
    eight = Image.fromarray(grey)
    if alpha is None:
        return eight
    return Image.merge("LA", (eight, Image.fromarray(alpha)))


def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    if profile is None:
        return _lab() if mode == "LAB" else None
    if len(profile) > MAX_CACHED_PROFILE:
        return _build(profile, mode)
    return _cached(profile, mode)


def _build(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to sRGB, or None where there is none to make.

    That is a profile that is broken or of another colour space than the pixels, which viewers
    ignore too, and one whose effect on luma is below `CLOSE`.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space) != mode:
            return _lab() if mode == "LAB" else None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
        if mode not in ("RGB", "L"):
            return transform
        cube = _cube(mode)
        seen = ImageCms.applyTransform(cube, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _lab() if mode == "LAB" else None
    if seen is None:
        return None
    before = np.asarray(cube.convert("L"), np.float64)
    after = np.asarray(seen.convert("L"), np.float64)
    return None if np.abs(before - after).mean() < CLOSE else transform


@lru_cache(maxsize=32)
def _cached(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    return _build(profile, mode)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB")


@lru_cache(maxsize=2)
def _cube(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(12, 18, 3)
    return Image.fromarray(np.ascontiguousarray(cube))
