"""Gradio: a guard around the function that an interface calls.

    gr.Interface(guard(paint, gate), inputs=["text", "image"], outputs="image")

What a user enters is judged before the function runs, what it gives before the user sees it.
docs/guard-gradio.md tells how to use it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import anyio.to_thread
import gradio
import structlog
from PIL import Image

from tutela.content import Context
from tutela.errors import OutputRefused, RequestRefused, TutelaError, Unexaminable
from tutela.guard.gate import Gate, Operation, Request
from tutela.guard.integrations.pictures import Change, covered
from tutela.guard.integrations.values import Given, Made, allowed

log = structlog.get_logger("tutela.guard")

Function = TypeVar("Function", bound=Callable[..., Any])

LAYERS: Final = {"background", "composite", "layers"}
"""Keys of what an `ImageEditor` gives."""
UNJUDGED: Final = "This request can't be judged now; try again."
UNSEEN: Final = "A part of this request is in a form that can't be examined."
_SHOWS = re.compile(
    r"data:image/|<\s*(?:img|video|picture|svg|object|iframe|embed)\b", re.IGNORECASE
)
_ADDRESS = re.compile(r"(?:https?:)?//\S+", re.IGNORECASE)


def guard(
    function: Function,
    gate: Gate,
    *,
    vouched: Iterable[str] = (),
    mark: Change | None = None,
) -> Function:
    """The same function, for an interface to call; it may be a generator, async, or both.

    What is refused ends in a `gradio.Error` with a general message. `vouched` names parameters that
    pass unexamined, because they are no texts and no pictures: a state, for one. `mark` changes
    every picture that is given back; one that was given as a file is then given as a picture.
    """
    signature = inspect.signature(function)
    named = frozenset(vouched)
    context = Context(surface="gradio")

    def judge(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = _Entered(gate, named)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            given.read(name, value)
        request = given.request(context)
        if request.texts or request.unwanted or request.images:
            allowed(gate.request(request))

    def shown(made: Any) -> Any:
        return _Shown(gate, (), mark, context).passed(made)

    guarded: Any
    if inspect.isasyncgenfunction(function):

        async def guarded(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await _refused_aside(judge, args, kwargs)
            async for made in function(*args, **kwargs):
                yield await _refused_aside(shown, made)

    elif inspect.iscoroutinefunction(function):

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            await _refused_aside(judge, args, kwargs)
            return await _refused_aside(shown, await function(*args, **kwargs))

    elif inspect.isgeneratorfunction(function):

        def guarded(*args: Any, **kwargs: Any) -> Iterator[Any]:
            _refused(judge, args, kwargs)
            for made in function(*args, **kwargs):
                yield _refused(shown, made)

    else:

        def guarded(*args: Any, **kwargs: Any) -> Any:
            _refused(judge, args, kwargs)
            return _refused(shown, function(*args, **kwargs))

    return cast("Function", functools.wraps(function)(guarded))


class _Entered(Given):
    """What a user entered. A file stands in it as its path."""

    arrays_shown = True

    def __init__(self, gate: Gate, vouched: Iterable[str]) -> None:
        super().__init__(vouched)
        self._most = gate.settings.max_bytes
        self._painted: list[Any] = []

    def request(
        self, context: Context | None = None, operation: Operation | None = None
    ) -> Request:
        """All of it together."""
        if self._painted:
            mask = covered(self._painted, painted=True)
            if self.mask is not None:
                raise self.unexaminable("layers", "there is a mask besides")
            self.mask = mask
        return super().request(context, operation)

    def text(self, words: frozenset[str], value: str, top: str) -> None:
        """Read a text, or the file that it names."""
        path = _file(value)
        if path is None:
            super().text(words, value, top)
        elif path.stat().st_size > self._most:
            raise self.unexaminable(top, "it is too large")
        else:
            self.file(words, path.read_bytes(), top)

    def other(self, name: str, value: Any, top: str, depth: int) -> None:
        """Read what is of no kind that is known."""
        # What Gradio itself puts in: a `Request`, a `Progress`, a profile.
        if not type(value).__module__.startswith("gradio."):
            super().other(name, value, top, depth)

    def _read(self, name: str, value: Any, top: str, depth: int) -> None:
        if isinstance(value, Mapping) and value.keys() == LAYERS and name not in self._vouched:
            for part in ("background", "composite"):
                self._read("image", value[part], top, depth - 1)
            self._painted += [_opened(layer) for layer in value["layers"]]
            return
        super()._read(name, value, top, depth)


class _Shown(Made):
    """What a function gives back for a user to see."""

    def opened(self, value: Any) -> Any:
        """The picture in a file that is to be marked."""
        path = _file(value) if isinstance(value, str) else None
        return value if path is None else _opened(value)

    def other(self, name: str, value: Any, depth: int) -> Iterator[bytes]:
        """The pictures in files, and in changes to components."""
        if isinstance(value, str):
            path = _file(value)
            if path is not None:
                yield path.read_bytes()
            elif _SHOWS.search(value) or _ADDRESS.fullmatch(value.strip()):
                raise self.hidden(name)
        elif isinstance(value, Path):
            yield value.read_bytes()
        elif isinstance(value, gradio.blocks.Block) and depth:
            yield from self.pictures(name, value.constructor_args.get("value"), depth - 1)
        else:
            raise self.hidden(name)


def _file(text: str) -> Path | None:
    """The file that a text names: Gradio gives whole paths."""
    if len(text) > 4096 or "\n" in text or "\0" in text:
        return None
    path = Path(text)
    return path if path.is_absolute() and path.is_file() else None


def _opened(layer: Any) -> Any:
    if not isinstance(layer, str | Path):
        return layer
    with Image.open(layer) as image:
        image.load()
        return image.copy()


def _refused(judge: Callable[..., Any], *given: Any) -> Any:
    """What comes of judging, with what is refused told in Gradio's way."""
    try:
        return judge(*given)
    except TutelaError as error:
        raise _told(error) from None


async def _refused_aside(judge: Callable[..., Any], *given: Any) -> Any:
    """The same, beside the event loop."""
    return await anyio.to_thread.run_sync(functools.partial(_refused, judge, *given))


def _told(error: TutelaError) -> Exception:
    message = UNJUDGED
    if isinstance(error, Unexaminable):
        log.warning("a request was not examined", error=str(error))
        message = UNSEEN
    elif isinstance(error, RequestRefused | OutputRefused):
        log.info("refused", verdict=error.verdict)
        message = str(error)
    else:
        log.error("a request was not judged", error=type(error).__name__, message=str(error))
    told: Exception = gradio.Error(message, print_exception=False)
    return told
