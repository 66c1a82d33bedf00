"""The `tutela` command.

Exit codes: 0 done (and everything screened was allowed), 1 failed, 2 wrong usage, 3 something was
held, 4 something was blocked. A script that goes on after a non-zero code publishes what it
should not.
"""

from __future__ import annotations


def main() -> None:
    """Run the command."""
    from tutela.cli.app import app

    app()
