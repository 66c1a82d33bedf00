"""The cost model: valid layouts, bounded memory, sane predictions."""

import numpy as np
import pytest

from tutela.index.plan import MAX_BYTES, SCAN_ROWS, TAG_BITS, plan
from tutela.index.table import built

SIZES = [SCAN_ROWS, SCAN_ROWS + 1, 50_000, 10**6, 10**7, 10**8]


@pytest.mark.parametrize("bits", [64, 128, 192, 256, 512])
@pytest.mark.parametrize("n", SIZES)
def test_layouts_partition_the_ring(n: int, bits: int) -> None:
    for radius in (0, 3, bits // 8 - 1, bits // 4, bits):
        chosen = plan(n, bits, radius)
        if not chosen.widths:
            continue
        count = len(chosen.widths)
        assert sum(chosen.widths) == bits
        assert sum(t + 1 for t in chosen.radii) == radius + 1
        for c in range(count):
            assert 1 <= chosen.keys[c] <= chosen.widths[c] <= 32
            reach = chosen.widths[c] - chosen.keys[c] + chosen.widths[(c + 1) % count]
            assert reach >= TAG_BITS


@pytest.mark.parametrize("n", SIZES)
def test_memory_stays_within_the_bound(n: int) -> None:
    assert plan(n, 256, 31).bytes_per_entry <= MAX_BYTES


def test_small_indexes_have_no_tables() -> None:
    assert plan(3, 256, 31).widths == ()
    assert plan(0, 256, 31).predicted_ms == 0


def test_more_rows_cost_more_but_far_less_than_in_proportion() -> None:
    times = [plan(n, 256, 31).predicted_ms for n in SIZES[1:]]
    assert times == sorted(times)
    assert times[-1] < times[2] * 40


def test_predictions_agree_with_what_a_search_counts() -> None:
    n = 60_000
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    chosen = plan(n, 256, 31)
    table = built(chosen, rows, np.arange(n))
    queries = rng.integers(0, 256, (500, 32), dtype=np.uint8).view("<u8")
    _, cost = table.find(queries, 31)
    assert cost.probes / 500 == pytest.approx(chosen.predicted_probes, rel=0.1)
    assert cost.candidates / 500 == pytest.approx(chosen.predicted_candidates, rel=0.2)
    assert table.nbytes / n == pytest.approx(chosen.bytes_per_entry, rel=0.02)
