"""Detectors are shown what they look at, made by the sandbox as it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import encoded, photo
from tutela.content import Content
from tutela.detectors import Options, Sight, Subject
from tutela.errors import ConfigurationError
from tutela.examine import Wanted
from tutela.findings import FAILURE, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import LARGE, SIDE
from tutela.panel import Look, Panel
from tutela.sandbox import Sandbox

VIEWS = frozenset({Sight.VIEWS})
PHOTO = encoded(photo("coffee").resize((2000, 1400)))


@dataclass
class Watcher:
    """Remembers what it was shown."""

    looks_at: frozenset[Sight]
    name: str = "watcher"
    version: str = "1"
    kinds: frozenset[str] = frozenset({"seen"})
    cost: float = 1.0
    shown: list[Subject] = field(default_factory=list)

    def prepare(self, options: Options) -> None:
        del options

    def applies(self, facts: MediaFacts) -> bool:
        return facts.width > 0

    def examine(self, subject: Subject) -> Sequence[Finding]:
        self.shown.append(subject)
        return (Finding("seen", self.name),)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, signal_names=["sha256", "pdq"]) as made:
        yield made


def look(sandbox: Sandbox, content: Content, sights: frozenset[Sight]) -> Look:
    source = content.path or content.data or b""
    examination = sandbox.examine(source, Wanted(sights=sights))
    return Look((), sandbox, content, examination, sights)


def test_what_was_made_at_once_is_shown(sandbox: Sandbox) -> None:
    watcher = Watcher(VIEWS)
    given = (Finding("other", "x"),)
    assert look(sandbox, Content(data=PHOTO), VIEWS)(watcher, given)[0].kind == "seen"
    (subject,) = watcher.shown
    (view,) = subject.views
    assert max(view.width, view.height) <= SIDE
    assert tuple(subject.findings) == given
    assert (subject.facts.width, subject.facts.height) == (2000, 1400)
    assert subject.data is None
    assert subject.media is None


def test_what_was_not_made_is_made_when_it_is_needed(sandbox: Sandbox) -> None:
    watcher = Watcher(VIEWS)
    assert look(sandbox, Content(data=PHOTO), frozenset())(watcher, ())[0].kind == "seen"
    assert len(watcher.shown[0].views) == 1


def test_large_views_change_nothing_for_the_others(sandbox: Sandbox) -> None:
    before, reader, after = Watcher(VIEWS), Watcher(frozenset({Sight.LARGE})), Watcher(VIEWS)
    shown = look(sandbox, Content(data=PHOTO), VIEWS)
    for watcher in (before, reader, after):
        assert shown(watcher, ())[0].kind == "seen"
    assert reader.shown[0].views[0].width == LARGE
    assert before.shown[0].views[0].rgb.tolist() == after.shown[0].views[0].rgb.tolist()


def test_a_file_that_changed_is_not_shown_as_if_it_were_the_same(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(PHOTO)
    shown = look(sandbox, Content(path=path), frozenset())
    path.write_bytes(encoded(photo("rocket")))
    watcher = Watcher(VIEWS)
    (failure,) = shown(watcher, ())
    assert (failure.kind, failure.source) == (FAILURE, "watcher")
    assert watcher.shown == []
    path.unlink()
    (failure,) = look(sandbox, Content(path=path), frozenset())(watcher, ())
    assert failure.kind == FAILURE


def test_a_panel_asks_for_what_those_that_matter_look_at() -> None:
    panel = Panel(Options())
    assert panel.sights(frozenset({"nudity"})) == VIEWS
    assert panel.sights(frozenset({"match"})) == frozenset()
    assert panel.sights(panel.kinds) <= {Sight.VIEWS, Sight.SOUND}


def test_a_detector_can_be_done_without() -> None:
    assert "nudity" not in {one.name for one in Panel(Options(), ["nudity"]).all}
    with pytest.raises(ConfigurationError, match="no detector nudty"):
        Panel(Options(), ["nudty"])


def test_who_can_look_at_what() -> None:
    panel = Panel(Options())

    def able(content: Content) -> set[str]:
        return {detector.name for detector in panel.able(content)}

    assert {"trigger", "nudity", "provenance"} <= able(Content(data=b"x"))
    assert able(Content(text="x")) == {"trigger", "intent", "judge"}
    assert "nudity" not in able(Content(data=b""))
    assert "trigger" in able(Content(data=b""))
