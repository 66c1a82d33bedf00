"""What a key may do, checked by every route that is not public."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request

from tutela.screening import Screener
from tutela.server.errors import Refused
from tutela.server.keys import Scope


def needs(scope: Scope) -> Any:
    """A dependency that lets only keys with this scope pass."""

    async def check(request: Request) -> None:
        if scope not in request.state.key.scopes:
            raise Refused(403, "not-in-scope", f"This key lacks the scope {scope}.")

    # The tests read it, to try every route with a key of every other scope.
    check.scope = scope  # type: ignore[attr-defined]
    return Depends(check)


def screener_of(request: Request) -> Screener:
    """The screener of the application."""
    found: Screener = request.app.state.screener
    return found
