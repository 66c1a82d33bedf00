"""A straightforward scan on python-threatexchange: PDQ of every file, looked up in a PDQIndex.

    python bench/peer_scan.py FOLDER HASHES.txt

All cores hash, one process looks up. Prints one JSON line: files, failures, matches, seconds.
`bench/scan.py` runs it beside `tutela scan`.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from importlib.metadata import version
from pathlib import Path


def hashed(path: Path) -> tuple[str, str | None]:
    """The file's PDQ, None if it can't be had or is too flat."""
    from threatexchange.signal_type.pdq.pdq_hasher import pdq_from_bytes

    try:
        text, quality = pdq_from_bytes(path.read_bytes())
    except Exception:
        return str(path), None
    return str(path), text if quality >= 50 else None


def main(folder: Path, hashes: Path) -> None:
    """Scan, and print what came of it."""
    from threatexchange.signal_type.pdq.signal import PDQIndex

    started = time.perf_counter()
    index = PDQIndex.build((line, number) for number, line in enumerate(hashes.read_text().split()))
    ready = time.perf_counter()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    failures = matches = 0
    with multiprocessing.Pool() as pool:
        for _, text in pool.imap_unordered(hashed, paths, chunksize=4):
            if text is None:
                failures += 1
            elif index.query(text):
                matches += 1
    print(
        json.dumps(
            {
                "files": len(paths),
                "failures": failures,
                "matches": matches,
                "index_seconds": ready - started,
                "seconds": time.perf_counter() - ready,
                "version": version("threatexchange"),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
