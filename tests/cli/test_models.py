"""`tutela models` as scripts and people use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tutela.cli import models as command
from tutela.cli.app import app
from tutela.models import Card, registry

DATA = b"a model" * 100
Run = Callable[..., Any]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Card]:
    """A registry of the bundled model and of one that is pulled."""
    shipped = registry.cards()
    made = replace(
        shipped["yunet"],
        name="tiny",
        file="tiny.onnx",
        licence="MIT",
        sha256=hashlib.sha256(DATA).hexdigest(),
        bytes=len(DATA),
    )
    known = {"open_nsfw": shipped["open_nsfw"], "tiny": made}
    monkeypatch.setattr(registry, "_cards", lambda: known)
    return known


@pytest.fixture
def run(tmp_path: Path, cards: Mapping[str, Card], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str | Path, code: int = 0, typed: str | None = None) -> Any:
        given = ["--data", str(tmp_path / "data"), "models", *map(str, args)]
        done = CliRunner().invoke(app, given, input=typed)
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done

    return call


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """A folder with the model's file, as it comes to a machine without a network."""
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(DATA)
    return folder


def lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_missing_to_verified(
    run: Run, cards: Mapping[str, Card], carried: Path, tmp_path: Path
) -> None:
    def states() -> dict[str, str]:
        return {line["name"]: line["state"] for line in lines(run("list", "--json"))}

    assert states() == {"open_nsfw": "bundled", "tiny": "missing"}
    (pulled,) = lines(run("pull", "tiny", "--accept-licence", "MIT", "--from", carried, "--json"))
    path = tmp_path / "data" / "models" / "tiny.onnx"
    assert pulled == {
        "name": "tiny",
        "path": str(path),
        "bytes": len(DATA),
        "sha256": cards["tiny"].sha256,
    }
    assert states() == {"open_nsfw": "bundled", "tiny": "pulled"}
    assert [line["result"] for line in lines(run("verify", "--json"))] == ["ok", "ok"]
    assert run("pull", "tiny").stdout == f"tiny: {path}\n"
    assert run("pull", "open_nsfw").stdout.startswith("open_nsfw: ")


def test_what_is_wrong_ends_with_1(run: Run, carried: Path, tmp_path: Path) -> None:
    (missing,) = lines(run("verify", "tiny", "--json", code=1))
    assert missing["result"] == "missing"
    run("pull", "tiny", "--accept-licence", "MIT", "--from", carried / "tiny.onnx")
    (tmp_path / "data" / "models" / "tiny.onnx").write_bytes(DATA[1:])
    good, damaged = lines(run("verify", "--json", code=1))
    assert (good["result"], damaged["result"]) == ("ok", "damaged")
    assert "tiny: damaged, " in run("verify", "tiny", code=1).stdout
    (carried / "tiny.onnx").write_bytes(DATA[1:])
    (error,) = lines(
        run("pull", "tiny", "--accept-licence", "MIT", "--from", carried, "--json", code=1)
    )
    assert error["error"]["type"] == "ModelDamaged"
    (error,) = lines(run("card", "none-such", "--json", code=1))
    assert error["error"]["type"] == "ModelMissing"


def test_a_licence_has_to_be_accepted(
    run: Run, carried: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "models" / "tiny.onnx"
    for given in ((), ("--accept-licence", "Apache-2.0")):
        refused = run("pull", "tiny", "--from", carried, *given, code=1)
        assert "--accept-licence MIT" in refused.stderr
    (error,) = lines(run("pull", "tiny", "--from", carried, "--json", code=1))
    assert error["error"]["type"] == "LicenceNotAccepted"
    # Somebody who sits there is asked.
    monkeypatch.setattr(command, "_can_ask", lambda: True)
    run("pull", "tiny", "--from", carried, typed="n\n", code=1)
    assert not path.exists()
    asked = run("pull", "tiny", "--from", carried, typed="y\n")
    assert "tiny: MIT, copyright 2022 Shiqi Yu" in asked.stdout
    assert path.read_bytes() == DATA


def test_people_see_tables(run: Run, cards: Mapping[str, Card]) -> None:
    shown = run("list").stdout
    for card in cards.values():
        assert card.name in shown
        assert card.licence in shown
    shown = run("card", "open_nsfw").stdout
    card = cards["open_nsfw"]
    for text in (card.sha256, card.origin, card.limits[0], card.measured[0].result, "bundled"):
        assert text in shown
    (document,) = lines(run("card", "tiny", "--json"))
    assert document == {**json.loads(json.dumps(cards["tiny"].document())), "state": "missing"}
