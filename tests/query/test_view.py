"""A search view splits segments by the prefilter, and keeps its candidate index while that still fits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from colsearch import ColIndex
from colsearch.query.view import SearchView
from tests.support.clusters import DIM, cluster_documents, draw_kinds
from tests.support.prefilters import use_small_prefilters

N_DOCS = 1_200


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ColIndex]:
    use_small_prefilters(monkeypatch, cheap_scan_ns=5e4, n_probes=128, n_landmarks=16, n_dims=32)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        yield index


def view_of(index: ColIndex, previous: SearchView | None = None) -> SearchView:
    return SearchView(index._store.snapshot(), DIM, index._engine._prefilters, previous)


def test_the_candidate_index_is_taken_over_until_the_covered_segments_change(index: ColIndex) -> None:
    kinds = draw_kinds(0)
    index.add_vectors(cluster_documents(N_DOCS, 1, kinds), ids=range(N_DOCS))
    first = view_of(index)
    assert (len(first.covered), len(first.tail), first.can_be_hits) == (1, 0, None)
    assert (
        first.prefilter is not None
        and first.stop_deviations(0.9, 10) is not None
        and first.candidates is None
    )
    made = first.make_candidates(index._scorer)
    assert view_of(index, first).candidates is made

    index.add_vectors(cluster_documents(3, 2, kinds), ids=range(N_DOCS, N_DOCS + 3))
    index.delete([5, 7])
    second = view_of(index, first)
    assert (len(second.covered), len(second.tail)) == (1, 1)
    assert second.candidates is made, "a tail and deletions leave the covered files as they were"
    assert second.can_be_hits is not None
    assert [row for row, can_be_hit in enumerate(second.can_be_hits) if not can_be_hit] == [5, 7]

    index.compact()
    index.optimize()
    third = view_of(index, second)
    assert len(third.covered) == 1 and third.candidates is None, "the covered segment is another file"


def test_a_view_without_a_prefilter_has_only_a_tail(index: ColIndex) -> None:
    index.add_vectors(cluster_documents(20, 1, draw_kinds(0)))
    view = view_of(index)
    assert view.covered == [] and len(view.tail) == 1
    assert view.prefilter is None and view.stop_deviations(0.9, 10) is None and view.candidates is None
