"""`tutela protect`, `bank aside` and `bank decide`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutela.cli.banks import Moment, moment
from tutela.cli.output import FAILED, Json, emit, guarded, options, table
from tutela.errors import BankError, NotProtected, Rejected

if TYPE_CHECKING:
    from tutela.banks.protect import Protection


def add_to(app: typer.Typer, banks: typer.Typer) -> None:
    app.command()(protect)
    banks.command()(aside)
    banks.command()(decide)


@guarded
def protect(
    context: typer.Context,
    photos: Annotated[list[Path], typer.Argument(help="Innocent photos.", metavar="PHOTO…")],
    bank: Annotated[
        str, typer.Option(help="The bank; it is made, of tier reported, if it isn't there.")
    ],
    case: Annotated[
        str, typer.Option(help="Your reference to the case; a case has a bounded number of photos.")
    ] = "",
    note: Annotated[str, typer.Option(help="A note for each entry.")] = "",
    expires: Moment = None,
    as_json: Json = False,
) -> None:
    """Take innocent photos under protection, so that manipulated derivatives are found.

    Kept is a sealed local fingerprint alone: neither the photo nor its sha256 or PDQ. The photo
    itself stays allowed; a derivative is held when there is nudity, or after a review.
    """
    until = moment(expires)
    failed = False
    with options(context).screener(most=1) as screener:
        for photo in photos:
            shown: dict[str, Any] = {"photo": str(photo), "bank": bank}
            try:
                done = screener.protect(photo, bank=bank, case=case, note=note, expires_at=until)
            except (Rejected, NotProtected) as error:
                failed = True
                shown["error"] = {"type": error.reason.value, "message": error.message}
                if not as_json:
                    typer.secho(f"tutela: {photo}: {error.message}", err=True, fg="red")
            else:
                shown |= asdict(done)
                if not as_json:
                    typer.echo(_said(photo, bank, shown))
            if as_json:
                emit(shown)
    raise typer.Exit(FAILED if failed else 0)


def _said(photo: Path, bank: str, shown: dict[str, Any]) -> str:
    verb = "was protected before" if shown["known"] else "is protected"
    waits = "; it is on a benign list, so a reviewer should decide" if shown["review"] else ""
    return f"{photo} {verb}, as entry {shown['entry']} of {bank}{waits}"


def protection(context: typer.Context) -> Protection:
    """Protected photos, without a screener."""
    from tutela.banks.protect import Protection
    from tutela.store.secret import Keyring

    settings = options(context).settings()
    store = options(context).store()
    return Protection.of(store, Keyring(store, settings.secret_path), settings)


@guarded
def aside(context: typer.Context, as_json: Json = False) -> None:
    """List protected photos that a reviewer should decide about, the most urgent first."""
    found = protection(context).waiting()
    if as_json:
        for one in found:
            emit({**asdict(one), "created_at": one.created_at.isoformat()})
        return
    whys = {
        "nudity": "many accounts showed it with nudity",
        "shared": "widely shared",
        "benign": "on a benign list",
    }
    table(
        "Protected photos to decide about",
        ("entry", "bank", "tier", "why", "accounts", "with nudity", "since", "note"),
        (
            (one.entry, one.bank, one.tier, whys[one.why], one.accounts,
             one.accounts_with_nudity, f"{one.created_at:%Y-%m-%d}", one.note)
            for one in found
        ),
    )  # fmt: skip


@guarded
def decide(
    context: typer.Context,
    entry: Annotated[int, typer.Argument(help="The entry's number.", metavar="ENTRY")],
    decision: Annotated[str, typer.Argument(help="keep or drop.", metavar="DECISION")],
    as_json: Json = False,
) -> None:
    """Decide about a protected photo: keep it, as reviewed, or drop it for good."""
    if decision not in ("keep", "drop"):
        raise BankError(f"{decision!r} is no decision; write keep or drop")
    protection(context).decide(entry, keep=decision == "keep")
    done = {"keep": "kept", "drop": "dropped"}[decision]
    emit({"entry": entry, "decision": decision}) if as_json else typer.echo(f"{done} {entry}")
