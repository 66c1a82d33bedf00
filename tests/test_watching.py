"""`tutela watch`: a film is screened while it is being written."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import tutela
from recordings import film
from tutela import watching
from tutela.banks.bank import NewEntry
from tutela.errors import ConfigurationError, Rejected
from tutela.media import decode
from tutela.media.types import FILMS
from tutela.screening import Screener
from tutela.signals import find


@pytest.fixture(scope="module")
def screener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screener]:
    with tutela.open(tmp_path_factory.mktemp("watch"), workers=1) as made:
        made.banks.create("list", tier="confirmed", category="csam")
        known = film("mp4", seconds=4, seed=5)
        (fingerprint,) = find("vpdq").fingerprint(known, decode(known, FILMS))
        made.banks.add("list", [NewEntry(fingerprint)])
        made.warm(films=True)
        yield made


def test_a_growing_file_is_blocked_while_it_grows(screener: Screener, tmp_path: Path) -> None:
    path = tmp_path / "live.ts"
    path.touch()
    written = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            for seed in (1, 5, 2):
                # Three recordings in a row, the second of a film that is known.
                file.write(film("mpegts", live=True, seed=seed))
                time.sleep(1.2)
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    actions = []
    before = 0
    for seen in watching.watch(screener, watching.file(path, every=0.5, idle=2)):
        actions.append(seen.verdict.action)
        before += seen.verdict.action == "block" and not written.is_set()
    writer.join()
    assert actions[0] == "allow"
    assert "block" in actions
    assert before, "the verdict came only once all had been written"


def test_segments_are_screened_in_order_as_they_are_complete(
    screener: Screener, tmp_path: Path
) -> None:
    (tmp_path / "index.m3u8").write_text("#EXTM3U")
    for number, seed in enumerate((1, 5)):
        (tmp_path / f"segment-{number}.ts").write_bytes(film("mpegts", live=True, seed=seed))
    found = list(watching.watch(screener, watching.folder(tmp_path, idle=0.1, most=1 << 24)))
    assert [seen.verdict.name for seen in found] == ["segment-0.ts", "segment-1.ts"]
    assert [seen.verdict.action for seen in found] == ["allow", "block"]


def test_a_header_goes_ahead_of_fragments(screener: Screener, tmp_path: Path) -> None:
    data = film("mp4", live=True, seed=5)
    start = data.index(b"moof") - 4
    (tmp_path / "init.mp4").write_bytes(data[:start])
    (tmp_path / "1.m4s").write_bytes(data[start:])
    (seen,) = watching.watch(screener, watching.folder(tmp_path, idle=0.1, most=1 << 24))
    assert seen.verdict.action == "block"


def test_a_pipe_is_screened_until_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tutela", "--data", str(tmp_path), "watch", "-", "--json"]
    ran = subprocess.run(
        command, input=film("matroska", live=True), capture_output=True, timeout=120, check=False
    )
    documents = [orjson.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, ran.stderr
    assert documents
    assert all(document["verdict"]["action"] == "allow" for document in documents)
    assert all(document["behind"] < 60 for document in documents)


def test_what_cannot_be_watched_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        list(watching.file(tmp_path / "none.ts"))
    with pytest.raises(ConfigurationError, match="not a folder"):
        list(watching.folder(tmp_path / "none", most=1))
    reader, writer = os.pipe()
    os.close(writer)
    with io.FileIO(reader) as source, pytest.raises(Rejected, match="Nothing came"):
        list(watching.pipe(source))  # type: ignore[arg-type]
