"""One immutable file that holds an index, mapped into memory and shared between processes.

    header, 4096 bytes   magic, format version, length and checksum of a JSON text, the JSON text
    sections             each array of the table, starting at a multiple of 4096 bytes

The file appears complete or not at all: it is written beside its place, synced, renamed, and the
directory synced. Opening it checks every byte against a 64-bit checksum before the first search.
The checksum is against damage (a torn write, a bad disk, a truncated copy), not an attacker, who
could as well write another index: protect the directory.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError, IndexDamaged
from tutela.index import plan as planning
from tutela.index import table as tables
from tutela.index.table import Cost, Entries, Rows, Table, as_words, frozen, kernels

FORMAT = 1
"""Version of the file format; another one is not read."""
MAGIC = b"tutela index\x00\x00\x00\x00"
_HEAD = struct.Struct("<16sIIQ")
_PAGE = 4096
_BLOCK = 16 << 20
"""Bytes summed at a time."""

Found = tuple[NDArray[np.int32], Entries, NDArray[np.uint16]]
"""Query, entry and distance of each hit."""


def _aligned(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _body_sum(body: NDArray[np.uint64]) -> int:
    """Checksum of the sums of the blocks, which are taken in parallel."""
    step = _BLOCK // 8
    blocks = [body[at : at + step] for at in range(0, len(body), step)]
    checksum = kernels().checksum
    if len(blocks) > 1:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            sums = list(pool.map(checksum, blocks))
    else:
        sums = [checksum(block) for block in blocks]
    return int(checksum(frozen(np.array(sums, np.uint64))))


def _text_sum(text: bytes) -> int:
    padded = text + bytes(-len(text) % 8)
    return int(kernels().checksum(np.frombuffer(padded, "<u8")))


def sync_directory(directory: Path) -> None:
    """Make renames in a directory durable; Windows has no such call and orders them itself."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` at the end, or disappears on an error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield partial
        os.replace(partial, path)
        sync_directory(path.parent)
    except OSError as error:
        raise ConfigurationError(f"the index can't be written to {path.parent}: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def build(rows: Rows, entries: Entries, path: Path, *, head: int, bits: int, radius: int) -> None:
    """Write a snapshot of `rows` (uint8, (n, bits // 8)) and their `entries` (int64, (n,)).

    `head` is the store's sequence number that it stands for; `radius` the one it is laid out for.
    The arrays are built in the mapped file: memory beyond the arguments is page cache.
    Raises `ConfigurationError` if the file can't be written, `ValueError` for misshapen arrays.
    """
    words = as_words(rows, bits)
    if entries.shape != (len(words),):
        raise ValueError(f"{len(words)} rows have entries of shape {entries.shape}")
    entries = entries.astype(np.int64, copy=False)
    chosen = planning.plan(len(words), bits, radius)
    base, entry_type = tables.entry_storage(entries)
    shapes = tables.sections(chosen, len(words), entry_type)
    sections, size = {}, _PAGE
    for name, (shape, dtype) in shapes.items():
        sections[name] = {"at": size, "shape": shape, "dtype": dtype}
        size = _aligned(size + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
    size = max(size, 2 * _PAGE)
    with _replacing(path) as partial, partial.open("w+b") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # so that a full disk is an error here, not a crash
            os.posix_fallocate(file.fileno(), 0, size)
        mapped = mmap.mmap(file.fileno(), size)
        body = np.frombuffer(mapped, "<u8", offset=_PAGE)
        arrays = _views(mapped, sections)
        tables.fill(chosen, words, entries, arrays, base)
        told = {
            "head": head,
            "rows": len(words),
            "entries": _distinct(arrays["entries"]),
            "base": base,
            "plan": asdict(chosen),
            "sections": sections,
            "size": size,
            "sum": f"{_body_sum(frozen(body)):016x}",
        }
        text = json.dumps(told).encode()
        header = _HEAD.pack(MAGIC, FORMAT, len(text), _text_sum(text)) + text
        if len(header) > _PAGE:
            raise ValueError("the plan does not fit the header")
        mapped[: len(header)] = header
        del arrays, body  # Windows renames a file only when nothing maps it
        mapped.flush()
        mapped.close()
        os.fsync(file.fileno())


def _distinct(ascending: NDArray[Any]) -> int:
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + bool(len(ascending))


def _views(mapped: mmap.mmap, sections: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {
        name: np.ndarray(tuple(held["shape"]), held["dtype"], mapped, held["at"])
        for name, held in sections.items()
    }


class Snapshot:
    """An open snapshot. `head` is the store's sequence number that it contains."""

    __slots__ = ("_mapped", "entry_count", "head", "path", "table")

    def __init__(
        self, path: Path, mapped: mmap.mmap, table: Table, head: int, entry_count: int
    ) -> None:
        self.path = path
        self.table = table
        self.head = head
        self.entry_count = entry_count
        self._mapped = mapped

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Map a snapshot and check all of it.

        Raises `IndexDamaged` if it is cut short, altered or of another version, and
        `FileNotFoundError` if there is none.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 2 * _PAGE or size % _PAGE:
                raise IndexDamaged(f"{path.name} is cut short ({size} bytes); rebuild it")
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        magic, version, length, text_sum = _HEAD.unpack_from(mapped)
        if magic != MAGIC:
            raise IndexDamaged(f"{path.name} is not an index; rebuild it")
        if version != FORMAT:
            raise IndexDamaged(f"{path.name} has format {version}, not {FORMAT}; rebuild it")
        text = mapped[_HEAD.size : _HEAD.size + length]
        rest = mapped[_HEAD.size + length : _PAGE]
        if _HEAD.size + length > _PAGE or _text_sum(text) != text_sum or rest.strip(b"\0"):
            raise IndexDamaged(f"the header of {path.name} fails its checksum; rebuild it")
        told = json.loads(text)
        if told["size"] != size:
            raise IndexDamaged(f"{path.name} has {size} bytes, not {told['size']}; rebuild it")
        body: NDArray[np.uint64] = np.frombuffer(mapped, "<u8", offset=_PAGE)
        if f"{_body_sum(body):016x}" != told["sum"]:
            raise IndexDamaged(f"{path.name} fails its checksum; rebuild it")
        plan: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in told["plan"].items()
        }
        table = Table(planning.Plan(**plan), told["base"], _views(mapped, told["sections"]))
        return cls(path, mapped, table, told["head"], told["entries"])

    @property
    def plan(self) -> planning.Plan:
        return self.table.plan

    def __len__(self) -> int:
        return len(self.table)

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return len(self._mapped)

    def search(self, queries: Rows, radius: int) -> Found:
        """Rows within `radius` of each of `queries` (uint8, (q, bits // 8)), each row once."""
        found, _ = self.measure(queries, radius)
        return found

    def measure(self, queries: Rows, radius: int) -> tuple[Found, Cost]:
        """`search`, and what it took."""
        hits, cost = self.table.find(as_words(queries, self.plan.bits), radius)
        found = (
            hits[:, 0].astype(np.int32),
            self.table.entry_of(hits[:, 1]),
            hits[:, 2].astype(np.uint16),
        )
        return found, cost
