"""The policy: rules as data turn findings into a decision.

The rules engine and the CEL runtime are loaded with the first use of `Policy`, `check` or
`replay`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tutela.policy.decision import Action, Context, Decision, Explanation, MediaFacts

if TYPE_CHECKING:
    from tutela.policy.checks import check as check
    from tutela.policy.engine import Policy as Policy
    from tutela.policy.replays import Change as Change
    from tutela.policy.replays import Recorded as Recorded
    from tutela.policy.replays import Summary as Summary
    from tutela.policy.replays import replay as replay
    from tutela.policy.replays import summarise as summarise
    from tutela.policy.rules import Problem as Problem

_LAZY = {
    "Policy": "tutela.policy.engine",
    "Problem": "tutela.policy.rules",
    "check": "tutela.policy.checks",
    "Change": "tutela.policy.replays",
    "Recorded": "tutela.policy.replays",
    "Summary": "tutela.policy.replays",
    "replay": "tutela.policy.replays",
    "summarise": "tutela.policy.replays",
}

__all__ = [
    "Action",
    "Change",
    "Context",
    "Decision",
    "Explanation",
    "MediaFacts",
    "Policy",
    "Problem",
    "Recorded",
    "Summary",
    "check",
    "replay",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tutela.policy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
