"""`tutela doctor`: is this installation able to do its job?"""

from __future__ import annotations

import io
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from tutela import models, signals
from tutela.banks.bank import bankable
from tutela.cli.output import Options
from tutela.content import Content
from tutela.detectors import installed, trigger
from tutela.errors import ModelMissing, TutelaError
from tutela.findings import DERIVATIVE
from tutela.media import sample
from tutela.policy import check as check_policy
from tutela.screening import Screener
from tutela.settings import load

LOW_DISK = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str


def examine(options: Options) -> list[Check]:
    """Try everything that screening needs, in your data folder and in a throw-away one."""
    checks = [Check("python", sys.version_info >= (3, 11), platform.python_version())]
    checks += [
        _tried(name, trial)
        for name, trial in (
            ("signals", lambda: ", ".join(signals.installed())),
            ("detectors", lambda: ", ".join(installed())),
            ("models", lambda: _models(options)),
            ("policy", lambda: _policy(options)),
            ("url fetching", lambda: _fetching(options)),
            ("data folder", lambda: _folder(options)),
        )
    ]
    return [*checks, *_screening(options)]


def _tried(name: str, trial: Callable[[], str]) -> Check:
    try:
        return Check(name, True, trial())
    except TutelaError as error:
        return Check(name, False, str(error))


def _models(options: Options) -> str:
    """Those that are here, each checked against its card."""
    here = []
    for name, card in models.cards().items():
        try:
            models.verify(card, options.settings().models_path)
        except ModelMissing:
            continue
        here.append(name)
    return ", ".join(here)


def _policy(options: Options) -> str:
    path = options.settings().policy
    errors = [problem for problem in check_policy(path) if problem.level == "error"]
    if errors:
        raise TutelaError(errors[0].render(str(path)))
    return str(path or "default")


def _fetching(options: Options) -> str:
    from tutela.server.fetch import fetcher

    found = fetcher(options.settings())
    return f"from {', '.join(found.allow)}" if found else "off"


def _folder(options: Options) -> str:
    """The data folder opens, its index follows its store, and the disk has room."""
    with Screener(options.settings()) as screener:
        screener.matcher.refresh()
        entries = sum(bank.entries for bank in screener.banks.all())
        free = shutil.disk_usage(screener.settings.data).free
        if free < LOW_DISK:
            raise TutelaError(f"{free >> 20} MB free; make room before verdicts can't be recorded")
        return f"{screener.settings.data}: {entries:,} entries, {free >> 30} GB free"


def _screening(options: Options) -> Iterator[Check]:
    """The trigger's verdicts, recorded in a store that is thrown away."""
    settings = options.settings()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        given = load(Path(folder), policy=settings.policy, workers=1)
        given = given.model_copy(update={"database": ""})
        try:
            with Screener(given) as screener:
                yield from _verdicts(screener)
        except TutelaError as error:
            yield Check("screening", False, str(error))


def _verdicts(screener: Screener) -> Iterator[Check]:
    picture = trigger.picture()
    screener.warm()
    yield Check("sandbox", True, ", ".join(screener.sandbox.confinement) or "a process of its own")
    yield _expect("trigger picture", screener.screen(picture).action, "block")
    yield _expect("trigger prompt", screener.screen_text(trigger.PROMPT).action, "block")
    yield _expect("broken picture", screener.screen(picture[:2000]).action, "hold")
    screener.banks.create("doctor", "reviewed")
    with (Path(__file__).parent / "data" / "photos" / "coffee.jpg").open("rb") as file:
        photo = file.read()
    yield _expect("unknown picture", screener.screen(photo).action, "allow")
    new, _ = bankable(screener.examine(Content(data=photo)).fingerprints)
    screener.banks.add("doctor", new)
    yield _expect("banked picture", screener.screen(photo).action, "block")
    yield _film(screener, photo)
    screener.protect(photo, bank="doctor-photos")
    kinds = {finding.kind for finding in screener.screen(photo).findings}
    yield Check("protected photo", DERIVATIVE in kinds, f"found as {', '.join(sorted(kinds))}")


def _film(screener: Screener, photo: bytes) -> Check:
    """A film that shows the banked picture; without the extra it must be held."""
    if find_spec("av") is None:
        return Check("films", True, "held: install tutela[video] to look into them")
    shown = Image.open(io.BytesIO(photo)).resize((360, 240))
    return _expect("films", screener.screen(sample.film([shown] * 12)).action, "block")


def _expect(name: str, got: str, wanted: str) -> Check:
    return Check(name, got == wanted, got if got == wanted else f"{got}, but it must be {wanted}")
