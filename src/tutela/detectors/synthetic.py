"""Whether content was made or altered by a model: one likelihood, of all that is known of it.

It only adds up what speaks for it. Nothing speaks against: a claim that a camera took the picture
can be forged, and where no trace is found there may be one. Where the evidence does not suffice,
and where all there is has not been shown to be better than chance, there is no finding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from tutela.detectors import Options, Sight, Subject
from tutela.detectors import synthetic_models as neural
from tutela.findings import DERIVATIVE, FORENSICS, PROVENANCE, Finding
from tutela.findings import SYNTHETIC as KIND
from tutela.media.types import MediaFacts

__all__ = ["SYNTHETIC", "Part", "Synthetic", "altered", "fused", "parts"]

SAID = frozenset({"generated", "edited"})
"""Claims of provenance that count; of a signature that does not hold, none does."""
CLEAR = 0.75
"""Likelihood below which nothing is said: the band in which this abstains."""
REGION = 0.7
"""What a region with another past counts at most: people write on photos and paste into them too,
so that alone it does not suffice."""
MOST = 0.999
"""No evidence makes it surer than this."""
DETAIL = 200


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of evidence that speaks for it."""

    ground: str
    """`provenance`, `derivation` or `pixels`: of each the strongest counts, since pieces of one
    ground tend to err together."""
    likelihood: float
    """Of the content being synthetic, were half of all such content so and this all there is."""
    detail: str
    part: str = ""


def parts(findings: Iterable[Finding]) -> list[Part]:
    """What findings of others speak for it, each with a likelihood above one half."""
    found = [made for finding in findings if (made := _part(finding)) is not None]
    return [part for part in found if part.likelihood > 0.5]


def _part(finding: Finding) -> Part | None:
    if finding.likelihood is None:
        return None
    if finding.kind == PROVENANCE and finding.claim in SAID and finding.state != "invalid":
        detail = f"said to be {finding.claim} ({finding.state})"
        return Part("provenance", finding.likelihood, detail, finding.part)
    if finding.kind == DERIVATIVE and finding.changed is not None and finding.tier != "benign":
        likely = finding.likelihood * altered(finding.changed)
        detail = f"known original, {finding.changed:.0%} of what it shows changed"
        return Part("derivation", likely, detail, finding.part)
    if finding.kind == FORENSICS:
        likely = min(finding.likelihood, REGION)
        return Part("pixels", likely, "a region with another past", finding.part)
    return None


def fused(found: Iterable[Part]) -> float:
    """The likelihood that parts give together, were half of all content synthetic.

    Grounds are taken as independent: the odds of the strongest part of each are multiplied. A part
    of one half or less has no say, so that nothing is ever lowered.
    """
    strongest: dict[str, float] = {}
    for part in found:
        strongest[part.ground] = max(strongest.get(part.ground, 0.5), min(part.likelihood, MOST))
    odds = sum(math.log(likely / (1 - likely)) for likely in strongest.values())
    return min(MOST, 1 / (1 + math.exp(-odds)))


@cache
def _derivation() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    text = files("tutela.detectors").joinpath("data/synthetic-derivation.json").read_text("utf-8")
    points = np.array(json.loads(text)["points"])
    return points[:, 0], points[:, 1]


def altered(changed: float) -> float:
    """How likely a known original was repainted of which that share is changed.

    Against what is done to photographs in passing them on, were half of all repainted. Measured:
    see docs/design/synthetic.md.
    """
    return float(np.interp(changed, *_derivation()))


@dataclass(slots=True)
class Synthetic:
    """Adds up provenance, derivation, forensics and, where they were set up, neural models."""

    name: str = "synthetic"
    version: str = "1"
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.FINDINGS, Sight.VIEWS})
    _models: tuple[neural.Calibrated, ...] = field(default=(), repr=False)

    @property
    def cost(self) -> float:
        """Milliseconds: hardly any, but for the models."""
        return 0.1 + sum(model.adapter.cost for model in self._models)

    def prepare(self, options: Options) -> None:
        """Read the tables, load the models that were set up. Raises `ConfigurationError`."""
        _derivation()
        self._models = neural.load(options.models)

    def applies(self, facts: MediaFacts) -> bool:
        """Whatever a finding may tell of, but for text."""
        return facts.format != "text"

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding, of the part of the content that is likeliest, if it is clear enough."""
        found = parts(subject.findings)
        for model in self._models:
            answers = model.likelihoods(subject.views, subject.facts)
            for view, likely in zip(subject.views, answers, strict=True):
                if likely is not None and likely > 0.5:
                    detail = f"{model.adapter.name} {likely:.2f}"
                    found.append(Part("pixels", likely, detail, view.part))
        # What is said of the whole counts for each part.
        places = {part.part for part in found} or {""}
        best = max(sorted(places), key=lambda place: fused(_of(found, place)))
        counted = sorted(_of(found, best), key=lambda part: -part.likelihood)
        likely = fused(counted)
        if likely < CLEAR:
            return ()
        detail = "; ".join(dict.fromkeys(part.detail for part in counted))
        return (
            Finding(
                KIND,
                self.name,
                self.version,
                likelihood=round(likely, 4),
                detail=detail[:DETAIL],
                part=best,
            ),
        )


def _of(found: Iterable[Part], place: str) -> list[Part]:
    return [part for part in found if part.part in ("", place)]


SYNTHETIC = Synthetic()
