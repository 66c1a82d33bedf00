"""What a scan found, as JSON lines and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import orjson
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tutela.bulk.scan import Scan
from tutela.store import now

SHOWN = 5_000
"""Rows of the page; beyond them it says so and names the JSON lines."""


def write_lines(scan: Scan, path: Path) -> int:
    """One line a file, as `tutela screen --json` prints it; returns how many."""
    count = 0
    with _replacing(path) as out:
        for count, (name, document) in enumerate(scan.results(), 1):  # noqa: B007 - the last counts
            out.write(orjson.dumps({"file": name, **document}) + b"\n")
    return count


def write_html(scan: Scan, path: Path, *, policy: str) -> None:
    """A self-contained page: counts, then every file held or blocked, with the reasons.

    It shows no picture: what was found is looked at in a review tool, not in a report.
    """
    actions: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    for name, document in scan.results():
        verdict = document["verdict"]
        actions[verdict["action"]] += 1
        if verdict["action"] != "allow" and len(shown) < SHOWN:
            shown.append({"file": name, **document})
    shown.sort(key=lambda row: (row["verdict"]["action"] != "block", row["file"]))
    folder = files("tutela.bulk") / "data"
    style = (folder / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    page = template.render(
        root=scan.root.name,
        made=_minute(now()),
        policy=policy,
        actions={action: actions[action] for action in ("block", "hold", "allow")},
        total=sum(actions.values()),
        rows=shown,
        left_out=actions["block"] + actions["hold"] - len(shown),
        style=Markup(style),  # noqa: S704 - our own file
        style_digest=digest,
    )
    with _replacing(path) as out:
        out.write(page.encode())


def write_whole(data: bytes, path: Path) -> None:
    """The file in one piece, or none."""
    with _replacing(path) as out:
        out.write(data)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """The whole file or the one before, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            out.close()
            Path(out.name).unlink()
            raise
    Path(out.name).replace(path)
