"""Pictures as programs hold them - Pillow, numpy, torch - to bytes for the gate, and changed.

Nothing of torch is imported: a tensor is known by its class.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from tutela.errors import MarkingFailed
from tutela.guard import watermark
from tutela.guard.gate import Gate

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
"""From sRGB, uint8 (height, width, 3), to the same: a watermark, for one."""

AS_THEY_ARE: Final = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"})
WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
BEYOND: Final = 0.01
"""How far numbers may lie beyond their range, as decoders' roundings do."""


class Unshaped(ValueError):
    """An array that is no picture by its shape or its numbers."""


def is_tensor(value: object) -> bool:
    """Whether a value is a torch tensor."""
    return any(
        kind.__name__ == "Tensor" and kind.__module__.partition(".")[0] == "torch"
        for kind in type(value).__mro__
    )


def is_array(value: object) -> bool:
    """Whether a value is a numpy array or a torch tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def encoded(picture: Any) -> list[bytes]:
    """Every picture in a Pillow image, array or tensor, as PNG.

    One with transparency gives two: as it shows, and without it, for models that drop it. Arrays
    are (height, width), (…, height, width, channels) with channels 1 or 3 - 4 if they are bytes -
    tensors (…, channels, height, width); floats are from 0 to 1, or from -1 to 1 if any is
    negative. Raises `Unshaped` for all else: four channels of floats are what a model made of a
    picture.
    """
    if isinstance(picture, Image.Image):
        return [_png(seen) for seen in _seen(picture)]
    return [_png(seen) for made in _images(picture) for seen in _seen(made)]


def covered(masks: Iterable[Any], *, painted: bool = False) -> bytes | None:
    """One PNG, white where any of these masks is: what may be repainted. Raises `Unshaped`.

    None where no mask is white anywhere: a program that leaves it out changes the whole picture.

    With `painted`, a mask with transparency counts where it is not transparent, whatever its
    colour: layers that a person paints on.
    """
    whole: Image.Image | None = None
    for mask in masks:
        for image in [mask] if isinstance(mask, Image.Image) else _images(mask):
            grey = _grey(image, painted)
            if whole is None:
                whole = grey
            else:
                fitted = grey if grey.size == whole.size else grey.resize(whole.size)
                whole = ImageChops.lighter(whole, fitted)
    return _png(whole) if whole is not None and whole.getbbox() else None


def changed(picture: Any, change: Change) -> Any:
    """The picture or pictures, each of them changed, in the form in which they came."""
    if isinstance(picture, Image.Image):
        alpha = _alpha(picture)
        made = Image.fromarray(change(np.asarray(picture.convert("RGB"))))
        if alpha is not None:
            made.putalpha(alpha)
        return made
    numbers = _numbers(picture)
    turned = is_tensor(picture) and numbers.ndim > 2
    if turned:
        numbers = np.moveaxis(numbers, -3, -1)
    levels = _levels(numbers)
    shaped = levels if levels.ndim > 2 else levels[..., None]
    flat = shaped.reshape(-1, *shaped.shape[-3:])
    done = np.stack([_changed(one, change) for one in flat]).reshape(levels.shape)
    back: NDArray[Any] = done
    if numbers.dtype.kind == "f":
        low = -1.0 if numbers.min() < 0 else 0.0
        back = (done / 255 * (1 - low) + low).astype(numbers.dtype)
    if turned:
        back = np.ascontiguousarray(np.moveaxis(back, -1, -3))
    return picture.new_tensor(back) if is_tensor(picture) else back


def watermarking(gate: Gate, *, edited: bool = False) -> Change:
    """Puts the watermark that the settings name into pictures, which says a model made them.

    `edited`: a model changed pictures that it was given. Raises `MarkingFailed` for one that is too
    small.
    """
    key = watermark.keys(gate.settings.watermark_key)[-1]

    def change(pixels: Pixels) -> Pixels:
        try:
            return watermark.embed(pixels, edited=edited, key=key)
        except ValueError as error:
            raise MarkingFailed(f"{error}; make it larger") from error

    return change


def _changed(pixels: Pixels, change: Change) -> Pixels:
    """One picture of 1, 3 or 4 channels, changed."""
    colours = np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3)))
    made = change(colours)
    if pixels.shape[-1] == 1:
        grey: Pixels = np.rint(made.mean(axis=-1, keepdims=True)).astype(np.uint8)
        return grey
    return np.concatenate([made, pixels[..., 3:]], axis=-1)


def _images(array: Any) -> Iterator[Image.Image]:
    """Every picture in an array or tensor."""
    numbers = _numbers(array)
    if numbers.ndim < 2 or not numbers.size:
        raise Unshaped("an array that is no picture")
    if is_tensor(array) and numbers.ndim > 2:
        if numbers.shape[-3] not in (1, 3):
            if numbers.ndim > 3:
                raise Unshaped("a tensor of a picture has 1 or 3 channels")
            numbers = numbers[:, None]
        numbers = np.moveaxis(numbers, -3, -1)
    elif numbers.ndim == 3 and numbers.shape[-1] not in (1, 3, 4):
        numbers = numbers[..., None]
    levels = _levels(numbers)
    if levels.ndim == 2:
        levels = levels[..., None]
    if levels.shape[-1] not in ((1, 3, 4) if numbers.dtype == np.uint8 else (1, 3)):
        raise Unshaped("an array of a picture has 1 or 3 channels")
    for one in levels.reshape(-1, *levels.shape[-3:]):
        yield Image.fromarray(one[..., 0] if one.shape[-1] == 1 else np.ascontiguousarray(one))


def _numbers(array: Any) -> NDArray[Any]:
    if not is_tensor(array):
        return np.asarray(array)
    still = array.detach().to("cpu")
    # numpy has no bfloat16.
    numbers: NDArray[Any] = (still.float() if still.is_floating_point() else still).numpy()
    return numbers


def _levels(numbers: NDArray[Any]) -> Pixels:
    """Bytes of the same shape."""
    levels: Pixels
    if numbers.dtype == np.uint8:
        levels = numbers
        return levels
    if numbers.dtype == np.bool_:
        return numbers.astype(np.uint8) * 255
    if numbers.dtype.kind != "f" or not np.isfinite(numbers).all():
        raise Unshaped("a picture is made of bytes, or of finite floats")
    low, high = float(numbers.min()), float(numbers.max())
    if low < -1 - BEYOND or high > 1 + BEYOND:
        raise Unshaped("floats of a picture lie between 0 and 1, or -1 and 1")
    if low < 0:
        numbers = (numbers + 1) / 2
    levels = np.rint(np.clip(numbers, 0, 1) * 255).astype(np.uint8)
    return levels


def _seen(image: Image.Image) -> list[Image.Image]:
    """What may be seen of a picture: without its transparency and, where it has some, with it."""
    if image.mode not in AS_THEY_ARE | WITH_ALPHA:
        raise Unshaped(f"it is a picture of mode {image.mode}")
    alpha = _alpha(image)
    if alpha is None:
        return [image if image.mode in ("L", "RGB") else image.convert("RGB")]
    whole = image.convert("RGBA")
    plain = whole.convert("RGB")
    return [plain] if alpha.getextrema() == (255, 255) else [plain, whole]


def _alpha(image: Image.Image) -> Image.Image | None:
    """How opaque a picture is, where it says."""
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return None


def _grey(image: Image.Image, painted: bool) -> Image.Image:
    if painted and (alpha := _alpha(image)) is not None:
        return alpha.point(lambda level: 255 if level else 0)
    return _seen(image)[0].convert("L")


def _png(image: Image.Image) -> bytes:
    # A copy without what came with the file: only pixels are judged.
    bare = image.copy()
    bare.info = {}
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
