"""A lock between processes, held by the operating system and freed by it if the holder dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of this file, which is made if need be and stays. Gives whether it is held.

    Without `wait`, a lock that another process (or another user of it in this one) holds is left.
    Closing the file frees it, on every system.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        held = _try(handle)
        while wait and not held:
            time.sleep(0.02)
            held = _try(handle)
        yield held
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        _take(handle)
    except OSError:
        return False
    return True
