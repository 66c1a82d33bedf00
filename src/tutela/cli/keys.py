"""`tutela key …`"""

from __future__ import annotations

from typing import Annotated

import typer

from tutela.cli.output import Json, emit, guarded, options, table

app = typer.Typer(
    help="API keys for the server.", no_args_is_help=True, pretty_exceptions_enable=False
)

Name = Annotated[str, typer.Argument(help="What the key is for.", metavar="NAME")]


@app.command()
@guarded
def create(
    context: typer.Context,
    name: Name,
    scope: Annotated[
        list[str],
        typer.Option(help="screen, verdicts, banks:read, banks:write, metrics; may be repeated."),
    ] = ["screen"],  # noqa: B006 - typer copies it
    per_minute: Annotated[int, typer.Option(help="Requests a minute, a server process.")] = 6_000,
    max_bytes: Annotated[int, typer.Option(help="Largest request body.")] = 96 << 20,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is shown this once."""
    from tutela.server.keys import Keys

    keys = Keys(options(context).store())
    key, secret = keys.create(name, scope, per_minute=per_minute, max_bytes=max_bytes)
    if as_json:
        emit({"name": key.name, "scopes": sorted(key.scopes), "secret": secret})
    else:
        typer.echo(f"{secret}\n", nl=True)
        typer.echo("Keep it now: it can't be shown again.", err=True)


@app.command("list")
@guarded
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    from tutela.server.keys import Keys

    found = Keys(options(context).store()).list()
    if as_json:
        for key in found:
            emit(
                {
                    "name": key.name,
                    "scopes": sorted(key.scopes),
                    "per_minute": key.per_minute,
                    "max_bytes": key.max_bytes,
                    "created_at": key.created_at.isoformat(),
                    "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
                }
            )
        return
    table(
        "API keys",
        ("name", "scopes", "a minute", "state"),
        (
            (
                key.name,
                " ".join(sorted(key.scopes)),
                f"{key.per_minute:,}",
                f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "in use",
            )
            for key in found
        ),
    )


@app.command()
@guarded
def revoke(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Revoke a key; it opens nothing from then on."""
    from tutela.server.keys import Keys

    Keys(options(context).store()).revoke(name)
    emit({"revoked": name}) if as_json else typer.echo(f"revoked {name}")
