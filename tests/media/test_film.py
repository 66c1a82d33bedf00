"""Films and sounds come out right, bounded, or with a typed rejection."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

import films
import fuzz
from films import Picture
from support import encoded, photo
from tutela.errors import Reason, Rejected
from tutela.media import decode, film, film_kernels, sniff
from tutela.media.film_track import distance
from tutela.media.types import FILMS, RATE, Limits, Media
from tutela.signals.pdq import PDQ

pytest.importorskip("av")
WIDTH, HEIGHT = 256, 144


PHOTOS = ("coffee", "cat", "coins", "galaxies", "rocket")


@cache
def fitted(name: str) -> Picture:
    return films.fitted(photo(name), WIDTH, HEIGHT)


def texture(number: int) -> Picture:
    return fitted(PHOTOS[number % len(PHOTOS)])


def made(seed: int, seconds: float, fps: float = 10) -> list[Picture]:
    return list(films.film(texture, seed, seconds, width=WIDTH, height=HEIGHT, fps=fps))


def still(count: int, number: int = 1) -> list[Picture]:
    return [texture(number)[:HEIGHT, :WIDTH]] * count


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hertz / RATE * np.arange(round(seconds * RATE)))).astype("i2")


def decoded(data: bytes, limits: Limits | None = None, **options: object) -> Media:
    chosen = {"detail": 64, "colour": False, "sound": False} | options
    return film.decode(data, limits or FILMS, **chosen)


def rejected(data: bytes, limits: Limits | None = None, **options: object) -> Reason:
    with pytest.raises(Rejected) as caught:
        decoded(data, limits, **options)
    return caught.value.reason


MADE = {
    "mp4 h264": ("mp4", {"codec": "libx264", "container": "mp4"}),
    "mov mjpeg": ("mp4", {"codec": "mjpeg", "container": "mov", "form": "yuvj420p"}),
    "mkv ffv1": ("matroska", {"codec": "ffv1", "container": "matroska"}),
    "mkv rgb": ("matroska", {"codec": "ffv1", "container": "matroska", "form": "bgr0"}),
    "mkv ten bits": ("matroska", {"codec": "ffv1", "container": "matroska", "form": "yuv420p10le"}),
    "webm vp9": ("matroska", {"codec": "libvpx-vp9", "container": "webm", "bits": 400_000}),
    "avi mpeg4": ("avi", {"codec": "mpeg4", "container": "avi", "bits": 400_000}),
    "mpegts": (
        "mpegts",
        {"codec": "mpeg2video", "container": "mpegts", "bits": 900_000, "fps": 25},
    ),
    "mpegps": ("mpegps", {"codec": "mpeg2video", "container": "mpeg", "bits": 900_000, "fps": 25}),
    "flv": ("flv", {"codec": "flv", "container": "flv", "bits": 400_000}),
    "asf": ("asf", {"codec": "wmv2", "container": "asf", "bits": 400_000}),
}


@pytest.mark.parametrize("name", MADE)
def test_films(name: str) -> None:
    kind, options = MADE[name]
    pictures = made(1, 2.0)
    fps = options.setdefault("fps", 10)
    data = films.encode(pictures, **options)
    assert sniff.is_film(data[:4096])
    media = decoded(data, detail=100, colour=True)
    assert (media.format, media.width, media.height) == (kind, WIDTH, HEIGHT)
    assert media.frame_count == len(pictures)
    assert media.duration == pytest.approx(len(pictures) / fps, abs=0.15)
    assert 2 <= len(media.track) <= media.frame_count
    times = [moment.at for moment in media.track]
    assert times == sorted(times)
    assert times[0] == 0
    for frame in media.frames:
        wanted = Image.fromarray(pictures[frame.index])
        assert frame.luma.shape == (100, round(100 * WIDTH / HEIGHT))
        grey = wanted.convert("L").resize(frame.luma.shape[::-1], Image.Resampling.BOX)
        assert np.abs(frame.luma - np.asarray(grey, float)).mean() < 12
        assert frame.rgb is not None
        assert frame.rgb.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(frame.rgb - np.asarray(wanted, float)).mean() < 14
        assert frame.at == pytest.approx(frame.index / fps, abs=0.01)
        assert media.part(frame).startswith("0:0")


SOUNDS = {
    "mp3": ("mp3", "mp3", "mp3"),
    "wav": ("wav", "pcm_s16le", "wav"),
    "flac": ("flac", "flac", "flac"),
    "m4a": ("mp4", "aac", "ipod"),
    "aac": ("aac", "aac", "adts"),
    "opus": ("ogg", "libopus", "ogg"),
    "webm": ("matroska", "libopus", "webm"),
    "aiff": ("aiff", "pcm_s16be", "aiff"),
    "caf": ("caf", "pcm_s16le", "caf"),
    "wma": ("asf", "wmav2", "asf"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(name: str) -> None:
    kind, codec, container = SOUNDS[name]
    data = films.encode_sound(tone(1.5), codec=codec, container=container, bits=48_000)
    assert sniff.is_film(data[:4096])
    media = decoded(data, sound=True)
    assert (media.format, media.width, media.height, media.frames) == (kind, 0, 0, ())
    assert media.sound is not None
    assert media.sound.samples.dtype == np.int16
    assert media.sound.seconds == pytest.approx(1.5, abs=0.2)
    assert media.duration == pytest.approx(1.5, abs=0.2)
    middle = media.sound.samples[RATE // 2 : RATE]
    loudest = np.argmax(np.abs(np.fft.rfft(middle)))
    assert loudest * RATE / len(middle) == pytest.approx(440, abs=4)


def test_the_sound_of_a_film() -> None:
    data = films.encode(made(2, 1.0), fps=10, sound=tone(1.0))
    assert decoded(data).sound is None
    media = decoded(data, sound=True)
    assert media.sound is not None
    assert media.sound.seconds == pytest.approx(1.0, abs=0.1)
    assert len(media.track) > 1


def test_sides_in_opposite_phase_are_heard() -> None:
    import av

    samples = tone(1.0)
    data = films.encode_sound(samples, codec="pcm_s16le", container="wav")
    header = bytearray(data[: data.index(b"data") + 8])
    at = header.index(b"fmt ") + 8
    header[at + 2 : at + 4] = (2).to_bytes(2, "little")
    header[at + 12 : at + 14] = (4).to_bytes(2, "little")
    stereo = np.stack([samples, -samples], axis=1).astype("<i2").tobytes()
    header[-4:] = len(stereo).to_bytes(4, "little")
    heard = decoded(bytes(header) + stereo, sound=True).sound
    assert av.library_versions
    assert heard is not None
    assert np.abs(heard.samples).max() > 6000


def test_sound_at_impossible_rates_is_refused() -> None:
    data = bytearray(films.encode_sound(tone(0.5), codec="pcm_s16le", container="wav"))
    at = data.index(b"fmt ") + 12
    for rate in (1, 268_451_857):
        data[at : at + 4] = rate.to_bytes(4, "little")
        assert rejected(bytes(data), sound=True) in (Reason.UNSUPPORTED, Reason.CORRUPT)


def test_films_come_upright() -> None:
    import io

    import av

    pictures = still(12)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.set_display_rotation(90)
        for picture in pictures:
            turned = np.ascontiguousarray(np.rot90(picture, -1))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(turned, format="rgb24")))
        file.mux(stream.encode(None))
    media = decoded(out.getvalue(), colour=True)
    assert (media.width, media.height) == (WIDTH, HEIGHT)
    assert media.frames[0].rgb is not None
    assert np.abs(media.frames[0].rgb - pictures[0].astype(float)).mean() < 8
    plain = decoded(films.encode(pictures, fps=10))
    assert distance(plain.track[0].pdq, media.track[0].pdq) <= 16


def test_hashes_are_those_of_the_pictures() -> None:
    pictures = made(3, 2.0)
    media = decoded(films.encode(pictures, fps=10, codec="ffv1", container="matroska"), detail=0)
    assert media.frames[0].luma.shape == (HEIGHT, WIDTH)
    by_frame = {made.part: made for made in PDQ.fingerprint(b"", media)}
    by_time = {moment.at: moment for moment in media.track}
    for frame in media.frames:
        moment = by_time[frame.at]
        fingerprint = by_frame[media.part(frame)]
        assert distance(moment.pdq, fingerprint.value) <= 10
        assert distance(moment.mirrored, dict(fingerprint.variants)["mirrored"]) <= 10


def test_one_frame_that_flashes_is_seen() -> None:
    pictures = [*still(40), texture(5)[:HEIGHT, :WIDTH], *still(40)]
    media = decoded(films.encode(pictures, fps=25))
    assert 40 in {frame.index for frame in media.frames}
    assert any(moment.at == pytest.approx(1.6) for moment in media.track)


def test_a_still_film_is_one_instant_and_its_end() -> None:
    media = decoded(films.encode(still(60), fps=10))
    assert len(media.track) <= 3
    assert media.track[-1].at == pytest.approx(5.9)


def test_frames_are_at_most_those_asked_for() -> None:
    media = decoded(films.encode(made(4, 6.0), fps=10), replace(FILMS, max_frames=5))
    assert len(media.frames) == 5
    assert len(media.track) > 5


def surrounded(pictures: list[Picture]) -> Iterator[Picture]:
    rng = np.random.default_rng(9)
    around = Image.fromarray(rng.integers(0, 256, (18, 32, 3), np.uint8)).resize((WIDTH, HEIGHT))
    return films.inset(pictures, lambda _: np.asarray(around), 0.6, (0.4, 0.7))


def test_what_is_inside_borders_and_still_surrounds_is_hashed() -> None:
    pictures = made(6, 4.0)
    plain = decoded(films.encode(pictures, fps=10))
    for name, altered in (
        ("cropped", films.letterboxed(pictures)),
        ("cropped", films.pillarboxed(pictures, level=255)),
        ("window", surrounded(pictures)),
    ):
        inner = decoded(films.encode(altered, fps=10)).insets[name]
        near = [min(distance(a.pdq, b.pdq) for b in plain.track) for a in inner]
        assert np.median(near) <= 20


def test_bounds() -> None:
    data = films.encode(made(7, 2.0), fps=10, sound=tone(2.0))
    limits = FILMS
    assert rejected(data, replace(limits, max_bytes=len(data) - 1)) is Reason.TOO_MANY_BYTES
    pixels = replace(limits, max_pixels=WIDTH * HEIGHT - 1)
    assert rejected(data, pixels) in (Reason.TOO_MANY_PIXELS, Reason.CORRUPT)
    assert rejected(data, replace(limits, max_film_frames=19)) is Reason.TOO_MANY_FRAMES
    assert rejected(data, replace(limits, max_duration=1.0)) is Reason.TOO_LONG
    assert rejected(data, replace(limits, max_seconds=0.0)) is Reason.TOO_SLOW
    sound = films.encode_sound(tone(2.0))
    assert rejected(sound, replace(limits, max_duration=1.0), sound=True) is Reason.TOO_LONG


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"1\n00:00:01,000 --> 00:00:02,000\nwords\n",
        b"GIF89a" + 600 * b"G",
        b"",
    ],
)
def test_what_names_other_files_is_no_film(data: bytes) -> None:
    assert not sniff.is_film(data)
    assert rejected(data) is Reason.UNKNOWN_TYPE


def test_two_films_in_one_file_are_refused() -> None:
    import io

    import av

    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as file:
        streams = [file.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for stream in streams:
            for picture in still(3):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                file.mux(stream.encode(frame.reformat(format="yuv420p")))
            file.mux(stream.encode(None))
    assert rejected(out.getvalue()) is Reason.UNSUPPORTED


def test_codings_that_are_not_on_the_list_are_refused() -> None:
    data = films.encode(still(3), codec="huffyuv", container="avi", form="yuv422p")
    assert rejected(data) is Reason.UNSUPPORTED


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = films.encode(still(3), fps=10)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Rejected, match=r"tutela\[video\]") as caught:
        decoded(data)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_a_film_that_ends_early() -> None:
    data = films.encode(
        made(8, 3.0), fps=10, options={"preset": "ultrafast", "movflags": "faststart"}
    )
    outcomes = {rejected(data[: len(data) * part // 8]) for part in range(1, 8)}
    assert outcomes <= {Reason.TRUNCATED, Reason.CORRUPT}


def test_damaged_files_give_rejections_alone() -> None:
    files = [films.encode(made(9, 0.5), **options) for _, options in MADE.values()]
    files += [
        films.encode_sound(tone(0.3), codec=codec, container=container, bits=48_000)
        for _, codec, container in SOUNDS.values()
    ]
    outcomes: dict[str, int] = {}
    for number in range(600):
        rng = random.Random(number)
        data, other = rng.choice(files), rng.choice(files)
        for _ in range(rng.randrange(1, 4)):
            data = fuzz.bytewise(data, rng, other)
        try:
            decoded(data, replace(FILMS, max_seconds=2.0), sound=True)
            outcome = "decoded"
        except Rejected as error:
            outcome = error.reason
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["decoded"] > 20
    assert outcomes[Reason.CORRUPT] > 20


def test_shrink_is_the_mean_of_the_pixels() -> None:
    rng = np.random.default_rng(1)
    plane = rng.integers(16, 236, (50, 70), np.uint8)
    for factor in (1, 2, 3, 7):
        rows, columns = 45 // factor, 64 // factor
        out = np.empty((rows, columns), np.uint8)
        film_kernels.shrink(plane, factor, 16.0, 255 / 219, out)
        cells = plane[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        wanted = (cells.mean(axis=(1, 3)) - 16) * 255 / 219
        assert np.abs(out - wanted).max() <= 0.51


def test_differ_counts_what_moved() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.integers(0, 256, (2, 30, 40), np.uint8)
    moves = np.zeros((30, 40), np.uint16)
    count = film_kernels.differ(one, other, 10, moves)
    wanted = np.abs(one.astype(int) - other) > 10
    assert count == wanted.sum()
    assert (moves == wanted).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_have_a_track(kind: str) -> None:
    pictures = [Image.fromarray(picture) for picture in made(10, 1.2)]
    data = encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=200)
    media = decode(data, detail=100)
    assert media.duration == pytest.approx(0.2 * len(pictures))
    assert [frame.at for frame in media.frames] == [
        pytest.approx(0.2 * frame.index) for frame in media.frames
    ]
    plain = decoded(films.encode([np.asarray(picture) for picture in pictures], fps=5))
    near = [min(distance(a.pdq, b.pdq) for b in plain.track) for a in media.track]
    assert len(near) > 2
    assert np.median(near) <= 31


def test_pages_are_no_instants() -> None:
    pages = [Image.fromarray(picture) for picture in still(3)]
    media = decode(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert (media.frame_count, media.track, media.duration) == (3, (), 0)
