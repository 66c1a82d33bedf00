"""Content to bounded, upright, grey frames; anything else is rejected with a typed reason."""

from __future__ import annotations

import io
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pillow_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from tutela.errors import Reason, Rejected
from tutela.media import colour, jpeg, survey
from tutela.media.colour import Depth
from tutela.media.film_track import Track
from tutela.media.frames import Sampler
from tutela.media.sniff import sniff
from tutela.media.survey import Survey
from tutela.media.types import Frame, Limits, Media

# The decoder of each format, opened directly: no other decoder is ever tried on the bytes.
_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "heif": pillow_heif.HeifImageFile,
    "png": PngImagePlugin.PngImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}

# Peak bytes a pixel of a still picture and of an animation, measured (docs/design/decoding.md).
_COST = {
    "avif": (14, 14),
    "bmp": (5, 5),
    "gif": (2, 14),
    "heif": (11, 11),
    "png": (4, 13),
    "tiff": (8, 8),
    "webp": (17, 17),
}


def decode(
    data: bytes,
    limits: Limits = Limits(),  # noqa: B008
    *,
    detail: int = 512,
    colour: int = 0,
) -> Media:
    """Decode content of any supported format.

    `detail` is the shorter side, in pixels, that every `Frame.luma` keeps (or the content's own
    where that is smaller); 0 keeps every pixel. `colour` is the longer side that `Frame.rgb` keeps
    likewise, less than twice that; 0 leaves it out. Raises `Rejected` alone: for content that is
    not an image, is damaged, or goes beyond `limits`. A native decoder can't be stopped halfway
    nor survived when it crashes; for content from outside use `tutela.sandbox`.
    """
    started = time.monotonic()
    if len(data) > limits.max_bytes:
        raise Rejected(
            Reason.TOO_MANY_BYTES,
            f"{len(data)} bytes are above the {limits.max_bytes} allowed.",
        )
    kind = sniff(data)
    try:
        declared = survey.survey(kind, data)
        _check(kind, declared.width, declared.height, limits)
        if kind == "jpeg":
            return _jpeg(data, declared, limits, detail, colour)
        with _quiet():
            deadline = started + limits.max_seconds
            return _decode(kind, data, declared, limits, detail, deadline, colour)
    except Rejected:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise Rejected(Reason.TOO_MUCH_MEMORY, f"The {kind} file needs too much memory.") from error
    except Exception as error:
        # Damaged files make the decoders raise nearly every built-in exception.
        raise _typed(kind, error) from error


def _decode(
    kind: str,
    data: bytes,
    declared: Survey,
    limits: Limits,
    detail: int,
    deadline: float,
    side: int,
) -> Media:
    with _DECODERS[kind](io.BytesIO(data)) as image:
        count = int(getattr(image, "n_frames", 1)) if kind in _COUNTED else declared.frames
        if count > survey.MAX_SCAN:
            raise survey.too_many("frames", survey.MAX_SCAN)
        sampler = Sampler(limits.max_frames)
        track = Track() if kind in _MOVING and count > 1 else None
        width = height = 0
        at = 0.0
        for index in range(count):
            _check_time(kind, deadline)
            if image.tell() != index:
                image.seek(index)
            _check(kind, *image.size, limits, animated=count > 1, image=image)
            profile = image.info.get("icc_profile")
            _check_profile(profile)
            image.load()
            # The decoders of the other formats turn the picture themselves.
            turn = 1
            if kind in ("png", "webp", "avif"):
                turn = survey.orientation(image.info.get("exif"))
            if image.width * image.height > width * height:
                # Pages may differ in size: the content is as large as the largest.
                width, height = _turned(*image.size, turn)
            factor = _factor(*image.size, detail, turn)
            depth = _depth(kind, image)
            greys = colour.luma(image, factor, profile, depth)
            names = [name for name, _ in greys]
            seen: Sequence[NDArray[np.uint8] | None] = [None] * len(names)
            if side:
                less = max(1, max(image.size) // side)
                seen = [_upright(rgb, turn) for rgb in colour.rgb(image, less, depth, names)]
            frames = tuple(
                Frame(index, _upright(grey, turn), name, at if track else None, rgb)
                for (name, grey), rgb in zip(greys, seen, strict=True)
            )
            sampler.add(frames)
            if track is not None:
                track.see(frames[0].luma, *_turned(image.height, image.width, turn), at)
                at += _shown(image)
            if sampler.nbytes > limits.max_memory // 2:
                raise Rejected(Reason.TOO_MUCH_MEMORY, f"The frames of the {kind} are too large.")
        _check_time(kind, deadline)
        if kind not in _COUNTED:
            _at_the_end(kind, image, count)
    media = Media(kind, width, height, count, sampler.frames())
    if track is None:
        return media
    return replace(media, track=track.whole(), insets=track.insets(), duration=at)


def _shown(image: ImageFile.ImageFile) -> float:
    """Seconds for which a frame is shown. As in browsers, none is shorter than they can show."""
    milliseconds = float(image.info.get("duration") or 0)
    return milliseconds / 1000 if milliseconds > 10 else 0.1


def _at_the_end(kind: str, image: ImageFile.ImageFile, count: int) -> None:
    """Refuse a file in which the decoder finds a frame that the survey did not."""
    try:
        image.seek(count)
    except EOFError:
        return
    raise survey.corrupt(f"The {kind} file holds more frames than it declares.")


# Formats whose frames are instants; those of the others are pages.
_MOVING = frozenset({"gif", "png", "webp", "avif"})
# Formats whose decoder counts the frames when it opens the file.
_COUNTED = frozenset({"webp", "avif", "heif"})


def _jpeg(data: bytes, declared: Survey, limits: Limits, detail: int, side: int) -> Media:
    """A JPEG, reduced while decoding: its luma plane where the colours are sRGB, else its colours.

    Arithmetic coding, 12 bits and lossless coding are unsupported, as they are by browsers.
    """
    _check_profile(declared.profile)
    factor = _factor(declared.width, declared.height, detail, declared.orientation)
    width, height = -(-declared.width // factor), -(-declared.height // factor)
    held = 2 * declared.buffered * declared.width * declared.height
    cost = int(held) + width * height * (declared.components + 1)
    _check_memory("jpeg", declared.width, declared.height, cost, limits)
    space = {1: "L", 3: "RGB", 4: "CMYK"}.get(declared.components)
    if space is None:
        raise survey.corrupt(f"The jpeg file has {declared.components} components.")
    grey = None
    if space != "CMYK" and (declared.profile is None or colour.is_srgb(declared.profile, space)):
        grey = jpeg.luma(data, detail=min(width, height))
    if grey is None:
        try:
            pixels = simplejpeg.decode_jpeg(
                data, "GRAY" if space == "L" else space, min_height=height, min_width=width
            )
        except ValueError as error:
            if "unsupported" in str(error).lower():
                raise Rejected(Reason.UNSUPPORTED, "A rare kind of jpeg is not decoded.") from error
            raise
        if space == "CMYK":
            # Adobe stores inks inverted, and every other program that writes CMYK does as Adobe.
            np.subtract(255, pixels, out=pixels)
        image = Image.fromarray(pixels[:, :, 0] if space == "L" else pixels, mode=space)
        ((_, grey),) = colour.luma(image, 1, declared.profile, Depth())
    rgb = (
        _upright(_jpeg_colours(data, declared, space, side), declared.orientation) if side else None
    )
    frame = Frame(0, _upright(grey, declared.orientation), rgb=rgb)
    width, height = _turned(declared.width, declared.height, declared.orientation)
    return Media("jpeg", width, height, 1, (frame,))


def _jpeg_colours(data: bytes, declared: Survey, space: str, side: int) -> NDArray[np.uint8]:
    """What a viewer without colour management shows, reduced while decoding."""
    longer = max(declared.width, declared.height)
    factor = next((n for n in (8, 4, 2) if longer // n >= side), 1)
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data,
        "CMYK" if space == "CMYK" else "RGB",
        min_height=-(-declared.height // factor),
        min_width=-(-declared.width // factor),
        # What libjpeg complained of was judged when the greys were decoded.
        strict=False,
    )
    if space != "CMYK":
        return pixels
    return np.asarray(Image.fromarray(255 - pixels, mode="CMYK").convert("RGB"))


def _factor(width: int, height: int, detail: int, orientation: int) -> int:
    """8, 4, 2 or 1: how far a picture is reduced, its shorter side staying at `detail` or above.

    At 1/2 a third more is kept: filters a few pixels wide see too little of cells of two
    (docs/design/pdq.md).

    These are the reductions that JPEG knows, so that signals meet the same ones from every
    format. The last cell of a row may reach beyond the edge; a side that is yet to be reversed
    has to divide, or that cell would come first and move all the others.
    """
    across = width if orientation in (2, 3, 7, 8) else 0
    down = height if orientation in (3, 4, 6, 7) else 0
    for factor in (8, 4, 2):
        needed = detail * 4 // 3 if factor == 2 else detail
        if 0 < needed <= -(-min(width, height) // factor) and not (across | down) % factor:
            return factor
    return 1


def _check(
    kind: str,
    width: int,
    height: int,
    limits: Limits,
    *,
    animated: bool = False,
    image: ImageFile.ImageFile | None = None,
) -> None:
    pixels = width * height
    if pixels > limits.max_pixels:
        raise Rejected(
            Reason.TOO_MANY_PIXELS,
            f"{width}×{height} pixels are more than the {limits.max_pixels} allowed.",
        )
    if image is None and kind != "webp":
        return
    cost = pixels * _COST[kind][animated]
    if image is not None and image.mode in ("1", "L", "P") and kind in ("png", "bmp", "tiff"):
        cost //= 4
    elif image is not None and image.mode == "RGB" and kind in ("avif", "heif"):
        # The alpha plane is a picture of its own.
        cost = cost * 3 // 4
    _check_memory(kind, width, height, cost, limits)


def _check_memory(kind: str, width: int, height: int, cost: int, limits: Limits) -> None:
    if cost > limits.max_memory:
        raise Rejected(
            Reason.TOO_MUCH_MEMORY,
            f"Decoding {width}×{height} pixels of {kind} takes about {cost >> 20} MiB, more than "
            f"the {limits.max_memory >> 20} MiB allowed.",
        )


def _check_time(kind: str, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Rejected(Reason.TOO_SLOW, f"Decoding the {kind} file took too long.")


def _check_profile(profile: bytes | None) -> None:
    if profile is not None and len(profile) > survey.MAX_PROFILE:
        raise Rejected(
            Reason.TOO_MUCH_MEMORY, f"A colour profile of {len(profile)} bytes is not examined."
        )


def _depth(kind: str, image: ImageFile.ImageFile) -> Depth:
    if kind != "tiff" or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return Depth()
    bits = image.tag_v2.get(258, (1,))
    wide = image.mode.startswith("I;16")
    return Depth(
        top=(1 << int(bits[0])) - 1 if wide else 0,
        # Pillow inverts "white is zero" for up to eight bits and leaves wider samples.
        inverted=image.tag_v2.get(262) == 0 and (wide or image.mode in ("I", "F")),
    )


def _turned(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def _upright(grey: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture as it is to be seen, grey or in colour, for an EXIF orientation 1–8."""
    match orientation:
        case 2:
            grey = grey[:, ::-1]
        case 3:
            grey = grey[::-1, ::-1]
        case 4:
            grey = grey[::-1]
        case 5:
            grey = grey.swapaxes(0, 1)
        case 6:
            grey = grey[::-1].swapaxes(0, 1)
        case 7:
            grey = grey[::-1, ::-1].swapaxes(0, 1)
        case 8:
            grey = grey.swapaxes(0, 1)[::-1]
    return np.ascontiguousarray(grey)


def _typed(kind: str, error: Exception) -> Rejected:
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "end of file" in text:
        return Rejected(Reason.TRUNCATED, f"The {kind} file ends early.")
    if "memory" in text or "too large" in text or "security limit" in text:
        return Rejected(Reason.TOO_MUCH_MEMORY, f"The {kind} file needs too much memory.")
    return Rejected(Reason.CORRUPT, f"The {kind} file is damaged ({type(error).__name__}).")


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_state: warnings.catch_warnings[None] | None = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the decoders' warnings from the caller, also when several threads decode at once.

    `catch_warnings` alone restores the wrong filters when threads overlap: only the first one in
    sets them, and the last one out puts them back.
    """
    global _quiet_depth, _quiet_state
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_state = warnings.catch_warnings()
            _quiet_state.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_state is not None:
                _quiet_state.__exit__(None, None, None)
                _quiet_state = None


def single_threaded() -> None:
    """Keep the decoders to one thread each: for a process that is one worker of several."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1
