"""Exact Hamming search at radius 31: time, memory, recall; beside faiss if asked.

    python bench/search.py --sizes 1e6,1e7 [--data even,photo] [--photos FOLDER]
                           [--peer] [--peer-python PATH]

One thread. Nine queries of ten are rows that were not indexed, drawn like the others; one in ten
is an indexed row with 0 to 31 bits flipped. The time is of a batch, per query, the
least and the median of several. Recall is against a scan of every row, for a sample
of queries, and against the planted rows for all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RADIUS = 31


def queries_for(
    rows: NDArray[np.uint8], fresh: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Queries, and for each the row it was made from (-1 for none)."""
    rng = np.random.default_rng(seed)
    queries, origin = fresh.copy(), np.full(len(fresh), -1)
    for i in range(0, len(queries), 10):
        origin[i] = rng.integers(len(rows))
        bits = np.unpackbits(rows[origin[i]])
        bits[rng.choice(256, (i // 10) % (RADIUS + 1), replace=False)] ^= 1
        queries[i] = np.packbits(bits)
    return queries, origin


def peer(folder: Path) -> dict[str, float]:
    """Milliseconds a query of faiss's two exact-radius candidates, on one thread."""
    import faiss

    faiss.omp_set_num_threads(1)
    rows, queries = np.load(folder / "rows.npy"), np.load(folder / "queries.npy")[:60]
    out: dict[str, float] = {}
    flat = faiss.IndexBinaryFlat(256)
    flat.add(rows)
    multi = faiss.IndexBinaryMultiHash(256, 16, 16)
    multi.nflip = 1
    multi.add(rows)
    for name, index in (("flat", flat), ("multihash", multi)):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            index.range_search(queries, RADIUS + 1)
            times.append((time.perf_counter() - start) / len(queries) * 1e3)
        out[name] = min(times)
    out["version"] = faiss.__version__
    return out


def measure(kind: str, n: int, options: argparse.Namespace, folder: Path) -> None:
    from tutela.index.snapshot import Snapshot, build
    from tutela.index.table import as_words, kernels

    count = 2000
    if kind == "even":
        made = np.random.default_rng(1).integers(0, 256, (n + count, 32), dtype=np.uint8)
    else:
        from search_rows import sampler

        draw, said = sampler(options.photos)
        print(said)
        made = draw(n + count, 1)
    rows, fresh = made[:n], made[n:]
    queries, origin = queries_for(rows, fresh, 2)
    kernels()
    path = folder / "index"
    start = time.perf_counter()
    build(rows, np.arange(n), path, head=1, bits=256, radius=RADIUS)
    built = time.perf_counter() - start
    start = time.perf_counter()
    snapshot = Snapshot.open(path)
    opened = time.perf_counter() - start
    times = []
    for _ in range(7):
        start = time.perf_counter()
        (query, entry, _distance), cost = snapshot.measure(queries, RADIUS)
        times.append((time.perf_counter() - start) / count * 1e3)
    singles = []
    for i in range(500):
        start = time.perf_counter()
        snapshot.search(queries[i : i + 1], RADIUS)
        singles.append((time.perf_counter() - start) * 1e3)
    pairs = set(zip(query.tolist(), entry.tolist(), strict=True))
    planted = [(i, int(row)) for i, row in enumerate(origin) if row >= 0]
    kept = sum(pair in pairs for pair in planted)
    sample = list(range(0, count, count // 40))
    every = np.zeros(4, np.int64)
    words = as_words(rows, 256).view()
    asked = as_words(queries[sample], 256).view()
    words.flags.writeable = asked.flags.writeable = False
    truth = {(sample[q], int(r)) for q, r, _ in kernels().scan_all(words, asked, RADIUS, every)}
    recall = len(truth & pairs) / max(1, len(truth))
    exact = truth == {pair for pair in pairs if pair[0] in set(sample)}
    plan = snapshot.plan
    print(
        f"{kind} rows, {n:,}: {min(times):.4f} ms a query (median {np.median(times):.4f}, "
        f"predicted {plan.predicted_ms:.4f}; alone, median {np.median(singles):.4f})\n"
        f"  probes {cost.probes / count:.0f} (predicted {plan.predicted_probes:.0f}), "
        f"tags {cost.tags / count:.0f}, rows compared {cost.candidates / count:.0f} "
        f"(predicted {plan.predicted_candidates:.0f}), hits {len(query) / count:.2f}\n"
        f"  {snapshot.nbytes / n:.1f} bytes an entry, built in {built:.1f} s, "
        f"opened and checked in {opened:.2f} s\n"
        f"  recall {recall:.6f} over {len(truth)} pairs of {len(sample)} queries "
        f"({'the same set' if exact else 'NOT the same set'}), planted {kept}/{len(planted)}"
    )
    if options.peer:
        np.save(folder / "rows.npy", rows)
        np.save(folder / "queries.npy", queries)
        del made, rows, words
        try:
            import faiss  # noqa: F401

            told = peer(folder)
        except ImportError:
            command = [options.peer_python, __file__, "--as-peer", str(folder)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"  faiss {told['version']}, one thread: flat {told['flat']:.2f} ms, "
            f"multi-hash (16 x 16 bits, 1 flip) {told['multihash']:.2f} ms: "
            f"{min(told['flat'], told['multihash']) / min(times):.0f} times slower at best"
        )


def simulate(n: int, sample: int, folder: Path) -> None:
    """The layout for `n` rows, filled with `sample` of them: real probes, work scaled to `n`.

    A bucket holds `n / sample` times as many rows then, so tags and rows compared grow by that;
    probes don't depend on it. Time is not scaled: it is the model's word.
    """
    from unittest import mock

    from tutela.index import plan as planning
    from tutela.index.snapshot import Snapshot, build

    chosen = planning.plan(n, 256, RADIUS)
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 256, (sample, 32), dtype=np.uint8)
    queries = rng.integers(0, 256, (1000, 32), dtype=np.uint8)
    with mock.patch.object(planning, "plan", return_value=chosen):
        build(rows, np.arange(sample), folder / "index", head=1, bits=256, radius=RADIUS)
    _, cost = Snapshot.open(folder / "index").measure(queries, RADIUS)
    grown = n / sample / len(queries)
    print(
        f"{n:,} rows, simulated with {sample:,} in their layout: {cost.probes / len(queries):.0f} "
        f"probes (predicted {chosen.predicted_probes:.0f}), tags {cost.tags * grown:.0f}, rows "
        f"compared {cost.candidates * grown:.0f} (predicted {chosen.predicted_candidates:.0f}), "
        f"{n * chosen.bytes_per_entry / 2**30:.1f} GiB, predicted {chosen.predicted_ms:.3f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1e6", help="comma-separated numbers of rows")
    parser.add_argument("--data", default="even,photo", help="even, photo or both")
    parser.add_argument("--photos", type=Path, help="folder of photographs for the photo rows")
    parser.add_argument("--simulate", help="rows to simulate with 10 million, e.g. 1e8")
    parser.add_argument("--peer", action="store_true", help="time faiss on the same rows")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has faiss")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        print(json.dumps(peer(options.as_peer)))
        return
    import numba

    from tutela.index.plan import plan

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"
    )
    for size in options.sizes.split(","):
        for kind in options.data.split(","):
            with tempfile.TemporaryDirectory() as folder:
                measure(kind, int(float(size)), options, Path(folder))
    if options.simulate:
        with tempfile.TemporaryDirectory() as folder:
            simulate(int(float(options.simulate)), 10_000_000, Path(folder))
    print("The cost model, even rows:")
    for n in (10**4, 10**5, 10**6, 10**7, 10**8):
        told = plan(n, 256, RADIUS)
        print(
            f"  {n:>11,}: {told.predicted_ms:.4f} ms, {told.predicted_probes:.0f} probes, "
            f"{told.predicted_candidates:.0f} rows compared, {told.bytes_per_entry:.1f} bytes an "
            f"entry ({n * told.bytes_per_entry / 2**30:.2f} GiB), {len(told.widths)} chunks"
        )


if __name__ == "__main__":
    main()
