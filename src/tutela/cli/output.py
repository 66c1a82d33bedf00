"""What commands print, and how they end."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from tutela.errors import TutelaError

if TYPE_CHECKING:
    from rich.console import Console

    from tutela.screening import Screener
    from tutela.settings import Settings
    from tutela.store import Store

P = ParamSpec("P")
R = TypeVar("R")

FAILED, HELD, BLOCKED = 1, 3, 4
PATIENCE = 3.0
"""Seconds of getting ready after which the wait is explained."""
STYLES = {"allow": "green", "hold": "yellow", "block": "bold red"}

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the subcommand."""

    data: Path | None
    database: str | None
    policy: Path | None
    workers: int | None = None
    on_close: Callable[[Callable[[], None]], object] = field(default=lambda _: None, repr=False)
    """Takes what is to be called when the command has ended."""

    def settings(self) -> Settings:
        from tutela.settings import load

        return load(self.data, database=self.database, policy=self.policy, workers=self.workers)

    def screener(self, *, most: int | None = None, films: bool = False) -> Screener:
        """A screener that is ready, also for `films`, with at most so many workers of a kind."""
        from tutela.screening import Screener

        settings = self.settings()
        if most is not None:
            settings = settings.model_copy(update={"workers": min(settings.workers, max(1, most))})
        screener = Screener(settings)
        try:
            with patience():
                screener.warm(films=films)
        except BaseException:
            screener.close()
            raise
        return screener

    def store(self, *, upgrade: bool = False) -> Store:
        """The store; it is closed when the command ends."""
        from tutela.store import Store

        settings = self.settings()
        settings.make_data()
        store = Store(settings.database_url, upgrade=upgrade)
        self.on_close(store.close)
        return store


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Says what the wait is for when kernels have to be compiled first."""
    text = "Compiling the kernels; this happens once on a machine and takes some seconds …"
    timer = threading.Timer(PATIENCE, typer.echo, (text,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def options(context: typer.Context) -> Options:
    """The options before the subcommand."""
    found: Options = context.obj
    return found


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose own errors end it with one line on stderr and code 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TutelaError as error:
            if kwargs.get("as_json"):
                emit({"error": {"type": type(error).__name__, "message": str(error)}})
            typer.secho(f"tutela: {error}", err=True, fg="red")
            raise typer.Exit(FAILED) from error
        except BrokenPipeError:
            # Whoever read our output has left, as `head` does.
            sys.stderr.close()
            raise typer.Exit(FAILED) from None

    return run


def emit(document: Any) -> None:
    """One JSON line on stdout, at once."""
    print(json.dumps(document, ensure_ascii=False, separators=(", ", ": ")), flush=True)


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup: names and notes come from outside.
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console().print(shown)


def styled(action: str) -> Any:
    from rich.text import Text

    return Text(action, style=STYLES.get(action, ""))


def exit_code(actions: Iterable[str]) -> int:
    """0 if everything was allowed, else the code of the strongest action."""
    seen = set(actions)
    return BLOCKED if "block" in seen else HELD if "hold" in seen else 0
