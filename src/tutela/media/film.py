"""Films and sounds to what is compared of them: distinct instants, key frames, sound.

PyAV reads them (the extra `tutela[video]`) from memory, by the one demuxer of the container that
the first bytes name and by decoders on a list. Nothing that the content names is ever opened.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tutela.errors import Reason, Rejected
from tutela.media import film_kernels
from tutela.media.film_codecs import DEMUXERS, PICTURES, PLANAR, SOUNDS
from tutela.media.film_track import CELLS, Track
from tutela.media.frames import Sampler
from tutela.media.sniff import container
from tutela.media.types import RATE, Frame, Limits, Media, Sound

if TYPE_CHECKING:
    from av import AudioFrame, AudioResampler, Packet, VideoFrame
    from av.container import InputContainer

_MAX_STREAMS = 32
_RATES = 2_000, 400_000
"""Samples a second of sound that is decoded."""
_SHOWN = 640
"""Pixels of the longer side of a key frame in colour, at most."""
_DAMAGED = 0.05
"""Share of packets that may be damaged: players skip those, and so would hide what is there."""


def decode(data: bytes, limits: Limits, *, detail: int, colour: bool, sound: bool) -> Media:
    """Decode a film or a sound.

    Every frame is decoded and looked at. `Media.track` has the distinct instants, `Media.frames`
    at most `limits.max_frames` key frames, with luma whose shorter side is `detail` pixels (or the
    film's own where that is smaller; 0: all), and with `rgb` of the size of a view if `colour`.
    With `sound` the first sound track comes too, mono. A sound alone has no frames, but the
    pictures attached to it.

    Raises `Rejected`, and nothing else: for what is no film, is damaged, goes beyond `limits`, or
    without PyAV. A native decoder can't be stopped halfway nor survived when it crashes: for
    content from outside use `tutela.sandbox`.
    """
    kind = container(data)
    if kind is None:
        raise Rejected(Reason.UNKNOWN_TYPE, "The content is of no film or sound format known.")
    if len(data) > limits.max_bytes:
        raise Rejected(
            Reason.TOO_MANY_BYTES,
            f"{len(data)} bytes are above the {limits.max_bytes} allowed.",
        )
    try:
        import av
    except ImportError as error:
        raise Rejected(
            Reason.UNSUPPORTED, "Films and sounds are decoded with the extra tutela[video]."
        ) from error
    av.logging.set_level(None)
    deadline = time.monotonic() + limits.max_seconds
    try:
        with _open(kind, data, limits) as file:
            return _Reading(kind, limits, deadline, detail, colour, sound).read(file)
    except Rejected:
        raise
    except MemoryError as error:
        raise Rejected(Reason.TOO_MUCH_MEMORY, f"The {kind} file needs too much memory.") from error
    except av.error.ExitError as error:
        raise _slow(kind) from error
    except Exception as error:
        # Damaged files make a demuxer raise nearly every error there is.
        raise _typed(kind, error) from error


def _open(kind: str, data: bytes, limits: Limits) -> InputContainer:
    import av

    options = {
        # No other file, of whatever protocol, and no decoder that isn't on the list.
        "protocol_whitelist": "",
        "codec_whitelist": ",".join(sorted(PICTURES | SOUNDS)),
        "max_streams": str(_MAX_STREAMS),
        "max_pixels": str(limits.max_pixels),
        "probesize": str(5 << 20),
        "threads": "1",
    }
    if kind == "mp4":
        # An edit list leaves out parts, or repeats them without end: look at each once.
        options["ignore_editlist"] = "1"
    seconds = limits.max_seconds
    return av.open(
        io.BytesIO(data),
        "r",
        format=DEMUXERS[kind],
        options=options,
        metadata_errors="replace",
        timeout=(seconds, seconds),
        io_open=_refuse,
    )


def _refuse(*_: object) -> NoReturn:
    raise PermissionError("nothing that content names is opened")


@dataclass(slots=True)
class _Clock:
    """Times of a stream's frames: from its first one on, never back."""

    step: float
    """Seconds of a frame whose time is missing."""
    first: float | None = None
    at: float = 0.0
    count: int = 0

    def tick(self, pts: int | None, base: Fraction | None) -> float:
        """The seconds from the start of the next frame."""
        if pts is not None and base is not None:
            now = float(pts * base)
            if self.first is None:
                self.first = now
            now -= self.first
            # A stream that was cut or wraps goes on where it was.
            if now < self.at:
                self.first -= self.at + self.step - now
                now = self.at + self.step
        else:
            now = self.at + self.step if self.count else 0.0
        self.at = now
        self.count += 1
        return now


class _Reading:
    """One file being read."""

    def __init__(
        self, kind: str, limits: Limits, deadline: float, detail: int, colour: bool, sound: bool
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self.kind = kind
        self.limits = limits
        self.deadline = deadline
        self.detail = detail
        self.colour = colour
        self.sound = sound
        self.width = self.height = 0
        self.track = Track()
        self.sampler = Sampler(limits.max_frames)
        self.scaler = VideoReformatter()
        self.painter = VideoReformatter()
        self.heard = _Heard(limits)
        self.aspect = 1.0
        self.packets = self.damaged = 0

    def read(self, file: InputContainer) -> Media:
        moving, covers = self._pictures(file)
        audio = file.streams.audio[0] if self.sound and file.streams.audio else None
        if moving is None and not covers and not file.streams.audio:
            raise Rejected(Reason.CORRUPT, f"The {self.kind} file holds no film and no sound.")
        chosen = [stream for stream in (moving, audio, *covers) if stream is not None]
        for stream in chosen:
            _check_codec(stream)
            stream.codec_context.thread_count = 1
        rate = float(moving.average_rate or 0) if moving is not None else 0.0
        if moving is not None:
            aspect = float(moving.sample_aspect_ratio or 1)
            self.aspect = aspect if 1 / 4 <= aspect <= 4 else 1.0
        clock = _Clock(1 / rate if 0 < rate < 1000 else 0.04)
        index = samples = 0
        for packet in file.demux(chosen) if chosen else ():
            self._check_time()
            samples += packet.stream is moving and packet.size > 0
            for frame in self._decoded(packet):
                self._check_time()
                if packet.stream is audio:
                    self.heard.add(frame)
                    continue
                if packet.stream is moving:
                    at = clock.tick(frame.pts, frame.time_base)
                    self._see(frame, index, at)
                else:
                    self._see(frame, index, None)
                index += 1
                if index > self.limits.max_film_frames:
                    raise Rejected(
                        Reason.TOO_MANY_FRAMES,
                        f"The film has more than {self.limits.max_film_frames} frames.",
                    )
        if self.damaged > _DAMAGED * self.packets:
            raise Rejected(Reason.CORRUPT, f"Much of the {self.kind} file is damaged.")
        if moving is not None and self.kind == "mp4" and samples < 0.9 * moving.frames:
            # Its table declares more than there is: it ends early, or part of it is hidden.
            raise Rejected(Reason.TRUNCATED, "The mp4 file ends early.")
        heard = self.heard.sound() if audio is not None else None
        if not index and (heard is None or not len(heard.samples)) and (moving or audio):
            raise Rejected(Reason.CORRUPT, f"Nothing of the {self.kind} file can be decoded.")
        seconds = clock.at + clock.step if clock.count else 0.0
        if heard is not None:
            seconds = max(seconds, heard.seconds)
        return Media(
            self.kind,
            self.width,
            self.height,
            index,
            self.sampler.frames(),
            self.track.whole(),
            self.track.insets(),
            heard,
            seconds,
        )

    def _pictures(self, file: InputContainer) -> tuple[Any, list[Any]]:
        """The film of the file, and the pictures that are attached to it."""
        from av.stream import Disposition

        attached = Disposition.attached_pic | Disposition.timed_thumbnails
        covers = [stream for stream in file.streams.video if stream.disposition & attached]
        moving = [stream for stream in file.streams.video if stream not in covers]
        if len(moving) > 1:
            # Players show one, and let people choose another.
            raise Rejected(Reason.UNSUPPORTED, "The file holds more than one film.")
        return (moving[0] if moving else None), covers

    def _decoded(self, packet: Packet[Any]) -> Iterator[Any]:
        """The frames of a packet; a damaged one is skipped, as players do, and counted."""
        from av.error import ExitError, FFmpegError

        self.packets += 1
        try:
            yield from packet.decode()
        except (ExitError, MemoryError):
            raise
        except FFmpegError:
            self.damaged += 1

    def _see(self, frame: VideoFrame, index: int, at: float | None) -> None:
        pixels = frame.width * frame.height
        if pixels > self.limits.max_pixels:
            raise Rejected(
                Reason.TOO_MANY_PIXELS,
                f"{frame.width}×{frame.height} pixels of a film are more than the "
                f"{self.limits.max_pixels} allowed.",
            )
        if at is not None and at > self.limits.max_duration:
            raise _long(self.limits)
        width, height = self._shown(frame)
        turn = round(frame.rotation / 90) % 4
        luma, factor = self._luma(frame)
        luma = _turned(luma, turn)
        rows, columns = luma.shape[0] * factor, luma.shape[1] * factor
        if turn % 2:
            width, height = height, width
        if width * height > self.width * self.height:
            self.width, self.height = width, height
        if at is None or self.track.see(luma, rows, columns, at):
            self.sampler.offer(index, luma, self._maker(frame, index, at, turn))

    def _maker(
        self, frame: VideoFrame, index: int, at: float | None, turn: int
    ) -> Callable[[], tuple[Frame, ...]]:
        def make() -> tuple[Frame, ...]:
            width, height = self._shown(frame)
            shorter = min(width, height)
            luma = self._scaled(
                frame, "gray", min(1.0, self.detail / shorter) if self.detail else 1
            )
            rgb = None
            if self.colour:
                rgb = self._scaled(frame, "rgb24", min(1.0, _SHOWN / max(width, height)))
                rgb = _turned(rgb, turn)
            return (Frame(index, _turned(luma, turn), at=at, rgb=rgb),)

        return make

    def _scaled(self, frame: VideoFrame, form: str, scale: float) -> NDArray[np.uint8]:
        width, height = self._shown(frame)
        scaler = self.painter if form == "rgb24" else self.scaler
        small = scaler.reformat(
            frame,
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            format=form,
            interpolation="AREA",
            threads=1,
        )
        return np.ascontiguousarray(small.to_ndarray())

    def _shown(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height in square pixels, as it is stored."""
        return max(1, round(frame.width * self.aspect)), frame.height

    def _luma(self, frame: VideoFrame) -> tuple[NDArray[np.uint8], int]:
        """The frame in grey, reduced by a whole factor, as it is stored."""
        factor = max(1, min(frame.width, frame.height) // CELLS)
        rows, columns = frame.height // factor, frame.width // factor
        form = frame.format.name
        if form not in PLANAR:
            frame = self.scaler.reformat(frame, format="gray", threads=1)
            form = "gray"
        plane = frame.planes[0]
        stored = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
        stored = stored.reshape(-1, plane.line_size)
        # Video keeps black at 16 and white at 235, where it doesn't say otherwise.
        full = form.startswith(("yuvj", "gray")) or frame.color_range == 2
        black, gain = (0.0, 1.0) if full else (16.0, 255 / 219)
        luma = np.empty((rows, columns), np.uint8)
        film_kernels.shrink(stored, factor, black, gain, luma)
        return luma, factor

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise _slow(self.kind)


def _turned(picture: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Upright, for so many quarter turns anticlockwise."""
    return np.ascontiguousarray(np.rot90(picture, turn)) if turn else picture


@dataclass(slots=True)
class _Heard:
    """Sound being gathered: stereo at `RATE`, mixed as it comes."""

    limits: Limits
    _samples: bytearray = field(default_factory=bytearray)
    _resampler: AudioResampler | None = None
    _form: tuple[str, str, int] | None = None

    def add(self, frame: AudioFrame) -> None:
        from av import AudioResampler

        form = frame.format.name, frame.layout.name, frame.sample_rate
        if self._resampler is None or form != self._form:
            if not _RATES[0] <= frame.sample_rate <= _RATES[1]:
                # Resampling from there takes filters without bound.
                rate = frame.sample_rate
                raise Rejected(
                    Reason.UNSUPPORTED, f"Sound at {rate} samples a second is not heard."
                )
            # A stream may change its form halfway.
            self._flush()
            self._resampler = AudioResampler(format="s16", layout="stereo", rate=RATE)
            self._form = form
        frame.pts = None
        for made in self._resampler.resample(frame):
            self._mix(made)

    def _flush(self) -> None:
        if self._resampler is not None:
            for made in self._resampler.resample(None):
                self._mix(made)
            self._resampler = None

    def _mix(self, frame: AudioFrame) -> None:
        sides = frame.to_ndarray().reshape(-1, 2).astype(np.int32)
        mono = (sides[:, 0] + sides[:, 1]) >> 1
        # Sides in opposite phase are heard, and would cancel each other.
        if len(mono) and 16 * _power(mono) < _power(sides[:, 0]):
            mono = sides[:, 0]
        self._samples += mono.astype(np.int16).tobytes()
        if len(self._samples) > 2 * RATE * self.limits.max_duration:
            raise _long(self.limits)

    def sound(self) -> Sound:
        self._flush()
        return Sound(np.frombuffer(self._samples, np.int16))


def _power(samples: NDArray[np.int32]) -> float:
    return float(np.square(samples, dtype=np.float64).mean())


def _check_codec(stream: Any) -> None:
    context = stream.codec_context
    name = context.codec.name if context is not None else "none"
    if name not in PICTURES | SOUNDS:
        raise Rejected(Reason.UNSUPPORTED, f"The coding {name[:40]!r} of a film is not decoded.")


def _long(limits: Limits) -> Rejected:
    return Rejected(
        Reason.TOO_LONG, f"It plays for more than the {limits.max_duration:g} seconds allowed."
    )


def _slow(kind: str) -> Rejected:
    return Rejected(Reason.TOO_SLOW, f"Decoding the {kind} file took too long.")


def _typed(kind: str, error: Exception) -> Rejected:
    from av.error import EOFError as AvEnd

    if isinstance(error, AvEnd | EOFError):
        return Rejected(Reason.TRUNCATED, f"The {kind} file ends early.")
    return Rejected(Reason.CORRUPT, f"The {kind} file is damaged ({type(error).__name__}).")
