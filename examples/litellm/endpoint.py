"""The endpoint for LiteLLM's generic guardrail: uvicorn --factory endpoint:create --port 8090."""

import os

from starlette.applications import Starlette

import tutela.guard
from tutela.guard.integrations.litellm_http import app


def create() -> Starlette:
    return app(tutela.guard.open("tutela-data"), key=os.environ["TUTELA_GUARDRAIL_KEY"])
