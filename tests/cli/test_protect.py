"""Photos under protection, from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from support import encoded, photo
from tutela.cli.app import app
from tutela.media.views import SIDE

PHOTO = photo("coffee")


class Command:
    """Runs `tutela --data … ARGS --json` in this process; gives the objects that it printed."""

    def __init__(self, data: Path) -> None:
        self._options = ["--data", str(data), "--workers", "1"]

    def __call__(self, *args: str | Path, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(*args, "--json", code=code).splitlines()]

    def text(self, *args: str | Path, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*self._options, *map(str, args)])
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        self.stderr = done.stderr
        return done.stdout


def derivatives(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for found in verdict["findings"] if found["kind"] == "derivative"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TUTELA_WIDELY_SHARED", "2")
    (tmp_path / "photo.jpg").write_bytes(encoded(PHOTO))
    Image.new("RGB", (300, 200), "red").save(tmp_path / "flat.png")
    altered = PHOTO.copy()
    width, height = PHOTO.size
    altered.paste(photo("cat").resize((width // 2, height // 2)), (width // 4, height // 4))
    (tmp_path / "altered.jpg").write_bytes(encoded(altered, quality=70))
    return Command(tmp_path / "data")


def test_from_the_photo_to_the_verdict(command: Command) -> None:
    (done,) = command("protect", "--bank", "friends", "--case", "c-1", "photo.jpg")
    assert done == {
        "photo": "photo.jpg",
        "bank": "friends",
        "entry": 1,
        "known": False,
        "review": "",
    }
    assert command.text("protect", "--bank", "friends", "--case", "c-1", "photo.jpg") == (
        "photo.jpg was protected before, as entry 1 of friends\n"
    )
    (bank,) = command("bank", "list")
    assert (bank["tier"], bank["entries"]) == ("reported", 1)
    (entry,) = command("bank", "show", "friends")
    assert entry["fingerprint"] == "local:sealed"
    (verdict,) = command("screen", "altered.jpg")
    assert verdict["verdict"]["action"] == "allow"
    (found,) = derivatives(verdict)
    assert found["entry"] == 1
    assert {"likelihood", "overlap", "changed", "scale", "dx", "dy", "aspect", "mask"} <= set(found)
    assert "local" not in verdict["signals"]
    (verdict,) = command("screen", "altered.jpg", "--nudity", "0.97", code=3)
    assert "derivative-with-nudity" in verdict["verdict"]["rules"]
    command.text("screen", "altered.jpg", "--nudity", "1.5", code=2)
    (explained,) = command("policy", "explain", "altered.jpg")
    assert explained["findings"][0].startswith("local derivative in friends (reported)")


def test_photos_that_can_not_be_protected_are_told_one_by_one(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    flat, broken, good = command(
        "protect", "--bank", "friends", "flat.png", "broken.jpg", "photo.jpg", code=1
    )
    assert flat["error"]["type"] == "too-flat"
    assert broken["error"]["type"] == "unknown-type"
    assert good["entry"] == 1
    command.text("protect", "--bank", "friends", "flat.png", code=1)
    assert "flat.png: the photo has too little detail" in command.stderr


def test_a_reviewer_decides(command: Command) -> None:
    assert command("bank", "aside") == []
    command("bank", "create", "memes", "--tier", "benign")
    command("bank", "add", "memes", "photo.jpg")
    (done,) = command("protect", "--bank", "friends", "--note", "n", "photo.jpg")
    assert done["review"] == "aside"
    (waiting,) = command("bank", "aside")
    assert (waiting["entry"], waiting["why"], waiting["note"]) == (done["entry"], "benign", "n")
    assert "on a benign list" in command.text("bank", "aside")
    entry = str(done["entry"])
    command.text("bank", "decide", entry, "maybe", code=1)
    assert command("bank", "decide", entry, "keep") == [
        {"entry": done["entry"], "decision": "keep"}
    ]
    assert command("bank", "aside") == []
    command.text("screen", "altered.jpg", code=3)
    assert command.text("bank", "decide", entry, "drop") == f"dropped {entry}\n"
    command.text("screen", "altered.jpg")
    command.text("bank", "decide", entry, "keep", code=1)


def test_a_lost_secret_is_loud_and_can_be_got_over(command: Command, tmp_path: Path) -> None:
    command("protect", "--bank", "friends", "photo.jpg")
    (tmp_path / "data/secret.key").unlink()
    (error,) = command("screen", "photo.jpg", code=1)
    assert error["error"]["type"] == "ConfigurationError"
    assert "restore it from a backup" in error["error"]["message"]
    checks = command("doctor", code=1)
    assert [check["check"] for check in checks if not check["ok"]] == ["data folder"]
    command("bank", "delete", "friends", "--yes")
    command("screen", "photo.jpg")
    command("protect", "--bank", "friends", "photo.jpg")
    (verdict,) = command("screen", "altered.jpg")
    assert len(derivatives(verdict)) == 1


def test_a_case_is_withdrawn(command: Command) -> None:
    command("protect", "--bank", "friends", "--case", "c-1", "photo.jpg")
    command.text("bank", "remove", "friends", code=1)
    command.text("bank", "remove", "absent", "--case", "c-1", code=1)
    (done,) = command("bank", "remove", "friends", "--case", "c-1")
    assert done == {"bank": "friends", "removed": [1]}
    (verdict,) = command("screen", "altered.jpg")
    assert derivatives(verdict) == []


def test_an_export_says_what_it_leaves_out(command: Command) -> None:
    command("protect", "--bank", "friends", "photo.jpg")
    assert command.text("bank", "export", "friends").startswith("signal,value")
    assert "left out 1 protected photos" in command.stderr
    command.text("bank", "add", "friends", "--signal", "local:00", code=1)


def test_a_picture_shows_a_reviewer_what_survives(command: Command, tmp_path: Path) -> None:
    command("protect", "--bank", "friends", "photo.jpg")
    command.text("screen", "altered.jpg", "--mask", "out.png")
    said = r"Shows 100% of protected photo 1 of friends\. Changed: .*\bmiddle\b"
    assert re.search(said, command.stderr)
    with Image.open(tmp_path / "out.png") as drawn:
        assert max(drawn.size) <= SIDE
        assert drawn.mode == "RGB"
    (tmp_path / "out.png").unlink()
    (tmp_path / "other.jpg").write_bytes(encoded(photo("rocket")))
    command.text("screen", "other.jpg", "--mask", "out.png")
    assert "Nothing was found" in command.stderr
    assert not (tmp_path / "out.png").exists()
    command.text("screen", "altered.jpg", "other.jpg", "--mask", "out.png", code=1)
