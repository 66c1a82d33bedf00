"""What is counted, for Prometheus. No label holds anything that a requester chose."""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

REQUESTS = Counter("tutela_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "tutela_request_seconds",
    "Time to the answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.25, 0.5, 1, 2.5, 5),
)
VERDICTS = Counter("tutela_verdicts", "Verdicts recorded.", ["action"])
REJECTED = Counter("tutela_rejected", "Content that could not be examined.", ["reason"])
INDEX_AGE = Gauge(
    "tutela_index_age_seconds",
    "Seconds since the index held every committed change.",
    multiprocess_mode="max",
)
INDEX_ENTRIES = Gauge(
    "tutela_index_entries", "Entries searched.", ["signal"], multiprocess_mode="max"
)
WAITING = Gauge(
    "tutela_protected_waiting",
    "Protected photos that a reviewer should decide about.",
    multiprocess_mode="max",
)
GUARDED = Counter(
    "tutela_guard_requests", "Requests to a model that were answered.", ["endpoint", "status"]
)
GUARD_SECONDS = Histogram(
    "tutela_guard_seconds",
    "Time to judge a request to a model.",
    ["endpoint"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
REFUSALS = Counter(
    "tutela_guard_refusals", "Requests and answers that were refused.", ["endpoint", "stage"]
)
CASE_SIGNALS = Counter("tutela_case_signals", "Accounts refused too often, each time anew.")


def exposition() -> bytes:
    """All of it in Prometheus' text format, summed over the server's processes."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
