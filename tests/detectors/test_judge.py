"""A second opinion: asked of a local server, it raises what was found, and never lowers it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tutela import detectors
from tutela.detectors import Subject
from tutela.detectors.judge import MAX_ANSWER, Judge
from tutela.errors import ConfigurationError
from tutela.findings import (
    ADULT_SEXUAL,
    CHILD_EXPLOITATION,
    CHILD_SEXUALISATION,
    FAILURE,
    INTENTS,
    JUDGE,
    NUDIFICATION,
    Finding,
)
from tutela.guard.texts import Texts
from tutela.media.types import MediaFacts
from tutela.policy import Context, Policy
from tutela.policy.engine import shipped
from tutela.settings import load

PROMPT = "a blue teapot"


class Model:
    """An OpenAI-compatible endpoint on loopback that says what it is told to."""

    def __init__(self) -> None:
        self.said = ""
        self.raw: bytes | None = None
        self.status = 200
        self.drip = 0.0
        self.asked: list[tuple[str, dict[str, str], dict]] = []
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.asked.append((self.path, dict(self.headers), json.loads(body)))
                answer = {"choices": [{"message": {"role": "assistant", "content": model.said}}]}
                data = json.dumps(answer).encode() if model.raw is None else model.raw
                self.send_response(model.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    for at in range(0, len(data), 8 if model.drip else len(data)):
                        self.wfile.write(data[at : at + 8] if model.drip else data)
                        self.wfile.flush()
                        time.sleep(model.drip)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def judge(model, tmp_path) -> Iterator[Callable[..., Judge]]:
    made: list[Judge] = []

    def make(**given: object) -> Judge:
        settings = {"judge_url": model.url, "judge_model": "guard", "judge_seconds": 5.0, **given}
        made.append(Judge())
        made[-1].prepare(load(tmp_path, **settings).detector_options())
        return made[-1]

    yield make
    for one in made:
        if one._pool is not None:
            one._pool.close()


def scores(**likely: float) -> str:
    return json.dumps({**dict.fromkeys(INTENTS, 0.0), **likely})


def test_it_scores_by_a_question_of_ours(model, judge, tmp_path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-local\n")
    model.said = f"Thinking it over.\n{scores(nudification=0.7, adult_sexual=0.01)}"
    (found,) = judge(judge_key_file=key).examine(Subject(text=PROMPT, unwanted="blur"))
    assert found == Finding(NUDIFICATION, JUDGE, "guard", likelihood=0.7)
    ((path, headers, body),) = model.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-local"
    assert (body["model"], body["temperature"]) == ("guard", 0)
    system, user = body["messages"]
    assert all(kind in system["content"] for kind in INTENTS)
    assert json.loads(user["content"]) == {"text": PROMPT, "not_to_be_shown": "blur"}


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ("safe", set()),
        ("\n\nunsafe\nS4", {CHILD_SEXUALISATION, CHILD_EXPLOITATION}),
        ("unsafe\nS12,S3", {ADULT_SEXUAL}),
        ("unsafe\nS1", set()),
    ],
)
def test_it_reads_llama_guard(model, judge, said, kinds) -> None:
    model.said = said
    found = judge(judge_style="llama-guard").examine(Subject(text=PROMPT))
    assert {finding.kind for finding in found} == kinds
    assert model.asked[0][2]["messages"] == [{"role": "user", "content": PROMPT}]


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ("question", ""),
        ("question", "I can't help with that."),
        ("question", '{"nudification": 0}'),
        ("question", scores(nudification=1.5)),
        ("question", scores().replace("0.0", "null", 1)),
        ("question", scores().replace("0.0", "true", 1)),
        ("llama-guard", "SAFE, I think"),
        ("llama-guard", "unsafe"),
        ("llama-guard", ""),
    ],
)
def test_an_answer_that_can_t_be_read_is_a_failure(model, judge, style, said) -> None:
    model.said = said
    (found,) = detectors.examine(judge(judge_style=style), Subject(text=PROMPT))
    assert (found.kind, found.detail) == (FAILURE, "ModelFailed")
    assert len(model.asked) == 1


def test_no_answer_in_time_is_a_failure(model, judge) -> None:
    model.said, model.drip = "x" * 2000, 0.05
    started = time.monotonic()
    (found,) = detectors.examine(judge(judge_seconds=0.3), Subject(text=PROMPT))
    assert found.kind == FAILURE
    assert time.monotonic() - started < 5
    assert model.asked


@pytest.mark.parametrize("fault", ["status", "size", "json", "shape", "gone"])
def test_faults_of_the_endpoint_are_failures(model, judge, fault) -> None:
    if fault == "status":
        model.status = 500
    elif fault == "size":
        model.raw = b"x" * (MAX_ANSWER + 1)
    elif fault == "json":
        model.raw = b"{"
    elif fault == "shape":
        model.raw = b'{"choices": []}'
    else:
        model.server.shutdown()
        model.server.server_close()
    (found,) = detectors.examine(judge(), Subject(text=PROMPT))
    assert (found.kind, found.source) == (FAILURE, JUDGE)
    assert bool(model.asked) == (fault != "gone")


def test_any_text_can_be_asked_about(model, judge) -> None:
    model.said = scores()
    assert judge().examine(Subject(text="\ud800 \x00 \U000e0041")) == []
    assert len(model.asked) == 1


def test_it_never_makes_a_verdict_milder() -> None:
    """Not even under a policy that lets findings speak for a text."""
    policy = Policy.parse(
        '[policy]\nname = "odd"\ndefault = "hold"\n'
        '[[rule]]\nid = "all-low"\naction = "block"\n'
        "when = '!findings.exists(f, f.kind == \"nudification\" && f.likelihood < 0.5)'\n"
    )
    opinion = Finding(NUDIFICATION, JUDGE, likelihood=0.1)
    alone = policy.decide([], Context(), MediaFacts())
    decision = policy.decide([opinion], Context(), MediaFacts())
    assert (alone.action, decision.action) == ("block", "block")
    assert "always:advice-never-milder" in decision.rules


def test_it_raises_a_verdict_and_fails_closed(model, tmp_path) -> None:
    settings = load(tmp_path, judge_url=model.url, judge_model="guard")
    texts = Texts(settings)
    try:
        model.said = scores(child_exploitation=0.95)
        judged = texts(PROMPT)
        assert judged.decision.action == "block"
        assert judged.categories[CHILD_EXPLOITATION] == 0.95
        model.said = "no"
        assert texts(PROMPT).decision.action == "hold"
        asked = len(model.asked)
        assert asked == 2
        # What is refused already is not shown to anybody else.
        assert texts("TUTELA-HARMLESS-TRIGGER-7F3A9C52").decision.action == "block"
        assert len(model.asked) == asked
    finally:
        detectors.installed()[JUDGE].prepare(load(tmp_path).detector_options())


def test_without_an_endpoint_nobody_is_asked_and_it_judges_nothing(tmp_path) -> None:
    judge = Judge()
    judge.prepare(load(tmp_path).detector_options())
    assert not judge.applies(MediaFacts("text"))
    assert judge.examine(Subject(text=PROMPT)) == ()
    assert Policy.load(shipped("guard")).name == "guard"


@pytest.mark.parametrize(
    "given",
    [
        {"judge_url": "http://127.0.0.1/v1"},
        {"judge_url": "ftp://127.0.0.1/v1", "judge_model": "m"},
        {"judge_url": "127.0.0.1/v1", "judge_model": "m"},
        {"judge_url": "http://127.0.0.1/v1?a=b", "judge_model": "m"},
        {"judge_url": "http://127.0.0.1/v1", "judge_model": "m", "judge_key_file": "absent"},
    ],
)
def test_settings_that_can_t_be_used_are_refused(tmp_path, given) -> None:
    with pytest.raises(ConfigurationError):
        Judge().prepare(load(tmp_path, **given).detector_options())
