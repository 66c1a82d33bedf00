"""A gate that remembers, a detector of a made-up word, and the official client."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import openai

from tutela.content import Context
from tutela.detectors import Options as DetectorOptions
from tutela.detectors import Sight, Subject
from tutela.findings import NUDIFICATION, Finding
from tutela.guard.gate import Gate, Request
from tutela.media.types import MediaFacts
from tutela.verdict import Verdict

REFUSED_WORD = "zorgleflub"
"""A made-up word that stands for what must be refused."""


class MadeUp:
    """Finds the made-up word, so that tests need no real request."""

    name = "made-up"
    version = "1"
    kinds = frozenset({NUDIFICATION})
    looks_at = frozenset({Sight.TEXT})
    cost = 0.01

    def prepare(self, options: DetectorOptions) -> None: ...

    def applies(self, facts: MediaFacts) -> bool:
        return True

    def examine(self, subject: Subject) -> Sequence[Finding]:
        found = REFUSED_WORD in (subject.text or "") + subject.unwanted
        return [Finding(NUDIFICATION, self.name, "1", likelihood=0.99 if found else 0.0)]


class Spy(Gate):
    """A gate that remembers everything that it judged."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.texts: list[str] = []
        self.data: list[bytes] = []
        self.requests: list[Request] = []
        self.verdicts: list[Verdict] = []
        self.lock = threading.Lock()

    def reset(self) -> None:
        for kept in (self.texts, self.data, self.requests, self.verdicts):
            kept.clear()

    def submit(self, request: Request) -> tuple[Verdict, Future[None]]:
        with self.lock:
            self.requests.append(request)
            self.texts += [*request.texts, request.unwanted]
            self.data += [*request.images, *([request.mask] if request.mask else [])]
        verdict, recorded = super().submit(request)
        self.verdicts.append(verdict)
        return verdict, recorded

    def output(self, image: bytes, context: Context | None = None) -> Verdict:
        with self.lock:
            self.data.append(image)
        verdict = super().output(image, context)
        self.verdicts.append(verdict)
        return verdict


def client_of(address: str, key: str = "sk-made-up") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
