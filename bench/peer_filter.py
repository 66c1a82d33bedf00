"""LiteLLM's child-safety filter, run by the Python that has LiteLLM: bench/intent.py starts it.

Standard input has one JSON list a line, the fields of a request. Standard output is one JSON
object: the version, for each line whether any field is blocked, and how long each took in µs.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from importlib.metadata import version


def main() -> None:
    logging.disable(logging.CRITICAL)
    from fastapi import HTTPException
    from litellm.proxy.guardrails.guardrail_hooks.litellm_content_filter.content_filter import (
        ContentFilterGuardrail,
    )

    name = "harmful_child_safety"
    given = {"category": name, "enabled": True, "action": "BLOCK", "severity_threshold": "medium"}
    filtering = ContentFilterGuardrail(guardrail_name="peer", categories=[given])
    if name not in filtering.loaded_categories:
        raise SystemExit(f"LiteLLM {version('litellm')} does not load {name}")
    blocked, took = [], []
    for line in sys.stdin:
        fields = json.loads(line)
        start = time.perf_counter_ns()
        try:
            for field in fields:
                filtering._filter_single_text(field)
            blocked.append(False)
        except HTTPException:
            blocked.append(True)
        took.append((time.perf_counter_ns() - start) / 1000)
    json.dump({"version": version("litellm"), "blocked": blocked, "us": took}, sys.stdout)


if __name__ == "__main__":
    main()
