"""`tutela guard serve` and `tutela guard signals`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tutela.cli.output import Json, emit, guarded, options, table
from tutela.errors import ConfigurationError


def add_to(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(signals)


@guarded
def serve(
    context: typer.Context,
    upstream: Annotated[str, typer.Option(help="The model's API: https://api.openai.com")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    upstream_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the upstream's key; else each caller's own goes on."),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Ask callers for a key of Tutela, scope screen.")
    ] = False,
    allow: Annotated[
        list[str],
        typer.Option(
            help="Let pass unexamined: stored, files, audio, tools, opaque; may be repeated."
        ),
    ] = [],  # noqa: B006 - typer copies it
    judge_answers: Annotated[
        str, typer.Option(help="Texts that the model writes: none, whole or all.")
    ] = "whole",
    timeout: Annotated[
        float, typer.Option(help="Seconds for which the upstream may be silent.", min=1)
    ] = 600.0,
) -> None:
    """Serve an OpenAI-compatible API that judges each request before the model's API sees it."""
    from tutela.cli.guard import settings_of
    from tutela.guard.gateway import Options, run
    from tutela.guard.openai_answers import Judged
    from tutela.guard.reading import Unexamined

    if keys and upstream_key_file is None:
        raise ConfigurationError(
            "--keys takes the place of the upstream's key; name that with --upstream-key-file"
        )
    try:
        allowed = frozenset(Unexamined(one) for one in allow)
        judge = Judged(judge_answers)
    except ValueError as error:
        raise ConfigurationError(f"{error}; see `tutela guard serve --help`") from None
    chosen = Options(
        upstream, key=_key(upstream_key_file), keys=keys, allow=allowed, judge=judge,
        seconds=timeout,
    )  # fmt: skip
    run(settings_of(context), chosen, host=host, port=port)


@guarded
def signals(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also accounts below the rate.")] = False,
    as_json: Json = False,
) -> None:
    """List the accounts whose requests to the model are refused again and again."""
    from tutela.guard.refusals import Refusals

    given = options(context)
    per_hour = given.settings().refusals_per_hour
    found = Refusals(given.store(), per_hour).signals(every=every)
    if as_json:
        for one in found:
            times = {name: getattr(one, name) for name in ("first_at", "last_at", "opened_at")}
            emit(asdict(one) | {name: time and time.isoformat() for name, time in times.items()})
        return
    table(
        f"Accounts refused {per_hour} times or more within an hour",
        ("account", "last hour", "in all", "first", "last"),
        (
            (
                one.account,
                one.in_window,
                one.refusals,
                f"{one.first_at:%Y-%m-%d %H:%M}",
                f"{one.last_at:%Y-%m-%d %H:%M}",
            )
            for one in found
        ),
    )


def _key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the key file {path} can't be read: {error}") from error
    if not key or not key.isprintable() or " " in key:
        raise ConfigurationError(f"the key file {path} holds no key on one line")
    return key
