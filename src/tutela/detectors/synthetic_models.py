"""Optional neural models that tell generated pictures: how each is asked, what it is worth.

Neither is published as an ONNX file, and neither was measured here, so none is in the registry.
Who exports one writes `synthetic.toml` beside it, with the hash of the file and a table that says
what its scores were worth on pictures at hand (docs/synthetic.md). A model without one is not run.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tutela import models
from tutela.errors import ConfigurationError, ModelFailed
from tutela.media.types import MediaFacts
from tutela.media.views import View

__all__ = ["ADAPTERS", "Adapter", "Calibrated", "load", "parse"]

FILE: Final = "synthetic.toml"
_HASH = re.compile(r"[0-9a-f]{64}")
_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION: Final = np.array([0.229, 0.224, 0.225], np.float32)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How one model is asked."""

    name: str
    row: Callable[[View, MediaFacts], Floats | None]
    """Its input (1, 3, height, width) for a view; None for one that it can't judge."""
    score: Callable[[NDArray[Any]], float]
    """Its score, 0–1, from the output (1, …)."""
    cost: float
    """Milliseconds a picture, about, on one core."""
    licence: str
    copyright: str
    origin: str
    input: str
    output: str
    limit: str


def commfor(view: View, facts: MediaFacts) -> Floats | None:
    """The middle 384 × 384 of the picture with a shorter side of 440."""
    del facts
    scale = 440 / min(view.width, view.height)
    size = max(440, int(view.width * scale)), max(440, int(view.height * scale))
    small = Image.fromarray(view.rgb).resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 384) / 2), round((size[1] - 384) / 2)
    pixels = np.asarray(small.crop((left, top, left + 384, top + 384)), np.float32) / 255
    return _planes((pixels - _MEAN) / _DEVIATION)


def safe(view: View, facts: MediaFacts) -> Floats | None:
    """The middle 256 × 256 pixels, not resampled: only of pictures that are seen as they are."""
    seen = {view.width, view.height} == {facts.width, facts.height}
    if not seen or min(view.width, view.height) < 256:
        return None
    left, top = (view.width - 256) // 2, (view.height - 256) // 2
    return _planes(view.rgb[top : top + 256, left : left + 256].astype(np.float32) / 255)


def _planes(pixels: NDArray[np.floating[Any]]) -> Floats:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))


ADAPTERS: Final[Mapping[str, Adapter]] = {
    adapter.name: adapter
    for adapter in (
        Adapter(
            "commfor-vit-s-384",
            commfor,
            lambda output: _logistic(float(output[0, 0])),
            cost=200.0,
            licence="MIT",
            copyright="Jeongsoo Park, Andrew Owens",
            origin="https://huggingface.co/OwensLab/commfor-model-384",
            input="float32 (n, 3, 384, 384): RGB 0 to 1 less ImageNet's mean, by its deviation",
            output="float32 (n, 1): the logit of being generated",
            limit="Whole pictures that were generated; not those altered in one place.",
        ),
        Adapter(
            "safe",
            safe,
            lambda output: _logistic(float(output[0, 1]) - float(output[0, 0])),
            cost=30.0,
            licence="Apache-2.0",
            copyright="Ouxiang Li and others",
            origin="https://github.com/Ouxiang-Li/SAFE",
            input="float32 (n, 3, 256, 256): RGB 0 to 1, not resampled",
            output="float32 (n, 2): logits of real, of generated",
            limit="Judges only pictures of at most 640 pixels, which are seen as they are.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model and what its scores are worth."""

    adapter: Adapter
    model: models.Model
    points: NDArray[np.float64]
    """(n, 2): scores, rising, and the likelihood of being generated at even odds."""

    def likelihoods(self, views: Sequence[View], facts: MediaFacts) -> list[float | None]:
        """How likely each view was generated; None for one that it can't judge.

        Raises `ModelFailed`.
        """
        rows = [self.adapter.row(view, facts) for view in views]
        asked = [row for row in rows if row is not None]
        if not asked:
            return [None] * len(rows)
        answers = iter(np.atleast_2d(self.model.run(np.concatenate(asked))))
        return [None if row is None else self._worth(next(answers)) for row in rows]

    def _worth(self, answer: NDArray[Any]) -> float:
        score = self.adapter.score(answer[None])
        if not np.isfinite(score):
            raise ModelFailed(f"the model {self.adapter.name} gave no number")
        return float(np.interp(score, self.points[:, 0], self.points[:, 1]))


def load(folder: Path | None) -> tuple[Calibrated, ...]:
    """The models that `synthetic.toml` in the folder of models sets up; none where there is none.

    Raises `ConfigurationError`.
    """
    if folder is None or not (folder / FILE).is_file():
        return ()
    return tuple(
        Calibrated(adapter, models.load(card, folder), points)
        for adapter, card, points in parse((folder / FILE).read_text("utf-8"), folder)
    )


def parse(text: str, folder: Path) -> list[tuple[Adapter, models.Card, NDArray[np.float64]]]:
    """What a `synthetic.toml` in that folder sets up. Raises `ConfigurationError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{FILE} in the folder of models is not TOML: {error}") from error
    entries = document.get("model")
    if set(document) != {"model"} or not isinstance(entries, list):
        raise _wrong("must hold [[model]] tables, and only them")
    return [_entry(entry, folder) for entry in entries]


def _entry(entry: Any, folder: Path) -> tuple[Adapter, models.Card, NDArray[np.float64]]:
    wanted = {"adapter", "file", "sha256", "points"}
    if not isinstance(entry, dict) or set(entry) != wanted:
        raise _wrong(f"needs {', '.join(sorted(wanted))} for each model, and nothing else")
    adapter = ADAPTERS.get(str(entry["adapter"]))
    if adapter is None:
        raise _wrong(f"names an adapter that is none of {', '.join(ADAPTERS)}")
    file, digest = entry["file"], entry["sha256"]
    if not isinstance(file, str) or Path(file).name != file:
        raise _wrong("has a file that is not a plain name in the folder")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise _wrong("has a sha256 that is not 64 hexadecimal digits, lower case")
    try:
        points = np.array(entry["points"], np.float64)
    except (TypeError, ValueError) as error:
        raise _wrong("has points that are not numbers") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise _wrong("has points that are not two pairs of numbers or more")
    if not ((points >= 0) & (points <= 1)).all() or (np.diff(points, axis=0) < 0).any():
        raise _wrong("has points that do not rise from 0 to 1")
    path = folder / file
    card = models.Card(
        name=adapter.name,
        task="synthetic",
        version=digest[:8],
        form="onnx",
        file=file,
        sha256=digest,
        bytes=path.stat().st_size if path.is_file() else 1,
        licence=adapter.licence,
        copyright=adapter.copyright,
        origin=adapter.origin,
        input=adapter.input,
        output=adapter.output,
        measured=(),
        limits=(adapter.limit,),
        url=adapter.origin,
    )
    return adapter, card, points


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"{FILE} in the folder of models {what}")
