"""Every later version opens what an earlier one wrote, and finds in it what was found then."""

import json
import shutil
from pathlib import Path

import pytest

from colsearch import ColIndex
from tests.golden import make
from tests.support.prefilters import use_small_prefilters

GOLDEN = Path(__file__).parent
VERSIONS = sorted(folder.name for folder in GOLDEN.glob("v*"))


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the golden index, so that no test changes the original."""
    shutil.copytree(GOLDEN / request.param, tmp_path / request.param)
    return tmp_path / str(request.param)


def test_an_index_of_an_earlier_version_holds_what_it_held(golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    with ColIndex.open(golden / "index", read_only=True, verify="full") as index:
        assert make.found(index) == expected
        assert index.check(deep=True).ok


def test_opening_it_writes_nothing(golden: Path) -> None:
    before = {path: path.read_bytes() for path in golden.rglob("*") if path.is_file()}
    with ColIndex.open(golden / "index") as index:
        index.search(make.queries()[0])
    assert {path: path.read_bytes() for path in golden.rglob("*") if path.is_file()} == before


def test_its_prefilter_is_used_or_made_anew(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    use_small_prefilters(monkeypatch, cheap_scan_ns=1.0, min_segment_tokens=1000)
    with ColIndex.open(golden / "index") as index:
        index.optimize()
        assert index.info()["prefilter"]
        best = [[[hit.id, hit.score] for hit in hits] for hits in index.search(make.queries(), make.K)]
        kept = [sum(hit in right for hit in hits) for hits, right in zip(best, expected["hits"])]
        assert sum(kept) >= 0.9 * make.K * make.N_QUERIES


def test_it_can_be_written_to_and_compacted(golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))
    with ColIndex.open(golden / "index") as index:
        index.add_vectors([make.vectors(9000)], ids=["new"])
        index.delete("new")
        index.compact()
        assert make.found(index) == expected
