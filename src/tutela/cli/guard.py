"""`tutela guard`: judge what is asked of a generative model."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Guard a generative model: judge what is asked of it.")
