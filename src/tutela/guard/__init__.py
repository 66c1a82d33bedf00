"""Guardrails for generative models: requests are judged before the model is called, and what it
makes is judged and marked before it leaves."""
