"""Start the server: one process or several, on one address."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
from contextlib import ExitStack
from multiprocessing.connection import wait

import structlog
import uvicorn
from fastapi import FastAPI

from tutela._confine import hide
from tutela.server.app import from_environment
from tutela.server.fetch import fetcher
from tutela.settings import Settings
from tutela.store import Store


def run(settings: Settings, *, host: str, port: int, processes: int) -> None:
    """Serve until told to stop. Raises `StoreError` before anything listens if it can't work."""
    hide()
    settings.make_data()
    fetcher(settings)
    Store(settings.database_url).close()
    with ExitStack() as stack:
        _hand_down(settings, processes)
        if processes > 1:
            made = tempfile.TemporaryDirectory(prefix="tutela-metrics-", ignore_cleanup_errors=True)
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(made)
        uvicorn.run(
            "tutela.server.run:application",
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


def application() -> FastAPI:
    """What each server process runs: the settings are in its environment, its log is JSON lines."""
    hide()
    log_as_json()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()
    return from_environment()


def log_as_json() -> None:
    """The log of this process is JSON lines from now on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _leave_with(parent: int) -> None:
    """One of several processes stops when the one that started it is gone.

    Else it would keep the port, and nobody would replace it when it fails.
    """
    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def _hand_down(settings: Settings, processes: int) -> None:
    """Each server process reads its settings from the environment."""
    os.environ["TUTELA_DATA"] = str(settings.data)
    if settings.database:
        os.environ["TUTELA_DATABASE"] = settings.database
    if settings.policy:
        os.environ["TUTELA_POLICY"] = str(settings.policy)
    os.environ["TUTELA_WORKERS"] = str(max(1, settings.workers // processes))
