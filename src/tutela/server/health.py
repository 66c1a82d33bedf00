"""Is it alive, is it ready, how fresh is its index, what has it counted."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from tutela.errors import TutelaError
from tutela.screening import Screener
from tutela.server import metrics
from tutela.server.access import needs, screener_of
from tutela.server.keys import Scope

router = APIRouter(tags=["health"])

STALE = 1.0
"""Seconds after which the index counts as behind the store."""


@router.get("/health/live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """Says nothing about whether it can screen: that is `ready`."""
    return {"status": "live"}


@router.get("/health/ready", summary="Whether it can screen", responses={503: {}})
async def ready(request: Request) -> Response:
    """200 when the store answers, the index is less than a second behind it, and all of it can be
    searched; else 503. Without the secret of the protected photos every picture would be held.
    """
    fine = await anyio.to_thread.run_sync(can_screen, screener_of(request))
    return JSONResponse({"status": "ready" if fine else "not ready"}, 200 if fine else 503)


@router.get("/v1/index", dependencies=[needs(Scope.METRICS)], summary="How fresh the index is")
async def index(request: Request) -> dict[str, Any]:
    """For each perceptual signal: entries, the store's number that searches reflect, sizes."""
    matcher = screener_of(request).matcher
    signals = {name: asdict(status) for name, status in matcher.status().items()}
    return {"age_seconds": round(matcher.age, 3), "signals": signals}


@router.get("/metrics", dependencies=[needs(Scope.METRICS)], summary="Prometheus metrics")
async def prometheus() -> Response:
    """Counts and times in Prometheus' text format."""
    text = await anyio.to_thread.run_sync(metrics.exposition)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def can_screen(screener: Screener) -> bool:
    """Whether the store answers, and the index is fresh and whole."""
    try:
        screener.matcher.refresh(STALE / 2)
    except TutelaError:
        return False
    return screener.matcher.age < STALE and screener.matcher.complete
