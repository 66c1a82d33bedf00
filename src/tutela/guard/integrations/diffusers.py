"""Diffusers: a guard around any pipeline, and a safety checker for those that have a place for it.

    pipeline = guard(pipeline, tutela.guard.open("tutela-data"))

What a call is given is judged before the first step, what it made before it is given back.
docs/guard-diffusers.md tells how to use it and what it does not see.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import structlog

from tutela.content import Context
from tutela.errors import (
    ConfigurationError,
    OutputRefused,
    RequestRefused,
    TutelaError,
    Unexaminable,
)
from tutela.guard.gate import Gate
from tutela.guard.integrations.pictures import Change, Unshaped, encoded, is_tensor
from tutela.guard.integrations.values import Given, Made, allowed, judge_outputs

log = structlog.get_logger("tutela.guard")

Pipeline = TypeVar("Pipeline")

SHOWN: Final = frozenset({"pil", "np", "np.array", "numpy", "pt"})
"""Kinds of output that can be judged."""
PLAIN: Final = frozenset({"callback_on_step_end_tensor_inputs", "output_type"})
AROUND: Final = (
    "feature_extractor",
    "image_encoder",
    "image_noising_scheduler",
    "image_processor",
    "movq",
    "processor",
    "prior_image_encoder",
    "prior_text_encoder",
    "prior_tokenizer",
    "safety_checker",
    "scheduler",
    "text_encoder",
    "tokenizer",
    "vae",
    "vision",
    "vocoder",
    "vqgan",
    "vqvae",
)
"""What the names of components begin with that make no picture by themselves."""

_judged: ContextVar[bool] = ContextVar("tutela_judged", default=False)


def guard(
    pipeline: Pipeline,
    gate: Gate,
    *,
    vouched: Iterable[str] = (),
    mark: Change | None = None,
    context: Context | None = None,
) -> Pipeline:
    """The same pipeline, whose calls are judged from now on.

    A call raises `RequestRefused` before the first step, `Unexaminable` if it is given what can't
    be examined, `OutputRefused` for what it made. `vouched` names arguments and outputs that pass
    unexamined, because the program itself makes them: `latents`, `prompt_embeds` …; `mark` changes
    every picture that is given back: a watermark, for one.

    Its models - the parts that make pictures - work in no other way from then on: called by
    themselves, or by a pipeline that shares them, they raise `RequestRefused`.
    """
    kind = type(pipeline)
    if hasattr(kind, "__guarded__"):
        raise ConfigurationError("this pipeline is guarded already; guard it once")
    run: Any = kind.__call__
    signature = inspect.signature(run)
    named = frozenset(vouched)

    @functools.wraps(run)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = Given(named, PLAIN)
        for name, value in _arguments(signature.bind(self, *args, **kwargs)):
            if name == "output_type" and value not in SHOWN and name not in named:
                raise Unexaminable(
                    name, f"{name!r} can't be examined unless it is pil, np or pt; choose one"
                )
            given.read(name, value)
        allowed(gate.request(given.request(context)))
        token = _judged.set(True)
        try:
            made = run(self, *args, **kwargs)
        finally:
            _judged.reset(token)
        return Made(gate, named, mark, context).passed(made)

    own = {"__call__": call, "__module__": kind.__module__, "__doc__": kind.__doc__}
    pipeline.__class__ = type(kind.__name__, (kind,), {**own, "__guarded__": True})
    for model in _models(pipeline):
        model.register_forward_pre_hook(_sealed)
    return pipeline


class SafetyChecker:
    """Judges pictures in place of the safety checker of a Stable Diffusion pipeline.

        SafetyChecker(gate).install(pipeline)

    What is refused, and everything if judging fails, becomes black. It sees the pictures alone:
    `guard` sees what was asked, too.
    """

    def __init__(self, gate: Gate, context: Context | None = None) -> None:
        self._gate = gate
        self._context = context

    def install(self, pipeline: Any) -> None:
        """Make it the safety checker of a pipeline, whether or not that had one."""
        pipeline.safety_checker = self
        if getattr(pipeline, "feature_extractor", None) is None:
            pipeline.feature_extractor = _NoFeatures()

    def __call__(self, images: Any, clip_input: Any = None) -> tuple[Any, list[bool]]:
        """The pictures with those that are refused made black, and which they are.

        `images` is a tensor (n, channels, height, width) from -1 to 1, or an array (n, height,
        width, channels) from 0 to 1. `clip_input` is not looked at.
        """
        del clip_input
        try:
            refused = [not self._passes(one) for one in images]
        except (TutelaError, Unshaped) as error:
            log.error("outputs were not judged, all are black", error=type(error).__name__)
            refused = [True] * len(images)
        for number, flagged in enumerate(refused):
            if flagged:
                # A picture that is flagged is no longer shifted to 0..1: this is black in both.
                images[number] = 0
        return images, refused

    def _passes(self, picture: Any) -> bool:
        if is_tensor(picture):
            picture = (picture.detach().float() + 1) / 2
        try:
            judge_outputs(self._gate, encoded(picture.clip(0, 1)), self._context)
        except OutputRefused:
            return False
        return True


class _NoFeatures:
    """Stands where a pipeline has no feature extractor: the checker needs no features."""

    def __call__(self, images: Any, **kwargs: Any) -> _NoFeatures:
        del images, kwargs
        return self

    @property
    def pixel_values(self) -> _NoFeatures:
        return self

    def to(self, *args: Any, **kwargs: Any) -> _NoFeatures:
        del args, kwargs
        return self


def _arguments(bound: inspect.BoundArguments) -> Iterator[tuple[str, Any]]:
    """Every argument of a call but `self`, by its name."""
    for name, value in list(bound.arguments.items())[1:]:
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((name, one) for one in value)
        else:
            yield name, value


def _models(pipeline: Any) -> Iterator[Any]:
    """The parts of a pipeline that make pictures."""
    for name, part in getattr(pipeline, "components", {}).items():
        if hasattr(part, "register_forward_pre_hook") and not name.startswith(AROUND):
            yield part


def _sealed(model: Any, given: Any) -> None:
    """Runs before a model does."""
    del model, given
    if not _judged.get():
        raise RequestRefused(
            message="This model works only in its guarded pipeline; guard the one that shares it."
        )
