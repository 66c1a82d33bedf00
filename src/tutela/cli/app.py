"""The command tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutela.cli import (
    banks,
    datasets,
    guard,
    keys,
    maintenance,
    models,
    policies,
    protection,
    screening,
    watch,
)
from tutela.cli.output import Options

app = typer.Typer(
    name="tutela",
    help="Screen uploads before they are published: allow, hold or block, with reasons.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done and all allowed, 1 failed, 2 usage, 3 held, 4 blocked.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from tutela import __version__

        typer.echo(f"tutela {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="The data folder.", envvar="TUTELA_DATA", show_default="tutela-data"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="SQLAlchemy URL of the database.", show_default="tutela.db in --data"),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="The policy file.", show_default="the default policy")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Decoding processes.", show_default="one a core", min=1)
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options for every command go before its name."""
    context.obj = Options(data, database, policy, workers, context.call_on_close)


screening.add_to(app)
watch.add_to(app)
protection.add_to(app, banks.app)
app.add_typer(banks.app, name="bank")
app.add_typer(policies.app, name="policy")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="key")
app.add_typer(guard.app, name="guard")
app.add_typer(datasets.app, name="receipt")
maintenance.add_to(app)
