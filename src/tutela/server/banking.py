"""`/v1/banks…` and `/v1/imports…`"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from tutela import signals
from tutela.banks import Bank, Banks, Entry, import_bank
from tutela.banks.bank import NewEntry, bankable
from tutela.banks.transfer import list_imports, release, roll_back
from tutela.content import Content
from tutela.server.access import needs, screener_of
from tutela.server.errors import Refused
from tutela.server.keys import Scope
from tutela.server.screening import form_body, form_of
from tutela.server.shapes import (
    BankChange,
    BankIn,
    DecisionIn,
    EntriesIn,
    EntryChange,
    ImportNumber,
    Number,
    ProtectIn,
)
from tutela.signals import Fingerprint

router = APIRouter(prefix="/v1", tags=["banks"])
READ = [needs(Scope.BANKS_READ)]
WRITE = [needs(Scope.BANKS_WRITE)]

P = ParamSpec("P")
R = TypeVar("R")


async def _run(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs))


def _banks(request: Request) -> Banks:
    return screener_of(request).banks


@router.get("/banks", dependencies=READ)
async def all_banks(request: Request) -> list[dict[str, Any]]:
    """Every bank, with its number of live entries."""
    return [_bank(bank) for bank in await _run(_banks(request).all)]


@router.post("/banks", dependencies=WRITE, status_code=201)
async def create(request: Request, bank: BankIn) -> dict[str, Any]:
    """Make a bank."""
    made = await _run(
        _banks(request).create,
        bank.name,
        bank.tier,
        owner=bank.owner,
        purpose=bank.purpose,
        category=bank.category,
    )
    return _bank(made)


@router.get("/banks/{name}", dependencies=READ)
async def one_bank(request: Request, name: str) -> dict[str, Any]:
    """One bank."""
    return _bank(await _run(_banks(request).get, name))


@router.patch("/banks/{name}", dependencies=WRITE)
async def change_bank(request: Request, name: str, change: BankChange) -> dict[str, Any]:
    """Change a bank; `enabled: false` keeps all of it from matching."""
    return _bank(await _run(_banks(request).update, name, **change.changes()))


@router.delete("/banks/{name}", dependencies=WRITE)
async def delete_bank(request: Request, name: str) -> dict[str, Any]:
    """Delete a bank with its entries."""
    return {"bank": name, "removed": await _run(_banks(request).delete, name)}


@router.get("/banks/{name}/entries", dependencies=READ)
async def entries(
    request: Request,
    name: str,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> list[dict[str, Any]]:
    """A bank's entries by number, a page at a time."""
    found = await _run(_banks(request).entries, name, after=after, limit=limit)
    return [_entry(entry) for entry in found]


@router.post("/banks/{name}/entries", dependencies=WRITE, status_code=201)
async def add_entries(request: Request, name: str, new: EntriesIn) -> dict[str, Any]:
    """Put fingerprints into a bank."""
    items = []
    expires = _utc(new.expires_at)
    for text in new.signals:
        kind, value = signals.parse(text)
        fingerprint = Fingerprint(kind.name, value)
        items.append(NewEntry(fingerprint, new.note, tuple(new.tags), expires))
    added = await _run(_banks(request).add, name, items)
    return {"bank": name, "added": list(added.ids), "duplicates": added.duplicates}


@router.post(
    "/banks/{name}/pictures",
    dependencies=WRITE,
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def add_picture(
    request: Request, name: str, note: str = "", sound: bool = False
) -> dict[str, Any]:
    """Put the fingerprints of a picture, a film or a sound into a bank. It is not kept itself.

    Of a film the sound only with `sound`: whatever else has it would match.
    """
    screener = screener_of(request)
    await _run(screener.banks.get, name)
    content = Content(data=await request.body())
    examination = await _run(screener.examine, content)
    if examination.rejected is not None:
        raise examination.rejected
    new, left_out = bankable(
        examination.fingerprints, film=examination.media.film, sound=sound, note=note
    )
    added = await _run(screener.banks.add, name, new)
    return {
        "bank": name,
        "added": list(added.ids),
        "duplicates": added.duplicates,
        "left_out": left_out,
    }


@router.post(
    "/banks/{name}/protect",
    dependencies=WRITE,
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": form_body(ProtectIn.model_json_schema()["properties"]),
        }
    },
)
async def protect(request: Request, name: str) -> dict[str, Any]:
    """Take an innocent photo under protection: its manipulated derivatives are found from now.

    Kept is its sealed local fingerprint alone. A bank that isn't there is made, of tier reported.
    """
    form = await form_of(request, most=1)
    try:
        file = form.get("file")
        fields = {key: value for key, value in form.multi_items() if key != "file"}
        if not isinstance(file, UploadFile) or len(form.multi_items()) != 1 + len(fields):
            raise Refused(422, "invalid-request", "Send one `file`, and each field once.")
        try:
            given = ProtectIn.model_validate(fields)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_input=False)) from None
        photo = await file.read()
    finally:
        await form.close()
    done = await _run(
        screener_of(request).protect,
        photo,
        bank=name,
        case=given.case,
        note=given.note,
        expires_at=_utc(given.expires_at),
    )
    return {"bank": name, **asdict(done)}


@router.get("/aside", dependencies=READ)
async def aside(request: Request) -> list[dict[str, Any]]:
    """Protected photos that a reviewer should decide about, the most urgent first."""
    return [asdict(one) for one in await _run(screener_of(request).protection.waiting)]


@router.post("/aside/{entry_id}", dependencies=WRITE)
async def decide(request: Request, entry_id: Number, given: DecisionIn) -> dict[str, Any]:
    """Decide about a protected photo: keep it, as reviewed, or drop it for good."""
    keep = given.decision == "keep"
    await _run(screener_of(request).protection.decide, entry_id, keep=keep)
    return {"entry": entry_id, "decision": given.decision}


@router.patch("/banks/{name}/entries/{entry_id}", dependencies=WRITE)
async def change_entry(
    request: Request, name: str, entry_id: Number, change: EntryChange
) -> dict[str, Any]:
    """Change an entry."""
    changed = await _run(_banks(request).update_entry, name, entry_id, **change.changes())
    return _entry(changed)


@router.delete("/banks/{name}/entries/{entry_id}", dependencies=WRITE)
async def remove_entry(request: Request, name: str, entry_id: Number) -> dict[str, Any]:
    """Take an entry out of its bank; it no longer matches from then on."""
    await _run(_banks(request).remove_entry, name, entry_id)
    return {"bank": name, "removed": entry_id}


@router.post(
    "/banks/{name}/imports",
    dependencies=WRITE,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        }
    },
)
async def import_list(
    request: Request, name: str, dry_run: bool = False, strict: bool = False
) -> dict[str, Any]:
    """Import a list: CSV or JSON lines. `status` says whether it counts, or was quarantined."""
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(422, "invalid-request", "The list is not UTF-8 text.") from None
    report = await _run(
        import_bank,
        screener_of(request).store,
        name,
        io.StringIO(text, newline=""),
        source="api",
        dry_run=dry_run,
        strict=strict,
    )
    return asdict(report)


@router.get("/imports", dependencies=READ)
async def imports(request: Request) -> list[dict[str, Any]]:
    """Every import, newest first."""
    return [asdict(report) for report in await _run(list_imports, screener_of(request).store)]


@router.post("/imports/{number}/rollback", dependencies=WRITE)
async def roll_back_import(request: Request, number: ImportNumber) -> dict[str, Any]:
    """Take back an import: every entry that it brought is deleted."""
    return asdict(await _run(roll_back, screener_of(request).store, number))


@router.post("/imports/{number}/release", dependencies=WRITE)
async def release_import(request: Request, number: ImportNumber) -> dict[str, Any]:
    """Let a quarantined import count."""
    return asdict(await _run(release, screener_of(request).store, number))


def _utc(moment: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    naive = moment is not None and moment.tzinfo is None
    return moment.replace(tzinfo=UTC) if moment is not None and naive else moment


def _bank(bank: Bank) -> dict[str, Any]:
    return asdict(bank)


def _entry(entry: Entry) -> dict[str, Any]:
    plain = asdict(entry)
    del plain["value"]
    return {**plain, "fingerprint": entry.text}
