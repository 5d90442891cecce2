"""`search(candidates=)`: another retriever's documents compete by their MaxSim."""

from collections.abc import Iterator

import numpy as np
import pytest

from colsearch import ColIndex
from colsearch.errors import ConfigError, DocumentError
from tests.support.clusters import DIM, cluster_documents, draw_kinds, draw_queries
from tests.support.prefilters import use_small_prefilters

N_DOCS = 2_000


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColIndex]:
    with pytest.MonkeyPatch.context() as patch:
        # A prefilter that misses much.
        use_small_prefilters(patch, cheap_scan_ns=5e4, n_probes=64, n_landmarks=8, n_dims=8)
        with ColIndex.create(tmp_path_factory.mktemp("candidates") / "index", dim=DIM) as index:
            documents = cluster_documents(N_DOCS, 1, draw_kinds(0))
            index.add_vectors(documents, ids=range(N_DOCS), metadata=({"odd": n % 2} for n in range(N_DOCS)))
            yield index


def test_what_the_prefilter_missed_is_found_with_the_score_it_has(index: ColIndex) -> None:
    queries = draw_queries(20, 2, draw_kinds(0))
    exact = index.search(queries, exact=True)
    alone = index.search(queries, recall=0.1)
    assert alone != exact
    best = {query.tobytes(): [hit.id for hit in hits] for query, hits in zip(queries, exact)}
    asked: list[int] = []

    def retriever(query: np.ndarray, n: int) -> list[int]:
        asked.append(n)
        # Most ids come twice, and one is not in the index.
        return [*best[query.tobytes()], *best[query.tobytes()][1:], N_DOCS + 7]

    assert index.search(queries, recall=0.1, candidates=retriever) == exact
    assert asked == [100] * len(queries)
    assert index.search(queries[0], k=300, candidates=retriever)[:10] == exact[0] and asked[-1] == 300


def test_poor_candidates_cost_no_hit_and_a_filter_holds_for_them(index: ColIndex) -> None:
    [query] = draw_queries(1, 3, draw_kinds(0))
    found = index.search(query, recall=0.1, where={"odd": 1})
    worst = [hit.id for hit in index.search(query, k=N_DOCS, exact=True)[-50:]]
    best = [hit.id for hit in index.search(query, exact=True) if int(hit.id) % 2 == 0]
    assert best
    hits = index.search(query, recall=0.1, where={"odd": 1}, candidates=lambda *_: worst + best, profile=True)
    assert hits == found
    assert hits.profile is not None and "retrieve" in hits.profile.stage_ms


def test_what_candidates_cannot_change_is_refused(index: ColIndex) -> None:
    [query] = draw_queries(1, 3, draw_kinds(0))
    with pytest.raises(ConfigError, match="scores every document"):
        index.search(query, exact=True, candidates=lambda *_: [1])
    with pytest.raises(ConfigError, match="orders by ranks"):
        index.search(query, hybrid="rrf", candidates=lambda *_: [1])
    with pytest.raises(DocumentError, match="an id is"):
        index.search(query, candidates=lambda *_: [1.5])  # type: ignore[list-item]
