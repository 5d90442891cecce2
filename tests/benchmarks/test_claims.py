"""Every measured number in the README links to the result that it comes from."""

from pathlib import Path

import pytest

from benchmarks.claims import unbacked
from benchmarks.machine import ROOT


def test_the_readme_claims_nothing_that_was_not_measured() -> None:
    assert list(unbacked(ROOT / "README.md")) == []


@pytest.mark.parametrize(
    "claim",
    [
        "1.2 ms",
        "12 times faster",
        "recall@10 .97",
        "nDCG@10 0.71",
        "36 bytes/token",
        "66 bytes per token",
        "4.3 GB",
    ],
)
def test_a_number_without_a_link_is_found(tmp_path: Path, claim: str) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"Fine words.\n\nIt does {claim} here.\n")
    assert list(unbacked(page)) == [f"It does {claim} here."]


def test_a_link_must_lead_to_a_result(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("It takes 3 ms ([result](benchmarks/results/f.json)).\n")
    assert len(list(unbacked(page))) == 1
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/f.json").write_text("{}")
    assert list(unbacked(page)) == []


def test_blocks_and_code_are_not_prose(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(
        "```\n1.2 ms\n```\n<!-- benchmarks:f -->\n| 1.2 ms |\n<!-- /benchmarks -->\nNo numbers.\n"
    )
    assert list(unbacked(page)) == []
