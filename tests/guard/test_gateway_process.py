"""`tutela guard serve` as operators start it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from fake_openai import FakeOpenAI
from guarded import client_of
from typer.testing import CliRunner

from tutela.cli.app import app
from tutela.detectors import trigger

MARK = "quixotic-marker-word"


@pytest.fixture
def process(tmp_path: Path, upstream: FakeOpenAI) -> Iterator[tuple[str, Path]]:
    """A gateway in a process of its own; gives its address and its log."""
    (tmp_path / "key").write_text("sk-operator\n")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tutela", "--data", str(tmp_path / "data"), "--workers", "1"]
    command += ["guard", "serve", "--upstream", f"{upstream.url}/v1", "--port", "0"]
    with log.open("wb") as output:
        running = subprocess.Popen(
            [*command, "--upstream-key-file", str(tmp_path / "key")],
            env={**os.environ, "TUTELA_REFUSALS_PER_HOUR": "2", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait = threading.Event()
        for _ in range(1_200):
            found = re.search(r"running on (http://[\d.:]+)", log.read_text())
            if found or running.poll() is not None:
                break
            wait.wait(0.05)
        assert found, log.read_text()
        yield found[1], log
    finally:
        running.terminate()
        # It ends in the orderly way, then by the signal that it got.
        assert running.wait(60) in (0, -signal.SIGTERM)


def test_from_the_command_line(
    process: tuple[str, Path], upstream: FakeOpenAI, tmp_path: Path
) -> None:
    address, log = process
    upstream.pictures = upstream.pictures[:1]
    with client_of(address) as client:
        answer = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": f"A teapot? {MARK}"}]
        )
        assert answer.choices[0].message.content == upstream.say
        for _ in range(2):
            with pytest.raises(openai.BadRequestError):
                client.images.generate(prompt=f"{MARK} {trigger.PROMPT}", user="somebody")
    assert [seen.headers["authorization"] for seen in upstream.seen] == ["Bearer sk-operator"]
    assert httpx.get(f"{address}/health/ready").status_code == 200
    found = CliRunner().invoke(
        app,
        ["--data", str(tmp_path / "data"), "guard", "signals", "--json"],
        env={"TUTELA_REFUSALS_PER_HOUR": "2"},
    )
    (line,) = found.stdout.splitlines()
    case = json.loads(line)
    assert case["account"] == "somebody"
    assert (case["refusals"], case["in_window"]) == (2, 2)
    table = CliRunner().invoke(app, ["--data", str(tmp_path / "data"), "guard", "signals"])
    assert "somebody" in table.stdout
    lines = [json.loads(one) for one in log.read_text().splitlines() if one.startswith("{")]
    events = [one["event"] for one in lines]
    assert events.count("guarded") == 4
    assert events.count("case signal") == 1
    assert MARK not in log.read_text()


@pytest.mark.parametrize(
    "options",
    [
        ["--upstream", "nonsense"],
        ["--upstream", "https://a.example", "--allow", "everything"],
        ["--upstream", "https://a.example", "--judge-answers", "perhaps"],
        ["--upstream", "https://a.example", "--keys"],
        ["--upstream", "https://a.example", "--upstream-key-file", "missing"],
    ],
)
def test_options_that_cannot_be(options: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--data", str(tmp_path), "guard", "serve", *options])
    assert done.exit_code == 1
    assert done.stderr.startswith("tutela: ")
