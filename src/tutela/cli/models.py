"""`tutela models …`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutela.cli.output import FAILED, Json, emit, guarded, options, table
from tutela.errors import LicenceNotAccepted, ModelDamaged, ModelMissing

if TYPE_CHECKING:
    from tutela.models import Card

app = typer.Typer(
    help="The models that detectors use.", no_args_is_help=True, pretty_exceptions_enable=False
)

Names = Annotated[list[str], typer.Argument(help="Models, by name.", metavar="NAME...")]
Accepted = Annotated[
    list[str],
    typer.Option("--accept-licence", help="A licence that you accept; may be repeated."),
]


@app.command("list")
@guarded
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the models: what each is for, whether it is here, its size and licence."""
    from tutela import models

    folder = options(context).settings().models_path
    found = [(card, models.state(card, folder)) for card in models.cards().values()]
    if as_json:
        for card, state in found:
            emit(
                {
                    "name": card.name,
                    "task": card.task,
                    "version": card.version,
                    "state": state,
                    "source": card.source,
                    "licence": card.licence,
                    "bytes": card.bytes,
                }
            )
        return
    table(
        "Models",
        ("name", "for", "state", "size", "licence"),
        (
            (card.name, card.task, state, f"{card.bytes / 1e6:.1f} MB", card.licence)
            for card, state in found
        ),
    )


@app.command()
@guarded
def pull(
    context: typer.Context,
    name: Names,
    accept_licence: Accepted = [],  # noqa: B006 - typer copies it
    source: Annotated[
        Path | None,
        typer.Option("--from", help="The file, or a folder with it, instead of the network."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Get models: by their address, or from a folder. Each is checked against its card."""
    from tutela import models

    settings = options(context).settings()
    settings.make_data()
    for card in [models.find(each) for each in name]:
        accepted = card.licence if card.licence in accept_licence else ""

        def get(card: Card = card, accepted: str = accepted) -> Path:
            with _progress(card, quiet=as_json) as progress:
                return models.pull(
                    card,
                    settings.models_path,
                    accept_licence=accepted,
                    source=source,
                    progress=progress,
                )

        try:
            path = get()
        except LicenceNotAccepted:
            if as_json or not _can_ask():
                raise
            typer.echo(f"{card.name}: {card.licence}, copyright {card.copyright}\n{card.origin}")
            if not typer.confirm("Do you accept this licence?"):
                raise
            path = get(accepted=card.licence)
        if as_json:
            emit({"name": card.name, "path": str(path), "bytes": card.bytes, "sha256": card.sha256})
        else:
            typer.echo(f"{card.name}: {path}")


@app.command()
@guarded
def verify(
    context: typer.Context,
    name: Annotated[
        list[str],
        typer.Argument(help="Models, by name; else those that are here.", metavar="[NAME...]"),
    ] = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Check that models are the files that their cards name."""
    from tutela import models

    folder = options(context).settings().models_path
    cards = [models.find(each) for each in name] or [
        card for card in models.cards().values() if models.state(card, folder) != "missing"
    ]
    failed = False
    for card in cards:
        try:
            result, detail = "ok", str(models.verify(card, folder))
        except (ModelMissing, ModelDamaged) as error:
            result = "damaged" if isinstance(error, ModelDamaged) else "missing"
            detail = str(error)
            failed = True
        if as_json:
            emit({"name": card.name, "result": result, "detail": detail})
        else:
            typer.echo(f"{card.name}: {result}, {detail}")
    if failed:
        raise typer.Exit(FAILED)


@app.command()
@guarded
def card(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model, by name.", metavar="NAME")],
    as_json: Json = False,
) -> None:
    """Show all that is known of a model: source, licence, form, what was measured, limits."""
    from tutela import models

    found = models.find(name)
    document: dict[str, Any] = {
        **found.document(),
        "state": models.state(found, options(context).settings().models_path),
    }
    if as_json:
        emit(document)
        return
    measured, limits = document.pop("measured"), document.pop("limits")
    table(f"{name}", ("field", "value"), document.items())
    table("Measured", ("by", "on", "result"), (item.values() for item in measured))
    table("Limits", ("",), ((limit,) for limit in limits))


def _can_ask() -> bool:
    return sys.stdin.isatty()


@contextmanager
def _progress(card: Card, *, quiet: bool) -> Iterator[Callable[[int], object]]:
    """Shows how far a download is, to people."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from tutela.cli.output import console

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console(stderr=True), transient=True, disable=quiet) as shown:
        task = shown.add_task(card.name, total=card.bytes)
        yield lambda done: shown.update(task, completed=done)
