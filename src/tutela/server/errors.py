"""One shape for every error that the API answers with.

    {"error": {"type": "too-large", "message": "…", "id": "0199…"}}

The message of a failure of ours says nothing but the id, under which the log has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import structlog
from starlette.responses import Response

from tutela import errors

log = structlog.get_logger("tutela.server")

STATUS: Mapping[type[errors.TutelaError], tuple[int, str]] = {
    errors.Rejected: (422, "unusable-content"),
    errors.InvalidSignal: (422, "invalid-signal"),
    errors.ConfigurationError: (500, "internal"),
    errors.ModelMissing: (500, "internal"),
    errors.ModelDamaged: (500, "internal"),
    errors.LicenceNotAccepted: (500, "internal"),
    errors.ModelFailed: (503, "unavailable"),
    errors.PolicyError: (500, "internal"),
    errors.UnknownBank: (404, "unknown-bank"),
    errors.UnknownEntry: (404, "unknown-entry"),
    errors.BankExists: (409, "bank-exists"),
    errors.ImportRefused: (409, "import-refused"),
    errors.NotProtected: (422, "not-protected"),
    errors.BankError: (422, "bank-error"),
    errors.StoreError: (503, "unavailable"),
    errors.IndexDamaged: (503, "unavailable"),
    errors.SealBroken: (500, "internal"),
    errors.ReceiptInvalid: (500, "internal"),
    errors.FetchRefused: (422, "fetch-refused"),
    errors.Unexaminable: (500, "internal"),
    errors.RequestRefused: (500, "internal"),
    errors.MarkingFailed: (500, "internal"),
    errors.OutputRefused: (500, "internal"),
    errors.AccessDenied: (401, "access-denied"),
    errors.TutelaError: (500, "internal"),
}
"""What each of our errors is to a client. A test fails on one that is not listed."""


class Refused(Exception):
    """A request that is answered with an error of this status."""

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})


def answer(error: Exception, number: str) -> Response:
    """The response to a request of this number that ended in this error."""
    if isinstance(error, Refused):
        return shaped(error.status, error.kind, error.message, number, error.headers)
    if isinstance(error, errors.TutelaError):
        status, kind = next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
        if status < 500:
            # What a refusal tells the operator and not the requester.
            if notes := getattr(error, "__notes__", None):
                log.info("refused", id=number, error=type(error).__name__, notes=notes)
            return shaped(status, kind, str(error), number)
        log.error("failed", id=number, error=type(error).__name__, message=str(error))
        if status == 503:
            message = "The store failed, nothing was recorded. Treat content as held; try again."
            return shaped(status, kind, message, number, {"Retry-After": "1"})
        return shaped(500, "internal", "Something failed here. Treat the content as held.", number)
    # A stranger's message may quote content: its type and place are what the log gets.
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
    log.error("failed", id=number, error=type(error).__name__, where=where)
    return shaped(500, "internal", "Something failed here. Treat the content as held.", number)


def shaped(
    status: int,
    kind: str,
    message: str,
    number: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response in the one shape."""
    body = {"error": {"type": kind, "message": message, "id": number}}
    return Response(
        orjson.dumps(body), status, headers=dict(headers or {}), media_type="application/json"
    )
