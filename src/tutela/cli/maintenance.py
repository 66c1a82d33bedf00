"""`tutela serve`, `index` and `db`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from tutela.cli.output import Json, emit, guarded, options, table


def add_to(app: typer.Typer) -> None:
    app.command()(serve)
    index = typer.Typer(help="The search index.", no_args_is_help=True)
    index.command("status")(index_status)
    index.command("compact")(index_compact)
    app.add_typer(index, name="index")
    db = typer.Typer(help="The database.", no_args_is_help=True)
    db.command("upgrade")(db_upgrade)
    db.command("purge")(db_purge)
    app.add_typer(db, name="db")


@guarded
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    processes: Annotated[int, typer.Option(help="Server processes.", min=1)] = 1,
) -> None:
    """Serve the HTTP API. Closed by default: make a key with `tutela key create`."""
    from tutela.server.run import run

    run(options(context).settings(), host=host, port=port, processes=processes)


@guarded
def index_status(context: typer.Context, as_json: Json = False) -> None:
    """Show how large and how fresh the index is."""
    with options(context).screener(most=1) as screener:
        screener.matcher.refresh()
        for name, status in screener.matcher.status().items():
            if as_json:
                emit({"signal": name, **asdict(status)})
            else:
                table(name, ("", ""), asdict(status).items())


@guarded
def index_compact(context: typer.Context, as_json: Json = False) -> None:
    """Write the changes since the last snapshot into a new one, now."""
    with options(context).screener(most=1) as screener:
        screener.matcher.refresh()
        for index in screener.matcher.indexes.values():
            index.compact()
        if as_json:
            emit({name: asdict(held) for name, held in screener.matcher.status().items()})
        else:
            typer.echo("compacted")


@guarded
def db_upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Bring the tables to this version. Stop every server and back the database up first."""
    from tutela.store import REVISION

    options(context).store(upgrade=True)
    emit({"revision": REVISION}) if as_json else typer.echo(f"the tables are of {REVISION}")


@guarded
def db_purge(
    context: typer.Context,
    days: Annotated[int, typer.Option(help="Erase verdicts older than so many days.", min=3)],
    as_json: Json = False,
) -> None:
    """Erase old verdicts. Run it daily to keep no more than you may."""
    from tutela.store import now
    from tutela.store.verdicts import forget

    erased = forget(options(context).store(), now() - timedelta(days=days))
    emit({"erased": erased}) if as_json else typer.echo(f"erased {erased:,} verdicts")
