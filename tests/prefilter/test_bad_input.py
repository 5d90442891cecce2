"""Corpora that a prefilter can learn little or nothing from: the hits are right all the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from colsearch import ColIndex
from tests.support.clusters import DIM, cluster_documents, draw_kinds, draw_queries
from tests.support.prefilters import use_small_prefilters


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A prefilter for thousands of tokens, fitted in a second."""
    use_small_prefilters(
        monkeypatch,
        cheap_scan_ns=5e4,
        min_segment_tokens=1000,
        n_probes=1024,
        n_landmarks=256,
        n_dims=320,
    )
    yield


@pytest.mark.parametrize("dim", [48, 320, 1024])
def test_recall_is_kept_at_any_number_of_dims(tmp_path: Path, dim: int) -> None:
    kinds = draw_kinds(0, dim)
    with ColIndex.create(tmp_path / "index", dim=dim, n_threads=2) as index:
        index.add_vectors(cluster_documents(1_500, 1, kinds, n_tokens=(5, 20)))
        assert index.info()["prefilter"]
        audit = index.audit(draw_queries(60, 2, kinds), recall=0.95)
        assert audit.recall >= 0.94 and audit.share_scored < 1


def test_documents_of_one_token_each_make_fewer_landmarks_and_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tokens of 1,500 documents of one token each make no more than 187 landmarks.
    use_small_prefilters(monkeypatch, cheap_scan_ns=5e3, n_landmarks=768)
    kinds = draw_kinds(3)
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        index.add_vectors(cluster_documents(1_500, 4, kinds, n_tokens=(1, 2)))
        assert index.info()["prefilter"]
        audit = index.audit(draw_queries(60, 5, kinds), recall=0.95)
        assert audit.recall >= 0.94


@pytest.mark.parametrize("n_different", [1, 2])
def test_few_documents_repeated_many_times_come_in_the_order_they_were_added(
    tmp_path: Path, n_different: int
) -> None:
    documents = [document[:20] for document in cluster_documents(n_different, 6, draw_kinds(0), (20, 21))]
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        index.add_vectors(documents * (4_000 // n_different))
        assert index.info()["prefilter"]
        for number, document in enumerate(documents):
            hits = index.search(document, k=5)
            assert [hit.id for hit in hits] == [number + n_different * n for n in range(5)]
            assert len({hit.score for hit in hits}) == 1


def test_a_query_that_resembles_nothing_gets_hits_of_the_right_scores(tmp_path: Path) -> None:
    """Documents lie in one half of the dims and the query in the other, so every estimate is meaningless."""
    half = np.pad(draw_kinds(7, DIM // 2), ((0, 0), (0, DIM // 2)))
    documents = [
        np.where(np.arange(DIM) < DIM // 2, tokens, 0) for tokens in cluster_documents(2_000, 8, half)
    ]
    query = np.zeros((3, DIM), np.float32)
    query[np.arange(3), DIM // 2 + np.arange(3)] = 1
    with ColIndex.create(tmp_path / "index", dim=DIM) as index:
        index.add_vectors([np.ascontiguousarray(tokens, np.float32) for tokens in documents])
        assert index.info()["prefilter"]
        hits = index.search(query, k=10)
        assert len(hits) == 10
        assert [(hit.id, hit.score) for hit in index.rerank(query, [hit.id for hit in hits])] == [
            (hit.id, hit.score) for hit in hits
        ]


def test_an_unlike_domain_may_come_and_go(tmp_path: Path) -> None:
    first, second = draw_kinds(0), draw_kinds(99)
    with ColIndex.create(tmp_path / "index", dim=DIM, n_threads=2) as index:
        index.add_vectors(cluster_documents(2_000, 10, first), ids=range(2_000))
        before = index.info()["prefilter"]
        index.add_vectors(cluster_documents(2_000, 11, second), ids=range(2_000, 4_000))
        assert before and index.info()["prefilter"] != before
        for kinds in (first, second):
            assert index.audit(draw_queries(60, 12, kinds), recall=0.95).recall >= 0.94
        index.delete(range(2_000, 4_000))
        index.compact()
        assert index.audit(draw_queries(60, 13, first), recall=0.95).recall >= 0.94
