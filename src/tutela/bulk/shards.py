"""Data sets as they are kept: folders of files, webdataset tar archives, Parquet tables.

Members are read one after the other, within bounds; an archive is never unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from tutela.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow

TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PARQUET: Final = (".parquet", ".pq")
ROWS: Final = 16
"""Rows of a table that are read at once."""
DEEP: Final = 4
"""Levels of lists and structures of a table in which content is looked for."""
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One piece of a data set. `data` is None where it has more bytes than were allowed."""

    key: str
    """Where it is: `shard.tar/000123.jpg`, `table.parquet/17/image`, or a path."""
    size: int
    modified_ns: int
    """Of the file that it lies in."""
    data: bytes | None = field(repr=False)


@dataclass(slots=True)
class Shard:
    """An archive or a table, as the receipt names it."""

    name: str
    bytes: int
    sha256: str


def members(root: Path, max_bytes: int, shards: list[Shard]) -> Iterator[Member]:
    """Everything in a folder or in one file, in a fixed order; links are not followed.

    Adds each archive and table to `shards` once it has been read to its end. Raises
    `ConfigurationError` for one that is damaged, or for tables without the extra that reads them.
    """
    for path, name in _files(root):
        facts = path.stat()
        if name.lower().endswith(TARS):
            found = _tar(path, name, facts.st_mtime_ns, max_bytes, shards)
        elif name.lower().endswith(PARQUET):
            found = _table(path, name, facts.st_mtime_ns, max_bytes, shards)
        else:
            large = facts.st_size > max_bytes
            data = None if large else path.read_bytes()
            found = iter([Member(name, facts.st_size, facts.st_mtime_ns, data)])
        try:
            yield from _distinct(found)
        except (OSError, tarfile.TarError, EOFError) as error:
            what = error.strerror if isinstance(error, OSError) else None
            raise ConfigurationError(
                f"{name} can't be read to its end: {what or type(error).__name__}; the data set is "
                "damaged there"
            ) from error


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    def failed(error: OSError) -> None:
        raise ConfigurationError(f"{error.filename} can't be read: {error.strerror}") from error

    if root.is_file():
        yield root, _text(root.name)
        return
    if not root.is_dir():
        raise ConfigurationError(f"{root} is not there; name a folder, an archive or a table")
    for folder, folders, names in os.walk(root, onerror=failed):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path, _text(path.relative_to(root))


def _text(path: Path | str) -> str:
    """A name that is no UTF-8 kept readable and unique, so that the store can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _distinct(found: Iterator[Member]) -> Iterator[Member]:
    """Archives may hold one name twice: both are members."""
    seen: dict[str, int] = {}
    for member in found:
        count = seen[member.key] = seen.get(member.key, 0) + 1
        if count > 1:
            again = f"{member.key} ({count})"
            yield Member(again, member.size, member.modified_ns, member.data)
        else:
            yield member


def _tar(
    path: Path, name: str, modified_ns: int, max_bytes: int, shards: list[Shard]
) -> Iterator[Member]:
    with path.open("rb") as file:
        hashed = _Hashed(file)
        # As a stream: an archive of any size takes the memory of one member.
        with tarfile.open(fileobj=hashed, mode="r|*", errorlevel=2) as archive:
            for entry in archive:
                if not entry.isfile():
                    continue
                key = f"{name}/{_text(entry.name)}"
                data: bytes | None = None
                if entry.size <= max_bytes:
                    opened = archive.extractfile(entry)
                    data = b"" if opened is None else opened.read()
                    if len(data) != entry.size:
                        raise EOFError
                yield Member(key, entry.size, modified_ns, data)
                # The list of members that it keeps would grow with the archive.
                archive.members = []  # type: ignore[attr-defined]
        while hashed.read(CHUNK):
            pass
        shards.append(Shard(name, hashed.size, hashed.digest.hexdigest()))


class _Hashed(io.RawIOBase):
    """A file whose digest is taken as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data


def _table(
    path: Path, name: str, modified_ns: int, max_bytes: int, shards: list[Shard]
) -> Iterator[Member]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{name} is a Parquet table; install what reads it: pip install 'tutela[dataset]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as table:
            columns = [field.name for field in table.schema_arrow if _holds_bytes(field.type)]
            row = 0
            for batch in table.iter_batches(batch_size=ROWS, columns=columns):
                for column in columns:
                    for at, value in enumerate(batch.column(column)):
                        key = f"{name}/{row + at}/{column}"
                        for deeper, data in _bytes(value.as_py(), key):
                            large = len(data) > max_bytes
                            yield Member(deeper, len(data), modified_ns, None if large else data)
                row += batch.num_rows
    except pyarrow.ArrowException as error:
        raise ConfigurationError(
            f"{name} can't be read to its end: {type(error).__name__}; the data set is damaged "
            "there"
        ) from error
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    shards.append(Shard(name, size, digest.hexdigest()))


def _holds_bytes(kind: pyarrow.DataType, deep: int = DEEP) -> bool:
    """Whether values of this type hold bytes, themselves or in lists and structures."""
    import pyarrow

    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return True
    if pyarrow.types.is_fixed_size_binary(kind):
        return True
    fields = (kind.field(index).type for index in range(kind.num_fields))
    return deep > 0 and any(_holds_bytes(one, deep - 1) for one in fields)


def _bytes(value: Any, key: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, bytes):
        yield key, value
    elif isinstance(value, dict):
        for name, one in value.items():
            # The usual form of pictures in tables: their bytes, beside a path.
            yield from _bytes(one, key if name == "bytes" else f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for position, one in enumerate(value):
            yield from _bytes(one, f"{key}.{position}")
