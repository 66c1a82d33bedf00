"""`tutela watch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tutela.cli.output import Json, console, emit, exit_code, guarded, options
from tutela.cli.screening import Jurisdiction, Surface


def add_to(app: typer.Typer) -> None:
    app.command()(watch)


@guarded
def watch(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="A growing file, a folder of segments, or - for a pipe.", metavar="FILM"
        ),
    ],
    every: Annotated[float, typer.Option(help="Seconds of film in a piece.", min=0.5)] = 4.0,
    idle: Annotated[
        float, typer.Option(help="Seconds without growth after which it has ended.", min=0.5)
    ] = 30.0,
    stop_on: Annotated[
        str, typer.Option(help="End at the first verdict of this kind or worse: hold, block.")
    ] = "",
    surface: Surface = "",
    jurisdiction: Jurisdiction = "",
    as_json: Json = False,
) -> None:
    """Screen a film while it is being written: live streams, recordings, segments."""
    from rich.text import Text

    from tutela import watching
    from tutela.cli.output import styled
    from tutela.content import Context
    from tutela.errors import ConfigurationError
    from tutela.policy.decision import ACTIONS, stronger

    limit = next((action for action in ACTIONS if action == stop_on), None)
    if stop_on and limit is None:
        raise ConfigurationError(f"--stop-on is one of {', '.join(ACTIONS)}")
    actions = []
    with options(context).screener(most=1, films=True) as screener:
        if str(source) == "-":
            pieces = watching.pipe(sys.stdin.buffer, every=every)
        elif source.is_dir():
            most = screener.settings.film_bytes
            pieces = watching.folder(source, idle=idle, most=most)
        else:
            pieces = watching.file(source, every=every, idle=idle)
        given = Context(surface=surface, jurisdiction=jurisdiction)
        for seen in watching.watch(screener, pieces, context=given):
            actions.append(seen.verdict.action)
            if as_json:
                emit({**seen.verdict.to_json(), "behind": round(seen.behind, 3)})
            else:
                line = Text.assemble(styled(f"{seen.verdict.action:<6}"), f" {seen.verdict.name}")
                line.append(f"  {seen.behind:.1f} s behind", style="dim")
                console().print(line, soft_wrap=True)
                for reason in seen.verdict.reasons:
                    console().print(Text(f"       {reason}", style="dim"), soft_wrap=True)
            if limit is not None and stronger(seen.verdict.action) >= stronger(limit):
                break
    raise typer.Exit(exit_code(actions))
