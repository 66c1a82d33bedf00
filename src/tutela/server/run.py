"""Start the server: one process or several, on one address."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import structlog
import uvicorn

from tutela.settings import Settings
from tutela.store import Store


def run(settings: Settings, *, host: str, port: int, processes: int) -> None:
    """Serve until told to stop. Raises `StoreError` before anything listens if it can't work."""
    settings.data.mkdir(parents=True, exist_ok=True)
    Store(settings.database_url).close()
    _hand_down(settings, processes)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    uvicorn.run(
        "tutela.server.app:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        access_log=False,
        log_level="warning" if processes > 1 else "info",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=30,
        limit_concurrency=1_024,
        h11_max_incomplete_event_size=64 << 10,
    )


def _hand_down(settings: Settings, processes: int) -> None:
    """Each server process reads its settings from the environment."""
    os.environ["TUTELA_DATA"] = str(settings.data)
    if settings.database:
        os.environ["TUTELA_DATABASE"] = settings.database
    if settings.policy:
        os.environ["TUTELA_POLICY"] = str(settings.policy)
    os.environ["TUTELA_WORKERS"] = str(max(1, settings.workers // processes))
    if processes > 1:
        folder = tempfile.mkdtemp(prefix="tutela-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path(folder))
