"""`tutela demo`: real photographs, altered as uploads are, screened against two banks."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

from tutela import bulk
from tutela.banks.bank import bankable
from tutela.cli.output import console, patience
from tutela.content import Content
from tutela.detectors import trigger
from tutela.errors import TutelaError
from tutela.findings import nudity
from tutela.media import sample
from tutela.screening import Screener
from tutela.settings import load
from tutela.verdict import Verdict

MARKER = ".tutela-demo"
HAS_FILMS = find_spec("av") is not None
"""Whether the extra for films is installed."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration showed."""

    verdicts: list[Verdict]
    as_expected: bool
    closing: list[str]


def run(out: Path, folder: Path | None, *, workers: int | None, quiet: bool) -> Demonstration:
    """Make the uploads and the banks below `out`, screen the uploads, then `folder` if named."""
    _clear(out)
    say = (lambda _: None) if quiet else _say
    say("Making the uploads from five photographs …")
    expected = dict(_uploads(out / "uploads"))
    with Screener(load(out / "data", workers=workers)) as screener:
        with patience():
            screener.warm()
        _fill_banks(screener)
        contents = [Content(path=path, name=path.name) for path in expected]
        altered = out / "protected" / "rocket-altered.jpg"
        altered.write_bytes(_encoded(_altered(_photo("rocket")), quality=60))
        expected[altered] = "hold"
        # As if the platform's own classifier had found nudity in it: it is a rocket and coins.
        score = (nudity(0.97),)
        contents.append(Content(path=altered, name=altered.name, findings=score))
        found = {verdict.name: verdict for verdict in screener.screen_many(contents)}
        verdicts = [found[path.name] for path in expected]
        scan, _ = bulk.scan(screener, out / "uploads")
        bulk.write_html(scan, out / "report.html", policy=screener.policy.version)
        closing = [f"Report: {out / 'report.html'}"]
        if folder is not None:
            say(f"Screening {folder} …")
            own, progress = bulk.scan(screener, folder)
            bulk.write_html(own, out / "your-report.html", policy=screener.policy.version)
            counts = ", ".join(f"{count:,} {name}" for name, count in progress.actions.items())
            closing.append(f"{folder}: {progress.done:,} files: {counts or 'none'}")
            closing.append(f"Report: {out / 'your-report.html'}")
    actions = {path.name: action for path, action in expected.items()}
    wrong = [verdict.name for verdict in verdicts if verdict.action != actions[verdict.name]]
    closing += [f"UNEXPECTED: {name} should be {actions[name]}" for name in wrong]
    closing.append(f"Try your own: tutela --data {out / 'data'} screen FILE")
    return Demonstration(verdicts, not wrong, closing)


def _say(text: str) -> None:
    console(stderr=True).print(text, style="dim", markup=False)


def _clear(out: Path) -> None:
    """An earlier demonstration is replaced; any other folder is left alone."""
    if out.exists() and not (out / MARKER).exists() and any(out.iterdir()):
        raise TutelaError(f"{out} holds something else; name another folder with --out")
    shutil.rmtree(out, ignore_errors=True)
    (out / "uploads").mkdir(parents=True)
    (out / "protected").mkdir()
    (out / MARKER).touch()


def _photo(name: str) -> Image.Image:
    with as_file(files("tutela.cli") / "data" / "photos" / f"{name}.jpg") as path:
        return Image.open(path).convert("RGB")


def _fill_banks(screener: Screener) -> None:
    """The banks know two of the photographs, from one file each; a third is protected."""
    for bank, tier, photo in (
        ("reviewed-by-us", "reviewed", "coffee"),
        ("reported-by-people", "reported", "cat"),
    ):
        screener.banks.create(bank, tier, owner="demo", purpose="to show what a match does")
        examination = screener.examine(Content(data=_encoded(_photo(photo))))
        new, _ = bankable(examination.fingerprints, note=f"the {photo} photograph")
        screener.banks.add(bank, new)
    screener.protect(_encoded(_photo("rocket")), bank="protected-photos")


def _uploads(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every upload, written, with the action that it must get."""
    coffee, cat = _photo("coffee"), _photo("cat")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    made: list[tuple[str, str, Callable[[], bytes]]] = [
        ("coffee-same-file.jpg", "block", lambda: _encoded(coffee)),
        ("coffee-small-recompressed.jpg", "block", lambda: _encoded(_half(coffee), quality=40)),
        ("coffee-mirrored.webp", "block", lambda: _encoded(ImageOps.mirror(coffee), "WEBP")),
        ("coffee-turned-by-exif.jpg", "block",
         lambda: _encoded(coffee.transpose(Image.Transpose.ROTATE_90), exif=rotated)),
        ("coffee-palette.gif", "block", lambda: _encoded(coffee.quantize(128), "GIF")),
        ("coffee-cmyk.jpg", "block", lambda: _encoded(coffee.convert("CMYK"))),
        ("coffee-in-an-animation.gif", "block",
         lambda: _animated([_photo("rocket"), _photo("galaxies"), coffee])),
        *([("coffee-in-a-film.mkv", "block", lambda: _film(coffee))] if HAS_FILMS else []),
        ("cat-screenshot.png", "hold", lambda: _encoded(_half(cat), "PNG")),
        ("cat.avif", "hold", lambda: _encoded(cat, "AVIF")),
        ("coins-cut-off.jpg", "hold", lambda: _encoded(_photo("coins"))[:9000]),
        ("no-picture-at-all.jpg", "hold", lambda: b"this is a text with a picture's name\n" * 9),
        ("tutela-trigger.jpg", "block",
         lambda: _encoded(Image.open(io.BytesIO(trigger.picture())).convert("RGB"))),
        ("rocket.jpg", "allow", lambda: _encoded(_photo("rocket"))),
        ("galaxies.webp", "allow", lambda: _encoded(_photo("galaxies"), "WEBP")),
        ("coins.png", "allow", lambda: _encoded(_photo("coins"), "PNG")),
    ]  # fmt: skip
    for name, action, make in made:
        path = folder / name
        path.write_bytes(make())
        yield path, action


def _film(picture: Image.Image) -> bytes:
    """A walk over other pictures, and a second and a half of this one."""
    wide = _photo("galaxies").resize((720, 480))
    before = [wide.crop((8 * n, 4 * n, 8 * n + 360, 4 * n + 240)) for n in range(24)]
    return sample.film([*before, *[picture.resize((360, 240))] * 12])


def _altered(picture: Image.Image) -> Image.Image:
    """The middle covered by something else, then cropped: nothing that PDQ still recognises."""
    width, height = picture.size
    altered = picture.copy()
    cover = _photo("coins").resize((width // 2, height // 2))
    altered.paste(cover, (width // 4, height // 4))
    return altered.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10))


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2))


def _encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 85} | options if kind != "PNG" else options))
    return buffer.getvalue()


def _animated(pictures: list[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    frames = [picture.resize((360, 240)) for picture in pictures]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=400)
    return buffer.getvalue()
