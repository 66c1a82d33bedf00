"""Lies beside config.yaml, which names it."""

from tutela.guard.integrations.litellm import TutelaGuardrail as Guard

__all__ = ["Guard"]
