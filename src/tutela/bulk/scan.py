"""A scan screens every file below a folder; one that was cut off goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update

from tutela.content import Content, Context
from tutela.errors import ConfigurationError
from tutela.screening import Screener
from tutela.store import Store, now
from tutela.store.recorder import Rows
from tutela.store.tables import scan_files, scans, verdicts
from tutela.verdict import Verdict

PAGE = 1_000


@dataclass(slots=True)
class Progress:
    """How far a scan is."""

    total: int
    done: int = 0
    resumed: int = 0
    """Files whose verdict an earlier run had recorded."""
    actions: dict[str, int] = field(default_factory=dict)

    def count(self, action: str) -> None:
        self.done += 1
        self.actions[action] = self.actions.get(action, 0) + 1


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    key: str
    size: int
    modified_ns: int

    def row(self, scan_id: int, verdict_id: str) -> dict[str, Any]:
        return {
            "scan_id": scan_id,
            "path": self.key,
            "size": self.size,
            "modified_ns": self.modified_ns,
            "verdict_id": verdict_id,
        }


class Scan:
    """One scan of one folder, as recorded."""

    def __init__(self, store: Store, scan_id: int, root: Path) -> None:
        self.store = store
        self.id = scan_id
        self.root = root

    def results(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(path below the root, verdict document) of every file, by path."""
        after = ""
        while True:
            query = (
                select(scan_files.c.path, verdicts.c.document)
                .join(verdicts, verdicts.c.id == scan_files.c.verdict_id)
                .where(scan_files.c.scan_id == self.id, scan_files.c.path > after)
                .order_by(scan_files.c.path)
                .limit(PAGE)
            )
            with self.store.read() as connection:
                page = connection.execute(query).all()
            if not page:
                return
            yield from ((row.path, row.document) for row in page)
            after = page[-1][0]


def scan(
    screener: Screener,
    root: Path,
    *,
    include: Sequence[str] = ("*",),
    fresh: bool = False,
    context: Context | None = None,
    on_verdict: Callable[[Progress, str, Verdict], None] = lambda *_: None,
    on_start: Callable[[Progress], None] = lambda _: None,
) -> tuple[Scan, Progress]:
    """Screen every regular file below `root` whose name matches `include`; links are not followed.

    An unfinished scan of the same folder is taken up again, unless `fresh`: files that have not
    changed since keep their verdict. Each verdict is recorded together with the progress.
    """
    root = root.resolve()
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not a folder; name the folder to scan")
    files = {file.key: file for file in _walk(root, include)}
    progress = Progress(len(files))
    store = screener.store
    record = Scan(store, begin(store, str(root), fresh), root)
    todo = _remaining(record, files, progress)
    on_start(progress)

    def note(made: Sequence[tuple[Content, Verdict]]) -> Rows:
        return [
            (scan_files, files[content.name].row(record.id, verdict.id))
            for content, verdict in made
        ]

    given = context or Context()
    contents = (Content(path=file.path, context=given, name=file.key) for file in todo)
    for verdict in screener.screen_many(contents, also=note):
        progress.count(verdict.action)
        on_verdict(progress, verdict.name, verdict)
    with store.write() as connection:
        connection.execute(update(scans).where(scans.c.id == record.id).values(finished_at=now()))
    return record, progress


def _walk(root: Path, include: Sequence[str]) -> Iterator[_File]:
    def failed(error: OSError) -> None:
        raise ConfigurationError(f"{error.filename} can't be read: {error.strerror}") from error

    for folder, folders, names in os.walk(root, onerror=failed):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not any(fnmatch(name, pattern) for pattern in include):
                continue
            if path.is_symlink() or not path.is_file():
                continue
            facts = path.stat()
            # A name that is no UTF-8 is kept readable and unique, so that the store can hold it.
            key = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
            yield _File(path, key, facts.st_size, facts.st_mtime_ns)


def begin(store: Store, root: str, fresh: bool) -> int:
    """The number of the scan of that root which was cut off, or of a new one."""
    with store.write() as connection:
        unfinished = connection.scalar(
            select(scans.c.id)
            .where(scans.c.root == root, scans.c.finished_at.is_(None))
            .order_by(scans.c.id.desc())
            .limit(1)
        )
        if unfinished is None or fresh:
            unfinished = connection.execute(
                insert(scans).values(root=root, started_at=now()).returning(scans.c.id)
            ).scalar_one()
        return int(unfinished)


def _remaining(record: Scan, files: dict[str, _File], progress: Progress) -> list[_File]:
    """The files without a verdict that still holds; stale records of the others go."""
    query = (
        select(scan_files, verdicts.c.action)
        .join(verdicts, verdicts.c.id == scan_files.c.verdict_id)
        .where(scan_files.c.scan_id == record.id)
    )
    todo = dict(files)
    stale: list[str] = []
    with record.store.read() as connection:
        for row in connection.execute(query):
            file = files.get(row.path)
            if file and (file.size, file.modified_ns) == (row.size, row.modified_ns):
                del todo[row.path]
                progress.resumed += 1
                progress.count(row.action)
            else:
                stale.append(row.path)
    if stale:
        with record.store.write() as connection:
            for start in range(0, len(stale), 500):
                connection.execute(
                    delete(scan_files).where(
                        scan_files.c.scan_id == record.id,
                        scan_files.c.path.in_(stale[start : start + 500]),
                    )
                )
    return list(todo.values())
