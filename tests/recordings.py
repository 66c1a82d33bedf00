"""Films made by code, for tests: pictures in motion and a sound whose pitch moves."""

from __future__ import annotations

import io
from functools import cache

import av
import numpy as np
from PIL import Image

from tutela.media.types import RATE

LIVE = {
    "mpegts": {},
    "mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "matroska": {"live": "1"},
}
"""Containers that can be screened while they grow, with the options of a live recording."""


@cache
def film(
    form: str = "mp4",
    *,
    seconds: float = 4,
    rate: int = 10,
    size: tuple[int, int] = (320, 180),
    codec: str = "libx264",
    sound: bool = False,
    seed: int = 0,
    live: bool = False,
) -> bytes:
    """A picture of soft spots that is panned over, a key frame each second."""
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    wide = Image.fromarray(noise).resize((size[0] * 3, size[1] * 3), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form, options=LIVE[form] if live else {}) as file:
        pictures = file.add_stream(codec, rate=rate, options={"g": str(rate)})
        pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
        sounds = file.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for n in range(round(seconds * rate)):
            x, y = 20 * n % (2 * size[0]), 7 * n % (2 * size[1])
            shown = wide.crop((x, y, x + size[0], y + size[1]))
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")))
        file.mux(pictures.encode(None))
        if sounds is not None:
            time = np.arange(round(seconds * RATE)) / RATE
            wave = (8000 * np.sin(3000 * time**1.5)).astype(np.int16)
            for at in range(0, len(wave), 1024):
                heard = av.AudioFrame.from_ndarray(wave[None, at : at + 1024], "s16", "mono")
                heard.sample_rate, heard.pts = RATE, at
                file.mux(sounds.encode(heard))
            file.mux(sounds.encode(None))
    return buffer.getvalue()
