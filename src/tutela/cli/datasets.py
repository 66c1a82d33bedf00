"""`tutela scan --dataset` and `tutela receipt`: what training data holds, and proof of the look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutela.cli.output import (
    BLOCKED,
    HELD,
    Json,
    console,
    emit,
    guarded,
    options,
    patience,
    styled,
)
from tutela.errors import ReceiptInvalid

if TYPE_CHECKING:
    from tutela.bulk import Progress
    from tutela.bulk.dataset import Result
    from tutela.verdict import Verdict

app = typer.Typer(no_args_is_help=True, help="Check receipts of scanned data sets.")


def scan(
    context: typer.Context,
    root: Path,
    *,
    out: Path | None,
    receipt: Path | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Scan a data set, and end with 0 if it passes, 4 if known material is in it, else 3."""
    import orjson

    from tutela import bulk
    from tutela.bulk import dataset
    from tutela.bulk import receipt as receipts
    from tutela.screening import Screener

    settings = options(context).settings()
    settings.make_data()
    # Before the work of hours, not after it.
    key = receipts.signer(settings.receipt_path) if receipt is not None else None

    def each(progress: Progress, name: str, verdict: Verdict) -> None:
        if as_json:
            emit({**verdict.to_json(), "file": name})
        elif progress.done % 1_000 == 0:
            typer.echo(f"{progress.done:,} screened", err=True)

    with Screener(dataset.settings_for(settings)) as screener:
        with patience():
            screener.warm()
        result = dataset.scan(screener, root, fresh=fresh, on_verdict=each)
        if out is not None:
            bulk.write_lines(result.record, out)
        if receipt is not None and key is not None:
            signed = receipts.sign(result.receipt, key)
            bulk.write_whole(orjson.dumps(signed, option=orjson.OPT_INDENT_2) + b"\n", receipt)
    if as_json:
        emit(
            {
                "found": result.receipt["found"],
                "mixed": result.found.mixed,
                "passed": result.found.passed,
            }
        )
    else:
        _show(result)
        for path in (out, receipt):
            if path is not None:
                typer.echo(f"wrote {path}")
    known = bool(result.found.matches)
    raise typer.Exit(0 if result.found.passed else BLOCKED if known else HELD)


def _show(result: Result) -> None:
    found = result.found
    said = {
        "yes": "apparent minors and nudity are mixed in it",
        "no": "apparent minors and nudity are not mixed in it",
        "unknown": "whether minors and nudity are mixed in it can't be told",
    }[found.mixed]
    console().print(styled("allow" if found.passed else "hold"), said, soft_wrap=True)
    for bank, count in sorted(found.matches.items()):
        console().print(f"  {count:,} match the bank {bank}", markup=False)
    for count, what in (
        (found.members, "members"),
        (found.other, "of them no pictures, films or sounds"),
        (found.too_large, "too large to be looked at"),
        (found.unexamined, "could not be fully examined"),
        (found.derivatives, "show a protected photo"),
        (found.nudity, "show nudity"),
        (found.apparent_minors, "show somebody who looks younger than 18"),
        (found.untold, "show somebody whose age can't be told"),
        (result.progress.resumed, "had been screened before the scan was cut off"),
    ):
        if count:
            console().print(f"  {count:,} {what}", markup=False)


@app.command()
@guarded
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt.")],
    key: Annotated[
        Path | None, typer.Option(help="The public key, PEM, that must have signed it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt's signature, and show what it says."""
    from tutela.bulk import receipt as receipts

    try:
        with file.open("rb") as opened:
            data = opened.read(receipts.LARGEST + 1)
    except OSError as error:
        raise ReceiptInvalid(f"{file} can't be read: {error.strerror}") from error
    if len(data) > receipts.LARGEST:
        raise ReceiptInvalid(f"{file} is too large for a receipt")
    trusted = receipts.public_key(key) if key is not None else None
    said = receipts.verify(data, trusted)
    if as_json:
        emit(said)
        return
    whose = "by the key that you named" if trusted else "by a key that nobody vouches for"
    typer.echo(f"Signed {whose}; not altered since.")
    found = said["found"]
    typer.echo(f"{said['dataset']['name']}: {found['members']:,} members, {said['finished_at']}")
    for bank in said["lists"]:
        typer.echo(f"  compared with {bank['bank']} ({bank['tier']}), {bank['entries']:,} entries")
    typer.echo(f"  passed: {'yes' if said['passed'] else 'no'}; mixed: {said['mixed']}")


@app.command()
@guarded
def key(context: typer.Context) -> None:
    """Print the public key of the receipts made here, which is made if there is none."""
    from tutela.bulk import receipt as receipts

    settings = options(context).settings()
    settings.make_data()
    typer.echo(receipts.pem(receipts.signer(settings.receipt_path).public_key()), nl=False)
