"""`tutela bank …`"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutela.cli.output import FAILED, Json, emit, guarded, options, table
from tutela.errors import BankError

if TYPE_CHECKING:
    from tutela.banks import Bank, Banks, Entry, ImportReport
    from tutela.banks.bank import NewEntry

app = typer.Typer(
    help="Banks: named lists of fingerprints with a trust tier.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="The bank's name.", metavar="NAME")]
Moment = Annotated[
    str | None, typer.Option(help="A date or time, ISO 8601, UTC unless it says otherwise.")
]


def _banks(context: typer.Context) -> Banks:
    from tutela.banks import Banks

    return Banks(options(context).store())


def moment(text: str | None) -> datetime | None:
    """The time that an option names; UTC unless it says otherwise. Raises `BankError`."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise BankError(f"{text!r} is no ISO 8601 time; write e.g. 2027-01-31") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _bank_json(bank: Bank) -> dict[str, Any]:
    return {name: _shown(value) for name, value in asdict(bank).items()}


def _entry_json(entry: Entry) -> dict[str, Any]:
    plain = {name: _shown(value) for name, value in asdict(entry).items() if name != "value"}
    return {**plain, "tags": list(entry.tags), "fingerprint": entry.text}


@app.command()
@guarded
def create(
    context: typer.Context,
    name: Name,
    tier: Annotated[str, typer.Option(help="confirmed, reviewed, reported or benign.")],
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    purpose: Annotated[str, typer.Option(help="What it is for.")] = "",
    category: Annotated[str | None, typer.Option(help="What its entries are; a category.")] = None,
    as_json: Json = False,
) -> None:
    """Make a bank."""
    bank = _banks(context).create(name, tier, owner=owner, purpose=purpose, category=category)
    emit(_bank_json(bank)) if as_json else typer.echo(f"made bank {bank.name} ({bank.tier})")


@app.command("list")
@guarded
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the banks."""
    found = _banks(context).all()
    if as_json:
        for bank in found:
            emit(_bank_json(bank))
        return
    table(
        "Banks",
        ("name", "tier", "entries", "state", "owner", "purpose"),
        ((b.name, b.tier, f"{b.entries:,}", _state(b), b.owner, b.purpose) for b in found),
    )


def _state(item: Bank | Entry) -> str:
    if not item.enabled:
        return "disabled"
    until = item.disabled_until
    return f"disabled until {until:%Y-%m-%d}" if until and until > datetime.now(UTC) else "enabled"


@app.command()
@guarded
def show(
    context: typer.Context,
    name: Name,
    after: Annotated[int, typer.Option(help="Begin after this entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: Json = False,
) -> None:
    """Show a bank's entries, a page at a time."""
    found = _banks(context).entries(name, after=after, limit=limit)
    if as_json:
        for entry in found:
            emit(_entry_json(entry))
        return
    table(
        name,
        ("entry", "fingerprint", "quality", "state", "expires", "note"),
        (
            (e.id, e.text, e.quality if e.quality is not None else "", _entry_state(e),
             f"{e.expires_at:%Y-%m-%d}" if e.expires_at else "", e.note)
            for e in found
        ),
    )  # fmt: skip


def _entry_state(entry: Entry) -> str:
    return entry.state.value if entry.state != "live" else _state(entry)


@app.command()
@guarded
def add(
    context: typer.Context,
    name: Name,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files to fingerprint.", metavar="FILE…")
    ] = None,
    signal: Annotated[
        list[str] | None, typer.Option(help="A fingerprint as pdq:HEX, sha256:HEX, md5:HEX.")
    ] = None,
    sound: Annotated[
        bool, typer.Option("--sound", help="Of films the sound too: what else has it, matches.")
    ] = False,
    note: Annotated[str, typer.Option(help="A note for each entry.")] = "",
    expires: Moment = None,
    as_json: Json = False,
) -> None:
    """Add files (pictures, films, sounds) or fingerprints to a bank."""
    from tutela import signals
    from tutela.banks.bank import NewEntry
    from tutela.signals import Fingerprint

    if not files and not signal:
        raise BankError("name files, or fingerprints with --signal pdq:HEX")
    banks = _banks(context)
    banks.get(name)
    until = moment(expires)
    new: list[NewEntry] = []
    left_out: list[str] = []
    for text in signal or ():
        kind, value = signals.parse(text)
        new.append(NewEntry(Fingerprint(kind.name, value), note, expires_at=until))
    if files:
        more, left_out = _fingerprinted(context, files, note, until, sound)
        new += more
    added = banks.add(name, new)
    if as_json:
        emit(
            {
                "bank": name,
                "added": list(added.ids),
                "duplicates": added.duplicates,
                "left_out": left_out,
            }
        )
    else:
        known = f", {added.duplicates} were there" if added.duplicates else ""
        typer.echo(f"added {len(added.ids)} fingerprints to {name}{known}")


def _fingerprinted(
    context: typer.Context, files: list[Path], note: str, until: datetime | None, sound: bool
) -> tuple[list[NewEntry], list[str]]:
    """All files or none: a file that can't be fingerprinted is an error, not a gap."""
    from tutela.banks.bank import bankable
    from tutela.sandbox import Sandbox

    new: list[NewEntry] = []
    without: list[str] = []
    settings = options(context).settings()
    workers = min(settings.workers, len(files))
    with Sandbox(settings.limits, workers, films=settings.film_limits) as sandbox:
        for path, examination in sandbox.examine_many(files, Path):
            if examination.rejected is not None:
                raise BankError(f"{path}: {examination.rejected}; nothing was added")
            entries, left_out = bankable(
                examination.fingerprints,
                film=examination.media.film,
                sound=sound,
                note=note,
                expires_at=until,
            )
            new += entries
            for reason in left_out:
                without.append(f"{path}: {reason}")
                typer.secho(f"tutela: {path}: {reason}", err=True, fg="yellow")
    return new, without


@app.command()
@guarded
def remove(
    context: typer.Context,
    name: Name,
    entries: Annotated[
        list[int] | None, typer.Argument(help="Numbers of entries.", metavar="ENTRY…")
    ] = None,
    case: Annotated[str, typer.Option(help="All protected photos of this case.")] = "",
    as_json: Json = False,
) -> None:
    """Remove entries from a bank; they no longer match from then on."""
    from tutela.cli.protection import protection

    if not entries and not case:
        raise BankError("name entries by number, or protected photos with --case")
    gone = list(entries or ())
    banks = _banks(context)
    for entry in gone:
        banks.remove_entry(name, entry)
    gone += protection(context).withdraw(name, case) if case else ()
    emit({"bank": name, "removed": gone}) if as_json else typer.echo(f"removed {len(gone)}")


@app.command()
@guarded
def edit(
    context: typer.Context,
    name: Name,
    entry: Annotated[int | None, typer.Option(help="An entry; without it the bank.")] = None,
    note: Annotated[str | None, typer.Option(help="A note (entries).")] = None,
    expires: Moment = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it (banks).")] = None,
    purpose: Annotated[str | None, typer.Option(help="What it is for (banks).")] = None,
    category: Annotated[str | None, typer.Option(help="What its entries are (banks).")] = None,
    tier: Annotated[str | None, typer.Option(help="Its trust tier (banks).")] = None,
    as_json: Json = False,
) -> None:
    """Change a bank or one of its entries."""
    given: dict[str, Any] = {"owner": owner, "purpose": purpose, "category": category, "tier": tier}
    if entry is not None:
        given = {"note": note, "expires_at": moment(expires)} | given
    elif note is not None or expires is not None:
        raise BankError("a note and an expiry belong to an entry; name it with --entry")
    changes = {key: value for key, value in given.items() if value is not None}
    _change(context, name, entry, changes, as_json)


@app.command()
@guarded
def enable(
    context: typer.Context,
    name: Name,
    entry: Annotated[int | None, typer.Option(help="An entry; without it the bank.")] = None,
    as_json: Json = False,
) -> None:
    """Let a bank, or one entry, match again."""
    _change(context, name, entry, {"enabled": True, "disabled_until": None}, as_json)


@app.command()
@guarded
def disable(
    context: typer.Context,
    name: Name,
    entry: Annotated[int | None, typer.Option(help="An entry; without it the bank.")] = None,
    until: Moment = None,
    as_json: Json = False,
) -> None:
    """Keep a bank, or one entry, from matching; for good or until a time."""
    end = moment(until)
    changes = {"disabled_until": end} if end else {"enabled": False}
    _change(context, name, entry, changes, as_json)


def _change(
    context: typer.Context, name: str, entry: int | None, changes: dict[str, Any], as_json: bool
) -> None:
    banks = _banks(context)
    if entry is None:
        shown = _bank_json(banks.update(name, **changes))
    else:
        shown = _entry_json(banks.update_entry(name, entry, **changes))
    emit(shown) if as_json else typer.echo("changed")


@app.command()
@guarded
def delete(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a bank with its entries."""
    banks = _banks(context)
    bank = banks.get(name)
    if not yes:
        typer.confirm(f"Delete {name} with its {bank.entries:,} entries?", abort=True)
    removed = banks.delete(name)
    emit({"bank": name, "removed": removed}) if as_json else typer.echo(f"deleted {name}")


@app.command("import")
@guarded
def import_(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or ThreatExchange-style.")],
    format: Annotated[
        str | None, typer.Option(help="csv, jsonl or threatexchange.", show_default="as it looks")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Report, change nothing.")] = False,
    strict: Annotated[bool, typer.Option(help="Take nothing if any row is wrong.")] = False,
    as_json: Json = False,
) -> None:
    """Import a list. Exit code 1 if it was refused or quarantined."""
    from tutela.banks import import_bank

    store = options(context).store()
    report = import_bank(store, name, file, format=format, dry_run=dry_run, strict=strict)
    _report(report, as_json)
    refused = report.status in {"refused", "quarantined"} or report.canary_hits
    raise typer.Exit(FAILED if refused else 0)


def _report(report: ImportReport, as_json: bool) -> None:
    if as_json:
        emit(asdict(report))
        return
    number = f"import {report.id}: " if report.id is not None else ""
    typer.echo(
        f"{number}{report.status}; {report.rows:,} rows, {report.added:,} added, "
        f"{report.duplicates:,} duplicates, {report.errors:,} errors"
    )
    for row in report.error_rows[:20]:
        typer.echo(f"  line {row.line}: {row.message}")
    if report.errors > 20:
        typer.echo(f"  … {report.errors - 20:,} more; --json shows up to 1,000")
    for hit in report.canary_hits[:20]:
        typer.echo(f"  canary {hit.canary}: {hit.signal}:{hit.value} at distance {hit.distance}")
    if report.status == "quarantined":
        typer.echo(
            "It matches pictures known to be harmless, so nothing in it counts. After looking: "
            f"`tutela bank rollback {report.id}` or `tutela bank release {report.id}`."
        )


@app.command()
@guarded
def export(
    context: typer.Context,
    name: Name,
    out: Annotated[Path | None, typer.Option(help="A file; else stdout.")] = None,
    format: Annotated[str, typer.Option(help="csv, jsonl or threatexchange.")] = "csv",
) -> None:
    """Export a bank's live entries."""
    import contextlib
    import sys
    from typing import IO

    from tutela.banks import export_bank

    store = options(context).store()
    try:
        with contextlib.ExitStack() as stack:
            file: IO[str] = sys.stdout
            if out is not None:
                file = stack.enter_context(out.open("w", encoding="utf-8", newline=""))
            done = export_bank(store, name, file, format=format)
    except OSError as error:
        if out is None:
            raise
        raise BankError(f"{out} can't be written: {error.strerror}") from error
    if out is not None:
        typer.echo(f"wrote {done.written:,} entries to {out}")
    if done.left_out:
        text = f"left out {done.left_out:,} protected photos: their fingerprints are sealed"
        typer.secho(f"tutela: {text}", err=True, fg="yellow")


@app.command()
@guarded
def imports(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this bank's.")] = None,
    as_json: Json = False,
) -> None:
    """List the imports, newest first."""
    from tutela.banks.transfer import list_imports

    found = list_imports(options(context).store(), name)
    if as_json:
        for report in found:
            emit(asdict(report))
        return
    table(
        "Imports",
        ("import", "bank", "status", "rows", "added", "errors", "source"),
        ((r.id, r.bank, r.status, r.rows, r.added, r.errors, r.source) for r in found),
    )


Import = Annotated[int, typer.Argument(help="The import's number.", metavar="IMPORT")]


@app.command()
@guarded
def rollback(context: typer.Context, number: Import, as_json: Json = False) -> None:
    """Take back an import: every entry that it brought is deleted."""
    from tutela.banks.transfer import roll_back

    _report(roll_back(options(context).store(), number), as_json)


@app.command()
@guarded
def release(context: typer.Context, number: Import, as_json: Json = False) -> None:
    """Let a quarantined import count."""
    from tutela.banks.transfer import release as let_go

    _report(let_go(options(context).store(), number), as_json)
