"""Snapshots: exact search, every byte checked, one copy in memory."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_search import altered, listed, random_rows, search

from tutela.errors import ConfigurationError, IndexDamaged
from tutela.index import snapshot as snapshots
from tutela.index.plan import Plan, plan
from tutela.index.snapshot import Snapshot, build
from tutela.index.table import Table, built

BIG = 5000
"""Rows beyond which an index has tables."""


def planted(seed: int, n: int, bits: int, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some shape, and entries of which several rows may be."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, bits)
    if shape == "equal":
        rows[:] = rows[:1]
    elif shape == "zero":
        rows[:] = 0
    elif shape == "clusters":
        centres = random_rows(rng, 20, bits)
        noise = rng.random((n, bits)) < 0.08
        rows = centres[rng.integers(0, 20, n)] ^ np.packbits(noise, axis=1)
    elif shape == "skewed chunks":
        rows[:, : bits // 16] = 0x5A
        rows[: n // 2, bits // 16 : bits // 12] = 0
    return rows, rng.integers(-5, max(1, n // 2), n)


@pytest.mark.parametrize("bits", [64, 128, 192, 256])
@pytest.mark.parametrize("shape", ["even", "equal", "zero", "clusters", "skewed chunks"])
def test_finds_exactly_what_a_naive_search_finds(bits: int, shape: str, tmp_path: Path) -> None:
    radius = bits // 8 - 1
    rows, entries = planted(bits, BIG, bits, shape)
    build(rows, entries, tmp_path / "index", head=7, bits=bits, radius=radius)
    snapshot = Snapshot.open(tmp_path / "index")
    assert snapshot.plan.widths
    assert snapshot.head == 7
    assert snapshot.entry_count == len(set(entries.tolist()))
    rng = np.random.default_rng(1)
    few = 3 if shape in ("equal", "zero") else 40
    near = [altered(rng, rows[rng.integers(BIG)], i % (radius + 6)) for i in range(few)]
    queries = np.concatenate([near, random_rows(rng, few, bits), ~rows[:1]])
    for reach in (0, 1, radius // 2, radius, radius + 9, bits if shape == "even" else radius):
        some = queries if reach < bits else queries[:1]
        assert listed(snapshot.search(some, reach)) == search(rows, entries, some, reach)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 2, 40, 700]),
    bits=st.sampled_from([64, 128, 256]),
    shape=st.sampled_from(["even", "equal", "clusters", "skewed chunks"]),
    data=st.data(),
)
@settings(deadline=None, derandomize=True, max_examples=120)
def test_any_plan_is_exact(seed: int, n: int, bits: int, shape: str, data: st.DataObject) -> None:
    """Recall rests on the chunks being a partition of the ring, not on the planner's taste."""
    rng = np.random.default_rng(seed)
    rows, entries = planted(seed, n, bits, shape)
    widths: list[int] = []
    while bits - sum(widths) > 40:
        widths.append(data.draw(st.integers(8, 32)))
    left = bits - sum(widths)
    widths += [left // 2, left - left // 2]
    keys = []
    for c, width in enumerate(widths):
        following = widths[(c + 1) % len(widths)]
        keys.append(data.draw(st.integers(1, max(1, min(width, 12, width + following - 16)))))
    chosen = Plan(bits, 20, tuple(widths), tuple(keys), (0,) * len(widths), 0.0, 0.0, 0.0, 0.0)
    table: Table = built(chosen, rows, entries)
    radius = data.draw(st.integers(0, bits // 4))
    queries = np.array([altered(rng, rows[rng.integers(n)], i % (bits // 4)) for i in range(20)])
    hits, _ = table.find(queries.view("<u8"), radius)
    found = listed((hits[:, 0], table.entry_of(hits[:, 1]), hits[:, 2]))
    assert found == search(rows, entries, queries, radius)
    assert len(np.unique(hits[:, :2], axis=0)) == len(hits)


def test_tables_are_used_not_only_scans() -> None:
    rows, entries = planted(0, BIG, 256, "even")
    hits, cost = built(plan(BIG, 256, 31), rows, entries).find(rows[:50].view("<u8"), 31)
    assert len(hits) == 50
    assert cost.scanned == 0
    assert cost.probes > 0
    assert cost.candidates < 50 * BIG // 50


@pytest.mark.parametrize("n", [0, 1, 3])
def test_tiny_indexes(n: int, tmp_path: Path) -> None:
    rows, entries = planted(3, n, 256, "even")
    build(rows, entries, tmp_path / "index", head=0, bits=256, radius=31)
    snapshot = Snapshot.open(tmp_path / "index")
    assert listed(snapshot.search(rows, 31)) == [(i, int(entries[i]), 0) for i in range(n)]
    assert (tmp_path / "index").stat().st_size < 20_000


def test_entry_numbers_of_any_size(tmp_path: Path) -> None:
    rows, _ = planted(4, 4, 256, "even")
    entries = np.array([2**62, -(2**62), 5, 5])
    build(rows, entries, tmp_path / "index", head=1, bits=256, radius=31)
    found = listed(Snapshot.open(tmp_path / "index").search(rows, 31))
    assert found == search(rows, entries, rows, 31)


def test_misshapen_arguments_are_refused(tmp_path: Path) -> None:
    rows, entries = planted(5, 10, 256, "even")
    with pytest.raises(ValueError, match="not uint8"):
        build(rows, entries, tmp_path / "index", head=1, bits=128, radius=31)
    with pytest.raises(ValueError, match="entries of shape"):
        build(rows, entries[:9], tmp_path / "index", head=1, bits=256, radius=31)
    build(rows, entries, tmp_path / "index", head=1, bits=256, radius=31)
    with pytest.raises(ValueError, match="not uint8"):
        Snapshot.open(tmp_path / "index").search(rows[:, :16], 31)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("intact") / "index"
    rows, entries = planted(6, BIG, 256, "even")
    build(rows, entries, path, head=1, bits=256, radius=31)
    Snapshot.open(path)
    return path.read_bytes()


@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=150)
def test_any_damage_is_noticed(
    data: st.DataObject, intact: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(intact)
    kind = data.draw(st.sampled_from(["flip", "cut", "zero", "repeat"]))
    inside = st.one_of(st.integers(0, 4095), st.integers(0, len(intact) - 1))
    at = data.draw(inside)
    if kind == "flip":
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del damaged[at:]
    elif kind == "zero":
        damaged[at : at + 4096] = bytes(len(damaged[at : at + 4096]))
    else:
        other = data.draw(inside)
        damaged[at : at + 512] = intact[other : other + 512]
        damaged[len(intact) :] = b""
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    if bytes(damaged) == intact:
        Snapshot.open(path)
    else:
        with pytest.raises(IndexDamaged):
            Snapshot.open(path)


def test_another_version_is_named(intact: bytes, tmp_path: Path) -> None:
    other = bytearray(intact)
    struct.pack_into("<I", other, 16, 99)
    (tmp_path / "index").write_bytes(other)
    with pytest.raises(IndexDamaged, match="format 99"):
        Snapshot.open(tmp_path / "index")


def test_a_failed_build_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, entries = planted(7, 100, 256, "even")
    path = tmp_path / "index"
    build(rows, entries, path, head=1, bits=256, radius=31)
    before = path.read_bytes()
    fired = []

    def broken(*_: object) -> None:
        fired.append(True)
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace", "posix_fallocate"):
        if not hasattr(os, call):
            continue
        with monkeypatch.context() as patch:
            patch.setattr(snapshots.os, call, broken)
            with pytest.raises(ConfigurationError, match="No space left"):
                build(rows[:50], entries[:50], path, head=2, bits=256, radius=31)
        assert path.read_bytes() == before
        assert [held.name for held in tmp_path.iterdir()] == ["index"]
    assert len(fired) >= 2


_OPENER = """
import sys, numpy as np
from pathlib import Path
from tutela.index.snapshot import Snapshot
snapshot = Snapshot.open(Path(sys.argv[1]))
snapshot.search(np.zeros((1, 32), np.uint8), 31)
print("open", flush=True)
sys.stdin.readline()
private = 0
inside = False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0] and not line.startswith("Private"):
        inside = sys.argv[1] in line
    elif inside and line.startswith("Private_"):
        private += int(line.split()[1])
print(private * 1024, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_processes_share_the_pages(tmp_path: Path) -> None:
    path = tmp_path / "index"
    rows, entries = planted(8, 100_000, 256, "even")
    build(rows, entries, path, head=1, bits=256, radius=31)
    command = [sys.executable, "-c", _OPENER, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "open\n"
        answers = []
        for process in processes:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            answers.append(int(process.stdout.readline()))
            # The other one still maps it, so that its pages count as shared.
            break
        assert answers[0] < path.stat().st_size // 10
    finally:
        for process in processes:
            process.kill()
            process.communicate()
