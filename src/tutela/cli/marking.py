"""`tutela guard mark`, `read` and `certificate`: mark what a model made, and read marks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tutela.cli.output import FAILED, Json, emit, guarded, options
from tutela.errors import ConfigurationError, Rejected


def add_to(app: typer.Typer) -> None:
    app.command()(mark)
    app.command()(read)
    app.command()(certificate)


Picture = Annotated[Path, typer.Argument(help="A picture.", metavar="FILE")]


@guarded
def mark(
    context: typer.Context,
    file: Picture,
    out: Annotated[Path, typer.Option(help="Where the marked picture goes.")],
    edited: Annotated[
        bool, typer.Option("--edited", help="A model changed a picture that it was given.")
    ] = False,
) -> None:
    """Mark a picture as made by a model: JPEG, PNG or WebP, by the settings."""
    from tutela.guard.marking import Marker

    settings = options(context).settings()
    marker = Marker(settings)
    if not marker.marks:
        raise ConfigurationError(
            "nothing is to be marked: mark_watermark is off and there is no mark_certificate"
        )
    made = marker.mark(_read(file, settings.max_bytes), edited=edited)
    try:
        out.write_bytes(made)
    except OSError as error:
        raise ConfigurationError(f"{out} can't be written: {error.strerror}") from error
    typer.echo(f"{out}: {marker}")


@guarded
def read(context: typer.Context, file: Picture, as_json: Json = False) -> None:
    """Read a picture's marks: watermark, manifest and metadata. Without any, it ends with 1."""
    from tutela.detectors.provenance import Provenance

    settings = options(context).settings()
    reader = Provenance()
    reader.prepare(settings.detector_options())
    said = reader.evidence(_read(file, settings.max_bytes), thorough=True)
    if as_json:
        marks = [
            {"claim": one.claim, "state": one.state, "signer": one.signer, "detail": one.detail}
            for one in said
        ]
        emit({"file": str(file), "marks": marks})
    else:
        for one in said:
            signed = f"{one.state}, by {one.signer}" if one.signer else one.state
            typer.echo(f"{one.claim or 'unsaid':<10} {signed:<10}  {one.detail}")
        if not said:
            typer.echo(f"{file}: no mark. That proves nothing.")
    if not said:
        raise typer.Exit(FAILED)


@guarded
def certificate(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path(),
    name: Annotated[str, typer.Option(help="The organisation that signs.")] = "Test only",
    days: Annotated[int, typer.Option(help="Days for which it is good.", min=1, max=3650)] = 90,
) -> None:
    """Make a certificate and a key to try signing with. Nobody else trusts what they sign."""
    from tutela.guard.marking import trial_identity

    chain, root, key = trial_identity(name, days)
    made: list[tuple[str, bytes, int]] = [
        ("mark-certificate.pem", chain, 0o644),
        ("mark-root.pem", root, 0o644),
        ("mark-key.pem", key, 0o600),
    ]
    for called, text, mode in made:
        _write_new(folder / called, text, mode)
        typer.echo(folder / called)
    typer.secho(
        "For testing: nobody but you trusts this certificate. To publish, get one from an "
        "authority on the C2PA trust list.",
        err=True,
        fg="yellow",
    )


def _read(path: Path, most: int) -> bytes:
    from tutela.examine import read as read_file

    try:
        return read_file(path, most)
    except Rejected as error:
        raise ConfigurationError(f"{path}: {error.message}") from error


def _write_new(path: Path, text: bytes, mode: int) -> None:
    """A new file: a key that is there is never written over."""
    flags: Any = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from error
