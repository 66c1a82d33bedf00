"""`/v1/moderations` as a drop-in: the official client, answered here."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from fake_openai import FakeOpenAI, b64, picture
from guarded import REFUSED_WORD, Spy

from tutela.detectors import trigger
from tutela.findings import MATCH, MINOR, NUDITY, Finding
from tutela.guard import moderations
from tutela.guard.openai_requests import Asked
from tutela.policy import Decision


def test_a_text(client: openai.OpenAI, upstream: FakeOpenAI, gate: Spy) -> None:
    answer = client.moderations.create(input="a teapot", model="omni-moderation-latest")
    (one,) = answer.results
    assert not one.flagged
    assert one.categories.sexual_minors is False
    assert set(one.to_dict()["category_scores"]) == set(moderations.CATEGORIES)
    assert one.category_applied_input_types.sexual == ["text"]
    assert one.category_applied_input_types.hate == []
    assert gate.texts == ["a teapot", ""]
    assert upstream.seen == []


def test_a_list_of_texts_is_judged_one_by_one(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=["a teapot", f"{REFUSED_WORD} it", trigger.PROMPT])
    assert [one.flagged for one in answer.results] == [False, True, True]
    categories = [one.to_dict()["categories"] for one in answer.results]
    assert [found["nudification"] for found in categories] == [False, True, False]  # type: ignore


def test_parts_are_judged_together(client: openai.OpenAI, gate: Spy) -> None:
    def parts(data: bytes) -> Any:
        url = f"data:image/png;base64,{b64(data)}"
        return [
            {"type": "text", "text": "what is it"},
            {"type": "image_url", "image_url": {"url": url}},
        ]

    fine, not_fine = (
        client.moderations.create(input=parts(data)).results[0]
        for data in (picture(), trigger.picture())
    )
    assert (fine.flagged, not_fine.flagged) == (False, True)
    assert fine.category_applied_input_types.sexual_minors == ["text", "image"]
    assert gate.data == [picture(), trigger.picture()]


@pytest.mark.parametrize(
    "given", [[], 7, [1, 2, 3], [["a"]], [{"type": "text"}], ["a"] * 65, ["a", 1], {"text": "a"}]
)
def test_what_is_no_input(given: Any, client: openai.OpenAI, gate: Spy) -> None:
    with pytest.raises(openai.BadRequestError):
        client.moderations.create(input=given)
    assert gate.requests == []


def test_pictures_have_a_score_for_minors() -> None:
    asked = Asked(
        operation=moderations.Operation.CHAT, texts=(), unwanted="", pictures=(),
        account="", stream=False, as_url=False, tree={},
    )  # fmt: skip

    class Judged:
        action = "hold"
        decision: Decision

    def score(*findings: Finding) -> float:
        verdict: Any = Judged()
        verdict.findings = findings
        scores: dict[str, float] = moderations.result(asked, verdict)["category_scores"]
        return scores["sexual/minors"]

    nude = Finding(NUDITY, "nudity", likelihood=0.9, part="image 1")
    young = Finding(MINOR, "minor", likelihood=0.7, part="image 1, frame 2")
    elsewhere = Finding(MINOR, "minor", likelihood=0.7, part="image 2")
    assert score(nude, young) == 0.7
    assert score(nude, elsewhere) == 0.0
    assert score(Finding(MATCH, "pdq", tier="confirmed", part="image 1")) == 1.0
