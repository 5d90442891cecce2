"""The comparison at equal recall, by hand."""

from pathlib import Path

import pytest

from benchmarks.figure import Options
from benchmarks.figures.figure_pareto import FIGURE, against_ours, plot, reasons_to_leave_out


def row(engine: str, share: float, cpu_ms: float, *, k: int = 10, **knobs: object) -> dict[str, object]:
    return {
        "workload": "w",
        "n_docs": 5,
        "k": k,
        "engine": engine,
        "build": {},
        "knobs": knobs,
        "recall@10": share,
        "recall@10_interval": [share, share],
        "recall@100": share / 2,
        "cpu_median_ms": cpu_ms,
    }


ROWS = [
    row("colsearch", 0.8, 1.0, recall=0.8),
    row("colsearch", 1.0, 4.0),
    row("peer", 0.9, 6.0),
    row("peer", 0.7, 0.5, knob=1),
    row("colsearch", 0.8, 100.0, k=100),
    row("peer", 0.8, 10.0, k=100),
]


def test_a_cost_is_divided_by_ours_at_the_same_recall_of_the_same_contest() -> None:
    ratios = [against_ours(measured, ROWS)["cpu_ratio_to_ours"] for measured in ROWS]
    assert ratios == pytest.approx([1, 1, 3, 0.5, 1, 0.1])


def test_where_we_never_reach_a_peers_recall_there_is_no_ratio() -> None:
    better = row("peer", 1.0, 1.0)
    assert against_ours(better, [ROWS[0], better])["cpu_ratio_to_ours"] is None
    assert against_ours(better, [better])["cpu_ratio_to_ours"] is None


def test_who_does_not_take_part_is_named_with_the_reason() -> None:
    contest = {"left_out": {"big": "too big"}}
    options = Options(home=Path(), engines=("ours", "big"))
    assert reasons_to_leave_out(contest, ["ours", "big", "other"], options) == {
        "big": "too big",
        "other": "not among --engines",
    }


def test_the_first_page_shows_defaults_of_its_contests_and_the_full_table_everything(tmp_path: Path) -> None:
    rows = [{**measured, **against_ours(measured, ROWS)} for measured in ROWS]
    contests = [{"workload": "w", "k": 10, "first_page": True}, {"workload": "w", "k": 100}]
    result = {"rows": rows, "config": {"contests": contests}}
    summary = FIGURE.views["summary"](result)
    assert "k=10" in summary and "k=100" not in summary and "knob=1" not in summary
    assert summary.count("| peer |") == 1
    assert FIGURE.table is not None and FIGURE.table(result).count("| peer |") == 3
    plot(result, tmp_path / "plot.svg")
    assert "recall@100 of exact" in (tmp_path / "plot.svg").read_text()
