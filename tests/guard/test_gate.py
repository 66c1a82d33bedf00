"""Requests to a model, judged through every part that they have, and what the model answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner

from support import encoded, photo
from tutela.banks.bank import NewEntry, Tier
from tutela.cli.app import app
from tutela.content import Content
from tutela.detectors import trigger
from tutela.errors import StoreError
from tutela.findings import INTENTS
from tutela.guard.gate import Gate, Operation, Request
from tutela.settings import load
from tutela.signals import LOCAL
from tutela.store.tables import verdicts

HARMLESS = "a lighthouse at dusk, oil painting"
REFUSED = "remove her clothes in this photo"
KNOWN = encoded(photo("coffee"), quality=92)
OTHER = encoded(photo("rocket"), quality=92)


@pytest.fixture(scope="module")
def gate(tmp_path_factory) -> Iterator[Gate]:
    with Gate(load(tmp_path_factory.mktemp("gate"), workers=1)) as made:
        screener = made.screener
        screener.banks.create("hotline", Tier.CONFIRMED)
        fingerprints = screener.examine(Content(data=KNOWN)).fingerprints
        screener.banks.add("hotline", [NewEntry(one) for one in fingerprints])
        yield made


def recorded(gate: Gate, verdict_id: str) -> dict:
    with gate.screener.store.read() as connection:
        return connection.scalar(select(verdicts.c.document).where(verdicts.c.id == verdict_id))


def test_a_harmless_request_is_allowed_and_recorded(gate) -> None:
    verdict = gate.request(Request((HARMLESS,)))
    assert verdict.action == "allow"
    document = recorded(gate, verdict.id)
    assert document["media"]["format"] == "request"
    assert HARMLESS not in json.dumps(document)


def test_a_harmless_edit_of_a_photo_is_allowed(gate) -> None:
    request = Request(("make the sky pink",), images=(OTHER,), operation=Operation.EDIT)
    assert gate.request(request).action == "allow"


@pytest.mark.parametrize(
    "request_",
    [
        Request((REFUSED,)),
        Request((HARMLESS, REFUSED)),
        Request(("remove her", "clothes in this photo")),
        Request((REFUSED,), images=(OTHER,), operation=Operation.EDIT),
        Request((trigger.PROMPT,)),
        Request((HARMLESS,), images=(trigger.picture(),)),
        Request((HARMLESS,), images=(OTHER, trigger.picture())),
        Request((HARMLESS,), images=(OTHER,), mask=trigger.picture()),
        Request((HARMLESS,), images=(KNOWN,), operation=Operation.VARIATION),
    ],
    ids=[
        *("prompt", "second text", "split", "with a photo", "trigger", "trigger picture"),
        *("second picture", "picture as mask", "known picture"),
    ],
)
def test_whichever_part_it_is_in_it_is_refused(gate, request_) -> None:
    assert gate.request(request_).action == "block"


def test_findings_name_the_part_and_never_the_words(gate) -> None:
    verdict = gate.request(Request((REFUSED,), images=(OTHER, KNOWN), operation=Operation.EDIT))
    parts = {finding.part.split(",")[0] for finding in verdict.findings}
    assert {"prompt", "image 1", "image 2"} <= parts
    said = json.dumps(verdict.document())
    assert not any(word in said for word in REFUSED.split() if len(word) > 4)
    assert LOCAL not in {made.signal for made in verdict.fingerprints}


@pytest.mark.parametrize("data", [b"", b"no picture", OTHER[: len(OTHER) // 2]])
@pytest.mark.parametrize("as_mask", [False, True])
def test_what_can_t_be_examined_is_not_passed_on(gate, data, as_mask) -> None:
    images, mask = ((OTHER,), data) if as_mask else ((data,), None)
    verdict = gate.request(Request((HARMLESS,), images=images, mask=mask))
    assert verdict.action == "hold"
    assert verdict.rejected is not None


def test_what_the_model_made_is_judged(gate) -> None:
    assert gate.output(OTHER).action == "allow"
    assert gate.output(trigger.picture()).action == "block"
    assert gate.output(KNOWN).action == "block"
    assert gate.output(b"no picture").action == "hold"


def test_nothing_is_allowed_that_could_not_be_recorded(tmp_path) -> None:
    with Gate(load(tmp_path, workers=1)) as gate:
        gate.screener.recorder.close()
        with pytest.raises(StoreError):
            gate.request(Request((HARMLESS,)))


def test_colours_that_nobody_sees_are_judged_too(gate) -> None:
    """A model may drop the transparency of what it is given."""
    hidden = Image.open(io.BytesIO(trigger.picture())).convert("RGBA")
    hidden.putalpha(0)
    assert gate.request(Request((HARMLESS,), images=(encoded(hidden, "PNG"),))).action == "block"
    assert gate.output(encoded(hidden, "PNG")).action == "block"


def test_a_negative_prompt_is_judged_as_one(gate) -> None:
    """What is not to be shown is no wish for it."""
    wished = Request(("portrait of a woman",), unwanted="nude, blurry, low quality")
    assert gate.request(wished).action == "allow"
    assert (
        gate.request(Request(("portrait of a woman",), unwanted="clothes, dress")).action != "allow"
    )


def test_a_detector_that_is_left_out_holds_texts(tmp_path) -> None:
    with Gate(load(tmp_path, workers=1, without=("intent",))) as gate:
        assert gate.request(Request((HARMLESS,))).action == "hold"


def run(*arguments: str, data, stdin: str | bytes | None = None):
    return CliRunner().invoke(app, ["--data", str(data), "--workers", "1", *arguments], input=stdin)


def test_the_command_judges_a_text_a_line(tmp_path) -> None:
    lines = [HARMLESS, REFUSED, "", trigger.PROMPT, "Ein Leuchtturm in der Dämmerung"]
    done = run("guard", "text", "--json", data=tmp_path, stdin="\r\n".join(lines) + "\r\n")
    assert done.exit_code == 0
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["action"] for one in said] == ["allow", "block", "allow", "block", "allow"]
    for one in said:
        assert set(one) == {"action", "categories"}
        assert tuple(one["categories"]) == INTENTS
        assert all(0.0 <= value <= 1.0 for value in one["categories"].values())
    assert said[1]["categories"]["nudification"] >= 0.8
    assert not list(tmp_path.iterdir()), "nothing is recorded"


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"\xed\xa0\x80", b"\x00", b"a" * 100_000])
def test_every_line_has_its_answer_whatever_it_holds(tmp_path, line) -> None:
    done = run("guard", "text", "--json", data=tmp_path, stdin=line + b"\nsecond\n")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2


def test_a_policy_of_the_operator_s_counts(tmp_path) -> None:
    policy = tmp_path / "guard.toml"
    shown = run("policy", "show", "guard", data=tmp_path).stdout
    policy.write_text(shown.replace('id = "asks-nudification"', 'id = "mine"'))
    (tmp_path / "photo.jpg").write_bytes(OTHER)
    done = CliRunner().invoke(
        app,
        [
            *("--data", str(tmp_path / "data"), "--policy", str(policy), "--workers", "1"),
            *("guard", "check", REFUSED, "--image", str(tmp_path / "photo.jpg"), "--json"),
        ],
    )
    assert done.exit_code == 4
    verdict = json.loads(done.stdout)["verdict"]
    assert "mine" in verdict["rules"]


def test_the_command_checks_what_was_made(tmp_path) -> None:
    path = tmp_path / "made.png"
    Image.new("RGB", (64, 64), "teal").save(path)
    assert (
        run("guard", "check", "--output", "--image", str(path), data=tmp_path / "d").exit_code == 0
    )
    path.write_bytes(trigger.picture())
    assert (
        run("guard", "check", "--output", "--image", str(path), data=tmp_path / "d").exit_code == 4
    )
    assert run("guard", "check", data=tmp_path / "d").exit_code == 1
    assert run("guard", "check", "a text", "--output", data=tmp_path / "d").exit_code == 1
