"""Lists of fingerprints in and out of banks: CSV, JSON lines, ThreatExchange-style.

An import is one unit. It can be tried without effect (`dry_run`), reports every row that it can't
take, is run against the benign canaries before it counts, and can be taken back by its number.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import func, insert, select, update

from tutela import signals
from tutela.banks import canaries
from tutela.banks.bank import Banks, CanaryHit, Entry, NewEntry, State, Tier, admissible
from tutela.errors import BankError, ImportRefused, InvalidSignal
from tutela.signals import Fingerprint
from tutela.store import Store, now
from tutela.store.tables import banks as banks_table
from tutela.store.tables import entries, imports

FORMATS = ("csv", "jsonl", "threatexchange")
MAX_LINE = 1 << 20
KEPT_ERRORS = 1_000

# How others name the signals that we have.
ALIASES = {
    "HASH_PDQ": "pdq",
    "HASH_MD5": "md5",
    "HASH_SHA1": "sha1",
    "HASH_SHA256": "sha256",
    "PDQ": "pdq",
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA256": "sha256",
}
COLUMNS = {
    "signal": ("signal", "type", "signal_type"),
    "value": ("value", "hash", "indicator"),
    "quality": ("quality",),
    "note": ("note", "description"),
    "tags": ("tags",),
    "expires_at": ("expires_at", "expires", "expire_time"),
    "disabled_until": ("disabled_until",),
    "enabled": ("enabled",),
}


@dataclass(frozen=True, slots=True)
class RowError:
    """A row of an import that can't be taken, and why."""

    line: int
    message: str


@dataclass(slots=True)
class ImportReport:
    """What an import did, or in a dry run would do."""

    bank: str
    source: str
    status: str = "applied"
    """`applied`, `quarantined`, `released`, `rolled-back`, `dry-run` or `refused`."""
    id: int | None = None
    rows: int = 0
    added: int = 0
    duplicates: int = 0
    errors: int = 0
    error_rows: list[RowError] = field(default_factory=list)
    """The first 1,000; `errors` counts all."""
    canary_hits: list[CanaryHit] = field(default_factory=list)


def import_bank(
    store: Store,
    bank: str,
    file: Path | IO[str],
    *,
    source: str = "",
    format: str | None = None,
    dry_run: bool = False,
    strict: bool = False,
) -> ImportReport:
    """Import a list into a bank.

    Rows that can't be taken are reported and skipped; with `strict` any of them refuses the whole
    import. A row that matches a benign canary puts the whole import into quarantine: it is kept,
    it never matches, until it is released or rolled back. Raises `UnknownBank`, or `BankError`
    for a file that can't be read.
    """
    banks = Banks(store)
    found = banks.get(bank)
    bank_id = found.id
    report = ImportReport(bank, source or (file.name if isinstance(file, Path) else "stream"))
    new: dict[tuple[str, bytes], NewEntry] = {}
    for line, row in read_rows(file, format):
        report.rows += 1
        if isinstance(row, str):
            _note(report, line, row)
            continue
        try:
            item = _entry(row)
        except (InvalidSignal, ValueError) as error:
            _note(report, line, str(error))
            continue
        key = (item.fingerprint.signal, item.fingerprint.value)
        if key in new:
            report.duplicates += 1
        else:
            new[key] = item
    if not new or (strict and report.errors):
        report.status = "refused"
        return report
    if found.tier is not Tier.BENIGN:
        report.canary_hits = canaries.check(store, (item.fingerprint for item in new.values()))
    state = State.QUARANTINED if report.canary_hits else State.LIVE
    report.status = "quarantined" if report.canary_hits else "applied"
    if dry_run:
        known = banks.present(bank_id, new)
        report.status = "dry-run"
        report.duplicates += known
        report.added = len(new) - known
        return report
    _apply(store, banks, bank_id, list(new.values()), state, report)
    return report


def _apply(
    store: Store,
    banks: Banks,
    bank_id: int,
    new: list[NewEntry],
    state: State,
    report: ImportReport,
) -> None:
    with store.write() as connection:
        import_id = connection.execute(
            insert(imports)
            .values(
                bank_id=bank_id,
                source=report.source,
                status=report.status,
                rows=report.rows,
                added=0,
                duplicates=0,
                errors=report.errors,
                detail=_detail(report),
                created_at=now(),
            )
            .returning(imports.c.id)
        ).scalar_one()
        first = store.next_seq(connection, len(new))
        banks.insert(connection, bank_id, new, first, state, import_id)
        added = connection.scalar(
            select(func.count()).select_from(entries).where(entries.c.import_id == import_id)
        )
        report.id = import_id
        report.added = added or 0
        report.duplicates += len(new) - report.added
        connection.execute(
            update(imports)
            .where(imports.c.id == import_id)
            .values(added=report.added, duplicates=report.duplicates)
        )


def roll_back(store: Store, import_id: int) -> ImportReport:
    """Take back an import: every entry that it brought is deleted. Raises `BankError`."""
    return _move(
        store, import_id, "rolled-back", State.DELETED, ("applied", "quarantined", "released")
    )


def release(store: Store, import_id: int) -> ImportReport:
    """Let a quarantined import count, after someone has looked at its canary hits."""
    return _move(store, import_id, "released", State.LIVE, ("quarantined",))


def list_imports(store: Store, bank: str | None = None) -> list[ImportReport]:
    """Every import, newest first."""
    query = (
        select(imports, banks_table.c.name)
        .join(banks_table, banks_table.c.id == imports.c.bank_id)
        .order_by(imports.c.id.desc())
    )
    if bank is not None:
        query = query.where(banks_table.c.name == bank)
    with store.read() as connection:
        return [_report(row) for row in connection.execute(query)]


def _move(
    store: Store, import_id: int, status: str, state: State, allowed: tuple[str, ...]
) -> ImportReport:
    banks = Banks(store)
    with store.write() as connection:
        found = connection.scalar(select(imports.c.status).where(imports.c.id == import_id))
        if found is None:
            raise BankError(f"there is no import {import_id}; `tutela bank imports` lists them")
        if found not in allowed:
            raise ImportRefused(f"import {import_id} is {found}: it can't become {status}")
        for old in (State.LIVE, State.QUARANTINED):
            if old != state:
                banks.set_import_state(connection, import_id, state, old)
        connection.execute(update(imports).where(imports.c.id == import_id).values(status=status))
    return next(report for report in list_imports(store) if report.id == import_id)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    written: int
    left_out: int
    """Protected photos: their fingerprints are sealed, and mean nothing elsewhere."""


def export_bank(store: Store, bank: str, out: IO[str], *, format: str = "csv") -> Exported:
    """Write every entry of a bank but protected photos. What it writes, `import_bank` reads."""
    if format not in FORMATS:
        raise BankError(f"no format is named {format!r}; use one of {', '.join(FORMATS)}")
    rows = csv.DictWriter(out, list(COLUMNS))
    if format == "csv":
        rows.writeheader()
    counts: Counter[bool] = Counter()
    for entry in Banks(store).every_entry(bank):
        if entry.state is not State.LIVE:
            continue
        counts[entry.signal == signals.LOCAL] += 1
        if entry.signal == signals.LOCAL:
            continue
        if format == "csv":
            rows.writerow({**_plain(entry), "tags": " ".join(entry.tags)})
        else:
            row = _plain(entry) if format == "jsonl" else _threatexchange(entry)
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Exported(counts[False], counts[True])


def read_rows(
    file: Path | IO[str], format: str | None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, row or what is wrong with it) of a list in any of the formats."""
    if format is not None and format not in FORMATS:
        raise BankError(f"no format is named {format!r}; use one of {', '.join(FORMATS)}")
    if not isinstance(file, Path):
        chosen = format or _sniff(file)
        yield from _csv_rows(file) if chosen == "csv" else _json_rows(file)
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            yield from read_rows(opened, format)
    except OSError as error:
        raise BankError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BankError(f"{file} is not UTF-8 text; save it as UTF-8 and try again") from error


def _sniff(file: IO[str]) -> str:
    first = file.readline(MAX_LINE).lstrip()
    file.seek(0)
    return "jsonl" if first.startswith("{") else "csv"


def _csv_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.DictReader(_bounded(file))
    header = [column.strip().lower() for column in reader.fieldnames or []]
    if not set(header) & set(COLUMNS["value"]) or not set(header) & set(COLUMNS["signal"]):
        raise BankError(
            "a CSV list needs a header row with `signal,value` or `hash,type,tags`; "
            f"this one starts with {', '.join(header)[:80] or 'nothing'}"
        )
    reader.fieldnames = header
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"not a row of CSV: {error}"
            continue
        if None in row:
            yield reader.line_num, "more fields than the header names"
        else:
            yield reader.line_num, row


def _json_rows(file: IO[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(_bounded(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            yield number, "not a line of JSON"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _bounded(file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise BankError(f"a line is longer than {MAX_LINE} characters; this is no hash list")
        yield line


def _entry(row: dict[str, Any]) -> NewEntry:
    given = {field: _first(row, names) for field, names in COLUMNS.items()}
    name = str(given["signal"] or "")
    name = ALIASES.get(name.upper(), name.lower())
    if name == signals.LOCAL:
        admissible(Fingerprint(name, b""))
    if name not in signals.installed():
        raise InvalidSignal(f"no signal is named {name!r}; use {', '.join(signals.installed())}")
    value = signals.find(name).parse(str(given["value"] or ""))
    quality = given["quality"]
    fingerprint = Fingerprint(name, value, None if quality in (None, "") else int(quality))
    return NewEntry(
        admissible(fingerprint),
        note=str(given["note"] or ""),
        tags=_tags(given["tags"]),
        expires_at=_time(given["expires_at"]),
        disabled_until=_time(given["disabled_until"]),
        enabled=str(given["enabled"] if given["enabled"] is not None else "true").lower()
        not in {"false", "0", "no"},
    )


def _first(row: dict[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _tags(given: Any) -> tuple[str, ...]:
    if isinstance(given, list):
        return tuple(str(tag) for tag in given)
    return tuple(str(given or "").replace(",", " ").replace(";", " ").split())


def _time(given: Any) -> datetime | None:
    if given in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        raise ValueError(f"{str(given)[:40]!r} is no ISO 8601 time, e.g. 2027-01-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "signal": entry.signal,
        "value": signals.find(entry.signal).format(entry.value),
        "quality": entry.quality,
        "note": entry.note,
        "tags": list(entry.tags),
        "expires_at": entry.expires_at and entry.expires_at.isoformat(),
        "disabled_until": entry.disabled_until and entry.disabled_until.isoformat(),
        "enabled": entry.enabled,
    }


def _threatexchange(entry: Entry) -> dict[str, Any]:
    return {
        "hash": signals.find(entry.signal).format(entry.value),
        "type": f"HASH_{entry.signal.upper()}",
        "tags": list(entry.tags),
    }


def _note(report: ImportReport, line: int, message: str) -> None:
    report.errors += 1
    if len(report.error_rows) < KEPT_ERRORS:
        report.error_rows.append(RowError(line, message))


def _detail(report: ImportReport) -> dict[str, Any]:
    return {
        "error_rows": [[row.line, row.message] for row in report.error_rows],
        "canary_hits": [
            [hit.canary, hit.signal, hit.value, hit.distance] for hit in report.canary_hits
        ],
    }


def _report(row: Any) -> ImportReport:
    return ImportReport(
        row.name,
        row.source,
        row.status,
        row.id,
        row.rows,
        row.added,
        row.duplicates,
        row.errors,
        [RowError(*found) for found in row.detail["error_rows"]],
        [CanaryHit(*found) for found in row.detail["canary_hits"]],
    )
