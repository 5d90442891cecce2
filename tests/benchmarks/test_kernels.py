"""The kernels' figure: what is computed from the times, and the compact table."""

import numpy as np
import pytest

from benchmarks.kernels.figure_kernels import _add_loop_shares, compact
from benchmarks.kernels.peaks import stream


def test_the_time_of_the_loop_is_a_call_less_the_call_on_a_quarter() -> None:
    rows = [
        {"case": "a quarter of it", "engine": "float32", "cpu_median_ms": 0.02},
        {"case": "cached", "engine": "float32", "cpu_median_ms": 0.02 + 0.1},
        # The quarter of another kernel must not be subtracted. A kernel without a peak has no share of it.
        {"case": "cached", "engine": "int8", "cpu_median_ms": 0.1},
        {"case": "a quarter of it", "engine": "bfloat16", "cpu_median_ms": 0.02},
        {"case": "cached", "engine": "bfloat16", "cpu_median_ms": 0.1},
    ]
    _add_loop_shares(rows, {"float32": 50.0, "int8": 200.0})
    # 720 tokens more x 32 query tokens x 128 dims in 100,000 ns, at most 50 of them a ns.
    assert rows[1].pop("loop_share_of_peak") == pytest.approx(720 * 32 * 128 / 1e5 / 50, abs=5e-4)
    assert not any("loop_share_of_peak" in row for row in rows)


def test_the_compact_table_has_a_row_a_case_and_no_rates_of_one_token() -> None:
    rates = {"share_of_peak": 0.876, "cpu_ratio_of_maxsim_cpu": [3.14, 3.0, 3.3]}
    result = {
        "rows": [
            {"case": "one token", "engine": "float32", "cpu_median_ms": 0.0268, **rates},
            {
                "case": "scan",
                "engine": "float32",
                "cpu_median_ms": 30.12,
                **rates,
                "share_of_stream": 0.5,
                "cpu_per_token_pair_ns": 2.35,
            },
            {
                "case": "scan",
                "engine": "codes-4",
                "cpu_median_ms": 9.04,
                **rates,
                "cpu_per_token_pair_ns": 0.7,
            },
            {"case": "scan", "engine": "codes-2", "cpu_median_ms": 77.0, **rates},
        ]
    }
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in compact(result).strip().splitlines()
    ]
    floats, codes = ["float32: ns per pair", "float32: of peak"], ["4 bits: ns per pair", "4 bits: of peak"]
    of_memory, peer = "float32: of memory's rate", "x maxsim-cpu"
    assert lines[0] == ["case", *floats, of_memory, f"float32: {peer}", *codes, f"4 bits: {peer}"]
    assert lines[2] == ["one token", "26.8 µs a call", "", "", "3.1", "", "", ""]
    assert lines[3] == ["scan", "2.4", "0.88", "0.5", "3.1", "0.7", "0.88", "3.1"]
    assert len(lines) == 4


def test_the_rate_of_memory_is_that_of_a_sum_that_was_right() -> None:
    rate = stream(n_bytes=1 << 16, n_passes=2)
    assert rate > 0
    assert np.isfinite(rate)
