"""Films made of still pictures in motion, and what people do to films."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""(height, width, 3), sRGB."""


def encode(
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    fps: float = 25,
    size: tuple[int, int] | None = None,
    bits: int = 0,
    options: dict[str, str] | None = None,
    form: str = "yuv420p",
    sound: NDArray[np.int16] | None = None,
    sound_codec: str = "aac",
) -> bytes:
    """A film of the pictures; `size` is width and height, `bits` the bits a second.

    `sound` is mono at 16 kHz.
    """
    if options is None:
        options = {"preset": "ultrafast", "crf": "23"} if codec == "libx264" and not bits else {}
        if codec.startswith("libvpx"):
            options = {"deadline": "realtime", "cpu-used": "8"}
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = None
        heard: Any = None
        for picture in pictures:
            if stream is None:
                stream = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
                stream.pix_fmt = form
                stream.width, stream.height = size or (picture.shape[1], picture.shape[0])
                stream.options = options
                if bits:
                    stream.bit_rate = bits
                if sound is not None:
                    heard = file.add_stream(sound_codec, rate=16_000, layout="mono")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            file.mux(stream.encode(frame.reformat(stream.width, stream.height, form)))
        if stream is not None:
            file.mux(stream.encode(None))
        if sound is not None:
            mux_sound(file, heard, sound)
    return out.getvalue()


def encode_sound(
    samples: NDArray[np.int16], *, codec: str = "mp3", container: str = "mp3", bits: int = 0
) -> bytes:
    """A sound file, mono, of samples at 16 kHz."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=16_000, layout="mono")
        if bits:
            stream.bit_rate = bits
        mux_sound(file, stream, samples)
    return out.getvalue()


def mux_sound(file: Any, stream: Any, samples: NDArray[np.int16]) -> None:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 16_000
    frame.pts = 0
    fifo = av.AudioFifo()
    fifo.write(frame)
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
    size = stream.codec_context.frame_size or 1024
    while (part := fifo.read(size, partial=True)) is not None:
        for made in resampler.resample(part):
            file.mux(stream.encode(made))
    file.mux(stream.encode(None))


class Scene:
    """A camera that moves over one picture, gently in and out."""

    def __init__(self, picture: Picture, width: int, height: int, rng: Any, seconds: float) -> None:
        self.picture = Image.fromarray(picture)
        self.width, self.height = width, height
        self.begin = rng.uniform(0, 1, 2)
        reach = 0.8 * min(1.0, seconds / 6)
        self.end = np.clip(self.begin + rng.uniform(-reach, reach, 2), 0, 1)
        self.zoom = rng.uniform(1.0, 1.3, 2)

    def at(self, time: float) -> Picture:
        """The picture at a time from 0 to 1."""
        eased = time * time * (3 - 2 * time)
        zoom = self.zoom[0] + (self.zoom[1] - self.zoom[0]) * eased
        place = self.begin + (self.end - self.begin) * eased
        width = min(1.3 * self.width / zoom, self.picture.width)
        height = min(1.3 * self.height / zoom, self.picture.height)
        left = (self.picture.width - width) * place[0]
        top = (self.picture.height - height) * place[1]
        box = (left, top, left + width, top + height)
        size = (self.width, self.height)
        return np.asarray(self.picture.resize(size, Image.Resampling.BILINEAR, box=box))


def fitted(picture: Image.Image, width: int, height: int) -> Picture:
    """A picture a third larger than a film of that size: room to move."""
    scale = 1.35 * max(width / picture.width, height / picture.height)
    size = (round(picture.width * scale), round(picture.height * scale))
    resized = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    return np.asarray(resized)


def film(
    load: Callable[[int], Picture],
    seed: int,
    seconds: float,
    *,
    width: int = 640,
    height: int = 360,
    fps: float = 25,
    shots: tuple[float, float] = (2.0, 7.0),
) -> Iterator[Picture]:
    """The pictures of a film: shots of so many seconds, each over the picture that `load` gives.

    `load` is asked by a number of 31 bits, and gives a picture as `fitted` does.
    """
    rng = np.random.default_rng(seed)
    at = 0.0
    while at < seconds - 1e-9:
        length = min(float(rng.uniform(*shots)), seconds - at)
        scene = Scene(load(int(rng.integers(2**31))), width, height, rng, length)
        count = max(1, round(length * fps))
        for n in range(count):
            yield scene.at(n / count)
        at += length


# What people do to films: pictures in, pictures out.


def letterboxed(pictures: Sequence[Picture], share: float = 0.12) -> Iterator[Picture]:
    """Reduced, with black bars above and below that take `share` of the height each."""
    for picture in pictures:
        height, width = picture.shape[:2]
        bar = round(share * height)
        out = np.zeros_like(picture)
        inner = Image.fromarray(picture).resize((width, height - 2 * bar))
        out[bar : height - bar] = np.asarray(inner)
        yield out


def pillarboxed(
    pictures: Sequence[Picture], share: float = 0.2, level: int = 0
) -> Iterator[Picture]:
    """Reduced, with bars left and right of it."""
    for picture in pictures:
        height, width = picture.shape[:2]
        bar = round(share * width)
        out = np.full_like(picture, level)
        inner = Image.fromarray(picture).resize((width - 2 * bar, height))
        out[:, bar : width - bar] = np.asarray(inner)
        yield out


def inset(
    pictures: Sequence[Picture],
    around: Callable[[int], Picture],
    share: float,
    place: tuple[float, float],
) -> Iterator[Picture]:
    """In a corner of other pictures: `share` of their sides, at `place` (0–1 each)."""
    for n, picture in enumerate(pictures):
        out = around(n).copy()
        height, width = out.shape[:2]
        small = Image.fromarray(picture).resize((round(width * share), round(height * share)))
        top, left = (
            round(place[0] * (height - small.height)),
            round(place[1] * (width - small.width)),
        )
        out[top : top + small.height, left : left + small.width] = np.asarray(small)
        yield out


def filmed_off(pictures: Sequence[Picture], rng: Any, strength: float = 1.0) -> Iterator[Picture]:
    """Filmed off a screen: aslant, dimmer, with noise, and a hand that is not quite still."""
    height, width = pictures[0].shape[:2]
    lean = rng.uniform(-0.03, 0.03, 8) * strength
    for n, picture in enumerate(pictures):
        sway = 0.004 * strength * np.sin(n / 9 + np.arange(8))
        corners = np.array([0, 0, 0, 1, 1, 1, 1, 0]) + lean + sway
        quad = (corners.reshape(4, 2) * (width, height)).ravel()
        shot = Image.fromarray(picture).transform(
            (width, height), Image.Transform.QUAD, tuple(quad), Image.Resampling.BILINEAR
        )
        seen = np.asarray(shot, np.float32) * 0.85 + 12
        seen += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
        yield np.clip(seen, 0, 255).astype(np.uint8)


# Small files of every container.

SEEDS = {
    "mp4": (("libx264", "mp4"), ("libx265", "mp4"), ("libsvtav1", "mp4"), ("mjpeg", "mov")),
    "matroska": (("libvpx-vp9", "webm"), ("libvpx", "webm"), ("ffv1", "matroska")),
    "avi": (("mpeg4", "avi"), ("msmpeg4", "avi"), ("mjpeg", "avi")),
    "mpegts": (("mpeg2video", "mpegts"), ("libx264", "mpegts")),
    "mpegps": (("mpeg1video", "mpeg"), ("mpeg2video", "mpeg")),
    "flv": (("flv", "flv"), ("libx264", "flv")),
    "asf": (("wmv1", "asf"), ("wmv2", "asf")),
}
SOUND_SEEDS = {
    "mp3": (("mp3", "mp3"),),
    "aac": (("aac", "adts"),),
    "wav": (("pcm_s16le", "wav"), ("adpcm_ms", "wav")),
    "flac": (("flac", "flac"),),
    "ogg": (("libopus", "ogg"),),
    "mp4": (("aac", "ipod"), ("alac", "ipod")),
    "aiff": (("pcm_s16be", "aiff"),),
    "caf": (("pcm_s16le", "caf"), ("alac", "caf")),
    "asf": (("wmav2", "asf"),),
}


def seeds() -> dict[str, list[bytes]]:
    """Small films and sounds, by container, of generated pictures and tones."""
    rng = np.random.default_rng(5)
    coarse = [
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120))
        for _ in range(3)
    ]
    pictures = list(
        film(lambda n: fitted(coarse[n % 3], 96, 64), 3, 0.5, width=96, height=64, shots=(0.1, 0.3))
    )
    wave = (8000 * np.sin(np.arange(4000) ** 1.3 / 40)).astype(np.int16)
    quick = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12"}}
    made: dict[str, list[bytes]] = {}
    for kind, files in SEEDS.items():
        for codec, container in files:
            form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            made.setdefault(kind, []).append(
                encode(pictures, codec=codec, container=container, form=form, bits=200_000,
                       options=quick.get(codec))
            )  # fmt: skip
    made["mp4"].append(encode(pictures, sound=wave))
    for kind, sounds in SOUND_SEEDS.items():
        for codec, container in sounds:
            made.setdefault(kind, []).append(
                encode_sound(wave, codec=codec, container=container, bits=48_000)
            )
    return made
