"""The rules a result file cannot break."""

import json
from pathlib import Path

import pytest

from benchmarks.compare import changes
from benchmarks.figure import Figure, Measured, find_figures
from benchmarks.render import PAGES, fill, render
from benchmarks.result import ResultError, Watch, read_result, write_result

ROWS = [{"engine": "ours", "recall@10": 0.97, "cpu_median_ms": 1.25}]


def figure(**changes: object) -> Figure:
    defaults = {"name": "f", "claim": "c", "minutes": 0.0, "run": lambda _: Measured(ROWS, {})}
    return Figure(**{**defaults, **changes})  # type: ignore[arg-type]


def test_a_result_says_what_is_needed_to_doubt_it(tmp_path: Path) -> None:
    write_result("f", ROWS, watch=Watch(), seed=7, config={"k": 10}, folder=tmp_path)
    result = read_result("f", tmp_path)
    assert result["rows"] == ROWS
    assert result["seed"] == 7 and result["threads"] == 1 and result["config"] == {"k": 10}
    assert result["machine"]["cpu"] and result["versions"]["numpy"] and result["commit"]
    assert result["load"]["before"] >= 0 and result["duration_s"] >= 0 and result["command"]


def test_a_speed_without_a_quality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cpu_median_ms stands without a quality"):
        write_result("f", [{"cpu_median_ms": 1.0}], watch=Watch(), seed=0, config={}, folder=tmp_path)


def test_an_empty_run_is_refused_but_one_that_names_what_it_skipped_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="nothing was measured"):
        write_result("f", [], watch=Watch(), seed=0, config={}, folder=tmp_path)
    skipped = [{"engine": "x", "why": "no wheel"}]
    write_result("f", [], watch=Watch(), seed=0, config={}, skipped=skipped, folder=tmp_path)
    assert read_result("f", tmp_path)["skipped"] == skipped


def test_a_block_is_filled_from_its_result_and_text_around_it_stays(tmp_path: Path) -> None:
    write_result("f", ROWS, watch=Watch(), seed=0, config={}, folder=tmp_path)
    page = tmp_path / "README.md"
    text = "before\n<!-- benchmarks:f -->\nstale\n<!-- /benchmarks -->\nafter\n"
    filled = fill(text, {"f": figure()}, page=page, results=tmp_path)
    assert "| ours | 0.97 | 1.25 |" in filled and "stale" not in filled
    assert filled.startswith("before\n") and filled.endswith("<!-- /benchmarks -->\nafter\n")
    assert fill(filled, {"f": figure()}, page=page, results=tmp_path) == filled


def test_a_block_without_a_result_is_an_error(tmp_path: Path) -> None:
    text = "<!-- benchmarks:f -->\n<!-- /benchmarks -->\n"
    with pytest.raises(ResultError, match=r"no result f\.json"):
        fill(text, {"f": figure()}, page=tmp_path / "README.md", results=tmp_path)
    with pytest.raises(ResultError, match="which does not exist"):
        fill(text, {}, page=tmp_path / "README.md", results=tmp_path)


def test_a_block_can_show_another_view_of_a_result_and_an_unknown_view_is_an_error(tmp_path: Path) -> None:
    write_result("f", ROWS, watch=Watch(), seed=0, config={}, folder=tmp_path)
    figures = {"f": figure(views={"short": lambda result: f"{len(result['rows'])} row\n"})}
    page = tmp_path / "README.md"
    filled = fill("<!-- benchmarks:f/short -->\n<!-- /benchmarks -->", figures, page=page, results=tmp_path)
    assert "1 row" in filled and "| ours |" not in filled
    with pytest.raises(ResultError, match=r"asks for f/long; there are \['short'\]"):
        fill("<!-- benchmarks:f/long -->\n<!-- /benchmarks -->", figures, page=page, results=tmp_path)


def test_every_block_of_the_readmes_is_what_its_committed_result_says() -> None:
    assert render(check=True) == 0, "run `python -m benchmarks render`"


def test_every_committed_result_belongs_to_a_figure_and_names_no_folder_of_the_machine() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for path in results.glob("*.json"):
        assert path.stem in find_figures(), f"{path.name} has no figure_*.py"
        text = path.read_text(encoding="utf-8")
        assert json.loads(text)["figure"] == path.stem
        assert str(Path.home()) + "/" not in text and "/work/" not in text


def test_compare_matches_rows_by_setting_and_reports_what_moved() -> None:
    old = [{"engine": "a", "n": 10, "cpu_ms": 2.0, "recall": 0.9}, {"engine": "b", "n": 10, "cpu_ms": 5.0}]
    new = [{"engine": "b", "n": 10, "cpu_ms": 5.1}, {"engine": "a", "n": 10, "cpu_ms": 1.0, "recall": 0.91}]
    moved = list(changes(old, new))
    assert [(m["figure"], m["ratio"]) for m in moved] == [("cpu_ms", 0.5)]


def test_the_pages_that_are_rendered_exist() -> None:
    assert PAGES[0].exists()
