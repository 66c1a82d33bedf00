"""LiteLLM's child-safety filter, run by the Python that has LiteLLM: bench/intent.py starts it.

It prints its version. Then each line of standard input is a JSON list, the fields of a request,
and is answered by a line: a JSON list of whether any field is blocked and how many µs that took.
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
    print(version("litellm"), flush=True)
    for line in sys.stdin:
        fields = json.loads(line)
        blocked = False
        start = time.perf_counter_ns()
        try:
            for field in fields:
                filtering._filter_single_text(field)
        except HTTPException:
            blocked = True
        print(json.dumps([blocked, (time.perf_counter_ns() - start) / 1000]), flush=True)


if __name__ == "__main__":
    main()
