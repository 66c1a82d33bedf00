"""`tutela guard`: judge what is asked of a generative model."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutela.cli import gateway, marking
from tutela.cli.output import Json, console, emit, exit_code, guarded, options, patience, styled
from tutela.errors import ConfigurationError

if TYPE_CHECKING:
    from tutela.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Guard a generative model: judge what is asked of it.")
gateway.add_to(app)
marking.add_to(app)


def settings_of(context: typer.Context) -> Settings:
    """The settings; a policy that is named on the command line is the one for guarding."""
    given = options(context)
    settings = given.settings()
    return settings.model_copy(update={"guard_policy": given.policy}) if given.policy else settings


@app.command()
@guarded
def text(context: typer.Context, as_json: Json = False) -> None:
    """Judge texts, one request a line of standard input: one line each says what to do with it.

    Nothing is recorded. The exit code is 0 whatever the texts are.
    """
    from tutela.guard.texts import Texts

    judge = Texts(settings_of(context))
    for number, line in enumerate(_lines(), 1):
        judged = judge(line)
        decision = judged.decision
        if as_json:
            emit({"action": decision.action, "categories": judged.categories})
        else:
            said = f"{number:>6}  {'; '.join(decision.reasons)}"
            console().print(styled(f"{decision.action:<6}"), said, soft_wrap=True)


def _lines() -> Iterator[str]:
    """The lines of standard input, UTF-8. What is none stands as surrogates: it is judged too."""
    stdin = io.TextIOWrapper(
        sys.stdin.buffer, encoding="utf-8", errors="surrogateescape", newline="\n"
    )
    for line in stdin:
        yield line.rstrip("\r\n")


@app.command()
@guarded
def check(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What is asked of the model.")] = "",
    image: Annotated[
        list[Path], typer.Option(help="A picture that goes in; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    mask: Annotated[
        Path | None, typer.Option(help="Where to repaint: transparent, or white if opaque.")
    ] = None,
    unwanted: Annotated[str, typer.Option(help="The negative prompt.")] = "",
    output: Annotated[
        bool, typer.Option("--output", help="Judge the pictures as what the model made.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Judge one request with its pictures and mask, as the gateway would."""
    from tutela.guard.gate import Gate, Operation, Request

    if output and (prompt or unwanted or mask or not image):
        raise ConfigurationError("--output judges pictures alone; name them with --image")
    if not (prompt or unwanted or image):
        raise ConfigurationError("there is nothing to judge; give a prompt or --image")
    pictures = tuple(map(_read, image))
    with Gate(settings_of(context)) as gate:
        if pictures or mask:
            with patience():
                gate.warm()
        if output:
            verdicts = [gate.output(picture) for picture in pictures]
        else:
            request = Request(
                texts=(prompt,) if prompt else (),
                unwanted=unwanted,
                images=pictures,
                mask=_read(mask) if mask else None,
                operation=Operation.EDIT if pictures else Operation.GENERATE,
            )
            verdicts = [gate.request(request)]
    for verdict in verdicts:
        if as_json:
            emit(verdict.to_json())
            continue
        console().print(styled(verdict.action))
        for line in (*verdict.reasons, *(f"· {one.describe()}" for one in verdict.findings)):
            console().print(f"       {line}", style="dim", soft_wrap=True, markup=False)
    raise typer.Exit(exit_code(verdict.action for verdict in verdicts))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
