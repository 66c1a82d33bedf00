"""`/v1/screen`, `/v1/screen/batch` and `/v1/verdicts/{id}`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from tutela import findings, signals
from tutela.banks.bank import admissible
from tutela.content import Content, Context
from tutela.errors import InvalidSignal, StoreError
from tutela.examine import HEAD, Examination
from tutela.findings import Finding
from tutela.media.sniff import is_film
from tutela.screening import Screener
from tutela.server import metrics
from tutela.server.access import needs, screener_of
from tutela.server.errors import Refused
from tutela.server.keys import Scope
from tutela.server.shapes import MAX_BATCH, BatchIn, ContextIn, ScreenIn
from tutela.signals import Fingerprint
from tutela.store import answers
from tutela.store.verdicts import get
from tutela.verdict import Verdict

router = APIRouter(prefix="/v1", tags=["screening"])

MAX_IDEMPOTENCY_KEY = 128
BINARY = ("image/", "video/", "audio/")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of content, or what is known of it."""

    content: Content
    fingerprints: tuple[Fingerprint, ...] | None = None

    def digest(self) -> bytes:
        """Stands for the request in the record of what was answered to which."""
        content = self.content
        parts = (
            content.data or b"",
            (content.text or "").encode("utf-8", "surrogatepass"),
            *(f"{made.signal}:{made.value.hex()}".encode() for made in self.fingerprints or ()),
            orjson.dumps(asdict(content.context), option=orjson.OPT_SORT_KEYS),
            *(orjson.dumps(found.to_json()) for found in content.findings),
        )
        return b"".join(hashlib.sha256(part).digest() for part in parts)


def form_body(fields: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a form with a file and these fields."""
    properties = {"file": {"type": "string", "format": "binary"}, **fields}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"multipart/form-data": {"schema": schema}}


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **form_body(
                {
                    "context": {"type": "string", "description": "JSON, as below."},
                    "nudity": {"type": "number", "minimum": 0, "maximum": 1},
                }
            ),
            "application/json": {
                "schema": ScreenIn.model_json_schema(),
                "examples": {
                    "file": {"value": {"data": "/9j/4AAQSkZJRg…", "context": {"surface": "feed"}}},
                    "fingerprint": {
                        "value": {"signals": {"md5": "9e107d9d372bb6826bd81d3542a419d6"}}
                    },
                    "url": {"value": {"url": "https://cdn.example.org/upload/1.jpg"}},
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "video/*": {"schema": {"type": "string", "format": "binary"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY},
            "description": "A repeat with the same key and content gets the verdict of the first.",
        }
    ],
}
EXAMPLE = {
    "id": "0199f0c2a1b27c3d8e4f5a6b7c8d9e0f",
    "created_at": "2026-11-22T10:00:00+00:00",
    "signals": {"sha256": "9f86d081…", "pdq": {"hex": "66058372…", "quality": 100}},
    "media": {"format": "jpeg", "width": 1600, "height": 1200, "frame_count": 1, "size": 204800},
    "findings": [
        {"kind": "match", "source": "pdq", "signal": "pdq", "bank": "hotline", "tier": "confirmed",
         "entry": 17, "distance": 6}
    ],
    "verdict": {
        "action": "block",
        "category": "csam",
        "rules": ["confirmed-match"],
        "reasons": ["Matches a bank confirmed by a hotline or by two reviewers"],
    },
    "error": None,
}  # fmt: skip


@router.post(
    "/screen",
    dependencies=[needs(Scope.SCREEN)],
    summary="Screen one piece of content",
    openapi_extra=BODY,
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}},
)
async def screen(request: Request) -> Response:
    """The verdict, recorded before it is answered.

    Content that can't be examined is no error: it gets a verdict, `hold`, with `error` saying
    why. Any status but 200 means that there is no verdict: treat the content as held.
    """
    kind = _media_type(request)
    if kind == "multipart/form-data":
        items = await _uploads(request, most=1)
    elif kind == "application/json":
        items = [await _item(request, _parsed(ScreenIn, await request.body()))]
    elif kind == "application/octet-stream" or kind.startswith(BINARY):
        own = _nudity(request.query_params.get("nudity"))
        items = [Item(Content(data=await request.body(), findings=own))]
    else:
        raise Refused(
            415, "unsupported-media-type", "Send multipart, JSON or the bytes themselves."
        )
    documents, replayed = await _judge(request, items)
    return _answer(documents[0], replayed)


@router.post(
    "/screen/batch",
    dependencies=[needs(Scope.SCREEN)],
    summary="Screen up to 100 pieces of content",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": BatchIn.model_json_schema()}},
        },
        "parameters": BODY["parameters"],
    },
    responses={200: {"content": {"application/json": {"example": {"results": [EXAMPLE]}}}}},
)
async def screen_batch(request: Request) -> Response:
    """The verdicts, in the order of the items, recorded together before they are answered."""
    if _media_type(request) == "multipart/form-data":
        items = await _uploads(request, most=MAX_BATCH)
    else:
        batch = _parsed(BatchIn, await request.body())
        items = [await _item(request, item) for item in batch.items]
    documents, replayed = await _judge(request, items)
    return _answer({"results": documents}, replayed)


@router.get(
    "/verdicts/{verdict_id}",
    dependencies=[needs(Scope.VERDICTS)],
    summary="A recorded verdict",
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}},
)
async def verdict(request: Request, verdict_id: str) -> Response:
    """The verdict as it was answered."""
    store = screener_of(request).store
    document = None
    if re.fullmatch("[0-9a-f]{32}", verdict_id):
        document = await anyio.to_thread.run_sync(get, store, verdict_id)
    if document is None:
        raise Refused(404, "unknown-verdict", "No verdict has this id.")
    return _answer(document, replayed=False)


async def _judge(request: Request, items: Sequence[Item]) -> tuple[list[dict[str, Any]], bool]:
    """The verdicts' documents, and whether they are those of an earlier request."""
    screener = screener_of(request)
    name = request.headers.get("idempotency-key")
    if name is None:
        verdicts = await _screen(screener, _lanes(request, items), items, None)
        return _noted(request, verdicts), False
    if not 0 < len(name) <= MAX_IDEMPOTENCY_KEY or not name.isprintable():
        raise Refused(400, "bad-request", "An Idempotency-Key has 1 to 128 printable characters.")
    digest = hashlib.sha256(b"".join(item.digest() for item in items)).hexdigest()
    key = answers.AnswerKey(request.state.key.id, name, digest)

    def earlier() -> list[dict[str, Any]] | None:
        try:
            return answers.find(screener.store, key)
        except answers.OtherRequest:
            raise Refused(
                409, "idempotency-conflict", "This Idempotency-Key was used for another request."
            ) from None

    found = await anyio.to_thread.run_sync(earlier)
    if found is not None:
        return found, True
    try:
        verdicts = await _screen(screener, _lanes(request, items), items, key)
    except StoreError:
        # Its twin may have been committed while this one was examined.
        found = await anyio.to_thread.run_sync(earlier)
        if found is None:
            raise
        return found, True
    return _noted(request, verdicts), False


def _lanes(request: Request, items: Sequence[Item]) -> anyio.CapacityLimiter:
    """Films have lanes of their own: pictures don't wait for them."""
    film = any(is_film((item.content.data or b"")[:HEAD]) for item in items)
    lanes: anyio.CapacityLimiter = request.app.state.film_lanes if film else request.app.state.lanes
    return lanes


async def _screen(
    screener: Screener,
    lanes: anyio.CapacityLimiter,
    items: Sequence[Item],
    key: answers.AnswerKey | None,
) -> list[Verdict]:
    rows = None if key is None else key.rows
    pairs = [(item.content, Examination()) for item in items]

    def look(position: int) -> None:
        item = items[position]
        known = item.fingerprints
        done = screener.examine(item.content) if known is None else Examination(fingerprints=known)
        pairs[position] = (item.content, done)

    def look_and_judge() -> list[Verdict]:
        look(0)
        return screener.judge(pairs, rows)

    if len(items) == 1:
        # One trip to a thread, not two.
        return await anyio.to_thread.run_sync(look_and_judge, limiter=lanes)
    async with anyio.create_task_group() as group:
        for position in range(len(items)):
            group.start_soon(partial(anyio.to_thread.run_sync, look, position, limiter=lanes))
    return await anyio.to_thread.run_sync(screener.judge, pairs, rows)


def _noted(request: Request, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    for made in verdicts:
        metrics.VERDICTS.labels(made.action).inc()
        if made.rejected is not None:
            metrics.REJECTED.labels(made.rejected.reason.value).inc()
    request.scope["state"]["note"] = {"verdicts": [made.id for made in verdicts]}
    return [made.document() for made in verdicts]


def _answer(document: Any, replayed: bool) -> Response:
    headers = {"Idempotent-Replay": "true"} if replayed else {}
    return Response(orjson.dumps(document), headers=headers, media_type="application/json")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parsed(shape: type[Model], body: bytes) -> Model:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False)) from None


async def _item(request: Request, given: ScreenIn) -> Item:
    content = partial(
        Content,
        context=given.context.context(),
        findings=() if given.nudity is None else (findings.nudity(given.nudity),),
    )
    if given.signals is not None:
        return Item(content(data=b""), _fingerprints(given.signals))
    if given.text is not None:
        return Item(content(text=given.text))
    if given.url is not None:
        return Item(content(data=await _fetched(request, given.url)))
    return Item(content(data=given.data))


def _nudity(text: object) -> tuple[Finding, ...]:
    """What a form or a query says of nudity."""
    if text is None:
        return ()
    try:
        return (findings.nudity(float(str(text))),)
    except ValueError:
        raise Refused(422, "invalid-request", "nudity is a number from 0 to 1.") from None


def _fingerprints(given: dict[str, str]) -> tuple[Fingerprint, ...]:
    made = []
    for name, text in given.items():
        if name not in signals.installed():
            raise InvalidSignal(
                f"no such signal; this server knows {', '.join(signals.installed())}"
            )
        made.append(admissible(Fingerprint(name, signals.find(name).parse(text))))
    return tuple(made)


async def _fetched(request: Request, url: str) -> bytes:
    fetcher = request.app.state.fetcher
    if fetcher is None:
        raise Refused(
            422, "fetch-refused", "This server fetches nothing; send the bytes, or set fetch_hosts."
        )
    data: bytes = (await fetcher.fetch(url)).data
    return data


class InMemory(MultiPartParser):
    """Uploads stay in memory: the default writes larger ones into a temporary file."""

    spool_max_size = 1 << 62


async def form_of(request: Request, *, most: int) -> FormData:
    """The form, with at most so many files; close it."""
    parser = InMemory(request.headers, request.stream(), max_files=most, max_fields=4)
    try:
        return await parser.parse()
    except (MultiPartException, KeyError) as error:
        reason = getattr(error, "message", "no boundary")
        raise Refused(400, "bad-request", f"The multipart body can't be read: {reason}") from None


async def _uploads(request: Request, *, most: int) -> list[Item]:
    form = await form_of(request, most=most)
    try:
        given = form.get("context")
        context = Context()
        if isinstance(given, str):
            context = _parsed(ContextIn, given.encode()).context()
        files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        own = _nudity(form.get("nudity"))
        others = ("context" in form) + ("nudity" in form)
        if not files or len(form.multi_items()) != len(files) + others:
            raise Refused(
                422,
                "invalid-request",
                "Send `file` parts, and at most one `context` and one `nudity`.",
            )
        return [
            Item(Content(data=await file.read(), context=context, findings=own)) for file in files
        ]
    finally:
        await form.close()
