"""A small film with sound, made of pictures: to warm decoders and to test an installation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tutela.media.types import RATE


def film(pictures: Sequence[Image.Image], *, rate: int = 8, seconds: float = 4.0) -> bytes:
    """A Matroska file that shows these, so many a second, over a sound of its own length.

    Needs PyAV, of the extra `tutela[video]`.
    """
    import av

    width, height = (side // 2 * 2 for side in pictures[0].size)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as file:
        shown = file.add_stream(
            "mpeg4", rate=rate, width=width, height=height, pix_fmt="yuv420p", bit_rate=2_000_000
        )
        heard = file.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for picture in pictures:
            same = np.asarray(picture.convert("RGB").resize((width, height)))
            file.mux(shown.encode(av.VideoFrame.from_ndarray(same, format="rgb24")))
        # Its pitch moves: what is steady has nothing to be fingerprinted by.
        time = np.arange(int(seconds * RATE)) / RATE
        wave = (8000 * np.sin(2000 * time**2)).astype(np.int16)
        samples = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        samples.sample_rate = RATE
        file.mux(heard.encode(samples))
        for stream in (shown, heard):
            file.mux(stream.encode(None))
    return buffer.getvalue()
