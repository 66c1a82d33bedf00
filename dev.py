"""Set Tutela up in a fresh clone, and run it.

    python3 dev.py demo [FOLDER]   set up, then show the main job on real pictures
    python3 dev.py test [ARGS]     set up with the tools, then lint, type-check and test
    python3 dev.py tutela ARGS     set up, then run the command

It needs Python 3.11 or later and a connection to a package index; everything goes into `.venv`
beside this file.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


def main(arguments: list[str]) -> int:
    """Do what the arguments say; returns the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older one may well run this file
        print(f"Tutela needs Python 3.11 or later; this is {sys.version.split()[0]}.")
        return 2
    command, *rest = arguments or [""]
    if command == "demo":
        set_up("plain", ".[video]")
        return run("-m", "tutela", "demo", *rest)
    if command == "tutela":
        set_up("plain", ".[video]")
        return run("-m", "tutela", *rest)
    if command == "test":
        set_up(
            "tested",
            ".[age,dataset,ocr,postgres,video,voice]",
            *("--group", "dev", "--group", "plug-ins"),
        )
        return test(rest)
    print(__doc__)
    return 2


def set_up(name: str, *installed: str) -> None:
    """Make the environment, unless it is there and the project's dependencies are the same."""
    stamp = VENV / f"made-{name}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("Setting up (a minute or two the first time) …")
    if not PYTHON.exists():
        try:
            call(sys.executable, "-m", "venv", str(VENV))
        except subprocess.CalledProcessError:
            sys.exit("Python's venv module is missing; on Debian: apt-get install python3-venv")
    call(str(PYTHON), "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
    call(str(PYTHON), "-m", "pip", "install", "--quiet", "--editable", *installed)
    stamp.write_text(wanted)


def test(arguments: list[str]) -> int:
    """Every check; the first that fails ends it."""
    for name, command in (
        ("Formatting", ("-m", "ruff", "format", "--check", ".")),
        ("Lint", ("-m", "ruff", "check", ".")),
        ("Types", ("-m", "mypy")),
        ("Tests", ("-m", "pytest", *arguments)),
    ):
        say(f"{name} …")
        if code := run(*command):
            return code
    return 0


def run(*arguments: str) -> int:
    """The environment's Python with these arguments; returns its exit code."""
    return subprocess.run([str(PYTHON), *arguments], cwd=ROOT, check=False).returncode


def call(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
